//! Rates of the PCIe link and of VRAM, and how much RAM can be pinned, by CUDA's driver library.
//!
//! All of it runs in a thread of its own with a limit on each step: a driver in trouble may never
//! answer. What was measured before it fell silent is kept.

mod api;
mod bench;

use std::ffi::OsString;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::probe::Reading;

pub use bench::{Pinnable, Rate};

/// The GPU to measure, as the driver names it elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Identifier, such as "GPU-…" or "MIG-…".
    pub uuid: Option<String>,
    /// Address on the PCI bus.
    pub pci_bus_id: Option<String>,
}

/// What takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Loading the library and starting the driver.
    Start,
    /// Copies over PCIe.
    Link,
    /// Copies within VRAM.
    Vram,
    /// How much RAM can be pinned.
    Pin,
}

/// Limits on the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest silence that is waited for.
    pub silence: Duration,
    /// After so much of pinning no further attempt is begun.
    pub pinning: Duration,
    /// Most RAM to pin, bytes.
    pub pinned: u64,
}

impl Limits {
    /// The limits on a machine with so much RAM available: three quarters of it may be pinned, but
    /// never more than 24 GiB, and 512 MiB always.
    pub fn of(available: u64) -> Self {
        let share = available / 4 * 3;
        Self {
            silence: Duration::from_secs(10),
            pinning: Duration::from_secs(8),
            pinned: share.clamp(512 << 20, 24 << 30),
        }
    }
}

/// What was measured, each with the reason why where it was not.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// From pinned RAM to the GPU.
    pub host_to_device: Reading<Rate>,
    /// From the GPU to pinned RAM.
    pub device_to_host: Reading<Rate>,
    /// Within VRAM; bytes read and bytes written both count.
    pub vram: Reading<Rate>,
    /// How much RAM can be pinned.
    pub pinnable: Reading<Pinnable>,
}

enum Message {
    Begun(Step),
    HostToDevice(Reading<Rate>),
    DeviceToHost(Reading<Rate>),
    Vram(Reading<Rate>),
    Pinnable(Reading<Pinnable>),
    Failed(String),
}

/// The libraries to try, in order.
fn libraries() -> Vec<OsString> {
    match std::env::var_os("GPUC_CUDA_LIB") {
        Some(library) if !library.is_empty() => vec![library],
        _ if cfg!(windows) => vec!["nvcuda.dll".into()],
        _ => vec![
            "libcuda.so.1".into(),
            "/usr/lib/wsl/lib/libcuda.so.1".into(),
        ],
    }
}

/// Measures the wanted GPU. `begun` is called as each step begins.
///
/// `$GPUC_CUDA_LIB`, when set, is the only library that is tried.
pub fn measure(wanted: &Wanted, limits: Limits, begun: &mut dyn FnMut(Step)) -> Measured {
    let (outbox, inbox) = mpsc::channel();
    let wanted = wanted.clone();
    let started = thread::Builder::new().name("cuda".into()).spawn(move || {
        if let Err(why) = bench::run(&libraries(), &wanted, limits, &outbox) {
            let _ = outbox.send(Message::Failed(why));
        }
    });
    let mut pending = match started {
        Ok(_) => "the measurement ended early".to_owned(),
        Err(e) => e.to_string(),
    };
    let (mut host_to_device, mut device_to_host, mut vram, mut pinnable) = (None, None, None, None);
    loop {
        match inbox.recv_timeout(limits.silence) {
            Ok(Message::Begun(step)) => begun(step),
            Ok(Message::HostToDevice(reading)) => host_to_device = Some(reading),
            Ok(Message::DeviceToHost(reading)) => device_to_host = Some(reading),
            Ok(Message::Vram(reading)) => vram = Some(reading),
            Ok(Message::Pinnable(reading)) => pinnable = Some(reading),
            Ok(Message::Failed(why)) => pending = why,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                pending = format!(
                    "CUDA's driver library did not answer within {} s",
                    limits.silence.as_secs_f64()
                );
                break;
            }
        }
    }
    let missing = || pending.clone();
    Measured {
        host_to_device: host_to_device.unwrap_or_else(|| Err(missing())),
        device_to_host: device_to_host.unwrap_or_else(|| Err(missing())),
        vram: vram.unwrap_or_else(|| Err(missing())),
        pinnable: pinnable.unwrap_or_else(|| Err(missing())),
    }
}
