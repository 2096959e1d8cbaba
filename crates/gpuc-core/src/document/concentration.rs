//! The report of `concentration`: would a cache of hot experts carry this workload?

use serde::{Deserialize, Serialize};

use crate::routing::Policy;

/// The verdict on one routing trace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Mean over the layers of the Gini index: 0 even, near 1 a single expert.
    pub gini: f64,
    /// Lower end of the 95 % interval of `hot_frac_for_coverage`, where tokens are known singly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_frac_low: Option<f64>,
    /// Upper end of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_frac_high: Option<f64>,
    /// What caches of a few experts per layer would have served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replay: Vec<CacheReplay>,
    /// Decode with all experts in RAM and no cache, tokens a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncached_decode_tok_s: Option<f64>,
    /// The same figures for each further workload.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<Workload>,
    /// The layers that received any token, in the trace's order.
    pub per_layer: Vec<LayerConcentration>,
    /// How the verdict was reached.
    pub basis: String,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// How one layer spreads its tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Gini index of the counts.
    pub gini: f64,
}

/// What a cache of a few experts in each layer would have served of a per-token trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CacheReplay {
    /// Experts that each layer has room for.
    pub slots: u64,
    /// How they are replaced.
    pub policy: Policy,
    /// Choices that found their expert in the cache.
    pub hits: u64,
    /// All choices.
    pub selections: u64,
    /// The first over the second.
    pub hit_rate: f64,
    /// Share of the tokens, layer by layer, that found all of their experts there: only these leave
    /// the processor out.
    #[serde(default)]
    pub whole_rate: f64,
    /// VRAM that the cache takes, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vram_mib: Option<f64>,
    /// Decode with all experts in RAM and this cache, tokens a second, misses read where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted_decode_tok_s: Option<f64>,
    /// Decode when that much VRAM holds all experts of as many layers as fit instead, as
    /// `--n-cpu-moe` leaves them there, tokens a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole_layers_decode_tok_s: Option<f64>,
}

/// One workload beside others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Workload {
    /// The file.
    pub name: String,
    /// Its tokens.
    pub n_tokens: Option<u64>,
    /// Share of experts that carries the target.
    pub hot_frac_for_coverage: f64,
    /// Lower end of the 95 % interval of that share, where tokens are known singly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_frac_low: Option<f64>,
    /// Upper end of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_frac_high: Option<f64>,
    /// 1 − normalised entropy.
    pub concentration_score: f64,
    /// Gini index.
    pub gini: f64,
    /// Share of this workload's choices that the first trace's hot experts carry.
    pub carried_by_first: f64,
}
