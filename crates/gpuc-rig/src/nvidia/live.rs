//! The live readings of one GPU, by NVML.

use std::time::{Duration, Instant};

use gpuc_core::units::mib;
use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::event::EventSet;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;

use super::nvml::{Slot, memory, reading, watts};
use super::nvml_details::words;
use super::probe::{Live, Processes, Reading, Watched};

/// How often that is asked which changes slowly, or is only shown.
const SELDOM: Duration = Duration::from_secs(1);
/// The driver's own sign for an error without a number.
const UNKNOWN_XID: u64 = 999;

/// What is remembered of one GPU from round to round.
#[derive(Debug)]
pub(super) struct Senses {
    watched: Watched,
    /// Where its errors arrive, where the driver tells them.
    errors: Option<EventSet<'static>>,
    /// Whether that was tried.
    tried: bool,
    seldom: Option<(Instant, Reading<u64>, Reading<Processes>)>,
}

impl Senses {
    pub(super) fn new(watched: Watched) -> Self {
        Self {
            watched,
            errors: None,
            tried: false,
            seldom: None,
        }
    }

    /// Errors that the driver has reported since it was last asked.
    fn xids(&mut self, device: &Device<'static>) -> Vec<u64> {
        if !std::mem::replace(&mut self.tried, true) {
            let set = device.nvml().create_event_set().ok();
            let errors = EventTypes::CRITICAL_XID_ERROR;
            self.errors = set.and_then(|set| device.register_events(errors, set).ok());
        }
        let mut xids = Vec::new();
        if let Some(set) = &self.errors {
            // A storm of them says no more than the first few.
            while xids.len() < 16
                && let Ok(event) = set.wait(0)
            {
                xids.push(match event.event_data {
                    Some(XidError::Value(xid)) => xid,
                    Some(XidError::Unknown) | None => UNKNOWN_XID,
                });
            }
        }
        xids
    }
}

/// Asks for one after the other, so that one call that hangs leaves the readings before it.
pub(super) fn fill(device: &Device<'static>, slot: &Slot<'_, Live>, senses: &mut Senses) {
    let power = watts(device.power_usage());
    slot.set(|l| l.power_w = power);
    let limit = watts(
        device
            .enforced_power_limit()
            .or_else(|_| device.power_management_limit()),
    );
    slot.set(|l| l.power_limit_w = limit);
    let temperature = reading(device.temperature(TemperatureSensor::Gpu)).map(f64::from);
    slot.set(|l| l.temp_c = temperature);
    let memory = memory(device);
    slot.set(|l| {
        l.vram_used_mib = memory.as_ref().map(|m| mib(m.used)).map_err(Clone::clone);
        l.vram_total_mib = memory.map(|m| mib(m.total));
    });
    let utilisation = reading(device.utilization_rates()).map(|u| f64::from(u.gpu));
    slot.set(|l| l.util_pct = utilisation);
    if !senses.watched.further {
        return;
    }
    let throttle = reading(device.current_throttle_reasons()).map(|r| words(r.bits()));
    slot.set(|l| l.throttle_reasons = throttle);
    let now = Instant::now();
    let is_due = senses
        .seldom
        .as_ref()
        .is_none_or(|(at, ..)| *at + SELDOM <= now);
    if is_due || senses.watched.processes_always {
        let ecc = reading(device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile));
        senses.seldom = Some((now, ecc, processes(device)));
    }
    if let Some((_, ecc, processes)) = &senses.seldom {
        slot.set(|l| {
            l.ecc_errors.clone_from(ecc);
            l.processes.clone_from(processes);
        });
    }
    let xids = senses.xids(device);
    slot.set(|l| l.xids = xids);
}

/// The processes that compute or draw on it. One that does both is named twice, with the same
/// memory.
fn processes(device: &Device<'static>) -> Reading<Processes> {
    let mut all = Processes::new();
    let mut add = |listed: Vec<ProcessInfo>| {
        for process in listed {
            let mib = match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(mib(bytes)),
                UsedGpuMemory::Unavailable => None,
            };
            match all.iter_mut().find(|(pid, _)| *pid == process.pid) {
                Some((_, known)) => *known = known.zip(mib).map(|(a, b): (f64, f64)| a.max(b)),
                None => all.push((process.pid, mib)),
            }
        }
    };
    add(reading(device.running_compute_processes())?);
    add(reading(device.running_graphics_processes())?);
    Ok(all)
}
