//! What was read: the GPUs, the host, the job.

use crate::document::MemSource;

/// One GPU's readings; a missing one is explained in its notes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GpuReading {
    /// Power drawn, W.
    pub power_w: Option<f64>,
    /// The card's own power limit, W.
    pub power_limit_w: Option<f64>,
    /// Temperature, °C.
    pub temp_c: Option<f64>,
    /// VRAM used, MiB.
    pub vram_used_mib: Option<f64>,
    /// VRAM, MiB.
    pub vram_total_mib: Option<f64>,
    /// Utilisation, %.
    pub util_pct: Option<f64>,
    /// Why its clocks are held down, idleness left out.
    pub throttle_reasons: Vec<String>,
    /// Errors of its memory that could not be corrected, since the driver was loaded.
    pub ecc_errors: Option<u64>,
    /// Errors that the driver has reported since the last reading, by number.
    pub xids: Vec<u64>,
    /// Processes that use it, each with its VRAM in MiB; `None` where the driver does not say.
    pub processes: Option<Vec<(u32, Option<f64>)>>,
    /// It was asked and still has time to answer: that it says nothing means nothing.
    pub pending: bool,
    /// Why readings are missing.
    pub notes: Vec<String>,
}

/// What the GPUs had to say.
#[derive(Debug, Clone, PartialEq)]
pub enum GpuReadings {
    /// They answered.
    Read(Vec<GpuReading>),
    /// They were asked and did not answer, for this reason.
    Failed(String),
    /// Their answer was not waited for, for this reason: it says nothing about them.
    NotAwaited(String),
}

/// The control group that is nearest its limit of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GroupReading {
    /// Its limit, MiB.
    pub limit_mib: f64,
    /// What it holds and cannot give back without swapping (anonymous and shared memory), MiB.
    pub held_mib: f64,
}

/// What is read of the host beside its memory and swap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostWanted {
    /// How long tasks wait for memory.
    pub pressure: bool,
    /// The control groups.
    pub groups: bool,
}

impl HostWanted {
    /// Everything.
    pub const ALL: Self = Self {
        pressure: true,
        groups: true,
    };
}

/// The host's memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostReading {
    /// All of it, MiB.
    pub total_mib: Option<f64>,
    /// What could still be had, MiB.
    pub avail_mib: Option<f64>,
    /// Swap, MiB.
    pub swap_total_mib: Option<f64>,
    /// Swap that is free, MiB.
    pub swap_free_mib: Option<f64>,
    /// Share of the last ten seconds in which all tasks waited for memory, %.
    pub psi_full_avg10: Option<f64>,
    /// The control group around us that is nearest its limit, where one has a limit.
    pub group: Option<GroupReading>,
    /// Whose memory it is.
    pub source: Option<MemSource>,
    /// Why readings are missing, and what to know about those that are not.
    pub notes: Vec<String>,
}

/// The supervised job; nothing of it where there is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobReading {
    /// The numbers of its processes, when they were read.
    pub processes: Option<Vec<i32>>,
    /// Whether the driver counts processes as we do: not so in a container.
    pub numbers_are_the_hosts: bool,
    /// Whether nothing of it ran before the watch began, so that what has grown since is its own.
    pub since_the_start: bool,
    /// What they hold in memory together, MiB; what they share counts once for each.
    pub rss_mib: Option<f64>,
}

/// Everything read at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The GPUs.
    pub gpus: GpuReadings,
    /// The host.
    pub host: HostReading,
    /// The job.
    pub job: JobReading,
}

impl GpuReadings {
    /// The GPUs that answered; `None` when none could be asked.
    pub fn read(&self) -> Option<&[GpuReading]> {
        match self {
            Self::Read(gpus) => Some(gpus),
            Self::Failed(_) | Self::NotAwaited(_) => None,
        }
    }
}
