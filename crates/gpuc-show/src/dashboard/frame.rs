//! A state of the dashboard as a frame of so many columns and rows.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;

use super::charts::charts;
use super::layout::{Wanted, shared_out};
use super::meters::{Columns, heads, meter, meters, nearest};
use super::pen::Pen;
use super::rows;
use super::state::{Dashboard, Phase};

/// Larger than any screen that is read.
const MOST: (u16, u16) = (600, 250);

/// The frame.
pub(super) fn frame(dashboard: &Dashboard, size: (u16, u16), unicode: bool) -> Buffer {
    let area = Rect::new(0, 0, size.0.min(MOST.0), size.1.min(MOST.1));
    let mut buffer = Buffer::empty(area);
    let b = &mut buffer;
    if area.is_empty() {
        return buffer;
    }
    rows::verdict(Pen::new(b, area, 0, unicode), dashboard);
    let all = meters(dashboard);
    let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    let is_over = matches!(dashboard.phase, Phase::Ended(..));
    let only = dashboard.output_only && !is_over;
    let many = |n: u16| if only { 0 } else { n };
    let share = rows::gpu_rows(dashboard);
    let parts = shared_out(
        area.height,
        &Wanted {
            job: many(rows::job_rows(dashboard)),
            meters: many(short(all.len())),
            gpus: many(short(share)),
            events: many(short(dashboard.events.len())),
            output: dashboard.about.has_output,
            keys: !is_over,
        },
    );
    let mut y = 1;
    let mut take = |height: u16| {
        let part = Rect { y, height, ..area };
        y += height;
        part
    };
    let gap = parts.gaps / 3;
    let part = take(parts.job);
    if parts.job > 0 {
        rows::job(b, part, dashboard, unicode);
    }
    take(gap);
    let columns = Columns::of(usize::from(area.width));
    let part = take(parts.heads);
    if parts.heads > 0 {
        heads(
            &mut Pen::new(b, part, 0, unicode),
            columns,
            dashboard.window(),
        );
    }
    let part = take(parts.meters);
    for (row, m) in (0..).zip(nearest(all, usize::from(parts.meters))) {
        meter(
            &mut Pen::new(b, part, row, unicode),
            &m,
            columns,
            dashboard,
            unicode,
        );
    }
    take(gap);
    let part = take(parts.gpus);
    if parts.gpus > 0 {
        rows::gpus(b, part, dashboard, unicode);
    }
    take(gap);
    charts(b, take(parts.charts), dashboard, unicode);
    let part = take(parts.events);
    if parts.events > 0 {
        rows::events(b, part, dashboard, unicode);
    }
    let part = take(parts.output);
    if parts.output > 0 {
        rows::output(b, part, dashboard, unicode);
    }
    if parts.keys > 0 {
        rows::keys(Pen::new(b, take(parts.keys), 0, unicode), dashboard);
    }
    if dashboard.help && !is_over {
        rows::help(b, area, dashboard, unicode);
    }
    buffer
}
