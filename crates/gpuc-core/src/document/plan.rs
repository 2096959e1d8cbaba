//! plan.json: where every byte of a model goes, the forecast, and the verdict.

use serde::{Deserialize, Serialize};

use crate::forecast::{CacheGrowth, Work};
use crate::json::number::{count, non_negative, plain};

/// Ship or refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The placement fits and clears the floor.
    Ship,
    /// It does not; the message says why.
    Refuse,
}

/// A placement with its forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plan {
    /// Whether the placement fits in VRAM.
    pub fits: bool,
    /// Ship or refuse.
    pub verdict: Verdict,
    /// The runtime that the flags are for.
    #[serde(default = "llama_cpp")]
    pub runtime: String,
    /// llama.cpp's `--n-cpu-moe`: blocks, from block 0, whose experts stay in RAM.
    #[serde(default, deserialize_with = "count")]
    pub n_cpu_moe: Option<u64>,
    /// Layers of the model that carry routed experts.
    #[serde(default, deserialize_with = "count")]
    pub n_moe_layers: Option<u64>,
    /// Layers whose experts stay in RAM: `n_cpu_moe` without the dense blocks that it counts.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub moe_layers_on_host: Option<u64>,
    /// llama.cpp's `-ngl` where not everything is on the GPU.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub n_gpu_layers: Option<u64>,
    /// Share of the blocks in RAM, where blocks rather than experts are placed.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub offload_fraction: Option<f64>,
    /// The flags to launch with.
    #[serde(default)]
    pub llama_flags: Option<String>,
    /// VRAM that may be used, MiB.
    #[serde(default, deserialize_with = "non_negative", serialize_with = "plain")]
    pub vram_budget_mib: Option<f64>,
    /// VRAM that the placement uses, its margin included, MiB.
    #[serde(default, deserialize_with = "non_negative")]
    pub vram_used_mib: Option<f64>,
    /// RAM that may be used, MiB, where that is known.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub ram_budget_mib: Option<f64>,
    /// RAM that holds weights, MiB.
    #[serde(default, deserialize_with = "non_negative")]
    pub ram_used_mib: Option<f64>,
    /// Calibrated forecast of decode, tokens a second; the ceiling itself when uncalibrated.
    #[serde(default, deserialize_with = "non_negative")]
    pub predicted_decode_tok_s: Option<f64>,
    /// Roofline bound of decode, tokens a second.
    #[serde(default, deserialize_with = "non_negative")]
    pub ceiling_decode_tok_s: Option<f64>,
    /// Forecast of prefill, tokens a second; null where the evidence does not carry one.
    #[serde(default, deserialize_with = "non_negative")]
    pub predicted_prefill_tok_s: Option<f64>,
    /// Lower end of the band of prefill.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub predicted_prefill_band_low_tok_s: Option<f64>,
    /// Upper end of the band of prefill.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub predicted_prefill_band_high_tok_s: Option<f64>,
    /// What the forecast of prefill rests on, or why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_basis: Option<String>,
    /// Lower end of the calibrated band.
    #[serde(default, deserialize_with = "non_negative")]
    pub predicted_band_low_tok_s: Option<f64>,
    /// Upper end of the calibrated band.
    #[serde(default, deserialize_with = "non_negative")]
    pub predicted_band_high_tok_s: Option<f64>,
    /// What the ceiling rests on.
    #[serde(default)]
    pub throughput_basis: Option<String>,
    /// What the forecast rests on.
    #[serde(default)]
    pub calibration_basis: Option<String>,
    /// Receipts behind the forecast; 0 when uncalibrated.
    #[serde(default, deserialize_with = "count")]
    pub calibration_n_samples: Option<u64>,
    /// The work of one token that the forecast rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_work: Option<Work>,
    /// How that work grows with the tokens in the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_growth: Option<Vec<CacheGrowth>>,
    /// The floor that decode must clear, tokens a second.
    #[serde(default = "one", deserialize_with = "non_negative")]
    pub floor_tok_s: Option<f64>,
    /// The plan in a sentence, or what was expected, why it fails and what would help.
    #[serde(default)]
    pub message: Option<String>,
    /// The numbers that the plan rests on.
    #[serde(default)]
    pub assumptions: Option<Assumptions>,
    /// What each device holds, the host last.
    #[serde(default)]
    pub memory_map: Vec<DeviceMemory>,
    /// How the footprint was made: "gguf", "safetensors" or "closed-form".
    #[serde(default)]
    pub footprint_source: Option<String>,
    /// What would make a refused plan ship, cheapest first.
    #[serde(default)]
    pub remedies: Vec<Remedy>,
    /// What the model is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_name: Option<String>,
    /// Its quantisation tag, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quant: Option<String>,
    /// The weights file that was planned, its whole path; of a split model, the first file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_file: Option<String>,
    /// The HuggingFace repository that the plan is to be launched from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_repo: Option<String>,
}

