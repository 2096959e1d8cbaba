//! The GPUs as the watchdog asks them, over and over.

use std::time::{Duration, Instant};

use gpuc_core::safety::{GpuReading, GpuReadings};
use gpuc_rig::nvidia::{Live, Probe, ProbeError, Reading, Watched};

/// A driver that hung when it was opened holds a thread for ever each time.
const MOST_HANGS: u32 = 3;
/// How long a driver that answers with an error is asked on before it is opened anew, which costs
/// some memory for good.
const REOPEN: Duration = Duration::from_secs(30);
/// How long the GPUs that have answered wait for the others.
const PATIENCE: Duration = Duration::from_millis(250);

/// The question to be asked in a thread of its own: what the GPUs are doing now.
///
/// The driver is opened at the first question, and again after it failed: it may be loaded, or
/// come back, while the watchdog runs.
pub(super) fn question(
    timeout: Duration,
    interval: Duration,
    watched: Watched,
) -> impl FnMut() -> GpuReadings + Send + 'static {
    // Whoever asked waits for `timeout`; the answer "it hangs" should come within it.
    let deadline = timeout.mul_f64(0.9);
    let patience = PATIENCE.min(interval / 2);
    let mut open: Option<(Probe, Instant)> = None;
    let mut hangs = 0;
    move || {
        let (mut probe, since) = match open.take() {
            Some(open) => open,
            None if hangs >= MOST_HANGS => {
                return GpuReadings::Failed("the driver hangs; it is asked no more".to_owned());
            }
            None => match Probe::open_within(deadline) {
                Ok(mut probe) => {
                    probe.watch(watched);
                    (probe, Instant::now())
                }
                Err(e) => {
                    hangs += u32::from(matches!(e, ProbeError::Hung { .. }));
                    return GpuReadings::Failed(e.to_string());
                }
            },
        };
        let answer = probe.live_within(patience);
        if answer.is_ok() || matches!(answer, Err(ProbeError::Hung { .. })) {
            open = Some((probe, Instant::now()));
        } else if since.elapsed() < REOPEN {
            open = Some((probe, since));
        }
        match answer {
            Ok(gpus) => GpuReadings::Read(gpus.into_iter().map(reading).collect()),
            Err(e) => GpuReadings::Failed(e.to_string()),
        }
    }
}

fn reading(live: Live) -> GpuReading {
    let mut notes: Vec<String> = Vec::new();
    let mut take = |what: &str, value: Reading<f64>| {
        let missing = |why| {
            if !live.pending {
                notes.push(format!("no {what}: {why}"));
            }
        };
        value.map_err(missing).ok()
    };
    let (power_w, power_limit_w) = (
        take("power", live.power_w),
        take("power limit", live.power_limit_w),
    );
    let temp_c = take("temperature", live.temp_c);
    let vram_used_mib = take("VRAM used", live.vram_used_mib);
    let vram_total_mib = take("VRAM total", live.vram_total_mib);
    let util_pct = take("utilisation", live.util_pct);
    if live.pending {
        notes.push("it has not answered yet".to_owned());
    }
    notes.extend(live.xids.iter().map(|xid| format!("Xid {xid}")));
    let mut throttle_reasons = live.throttle_reasons.unwrap_or_default();
    // An idle card holds its clocks down too.
    throttle_reasons.retain(|reason| reason != "gpu-idle");
    GpuReading {
        power_w,
        power_limit_w,
        temp_c,
        vram_used_mib,
        vram_total_mib,
        util_pct,
        throttle_reasons,
        ecc_errors: live.ecc_errors.ok(),
        xids: live.xids,
        processes: live.processes.ok(),
        pending: live.pending,
        notes,
    }
}
