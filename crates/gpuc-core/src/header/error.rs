//! Why a weights file's header cannot be used.

use crate::error::{Code, Coded};

/// Why a header cannot be used. Messages carry what was expected; the file's name is the caller's.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Reading failed below us.
    #[error("cannot read the header")]
    Read(#[source] std::io::Error),
    /// The first four bytes are not a GGUF file's.
    #[error("not a GGUF file: it begins with \"{found}\" instead of \"GGUF\"")]
    NotGguf {
        /// The bytes found, as text.
        found: String,
    },
    /// A version of GGUF that nobody writes any more, or not yet.
    #[error("GGUF version {version} is not supported, only 2 and 3")]
    Version {
        /// The version the file states.
        version: u32,
    },
    /// A file written for a machine of the other byte order.
    #[error("the file is big-endian GGUF; only little-endian files are supported")]
    BigEndian,
    /// The file ends before its header does.
    #[error(
        "truncated file: it ends inside the header, in {within}; it needs at least {missing} more bytes"
    )]
    HeaderTruncated {
        /// What was being read.
        within: String,
        /// Bytes missing for what was being read.
        missing: u64,
    },
    /// The file ends before its last tensor does.
    #[error(
        "truncated download: needs {missing} more bytes (tensor {tensor:?} ends past the end of the file)"
    )]
    Truncated {
        /// The tensor that ends last.
        tensor: String,
        /// Bytes missing.
        missing: u64,
    },
    /// The header is longer than any real one.
    #[error("the header is longer than {limit} bytes")]
    TooLong {
        /// The most that is read.
        limit: u64,
    },
    /// What the header wants kept is more than any real header holds.
    #[error(
        "the header holds more names and values than is plausible ({limit} bytes), at {within}"
    )]
    TooMuch {
        /// The most that is kept.
        limit: usize,
        /// What was being read.
        within: String,
    },
    /// A count that the rest of the file cannot hold.
    #[error("{what} claims {count} entries, more than the rest of the file can hold")]
    Count {
        /// What has the count.
        what: String,
        /// The count claimed.
        count: u64,
    },
    /// Arrays inside arrays, too deep.
    #[error("the value of {key:?} nests arrays deeper than {limit}")]
    TooDeep {
        /// The key.
        key: String,
        /// The deepest allowed.
        limit: usize,
    },
    /// A value's type that GGUF does not have.
    #[error("the value of {key:?} has the unknown type {kind}")]
    ValueType {
        /// The key.
        key: String,
        /// The type's number.
        kind: u32,
    },
    /// The same key or tensor twice.
    #[error("{name:?} appears twice")]
    Duplicate {
        /// The key or tensor.
        name: String,
    },
    /// `general.alignment` is no power of two of at least 8.
    #[error("the alignment {value} is not a power of two from 8 up")]
    Alignment {
        /// The alignment stated.
        value: String,
    },
    /// A tensor's shape is impossible.
    #[error("tensor {tensor:?} {why}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two tensors share bytes.
    #[error("tensors {first:?} and {second:?} overlap")]
    Overlap {
        /// The earlier tensor.
        first: String,
        /// The later tensor.
        second: String,
    },
    /// The shards of a split model do not make a whole.
    #[error("{why}")]
    Split {
        /// What is missing or differs.
        why: String,
    },
    /// A safetensors header that is no valid one.
    #[error("not a safetensors file: {why}")]
    Safetensors {
        /// What is wrong.
        why: String,
    },
}

impl Coded for HeaderError {
    fn code(&self) -> Code {
        match self {
            Self::Read(_) => Code::IoReadFailed,
            _ => Code::InputBadModelFile,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Truncated { .. } | Self::HeaderTruncated { .. } => {
                "the download is incomplete: resume it"
            }
            Self::NotGguf { .. } => {
                "give a .gguf file, or a folder of .safetensors with their config.json"
            }
            Self::Version { .. } | Self::BigEndian => {
                "convert the model again with a current llama.cpp"
            }
            Self::Split { .. } => "all shards of a split model must lie in one folder",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
