//! profile.json: one rig, measured, and optionally one model, analysed.

use serde::{Deserialize, Serialize};

use crate::json::number::{count, non_negative, or_default, plain};

/// The version that this crate writes.
pub const SCHEMA_VERSION: &str = "0.1.0";

/// A rig and, when one was given, a model; `E` as for [`Model`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(bound(deserialize = "E: Deserialize<'de> + From<Expert>"))]
#[cfg_attr(
    feature = "schema",
    schemars(bound = "E: schemars::JsonSchema + From<Expert> + Serialize")
)]
pub struct Profile<E = Expert> {
    /// Version of the document's shape.
    pub schema_version: String,
    /// ISO date of the measurement.
    pub created: String,
    /// What was measured.
    pub hardware: Hardware,
    /// The model that was analysed with it.
    #[serde(default)]
    pub model: Option<Model<E>>,
    /// What is missing and what it means.
    #[serde(default, deserialize_with = "or_default")]
    pub notes: Vec<String>,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hardware {
    /// The GPU that a plan is made for.
    pub gpu: Gpu,
    /// All GPUs of the machine with all that is known of them, for people to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<serde_json::Value>,
    /// Operating system and container; the key must be there, some writers leave it null.
    #[serde(deserialize_with = "Option::deserialize")]
    pub platform: Option<Platform>,
    /// Transfer rates.
    #[serde(default, deserialize_with = "or_default")]
    pub bandwidth: Bandwidth,
    /// Host memory. Null is kept apart from missing: a plan that needs it then says so.
    #[serde(default = "some_memory")]
    pub memory: Option<Memory>,
}

#[allow(clippy::unnecessary_wraps)]
fn some_memory() -> Option<Memory> {
    Some(Memory::default())
}

/// One GPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gpu {
    /// Marketing name, as the driver gives it.
    pub name: String,
    /// Memory in all, MiB.
    #[serde(default, deserialize_with = "non_negative", serialize_with = "plain")]
    pub vram_total_mib: Option<f64>,
    /// Memory free when it was measured, MiB.
    #[serde(default, deserialize_with = "non_negative", serialize_with = "plain")]
    pub vram_free_mib: Option<f64>,
    /// Memory the driver keeps for itself, MiB (NVML v2 only; v1 counts it as used).
    #[serde(default, deserialize_with = "non_negative", serialize_with = "plain")]
    pub vram_reserved_mib: Option<f64>,
    /// Driver version.
    #[serde(default)]
    pub driver_version: Option<String>,
    /// CUDA version that the driver supports.
    #[serde(default)]
    pub cuda_version: Option<String>,
    /// Compute capability, such as "8.9".
    #[serde(default)]
    pub compute_capability: Option<String>,
    /// PCIe generation.
    #[serde(default, deserialize_with = "count")]
    pub pcie_gen: Option<u64>,
    /// PCIe lanes.
    #[serde(default, deserialize_with = "count")]
    pub pcie_width: Option<u64>,
    /// Where the memory figures come from: "nvml-v2", "nvml-v1" or "nvidia-smi".
    #[serde(default)]
    pub vram_source: Option<String>,
}

/// Operating system, container, passthrough.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Platform {
    /// "linux", "windows" or "macos".
    #[serde(default)]
    pub os: String,
    /// Whether this runs inside a container.
    #[serde(default, deserialize_with = "or_default")]
    pub in_container: bool,
    /// Whether this is Linux under WSL2.
    #[serde(default, deserialize_with = "or_default")]
    pub wsl2: bool,
    /// The container's runtime, such as "docker".
    #[serde(default)]
    pub container_runtime: Option<String>,
    /// Whether a GPU is passed into the container.
    #[serde(default)]
    pub nvidia_runtime: Option<bool>,
    /// False where CUDA cannot oversubscribe unified memory (Windows, WSL2), else unknown.
    #[serde(default)]
    pub uvm_oversubscription: Option<bool>,
}

