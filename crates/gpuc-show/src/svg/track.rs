//! What a watch saw, kept in bounded memory however long it lasts.
//!
//! Looks are gathered into columns of equal time. When there are too many, two become one: the
//! least and the most of each metric stay what they were, so no peak is lost.

use gpuc_core::document::{Breach, Event, Happening, Level, LogLine, Report, Safety, Sample};

use super::metric::METRICS;
use super::xml::clean;

/// Columns at most; a picture has fewer pixels.
const MOST_COLUMNS: f64 = 1024.0;
/// The least time between two looks.
const FINEST: f64 = 0.05;
/// Some thirty years: what claims to be later is no time.
const LONGEST: f64 = 1e9;
/// Different metrics that are remembered to have been breached.
const MOST_ALARMS: usize = 16;

/// Decisions that are drawn; a watch that reads its limits again every minute makes many.
const MOST_DECISIONS: usize = 24;

/// The trajectory of a watch: of a run while it goes on, or of a log line by line.
#[derive(Debug, Clone, Default)]
pub struct Track {
    /// Those with a look, oldest first.
    pub(super) columns: Vec<Column>,
    /// Seconds in a column.
    pub(super) width: f64,
    pub(super) looks: u64,
    pub(super) last: f64,
    /// The first breach of each metric.
    pub(super) alarms: Vec<Alarm>,
    /// The lines that breaches named, in the order of the metrics.
    pub(super) lines: [Lines; METRICS.len()],
    /// What was decided, oldest first.
    pub(super) decisions: Vec<Decision>,
    /// Decisions beyond those that are drawn.
    pub(super) more_decisions: u64,
    /// Runs in the log: the last one is kept.
    pub(super) runs: u64,
    /// Lines that are none of the watchdog's.
    pub(super) skipped: u64,
}

/// The looks of a stretch of time.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) index: u64,
    pub(super) worst: Safety,
    pub(super) ranges: [Option<(f64, f64)>; METRICS.len()],
}

/// The first time that a metric was past its limit.
#[derive(Debug, Clone)]
pub(super) struct Alarm {
    pub(super) at: f64,
    pub(super) metric: String,
    pub(super) value: f64,
}

/// What the watch did, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Decision {
    pub(super) at: f64,
    pub(super) what: Happening,
}

/// Where a metric is warned about, and where it is acted upon.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lines {
    pub(super) limit: Option<f64>,
    pub(super) warn: Option<f64>,
}

impl Track {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it has seen nothing.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Looks that it took in, of the run that it holds.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// Takes in a line of a log; one that is none is counted and left out.
    ///
    /// A log that is appended to holds several runs: where time starts over, a new one begins and
    /// the one before is forgotten.
    pub fn line(&mut self, bytes: &[u8]) {
        match serde_json::from_slice::<LogLine>(bytes) {
            Ok(line) => self.add(line.elapsed_s, line.verdict, &line.sample, &line.breaches),
            Err(_) if bytes.trim_ascii().is_empty() => {}
            Err(_) => self.skip(),
        }
    }

    /// Counts a line that is not looked at.
    pub fn skip(&mut self) {
        self.skipped = self.skipped.saturating_add(1);
    }

    /// Takes in a report, made `at` seconds after the start.
    pub fn look(&mut self, at: f64, report: &Report) {
        self.add(at, report.verdict, &report.sample, &report.breaches);
    }

    /// Takes in a line of an events file, behind the log of the same run; one that is none is left
    /// out. Of several runs the last is kept.
    pub fn event(&mut self, bytes: &[u8]) {
        if let Ok(event) = serde_json::from_slice::<Event>(bytes) {
            if event.event == Happening::Started {
                self.decisions.clear();
                self.more_decisions = 0;
            }
            self.decided(event.elapsed_s, event.event);
        }
    }

    /// Takes in what was decided `at` seconds after the start, where it is no reading's doing: those
    /// are seen in the trajectory itself.
    pub fn decided(&mut self, at: f64, what: Happening) {
        if !(0.0..=LONGEST).contains(&at) || said(what).is_none() {
            return;
        }
        if self.decisions.len() < MOST_DECISIONS {
            self.decisions.push(Decision { at, what });
        } else {
            self.more_decisions = self.more_decisions.saturating_add(1);
        }
    }

    /// Seconds to the end of what is known.
    pub(super) fn end(&self) -> f64 {
        let decided = self.decisions.iter().map(|d| d.at);
        decided.fold(self.last.max(self.width), f64::max)
    }

    fn add(&mut self, at: f64, verdict: Safety, sample: &Sample, breaches: &[Breach]) {
        if !(0.0..=LONGEST).contains(&at) {
            self.skip();
            return;
        }
        if self.is_empty() || at < self.last {
            *self = Self {
                width: FINEST,
                runs: self.runs.saturating_add(1),
                skipped: self.skipped,
                decisions: std::mem::take(&mut self.decisions),
                ..Self::default()
            };
        }
        self.last = at;
        self.looks = self.looks.saturating_add(1);
        while at / self.width >= MOST_COLUMNS {
            self.halve();
        }
        let index = gpuc_core::units::floor_bytes(at / self.width);
        let column = Column {
            index,
            worst: verdict,
            ranges: METRICS.map(|m| m.read(sample).map(|x| (x, x))),
        };
        match self.columns.last_mut() {
            Some(last) if last.index == index => last.join(&column),
            _ => self.columns.push(column),
        }
        for breach in breaches {
            self.breach(at, breach);
        }
    }

