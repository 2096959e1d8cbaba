//! The limits: defaults, a thresholds file over them, flags over both.

use serde_json::{Map, Value};

use crate::document::Thresholds;
use crate::error::{Code, Coded};
use crate::json::{self, JsonError};

/// Limits that were given, each on its own.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// GPU power, % of the card's own limit.
    pub power_pct_max: Option<f64>,
    /// GPU temperature, °C.
    pub gpu_temp_c_max: Option<f64>,
    /// VRAM used, %.
    pub vram_pct_max: Option<f64>,
    /// Host memory used, %.
    pub host_mem_pct_max: Option<f64>,
    /// Host memory available, MiB.
    pub host_avail_mib_min: Option<f64>,
    /// Share of a limit at which a warning starts.
    pub warn_fraction: Option<f64>,
}

impl Limits {
    /// `base` with what was given in its place.
    #[must_use]
    pub fn over(&self, base: Thresholds) -> Thresholds {
        Thresholds {
            power_pct_max: self.power_pct_max.unwrap_or(base.power_pct_max),
            gpu_temp_c_max: self.gpu_temp_c_max.unwrap_or(base.gpu_temp_c_max),
            vram_pct_max: self.vram_pct_max.unwrap_or(base.vram_pct_max),
            host_mem_pct_max: self.host_mem_pct_max.unwrap_or(base.host_mem_pct_max),
            host_avail_mib_min: self.host_avail_mib_min.unwrap_or(base.host_avail_mib_min),
            warn_fraction: self.warn_fraction.unwrap_or(base.warn_fraction),
        }
    }

    fn slot(&mut self, key: &str) -> Option<&mut Option<f64>> {
        Some(match key {
            "power_pct_max" => &mut self.power_pct_max,
            "gpu_temp_c_max" => &mut self.gpu_temp_c_max,
            "vram_pct_max" => &mut self.vram_pct_max,
            "host_mem_pct_max" => &mut self.host_mem_pct_max,
            "host_avail_mib_min" => &mut self.host_avail_mib_min,
            "warn_fraction" => &mut self.warn_fraction,
            _ => return None,
        })
    }
}

/// The known keys, each with the flag that says the same.
const KEYS: [(&str, &str); 6] = [
    ("power_pct_max", "power_max"),
    ("gpu_temp_c_max", "temp_max"),
    ("vram_pct_max", "vram_max"),
    ("host_mem_pct_max", "host_mem_max"),
    ("host_avail_mib_min", "host_avail_min"),
    ("warn_fraction", "warn_fraction"),
];

/// Why a thresholds file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No JSON.
    #[error("the watchdog's thresholds file is not JSON")]
    Json(#[source] JsonError),
    /// JSON, but no object.
    #[error("the watchdog's thresholds file must hold an object of limits")]
    NotAnObject,
    /// A limit that is none.
    #[error("{key} must be a finite number, 0 or more; it is {value}")]
    BadLimit {
        /// Which one.
        key: &'static str,
        /// What it is, cut to a readable length.
        value: String,
    },
}

impl Coded for ConfigError {
    fn code(&self) -> Code {
        Code::InputBadWatchdogConfig
    }
    fn hint(&self) -> Option<String> {
        Some("watchdog.example.json shows every key with its default".to_owned())
    }
}

/// The limits of a thresholds file, and what its writer should be told about it.
///
/// Unknown keys are ignored; one that is nearly a known key is a limit that would not be enforced,
/// so it gets a warning.
pub fn config(bytes: &[u8]) -> Result<(Limits, Vec<String>), ConfigError> {
    let document: Value = json::read(bytes).map_err(ConfigError::Json)?;
    let Value::Object(map) = document else {
        return Err(ConfigError::NotAnObject);
    };
    let mut limits = Limits::default();
    for (key, _) in KEYS {
        if let (Some(value), Some(slot)) = (map.get(key), limits.slot(key)) {
            *slot = Some(limit(key, value)?);
        }
    }
    Ok((limits, near_misses(&map)))
}

fn limit(key: &'static str, value: &Value) -> Result<f64, ConfigError> {
    match value {
        Value::Number(n) => n.as_f64().filter(|x| x.is_finite() && *x >= 0.0),
        _ => None,
    }
    .ok_or_else(|| {
        let mut text: String = value.to_string().chars().take(40).collect();
        if text.len() < value.to_string().len() {
            text.push('…');
        }
        ConfigError::BadLimit { key, value: text }
    })
}

fn near_misses(map: &Map<String, Value>) -> Vec<String> {
    let mut out = Vec::new();
    for key in map
        .keys()
        .filter(|k| !KEYS.iter().any(|(known, _)| known == k))
    {
        if let Some(meant) = nearest(key) {
            out.push(format!(
                "{key:?} is no limit and is ignored; did you mean {meant:?}?"
            ));
        }
    }
    out
}

/// The known key that `key` was probably meant to be.
fn nearest(key: &str) -> Option<&'static str> {
    // Longer than any key with its misspellings: nothing to compare, whatever a file holds.
    if key.len() > 40 {
        return None;
    }
    let key: String = key.trim().to_lowercase().replace(['-', ' ', '.'], "_");
    let of = |(known, flag): (&'static str, &str)| {
        let d = distance(&key, known).min(distance(&key, flag));
        (d, known)
    };
    let (d, known) = KEYS.into_iter().map(of).min_by_key(|(d, _)| *d)?;
    (d <= 3).then_some(known)
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
        let (file, warnings) =
            config(br#"{"_comment": "x", "gpu_temp_c_max": 60, "vram_pct_max": 0}"#).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let flags = Limits {
            gpu_temp_c_max: Some(70.0),
            ..Limits::default()
        };
        let t = flags.over(file.over(Thresholds::default()));
        assert_eq!(
            (t.gpu_temp_c_max, t.vram_pct_max, t.power_pct_max),
            (70.0, 0.0, 95.0)
        );
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        let bad = [
            "",
            "null",
            "[]",
            "3",
            "{",
            r#"{"gpu_temp_c_max": null}"#,
            r#"{"gpu_temp_c_max": "hot"}"#,
            r#"{"gpu_temp_c_max": true}"#,
            r#"{"gpu_temp_c_max": NaN}"#,
            r#"{"gpu_temp_c_max": 1e999}"#,
            r#"{"warn_fraction": -0.1}"#,
            r#"{"warn_fraction": [0.9]}"#,
        ];
        for text in bad {
            let e = config(text.as_bytes()).unwrap_err();
            assert_eq!(e.code().as_str(), "INPUT_BAD_WATCHDOG_CONFIG", "{text}");
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
        ];
        for (key, meant) in near {
            let (limits, warnings) = config(format!("{{\"{key}\": 5}}").as_bytes()).unwrap();
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
            "interval",
            "description",
        ] {
            let (_, warnings) = config(format!("{{\"{key}\": 5}}").as_bytes()).unwrap();
            assert!(warnings.is_empty(), "{key}: {warnings:?}");
        }
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
            if let Ok((limits, _)) = config(text.as_bytes()) {
                prop_assert!(limits.gpu_temp_c_max.is_none_or(|x| x.is_finite() && x >= 0.0));
            }
        }
    }
}
