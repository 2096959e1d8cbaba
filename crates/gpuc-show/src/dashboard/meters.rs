//! A row a limit: the reading, how near it is, the limit, the worst, and the way it came.

use anstyle::{AnsiColor, Style};
use gpuc_core::document::Level;
use gpuc_core::safety::Limit;

use super::pen::Pen;
use super::state::Dashboard;
use crate::svg::metric::{METRICS, Metric};
use crate::text::canvas::{BAD, FAINT, GOOD, PLAIN, STRONG, WARN};
use crate::text::scale::index;

/// Looks further apart than this many intervals leave a gap in a trajectory.
const PATIENCE: f64 = 3.0;

const NAME: usize = 17;
const VALUE: usize = 11;
const LIMIT: usize = 12;
const WORST: usize = 10;

/// Where nothing is near a limit.
pub(super) const WAY: Style = AnsiColor::Cyan.on_default();

/// A metric that has a limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meter {
    /// Which of the metrics.
    pub(super) index: usize,
    pub(super) metric: Metric,
    pub(super) value: Option<f64>,
    pub(super) limit: f64,
    pub(super) worst: Option<f64>,
}

impl Meter {
    /// How near it has been to its limit.
    pub(super) fn nearest(&self) -> f64 {
        let worst = self.worst.or(self.value);
        worst.map_or(0.0, |w| self.metric.nearness(w, self.limit))
    }
}

/// Those that have a limit.
pub(super) fn meters(dashboard: &Dashboard) -> Vec<Meter> {
    let Some(last) = &dashboard.last else {
        return Vec::new();
    };
    let of = |(index, metric): (usize, &Metric)| {
        let meter = Meter {
            index,
            metric: *metric,
            value: metric.read(&last.report.sample),
            limit: metric.lines(&last.thresholds).0?,
            worst: dashboard.history.peak(index),
        };
        // A limit that stands by itself where there may be nothing that it is held against.
        let is_idle = metric.limit == Some(Limit::Cgroup) && meter.worst.is_none();
        (!is_idle).then_some(meter)
    };
    METRICS.iter().enumerate().filter_map(of).collect()
}

/// `count` of them, those nearest their limits, in their own order.
pub(super) fn nearest(mut meters: Vec<Meter>, count: usize) -> Vec<Meter> {
    meters.sort_by(|a, b| b.nearest().total_cmp(&a.nearest()));
    meters.truncate(count);
    meters.sort_by_key(|m| m.index);
    meters
}

/// The colour of what has crossed a line.
pub(super) fn tone(level: Option<Level>) -> Style {
    match level {
        None => GOOD,
        Some(Level::Warn) => WARN,
        Some(Level::Abort) => BAD,
    }
}

/// Columns of the parts that come and go with the width.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    name: usize,
    bar: usize,
    limit: usize,
    worst: usize,
    way: usize,
}

impl Columns {
    pub(super) fn of(width: usize) -> Self {
        let fixed = 1 + NAME + VALUE + 1;
        let mut out = Self {
            name: NAME,
            bar: 0,
            limit: 0,
            worst: 0,
            way: 0,
        };
        let mut room = width.saturating_sub(fixed);
        if room < 6 {
            out.name = width.saturating_sub(1 + VALUE).clamp(4, NAME);
            return out;
        }
        for (part, columns) in [(&mut out.limit, LIMIT), (&mut out.worst, WORST)] {
            if room >= columns + 9 {
                *part = columns;
                room -= columns;
            }
        }
        if out.worst > 0 && room >= 22 {
            // One column stays free before it.
            out.way = (room / 2).max(room.saturating_sub(41)) - 1;
            room -= out.way + 2;
        }
        out.bar = room;
        out
    }
}

/// What the columns are called.
pub(super) fn heads(pen: &mut Pen<'_>, columns: Columns, window: f64) {
    pen.skip(1 + columns.name).right(FAINT, "now", VALUE);
    pen.skip(1 + columns.bar);
    if columns.limit > 0 {
        pen.right(FAINT, "limit", columns.limit);
    }
    if columns.worst > 0 {
        pen.right(FAINT, "worst", columns.worst);
    }
    if columns.way > 0 {
        pen.skip(2);
        pen.left(
            FAINT,
            &format!("last {:.0} min", window / 60.0),
            columns.way,
        );
    }
}

