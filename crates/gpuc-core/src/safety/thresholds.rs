//! The limits that somebody gave: a thresholds file over the defaults, flags over both.

use std::time::Duration;

use serde_json::{Map, Value};

use super::hold::Durations;
use super::limit::Limit;
use super::setting::{Kind, Setting};
use crate::document::Thresholds;
use crate::error::{Code, Coded};
use crate::json::{self, JsonError};

/// Limits that were given, each on its own; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits(Vec<(Limit, Option<f64>)>);

impl Limits {
    /// Gives one more.
    pub fn give(&mut self, limit: Limit, value: Option<f64>) {
        self.0.push((limit, value));
    }

    /// Whether this one was given.
    pub fn has(&self, limit: Limit) -> bool {
        self.0.iter().any(|(l, _)| *l == limit)
    }

    /// `base` with what was given in its place.
    #[must_use]
    pub fn over(&self, mut base: Thresholds) -> Thresholds {
        for (limit, value) in &self.0 {
            limit.set(&mut base, *value);
        }
        base
    }
}

/// What a thresholds file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Its limits.
    pub limits: Limits,
    /// How long a limit must be passed.
    pub durations: Durations,
    /// What else it sets; null for none.
    pub settings: Vec<(Setting, Value)>,
    /// What its writer should be told about it.
    pub warnings: Vec<String>,
}

impl Config {
    /// What it says of a setting.
    pub fn setting(&self, setting: Setting) -> Option<&Value> {
        let found = self.settings.iter().find(|(s, _)| *s == setting);
        found.map(|(_, value)| value)
    }
}

/// It is read again while somebody waits to be watched.
const MOST_BYTES: usize = 1 << 20;
/// Whose writer means so many other things does not ask for advice.
const MOST_STRANGERS: usize = 100;

/// The key under which durations stand.
const SUSTAIN: &str = "sustain_s";
/// The key under which limits may stand together, as `--print-config` prints them.
const LIMITS: &str = "limits";
/// What `--print-config` puts in an object of this key, beside where it comes from.
const VALUE: &str = "value";
/// A day: what takes longer is no breach any more.
pub const LONGEST_S: f64 = 86400.0;

/// Why a thresholds file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No JSON.
    #[error("the watchdog's thresholds file is not JSON")]
    Json(#[source] JsonError),
    /// Not the size of one.
    #[error("the watchdog's thresholds file is larger than {} KiB", MOST_BYTES >> 10)]
    TooLarge,
    /// JSON, but no object.
    #[error("the watchdog's thresholds file must hold an object of limits")]
    NotAnObject,
    /// A limit that is none.
    #[error("{key} must be a number from 0 to {most}{or_null}; it is {value}")]
    BadLimit {
        /// Which one.
        key: &'static str,
        /// The most that it may be.
        most: f64,
        /// Whether there may be none.
        or_null: &'static str,
        /// What it is, cut to a readable length.
        value: String,
    },
    /// A duration that is none.
    #[error("{SUSTAIN}.{key} must be seconds from 0 to {LONGEST_S}; it is {value}")]
    BadDuration {
        /// Whose.
        key: &'static str,
        /// What it is, cut to a readable length.
        value: String,
    },
    /// Another setting that is none.
    #[error("{key} must be {kind}{or_null}; it is {value}")]
    BadSetting {
        /// Which one.
        key: &'static str,
        /// What it may be.
        kind: Kind,
        /// Whether there may be none.
        or_null: &'static str,
        /// What it is, cut to a readable length.
        value: String,
    },
    /// Durations that are no object.
    #[error("{SUSTAIN} must hold an object of limits, each with its seconds; it is {0}")]
    BadDurations(String),
    /// Limits that are no object.
    #[error("{LIMITS} must hold an object of limits; it is {0}")]
    BadLimits(String),
}

impl Coded for ConfigError {
    fn code(&self) -> Code {
        Code::InputBadWatchdogConfig
    }
    fn hint(&self) -> Option<String> {
        Some("watchdog.example.json shows every key with its default".to_owned())
    }
}

