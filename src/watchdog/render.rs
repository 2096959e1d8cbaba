//! Reports as people read them.

use gpuc_core::document::{Breach, Level, Report, Safety, Sample, Thresholds};

fn word(verdict: Safety) -> &'static str {
    match verdict {
        Safety::Ok => "ok",
        Safety::Warn => "warn",
        Safety::Abort => "abort",
    }
}

fn or_unknown(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(|| "unknown".to_owned(), |v| format!("{v} {unit}"))
}

fn pair(part: Option<f64>, whole: Option<f64>, unit: &str) -> String {
    match (part, whole) {
        (Some(part), Some(whole)) => format!(" ({part} of {whole} {unit})"),
        _ => String::new(),
    }
}

/// Everything about one look, several lines.
pub(super) fn full(report: &Report, t: &Thresholds) -> String {
    let s = &report.sample;
    let rows = [
        (
            "GPU power",
            or_unknown(s.gpu_power_pct, "%") + &pair(s.gpu_power_w, s.gpu_power_limit_w, "W"),
            format!("at most {} %", t.power_pct_max),
        ),
        (
            "GPU temperature",
            or_unknown(s.gpu_temp_c, "°C"),
            format!("at most {} °C", t.gpu_temp_c_max),
        ),
        (
            "VRAM used",
            or_unknown(s.gpu_vram_pct, "%")
                + &pair(s.gpu_vram_used_mib, s.gpu_vram_total_mib, "MiB"),
            format!("at most {} %", t.vram_pct_max),
        ),
        (
            "host memory used",
            or_unknown(s.host_mem_pct, "%"),
            format!("at most {} %", t.host_mem_pct_max),
        ),
        (
            "host memory left",
            or_unknown(s.host_avail_mib, "MiB"),
            format!("at least {} MiB", t.host_avail_mib_min),
        ),
    ];
    let mut out = format!("verdict: {}\n", word(report.verdict));
    for (what, value, limit) in rows {
        out += &format!("  {what:<17} {value:<34} {limit}\n");
    }
    for b in &report.breaches {
        out += &format!("  {}\n", breach(b));
    }
    for note in &s.notes {
        out += &format!("  note: {note}\n");
    }
    out
}

/// One look in one line.
pub(super) fn line(report: &Report) -> String {
    let s = &report.sample;
    let mut out = format!(
        "{:<5} power {}, {}, VRAM {}, host {} used, {} left",
        word(report.verdict),
        or_unknown(s.gpu_power_pct, "%"),
        or_unknown(s.gpu_temp_c, "°C"),
        or_unknown(s.gpu_vram_pct, "%"),
        or_unknown(s.host_mem_pct, "%"),
        or_unknown(s.host_avail_mib, "MiB"),
    );
    for b in &report.breaches {
        out += &format!("; {}", breach(b));
    }
    if let Some(why) = no_gpu(s) {
        out += &format!("; {why}");
    }
    out
}

fn breach(b: &Breach) -> String {
    let Breach {
        metric,
        value,
        threshold,
        level,
    } = b;
    match (metric.as_str(), level) {
        ("gpu_blind_polls", _) => {
            format!("GPUs that answered before have not for {value} look(s)")
        }
        (_, Level::Warn) => format!("{metric} {value} is past its warning line {threshold}"),
        (_, Level::Abort) => format!("{metric} {value} is past its limit {threshold}"),
    }
}

/// What a report is about, beyond its numbers; nothing for one without news.
pub(super) fn subject(report: &Report) -> Option<String> {
    let mut out: Vec<String> = report
        .breaches
        .iter()
        .map(|b| format!("{} {:?}", b.metric, b.level))
        .collect();
    out.extend(no_gpu(&report.sample).map(ToOwned::to_owned));
    (!out.is_empty()).then(|| out.join(", "))
}

fn no_gpu(s: &Sample) -> Option<&str> {
    s.notes
        .first()
        .map(String::as_str)
        .filter(|note| s.gpu_count.is_none() && note.starts_with("no GPU reading"))
}

/// The line that says what has changed; `before` tells whether there was something to say.
pub(super) fn change(report: &Report, before: bool) -> Option<String> {
    let mut parts: Vec<String> = report.breaches.iter().map(breach).collect();
    parts.extend(no_gpu(&report.sample).map(|why| format!("GPU limits are not enforced: {why}")));
    if parts.is_empty() {
        return before.then(|| "watchdog: ok again".to_owned());
    }
    Some(format!(
        "watchdog: {}: {}",
        word(report.verdict),
        parts.join("; ")
    ))
}
