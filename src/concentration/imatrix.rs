//! An importance matrix as llama-imatrix writes it, as a file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use gpuc_core::document::LayerCounts;
use gpuc_core::error::{Code, Fault};
use gpuc_core::header::{HeaderError, read_gguf};
use gpuc_core::routing::{ImatrixError, counts_tensors, is_old_imatrix};

/// The counts of each MoE block in the importance matrix at `path`, in the file's order.
pub(super) fn imatrix(path: &Path) -> Result<Vec<LayerCounts>, Fault> {
    let unreadable = |e: io::Error| {
        Fault::new(
            Code::InputBadImatrix,
            format!("importance matrix {} cannot be read", path.display()),
        )
        .with_hint("name the file that llama-imatrix wrote; it must be a file, not a pipe")
        .with_cause(e)
    };
    let mut file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let bad = |e: ImatrixError| Fault::from(e).about(path.display());
    let header = match read_gguf(&mut file) {
        Ok(header) => header,
        Err(HeaderError::Read(e)) => return Err(unreadable(e)),
        Err(HeaderError::NotGguf { .. }) if starts_like_old(&mut file) => {
            return Err(bad(ImatrixError::OldFormat));
        }
        Err(e) => return Err(bad(e.into())),
    };
    let mut layers = Vec::new();
    for tensor in counts_tensors(&header.tensors).map_err(bad)? {
        let mut bytes = vec![0; tensor.len()];
        file.seek(SeekFrom::Start(tensor.offset()))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(unreadable)?;
        layers.push(tensor.counts(&bytes).map_err(bad)?);
    }
    Ok(layers)
}

fn starts_like_old(file: &mut File) -> bool {
    let mut start = Vec::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(1024).read_to_end(&mut start));
    read.is_ok() && is_old_imatrix(&start)
}

#[cfg(test)]
mod tests {
    use gpuc_core::exit::Exit;
    use gpuc_core::routing::{imatrix_trace, report};

    use super::*;
    use proptest::prelude::*;

    const MICRO: &[u8] = include_bytes!("../../tests/data/imatrix-micro.gguf");

    fn judge(bytes: &[u8]) -> Result<Exit, Fault> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let trace = imatrix_trace(imatrix(file.path())?, 8, None);
        let report = report(&trace, 0.9, 0.5);
        assert!((0.0..=1.0).contains(&report.concentration_score));
        Ok(Exit::Ok)
    }

    #[test]
    fn the_fixture_is_read() {
        assert!(judge(MICRO).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_imatrix_or_an_error(
            start in prop::sample::select(vec![&b""[..], b"GGUF", b"GGUF\x03\0\0\0"]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Err(e) = judge(&[start, &rest].concat()) {
                prop_assert_eq!(e.code(), Code::InputBadImatrix);
            }
        }

        #[test]
        fn a_damaged_imatrix_is_one_or_an_error(
            changes in prop::collection::vec((0usize..12_000, any::<u8>()), 0..8),
            cut in prop::option::of(0usize..MICRO.len()),
        ) {
            let mut bytes = MICRO.to_vec();
            for (at, with) in changes {
                bytes[at] = with;
            }
            bytes.truncate(cut.unwrap_or(MICRO.len()));
            if let Err(e) = judge(&bytes) {
                prop_assert_eq!(e.code(), Code::InputBadImatrix);
            }
        }
    }
}