    fn halve(&mut self) {
        self.width *= 2.0;
        let mut halved: Vec<Column> = Vec::with_capacity(self.columns.len());
        for mut column in self.columns.drain(..) {
            column.index /= 2;
            match halved.last_mut() {
                Some(last) if last.index == column.index => last.join(&column),
                _ => halved.push(column),
            }
        }
        self.columns = halved;
    }

    fn breach(&mut self, at: f64, breach: &Breach) {
        let known = METRICS.iter().position(|m| m.key() == breach.metric);
        if let Some(lines) = known.and_then(|i| self.lines.get_mut(i)) {
            match breach.level {
                Level::Warn => lines.warn = Some(breach.threshold),
                Level::Abort => lines.limit = Some(breach.threshold),
            }
        }
        let metric = clean(&breach.metric, 64);
        let is_new = breach.level == Level::Abort
            && self.alarms.len() < MOST_ALARMS
            && !self.alarms.iter().any(|a| a.metric == metric);
        if is_new {
            self.alarms.push(Alarm {
                at,
                metric,
                value: breach.value,
            });
        }
    }
}

/// A decision in words that hold nothing of the user's; none where it is not drawn.
pub(super) fn said(what: Happening) -> Option<&'static str> {
    Some(match what {
        Happening::Started
        | Happening::Warning
        | Happening::Breach
        | Happening::Recovered
        | Happening::Confirmed
        | Happening::ActionStarted
        | Happening::Exit => return None,
        Happening::Cleared => "looked at again, no limit is breached any more",
        Happening::ActionDone => "an action was carried out",
        Happening::ActionFailed => "an action could not be carried out",
        Happening::Reloaded => "the limits were read again",
        Happening::Signalled => "a signal asked the watchdog to end",
        Happening::Term => "the job was asked to end",
        Happening::Kill => "the job was killed",
        Happening::Reaped => "nothing of the job is left",
    })
}

impl Column {
    fn join(&mut self, other: &Self) {
        self.worst = self.worst.max(other.worst);
        for (mine, theirs) in self.ranges.iter_mut().zip(&other.ranges) {
            *mine = match (*mine, *theirs) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (a, b) => a.or(b),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: f64, temp: f64) -> String {
        format!(
            r#"{{"t": "2026-01-01T00:00:00Z", "elapsed_s": {at}, "verdict": "ok",
                "sample": {{"gpu_temp_c": {temp}}}, "breaches": []}}"#
        )
    }

    #[test]
    fn however_long_no_peak_is_lost() {
        let mut track = Track::new();
        for i in 0..200_000u32 {
            let temp = if i == 123_456 { 99.0 } else { 50.0 };
            track.add(
                f64::from(i),
                Safety::Ok,
                &Sample {
                    gpu_temp_c: Some(temp),
                    ..Sample::default()
                },
                &[],
            );
        }
        assert!(track.columns.len() <= 1024 && track.columns.len() > 500);
        let temps = track.columns.iter().filter_map(|c| c.ranges[1]);
        assert_eq!(temps.clone().map(|r| r.1).fold(0.0, f64::max), 99.0);
        assert_eq!(temps.map(|r| r.0).fold(99.0, f64::min), 50.0);
        assert_eq!((track.looks, track.runs), (200_000, 1));
    }

    #[test]
    fn the_last_runs_decisions_are_kept_and_no_more_than_can_be_drawn() {
        let event = |at: f64, what: &str| {
            format!(r#"{{"t": "", "elapsed_s": {at}, "event": "{what}", "reason": "secret"}}"#)
        };
        let mut track = Track::new();
        track.line(line(5.0, 60.0).as_bytes());
        for (at, what) in [
            (0.0, "started"),
            (3.0, "kill"),
            (0.0, "started"),
            (1.0, "breach"),
            (2.0, "term"),
            (1e300, "kill"),
            (9.0, "reaped"),
        ] {
            track.event(event(at, what).as_bytes());
        }
        track.event(b"{");
        let kept: Vec<_> = track.decisions.iter().map(|d| (d.at, d.what)).collect();
        assert_eq!(kept, [(2.0, Happening::Term), (9.0, Happening::Reaped)]);
        assert_eq!(track.end(), 9.0);
        for _ in 0..100 {
            track.decided(4.0, Happening::Reloaded);
        }
        assert_eq!((track.decisions.len(), track.more_decisions), (24, 78));
    }

    #[test]
    fn the_last_run_of_a_log_is_kept() {
        let mut track = Track::new();
        for (at, temp) in [(0.0, 70.0), (5.0, 71.0), (0.1, 40.0), (1.0, 41.0)] {
            track.line(line(at, temp).as_bytes());
        }
        for other in ["{}", "no JSON", "{\"elapsed_s\": 1", "", "\u{0}"] {
            track.line(other.as_bytes());
        }
        track.line(line(-1.0, 40.0).as_bytes());
        track.line(line(1e300, 40.0).as_bytes());
        assert_eq!((track.runs, track.looks, track.skipped), (2, 2, 6));
        assert_eq!(track.columns[0].ranges[1], Some((40.0, 40.0)));
    }
}
