//! What a weights file says about itself: the headers of GGUF and safetensors files.
//!
//! Only the header is read, never a weight. The files are taken to be hostile: every length is
//! checked against the bytes that are left before anything is allocated, what is kept is counted
//! against one budget, and nothing recurses deeper than a small cap. Opening files is the
//! caller's; a reader takes anything that reads and seeks.

mod error;
mod ggml;
mod gguf;
mod input;
mod metadata;
mod safetensors;

#[cfg(test)]
mod sample;
mod split;
#[cfg(test)]
mod tests;

pub use error::HeaderError;
pub use ggml::GgmlType;
pub use gguf::{GgufHeader, TensorInfo, read_gguf};
pub use metadata::{ArrayValue, Items, Metadata, Value};
pub use safetensors::{SafetensorsHeader, SafetensorsInfo, read_safetensors, shard_files};
pub use split::{GgufModel, Split, join, shard_names};
