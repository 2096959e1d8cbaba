//! What a plan takes from a profile: budgets and bandwidths, each with where it comes from.

use crate::document::Hardware;
use crate::error::{Code, Coded};
use crate::forecast::{RamRate, Stated};
use crate::units::{GIB, MIB};

/// RAM bandwidth when nothing was measured, GB/s: two channels of DDR5-5000.
const ASSUMED_RAM_GBPS: f64 = 80.0;
/// VRAM bandwidth when the card is unknown, GB/s: the fastest consumer card (RTX 5090), so that
/// the ceiling stays an upper bound.
const ASSUMED_VRAM_GBPS: f64 = 1790.0;
/// RAM can carry this many times what was read from it in a measurement: 17.8 GB/s by one thread
/// and 30.6 GB/s in decode are known of one machine.
const RAM_HEADROOM: f64 = 2.0;
/// A copy within VRAM gets about this share of what the bus can carry.
const COPY_SHARE: f64 = 0.9;

/// Why a profile cannot be planned with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RigError {
    /// `hardware.memory` is null.
    #[error("the profile's hardware.memory is null, so the plan's RAM cannot be judged")]
    NoMemory,
    /// A bandwidth that is measured as nothing.
    #[error("the profile's {0} is 0, which no measurement gives")]
    ZeroBandwidth(&'static str),
}

impl Coded for RigError {
    fn code(&self) -> Code {
        Code::InputBadProfile
    }
    fn hint(&self) -> Option<String> {
        Some("write the profile anew with gpu-container-profile, or correct the field".into())
    }
}

/// A rate and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    /// GB/s, decimal.
    pub gbps: f64,
    /// Whether it was measured or given, rather than assumed.
    pub known: bool,
    /// Where it comes from, in words.
    pub source: String,
    /// The most that the tier could give.
    pub best: Best,
    /// What its memory delivers as the law of decode takes it, GB/s.
    pub delivers: f64,
    /// Whether that is more than a guess.
    pub delivers_known: bool,
}

/// The most that a tier could give: what no run can exceed.
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    /// GB/s, decimal.
    pub gbps: f64,
    /// Where it comes from, in words.
    pub source: String,
}

/// Both tiers' bandwidths.
#[derive(Debug, Clone, PartialEq)]
pub struct Bandwidths {
    /// RAM.
    pub ram: Rate,
    /// VRAM.
    pub vram: Rate,
    /// Whether the VRAM's rate is this card's, be it from a table, and no stand-in for it.
    pub card_known: bool,
}

impl Rate {
    fn new(gbps: f64, known: bool, source: impl Into<String>) -> Self {
        let source = source.into();
        Self {
            gbps,
            known,
            best: Best {
                gbps,
                source: source.clone(),
            },
            source,
            delivers: gbps,
            delivers_known: known,
        }
    }

    /// RAM's rate, with what its modules could deliver where that is known. A measurement may fall
    /// short of it by much, but never exceeds it.
    fn of_ram(mut self, theoretical: Option<f64>, kind: RamRate) -> Self {
        let delivers = kind.modules_gbps(self.gbps);
        (self.delivers, self.delivers_known) = match theoretical {
            Some(gbps) if kind == RamRate::AllCores => (gbps.min(delivers), true),
            Some(gbps) if gbps >= self.gbps => (gbps, true),
            _ => (delivers, self.known && kind != RamRate::Unstated),
        };
        self.best = match theoretical {
            Some(gbps) if gbps >= self.gbps => Best {
                gbps,
                source: "theoretical".into(),
            },
            _ => Best {
                gbps: self.gbps * RAM_HEADROOM,
                source: format!("twice what is {}", self.source),
            },
        };
        self
    }

    /// VRAM's rate; a copy that was measured falls short of the bus.
    fn of_vram(mut self) -> Self {
        if self.source.starts_with("measured") {
            self.best = Best {
                gbps: self.gbps / COPY_SHARE,
                source: format!("the bus by what was {}", self.source),
            };
            // The law is fitted to what the bus can carry.
            self.delivers = self.best.gbps;
        }
        self
    }

    /// The rate as the forecast takes it.
    pub fn stated(&self) -> Stated {
        Stated {
            gbps: self.delivers,
            best_gbps: self.best.gbps,
            known: self.delivers_known,
        }
    }
}

