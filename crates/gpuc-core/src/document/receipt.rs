//! receipt.json: a measured run held against its plan.

use serde::{Deserialize, Serialize};

/// The measured proof of a plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Receipt {
    /// The runtime measured.
    pub runtime: String,
    /// The plan's `--n-cpu-moe`.
    pub n_cpu_moe: Option<u64>,
    /// Decode, tokens a second.
    pub measured_decode_tok_s: Option<f64>,
    /// Prefill, tokens a second.
    pub measured_prefill_tok_s: Option<f64>,
    /// VRAM used, MiB.
    pub measured_vram_used_mib: Option<f64>,
    /// 100 × (measured − planned) / planned VRAM, the plan's margin left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vram_error_pct: Option<f64>,
    /// Standard deviation of decode over its samples, tokens a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_stddev_tok_s: Option<f64>,
    /// Repetitions behind the decode rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_samples: Option<u64>,
    /// Context that was already filled when decode was measured, tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_depth: Option<u64>,
    /// The same at each depth, where several were measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depth_curve: Vec<DepthRow>,
    /// The build of llama.cpp that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bench_build: Option<String>,
    /// The model that was measured, as the benchmark names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bench_model: Option<String>,
    /// The plan's forecast, at the depth that was measured where the plan says what its work is.
    pub predicted_decode_tok_s: Option<f64>,
    /// The plan's ceiling, likewise.
    pub ceiling_decode_tok_s: Option<f64>,
    /// 100 × (measured − forecast) / forecast.
    pub decode_error_pct: Option<f64>,
    /// 100 × measured / ceiling.
    pub realized_efficiency_pct: Option<f64>,
    /// Whether the measurement lies in the plan's band.
    pub within_band: Option<bool>,
    /// Whether it is at or above the floor.
    pub cleared_floor: Option<bool>,
    /// Whether a per-expert cache would help (with `--trace`).
    pub routing_cache_helps: Option<bool>,
    /// Share of experts that carries the asked share of routing.
    pub routing_hot_frac_for_coverage: Option<f64>,
    /// 1 − normalised entropy of the routing.
    pub routing_concentration: Option<f64>,
    /// Worst GPU power of the run, % of its limit (with `--peaks`).
    pub peak_gpu_power_pct: Option<f64>,
    /// Hottest GPU reading, °C.
    pub peak_gpu_temp_c: Option<f64>,
    /// Most VRAM used, MiB.
    pub peak_gpu_vram_used_mib: Option<f64>,
    /// Most host memory used, %.
    pub peak_host_mem_pct: Option<f64>,
    /// Least host memory available, MiB.
    pub min_host_avail_mib: Option<f64>,
    /// Polls behind the envelope.
    pub safety_samples: Option<u64>,
    /// Whether no limit was breached.
    pub stayed_within_envelope: Option<bool>,
    /// How it was measured.
    pub method: Option<String>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// What was measured at one depth.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct DepthRow {
    /// Context that was already filled, tokens.
    pub depth: u64,
    /// Decode, tokens a second.
    pub measured_decode_tok_s: f64,
    /// Its standard deviation.
    pub measured_stddev_tok_s: Option<f64>,
    /// Repetitions behind it.
    pub measured_samples: Option<u64>,
    /// Prefill on top of that context, tokens a second.
    pub measured_prefill_tok_s: Option<f64>,
    /// The forecast at this depth.
    pub predicted_decode_tok_s: Option<f64>,
    /// The ceiling at this depth.
    pub ceiling_decode_tok_s: Option<f64>,
    /// 100 × (measured − forecast) / forecast.
    pub decode_error_pct: Option<f64>,
    /// 100 × measured / ceiling.
    pub realized_efficiency_pct: Option<f64>,
    /// Whether the measurement lies in the forecast's band at this depth.
    pub within_band: Option<bool>,
}
