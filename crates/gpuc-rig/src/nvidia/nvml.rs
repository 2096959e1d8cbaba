//! NVML, in threads of its own: a call into a driver in trouble may never return.

use std::ffi::OsString;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use gpuc_core::units::mib;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper::{Device, cuda_driver_version_major, cuda_driver_version_minor};

use super::cards::Cards;
use super::nvml_details;
use super::probe::{Identity, ProbeError, Reading};

pub(super) const TOOL: &str = "NVML";

/// What one round has found so far; shared, so that a round that hangs keeps what it had.
pub(super) type Found<T> = Arc<Mutex<Vec<T>>>;

#[derive(Debug)]
struct Round<T> {
    found: Found<T>,
    /// What a reading says until it is known.
    pending: String,
    done: Sender<Result<(), String>>,
}

/// A loaded and initialised NVML.
#[derive(Debug)]
pub(super) struct Nvml {
    requests: Sender<Round<Identity>>,
    deadline: Duration,
    /// The round that did not end in time, while it has not.
    stuck: Option<Receiver<Result<(), String>>>,
    /// What is asked again and again is asked of each card apart.
    pub(super) cards: Cards,
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
                    if ready.send(Ok(nvml)).is_ok() {
                        serve(nvml, &inbox);
                    }
                }
                Err(why) => {
                    let _ = ready.send(Err(why));
                }
            })
            .map_err(|e| failed(e.to_string()))?;
        match opened.recv_timeout(deadline) {
            Ok(Ok(nvml)) => Ok(Self {
                requests,
                deadline,
                stuck: None,
                cards: Cards::new(nvml, deadline),
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

    /// Begins the driver anew, where no answer is still owed.
    pub(super) fn renew(&mut self) {
        if self.stuck.is_none() {
            self.cards.renew();
        }
    }

    pub(super) fn identities(&mut self) -> Result<Vec<Identity>, ProbeError> {
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
        self.requests.send(round).map_err(|_| gone())?;
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
type Loaded = &'static nvml_wrapper::Nvml;

fn load(libraries: &[OsString]) -> Result<Loaded, String> {
    let mut reasons = Vec::new();
    for library in libraries {
        // WSL2's is not missed elsewhere.
        if !reasons.is_empty() && !Path::new(library).exists() {
            continue;
        }
        match nvml_wrapper::Nvml::builder().lib_path(library).init() {
            Ok(nvml) => return Ok(Box::leak(Box::new(nvml))),
            // The loader's own text names the library.
            Err(NvmlError::LibloadingError(e)) => reasons.push(e.to_string()),
            Err(e) => reasons.push(format!("{}: {}", library.display(), why(&e))),
        }
    }
    Err(reasons.join("; "))
}

/// Begins a library anew that has lost its driver: one that was unloaded, or updated.
///
/// No handle of a device may be in use, nor used again.
#[allow(unsafe_code)]
pub(super) fn renew(nvml: &nvml_wrapper::Nvml) -> Result<(), String> {
    let begin = || {
        let (end, begin) = (&nvml.lib().nvmlShutdown, &nvml.lib().nvmlInit_v2);
        if let Ok(end) = end {
            // SAFETY: the function of a library that is never unloaded, called as its header says;
            // no handle that it makes invalid is used again. What it says is that it had lost its
            // driver.
            unsafe { end() };
        }
        // SAFETY: as above; it is what every use of the library begins with.
        nvml_try(unsafe { nvml_sym(begin.as_ref())?() })
    };
    begin().map_err(|e| why(&e))
}

pub(super) fn why(e: &NvmlError) -> String {
    match e {
        NvmlError::FailedToLoadSymbol(symbol) => format!("the driver is too old for it ({symbol})"),
        other => other.to_string(),
    }
}

fn serve(nvml: &nvml_wrapper::Nvml, inbox: &Receiver<Round<Identity>>) {
    while let Ok(round) = inbox.recv() {
        let pending = Identity::missing(&round.pending, "nvml-v2");
        run(nvml, &round, &pending);
    }
}

/// One GPU's place in the round's findings.
pub(super) struct Slot<'a, T> {
    found: &'a Found<T>,
    index: usize,
}

impl<'a, T> Slot<'a, T> {
    pub(super) fn new(found: &'a Found<T>, index: usize) -> Self {
        Self { found, index }
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut T)) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = found.get_mut(self.index) {
            change(one);
        }
    }
}

fn run(nvml: &nvml_wrapper::Nvml, round: &Round<Identity>, pending: &Identity) {
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
        let slot = Slot::new(&round.found, index as usize);
        match nvml.device_by_index(index) {
            Ok(device) => identity(nvml, &device, &slot),
            Err(e) => slot.set(|one| *one = Identity::missing(&why(&e), "nvml-v2")),
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
    pub(super) used: u64,
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
