//! A watch over time: each reading becomes a report, and all of them the safety envelope.

use std::time::Duration;

use super::evaluate::{GpuReading, HostReading, judge, sample, verdict};
use crate::document::{Breach, Level, LogLine, Peaks, Report, Safety, Thresholds};
use crate::units::round_to;

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

/// Everything read at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The GPUs.
    pub gpus: GpuReadings,
    /// The host.
    pub host: HostReading,
}

/// What it means when GPUs that answered before no longer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blindness {
    /// Polls in a row until it is an abort; 0 for never.
    pub polls: u32,
    /// Whether there is anything to abort.
    pub aborts: bool,
}

/// The watch itself.
#[derive(Debug, Clone)]
pub struct Watch {
    thresholds: Thresholds,
    blindness: Blindness,
    /// For each GPU, whether it has ever given a reading that a limit could be held against.
    seen: Vec<bool>,
    blind: u32,
    /// How long power must stay past its limit: a healthy card runs at its cap.
    sustain: Duration,
    /// Since when it has.
    power_since: Option<Duration>,
    peaks: Peaks,
}

/// Faster than any program fills memory: what is left lasts at least as long as this says.
const FASTEST_FILL_MIB_PER_S: f64 = 6000.0;
/// The shortest time between two glances at the host.
const SHORTEST_GLANCE: Duration = Duration::from_millis(20);

impl Watch {
    /// A watch that has seen nothing yet.
    pub fn new(thresholds: Thresholds, blindness: Blindness, sustain: Duration) -> Self {
        let peaks = Peaks {
            thresholds,
            ..Peaks::default()
        };
        Self {
            thresholds,
            blindness,
            seen: Vec::new(),
            blind: 0,
            sustain,
            power_since: None,
            peaks,
        }
    }

    /// Takes one reading, made `at` after the start, into account.
    pub fn step(&mut self, at: Duration, reading: &Reading) -> Report {
        let gpus = match &reading.gpus {
            GpuReadings::Read(gpus) => Some(gpus.as_slice()),
            GpuReadings::Failed(_) | GpuReadings::NotAwaited(_) => None,
        };
        let mut s = sample(gpus, &reading.host);
        let mut breaches = judge(&s, &self.thresholds);
        if gpus.is_some() {
            self.let_power_be_brief(at, &mut breaches);
        }
        match &reading.gpus {
            GpuReadings::Failed(why) => s.notes.insert(0, format!("no GPU reading: {why}")),
            GpuReadings::NotAwaited(why) => s.notes.insert(0, why.clone()),
            GpuReadings::Read(gpus) if gpus.is_empty() => {
                s.notes
                    .insert(0, "no GPU reading: the driver names no GPU".to_owned());
            }
            GpuReadings::Read(_) => {}
        }
        if !matches!(reading.gpus, GpuReadings::NotAwaited(_)) {
            breaches.extend(self.look_for_blindness(gpus.unwrap_or_default()));
        }
        let report = Report {
            verdict: verdict(&breaches),
            breaches,
            sample: s,
            action_taken: None,
        };
        self.remember(at, &report);
        report
    }

    /// Whether the host alone is past a limit, so that no GPU need be waited for.
    pub fn host_aborts(&self, host: &HostReading) -> bool {
        let breaches = judge(&sample(None, host), &self.thresholds);
        verdict(&breaches) == Safety::Abort
    }

    /// Whether what was past a limit in `report` still is in a fresh reading. What the reading
    /// does not show counts as unchanged.
    pub fn confirms(&self, report: &Report, reading: &Reading) -> bool {
        let gpus = match &reading.gpus {
            GpuReadings::Read(gpus) => Some(gpus.as_slice()),
            GpuReadings::Failed(_) | GpuReadings::NotAwaited(_) => None,
        };
        let now = judge(&sample(gpus, &reading.host), &self.thresholds);
        let still = |metric: &str| {
            now.iter()
                .any(|b| b.metric == metric && b.level == Level::Abort)
        };
        report
            .breaches
            .iter()
            .filter(|b| b.level == Level::Abort)
            .any(|b| match b.metric.as_str() {
                "gpu_blind_polls" => true,
                gpu if gpu.starts_with("gpu_") && gpus.is_none() => true,
                host if host.starts_with("host_") && reading.host.avail_mib.is_none() => true,
                metric => still(metric),
            })
    }