/// One row.
pub(super) fn meter(
    pen: &mut Pen<'_>,
    meter: &Meter,
    columns: Columns,
    dashboard: &Dashboard,
    unicode: bool,
) {
    let Some(last) = &dashboard.last else { return };
    let Meter { metric, limit, .. } = *meter;
    let unit = metric.unit;
    let level = |value| metric.level(value, &last.thresholds);
    pen.skip(1).left(PLAIN, metric.short(), columns.name);
    let Some(value) = meter.value else {
        pen.right(FAINT, "not read", VALUE);
        return;
    };
    // What may be past its limit for a while is only near it as yet.
    let breach = last
        .report
        .breaches
        .iter()
        .find(|b| b.metric == metric.key());
    let style = tone(breach.map(|b| b.level));
    pen.right(
        if breach.is_some() { style } else { STRONG },
        &unit.words(value),
        VALUE,
    );
    pen.skip(1);
    let warn = last.thresholds.warn_fraction;
    bar(
        pen,
        metric.nearness(value, limit),
        warn,
        columns.bar,
        style,
        unicode,
    );
    if columns.limit > 0 {
        let sign = if metric.is_least() { "≥" } else { "≤" };
        pen.right(
            FAINT,
            &format!("{sign} {}", unit.words(limit)),
            columns.limit,
        );
    }
    if columns.worst > 0 {
        let worst = meter.worst.unwrap_or(value);
        let style = level(worst).map_or(PLAIN, |l| tone(Some(l)));
        pen.right(style, &unit.words(worst), columns.worst);
    }
    if columns.way > 0 {
        pen.skip(2);
        let (now, patience) = (dashboard.now.as_secs_f64(), patience(dashboard));
        let window = dashboard.window();
        let cells = dashboard
            .history
            .cells(meter.index, now, window, columns.way, patience);
        for cell in cells {
            match cell {
                Some(x) => pen.put(
                    level(x).map_or(WAY, |l| tone(Some(l))),
                    step(metric.nearness(x, limit), unicode),
                ),
                None => pen.skip(1),
            };
        }
    }
}

/// Seconds after which a look is no longer what is now.
pub(super) fn patience(dashboard: &Dashboard) -> f64 {
    (dashboard.about.interval * PATIENCE).max(2.0)
}

/// How near a reading is to its limit, which is at the right end, where a warning starts marked.
fn bar(pen: &mut Pen<'_>, near: f64, warn: f64, cells: usize, style: Style, unicode: bool) {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if cells == 0 {
        return;
    }
    let (full, empty, warns, limit) = if unicode {
        ("█", "·", "╎", "┃")
    } else {
        ("#", ".", ":", "|")
    };
    let room = cells - 1;
    if near >= 1.0 {
        pen.put(style, &full.repeat(cells));
        return;
    }
    // Something is never shown as nothing.
    let eighths = index(near, room * 8 + 1).max(usize::from(near > 0.0));
    let (mut filled, rest) = (eighths / 8, eighths % 8);
    pen.put(style, &full.repeat(filled));
    if rest > 0 && filled < room {
        let part = EIGHTHS.get(rest).copied().unwrap_or_default();
        pen.put(style, if unicode { part } else { full });
        filled += 1;
    }
    let mark = index(warn, room + 1).min(room.saturating_sub(1));
    for cell in filled..room {
        if cell == mark && warn < 1.0 {
            pen.put(WARN, warns);
        } else {
            pen.put(FAINT, empty);
        }
    }
    pen.put(BAD, limit);
}

/// How near a reading was to its limit, in one cell: only what was past it fills it.
fn step(near: f64, unicode: bool) -> &'static str {
    const RICH: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    const ASCII: [&str; 8] = [".", ":", "-", "=", "+", "*", "%", "#"];
    let steps = if unicode { RICH } else { ASCII };
    let at = if near >= 1.0 { 7 } else { index(near, 7) };
    steps.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_fill_the_width_and_none_is_too_narrow() {
        for width in 0..300 {
            let c = Columns::of(width);
            let free = if c.way > 0 { 2 } else { 0 };
            let bar = if c.bar > 0 { 1 + c.bar } else { 0 };
            let used = 1 + c.name + VALUE + bar + c.limit + c.worst + free + c.way;
            assert!(used <= width.max(16), "{width}: {c:?}");
            assert!(width < 36 || used == width, "{width}: {c:?}");
            assert!(c.bar == 0 || c.bar >= 6, "{width}: {c:?}");
            assert!(c.way == 0 || c.way >= 10, "{width}: {c:?}");
        }
    }
}
