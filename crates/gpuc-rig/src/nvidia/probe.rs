//! One way in to whatever answers for the GPUs.

use std::path::Path;
use std::time::Duration;

use gpuc_core::error::{Code, Coded};

use super::details::Details;
use super::{nvml, smi};

/// A value, or why it is missing.
pub type Reading<T> = Result<T, String>;

/// How long one round of questions may take; a driver in trouble can hang for ever.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// What one GPU is doing now.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// Power drawn, W.
    pub power_w: Reading<f64>,
    /// Power limit in force, W.
    pub power_limit_w: Reading<f64>,
    /// Temperature of the chip, °C.
    pub temp_c: Reading<f64>,
    /// Memory in use, MiB. By NVML this includes what the driver keeps for itself, so that it is
    /// all that is not free; by nvidia-smi it does before R510 only.
    pub vram_used_mib: Reading<f64>,
    /// Memory in all, MiB.
    pub vram_total_mib: Reading<f64>,
    /// Share of the last sample period in which a kernel ran, %.
    pub util_pct: Reading<f64>,
    /// Why its clocks are held down, in words.
    pub throttle_reasons: Reading<Vec<String>>,
    /// Errors of its memory that could not be corrected, since the driver was loaded.
    pub ecc_errors: Reading<u64>,
    /// Errors (Xid) since it was last asked, where the driver tells them.
    pub xids: Vec<u64>,
    /// The processes that use it.
    pub processes: Reading<Processes>,
    /// It has not answered yet and still has time to; what is there is what it has said so far.
    pub pending: bool,
}

/// Processes by number, each with its memory in MiB where the driver tells it.
pub type Processes = Vec<(u32, Option<f64>)>;

/// What is asked of a GPU beyond what limits of its own need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watched {
    /// Why it is slow, its errors, its processes.
    pub further: bool,
    /// Its processes each time, not once in a while: a limit depends on them.
    pub processes_always: bool,
}

impl Live {
    /// A GPU of which nothing is known, for one reason.
    pub fn missing(why: &str) -> Self {
        Self {
            power_w: Err(why.into()),
            power_limit_w: Err(why.into()),
            temp_c: Err(why.into()),
            vram_used_mib: Err(why.into()),
            vram_total_mib: Err(why.into()),
            util_pct: Err(why.into()),
            throttle_reasons: Err(why.into()),
            ecc_errors: Err(why.into()),
            xids: Vec::new(),
            processes: Err(why.into()),
            pending: false,
        }
    }
}

/// What one GPU is.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// Marketing name.
    pub name: Reading<String>,
    /// Memory in all, MiB.
    pub vram_total_mib: Reading<f64>,
    /// Memory free, MiB.
    pub vram_free_mib: Reading<f64>,
    /// Memory the driver keeps for itself, MiB; only NVML's second interface tells it apart.
    pub vram_reserved_mib: Reading<f64>,
    /// Driver version.
    pub driver_version: Reading<String>,
    /// Newest CUDA version that the driver supports.
    pub cuda_version: Reading<String>,
    /// Compute capability, such as "8.9".
    pub compute_capability: Reading<String>,
    /// PCIe generation of card and slot together.
    pub pcie_gen: Reading<u64>,
    /// PCIe lanes of card and slot together.
    pub pcie_width: Reading<u64>,
    /// Where the memory figures come from: "nvml-v2", "nvml-v1" or "nvidia-smi".
    pub source: &'static str,
    /// What else is known.
    pub details: Details,
}

impl Identity {
    /// A GPU of which nothing is known, for one reason.
    pub fn missing(why: &str, source: &'static str) -> Self {
        Self {
            name: Err(why.into()),
            vram_total_mib: Err(why.into()),
            vram_free_mib: Err(why.into()),
            vram_reserved_mib: Err(why.into()),
            driver_version: Err(why.into()),
            cuda_version: Err(why.into()),
            compute_capability: Err(why.into()),
            pcie_gen: Err(why.into()),
            pcie_width: Err(why.into()),
            source,
            details: Details::missing(why),
        }
    }
}

