//! The GPUs as the watchdog asks them, over and over.

use std::time::Duration;

use gpuc_core::safety::{GpuReading, GpuReadings};
use gpuc_rig::nvidia::{Live, Probe, ProbeError, Reading};

/// A driver that hung when it was opened holds a thread for ever each time.
const MOST_HANGS: u32 = 3;

/// The question to be asked in a thread of its own: what the GPUs are doing now.
///
/// The driver is opened at the first question, and again after it failed: it may be loaded, or
/// come back, while the watchdog runs.
pub(super) fn question(timeout: Duration) -> impl FnMut() -> GpuReadings + Send + 'static {
    // Whoever asked waits for `timeout`; the answer "it hangs" should come within it.
    let deadline = timeout.mul_f64(0.9);
    let mut open: Option<Probe> = None;
    let mut hangs = 0;
    move || {
        let mut probe = match open.take() {
            Some(probe) => probe,
            None if hangs >= MOST_HANGS => {
                return GpuReadings::Failed("the driver hangs; it is asked no more".to_owned());
            }
            None => match Probe::open_within(deadline) {
                Ok(probe) => probe,
                Err(e) => {
                    hangs += u32::from(matches!(e, ProbeError::Hung { .. }));
                    return GpuReadings::Failed(e.to_string());
                }
            },
        };
        match probe.live() {
            Ok(gpus) => {
                open = Some(probe);
                GpuReadings::Read(gpus.into_iter().map(reading).collect())
            }
            Err(e) => {
                if matches!(e, ProbeError::Hung { .. }) {
                    open = Some(probe);
                }
                GpuReadings::Failed(e.to_string())
            }
        }
    }
}

fn reading(live: Live) -> GpuReading {
    let mut notes: Vec<String> = Vec::new();
    let mut take = |what: &str, value: Reading<f64>| {
        value
            .map_err(|why| notes.push(format!("no {what}: {why}")))
            .ok()
    };
    let (power_w, power_limit_w) = (
        take("power", live.power_w),
        take("power limit", live.power_limit_w),
    );
    let temp_c = take("temperature", live.temp_c);
    let vram_used_mib = take("VRAM used", live.vram_used_mib);
    let vram_total_mib = take("VRAM total", live.vram_total_mib);
    let util_pct = take("utilisation", live.util_pct);
    GpuReading {
        power_w,
        power_limit_w,
        temp_c,
        vram_used_mib,
        vram_total_mib,
        util_pct,
        notes,
        ..GpuReading::default()
    }
}