impl Bandwidths {
    /// Given on the command line, else measured, else assumed and labelled so.
    pub fn resolve(
        hardware: &Hardware,
        ram_flag: Option<f64>,
        vram_flag: Option<f64>,
    ) -> Result<Self, RigError> {
        let measured_ram = hardware.memory.as_ref().and_then(|m| m.cpu_mem_bw_gbps);
        let measured_how = hardware
            .memory
            .as_ref()
            .and_then(|m| m.cpu_mem_bw_method.as_deref());
        let theoretical = hardware
            .memory
            .as_ref()
            .and_then(|m| m.ram_theoretical_gbps)
            .filter(|gbps| *gbps > 0.0);
        let ram = match (ram_flag, measured_ram, theoretical) {
            (Some(gbps), _, _) => Rate::new(gbps, true, "given"),
            (None, Some(0.0), _) => return Err(RigError::ZeroBandwidth("memory.cpu_mem_bw_gbps")),
            (None, Some(gbps), _) => stated(gbps, measured_how, "measured"),
            (None, None, Some(gbps)) => Rate::new(gbps, false, "theoretical, not measured"),
            (None, None, None) => Rate::new(
                ASSUMED_RAM_GBPS,
                false,
                "assumed: the profile has no RAM bandwidth",
            ),
        };
        let kind = match (ram_flag, measured_ram) {
            (None, Some(_)) => measured_by(measured_how.unwrap_or_default()),
            _ => RamRate::Modules,
        };
        let vram = match (vram_flag, hardware.bandwidth.vram_gbps) {
            (Some(gbps), _) => Rate::new(gbps, true, "given"),
            (None, Some(0.0)) => return Err(RigError::ZeroBandwidth("bandwidth.vram_gbps")),
            (None, Some(gbps)) => {
                let how = hardware.bandwidth.vram_method.as_deref();
                stated(gbps, how, how.unwrap_or("profile"))
            }
            (None, None) => Rate::new(
                ASSUMED_VRAM_GBPS,
                false,
                "assumed: the profile has no VRAM bandwidth, so the fastest consumer card's is \
                 taken",
            ),
        };
        Ok(Self {
            ram: ram.of_ram(theoretical, kind),
            vram: vram.of_vram(),
            card_known: vram_flag.or(hardware.bandwidth.vram_gbps).is_some(),
        })
    }
}

/// Who read RAM when it was measured, as the profile says it.
fn measured_by(how: &str) -> RamRate {
    let by_threads = how.strip_prefix("reads by ").is_some_and(|rest| {
        let threads = rest.split_whitespace().next();
        threads.is_some_and(|n| n != "1")
    });
    if by_threads || how.starts_with("assumed") {
        RamRate::AllCores
    } else {
        RamRate::Unstated
    }
}

/// A rate that the profile states; one that it assumes itself stays an assumption.
fn stated(gbps: f64, how: Option<&str>, measured: &str) -> Rate {
    let assumed = how.filter(|how| how.starts_with("assumed"));
    Rate::new(gbps, assumed.is_none(), assumed.unwrap_or(measured))
}

/// The budgets of a rig.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RigView<'h> {
    hardware: &'h Hardware,
}

impl<'h> RigView<'h> {
    /// A view of `hardware`.
    pub fn new(hardware: &'h Hardware) -> Self {
        Self { hardware }
    }