/// Measured transfer rates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Bandwidth {
    /// Pinned host to device, GB/s.
    #[serde(default, deserialize_with = "non_negative")]
    pub pcie_h2d_gbps: Option<f64>,
    /// Device to pinned host, GB/s.
    #[serde(default, deserialize_with = "non_negative")]
    pub pcie_d2h_gbps: Option<f64>,
    /// Sequential read, GB/s.
    #[serde(default, deserialize_with = "non_negative")]
    pub nvme_seq_read_gbps: Option<f64>,
    /// Random 4 KiB reads at queue depth 1, per second.
    #[serde(default, deserialize_with = "non_negative", serialize_with = "plain")]
    pub nvme_rand_qd1_read_iops: Option<f64>,
    /// Random 4 KiB reads at queue depth 1, MB/s.
    #[serde(default, deserialize_with = "non_negative")]
    pub nvme_rand_qd1_read_mbps: Option<f64>,
    /// Memory of the GPU, GB/s.
    #[serde(default, deserialize_with = "non_negative")]
    pub vram_gbps: Option<f64>,
    /// Where `vram_gbps` comes from.
    #[serde(default)]
    pub vram_method: Option<String>,
    /// How the rates were measured, or why they were not.
    #[serde(default)]
    pub method: Option<String>,
    /// Buffer sizes, filesystem, samples, flags.
    #[serde(default)]
    pub details: Option<serde_json::Value>,
}

/// Host memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Memory {
    /// RAM in all, GiB.
    #[serde(default, deserialize_with = "non_negative")]
    pub ram_total_gib: Option<f64>,
    /// RAM available, GiB, never more than a cgroup allows.
    #[serde(default, deserialize_with = "non_negative")]
    pub ram_available_gib: Option<f64>,
    /// Most RAM that could be pinned, GiB.
    #[serde(default, deserialize_with = "non_negative")]
    pub pinnable_ceiling_gib: Option<f64>,
    /// How that was probed.
    #[serde(default)]
    pub pinnable_method: Option<String>,
    /// Whether the probe stopped at its own cap, so that the figure means "at least".
    #[serde(default)]
    pub pinnable_capped: Option<bool>,
    /// RAM bandwidth, GB/s.
    #[serde(default, deserialize_with = "non_negative")]
    pub cpu_mem_bw_gbps: Option<f64>,
    /// How that was measured.
    #[serde(default)]
    pub cpu_mem_bw_method: Option<String>,
    /// What the modules could deliver at best, GB/s.
    #[serde(
        default,
        deserialize_with = "non_negative",
        skip_serializing_if = "Option::is_none"
    )]
    pub ram_theoretical_gbps: Option<f64>,
    /// Where that comes from, or why it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_theoretical_method: Option<String>,
    /// Memory nodes, huge pages, samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
}