/// What a thresholds file sets, and what its writer should be told about it.
///
/// What `--print-config` has printed is such a file: its limits stand in an object of their own, and
/// each value in one that says where it came from. A limit beside that object goes over it.
///
/// Unknown keys are ignored; one that is nearly a known key is a limit that would not be enforced,
/// so it gets a warning.
pub fn config(bytes: &[u8]) -> Result<Config, ConfigError> {
    if bytes.len() > MOST_BYTES {
        return Err(ConfigError::TooLarge);
    }
    let document: Value = json::read(bytes).map_err(ConfigError::Json)?;
    let Value::Object(map) = document else {
        return Err(ConfigError::NotAnObject);
    };
    let mut config = Config {
        warnings: near_misses(&map),
        ..Config::default()
    };
    let none = Map::new();
    let together = match map.get(LIMITS) {
        None => &none,
        Some(Value::Object(limits)) => limits,
        Some(other) => return Err(ConfigError::BadLimits(excerpt(other))),
    };
    config.warnings.extend(near_misses(together));
    for limit in Limit::ALL {
        // Both are checked, whichever counts.
        for value in [together, &map]
            .into_iter()
            .filter_map(|map| map.get(limit.key()))
        {
            config.limits.give(limit, number(limit, bare(value))?);
        }
    }
    for setting in Setting::ALL {
        if let Some(value) = map.get(setting.key()) {
            let value = checked(setting, bare(value))?;
            config.settings.push((setting, value.clone()));
        }
    }
    if let Some(given) = map.get(SUSTAIN) {
        let Value::Object(given) = given else {
            return Err(ConfigError::BadDurations(excerpt(given)));
        };
        for (key, value) in given {
            match Limit::of_key(key).filter(|l| l.metric().is_some()) {
                Some(limit) => config.durations.give(limit, duration(limit, bare(value))?),
                None if key.starts_with('_') || config.warnings.len() >= MOST_STRANGERS => {}
                None => config.warnings.push(format!(
                    "{SUSTAIN} gives {key:?} a duration, which is no limit; it is ignored"
                )),
            }
        }
    }
    Ok(config)
}

/// A value itself, where it stands in an object that says where it came from.
fn bare(value: &Value) -> &Value {
    let inner = value.as_object().and_then(|object| object.get(VALUE));
    inner.unwrap_or(value)
}

const OR_NULL: &str = ", or null";

fn checked(setting: Setting, value: &Value) -> Result<&Value, ConfigError> {
    let kind = setting.kind();
    let null = setting.is_optional();
    if kind.takes(value) || null && value.is_null() {
        return Ok(value);
    }
    Err(ConfigError::BadSetting {
        key: setting.key(),
        kind,
        or_null: if null { OR_NULL } else { "" },
        value: excerpt(value),
    })
}

fn number(limit: Limit, value: &Value) -> Result<Option<f64>, ConfigError> {
    if value.is_null() && limit.is_optional() {
        return Ok(None);
    }
    let given = value.as_f64().filter(|x| (0.0..=limit.most()).contains(x));
    match given {
        Some(x) => Ok(Some(x)),
        None => Err(ConfigError::BadLimit {
            key: limit.key(),
            most: limit.most(),
            or_null: if limit.is_optional() { OR_NULL } else { "" },
            value: excerpt(value),
        }),
    }
}

fn duration(limit: Limit, value: &Value) -> Result<Duration, ConfigError> {
    value
        .as_f64()
        .filter(|s| (0.0..=LONGEST_S).contains(s))
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .ok_or_else(|| ConfigError::BadDuration {
            key: limit.key(),
            value: excerpt(value),
        })
}

fn excerpt(value: &Value) -> String {
    let whole = value.to_string();
    let mut text: String = whole.chars().take(40).collect();
    if text.len() < whole.len() {
        text.push('…');
    }
    text
}

fn near_misses(map: &Map<String, Value>) -> Vec<String> {
    let mut out = Vec::new();
    let known = |key: &str| known().any(|(known, _)| known == key);
    for key in map.keys().filter(|key| !known(key)).take(MOST_STRANGERS) {
        if let Some(meant) = nearest(key) {
            out.push(format!(
                "{key:?} sets nothing and is ignored; did you mean {meant:?}?"
            ));
        }
    }
    out
}

/// Every key that is known, and the flag that says the same.
fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
    let limits = Limit::ALL.into_iter().map(|l| (l.key(), l.flag()));
    let settings = Setting::ALL.into_iter().map(|s| (s.key(), s.flag()));
    let objects = [(SUSTAIN, "--sustain"), (LIMITS, LIMITS)];
    limits.chain(settings).chain(objects)
}

