//! NVML, in a thread of its own: a call into a driver in trouble may never return.

use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use gpuc_core::units::mib;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper::{Device, cuda_driver_version_major, cuda_driver_version_minor};

use super::nvml_details;
use super::probe::{Identity, Live, ProbeError, Reading};

pub(super) const TOOL: &str = "NVML";

/// What one round has found so far; shared, so that a round that hangs keeps what it had.
type Found<T> = Arc<Mutex<Vec<T>>>;

#[derive(Debug)]
struct Round<T> {
    found: Found<T>,
    /// What a reading says until it is known.
    pending: String,
    done: Sender<Result<(), String>>,
}

#[derive(Debug)]
enum Request {
    Live(Round<Live>),
    Identities(Round<Identity>),
}

/// A loaded and initialised NVML.
#[derive(Debug)]
pub(super) struct Nvml {
    requests: Sender<Request>,
    deadline: Duration,
    /// The round that did not end in time, while it has not.
    stuck: Option<Receiver<Result<(), String>>>,
}

impl Nvml {
    pub(super) fn open(libraries: Vec<OsString>, deadline: Duration) -> Result<Self, ProbeError> {
        let failed = |why: String| ProbeError::Failed { tool: TOOL, why };
        let (requests, inbox) = mpsc::channel();
        let (ready, opened) = mpsc::channel();
        thread::Builder::new()
            .name("nvml".into())
            .spawn(move || match load(&libraries) {
                Ok(nvml) => {
                    if ready.send(Ok(())).is_ok() {
                        serve(&nvml, &inbox);
                    }
                }
                Err(why) => {
                    let _ = ready.send(Err(why));
                }
            })
            .map_err(|e| failed(e.to_string()))?;
        match opened.recv_timeout(deadline) {
            Ok(Ok(())) => Ok(Self {
                requests,
                deadline,
                stuck: None,
            }),
            Ok(Err(why)) => Err(failed(why)),
            Err(RecvTimeoutError::Timeout) => Err(ProbeError::Hung {
                tool: TOOL,
                after: deadline,
            }),
            Err(RecvTimeoutError::Disconnected) => {
                Err(failed("it ended while it was loaded".into()))
            }
        }
    }

    pub(super) fn live(&mut self) -> Result<Vec<Live>, ProbeError> {
        self.ask(Request::Live)
    }

    pub(super) fn identities(&mut self) -> Result<Vec<Identity>, ProbeError> {
        self.ask(Request::Identities)
    }

    fn ask<T: Clone>(&mut self, request: fn(Round<T>) -> Request) -> Result<Vec<T>, ProbeError> {
        let hung = ProbeError::Hung {
            tool: TOOL,
            after: self.deadline,
        };
        let gone = || ProbeError::Failed {
            tool: TOOL,
            why: "its thread has ended".into(),
        };
        if let Some(round) = &self.stuck {
            // Waiting again for the same call would cost the caller a deadline each time.
            if matches!(round.try_recv(), Err(TryRecvError::Empty)) {
                return Err(hung);
            }
            self.stuck = None;
        }
        let found = Found::default();
        let (done, finished) = mpsc::channel();
        let round = Round {
            found: Arc::clone(&found),
            pending: hung.to_string(),
            done,
        };
        self.requests.send(request(round)).map_err(|_| gone())?;
        match finished.recv_timeout(self.deadline) {
            Ok(Ok(())) => Ok(collected(&found)),
            Ok(Err(why)) => Err(ProbeError::Failed { tool: TOOL, why }),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
            Err(RecvTimeoutError::Timeout) => {
                self.stuck = Some(finished);
                let so_far = collected(&found);
                if so_far.is_empty() {
                    Err(hung)
                } else {
                    Ok(so_far)
                }
            }
        }
    }
}

fn collected<T: Clone>(found: &Found<T>) -> Vec<T> {
    found.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The libraries to try, in order.
pub(super) fn libraries() -> Vec<OsString> {
    match std::env::var_os("GPUC_NVML_LIB") {
        Some(library) if !library.is_empty() => vec![library],
        _ if cfg!(windows) => vec!["nvml.dll".into()],
        _ => vec![
            "libnvidia-ml.so.1".into(),
            "/usr/lib/wsl/lib/libnvidia-ml.so.1".into(),
        ],
    }
}

/// Never dropped: a library without `nvmlShutdown` would panic then, a stuck one would hang, and
/// the process is about to end anyway.
type Loaded = ManuallyDrop<nvml_wrapper::Nvml>;

fn load(libraries: &[OsString]) -> Result<Loaded, String> {
    let mut reasons = Vec::new();
    for library in libraries {
        match nvml_wrapper::Nvml::builder().lib_path(library).init() {
            Ok(nvml) => return Ok(ManuallyDrop::new(nvml)),
            // The loader's own text names the library.
            Err(NvmlError::LibloadingError(e)) => reasons.push(e.to_string()),
            Err(e) => reasons.push(format!("{}: {}", library.display(), why(&e))),
        }
    }
    Err(reasons.join("; "))
}

fn why(e: &NvmlError) -> String {
    match e {
        NvmlError::FailedToLoadSymbol(symbol) => format!("the driver is too old for it ({symbol})"),
        other => other.to_string(),
    }
}

fn serve(nvml: &nvml_wrapper::Nvml, inbox: &Receiver<Request>) {
    while let Ok(request) = inbox.recv() {
        match request {
            Request::Live(round) => {
                let pending = Live::missing(&round.pending);
                run(nvml, &round, &pending, Live::missing, live);
            }
            Request::Identities(round) => {
                let pending = Identity::missing(&round.pending, "nvml-v2");
                let lost = |why: &str| Identity::missing(why, "nvml-v2");
                run(nvml, &round, &pending, lost, identity);
            }
        }
    }
}

/// One GPU's place in the round's findings.
pub(super) struct Slot<'a, T> {
    found: &'a Found<T>,
    index: usize,
}

