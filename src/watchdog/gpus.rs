//! The GPUs as the watchdog asks them, over and over.

use std::time::{Duration, Instant};

use gpuc_core::safety::{GpuReading, GpuReadings};
use gpuc_rig::nvidia::{Live, Probe, ProbeError, Reading, Watched};

/// A driver that hung when it was opened holds a thread for ever each time.
const MOST_HANGS: u32 = 3;
/// How long one that cannot be opened is left alone at first, then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// At the most that long; as long as one that answers with an error is asked on as it is.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the GPUs that have answered wait for the others.
const PATIENCE: Duration = Duration::from_millis(250);

/// What there is to be asked.
enum Driver {
    /// Nothing that is known of; why, until when, and how long that is after the last time.
    Closed(String, Instant, Duration),
    /// This; when it last answered or was begun.
    Open(Probe, Instant),
}

/// The question to be asked in a thread of its own: what the GPUs are doing now.
///
/// The driver is opened at the first question, once in a while where that failed, and begun anew
/// where it goes on failing: it may be loaded, or come back, while the watchdog runs.
pub(super) fn question(
    timeout: Duration,
    interval: Duration,
    watched: Watched,
) -> impl FnMut() -> GpuReadings + Send + 'static {
    // Whoever asked waits for `timeout`; the answer "it hangs" should come within it.
    let deadline = timeout.mul_f64(0.9);
    let patience = PATIENCE.min(interval / 2);
    let mut driver = Driver::Closed(String::new(), Instant::now(), FIRST_PAUSE);
    let mut hangs = 0;
    move || {
        if let Driver::Closed(why, until, pause) = &mut driver {
            if hangs >= MOST_HANGS {
                return GpuReadings::Failed("the driver hangs; it is asked no more".to_owned());
            }
            if Instant::now() < *until {
                return GpuReadings::Failed(why.clone());
            }
            match Probe::open_within(deadline) {
                Ok(mut probe) => {
                    probe.watch(watched);
                    driver = Driver::Open(probe, Instant::now());
                }
                Err(e) => {
                    hangs += u32::from(matches!(e, ProbeError::Hung { .. }));
                    *why = e.to_string();
                    *until = Instant::now() + *pause;
                    *pause = (*pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        match &mut driver {
            Driver::Closed(why, ..) => GpuReadings::Failed(why.clone()),
            Driver::Open(probe, since) => ask(probe, since, patience),
        }
    }
}

fn ask(probe: &mut Probe, since: &mut Instant, patience: Duration) -> GpuReadings {
    match probe.live_within(patience) {
        Ok(gpus) => {
            *since = Instant::now();
            GpuReadings::Read(gpus.into_iter().map(reading).collect())
        }
        Err(e) => {
            if since.elapsed() >= LONGEST_PAUSE {
                probe.renew();
                *since = Instant::now();
            }
            GpuReadings::Failed(e.to_string())
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