/// The known key that `key` was probably meant to be.
fn nearest(key: &str) -> Option<&'static str> {
    // Longer than any key with its misspellings: nothing to compare, whatever a file holds.
    if key.len() > 40 {
        return None;
    }
    let key: String = key.trim().to_lowercase().replace(['-', ' ', '.'], "_");
    // Of a short name, few letters may be others.
    let near = |name: &str| {
        let d = distance(&key, name);
        (d <= 3 && 3 * d <= name.len()).then_some(d)
    };
    let all = known().filter_map(|(known, flag)| {
        let flag = flag.trim_start_matches('-').replace('-', "_");
        let d = near(known).into_iter().chain(near(&flag)).min()?;
        Some((d, known))
    });
    all.min_by_key(|(d, _)| *d).map(|(_, known)| known)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            left = (above + 1)
                .min(left + 1)
                .min(diagonal + usize::from(x != *y));
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_lies_over_the_defaults_and_flags_over_the_file() {
        let text = br#"{"_comment": "x", "gpu_temp_c_max": 60, "vram_pct_max": 0,
                        "swap_pct_max": 50, "job_rss_mib_max": null}"#;
        let file = config(text).unwrap();
        assert!(file.warnings.is_empty(), "{:?}", file.warnings);
        let (mut flags, mut plan) = (Limits::default(), Limits::default());
        flags.give(Limit::Temperature, Some(70.0));
        plan.give(Limit::JobRss, Some(1000.0));
        let t = flags.over(file.limits.over(plan.over(Thresholds::default())));
        assert_eq!(
            (t.gpu_temp_c_max, t.vram_pct_max, t.power_pct_max),
            (70.0, 0.0, 95.0)
        );
        assert_eq!((t.swap_pct_max, t.job_rss_mib_max), (Some(50.0), None));
        assert!(file.limits.has(Limit::JobRss) && !file.limits.has(Limit::JobVram));
    }

    #[test]
    fn what_was_printed_is_read() {
        let text = br#"{"config": null, "mode": "run",
            "limits": {"gpu_temp_c_max": {"value": 60, "from": "flag", "flag": "--temp-max"},
                       "swap_pct_max": {"value": null}, "vram_pct_max": 50},
            "vram_pct_max": 40,
            "sustain_s": {"power_pct_max": {"value": 3, "from": "default"}},
            "interval_s": {"value": 0.5}, "log": {"value": null}, "grace_s": 2}"#;
        let file = config(text).unwrap();
        assert!(file.warnings.is_empty(), "{:?}", file.warnings);
        let t = file.limits.over(Thresholds::default());
        assert_eq!((t.gpu_temp_c_max, t.vram_pct_max), (60.0, 40.0));
        assert!(file.limits.has(Limit::Swap) && t.swap_pct_max.is_none());
        let lasts = file.durations.get(Limit::Power);
        assert_eq!(lasts, Some(Duration::from_secs(3)));
        assert_eq!(file.setting(Setting::Interval), Some(&0.5.into()));
        assert_eq!(file.setting(Setting::Log), Some(&Value::Null));
        assert_eq!(file.setting(Setting::Grace), Some(&2.into()));
        assert_eq!(file.setting(Setting::Events), None);
    }

    #[test]
    fn durations_are_given_by_limit() {
        let text = br#"{"sustain_s": {"gpu_temp_c_max": 2.5, "_why": "spikes", "fan": 3,
                        "warn_fraction": 1}}"#;
        let file = config(text).unwrap();
        let lasts = file.durations.get(Limit::Temperature);
        assert_eq!(lasts, Some(Duration::from_millis(2500)));
        assert_eq!(file.durations.get(Limit::Power), None);
        assert_eq!(file.warnings.len(), 2, "{:?}", file.warnings);
    }

    #[test]
    fn what_is_no_limit_is_refused_and_named() {
        let bad = [
            ("", "not JSON"),
            ("null", "object"),
            ("[]", "object"),
            ("3", "object"),
            ("{", "not JSON"),
            (r#"{"gpu_temp_c_max": null}"#, "gpu_temp_c_max"),
            (r#"{"gpu_temp_c_max": "hot"}"#, "\"hot\""),
            (r#"{"gpu_temp_c_max": true}"#, "true"),
            (r#"{"gpu_temp_c_max": NaN}"#, "not JSON"),
            (r#"{"gpu_temp_c_max": 1e999}"#, "not JSON"),
            (r#"{"gpu_temp_c_max": 1001}"#, "from 0 to 1000"),
            (r#"{"warn_fraction": -0.1}"#, "from 0 to 1"),
            (r#"{"warn_fraction": 1.1}"#, "from 0 to 1"),
            (r#"{"warn_fraction": [0.9]}"#, "[0.9]"),
            (r#"{"swap_pct_max": "no"}"#, "or null"),
            (r#"{"job_vram_mib_max": 1e300}"#, "job_vram_mib_max"),
            (r#"{"sustain_s": 10}"#, "object"),
            (
                r#"{"sustain_s": {"power_pct_max": -1}}"#,
                "sustain_s.power_pct_max",
            ),
            (r#"{"sustain_s": {"power_pct_max": null}}"#, "seconds"),
            (r#"{"sustain_s": {"power_pct_max": 1e9}}"#, "86400"),
            (r#"{"limits": []}"#, "object of limits"),
            (r#"{"limits": {"warn_fraction": 2}}"#, "from 0 to 1"),
            (
                r#"{"limits": {"warn_fraction": 2}, "warn_fraction": 0.5}"#,
                "from 0 to 1",
            ),
            (r#"{"gpu_temp_c_max": {"value": "hot"}}"#, "\"hot\""),
            (r#"{"gpu_temp_c_max": {"from": "file"}}"#, "gpu_temp_c_max"),
            (r#"{"interval_s": -1}"#, "from 0 to 86400"),
            (r#"{"interval_s": null}"#, "interval_s"),
            (r#"{"gpu_timeout_s": 0}"#, "above 0"),
            (r#"{"blind_polls": 2.5}"#, "a whole number"),
            (r#"{"on_breach": null}"#, "on_breach must be a text"),
            (r#"{"log": 5}"#, "a text that is not empty, or null"),
            (r#"{"events": ""}"#, "events"),
            (r#"{"cgroup": "on"}"#, "one of auto, off"),
            (r#"{"memory_max_mib": 0}"#, "above 0"),
        ];
        for (text, said) in bad {
            let e = config(text.as_bytes()).unwrap_err();
            assert_eq!(e.code().as_str(), "INPUT_BAD_WATCHDOG_CONFIG", "{text}");
            assert!(e.to_string().contains(said), "{text}: {e}");
        }
    }

    #[test]
    fn a_near_miss_is_named_and_a_stranger_is_not() {
        let near = [
            ("gpu_temp_max", "gpu_temp_c_max"),
            ("temp-max", "gpu_temp_c_max"),
            ("GPU_TEMP_C_MAX", "gpu_temp_c_max"),
            ("powr_pct_max", "power_pct_max"),
            ("host_avail_mb_min", "host_avail_mib_min"),
            ("warn_fractoin", "warn_fraction"),
            ("job_vram_max", "job_vram_mib_max"),
            ("swap_max", "swap_pct_max"),
            ("sustain", "sustain_s"),
            ("interval", "interval_s"),
            ("grace_sec", "grace_s"),
            ("event", "events"),
            ("memory-max", "memory_max_mib"),
        ];
        for (key, meant) in near {
            let Config {
                limits, warnings, ..
            } = config(format!("{{\"{key}\": 5}}").as_bytes()).unwrap();
            assert_eq!(limits, Limits::default());
            assert!(
                warnings.len() == 1 && warnings[0].contains(meant),
                "{key}: {warnings:?}"
            );
        }
        for key in [
            "_comment",
            "to_dict",
            "__class__",
            "note",
            "description",
            "config",
            "plan",
            "pid",
            "mode",
        ] {
            let warnings = config(format!("{{\"{key}\": 5}}").as_bytes())
                .unwrap()
                .warnings;
            assert!(warnings.is_empty(), "{key}: {warnings:?}");
        }
    }

    #[test]
    fn a_file_of_strangers_costs_little() {
        let strangers = |n: usize| {
            let keys: Vec<String> = (0..n).map(|i| format!("\"grace{i}\":{i}")).collect();
            let keys = keys.join(",");
            format!("{{{keys},\"sustain_s\":{{{keys}}}}}")
        };
        let warnings = config(strangers(20000).as_bytes()).unwrap().warnings;
        assert!(warnings.len() <= 2 * MOST_STRANGERS, "{}", warnings.len());
        let e = config(strangers(100000).as_bytes()).unwrap_err();
        assert!(e.to_string().contains("1024 KiB"), "{e}");
    }

    #[test]
    fn distances() {
        for (a, b, d) in [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3)] {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = config(&bytes);
        }

        #[test]
        fn no_object_panics(key in ".{0,60}", value in any::<f64>()) {
            let text = serde_json::json!({ key: value, "gpu_temp_c_max": value }).to_string();
            if let Ok(file) = config(text.as_bytes()) {
                let t = file.limits.over(Thresholds::default());
                prop_assert!((0.0..=1000.0).contains(&t.gpu_temp_c_max));
            }
        }
    }
}