/// A model, as the planner needs it.
///
/// `E` is [`Expert`] where the experts are needed, and `Option<Expert>` where a document that holds
/// null in their place is only passed on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(bound(deserialize = "E: Deserialize<'de> + From<Expert>"))]
#[cfg_attr(
    feature = "schema",
    schemars(bound = "E: schemars::JsonSchema + From<Expert> + Serialize")
)]
pub struct Model<E = Expert> {
    /// Its name.
    pub name: String,
    /// "dense", "moe" or "unknown".
    #[serde(default = "unknown")]
    pub architecture: Option<String>,
    /// Parameters in all.
    #[serde(default, deserialize_with = "count")]
    pub total_params: Option<u64>,
    /// Blocks.
    #[serde(default, deserialize_with = "count")]
    pub n_layers: Option<u64>,
    /// Key-value heads of a layer.
    #[serde(default, deserialize_with = "count")]
    pub n_kv_heads: Option<u64>,
    /// Elements of a head.
    #[serde(default, deserialize_with = "count")]
    pub head_dim: Option<u64>,
    /// Bytes of an unquantised weight.
    #[serde(default = "two", deserialize_with = "non_negative")]
    pub dtype_bytes: Option<f64>,
    /// Quantisation tag, such as "gguf-q4_k_m".
    #[serde(default)]
    pub quant: Option<String>,
    /// Experts, if any.
    #[serde(default = "no_experts::<E>")]
    pub expert: E,
    /// KV cache of one token over all layers, bytes.
    #[serde(default, deserialize_with = "count")]
    pub kv_bytes_per_token: Option<u64>,
    /// Parameters of the routed experts: what `--n-cpu-moe` can move.
    #[serde(default, deserialize_with = "count")]
    pub expert_params_total: Option<u64>,
    /// All other parameters: what stays on the GPU.
    #[serde(default, deserialize_with = "count")]
    pub non_expert_params: Option<u64>,
    /// Layers that carry routed experts.
    #[serde(default, deserialize_with = "count")]
    pub n_moe_layers: Option<u64>,
    /// The configuration's `model_type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The longest context it was made for, tokens: what `--ctx 0` means.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_context: Option<u64>,
    /// Width of the residual stream.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub hidden_size: Option<u64>,
    /// Tokens in the vocabulary.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub vocab_size: Option<u64>,
    /// Query heads of a layer.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub n_heads: Option<u64>,
    /// Whether the output layer is the input embedding once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tied_embeddings: Option<bool>,
    /// Blocks for predicting further tokens, which llama.cpp counts but does not load.
    #[serde(
        default,
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub n_nextn_layers: Option<u64>,
    /// Which blocks carry routed experts, where that is not simply all of the first ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moe_blocks: Option<Vec<BlockRun>>,
    /// How the cache grows, where it is not `kv_bytes_per_token` for each token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_groups: Option<Vec<KvGroup>>,
    /// How the published weights are quantised, as the configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
}

/// Blocks at equal distances: `first`, `first + every`, ... , `count` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BlockRun {
    /// Index of the first block.
    pub first: u64,
    /// Distance between two blocks, at least 1.
    pub every: u64,
    /// How many blocks.
    pub count: u64,
}

/// Layers whose cache follows one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KvGroup {
    /// How many layers.
    pub layers: u64,
    /// Cache of one token over these layers, bytes, at 16 bits an element.
    pub bytes_per_token: u64,
    /// Tokens that a layer keeps, where it does not keep all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// Recurrent state of one sequence over these layers, bytes.
    #[serde(default)]
    pub state_bytes: u64,
}

/// What a configuration says about quantised weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Quantization {
    /// Its method, such as "gptq", "awq" or "fp8".
    #[serde(default)]
    pub method: Option<String>,
    /// Bits of a weight.
    #[serde(default, deserialize_with = "non_negative", serialize_with = "plain")]
    pub bits: Option<f64>,
    /// Weights that share a scale.
    #[serde(default, deserialize_with = "count")]
    pub group_size: Option<u64>,
}

#[allow(clippy::unnecessary_wraps)]
fn unknown() -> Option<String> {
    Some("unknown".into())
}

#[allow(clippy::unnecessary_wraps)]
fn two() -> Option<f64> {
    Some(2.0)
}

fn no_experts<E: From<Expert>>() -> E {
    Expert::default().into()
}

/// The experts of a mixture-of-experts model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Expert {
    /// Whether there are any.
    #[serde(default, deserialize_with = "or_default")]
    pub is_moe: bool,
    /// Routed experts of a layer.
    #[serde(default, deserialize_with = "count")]
    pub num_experts: Option<u64>,
    /// Routed experts that a token uses (top-k).
    #[serde(default, deserialize_with = "count")]
    pub experts_per_token: Option<u64>,
    /// Shared experts, as the configuration counts them.
    #[serde(default, deserialize_with = "count")]
    pub shared_params: Option<u64>,
    /// Parameters of one routed expert.
    #[serde(default, deserialize_with = "count")]
    pub expert_params_each: Option<u64>,
}