    /// How long the host may be left alone, at the fastest that memory can fill up to a limit.
    pub fn glance(&self, host: &HostReading, at_most: Duration) -> Duration {
        let t = &self.thresholds;
        let (Some(total), Some(avail)) = (host.total_mib, host.avail_mib) else {
            return at_most;
        };
        let by_share = avail - total * (1.0 - t.host_mem_pct_max / 100.0);
        let left = by_share.min(avail - t.host_avail_mib_min).max(0.0);
        let lasts = Duration::try_from_secs_f64(left / FASTEST_FILL_MIB_PER_S);
        lasts.unwrap_or(at_most).max(SHORTEST_GLANCE).min(at_most)
    }

    /// Whether memory is so far past its limit that a job cannot be given time to end: half of
    /// what the limit keeps free is gone.
    pub fn cannot_wait(&self, host: &HostReading) -> bool {
        let t = &self.thresholds;
        let (Some(total), Some(avail)) = (host.total_mib, host.avail_mib) else {
            return false;
        };
        let kept = total * (1.0 - t.host_mem_pct_max / 100.0);
        let half = kept.max(t.host_avail_mib_min) / 2.0;
        half > 0.0 && avail <= half
    }

    /// Past its limit for a moment only, power is worth a warning.
    fn let_power_be_brief(&mut self, at: Duration, breaches: &mut [Breach]) {
        let power = breaches
            .iter_mut()
            .find(|b| b.metric == "gpu_power_pct" && b.level == Level::Abort);
        let Some(power) = power else {
            self.power_since = None;
            return;
        };
        let since = *self.power_since.get_or_insert(at);
        if at.saturating_sub(since) < self.sustain {
            power.level = Level::Warn;
        }
    }

    /// The safety envelope so far.
    pub fn peaks(&self) -> &Peaks {
        &self.peaks
    }

    /// A GPU that could be watched and no longer can is as dangerous as one past its limit: its
    /// limits go unenforced. One that never could is the user's choice of rig.
    fn look_for_blindness(&mut self, gpus: &[GpuReading]) -> Option<Breach> {
        if self.seen.len() < gpus.len() {
            self.seen.resize(gpus.len(), false);
        }
        let mut lost = false;
        for (i, seen) in self.seen.iter_mut().enumerate() {
            let watchable = gpus.get(i).is_some_and(GpuReading::is_watchable);
            lost |= *seen && !watchable;
            *seen |= watchable;
        }
        if !lost {
            self.blind = 0;
            return None;
        }
        self.blind = self.blind.saturating_add(1);
        self.peaks.blind_polls = self.peaks.blind_polls.saturating_add(1);
        let Blindness { polls, aborts } = self.blindness;
        let abort = aborts && polls > 0 && self.blind >= polls;
        Some(Breach {
            metric: "gpu_blind_polls".to_owned(),
            value: f64::from(self.blind),
            threshold: f64::from(if abort { polls } else { 1 }),
            level: if abort { Level::Abort } else { Level::Warn },
        })
    }

