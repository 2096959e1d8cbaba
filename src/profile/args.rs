//! What can be said to the profile command.

use std::path::PathBuf;

use clap::Parser;

use crate::CommonArgs;
use crate::screen::FormatArgs;
use crate::values::{at_least_one, memory_size, positive};

const AFTER: &str = "\
Examples:
  gpu-container-profile -o rig.json
  gpu-container-profile --no-bench --model-config config.json --quant gguf-q4_k_m -o profile.json
  gpu-container-profile --what-if 'RTX 4090' --ram 64GiB --ram-bw 80 -o imagined.json
  gpu-container-profile --from-profile rig.json --model-config config.json -o profile.json

Environment:
  GPU_CONTAINER_BENCH_DIR  the folder for the NVMe benchmark, unless --bench-dir names one
  CUDA_VISIBLE_DEVICES     the GPUs to choose from
  GPUC_CUDA_LIB            the only CUDA driver library to try
  GPUC_NVML_LIB            the only NVML library to try

Exit status:
  0    profiled
  2    bad usage or input, an output that cannot be written, or a failed --emit-baseline
  130  interrupted";

/// Measures this rig (GPU, platform, bandwidth, memory) and analyses a model, into profile.json.
#[derive(Debug, Parser)]
#[command(
    name = "gpu-container-profile",
    version,
    args_override_self = true,
    after_help = AFTER
)]
pub struct Args {
    /// Analyse the model that this HuggingFace config.json describes (`-` reads standard input)
    #[arg(long, value_name = "FILE")]
    pub model_config: Option<PathBuf>,

    /// Describe the model in this weights file (GGUF, the first of a split one, or its folder), or in
    /// this folder of safetensors with its config.json
    #[arg(long, value_name = "FILE|DIR", conflicts_with = "model_config")]
    pub model: Option<PathBuf>,

    /// Call the model this, rather than what its configuration calls it
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub model_name: Option<String>,

    /// Quantisation of the model's weights, such as gguf-q4_k_m
    #[arg(long, value_name = "TAG")]
    pub quant: Option<String>,

    /// Date that the profile bears [default: today in UTC]
    #[arg(long, value_name = "ISO")]
    pub date: Option<String>,

    /// Read what the rig says about itself, but measure no bandwidth
    #[arg(long)]
    pub no_bench: bool,

    /// Folder on the NVMe drive to measure [default: $GPU_CONTAINER_BENCH_DIR, else /bench]
    #[arg(long, value_name = "DIR")]
    pub bench_dir: Option<PathBuf>,

    /// Seconds that each of the two NVMe passes is timed
    #[arg(long, value_name = "SECONDS", default_value = "8", value_parser = pass_seconds)]
    pub bench_seconds: u64,

    /// Size of the file that the NVMe passes read
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = file_size)]
    pub bench_size: u64,

    /// Write the profile to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// The GPU to profile [default: the one with most memory free, of those that
    /// CUDA_VISIBLE_DEVICES shows]
    #[arg(long, value_name = "INDEX|UUID|NAME")]
    pub gpu: Option<String>,

    /// Describe a rig with this GPU instead of measuring this one; every number is then assumed
    #[arg(
        long,
        value_name = "GPU",
        requires = "ram",
        conflicts_with_all = ["from_profile", "emit_baseline"]
    )]
    pub what_if: Option<String>,

    /// RAM of the --what-if rig, such as 64GiB
    #[arg(long, value_name = "SIZE", value_parser = memory_size, requires = "what_if")]
    pub ram: Option<u64>,

    /// RAM bandwidth of the --what-if rig, GB/s
    #[arg(long, value_name = "GB/S", value_parser = positive, requires = "what_if")]
    pub ram_bw: Option<f64>,

    /// Print the table of GPUs that --what-if knows, and end
    #[arg(long)]
    pub list_gpus: bool,

    /// Take the rig from this profile instead of measuring this one (`-` reads standard input)
    #[arg(long, value_name = "FILE")]
    pub from_profile: Option<PathBuf>,

    /// Also store the measurements in the baseline database
    #[arg(long)]
    pub emit_baseline: bool,

    /// The baseline database, made when missing [default: baseline.db in the user's data folder]
    #[arg(long, value_name = "FILE")]
    pub baseline_db: Option<PathBuf>,

    /// What to call the surroundings of the measurement in the baseline database
    #[arg(long, value_name = "TEXT")]
    pub baseline_context: Option<String>,

    /// Print how the readings in the baseline database moved, and end
    #[arg(long)]
    pub baseline_history: bool,

    #[command(flatten)]
    pub(crate) format: FormatArgs,

    /// Show the whole chain of causes of an error
    #[arg(long)]
    pub debug: bool,
}

/// fio runs for hours when told so; nobody means that.
fn pass_seconds(text: &str) -> Result<u64, String> {
    match at_least_one(text) {
        Ok(n) if n <= 600 => Ok(n),
        _ => Err("expected whole seconds from 1 to 600".into()),
    }
}

fn file_size(text: &str) -> Result<u64, String> {
    match memory_size(text)? {
        bytes if bytes >= 16 << 20 => Ok(bytes),
        _ => Err("expected at least 16MiB".into()),
    }
}

impl Args {
    /// The date that was given; an empty one counts as none.
    pub fn given_date(&self) -> Option<&str> {
        self.date.as_deref().filter(|d| !d.is_empty())
    }
}

impl CommonArgs for Args {
    fn debug(&self) -> bool {
        self.debug
    }
}
