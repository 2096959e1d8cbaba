//! The report of `concentration`: would a cache of hot experts carry this workload?

use serde::{Deserialize, Serialize};

/// The verdict on one routing trace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Concentration {
    /// The model traced.
    pub model: Option<String>,
    /// Experts in a layer, as the trace declares them.
    pub num_experts: u64,
    /// Layers that received any token.
    pub n_layers: u64,
    /// Tokens of the workload.
    pub n_tokens: Option<u64>,
    /// Share of the routing that the resident experts are to carry.
    pub coverage_target: f64,
    /// A cache helps when fewer than this share of the experts carry it.
    pub threshold: f64,
    /// Whether a per-expert cache could help.
    pub cache_helps: bool,
    /// Median over the layers of the share of experts that carries the target.
    pub hot_frac_for_coverage: f64,
    /// Mean over the layers of 1 − normalised entropy: 0 even, 1 a single expert.
    pub concentration_score: f64,
    /// Median over the layers of the hottest expert's share.
    pub top1_share: f64,
    /// The layers that received any token, in the trace's order.
    pub per_layer: Vec<LayerConcentration>,
    /// How the verdict was reached.
    pub basis: String,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// How one layer spreads its tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerConcentration {
    /// Which block of the model it is.
    pub layer_index: Option<u64>,
    /// All visits of the layer.
    pub total_mass: u64,
    /// The hottest expert's share.
    pub top1_share: f64,
    /// Share of experts, hottest first, that carries the target.
    pub hot_frac_for_coverage: f64,
    /// 1 − normalised entropy.
    pub concentration_score: f64,
}
