//! Readings as OpenMetrics text, which Prometheus and node_exporter's textfile collector read.

use gpuc_core::document::{Level, Report, Safety};
use serde_json::Value;

/// What a watch tells beside its readings.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched<'a> {
    /// The job's program; empty where there is none.
    pub job: &'a str,
    /// Whether the job runs, or the watch goes on where there is none.
    pub running: bool,
    /// Looks so far.
    pub looks: u64,
    /// Seconds since 1970 at the last look.
    pub at: f64,
    /// Whether a breach ended it.
    pub aborted: bool,
}

/// The whole text, up to `# EOF`.
///
/// Only gauges and a counter, which the older text format knows as well. A reading that is missing
/// has no line: a number in its place would be taken for one.
pub fn text(report: &Report, watched: &Watched<'_>) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
        if samples.iter().any(|(_, value)| value.is_finite()) {
            out += &format!(
                "# HELP gpuc_{name} {}\n# TYPE gpuc_{name} {kind}\n",
                escape(help)
            );
        }
        let end = if kind == "counter" { "_total" } else { "" };
        for (labels, value) in samples.iter().filter(|(_, value)| value.is_finite()) {
            out += &format!("gpuc_{name}{end}{labels} {value}\n");
        }
    };
    let plain = |value: f64| [(String::new(), value)];
    let about = labels(&[("job", watched.job), ("version", env!("CARGO_PKG_VERSION"))]);
    family(
        "watchdog_info",
        "gauge",
        "Always 1; what is watched, and by which version.",
        &[(about, 1.0)],
    );
    let running = f64::from(u8::from(watched.running));
    family(
        "watchdog_running",
        "gauge",
        "Whether the job runs, or the watch goes on.",
        &plain(running),
    );
    let verdict = match report.verdict {
        Safety::Ok => 0.0,
        Safety::Warn => 1.0,
        Safety::Abort => 2.0,
    };
    family(
        "watchdog_verdict",
        "gauge",
        "0 ok, 1 near a limit, 2 past one.",
        &plain(verdict),
    );
    let aborted = f64::from(u8::from(watched.aborted));
    family(
        "watchdog_aborted",
        "gauge",
        "Whether a breach ended the job.",
        &plain(aborted),
    );
    family(
        "watchdog_looks",
        "counter",
        "Looks so far.",
        &plain(watched.looks as f64),
    );
    family(
        "watchdog_last_look_timestamp_seconds",
        "gauge",
        "When the last look was.",
        &plain(watched.at),
    );
    let breaches: Vec<_> = report
        .breaches
        .iter()
        .map(|b| {
            let level = match b.level {
                Level::Warn => "warn",
                Level::Abort => "abort",
            };
            (
                labels(&[("metric", &b.metric), ("level", level)]),
                b.threshold,
            )
        })
        .collect();
    family(
        "watchdog_crossed",
        "gauge",
        "The lines that readings have crossed.",
        &breaches,
    );
    // By the names that reports give them, so that what is added there is found here.
    if let Ok(Value::Object(sample)) = serde_json::to_value(&report.sample) {
        for (name, value) in &sample {
            if let Some(value) = value.as_f64() {
                family(name, "gauge", help(name), &plain(value));
            }
        }
    }
    out + "# EOF\n"
}

