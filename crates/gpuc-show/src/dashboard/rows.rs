//! The parts of a frame that are rows of words: verdict, job, GPUs, decisions, output, keys.

use gpuc_core::document::{Breach, Level, Safety, Thresholds};
use gpuc_core::safety::{GpuReading, Limit};
use gpuc_core::units::round_to;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;

use super::meters::tone;
use super::pen::Pen;
use super::state::{Dashboard, Phase};
use crate::svg::metric::METRICS;
use crate::text::canvas::{BAD, FAINT, GOOD, PLAIN, STRONG, WARN};
use crate::text::crossed;

/// Seconds as hours, minutes and seconds.
pub(super) fn clock(seconds: f64) -> String {
    let s = gpuc_core::units::floor_bytes(seconds);
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// The verdict, and how long it has been going.
pub(super) fn verdict(mut pen: Pen<'_>, dashboard: &Dashboard) {
    let (style, word, about) = match (&dashboard.phase, &dashboard.last) {
        (Phase::Ending(why), _) => {
            let again = if dashboard.about.command.is_some() {
                "; q again kills it at once"
            } else {
                ""
            };
            (WARN, "ENDING", format!("{why}{again}"))
        }
        (Phase::Ended(how, status), _) => {
            let style = match status {
                0 => GOOD,
                // Somebody wanted it to end.
                129.. => WARN,
                _ => BAD,
            };
            (style, "ENDED", how.clone())
        }
        (Phase::Watching, None) => (STRONG, "STARTING", "the first look is under way".to_owned()),
        (Phase::Watching, Some(last)) => match last.report.verdict {
            Safety::Ok => (GOOD, "OK", "nothing is near its limit".to_owned()),
            Safety::Warn => (WARN, "WARN", worst(&last.report.breaches)),
            Safety::Abort => (BAD, "ABORT", worst(&last.report.breaches)),
        },
    };
    let time = clock(dashboard.now.as_secs_f64());
    let badge = format!(" {word} ");
    pen.put(style.invert(), &badge).skip(1);
    let room = pen.room().saturating_sub(time.len() + 2);
    pen.left(STRONG, &about, room);
    pen.at_edge(FAINT, &format!("{time} "));
}

/// The worst of the breaches in a short sentence, and how many there are beside it.
fn worst(breaches: &[Breach]) -> String {
    let Some(b) = breaches.iter().rev().max_by_key(|b| b.level) else {
        return String::new();
    };
    let mut out = match METRICS.iter().find(|m| m.key() == b.metric) {
        Some(m) => {
            let line = match b.level {
                Level::Warn => "warning line",
                Level::Abort => "limit",
            };
            let words = |x| m.unit.words(x);
            format!(
                "{} {}, {line} {}",
                m.short(),
                words(b.value),
                words(b.threshold)
            )
        }
        None => crossed(std::slice::from_ref(b)),
    };
    if breaches.len() > 1 {
        out += &format!(", and {} more", breaches.len() - 1);
    }
    out
}

/// Rows about the job.
pub(super) fn job_rows(dashboard: &Dashboard) -> u16 {
    1 + u16::from(dashboard.about.command.is_some())
}

/// What runs, and what it holds.
pub(super) fn job(buffer: &mut Buffer, area: Rect, dashboard: &Dashboard, unicode: bool) {
    let about = &dashboard.about;
    let mut facts = Vec::new();
    let mut row = 0;
    if let Some(command) = &about.command {
        Pen::new(buffer, area, row, unicode)
            .skip(1)
            .put(STRONG, command);
        row += 1;
        facts.extend(about.pid.map(|pid| format!("pid {pid}")));
    } else {
        facts.push(about.pid.map_or_else(
            || "this machine".to_owned(),
            |pid| format!("process {pid} and all below it"),
        ));
    }
    if let Some(last) = &dashboard.last {
        if let Some(n) = last.processes {
            let noun = if n == 1 { "process" } else { "processes" };
            facts.push(format!("{n} {noun}"));
        }
        let s = &last.report.sample;
        for (name, mib) in [("RSS", s.job_rss_mib), ("VRAM", s.job_vram_mib)] {
            facts.extend(mib.map(|mib| format!("{name} {}", size(mib))));
        }
    }
    facts.push(format!("a look every {} s", round_to(about.interval, 2)));
    Pen::new(buffer, area, row, unicode)
        .skip(1)
        .put(FAINT, &facts.join(" · "));
}

/// MiB, or GiB where they are many.
fn size(mib: f64) -> String {
    if mib >= 1024.0 {
        format!("{:.1} GiB", mib / 1024.0)
    } else {
        format!("{mib:.0} MiB")
    }
}

/// Rows that the GPUs take when each gets one.
pub(super) fn gpu_rows(dashboard: &Dashboard) -> usize {
    dashboard
        .last
        .as_ref()
        .map_or(0, |l| l.gpus.as_ref().map_or(1, |g| g.len().max(1)))
}

/// A row a GPU; where there are more than rows, those nearest a limit.
pub(super) fn gpus(buffer: &mut Buffer, area: Rect, dashboard: &Dashboard, unicode: bool) {
    let Some(last) = &dashboard.last else { return };
    let all: Vec<(usize, &GpuReading)> = last.gpus.iter().flatten().enumerate().collect();
    if all.is_empty() {
        let why = last.report.sample.notes.first();
        let why = why.map_or("no GPU answers", String::as_str);
        Pen::new(buffer, area, 0, unicode).skip(1).put(FAINT, why);
        return;
    }
    let rows = usize::from(area.height);
    let t = &last.thresholds;
    let mut shown = all.clone();
    if all.len() > rows {
        shown.sort_by(|a, b| nearness(b.1, t).total_cmp(&nearness(a.1, t)));
        shown.truncate(rows);
        shown.sort_by_key(|(n, _)| *n);
    }
    let more = format!("and {} more ", all.len() - shown.len());
    for (row, (n, reading)) in (0..area.height).zip(&shown) {
        let is_last = usize::from(row) + 1 == shown.len();
        let mut place = area;
        if is_last && all.len() > shown.len() {
            place.width = area
                .width
                .saturating_sub(u16::try_from(more.len()).unwrap_or(0) + 1);
            Pen::new(buffer, area, row, unicode).at_edge(FAINT, &more);
        }
        gpu(&mut Pen::new(buffer, place, row, unicode), *n, reading, t);
    }
}

/// What a GPU has that a limit is held against.
fn held(gpu: &GpuReading) -> [(Limit, Option<f64>); 3] {
    let share = |a: Option<f64>, b: Option<f64>| Some(a? / b.filter(|b| *b > 0.0)? * 100.0);
    [
        (Limit::Power, share(gpu.power_w, gpu.power_limit_w)),
        (Limit::Temperature, gpu.temp_c),
        (Limit::Vram, share(gpu.vram_used_mib, gpu.vram_total_mib)),
    ]
}

fn nearness(gpu: &GpuReading, t: &Thresholds) -> f64 {
    let near = |(limit, value): (Limit, Option<f64>)| Some(value? / limit.get(t)?);
    held(gpu).into_iter().filter_map(near).fold(0.0, f64::max)
}

fn gpu(pen: &mut Pen<'_>, n: usize, gpu: &GpuReading, t: &Thresholds) {
    pen.skip(1).left(STRONG, &format!("GPU {n}"), 7);
    if gpu.pending {
        pen.put(FAINT, "it has not answered yet");
        return;
    }
    let style = |at: usize| {
        let (limit, value) = held(gpu).get(at).copied().unwrap_or((Limit::Power, None));
        let metric = METRICS.iter().find(|m| m.limit == Some(limit));
        let level = metric.zip(value).and_then(|(m, x)| m.level(x, t));
        level.map_or(PLAIN, |l| tone(Some(l)))
    };
    let of = |part: Option<f64>, whole: Option<f64>, places: usize, unit: &str| match (part, whole)
    {
        (Some(part), Some(whole)) => format!("{part:.places$} of {whole:.places$} {unit}"),
        (Some(part), None) => format!("{part:.places$} {unit}"),
        _ => "-".to_owned(),
    };
    let gib = |mib: Option<f64>| mib.map(|mib| mib / 1024.0);
    let temp = gpu
        .temp_c
        .map_or_else(|| "-".to_owned(), |c| format!("{c:.0} °C"));
    let vram = of(gib(gpu.vram_used_mib), gib(gpu.vram_total_mib), 1, "GiB");
    let power = of(gpu.power_w, gpu.power_limit_w, 0, "W");
    let busy = gpu
        .util_pct
        .map_or_else(String::new, |b| format!("busy {b:.0} %"));
    let fields = [
        (style(1), temp, 7),
        (style(2), vram, 19),
        (style(0), power, 15),
        (PLAIN, busy, 13),
    ];
    for (style, text, columns) in fields {
        if pen.room() < columns {
            return;
        }
        pen.right(style, &text, columns);
    }
    let mut more = gpu.throttle_reasons.clone();
    if let Some(errors) = gpu.ecc_errors.filter(|n| *n > 0) {
        more.push(format!("{errors} ECC errors"));
    }
    more.extend(gpu.xids.iter().map(|xid| format!("Xid {xid}")));
    if pen.room() > 6 && !more.is_empty() {
        pen.skip(2).put(WARN, &more.join(", "));
    }
}

/// A title with a rule that reaches to the right edge, and words there.
fn title(mut pen: Pen<'_>, name: &str, at_edge: &str, unicode: bool) {
    let rule = if unicode { "─" } else { "-" };
    pen.put(FAINT, rule).skip(1).put(STRONG, name).skip(1);
    let words = if at_edge.is_empty() {
        String::new()
    } else {
        format!(" {at_edge} {rule}")
    };
    let wide = pen.measure(&words);
    if wide > pen.room() {
        return;
    }
    let columns = pen.room() - wide;
    pen.put(FAINT, &rule.repeat(columns));
    pen.put(FAINT, &words);
}

/// The last decisions, the newest below.
pub(super) fn events(buffer: &mut Buffer, area: Rect, dashboard: &Dashboard, unicode: bool) {
    title(Pen::new(buffer, area, 0, unicode), "Decisions", "", unicode);
    let rows = usize::from(area.height.saturating_sub(1));
    let from = dashboard.events.len().saturating_sub(rows);
    let shown = dashboard.events.get(from..).unwrap_or_default();
    for (row, line) in (1..).zip(shown) {
        let mut pen = Pen::new(buffer, area, row, unicode);
        pen.skip(1).left(FAINT, &clock(line.at), 9);
        pen.left(line.tone, line.what, 11);
        pen.put(PLAIN, &line.text);
    }
}

/// The last lines that the job has printed, or those that one has scrolled to.
pub(super) fn output(buffer: &mut Buffer, area: Rect, dashboard: &Dashboard, unicode: bool) {
    let shown = dashboard
        .pane
        .shown(usize::from(area.height.saturating_sub(1)));
    let lines = |n: u64| format!("{n} line{}", if n == 1 { "" } else { "s" });
    let about = match shown.below {
        0 if shown.total == 0 => "nothing yet".to_owned(),
        0 => lines(shown.total),
        below => format!("{} further down, End follows", lines(below)),
    };
    title(
        Pen::new(buffer, area, 0, unicode),
        "Output",
        &about,
        unicode,
    );
    for (row, line) in (1..).zip(&shown.lines) {
        let column = dashboard.pane.column;
        let text: String = line.chars().skip(column).collect();
        Pen::new(buffer, area, row, unicode)
            .skip(1)
            .put(PLAIN, &text);
    }
}

/// The keys that matter most.
pub(super) fn keys(mut pen: Pen<'_>, dashboard: &Dashboard) {
    let about = &dashboard.about;
    let ends = if about.command.is_some() {
        "ends the job"
    } else {
        "ends the watch"
    };
    let mut all = vec![("q", ends), ("?", "all keys"), ("t", "time shown")];
    if about.has_output {
        all.extend([("o", "output only"), ("PgUp PgDn", "scroll")]);
    }
    for (key, what) in all {
        let wide = key.len() + what.len() + 4;
        if wide > pen.room() {
            return;
        }
        pen.skip(1).put(STRONG, key).skip(1);
        pen.put(FAINT, what).skip(2);
    }
}

/// All keys, laid over the rest.
pub(super) fn help(buffer: &mut Buffer, area: Rect, dashboard: &Dashboard, unicode: bool) {
    let mut all = vec![
        ("q, Ctrl-C", "end the job as SIGINT does; again: kill it"),
        ("?, h", "these keys"),
        ("t", "5, 15 or 1 minute of trajectory"),
        ("Ctrl-L", "draw everything anew"),
        ("Ctrl-Z", "pause the job and this"),
    ];
    if dashboard.about.command.is_none() {
        all = vec![
            ("q, Ctrl-C", "end the watch"),
            ("?, h", "these keys"),
            ("t", "5, 15 or 1 minute of trajectory"),
            ("Ctrl-L", "draw everything anew"),
        ];
    }
    if dashboard.about.has_output {
        all.extend([
            ("o", "the job's output alone, and back"),
            ("arrows, j, k", "scroll by a line, or sideways"),
            ("PgUp, PgDn", "scroll by a screen"),
            ("Home, End", "the oldest line; the newest, and follow"),
        ]);
    }
    let wide = 63.min(area.width);
    let high = u16::try_from(all.len() + 2).unwrap_or(8).min(area.height);
    let over = Rect {
        x: area.x + (area.width - wide) / 2,
        y: area.y + (area.height - high) / 2,
        width: wide,
        height: high,
    };
    let inner = Rect {
        x: over.x + 1,
        width: wide.saturating_sub(2),
        ..over
    };
    let blank = " ".repeat(usize::from(inner.width));
    let [rule, side] = if unicode { ["─", "│"] } else { ["-", "|"] };
    for row in 0..high {
        let [left, right] = match row {
            _ if !unicode => [side; 2],
            0 => ["┌", "┐"],
            row if row + 1 == high => ["└", "┘"],
            _ => [side; 2],
        };
        let mut pen = Pen::new(buffer, over, row, unicode);
        pen.put(FAINT, left).put(PLAIN, &blank).put(FAINT, right);
    }
    title(
        Pen::new(buffer, inner, 0, unicode),
        "Keys",
        "Esc closes",
        unicode,
    );
    for (row, (key, what)) in (1..high).zip(all) {
        let mut pen = Pen::new(buffer, inner, row, unicode);
        pen.skip(1).left(STRONG, key, 15).put(PLAIN, what);
    }
    if high > 2 {
        let mut pen = Pen::new(buffer, inner, high - 1, unicode);
        pen.put(FAINT, &rule.repeat(usize::from(inner.width)));
    }
}
