//! The safety envelope of a supervised run, read leniently: a receipt never fails for its sake.

use serde_json::Value;

use crate::text;

/// What the watchdog saw at worst.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Envelope {
    /// GPU power, % of its limit.
    pub gpu_power_pct: Option<f64>,
    /// GPU temperature, °C.
    pub gpu_temp_c: Option<f64>,
    /// VRAM used, MiB.
    pub gpu_vram_used_mib: Option<f64>,
    /// Host memory used, %.
    pub host_mem_pct: Option<f64>,
    /// Least host memory available, MiB.
    pub host_avail_mib: Option<f64>,
    /// Polls behind it.
    pub samples: Option<u64>,
    /// Whether no limit was breached.
    pub within: Option<bool>,
}

impl Envelope {
    /// Reads a peaks file. Nothing when it is no object or an empty one; `complaints` takes what
    /// could not be used and why.
    pub fn read(bytes: &[u8], complaints: &mut Vec<String>) -> Option<Self> {
        let value = match text::decode(bytes).map(|t| serde_json::from_str::<Value>(&t)) {
            Ok(Ok(value)) => value,
            Ok(Err(e)) => {
                complaints.push(format!("it is no JSON ({e})"));
                return None;
            }
            Err(e) => {
                complaints.push(e.to_string());
                return None;
            }
        };
        let Value::Object(map) = value else {
            complaints.push("it is JSON, but no object".into());
            return None;
        };
        if map.is_empty() {
            complaints.push("it is empty".into());
            return None;
        }
        let mut number = |key: &str| match map.get(key) {
            None | Some(Value::Null) => None,
            Some(v) => {
                let x = v.as_f64().filter(|x| x.is_finite());
                if x.is_none() {
                    complaints.push(format!("{key} is no number"));
                }
                x
            }
        };
        let mut out = Self {
            gpu_power_pct: number("peak_gpu_power_pct"),
            gpu_temp_c: number("peak_gpu_temp_c"),
            gpu_vram_used_mib: number("peak_gpu_vram_used_mib"),
            host_mem_pct: number("peak_host_mem_pct"),
            host_avail_mib: number("min_host_avail_mib"),
            ..Self::default()
        };
        match map.get("samples") {
            None | Some(Value::Null) => {}
            Some(v) => {
                let whole = v.as_f64().filter(|x| *x >= 0.0 && x.fract() == 0.0);
                out.samples = whole.map(crate::units::floor_bytes);
                if whole.is_none() {
                    complaints.push("samples is no whole number".into());
                }
            }
        }
        match map.get("stayed_within_envelope") {
            None | Some(Value::Null) => {}
            Some(Value::Bool(within)) => out.within = Some(*within),
            Some(_) => complaints.push("stayed_within_envelope is neither true nor false".into()),
        }
        Some(out)
    }

    /// The envelope in a sentence.
    pub fn sentence(&self) -> String {
        let mut peaks = Vec::new();
        if let Some(x) = self.host_mem_pct {
            peaks.push(format!("host memory {x:.0} %"));
        }
        if let Some(x) = self.gpu_power_pct {
            peaks.push(format!("GPU power {x:.0} %"));
        }
        if let Some(x) = self.gpu_temp_c {
            peaks.push(format!("GPU {x:.0} °C"));
        }
        if let Some(x) = self.gpu_vram_used_mib {
            peaks.push(format!("VRAM {:.1} GiB", x / 1024.0));
        }
        let peaks = if peaks.is_empty() {
            "no peaks recorded".to_owned()
        } else {
            format!("at most {}", peaks.join(", "))
        };
        let verdict = match self.within {
            Some(true) => "within its limits throughout",
            Some(false) => "a limit was breached",
            None => "no verdict",
        };
        format!(
            "safety envelope: {peaks} over {} polls; {verdict}",
            self.samples.unwrap_or(0)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_shapes_are_left_out_with_a_reason() {
        for text in [
            "",
            "[1]",
            "\"x\"",
            "7",
            "null",
            "[]",
            "{}",
            "{\"samples\": NaN}",
        ] {
            let mut complaints = Vec::new();
            assert_eq!(
                Envelope::read(text.as_bytes(), &mut complaints),
                None,
                "{text}"
            );
            assert_eq!(complaints.len(), 1, "{text}");
        }
        let mut complaints = Vec::new();
        let text = r#"{"samples": "12", "peak_gpu_temp_c": true, "peak_host_mem_pct": 31,
            "stayed_within_envelope": 1}"#;
        let e = Envelope::read(text.as_bytes(), &mut complaints).unwrap();
        assert_eq!(e.host_mem_pct, Some(31.0));
        assert_eq!((e.samples, e.gpu_temp_c, e.within), (None, None, None));
        assert_eq!(complaints.len(), 3);
    }
}
