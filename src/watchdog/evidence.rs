//! What a watch leaves for others: decisions with their reasons, readings for scrapers, and signs
//! of life for the service manager.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use gpuc_core::document::{Breach, Event, Happening, Level, Report};
use gpuc_core::error::{Code, Fault};
use gpuc_core::units::round_to;
use gpuc_rig::supervise::{Notify, Scribe, Step};
use gpuc_show::openmetrics::{self, Watched};

use super::live::Feed;
use super::output::{LAST, Sink, Sinks};
use super::settings::Settings;
use crate::deliver::replace;

/// Readings for scrapers are written no more often than this: nobody scrapes faster.
const METRICS_EVERY: Duration = Duration::from_secs(1);

/// All of it.
pub(super) struct Evidence {
    started: Instant,
    events: Option<Sink>,
    metrics: Option<Metrics>,
    measured: Option<Instant>,
    job: String,
    looks: u64,
    last: Option<Report>,
    /// What is near or past its limit, and since when.
    crossed: Vec<(Breach, Duration)>,
    notify: Option<Notify>,
    signed: Instant,
    /// Where decisions are shown as they come.
    pub(super) feed: Option<Feed>,
}

/// The file for scrapers.
enum Metrics {
    Here(PathBuf),
    /// While something is watched: a disk in trouble must not hold it up.
    Apart(Scribe<String, Fault>),
}

/// An event that has nothing beside its reason.
pub(super) fn event(what: Happening, reason: impl Into<String>) -> Event {
    Event {
        t: String::new(),
        elapsed_s: 0.0,
        event: what,
        reason: reason.into(),
        metric: None,
        value: None,
        threshold: None,
        action: None,
        pid: None,
        status: None,
    }
}

impl Evidence {
    pub(super) fn open(settings: &Settings) -> Result<Self, Fault> {
        let events = settings.events.as_ref();
        let job = settings.job.as_ref();
        let now = Instant::now();
        Ok(Self {
            started: now,
            events: events
                .map(|path| Sink::append(path, settings.log_size))
                .transpose()?,
            metrics: settings.metrics_file.clone().map(Metrics::Here),
            measured: None,
            job: job.map_or_else(String::new, |j| j.program.to_string_lossy().into_owned()),
            looks: 0,
            last: None,
            crossed: Vec::new(),
            notify: Notify::from_env(),
            signed: now,
            feed: None,
        })
    }

    /// Tells the manager that the watch has begun.
    pub(super) fn begun(&self, status: &str) {
        if let Some(notify) = &self.notify {
            notify.tell(&format!("READY=1\nSTATUS={status}"));
        }
    }

    /// Tells the manager that it is about to end.
    pub(super) fn ending(&self, status: &str) {
        if let Some(notify) = &self.notify {
            notify.tell(&format!("STOPPING=1\nSTATUS={status}"));
        }
    }

    /// A sign of life, where one is due; when the next one is.
    pub(super) fn live(&mut self) -> Option<Instant> {
        let notify = self.notify.as_ref()?;
        let every = notify.every()?;
        if self.signed.elapsed() >= every {
            notify.tell("WATCHDOG=1");
            self.signed = Instant::now();
        }
        Some(self.signed + every)
    }

    /// Seconds since the watch began.
    pub(super) fn elapsed(&self) -> f64 {
        round_to(self.started.elapsed().as_secs_f64(), 3)
    }

    /// Writes a decision down.
    pub(super) fn tell(&mut self, sinks: &mut Sinks, event: Event) {
        if self.events.is_none() && self.feed.is_none() {
            return;
        }
        let event = Event {
            t: gpuc_rig::host::now(),
            elapsed_s: self.elapsed(),
            ..event
        };
        if let Some(events) = &mut self.events {
            sinks.line(events, &event);
        }
        if let Some(feed) = &self.feed {
            feed.event(event);
        }
    }

    /// Takes a report, made `at` after the start.
    pub(super) fn look(&mut self, sinks: &mut Sinks, at: Duration, report: &Report) {
        self.looks += 1;
        if self.events.is_some() || self.feed.is_some() {
            for event in changes(&mut self.crossed, at, report) {
                self.tell(sinks, event);
            }
        }
        if self.metrics.is_some() {
            let changed = self
                .last
                .as_ref()
                .is_none_or(|r| r.verdict != report.verdict);
            self.last = Some(report.clone());
            if changed || self.measured.is_none_or(|at| at.elapsed() >= METRICS_EVERY) {
                self.measure(sinks, true, false);
            }
        }
    }

