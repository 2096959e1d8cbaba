//! A calibration point: one receipt, boiled down to what a later forecast needs.

use serde::{Deserialize, Serialize};

use crate::forecast::Work;
use crate::json::number::{count, non_negative};

/// The version of the points that are written; a point without one is older.
pub const POINT_SCHEMA: u64 = 2;

/// One measurement beside its ceiling.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Point {
    /// Version of the point's shape; none before 2.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub schema_version: Option<u64>,
    /// The model measured.
    pub model: String,
    /// Its `--n-cpu-moe`.
    #[serde(deserialize_with = "count")]
    pub n_cpu_moe: Option<u64>,
    /// Its layers with experts.
    #[serde(deserialize_with = "count")]
    pub n_moe_layers: Option<u64>,
    /// The plan's ceiling, tokens a second.
    #[serde(deserialize_with = "non_negative")]
    pub ceiling_tok_s: Option<f64>,
    /// What was measured, tokens a second.
    #[serde(deserialize_with = "non_negative")]
    pub measured_tok_s: Option<f64>,
    /// Its standard deviation over the repeats, tokens a second.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub stddev_tok_s: Option<f64>,
    /// Repeats behind it.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub samples: Option<u64>,
    /// Prefill of the same run, tokens a second.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub prefill_tok_s: Option<f64>,
    /// Layers whose experts were in RAM, where that is not `n_cpu_moe` (dense leading blocks).
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub moe_layers_on_host: Option<u64>,
    /// Share of the blocks that were in RAM, where blocks rather than experts were placed.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub offload_fraction: Option<f64>,
    /// Quantisation tag.
    #[serde(default)]
    pub quant: Option<String>,
    /// RAM bandwidth of the plan, GB/s.
    #[serde(default, deserialize_with = "non_negative")]
    pub cpu_bw_gbps: Option<f64>,
    /// VRAM bandwidth of the plan, GB/s.
    #[serde(default, deserialize_with = "non_negative")]
    pub vram_bw_gbps: Option<f64>,
    /// The most that RAM could give, GB/s, where the plan told.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub best_cpu_bw_gbps: Option<f64>,
    /// The same of VRAM.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub best_vram_bw_gbps: Option<f64>,
    /// Context of the plan, tokens.
    #[serde(default, deserialize_with = "count")]
    pub ctx_len: Option<u64>,
    /// Tokens in the cache when decode was measured.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub depth: Option<u64>,
    /// Points that the same run left behind, where there are several: together they count as one.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub run_points: Option<u64>,
    /// The work of a token under the plan, so that a later law can be held against the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_work: Option<Work>,
    /// The plan's forecast, tokens a second.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub predicted_tok_s: Option<f64>,
    /// The card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// The build of llama.cpp that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// The card's compute capability, such as "8.9".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<String>,
    /// The driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Hottest reading of the card during the run, °C.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub gpu_temp_c: Option<f64>,
    /// Most power that it drew, % of its limit.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub gpu_power_pct: Option<f64>,
    /// VRAM used, MiB.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub vram_used_mib: Option<f64>,
    /// Parameters of the model that was measured.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub n_params: Option<u64>,
    /// Bytes of its weights.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub model_bytes: Option<u64>,
    /// Tokens evaluated at a time.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub ubatch: Option<u64>,
    /// Whether flash attention was on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flash_attn: Option<bool>,
    /// Type of the K cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_type_k: Option<String>,
    /// Type of the V cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_type_v: Option<String>,
    /// ISO date.
    #[serde(default)]
    pub created: Option<String>,
    /// The rig, as its owner calls it.
    #[serde(default)]
    pub rig: Option<String>,
    /// Where the measurement comes from.
    #[serde(default)]
    pub source: Option<String>,
}