fn help(name: &str) -> &'static str {
    match name {
        "gpu_power_w" => "Power drawn by the GPU nearest its limit, W.",
        "gpu_power_limit_w" => "Power limit of that GPU, W.",
        "gpu_power_pct" => "Power drawn, % of the limit.",
        "gpu_temp_c" => "Hottest GPU, degrees Celsius.",
        "gpu_vram_used_mib" => "VRAM used on the fullest GPU, MiB.",
        "gpu_vram_total_mib" => "VRAM of that GPU, MiB.",
        "gpu_vram_pct" => "VRAM used, % of all.",
        "gpu_util_pct" => "Utilisation of the busiest GPU, %.",
        "gpu_count" => "GPUs that answered.",
        "host_mem_pct" => "Host memory used, %.",
        "host_avail_mib" => "Host memory available, MiB.",
        _ => "A reading of the watchdog, by its name in a report.",
    }
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpuc_core::document::{Breach, Sample};
    use proptest::prelude::*;

    /// Reads a text by the format's rules, strictly; gives the samples.
    fn parse(text: &str) -> Result<Vec<(String, f64)>, String> {
        let body = text.strip_suffix("# EOF\n").ok_or("no # EOF at the end")?;
        let (mut families, mut samples) = (Vec::<(String, String)>::new(), Vec::new());
        let mut helped = None;
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                helped = rest.split_once(' ').map(|(name, _)| name.to_owned());
                continue;
            }
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or(line)?;
                if helped.as_deref() != Some(name) || !["gauge", "counter"].contains(&kind) {
                    return Err(format!("type without help, or unknown: {line}"));
                }
                if families.iter().any(|(n, _)| n == name) {
                    return Err(format!("a family twice: {name}"));
                }
                families.push((name.to_owned(), kind.to_owned()));
                continue;
            }
            let (name, rest) = line.split_at(line.find(['{', ' ']).ok_or(line)?);
            let (family, kind) = families.last().ok_or("a sample of no family")?;
            let want = if kind == "counter" {
                format!("{family}_total")
            } else {
                family.clone()
            };
            if name != want || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(format!("not in its family: {line}"));
            }
            let value = match rest.strip_prefix('{') {
                Some(labels) => after_labels(labels)?,
                None => rest,
            };
            let value = value.strip_prefix(' ').ok_or(line)?;
            samples.push((name.to_owned(), value.parse().map_err(|_| line.to_owned())?));
        }
        Ok(samples)
    }

    fn after_labels(mut rest: &str) -> Result<&str, String> {
        loop {
            let (name, value) = rest.split_once("=\"").ok_or(rest)?;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase()) {
                return Err(format!("label {name}"));
            }
            let mut chars = value.char_indices();
            let end = loop {
                match chars.next().ok_or("an open label")? {
                    (_, '\\') => match chars.next() {
                        Some((_, '\\' | '"' | 'n')) => {}
                        other => return Err(format!("escape {other:?}")),
                    },
                    (at, '"') => break at,
                    _ => {}
                }
            };
            rest = &value[end + 1..];
            if let Some(after) = rest.strip_prefix('}') {
                return Ok(after);
            }
            rest = rest.strip_prefix(',').ok_or("no comma")?;
        }
    }

    fn report() -> Report {
        Report {
            verdict: Safety::Abort,
            breaches: vec![Breach {
                metric: "gpu_temp_c".into(),
                value: 90.0,
                threshold: 87.0,
                level: Level::Abort,
            }],
            sample: Sample {
                gpu_temp_c: Some(90.0),
                host_mem_pct: Some(12.5),
                ..Sample::default()
            },
            action_taken: None,
        }
    }

    fn watched(job: &str) -> Watched<'_> {
        Watched {
            job,
            running: true,
            looks: 7,
            at: 1700000000.25,
            aborted: false,
        }
    }

    #[test]
    fn each_reading_that_is_there_has_a_line() {
        let text = text(&report(), &watched("llama-server"));
        let samples = parse(&text).unwrap();
        let value = |name: &str| samples.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        assert_eq!(value("gpuc_gpu_temp_c"), Some(90.0));
        assert_eq!(value("gpuc_host_mem_pct"), Some(12.5));
        assert_eq!(value("gpuc_gpu_power_w"), None);
        assert_eq!(value("gpuc_watchdog_looks_total"), Some(7.0));
        assert_eq!(value("gpuc_watchdog_verdict"), Some(2.0));
        assert_eq!(
            value("gpuc_watchdog_last_look_timestamp_seconds"),
            Some(1700000000.25)
        );
        assert!(text.contains("gpuc_watchdog_crossed{metric=\"gpu_temp_c\",level=\"abort\"} 87\n"));
    }

    proptest! {
        #[test]
        fn any_name_and_any_reading_make_a_text_that_can_be_read(job in ".*", x in any::<f64>()) {
            let mut report = report();
            report.sample.host_avail_mib = Some(x);
            report.breaches[0].threshold = x;
            prop_assert!(parse(&text(&report, &watched(&job))).is_ok());
        }
    }

    #[test]
    fn the_reader_of_these_tests_refuses_what_is_wrong() {
        for bad in [
            "gpuc_x 1\n# EOF\n",
            "# HELP gpuc_x h\n# TYPE gpuc_x gauge\ngpuc_x 1\n",
            "# HELP gpuc_x h\n# TYPE gpuc_x gauge\ngpuc_x{a=\"b} 1\n# EOF\n",
            "# HELP gpuc_x h\n# TYPE gpuc_x counter\ngpuc_x 1\n# EOF\n",
            "# TYPE gpuc_x gauge\ngpuc_x 1\n# EOF\n",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
