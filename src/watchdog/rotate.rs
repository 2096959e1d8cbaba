//! Files of lines that are appended to for as long as a watch lasts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How many full files are kept beside the one that is written.
const KEPT: u32 = 3;

/// A file that is set aside when it is full: `x` becomes `x.1`, that `x.2`, and so on.
pub(super) struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    /// 0 for never. A pipe or a device is never full either.
    limit: u64,
}

impl Rotating {
    pub(super) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = append(path)?;
        let about = file.metadata()?;
        Ok(Self {
            // What a link points to is set aside, not the link.
            path: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
            file,
            size: about.len(),
            limit: if about.is_file() { limit } else { 0 },
        })
    }

    fn set_aside(&mut self) -> io::Result<()> {
        for n in (1..KEPT).rev() {
            // There may be none yet.
            let _ = fs::rename(self.numbered(n), self.numbered(n + 1));
        }
        fs::rename(&self.path, self.numbered(1))?;
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }

    fn numbered(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// Each call is one line, or several whole ones.
impl Write for Rotating {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let more = bytes.len() as u64;
        if self.limit > 0 && self.size > 0 && self.size.saturating_add(more) > self.limit {
            self.set_aside()?;
        }
        self.file.write_all(bytes)?;
        self.size = self.size.saturating_add(more);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_so_many_files_of_so_many_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "old line\n").unwrap();
        let mut log = Rotating::open(&path, 20).unwrap();
        for n in 0..50 {
            log.write_all(format!("line {n:>4}\n").as_bytes()).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2", "log.3"]);
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        // Nothing is lost between them, and none is larger than it may be.
        let last: String = names.iter().rev().map(|n| read(n)).collect();
        let want: Vec<_> = (43..50).map(|n| format!("line {n:>4}")).collect();
        assert_eq!(last.lines().collect::<Vec<_>>(), want);
        assert!(names.iter().all(|n| read(n).len() <= 20));
    }

    #[test]
    fn a_limit_of_nothing_is_none_and_a_long_line_is_written_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for limit in [0, 4] {
            let mut log = Rotating::open(&path, limit).unwrap();
            log.write_all(b"longer than four\n").unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(fs::read_to_string(&path).unwrap(), "longer than four\n");
    }
}
