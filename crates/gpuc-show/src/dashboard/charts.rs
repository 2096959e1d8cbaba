//! The trajectories of what is nearest its limit, with the limit as a line.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;

use super::meters::{Meter, WAY, meters, nearest, patience};
use super::pen::Pen;
use super::state::Dashboard;
use crate::svg::metric::Unit;
use crate::text::canvas::{BAD, FAINT, STRONG, WARN};
use crate::text::scale::index;

/// Columns below which a chart is no use.
const NARROWEST: u16 = 36;
/// Columns of the numbers beside a chart.
const AXIS: u16 = 10;

/// As many charts side by side as there is room for.
pub(super) fn charts(buffer: &mut Buffer, area: Rect, dashboard: &Dashboard, unicode: bool) {
    if area.height < 4 || area.width < NARROWEST {
        return;
    }
    let count = (area.width / 60).clamp(1, 3);
    let all = nearest(meters(dashboard), usize::from(count));
    let wide = area.width / count;
    for (at, meter) in (0_u16..).zip(&all) {
        let area = Rect {
            x: area.x + at * wide,
            width: wide,
            ..area
        };
        chart(buffer, area, meter, dashboard, unicode);
    }
}

/// From the lowest to the highest reading that is shown.
fn range(meter: &Meter, values: &[Option<f64>]) -> (f64, f64) {
    let highest = values.iter().flatten().copied().fold(0.0, f64::max);
    let (limit, unit) = (meter.limit, meter.metric.unit);
    let top = if unit == Unit::Percent {
        limit.max(highest).max(100.0)
    } else {
        (limit * 1.1).max(highest * 1.05)
    };
    (0.0, if top > 0.0 { top } else { 1.0 })
}

fn chart(buffer: &mut Buffer, area: Rect, meter: &Meter, dashboard: &Dashboard, unicode: bool) {
    let unit = meter.metric.unit;
    let minutes = dashboard.window() / 60.0;
    let mut title = Pen::new(buffer, area, 0, unicode);
    title.skip(1).put(STRONG, meter.metric.name());
    title.put(FAINT, &format!(", last {minutes:.0} min"));

    let (wide, rows) = (area.width - AXIS - 2, area.height - 2);
    let dots = if unicode { 2 } else { 1 };
    let values = dashboard.history.cells(
        meter.index,
        dashboard.now.as_secs_f64(),
        dashboard.window(),
        usize::from(wide) * dots,
        patience(dashboard),
    );
    let (low, high) = range(meter, &values);
    let row = |x: f64| index(1.0 - (x - low) / (high - low), usize::from(rows));
    let warn = dashboard
        .last
        .as_ref()
        .and_then(|l| meter.metric.lines(&l.thresholds).1);
    let plot = Rect {
        x: area.x + AXIS + 1,
        y: area.y + 1,
        width: wide,
        height: rows,
    };
    let signs = if unicode { ("╌", "─") } else { ("-", "=") };
    let lines = [(warn, WARN, signs.0), (Some(meter.limit), BAD, signs.1)];
    for (at, style, sign) in lines {
        if let Some(at) = at.filter(|at| (low..=high).contains(at)) {
            let row = u16::try_from(row(at)).unwrap_or(0);
            Pen::new(buffer, plot, row, unicode).put(style, &sign.repeat(usize::from(wide)));
        }
    }
    let mut labels = vec![(row(meter.limit), meter.limit, BAD)];
    for end in [high, low] {
        if row(end) != row(meter.limit) {
            labels.push((row(end), end, FAINT));
        }
    }
    for (row, value, style) in labels {
        let row = u16::try_from(row + 1).unwrap_or(1);
        let mut pen = Pen::new(buffer, area, row, unicode);
        pen.right(style, &unit.words(value), usize::from(AXIS));
    }
    curve(buffer, plot, &values, |x| (x - low) / (high - low), unicode);
}

/// The curve, each reading at its share of the height, with the way from one to the next.
fn curve(
    buffer: &mut Buffer,
    plot: Rect,
    values: &[Option<f64>],
    share: impl Fn(f64) -> f64,
    unicode: bool,
) {
    // The dots of a cell of braille: two columns of four.
    const BRAILLE: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
    let (dots, steps) = if unicode { (2, 4) } else { (1, 1) };
    let (wide, high) = (usize::from(plot.width), usize::from(plot.height));
    let mut cells = vec![0_u32; wide * high];
    let mut before = None;
    for (x, value) in values.iter().enumerate() {
        let Some(value) = value else {
            before = None;
            continue;
        };
        let y = index(1.0 - share(*value), high * steps);
        let from = before.unwrap_or(y);
        for step in y.min(from)..=y.max(from) {
            let bit = BRAILLE
                .get(x % dots)
                .and_then(|column| column.get(step % steps));
            let cell = cells.get_mut((step / steps) * wide + x / dots);
            if let (Some(cell), Some(bit)) = (cell, bit) {
                *cell |= bit;
            }
        }
        before = Some(y);
    }
    for (row, line) in (0_u16..).zip(cells.chunks(wide.max(1))) {
        let mut pen = Pen::new(buffer, plot, row, unicode);
        for bits in line {
            match char::from_u32(0x2800 + bits) {
                Some(c) if *bits > 0 && unicode => pen.put(WAY, c.encode_utf8(&mut [0; 4])),
                Some(_) if *bits > 0 => pen.put(WAY, "*"),
                _ => pen.skip(1),
            };
        }
    }
}