/// Why no GPU could be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Neither NVML nor nvidia-smi is on this machine.
    #[error("no GPU can be asked: {nvml}; nvidia-smi is not on PATH")]
    Absent {
        /// Why NVML could not be used.
        nvml: String,
    },
    /// It is there but gave no usable answer.
    #[error("{tool}: {why}")]
    Failed {
        /// "NVML" or "nvidia-smi".
        tool: &'static str,
        /// What went wrong.
        why: String,
    },
    /// It is there and did not answer in time.
    #[error("{tool} did not answer within {} s", .after.as_secs_f64())]
    Hung {
        /// "NVML" or "nvidia-smi".
        tool: &'static str,
        /// How long was waited.
        after: Duration,
    },
}

impl Coded for ProbeError {
    fn code(&self) -> Code {
        Code::DepMissing
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Absent { .. } => {
                "install NVIDIA's driver, or pass the GPU into the container".into()
            }
            Self::Failed { .. } => "see whether nvidia-smi works by itself".into(),
            Self::Hung { .. } => "the driver is stuck; see dmesg for an Xid error".into(),
        })
    }
}

/// A connection to whatever answers for the GPUs of this machine.
#[derive(Debug)]
pub struct Probe(Way);

#[derive(Debug)]
enum Way {
    Nvml(nvml::Nvml),
    Smi(smi::Smi),
}

impl Probe {
    /// Loads NVML, or finds nvidia-smi where that fails.
    ///
    /// `$GPUC_NVML_LIB`, when set, is the only library that is tried.
    pub fn open() -> Result<Self, ProbeError> {
        Self::open_within(DEADLINE)
    }

    /// Like [`Probe::open`], with another limit on how long each round of questions may take.
    pub fn open_within(deadline: Duration) -> Result<Self, ProbeError> {
        let why = match nvml::Nvml::open(nvml::libraries(), deadline) {
            Ok(nvml) => return Ok(Self(Way::Nvml(nvml))),
            // nvidia-smi talks to the same stuck driver, and cannot even be killed then.
            Err(hung @ ProbeError::Hung { .. }) => return Err(hung),
            Err(e) => e.to_string(),
        };
        match smi::Smi::find(deadline) {
            Some(smi) => Ok(Self(Way::Smi(smi))),
            None => Err(ProbeError::Absent { nvml: why }),
        }
    }

    /// This NVML and nothing else.
    pub fn open_library(library: &Path, deadline: Duration) -> Result<Self, ProbeError> {
        let nvml = nvml::Nvml::open(vec![library.into()], deadline)?;
        Ok(Self(Way::Nvml(nvml)))
    }

    /// "NVML" or "nvidia-smi".
    pub fn tool(&self) -> &'static str {
        match &self.0 {
            Way::Nvml(_) => nvml::TOOL,
            Way::Smi(_) => smi::TOOL,
        }
    }

    /// Reads this of each GPU from now on; to be said before they are first asked.
    pub fn watch(&mut self, watched: Watched) {
        match &mut self.0 {
            Way::Nvml(nvml) => nvml.cards.watch(watched),
            Way::Smi(smi) => smi.watched = watched,
        }
    }

    /// What each GPU is doing now. One that is lost stays in the list, with everything missing.
    pub fn live(&mut self) -> Result<Vec<Live>, ProbeError> {
        self.live_within(Duration::MAX)
    }

    /// The same, but once one has answered, the others are waited for no longer than this: they
    /// are pending then.
    pub fn live_within(&mut self, patience: Duration) -> Result<Vec<Live>, ProbeError> {
        match &mut self.0 {
            Way::Nvml(nvml) => nvml.cards.live(patience),
            Way::Smi(smi) => smi.live(),
        }
    }

    /// Begins the driver anew, which may have been unloaded or updated; the next answers say
    /// whether that could be done. It does nothing where an answer is still owed.
    pub fn renew(&mut self) {
        match &mut self.0 {
            Way::Nvml(nvml) => nvml.renew(),
            Way::Smi(_) => {}
        }
    }

    /// What each GPU is.
    pub fn identities(&mut self) -> Result<Vec<Identity>, ProbeError> {
        match &mut self.0 {
            Way::Nvml(nvml) => nvml.identities(),
            Way::Smi(smi) => smi.identities(),
        }
    }
}