    /// The GPU's name.
    pub fn gpu_name(&self) -> &'h str {
        &self.hardware.gpu.name
    }

    /// VRAM that may be used, MiB: what is free, the whole card when that is unknown, none when
    /// neither is known. A card of 0 MiB is an unknown one; a known card with 0 free is full.
    pub fn vram_budget_mib(&self) -> Option<f64> {
        let gpu = &self.hardware.gpu;
        let total = gpu.vram_total_mib.filter(|t| *t > 0.0);
        match gpu.vram_free_mib {
            Some(free) if free > 0.0 || total.is_some() => Some(free),
            _ => total,
        }
    }

    /// The same in bytes.
    pub fn vram_budget_bytes(&self) -> Option<f64> {
        self.vram_budget_mib().map(|mib| mib * MIB as f64)
    }

    /// RAM that may be used, bytes: what is available, all of it when that is unknown, `None` when
    /// neither is known (a machine of 0 GiB is an unknown one).
    pub fn ram_budget_bytes(&self) -> Result<Option<f64>, RigError> {
        let memory = self.hardware.memory.as_ref().ok_or(RigError::NoMemory)?;
        let total = memory.ram_total_gib.filter(|t| *t > 0.0);
        let gib = match memory.ram_available_gib {
            Some(free) if free > 0.0 || total.is_some() => Some(free),
            _ => total,
        };
        Ok(gib.map(|g| g * GIB as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Gpu, Memory};

    fn rig(vram: (Option<f64>, Option<f64>), ram: (Option<f64>, Option<f64>)) -> Hardware {
        Hardware {
            gpu: Gpu {
                vram_total_mib: vram.0,
                vram_free_mib: vram.1,
                ..Gpu::default()
            },
            gpus: None,
            platform: None,
            bandwidth: crate::document::Bandwidth::default(),
            memory: Some(Memory {
                ram_total_gib: ram.0,
                ram_available_gib: ram.1,
                ..Memory::default()
            }),
        }
    }

    #[test]
    fn zero_free_vram_is_a_full_card_and_not_an_empty_one() {
        let cases = [
            ((Some(24564.0), Some(23100.0)), Some(23100.0)),
            ((Some(24564.0), None), Some(24564.0)),
            ((Some(24564.0), Some(0.0)), Some(0.0)),
            ((None, Some(9000.0)), Some(9000.0)),
            ((Some(0.0), Some(0.0)), None),
            ((None, None), None),
            ((Some(0.0), None), None),
        ];
        for (vram, want) in cases {
            let hardware = rig(vram, (None, None));
            assert_eq!(RigView::new(&hardware).vram_budget_mib(), want, "{vram:?}");
        }
    }

    #[test]
    fn zero_available_ram_of_a_known_machine_is_none_left() {
        let cases = [
            ((Some(64.0), Some(0.0)), Some(0.0)),
            ((Some(64.0), None), Some(64.0 * GIB as f64)),
            ((Some(0.0), Some(0.0)), None),
            ((None, Some(7.5)), Some(7.5 * GIB as f64)),
            ((None, None), None),
        ];
        for (ram, want) in cases {
            let hardware = rig((None, None), ram);
            assert_eq!(
                RigView::new(&hardware).ram_budget_bytes(),
                Ok(want),
                "{ram:?}"
            );
        }
    }

    #[test]
    fn the_most_that_ram_could_give_is_theoretical_where_that_is_known() {
        let mut hardware = rig((None, None), (None, None));
        let best = |hardware: &Hardware, flag| {
            let ram = Bandwidths::resolve(hardware, flag, None).unwrap().ram;
            (ram.gbps, ram.known, ram.best.gbps)
        };
        let mut with = |measured, theoretical| {
            let memory = hardware.memory.as_mut().unwrap();
            memory.cpu_mem_bw_gbps = measured;
            memory.ram_theoretical_gbps = theoretical;
            hardware.clone()
        };
        assert_eq!(best(&with(None, None), None), (80.0, false, 160.0));
        let one_thread = with(Some(17.8), None);
        assert_eq!(best(&one_thread, None), (17.8, true, 35.6));
        let both = with(Some(17.8), Some(51.2));
        assert_eq!(best(&both, None), (17.8, true, 51.2));
        assert_eq!(best(&both, Some(40.0)), (40.0, true, 51.2));
        // What is read exceeds what the firmware says: the firmware is wrong.
        assert_eq!(
            best(&with(Some(60.0), Some(51.2)), None),
            (60.0, true, 120.0)
        );
        assert_eq!(best(&with(None, Some(51.2)), None), (51.2, false, 51.2));
        assert_eq!(best(&with(None, Some(0.0)), None), (80.0, false, 160.0));
    }

    #[test]
    fn a_given_bandwidth_beats_a_measured_one_and_that_an_assumed_one() {
        let mut hardware = rig((None, None), (None, None));
        let b = Bandwidths::resolve(&hardware, None, None).unwrap();
        assert_eq!((b.ram.gbps, b.ram.known), (80.0, false));
        assert_eq!((b.vram.gbps, b.vram.known), (1790.0, false));
        hardware.bandwidth.vram_gbps = Some(1008.0);
        let b = Bandwidths::resolve(&hardware, Some(60.0), None).unwrap();
        assert_eq!(
            (b.ram.gbps, b.vram.gbps, b.vram.known),
            (60.0, 1008.0, true)
        );
        let b = Bandwidths::resolve(&hardware, None, Some(936.0)).unwrap();
        assert_eq!(b.vram.gbps, 936.0);
        hardware.bandwidth.vram_gbps = Some(1010.0);
        hardware.bandwidth.vram_method = Some("assumed: table of GPUs".into());
        let b = Bandwidths::resolve(&hardware, None, None).unwrap();
        assert_eq!(
            (b.vram.gbps, b.vram.known, &*b.vram.source),
            (1010.0, false, "assumed: table of GPUs")
        );
        hardware.bandwidth.vram_gbps = Some(0.0);
        assert!(Bandwidths::resolve(&hardware, None, None).is_err());
    }
}