    fn remember(&mut self, at: Duration, report: &Report) {
        let (p, s) = (&mut self.peaks, &report.sample);
        let raise = |peak: &mut Option<f64>, x: Option<f64>| {
            *peak = (*peak).into_iter().chain(x).reduce(f64::max);
        };
        raise(&mut p.peak_gpu_power_pct, s.gpu_power_pct);
        raise(&mut p.peak_gpu_power_w, s.gpu_power_w);
        raise(&mut p.peak_gpu_temp_c, s.gpu_temp_c);
        raise(&mut p.peak_gpu_vram_used_mib, s.gpu_vram_used_mib);
        raise(&mut p.peak_gpu_vram_pct, s.gpu_vram_pct);
        raise(&mut p.peak_gpu_util_pct, s.gpu_util_pct);
        raise(&mut p.peak_host_mem_pct, s.host_mem_pct);
        let lowest = p.min_host_avail_mib.into_iter().chain(s.host_avail_mib);
        p.min_host_avail_mib = lowest.reduce(f64::min);
        p.samples += 1;
        p.breached |= report.verdict == Safety::Abort;
        p.stayed_within_envelope = Some(!p.breached);
        p.elapsed_s = Some(seconds(at));
    }
}

/// A duration as documents show it.
fn seconds(at: Duration) -> f64 {
    round_to(at.as_secs_f64(), 3)
}

