//! What a file of `--config` may say beside limits: when the watch looks, what it does, where it
//! writes.

use std::fmt;

use serde_json::Value;

use super::limit::MOST_MIB;
use super::thresholds::LONGEST_S;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Seconds from one look to the next.
    Interval,
    /// Seconds that the GPUs may take to answer.
    GpuTimeout,
    /// Looks in a row without readings of GPUs until that is a breach.
    BlindPolls,
    /// Looks after which a watch ends; 0 for never.
    MaxPolls,
    /// What is done on a breach.
    OnBreach,
    /// Seconds that an action may take.
    ActionTimeout,
    /// Where each look is written to.
    Log,
    /// MiB at which that is set aside.
    LogSize,
    /// Where each decision is written to.
    Events,
    /// Where the last readings are kept.
    MetricsFile,
    /// Where the report stream is written to.
    JsonOut,
    /// Seconds from SIGTERM to SIGKILL.
    Grace,
    /// Whether the job gets a control group.
    Cgroup,
    /// The most memory that it may hold, MiB.
    MemoryMax,
    /// Where the worst readings of a run are written to.
    PeaksOut,
    /// Where the picture of a run is drawn.
    Svg,
}

/// What values a setting has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Numbers from 0 up to this.
    UpTo(f64),
    /// Numbers above 0 up to this.
    Above0UpTo(f64),
    /// Whole numbers from 0 up to this.
    Count(u32),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A text that is not empty.
    Text,
}

impl Kind {
    /// Whether this is one of the values.
    pub fn takes(self, value: &Value) -> bool {
        let number = value.as_f64();
        match self {
            Self::UpTo(most) => number.is_some_and(|x| (0.0..=most).contains(&x)),
            Self::Above0UpTo(most) => number.is_some_and(|x| x > 0.0 && x <= most),
            Self::Count(most) => {
                number.is_some_and(|x| (0.0..=f64::from(most)).contains(&x) && x.fract() == 0.0)
            }
            Self::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Text => value.as_str().is_some_and(|text| !text.is_empty()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpTo(most) => write!(f, "a number from 0 to {most}"),
            Self::Above0UpTo(most) => write!(f, "a number above 0, at most {most}"),
            Self::Count(most) => write!(f, "a whole number from 0 to {most}"),
            Self::Word(words) => write!(f, "one of {}", words.join(", ")),
            Self::Text => f.write_str("a text that is not empty"),
        }
    }
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Interval,
        Self::GpuTimeout,
        Self::BlindPolls,
        Self::MaxPolls,
        Self::OnBreach,
        Self::ActionTimeout,
        Self::Log,
        Self::LogSize,
        Self::Events,
        Self::MetricsFile,
        Self::JsonOut,
        Self::Grace,
        Self::Cgroup,
        Self::MemoryMax,
        Self::PeaksOut,
        Self::Svg,
    ];

    /// Its key in the file.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Interval => "interval_s",
            Self::GpuTimeout => "gpu_timeout_s",
            Self::BlindPolls => "blind_polls",
            Self::MaxPolls => "max_polls",
            Self::OnBreach => "on_breach",
            Self::ActionTimeout => "action_timeout_s",
            Self::Log => "log",
            Self::LogSize => "log_size_mib",
            Self::Events => "events",
            Self::MetricsFile => "metrics_file",
            Self::JsonOut => "json_out",
            Self::Grace => "grace_s",
            Self::Cgroup => "cgroup",
            Self::MemoryMax => "memory_max_mib",
            Self::PeaksOut => "peaks_out",
            Self::Svg => "svg",
        }
    }

    /// The flag that says the same.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Interval => "--interval",
            Self::GpuTimeout => "--gpu-timeout",
            Self::BlindPolls => "--blind-polls",
            Self::MaxPolls => "--max-polls",
            Self::OnBreach => "--on-breach",
            Self::ActionTimeout => "--action-timeout",
            Self::Log => "--log",
            Self::LogSize => "--log-size",
            Self::Events => "--events",
            Self::MetricsFile => "--metrics-file",
            Self::JsonOut => "--json-out",
            Self::Grace => "--grace",
            Self::Cgroup => "--cgroup",
            Self::MemoryMax => "--memory-max",
            Self::PeaksOut => "--peaks-out",
            Self::Svg => "--svg",
        }
    }

    /// What its values are.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Interval | Self::Grace => Kind::UpTo(LONGEST_S),
            Self::GpuTimeout | Self::ActionTimeout => Kind::Above0UpTo(LONGEST_S),
            Self::BlindPolls | Self::MaxPolls => Kind::Count(u32::MAX),
            Self::LogSize => Kind::UpTo(MOST_MIB),
            Self::MemoryMax => Kind::Above0UpTo(MOST_MIB),
            Self::Cgroup => Kind::Word(&["auto", "off"]),
            Self::OnBreach
            | Self::Log
            | Self::Events
            | Self::MetricsFile
            | Self::JsonOut
            | Self::PeaksOut
            | Self::Svg => Kind::Text,
        }
    }

    /// Whether there need be none, which null says.
    pub fn is_optional(self) -> bool {
        self == Self::MemoryMax || self.kind() == Kind::Text && self != Self::OnBreach
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_has_its_own_key_and_flag() {
        for (i, a) in Setting::ALL.into_iter().enumerate() {
            for b in &Setting::ALL[..i] {
                assert!(a.key() != b.key() && a.flag() != b.flag(), "{a:?} {b:?}");
            }
            let bare = a.flag().trim_start_matches('-').replace('-', "_");
            assert!(a.key().starts_with(&bare), "{a:?}");
        }
    }

    #[test]
    fn kinds_of_values() {
        let table = [
            (Kind::UpTo(5.0), json!(0), json!(5.5), "0 to 5"),
            (Kind::Above0UpTo(5.0), json!(5.0), json!(0), "above 0"),
            (Kind::Count(7), json!(7.0), json!(0.5), "whole"),
            (Kind::Word(&["a", "b"]), json!("b"), json!("c"), "a, b"),
            (Kind::Text, json!("x"), json!(""), "not empty"),
        ];
        for (kind, good, bad, said) in table {
            assert!(kind.takes(&good) && !kind.takes(&bad), "{kind:?}");
            assert!(kind.to_string().contains(said), "{kind}");
            for never in [json!(null), json!(true), json!([]), json!({}), json!(-1)] {
                assert!(!kind.takes(&never), "{kind:?} {never}");
            }
        }
    }
}