impl<T> Slot<'_, T> {
    pub(super) fn set(&self, change: impl FnOnce(&mut T)) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = found.get_mut(self.index) {
            change(one);
        }
    }
}

fn run<T: Clone>(
    nvml: &nvml_wrapper::Nvml,
    round: &Round<T>,
    pending: &T,
    lost: impl Fn(&str) -> T,
    fill: fn(&nvml_wrapper::Nvml, &Device<'_>, &Slot<'_, T>),
) {
    let count = match nvml.device_count() {
        Ok(count) => count,
        Err(e) => {
            let _ = round.done.send(Err(why(&e)));
            return;
        }
    };
    // All of them first, so that one that hangs does not hide those behind it.
    for _ in 0..count {
        round
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(pending.clone());
    }
    for index in 0..count {
        let slot = Slot {
            found: &round.found,
            index: index as usize,
        };
        match nvml.device_by_index(index) {
            Ok(device) => fill(nvml, &device, &slot),
            Err(e) => slot.set(|one| *one = lost(&why(&e))),
        }
    }
    let _ = round.done.send(Ok(()));
}

pub(super) fn reading<T>(result: Result<T, NvmlError>) -> Reading<T> {
    result.map_err(|e| why(&e))
}

pub(super) fn watts(milliwatts: Result<u32, NvmlError>) -> Reading<f64> {
    reading(milliwatts).map(|mw| f64::from(mw) / 1000.0)
}

fn live(_: &nvml_wrapper::Nvml, device: &Device<'_>, slot: &Slot<'_, Live>) {
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
}

fn identity(nvml: &nvml_wrapper::Nvml, device: &Device<'_>, slot: &Slot<'_, Identity>) {
    let name = reading(device.name());
    slot.set(|i| i.name = name);
    let memory = memory(device);
    slot.set(|i| match memory {
        Ok(m) => {
            i.vram_total_mib = Ok(mib(m.total));
            i.vram_free_mib = Ok(mib(m.free));
            i.vram_reserved_mib = m.reserved.map(mib);
            i.source = m.source;
        }
        Err(why) => {
            i.vram_total_mib = Err(why.clone());
            i.vram_free_mib = Err(why.clone());
            i.vram_reserved_mib = Err(why);
        }
    });
    let driver = reading(nvml.sys_driver_version());
    slot.set(|i| i.driver_version = driver);
    let cuda = reading(nvml.sys_cuda_driver_version()).map(|v| {
        format!(
            "{}.{}",
            cuda_driver_version_major(v),
            cuda_driver_version_minor(v)
        )
    });
    slot.set(|i| i.cuda_version = cuda);
    let capability =
        reading(device.cuda_compute_capability()).map(|c| format!("{}.{}", c.major, c.minor));
    slot.set(|i| i.compute_capability = capability);
    let generation = reading(device.max_pcie_link_gen()).map(u64::from);
    slot.set(|i| i.pcie_gen = generation);
    let width = reading(device.max_pcie_link_width()).map(u64::from);
    slot.set(|i| i.pcie_width = width);
    nvml_details::fill(device, slot);
}

pub(super) struct Memory {
    pub(super) total: u64,
    pub(super) free: u64,
    /// All that is not free, what the driver keeps for itself included.
    used: u64,
    reserved: Reading<u64>,
    source: &'static str,
}

/// The second interface keeps `reserved` apart from `used`; drivers before R510 have only the
/// first, which counts it as used.
pub(super) fn memory(device: &Device<'_>) -> Reading<Memory> {
    let second = match device.memory_info() {
        Ok(m) => {
            return Ok(Memory {
                total: m.total,
                free: m.free,
                used: m.used.saturating_add(m.reserved),
                reserved: Ok(m.reserved),
                source: "nvml-v2",
            });
        }
        Err(e @ (NvmlError::GpuLost | NvmlError::Uninitialized)) => return Err(why(&e)),
        Err(e) => e,
    };
    let first = memory_v1(device).map_err(|_| why(&second))?;
    Ok(Memory {
        total: first.0,
        free: first.1,
        used: first.2,
        reserved: Err("this driver counts it as used".into()),
        source: "nvml-v1",
    })
}

/// Total, free and used bytes by the first interface, which the wrapper no longer offers.
#[allow(unsafe_code)]
fn memory_v1(device: &Device<'_>) -> Result<(u64, u64, u64), NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetMemoryInfo.as_ref())?;
    // SAFETY: the structure is plain integers, for which all zeroes is a value; the handle is that
    // of a live device of this very library, and the pointer outlives the call.
    unsafe {
        let mut memory = std::mem::zeroed();
        nvml_try(call(device.handle(), &raw mut memory))?;
        Ok((memory.total, memory.free, memory.used))
    }
}
