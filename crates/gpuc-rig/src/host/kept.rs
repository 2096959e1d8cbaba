//! Small files of the kernel's that are read over and over.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// More than any of them holds; what a file has beyond is not read.
const MOST: usize = 8 << 10;

/// A file that stays open from one reading to the next, where that can be.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    file: Option<File>,
}

impl Kept {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What stands in it now.
    pub(super) fn read(&mut self) -> io::Result<String> {
        let mut bytes = [0; MOST];
        if let Some(file) = &self.file
            && let Ok(length) = from_the_start(file, &mut bytes)
        {
            return text(&bytes, length);
        }
        // Not opened yet, or its control group is gone and may have come back.
        self.file = None;
        let file = File::open(&self.path)?;
        let length = from_the_start(&file, &mut bytes)?;
        self.file = Some(file);
        text(&bytes, length)
    }

    /// The number that stands in it, if it is one.
    pub(super) fn number(&mut self) -> Option<u64> {
        self.read().ok()?.trim().parse().ok()
    }
}

fn text(bytes: &[u8], length: usize) -> io::Result<String> {
    let read = bytes.get(..length).unwrap_or_default();
    let text = str::from_utf8(read).map_err(io::Error::other)?;
    Ok(text.to_owned())
}

/// The kernel gives such a file in one piece, so that one call is enough.
#[cfg(unix)]
fn from_the_start(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, 0)
}

#[cfg(not(unix))]
fn from_the_start(mut file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    use std::io::{Read as _, Seek as _};
    file.rewind()?;
    file.read(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_stands_there_now() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.max");
        let mut kept = Kept::new(path.clone());
        assert_eq!(kept.read().unwrap_err().kind(), io::ErrorKind::NotFound);
        for (written, number) in [("4096\n", Some(4096)), ("max\n", None), ("7", Some(7))] {
            std::fs::write(&path, written).unwrap();
            assert_eq!(kept.read().unwrap(), written);
            assert_eq!(kept.number(), number);
        }
        std::fs::write(&path, [0xff]).unwrap();
        assert!(kept.read().is_err());
        assert_eq!(kept.path(), path);
    }
}