    /// Writes the last readings for scrapers.
    pub(super) fn measure(&mut self, sinks: &mut Sinks, running: bool, aborted: bool) {
        let (Some(metrics), Some(report)) = (&self.metrics, &self.last) else {
            return;
        };
        if running && matches!(metrics, Metrics::Apart(scribe) if scribe.is_busy()) {
            // These would be old by the time they are written.
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let watched = Watched {
            job: &self.job,
            running,
            looks: self.looks,
            at: round_to(now.unwrap_or_default().as_secs_f64(), 3),
            aborted,
        };
        self.measured = Some(Instant::now());
        let text = openmetrics::text(report, &watched);
        let written = match metrics {
            Metrics::Here(path) => replace(path, text.as_bytes()),
            Metrics::Apart(scribe) => scribe.write(text).map(drop),
        };
        if let Err(fault) = written {
            self.metrics = None;
            sinks.failed(fault);
        }
    }

    /// Where decisions are written.
    pub(super) fn sink(&mut self) -> Option<&mut Sink> {
        self.events.as_mut()
    }

    /// Writes for scrapers in a thread of its own from now on, where one can be had.
    pub(super) fn set_apart(&mut self) {
        if let Some(Metrics::Here(path)) = &self.metrics {
            let path = path.clone();
            let write = move |text: String| replace(&path, text.as_bytes());
            if let Ok(scribe) = Scribe::start("metrics", Duration::ZERO, write) {
                self.metrics = Some(Metrics::Apart(scribe));
            }
        }
    }

    /// Waits a while for what is still to be written for scrapers.
    pub(super) fn close(&mut self, sinks: &mut Sinks) {
        if let Some(Metrics::Apart(scribe)) = self.metrics.take() {
            match scribe.finish(LAST) {
                Ok(true) => {}
                Ok(false) => sinks.failed(Fault::new(
                    Code::IoWriteFailed,
                    "the last readings were not written in time; the metrics file is out of date",
                )),
                Err(fault) => sinks.failed(fault),
            }
        }
    }
}

/// The event of a step in stopping a job.
pub(super) fn step(step: Step) -> Event {
    match step {
        Step::Asked(plea) => event(
            Happening::Term,
            format!("{} to every process of the job", plea.name()),
        ),
        Step::Killed => event(
            Happening::Kill,
            "the grace period is over, was cut short, or there was no time for one",
        ),
        Step::Gone => event(Happening::Reaped, "nothing of the job is left"),
    }
}

/// What has changed since the last report, and what is crossed now.
fn changes(crossed: &mut Vec<(Breach, Duration)>, at: Duration, report: &Report) -> Vec<Event> {
    let mut out = Vec::new();
    let of = |what, reason: String, b: &Breach| Event {
        metric: Some(b.metric.clone()),
        value: Some(b.value),
        threshold: Some(b.threshold),
        ..event(what, reason)
    };
    let mut now = Vec::new();
    for b in &report.breaches {
        let before = crossed.iter().find(|(old, _)| old.metric == b.metric);
        match (before, b.level) {
            (Some((old, since)), level) if old.level == level => {
                now.push((b.clone(), *since));
                continue;
            }
            // A limit that may be passed for a while shows its own line even before it counts.
            (Some((old, since)), Level::Abort) if old.threshold == b.threshold => {
                let held = at.saturating_sub(*since).as_secs_f64();
                let reason = format!("it has been past its limit for {held:.3} s");
                out.push(of(Happening::Breach, reason, b));
            }
            (_, Level::Abort) => out.push(of(Happening::Breach, "past its limit".to_owned(), b)),
            (_, Level::Warn) => out.push(of(
                Happening::Warning,
                "near its limit, or past it for less than it takes to count".to_owned(),
                b,
            )),
        }
        now.push((b.clone(), at));
    }
    for (old, _) in crossed.iter() {
        if !now.iter().any(|(b, _)| b.metric == old.metric) {
            let reason = "near no limit any more, or not read".to_owned();
            out.push(of(Happening::Recovered, reason, old));
        }
    }
    *crossed = now;
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpuc_core::document::{Safety, Sample};

    fn report(breaches: &[(&str, f64, f64, Level)]) -> Report {
        Report {
            verdict: Safety::Ok,
            breaches: breaches
                .iter()
                .map(|&(metric, value, threshold, level)| Breach {
                    metric: metric.to_owned(),
                    value,
                    threshold,
                    level,
                })
                .collect(),
            sample: Sample::default(),
            action_taken: None,
        }
    }

    #[test]
    fn only_what_changes_is_an_event() {
        use Happening::{Breach, Recovered, Warning};
        let mut crossed = Vec::new();
        let mut at = |s, breaches: &[(&str, f64, f64, Level)]| {
            changes(&mut crossed, Duration::from_secs(s), &report(breaches))
                .into_iter()
                .map(|e| (e.event, e.metric.unwrap(), e.reason))
                .collect::<Vec<_>>()
        };
        let (temp, power) = ("gpu_temp_c", "gpu_power_pct");
        let seen = at(1, &[(temp, 80.0, 78.3, Level::Warn)]);
        assert_eq!(
            (seen[0].0, seen[0].1.as_str(), seen.len()),
            (Warning, temp, 1)
        );
        assert!(at(2, &[(temp, 81.0, 78.3, Level::Warn)]).is_empty());
        let seen = at(3, &[(temp, 88.0, 87.0, Level::Abort)]);
        assert_eq!((seen[0].0, seen[0].2.as_str()), (Breach, "past its limit"));
        assert_eq!(at(4, &[])[0].0, Recovered);
        assert_eq!(at(5, &[(power, 99.0, 95.0, Level::Warn)])[0].0, Warning);
        assert!(at(9, &[(power, 98.0, 95.0, Level::Warn)]).is_empty());
        let seen = at(15, &[(power, 99.0, 95.0, Level::Abort)]);
        assert_eq!(seen[0].2, "it has been past its limit for 10.000 s");
    }
}
