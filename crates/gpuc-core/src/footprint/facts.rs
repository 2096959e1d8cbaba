//! What a model is, block by block, as far as memory goes.

use std::collections::BTreeMap;

use super::shape::Shape;
use super::style::Style;
use super::tensors::{ExpertTensor, FactTensor};

/// How a block's attention is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowKind {
    /// It sees the whole context.
    Full,
    /// It sees a window, or a chunk; its cache is that small.
    Window,
}

/// One block that is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerFacts {
    /// Query heads.
    pub heads: u64,
    /// Key and value heads; 0 in a block without attention.
    pub kv_heads: u64,
    /// Elements of a key head as it is cached.
    pub key_length: u64,
    /// Elements of a value head as it is cached.
    pub value_length: u64,
    /// What attention sees.
    pub window: WindowKind,
    /// Whether it has a key-value cache of its own.
    pub has_cache: bool,
    /// Whether it keeps a recurrent state.
    pub recurrent: bool,
    /// Experts that each token uses.
    pub experts_used: u64,
    /// Elements that a sparse-attention indexer caches for each token.
    pub indexer_length: u64,
}

/// What a model is, as far as memory goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The architecture's name.
    pub(super) architecture: String,
    /// Blocks, those for multi-token prediction included.
    pub(super) blocks: u64,
    /// Elements of the residual stream.
    pub(super) embedding_length: u64,
    /// Further rows of the input as wide as the stream, each added after one of the first blocks.
    pub(super) deep_rows: u64,
    /// Tokens in the vocabulary.
    pub(super) vocabulary: u64,
    /// The longest context the model was trained for.
    pub(super) context_length: Option<u64>,
    /// Experts of a block with experts.
    pub(super) experts: u64,
    /// The blocks that are loaded and run.
    pub(super) layers: Vec<LayerFacts>,
    /// The tensors that are loaded.
    pub(super) tensors: Vec<FactTensor>,
    /// Each loaded block's weights by name, and those of no block last.
    pub(super) shapes: Vec<Shape>,
    /// Which of the loaded blocks are alike.
    pub(super) classes: Vec<usize>,
    /// The routed experts by block and kind.
    pub(super) experts_by_kind: Vec<ExpertTensor>,
    /// The blocks with routed experts.
    pub(super) moe_blocks: Vec<u64>,
    /// The model's own name.
    pub(super) name: String,
    /// The quantisation that the file states.
    pub(super) quantisation: Option<&'static str>,
    /// Bytes of the files.
    pub(super) file_bytes: u64,
    /// Bytes of the embedding where it serves as the output too.
    pub(super) tied_output: Option<u64>,
    /// Width of the sliding window or the chunk; 0 without.
    pub(super) window: u64,
    /// Whether keys are latent, shared by all heads, and values part of them (MLA).
    pub(super) latent: bool,
    /// Key-value heads cached for each token and block when flash attention is off: the widest
    /// block's values everywhere.
    pub(super) widest_values: u64,
    /// Elements of convolution and of recurrent state that a recurrent block keeps per sequence.
    pub(super) state: (u64, u64),
    /// How the architecture's graph differs from the plain one.
    pub(super) style: Style,
    /// Recurrence sizes that the graph needs.
    pub(super) recurrence: Recurrence,
    /// What is assumed where the file or our rules say nothing.
    pub(super) assumptions: Vec<String>,
}

/// The sizes of a recurrent block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Recurrence {
    /// Taps of the convolution.
    pub conv: u64,
    /// Elements of the inner stream.
    pub inner: u64,
    /// Elements of a state.
    pub state: u64,
    /// Groups that share a projection.
    pub groups: u64,
    /// Heads of the recurrence.
    pub heads: u64,
}

impl Recurrence {
    /// Whether the model has no recurrent block.
    pub(super) fn is_empty(&self) -> bool {
        self.state == 0
    }
}

/// Why a file is not a model that can be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// A key that every model has is missing or senseless.
    #[error("the file has no usable {key:?}: it is not a language model's weights")]
    Missing {
        /// The key.
        key: String,
    },
}

impl crate::error::Coded for FactsError {
    fn code(&self) -> crate::error::Code {
        crate::error::Code::InputBadModelFile
    }
}

impl Facts {
    /// The model's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The architecture's name.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Blocks, those for multi-token prediction included: what `--n-gpu-layers` counts.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Blocks from `first` on that run a recurrence; a short convolution alone is none.
    pub fn recurrent_blocks(&self, first: u64) -> u64 {
        let (_, state) = self.state;
        if state == 0 {
            return 0;
        }
        let skipped = usize::try_from(first).unwrap_or(usize::MAX);
        self.layers
            .iter()
            .skip(skipped)
            .filter(|l| l.recurrent)
            .count() as u64
    }

    /// The blocks with routed experts.
    pub fn moe_blocks(&self) -> &[u64] {
        &self.moe_blocks
    }

    /// The routed experts by block and kind.
    pub fn experts(&self) -> &[ExpertTensor] {
        &self.experts_by_kind
    }

    /// Experts of a block with experts.
    pub fn expert_count(&self) -> u64 {
        self.experts
    }

    /// The longest context the model was trained for.
    pub fn max_context(&self) -> Option<u64> {
        self.context_length
    }

    /// Elements of all loaded tensors.
    pub fn total_params(&self) -> u64 {
        self.tensors.iter().fold(0, |n, t| {
            n.saturating_add(t.dims.iter().fold(1, |n: u64, d| n.saturating_mul(*d)))
        })
    }

    /// Bytes of the files.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The quantisation that the file states ("Q4_K_M").
    pub fn quantisation(&self) -> Option<&'static str> {
        self.quantisation
    }

    /// What is assumed where the file or our rules say nothing.
    pub fn notes(&self) -> &[String] {
        &self.assumptions
    }

    /// Bytes of all loaded tensors.
    pub fn weights_bytes(&self) -> u64 {
        self.tensors
            .iter()
            .fold(0, |n, t| n.saturating_add(t.bytes))
    }

    /// Bytes by block and role, blocks in order; what belongs to no block comes last.
    pub fn bytes_by_role(&self) -> Vec<(Option<u64>, super::Role, u64)> {
        let mut sums: BTreeMap<(u64, super::Role), u64> = BTreeMap::new();
        for t in &self.tensors {
            let key = (t.block.unwrap_or(u64::MAX), t.role);
            let sum = sums.entry(key).or_default();
            *sum = sum.saturating_add(t.bytes);
        }
        sums.into_iter()
            .map(|((b, r), n)| ((b != u64::MAX).then_some(b), r, n))
            .collect()
    }
}
