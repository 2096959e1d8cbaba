//! What a placement costs: the one thing that the planner asks of a model.

use std::collections::BTreeSet;

use crate::footprint::{ExpertKind, ExpertTensor};
use crate::forecast::{CacheGrowth, PrefillWork, Work};

/// Where the parts of a model go, in llama.cpp's terms.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placement {
    /// `-ngl`: how many of the blocks and the output layer, counted from the last, are on the GPU;
    /// none stands for all.
    pub gpu_layers: Option<u64>,
    /// `--n-cpu-moe`: blocks, from block 0, whose experts stay in RAM.
    pub n_cpu_moe: u64,
    /// Further expert tensors that stay in RAM (`-ot`).
    pub host_experts: BTreeSet<(u64, ExpertKind)>,
}

/// What one device holds, in bytes; in 128 bits, since a context may be asked for that no machine
/// could hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tier {
    /// Weights.
    pub weights: u128,
    /// KV cache and recurrent state.
    pub context: u128,
    /// Compute buffers.
    pub compute: u128,
}

impl Tier {
    /// All of it.
    pub fn total(&self) -> u128 {
        self.weights
            .saturating_add(self.context)
            .saturating_add(self.compute)
    }
}

/// What a placement costs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Bytes on the GPU.
    pub device: Tier,
    /// Bytes in RAM.
    pub host: Tier,
    /// All of the GPU's bytes, as they are before they are rounded to whole ones.
    pub device_bytes: f64,
    /// All of the RAM's bytes, likewise.
    pub host_bytes: f64,
    /// Bytes read from VRAM for one token.
    pub device_read: f64,
    /// Bytes read from RAM for one token.
    pub host_read: f64,
}

impl Usage {
    /// Roofline bound of decode, tokens a second: bytes that must be read for a token over the
    /// bandwidth of the tier they are in, both tiers in turn. Rates are bytes a second.
    pub fn ceiling_tok_s(&self, vram_bytes_s: f64, ram_bytes_s: f64) -> f64 {
        1.0 / (self.device_read / vram_bytes_s + self.host_read / ram_bytes_s)
    }
}

/// A model at one setting (context, cache, batch): knows the cost of each placement.
pub trait Footprint {
    /// Where it comes from: "closed-form", "gguf" or "safetensors".
    fn source(&self) -> &'static str;

    /// Layers with routed experts; none for a dense model.
    fn moe_layers(&self) -> u64;

    /// The placement that keeps the experts of the first `on_host` such layers in RAM.
    fn placement(&self, on_host: u64) -> Placement;

    /// How many layers' experts a given `--n-cpu-moe` keeps in RAM.
    fn moe_layers_on_host(&self, n_cpu_moe: u64) -> u64;

    /// Blocks, where that is known.
    fn blocks(&self) -> Option<u64>;

    /// Whether single blocks can be left to the CPU (`-ngl`): what they hold is known.
    fn by_blocks(&self) -> bool;

    /// Expert tensors, where they can be placed one by one.
    fn experts(&self) -> &[ExpertTensor] {
        &[]
    }

    /// What a placement costs.
    fn usage(&self, placement: &Placement) -> Usage;

    /// The work of decoding one token, for the forecast; none where too little is known.
    fn work(&self, placement: &Placement) -> Option<Work>;

    /// How that work grows with the depth.
    fn cache_growth(&self, placement: &Placement) -> Vec<CacheGrowth>;

    /// The work of prefill with everything on the GPU; none where too little is known.
    fn prefill_work(&self) -> Option<PrefillWork>;
}
