//! What llama.cpp allocates for a model: weights, caches and compute buffers, by device.
//!
//! Weights and caches are sums over the header's tensors and keys. Compute buffers follow from
//! the graph that llama.cpp builds for a batch, so that graph is drawn in outline and laid out as
//! its allocator would. The formulas and how each was checked: docs/memory-model.md.

mod alloc;
mod attention;
mod blocks;
mod cache;
mod check;
mod compute;
mod document;
mod facts;
mod feed_forward;
mod file_type;
mod from_gguf;
mod graph;
mod keys;
mod layer_embedding;
mod memory;
mod recurrent;
mod shape;
mod style;
mod tensors;

pub use check::SettingError;
pub use facts::{Facts, FactsError, LayerFacts, WindowKind};
pub use memory::{Device, MemoryMap, Placed, Setting};
pub use tensors::{ExpertKind, ExpertTensor, FactTensor, Role};