/// What one device holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct DeviceMemory {
    /// The GPU's name, or "host".
    pub device: String,
    /// Weights.
    pub weights_bytes: u64,
    /// KV cache and recurrent state.
    pub context_bytes: u64,
    /// Compute buffers.
    pub compute_bytes: u64,
    /// Kept free.
    pub margin_bytes: u64,
}

/// One change that makes a refused plan ship: each was planned before it is offered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Remedy {
    /// What changes: "cache-type", "context", "quant", "cpu-only", "n-cpu-moe", "ram", "vram-and-ram"
    /// or "vram".
    pub kind: String,
    /// The change in words.
    pub change: String,
    /// The flags that ask for it, where flags do.
    pub flags: Option<String>,
    /// The ceiling of the plan that it makes, tokens a second.
    pub ceiling_decode_tok_s: Option<f64>,
}

fn llama_cpp() -> String {
    "llama.cpp".into()
}

#[allow(clippy::unnecessary_wraps)]
fn one() -> Option<f64> {
    Some(1.0)
}

/// What a plan rests on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Assumptions {
    /// RAM bandwidth, GB/s.
    #[serde(deserialize_with = "non_negative")]
    pub cpu_mem_bw_gbps: Option<f64>,
    /// Whether it was measured or given rather than assumed.
    pub cpu_bw_measured: Option<bool>,
    /// VRAM bandwidth, GB/s.
    #[serde(deserialize_with = "non_negative")]
    pub vram_bw_gbps: Option<f64>,
    /// Where the VRAM bandwidth comes from: "given", "measured", or what was assumed.
    pub vram_bw_source: Option<String>,
    /// The most that VRAM could give, GB/s, where the ceiling is over that.
    #[serde(
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub ceiling_vram_bw_gbps: Option<f64>,
    /// The same of RAM.
    #[serde(
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub ceiling_cpu_bw_gbps: Option<f64>,
    /// Bytes of an expert weight.
    #[serde(deserialize_with = "non_negative")]
    pub bytes_per_weight: Option<f64>,
    /// Bytes of any other weight.
    #[serde(deserialize_with = "non_negative")]
    pub non_expert_bpw: Option<f64>,
    /// Context that room is kept for, tokens.
    #[serde(deserialize_with = "count")]
    pub ctx_len: Option<u64>,
    /// Context that is taken as filled for the ceiling, tokens.
    #[serde(deserialize_with = "count")]
    pub depth: Option<u64>,
    /// Sequences.
    #[serde(deserialize_with = "count")]
    pub batch: Option<u64>,
    /// Margin for compute buffers and the CUDA context, MiB.
    #[serde(deserialize_with = "non_negative")]
    pub overhead_mib: Option<f64>,
    /// Type of the KV cache.
    pub kv_dtype: Option<String>,
    /// Parameters of the model, in all (the name is the reference's).
    #[serde(deserialize_with = "count")]
    pub model_total_b: Option<u64>,
    /// The `--n-cpu-moe` that the user forced, if any.
    #[serde(deserialize_with = "count")]
    pub forced_n: Option<u64>,
    /// Further things taken for granted, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
