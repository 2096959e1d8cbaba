//! A watch over time: each reading becomes a report, and all of them the safety envelope.

use std::time::Duration;

use super::evaluate::{judge, sample, verdict};
use super::headroom;
use super::hold::{Durations, Hold};
use super::job::JobVram;
use super::limit::Limit;
use super::reading::{GpuReading, GpuReadings, HostReading, HostWanted, JobReading, Reading};
use crate::document::{Breach, Level, LogLine, Peaks, Report, Safety, Sample, Thresholds};
use crate::units::round_to;

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
    hold: Hold,
    job_vram: JobVram,
    /// The hottest GPU at the last look.
    temp_c: Option<f64>,
    peaks: Peaks,
}

/// Hotter by this while a job is given time to end, °C, a GPU is given no more.
const HOTTER_C: f64 = 5.0;

impl Watch {
    /// A watch that has seen nothing yet.
    pub fn new(thresholds: Thresholds, blindness: Blindness, durations: Durations) -> Self {
        let peaks = Peaks {
            thresholds,
            ..Peaks::default()
        };
        Self {
            thresholds,
            blindness,
            seen: Vec::new(),
            blind: 0,
            hold: Hold::new(durations),
            job_vram: JobVram::default(),
            temp_c: None,
            peaks,
        }
    }

    /// Other limits from now on; what was seen so far stays seen.
    pub fn reload(&mut self, thresholds: Thresholds, durations: Durations) {
        self.thresholds = thresholds;
        self.peaks.thresholds = thresholds;
        self.hold.reload(durations);
    }

    /// The limits in force.
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Takes one reading, made `at` after the start, into account.
    pub fn step(&mut self, at: Duration, reading: &Reading) -> Report {
        let gpus = reading.gpus.read();
        self.job_vram.remember(gpus.unwrap_or_default());
        let mut s = self.sample(gpus, &reading.host, &reading.job);
        let mut breaches = judge(&s, &self.thresholds);
        self.hold.soften(at, &s, &mut breaches);
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
        self.temp_c = report.sample.gpu_temp_c.or(self.temp_c);
        report
    }

    /// Takes a reading into account that is made while a job is stopped, and is no look of its own;
    /// says whether a GPU has since gone on heating up so far that the job can no longer be waited
    /// for.
    pub fn look_on(&mut self, at: Duration, reading: &Reading) -> (Report, bool) {
        let (samples, before) = (self.peaks.samples, self.temp_c);
        let report = self.step(at, reading);
        (self.peaks.samples, self.temp_c) = (samples, before);
        let is_hotter = report
            .sample
            .gpu_temp_c
            .zip(before)
            .is_some_and(|(now, then)| {
                now >= self.thresholds.gpu_temp_c_max && now >= then + HOTTER_C
            });
        (report, is_hotter)
    }

    fn sample(&self, gpus: Option<&[GpuReading]>, host: &HostReading, job: &JobReading) -> Sample {
        let mut s = sample(gpus, host);
        s.job_rss_mib = job.rss_mib.map(|mib| round_to(mib, 1));
        if let Some((mib, note)) = gpus.and_then(|gpus| self.job_vram.of(gpus, job)) {
            s.job_vram_mib = Some(round_to(mib, 1));
            s.notes.extend(note.map(ToOwned::to_owned));
        } else if gpus.is_some() && self.thresholds.job_vram_mib_max.is_some() {
            s.notes.push("no reading of the job's VRAM".to_owned());
        }
        if s.psi_full_avg10.is_none() && self.thresholds.psi_full_avg10_max.is_some() {
            let note = "no reading of pressure: the kernel does not tell it";
            s.notes.push(note.to_owned());
        }
        s
    }

    /// Whether the host alone is past a limit `at` this time, so that no GPU need be waited for.
    pub fn host_aborts(&self, at: Duration, host: &HostReading) -> bool {
        let breaches = judge(&sample(None, host), &self.thresholds);
        let is_breach = |b: &Breach| b.level == Level::Abort && self.hold.is_over(at, b);
        breaches.iter().any(is_breach)
    }

    /// Whether what was past a limit in `report` still is in a fresh reading. What the reading
    /// does not show counts as unchanged.
    pub fn confirms(&self, report: &Report, reading: &Reading) -> bool {
        let now = self.sample(reading.gpus.read(), &reading.host, &reading.job);
        let still = |b: &Breach| {
            let Some(limit) = Limit::of_metric(&b.metric) else {
                return true;
            };
            let (Some(value), Some(line)) = (limit.value(&now), limit.get(&self.thresholds)) else {
                return true;
            };
            limit.is_past(value, line)
        };
        let mut aborts = report.breaches.iter().filter(|b| b.level == Level::Abort);
        aborts.any(still)
    }

    /// What a glance at the host has to read, for the limits in force.
    pub fn host_wanted(&self) -> HostWanted {
        HostWanted {
            pressure: self.thresholds.psi_full_avg10_max.is_some(),
            groups: self.thresholds.cgroup_mem_pct_max.is_some(),
        }
    }

    /// How long the host may be left alone, at the fastest that memory can fill up to a limit.
    pub fn glance(&self, host: &HostReading, at_most: Duration) -> Duration {
        headroom::glance(&self.thresholds, host, at_most)
    }

    /// Whether memory is so far past its limit that a job cannot be given time to end: half of
    /// what the limit keeps free is gone.
    pub fn cannot_wait(&self, host: &HostReading) -> bool {
        headroom::cannot_wait(&self.thresholds, host)
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
            let pending = gpus.get(i).is_some_and(|gpu| gpu.pending);
            lost |= *seen && !watchable && !pending;
            *seen |= watchable;
        }
        if !lost {
            if !gpus.iter().any(|gpu| gpu.pending) {
                self.blind = 0;
            }
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
        raise(&mut p.peak_job_vram_mib, s.job_vram_mib);
        raise(&mut p.peak_job_rss_mib, s.job_rss_mib);
        raise(&mut p.peak_swap_pct, s.swap_pct);
        raise(&mut p.peak_psi_full_avg10, s.psi_full_avg10);
        raise(&mut p.peak_cgroup_mem_pct, s.cgroup_mem_pct);
        for reason in &s.gpu_throttle_reasons {
            if !p.throttle_reasons.contains(reason) {
                p.throttle_reasons.push(reason.clone());
            }
        }
        for xid in &s.gpu_xids {
            if !p.xids.contains(xid) {
                p.xids.push(*xid);
            }
        }
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
mod tests;
