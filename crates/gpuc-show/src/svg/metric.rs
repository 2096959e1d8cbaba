//! The metrics of a watch that are drawn: what they are called and which limit they have.

use gpuc_core::document::{Level, Sample, Thresholds};
use gpuc_core::safety::Limit;

/// One metric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metric {
    /// What is held against it; nothing is against how busy the GPU is.
    pub(crate) limit: Option<Limit>,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
}

/// What a metric is shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Of a whole that cannot be exceeded, or hardly.
    Percent,
    /// Of time: seldom more than a few.
    PercentOfTime,
    Celsius,
    /// The sample has it in MiB.
    Gib,
}

const fn metric(limit: Limit, title: &'static str, unit: Unit) -> Metric {
    Metric {
        limit: Some(limit),
        title,
        unit,
    }
}

/// All of them, the GPU's first.
pub(crate) const METRICS: [Metric; 11] = [
    metric(Limit::Power, "GPU power, share of its limit", Unit::Percent),
    metric(Limit::Temperature, "GPU temperature", Unit::Celsius),
    metric(Limit::Vram, "VRAM used", Unit::Percent),
    metric(Limit::JobVram, "VRAM of the job", Unit::Gib),
    Metric {
        limit: None,
        title: "GPU busy",
        unit: Unit::Percent,
    },
    metric(Limit::HostMemory, "Host memory used", Unit::Percent),
    metric(Limit::HostAvailable, "Host memory left", Unit::Gib),
    metric(Limit::JobRss, "Memory of the job", Unit::Gib),
    metric(
        Limit::Cgroup,
        "Control group's memory, share of its limit",
        Unit::Percent,
    ),
    metric(Limit::Swap, "Swap used", Unit::Percent),
    metric(
        Limit::Pressure,
        "Everything waiting for memory (PSI)",
        Unit::PercentOfTime,
    ),
];

impl Metric {
    /// Its name in samples and breaches.
    pub(crate) fn key(&self) -> &'static str {
        let of_limit = self.limit.and_then(Limit::metric);
        of_limit.unwrap_or("gpu_util_pct")
    }

    /// Its title without what explains it.
    pub(crate) fn name(&self) -> &'static str {
        let name = self.title.split([',', '(']).next().unwrap_or_default();
        name.trim_end()
    }

    /// Its name in a narrow column.
    pub(crate) fn short(&self) -> &'static str {
        match self.limit {
            Some(Limit::Cgroup) => "Control group",
            Some(Limit::Pressure) => "Memory pressure",
            _ => self.name(),
        }
    }

    /// What a sample has of it.
    pub(crate) fn read(&self, sample: &Sample) -> Option<f64> {
        match self.limit {
            Some(limit) => limit.value(sample),
            None => sample.gpu_util_pct,
        }
    }

    /// Whether little of it is bad.
    pub(crate) fn is_least(&self) -> bool {
        self.limit == Some(Limit::HostAvailable)
    }

    /// Where it is acted upon, and where it is warned about.
    pub(crate) fn lines(&self, t: &Thresholds) -> (Option<f64>, Option<f64>) {
        let limit = self.limit.and_then(|l| l.get(t));
        let warn = limit.map(|limit| {
            if self.is_least() {
                limit / t.warn_fraction
            } else {
                limit * t.warn_fraction
            }
        });
        (limit, warn.filter(|w| w.is_finite()))
    }
}

impl Metric {
    /// How far a reading is on its way to a limit, which is at 1.
    pub(crate) fn nearness(&self, value: f64, limit: f64) -> f64 {
        let near = if self.is_least() {
            limit / value
        } else {
            value / limit
        };
        // 0 of 0 is as near as can be.
        if near.is_nan() { 1.0 } else { near.max(0.0) }
    }

    /// Which of its lines a reading has crossed.
    pub(crate) fn level(&self, value: f64, t: &Thresholds) -> Option<Level> {
        let limit = self.limit?;
        let past = |line: Option<f64>| line.is_some_and(|line| limit.is_past(value, line));
        match self.lines(t) {
            (abort, _) if past(abort) => Some(Level::Abort),
            (_, warn) if past(warn) => Some(Level::Warn),
            _ => None,
        }
    }
}

impl Unit {
    /// From what a sample has to what is shown.
    pub(crate) fn scale(self) -> f64 {
        match self {
            Self::Gib => 1.0 / 1024.0,
            _ => 1.0,
        }
    }

    /// Whether it is a part of a whole, 100 being all of it.
    pub(crate) fn is_share(self) -> bool {
        matches!(self, Self::Percent | Self::PercentOfTime)
    }

    /// A reading in words.
    pub(crate) fn words(self, reading: f64) -> String {
        let (places, name) = match self {
            Self::Percent | Self::PercentOfTime => (1, "%"),
            Self::Celsius => (0, "°C"),
            Self::Gib => (1, "GiB"),
        };
        let shown = super::number::decimals(reading * self.scale(), places);
        format!("{shown} {name}")
    }
}
