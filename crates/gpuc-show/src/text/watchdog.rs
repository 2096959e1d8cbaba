//! The screens of a look at the machine and of a run's worst readings.

use anstyle::Style;
use gpuc_core::document::{Breach, Level, Peaks, Report, Safety, Sample, Thresholds};

use super::Terminal;
use super::canvas::{BAD, Canvas, FAINT, GOOD, PLAIN, Piece, WARN, plain};
use super::gauge::gauge;
use crate::svg::metric::{METRICS, Metric};

/// One look: the verdict, how near each reading is to its limit, and what could not be read.
pub fn look(report: &Report, thresholds: &Thresholds, terminal: &Terminal) -> String {
    let mut canvas = Canvas::new(terminal);
    match report.verdict {
        Safety::Ok => canvas.verdict(GOOD, "OK", "nothing is near its limit"),
        Safety::Warn => canvas.verdict(WARN, "WARN", &crossed(&report.breaches)),
        Safety::Abort => canvas.verdict(BAD, "ABORT", &crossed(&report.breaches)),
    }
    canvas.gap();
    readings(&mut canvas, &report.sample, thresholds, &report.breaches);
    if !report.sample.notes.is_empty() {
        canvas.gap();
    }
    for note in &report.sample.notes {
        canvas.wrap(Piece(FAINT, "  note  ".into()), PLAIN, note);
    }
    canvas.finish()
}

/// The worst readings of a run, and how it ended.
pub fn peaks(peaks: &Peaks, terminal: &Terminal) -> String {
    let mut canvas = Canvas::new(terminal);
    let ended = peaks.ended.as_deref().unwrap_or("not known how it ended");
    let took = peaks
        .elapsed_s
        .map_or_else(String::new, |s| format!(" after {s:.1} s"));
    let looks = if peaks.samples == 1 { "look" } else { "looks" };
    let about = format!("{ended}{took}, {} {looks}", peaks.samples);
    match peaks.stayed_within_envelope {
        Some(true) => canvas.verdict(GOOD, "WITHIN LIMITS", &about),
        Some(false) if peaks.aborted => canvas.verdict(BAD, "ABORTED", &about),
        Some(false) => canvas.verdict(BAD, "OVER A LIMIT", &about),
        None => canvas.verdict(WARN, "NOT SAMPLED", &about),
    }
    canvas.gap();
    let worst = Sample {
        gpu_power_pct: peaks.peak_gpu_power_pct,
        gpu_temp_c: peaks.peak_gpu_temp_c,
        gpu_vram_pct: peaks.peak_gpu_vram_pct,
        gpu_util_pct: peaks.peak_gpu_util_pct,
        host_mem_pct: peaks.peak_host_mem_pct,
        host_avail_mib: peaks.min_host_avail_mib,
        job_vram_mib: peaks.peak_job_vram_mib,
        job_rss_mib: peaks.peak_job_rss_mib,
        swap_pct: peaks.peak_swap_pct,
        psi_full_avg10: peaks.peak_psi_full_avg10,
        cgroup_mem_pct: peaks.peak_cgroup_mem_pct,
        ..Sample::default()
    };
    readings(&mut canvas, &worst, &peaks.thresholds, &[]);
    if let Some(action) = &peaks.action_taken {
        canvas.gap();
        canvas.wrap(Piece(FAINT, "  done  ".into()), PLAIN, action);
    }
    if peaks.blind_polls > 0 {
        let text = format!("{} looks at which GPUs did not answer", peaks.blind_polls);
        canvas.wrap(Piece(WARN, "  note  ".into()), PLAIN, &text);
    }
    canvas.finish()
}

/// The breaches in a sentence.
pub(crate) fn crossed(breaches: &[Breach]) -> String {
    let say = |b: &Breach| {
        if b.metric == "gpu_blind_polls" {
            return format!("GPUs that answered before have not for {} look(s)", b.value);
        }
        let line = match b.level {
            Level::Warn => "its warning line",
            Level::Abort => "its limit",
        };
        match METRICS.iter().find(|m| m.key() == b.metric) {
            Some(m) => format!(
                "{} of {} is past {line} of {}",
                m.title,
                m.unit.words(b.value),
                m.unit.words(b.threshold)
            ),
            None => format!(
                "{} of {} is past {line} of {}",
                b.metric, b.value, b.threshold
            ),
        }
    };
    breaches.iter().map(say).collect::<Vec<_>>().join("; ")
}

/// A row a metric: how far it is on its way to the limit.
fn readings(canvas: &mut Canvas, sample: &Sample, thresholds: &Thresholds, breaches: &[Breach]) {
    let cells = canvas.width().saturating_sub(62).clamp(8, 40);
    for metric in &METRICS {
        let value = metric.read(sample);
        let (limit, _) = metric.lines(thresholds);
        // What is not asked for and not read is no gap.
        let optional = limit.is_none() && metric.limit.is_some();
        if value.is_none() && optional {
            continue;
        }
        let crossed = breaches.iter().filter(|b| b.metric == metric.key());
        let reading = Reading {
            metric,
            value,
            limit,
            level: crossed.map(|b| b.level).max(),
        };
        row(canvas, &reading, cells);
    }
}

/// One metric as it was read.
struct Reading<'a> {
    metric: &'a Metric,
    value: Option<f64>,
    limit: Option<f64>,
    level: Option<Level>,
}

fn row(canvas: &mut Canvas, reading: &Reading<'_>, cells: usize) {
    let metric = reading.metric;
    let title = canvas.cut(metric.name(), 29);
    let mut pieces = vec![plain(format!("  {title:<30}"))];
    let Some(value) = reading.value else {
        pieces.push(Piece(FAINT, "not read".into()));
        canvas.line(pieces);
        return;
    };
    let (near, word) = match reading.limit {
        Some(limit) if metric.is_least() => (metric.nearness(value, limit), "at least"),
        Some(limit) => (metric.nearness(value, limit), "at most"),
        None => (value / 100.0, ""),
    };
    let style: Style = match reading.level {
        None if near >= 1.0 && reading.limit.is_some() => BAD,
        None => GOOD,
        Some(Level::Warn) => WARN,
        Some(Level::Abort) => BAD,
    };
    if reading.limit.is_none() && !metric.unit.is_share() {
        pieces.push(plain(" ".repeat(cells)));
    } else {
        pieces.extend(gauge(canvas, cells, near, None, style));
    }
    pieces.push(plain(format!("  {:>10}", metric.unit.words(value))));
    if let Some(limit) = reading.limit {
        pieces.push(Piece(
            FAINT,
            format!("  {word} {}", metric.unit.words(limit)),
        ));
    }
    canvas.line(pieces);
}
