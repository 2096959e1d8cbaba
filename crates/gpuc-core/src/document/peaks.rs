//! What the watchdog writes: reports, the lines of its log, and peaks.json.

use serde::{Deserialize, Serialize};

/// The limits in force.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Thresholds {
    /// GPU power, % of the card's own limit.
    pub power_pct_max: f64,
    /// GPU temperature, °C.
    pub gpu_temp_c_max: f64,
    /// VRAM used, %.
    pub vram_pct_max: f64,
    /// Host memory used, %.
    pub host_mem_pct_max: f64,
    /// Host memory available, MiB.
    pub host_avail_mib_min: f64,
    /// Swap used, %; none when absent, as with all below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_pct_max: Option<f64>,
    /// Share of the last ten seconds in which all tasks waited for memory, %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi_full_avg10_max: Option<f64>,
    /// Memory of the tightest control group that cannot be given back, % of its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_mem_pct_max: Option<f64>,
    /// VRAM of the job, all GPUs together, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_vram_mib_max: Option<f64>,
    /// Resident memory of the job's processes together, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_rss_mib_max: Option<f64>,
    /// Share of a limit at which a warning starts.
    pub warn_fraction: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            power_pct_max: 95.0,
            gpu_temp_c_max: 87.0,
            vram_pct_max: 98.0,
            host_mem_pct_max: 90.0,
            host_avail_mib_min: 2000.0,
            swap_pct_max: None,
            psi_full_avg10_max: None,
            cgroup_mem_pct_max: None,
            job_vram_mib_max: None,
            job_rss_mib_max: None,
            warn_fraction: 0.9,
        }
    }
}

/// How bad a breach is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Near its limit.
    Warn,
    /// At or past its limit.
    Abort,
}

/// The verdict on one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Safety {
    /// Nothing is near its limit.
    Ok,
    /// Something is.
    Warn,
    /// Something is at or past it.
    Abort,
}

/// One metric near or past its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Breach {
    /// The sample's field, or `gpu_blind_polls`.
    pub metric: String,
    /// What was read.
    pub value: f64,
    /// The line it crossed.
    pub threshold: f64,
    /// Which of the two lines that is.
    pub level: Level,
}

/// Whose memory the host readings describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MemSource {
    /// A Windows machine, read on it.
    WindowsHost,
    /// The virtual machine that WSL2 runs in: the Windows host may be fuller than it shows.
    #[serde(rename = "wsl2-vm")]
    Wsl2Vm,
    /// A Linux machine or container.
    Linux,
}

/// One look at the machine: the worst of all GPUs, and the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Sample {
    /// Power of the GPU nearest its limit, W.
    pub gpu_power_w: Option<f64>,
    /// That GPU's limit, W.
    pub gpu_power_limit_w: Option<f64>,
    /// The one as a share of the other, %.
    pub gpu_power_pct: Option<f64>,
    /// Hottest GPU, °C.
    pub gpu_temp_c: Option<f64>,
    /// VRAM used on the fullest GPU, MiB.
    pub gpu_vram_used_mib: Option<f64>,
    /// That GPU's VRAM, MiB.
    pub gpu_vram_total_mib: Option<f64>,
    /// The one as a share of the other, %.
    pub gpu_vram_pct: Option<f64>,
    /// Busiest GPU, %.
    pub gpu_util_pct: Option<f64>,
    /// GPUs that answered.
    pub gpu_count: Option<u64>,
    /// Host memory used, %.
    pub host_mem_pct: Option<f64>,
    /// Host memory available, MiB.
    pub host_avail_mib: Option<f64>,
    /// Whose memory that is.
    pub mem_source: Option<MemSource>,
    /// Why clocks are held down, on any GPU, idleness left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpu_throttle_reasons: Vec<String>,
    /// Errors of VRAM that could not be corrected, all GPUs together, since the driver was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_ecc_errors: Option<u64>,
    /// Errors (Xid) that the driver has reported since the look before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpu_xids: Vec<u64>,
    /// VRAM of the job, all GPUs together, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_vram_mib: Option<f64>,
    /// Resident memory of the job's processes, MiB; what they share counts once for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_rss_mib: Option<f64>,
    /// Swap used, %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_pct: Option<f64>,
    /// Share of the last ten seconds in which all tasks waited for memory (PSI), %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi_full_avg10: Option<f64>,
    /// What the control group nearest its limit holds and cannot give back, % of that limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_mem_pct: Option<f64>,
    /// The same in MiB: anonymous and shared memory, not the page cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_mem_held_mib: Option<f64>,
    /// That group's limit, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_mem_limit_mib: Option<f64>,
    /// What could not be read, and why.
    pub notes: Vec<String>,
}

/// A sample and what it means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// The worst of the breaches.
    pub verdict: Safety,
    /// Every metric near or past its limit.
    pub breaches: Vec<Breach>,
    /// What was read.
    pub sample: Sample,
    /// Null: a report is printed before anything is done about it.
    pub action_taken: Option<String>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogLine {
    /// When, as an ISO timestamp in UTC.
    pub t: String,
    /// Seconds since the watchdog started.
    pub elapsed_s: f64,
    /// The worst of the breaches.
    pub verdict: Safety,
    /// What was read.
    pub sample: Sample,
    /// Every metric near or past its limit.
    pub breaches: Vec<Breach>,
}

/// peaks.json: the safety envelope of a supervised run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Peaks {
    /// Polls behind it.
    pub samples: u64,
    /// Worst GPU power, % of its limit.
    pub peak_gpu_power_pct: Option<f64>,
    /// Worst GPU power, W.
    pub peak_gpu_power_w: Option<f64>,
    /// Hottest GPU reading, °C.
    pub peak_gpu_temp_c: Option<f64>,
    /// Most VRAM used on one GPU, MiB.
    pub peak_gpu_vram_used_mib: Option<f64>,
    /// Most VRAM used on one GPU, %.
    pub peak_gpu_vram_pct: Option<f64>,
    /// Busiest GPU reading, %.
    pub peak_gpu_util_pct: Option<f64>,
    /// Most host memory used, %.
    pub peak_host_mem_pct: Option<f64>,
    /// Least host memory available, MiB.
    pub min_host_avail_mib: Option<f64>,
    /// Whether a limit was breached.
    pub breached: bool,
    /// Whether none was; null when nothing was sampled.
    pub stayed_within_envelope: Option<bool>,
    /// What was to be done on a breach.
    pub on_breach: String,
    /// The limits in force.
    pub thresholds: Thresholds,
    /// Whether the job was stopped for it: a job may end with the same status by itself.
    pub aborted: bool,
    /// What was done, when something was.
    pub action_taken: Option<String>,
    /// How the run ended.
    pub ended: Option<String>,
    /// How long it took, seconds.
    pub elapsed_s: Option<f64>,
    /// Polls at which GPUs that had answered before did not.
    pub blind_polls: u64,
    /// Most VRAM of the job, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_job_vram_mib: Option<f64>,
    /// Most resident memory of the job, MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_job_rss_mib: Option<f64>,
    /// Most swap used, %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_swap_pct: Option<f64>,
    /// Most pressure on memory, %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_psi_full_avg10: Option<f64>,
    /// Nearest that a control group came to its limit of memory, %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_cgroup_mem_pct: Option<f64>,
    /// Every reason for which clocks were held down.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle_reasons: Vec<String>,
    /// Every error (Xid) that the driver reported, by number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub xids: Vec<u64>,
}
