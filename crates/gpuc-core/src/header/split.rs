//! A model in several GGUF files: which shard a file is, and all of them as one.

use super::error::HeaderError;
use super::gguf::{GgufHeader, TensorInfo};
use super::metadata::Metadata;

/// The most shards a model may have.
const MAX_SHARDS: u64 = 9999;

/// Which shard of a split model a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Its number, from 0.
    pub no: u64,
    /// How many shards there are.
    pub count: u64,
    /// How many tensors all of them hold together, where the file says so.
    pub tensors: Option<u64>,
}

impl Split {
    pub(super) fn from_metadata(pairs: &Metadata) -> Result<Option<Self>, HeaderError> {
        let Some(count) = pairs.u64("split.count").filter(|n| *n > 1) else {
            return Ok(None);
        };
        let no = pairs.u64("split.no").unwrap_or(0);
        if count > MAX_SHARDS || no >= count {
            return Err(HeaderError::Split {
                why: format!("the file says it is shard {no} (from 0) of {count}"),
            });
        }
        Ok(Some(Self {
            no,
            count,
            tensors: pairs.u64("split.tensors.count"),
        }))
    }
}

/// The file names of all shards, from the name of one (`NAME-00001-of-00003.gguf`).
pub fn shard_names(name: &str) -> Option<Vec<String>> {
    let stem = name.strip_suffix(".gguf")?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (prefix, no) = rest.rsplit_once('-')?;
    let digits = |s: &str| s.len() == 5 && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(no) || !digits(count) {
        return None;
    }
    let n: u64 = count.parse().ok()?;
    (1..=MAX_SHARDS).contains(&n).then(|| {
        (1..=n)
            .map(|i| format!("{prefix}-{i:05}-of-{count}.gguf"))
            .collect()
    })
}

/// A model's header: one file's, or that of all its shards together.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufModel {
    /// The first file's key-value pairs, which hold the model's.
    pub metadata: Metadata,
    /// All tensors; offsets count in each one's own file.
    pub tensors: Vec<TensorInfo>,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// Number of files.
    pub files: u64,
    /// How many keys and tensor names were no UTF-8.
    pub lossy_names: u64,
}

/// The headers of all of a model's files, in the order of the shards, as one.
pub fn join(headers: Vec<GgufHeader>) -> Result<GgufModel, HeaderError> {
    let bad = |why: String| HeaderError::Split { why };
    let files = headers.len() as u64;
    let expected = headers.first().and_then(|h| h.split);
    let count = expected.map_or(1, |s| s.count);
    if files != count {
        return Err(bad(format!(
            "the model has {count} shards, {files} were found"
        )));
    }
    let mut out: Option<GgufModel> = None;
    for (i, header) in (0_u64..).zip(headers) {
        if count > 1 && header.split.is_none_or(|s| s.no != i || s.count != count) {
            return Err(bad(format!(
                "file {} of {count} says it is {}",
                i + 1,
                header.split.map_or_else(
                    || "no shard at all".to_owned(),
                    |s| format!("shard {} of {}", s.no + 1, s.count)
                )
            )));
        }
        match &mut out {
            None => {
                out = Some(GgufModel {
                    metadata: header.metadata,
                    tensors: header.tensors,
                    file_bytes: header.file_bytes,
                    files,
                    lossy_names: header.lossy_names,
                });
            }
            Some(model) => {
                model.tensors.extend(header.tensors);
                model.file_bytes = model.file_bytes.saturating_add(header.file_bytes);
                model.lossy_names += header.lossy_names;
            }
        }
    }
    let model = out.ok_or_else(|| bad("no file was given".to_owned()))?;
    let have = model.tensors.len() as u64;
    if let Some(want) = expected.and_then(|s| s.tensors)
        && want != have
    {
        return Err(bad(format!(
            "the shards hold {have} tensors instead of {want}"
        )));
    }
    if count > 1 {
        let mut names: Vec<&str> = model.tensors.iter().map(|t| t.name.as_str()).collect();
        names.sort_unstable();
        if let Some([name, _]) = names.windows(2).find(|w| w.first() == w.last()) {
            return Err(HeaderError::Duplicate {
                name: (*name).to_owned(),
            });
        }
    }
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::read_gguf;
    use crate::header::sample::Sample;
    use std::io::Cursor;

    fn shard(no: u64, count: u64, name: &str) -> GgufHeader {
        let bytes = Sample::new()
            .u32("split.count", u32::try_from(count).unwrap())
            .u32("split.no", u32::try_from(no).unwrap())
            .u32("split.tensors.count", 2)
            .tensor(name, &[32], 0)
            .build();
        read_gguf(Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn shards_make_one_model_or_say_why_not() {
        let model = join(vec![shard(0, 2, "a"), shard(1, 2, "b")]).unwrap();
        assert_eq!((model.files, model.tensors.len()), (2, 2));
        let cases: [(Vec<GgufHeader>, &str); 4] = [
            (
                vec![shard(0, 2, "a")],
                "the model has 2 shards, 1 were found",
            ),
            (
                vec![shard(0, 2, "a"), shard(0, 2, "b")],
                "file 2 of 2 says it is shard 1 of 2",
            ),
            (
                vec![shard(0, 2, "a"), shard(1, 2, "a")],
                "\"a\" appears twice",
            ),
            (vec![], "the model has 1 shards, 0 were found"),
        ];
        for (headers, want) in cases {
            assert_eq!(join(headers).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn a_shards_name_gives_all_names() {
        let names = shard_names("m-Q4-00002-of-00003.gguf").unwrap();
        assert_eq!(names[0], "m-Q4-00001-of-00003.gguf");
        assert_eq!(names.len(), 3);
        for other in [
            "m.gguf",
            "m-1-of-3.gguf",
            "m-00001-of-00000.gguf",
            "m-0000é-of-00003.gguf",
        ] {
            assert_eq!(shard_names(other), None, "{other}");
        }
    }
}