impl LogLine {
    /// The log's line for a report made `at` after the start, at the wall clock's `t`.
    pub fn new(t: String, at: Duration, report: &Report) -> Self {
        Self {
            t,
            elapsed_s: seconds(at),
            verdict: report.verdict,
            sample: report.sample.clone(),
            breaches: report.breaches.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hot(temp_c: f64) -> GpuReading {
        GpuReading {
            temp_c: Some(temp_c),
            ..GpuReading::default()
        }
    }

    fn reading(gpus: GpuReadings) -> Reading {
        Reading {
            gpus,
            host: HostReading {
                total_mib: Some(64000.0),
                avail_mib: Some(48000.0),
                ..HostReading::default()
            },
        }
    }

    fn watch(polls: u32, aborts: bool) -> Watch {
        Watch::new(
            Thresholds::default(),
            Blindness { polls, aborts },
            Duration::ZERO,
        )
    }

    fn verdicts(w: &mut Watch, steps: impl IntoIterator<Item = GpuReadings>) -> Vec<Safety> {
        let step = |g| w.step(Duration::ZERO, &reading(g)).verdict;
        steps.into_iter().map(step).collect()
    }

    use GpuReadings::{Failed, NotAwaited, Read};
    use Safety::{Abort, Ok, Warn};

    #[test]
    fn a_tool_that_never_answered_is_a_note() {
        let mut w = watch(3, true);
        for _ in 0..5 {
            let r = w.step(Duration::ZERO, &reading(Failed("no nvidia-smi".into())));
            assert_eq!(r.verdict, Ok);
            assert_eq!(r.sample.notes, ["no GPU reading: no nvidia-smi"]);
        }
        let mut w = watch(3, true);
        assert_eq!(
            verdicts(&mut w, vec![Read(vec![GpuReading::default()]); 5]),
            [Ok; 5]
        );
    }

    #[test]
    fn one_that_answered_and_then_fails_warns_and_then_aborts() {
        let gone = || Failed("gone".into());
        let ok = || Read(vec![hot(50.0)]);
        let mut w = watch(3, true);
        let steps = [
            ok(),
            gone(),
            gone(),
            ok(),
            gone(),
            NotAwaited("x".into()),
            gone(),
            gone(),
        ];
        assert_eq!(
            verdicts(&mut w, steps),
            [Ok, Warn, Warn, Ok, Warn, Ok, Warn, Abort]
        );
        assert!(w.peaks().breached);
        assert_eq!(w.peaks().blind_polls, 5);
        let forever = [ok(), gone(), gone(), gone(), gone()];
        for mut w in [watch(3, false), watch(0, true)] {
            assert_eq!(
                verdicts(&mut w, forever.clone()),
                [Ok, Warn, Warn, Warn, Warn]
            );
        }
    }

    #[test]
    fn each_way_of_going_blind_counts() {
        for lost in [
            Read(vec![]),
            Read(vec![hot(50.0)]),
            Read(vec![hot(50.0), GpuReading::default()]),
            Failed("hung".into()),
        ] {
            let mut w = watch(1, true);
            let steps = [Read(vec![hot(50.0), hot(40.0)]), lost.clone()];
            assert_eq!(verdicts(&mut w, steps), [Ok, Abort], "{lost:?}");
        }
    }

    #[test]
    fn the_envelope_keeps_the_worst_of_each() {
        let mut w = watch(3, true);
        assert_eq!(w.peaks().stayed_within_envelope, None);
        w.step(Duration::from_millis(1500), &reading(Read(vec![hot(60.0)])));
        w.step(Duration::from_millis(2500), &reading(Read(vec![hot(50.0)])));
        let p = w.peaks();
        assert_eq!(
            (p.samples, p.peak_gpu_temp_c, p.elapsed_s),
            (2, Some(60.0), Some(2.5))
        );
        assert_eq!(
            (p.peak_host_mem_pct, p.min_host_avail_mib),
            (Some(25.0), Some(48000.0))
        );
        assert_eq!((p.breached, p.stayed_within_envelope), (false, Some(true)));
        w.step(Duration::ZERO, &reading(Read(vec![hot(90.0)])));
        w.step(Duration::ZERO, &reading(Read(vec![hot(50.0)])));
        let p = w.peaks();
        assert_eq!((p.breached, p.stayed_within_envelope), (true, Some(false)));
    }

    #[test]
    fn the_host_alone_can_abort() {
        let w = watch(3, true);
        let host = |avail| HostReading {
            total_mib: Some(64000.0),
            avail_mib: Some(avail),
            ..HostReading::default()
        };
        assert!(!w.host_aborts(&host(48000.0)));
        assert!(w.host_aborts(&host(1500.0)));
    }
    #[test]
    fn power_must_hold_and_temperature_need_not() {
        let at_cap = |w: f64| GpuReading {
            power_w: Some(w),
            power_limit_w: Some(100.0),
            ..GpuReading::default()
        };
        let blindness = Blindness {
            polls: 3,
            aborts: true,
        };
        let mut w = Watch::new(Thresholds::default(), blindness, Duration::from_secs(10));
        let mut at = |s, gpus| w.step(Duration::from_secs(s), &reading(gpus)).verdict;
        assert_eq!(at(0, Read(vec![at_cap(99.0)])), Warn);
        assert_eq!(at(9, Read(vec![at_cap(99.0)])), Warn);
        assert_eq!(at(10, Read(vec![at_cap(50.0)])), Ok);
        assert_eq!(at(11, Read(vec![at_cap(99.0)])), Warn);
        assert_eq!(at(15, NotAwaited("x".into())), Ok);
        assert_eq!(at(21, Read(vec![at_cap(99.0)])), Abort);
        assert_eq!(at(22, Read(vec![hot(90.0)])), Abort);
    }

    #[test]
    fn a_breach_is_confirmed_by_what_is_still_past_its_limit_or_unknown() {
        let mut w = watch(3, true);
        let report = w.step(Duration::ZERO, &reading(Read(vec![hot(90.0)])));
        assert!(w.confirms(&report, &reading(Read(vec![hot(88.0)]))));
        assert!(w.confirms(&report, &reading(Failed("hangs".into()))));
        assert!(!w.confirms(&report, &reading(Read(vec![hot(50.0)]))));
    }

    #[test]
    fn the_less_memory_is_left_the_sooner_it_is_looked_at() {
        let w = watch(3, true);
        let host = |avail| HostReading {
            total_mib: Some(64000.0),
            avail_mib: Some(avail),
            ..HostReading::default()
        };
        let most = Duration::from_secs(1);
        assert_eq!(w.glance(&host(48000.0), most), most);
        // 10 % of 64000 MiB are kept free: 600 MiB are left, at 6000 a second.
        let soon = w.glance(&host(7000.0), most).as_secs_f64();
        assert!((soon - 0.1).abs() < 1e-6, "{soon}");
        assert_eq!(w.glance(&host(100.0), most), SHORTEST_GLANCE);
        assert_eq!(w.glance(&HostReading::default(), most), most);
        assert!(!w.cannot_wait(&host(6300.0)) && w.cannot_wait(&host(3000.0)));
    }
}
