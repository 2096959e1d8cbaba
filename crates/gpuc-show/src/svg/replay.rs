//! What caches of a few experts in each layer would have served of a trace.

use gpuc_core::document::CacheReplay;
use gpuc_core::routing::Policy;

use super::axis::Axis;
use super::canvas::{Canvas, LEFT, RIGHT};
use super::paint::{Line, Mark, Swatch};

const PLOT: f64 = 220.0;
/// More sizes than anybody asks for.
const MOST_ROWS: usize = 1000;

/// Hits by the size of the cache, a line for each way of replacing; nothing without a replay.
pub(super) fn draw(canvas: &mut Canvas, replay: &[CacheReplay]) {
    let rows = || replay.iter().take(MOST_ROWS);
    let Some(most) = rows().map(|r| r.slots).max() else {
        return;
    };
    canvas.heading("What a cache would have served, % of the choices");
    let across = Axis::counts(most, 12.0);
    let up = Axis::up_to(100.0, 5.0);
    let (top, bottom) = (canvas.y + 10.0, canvas.y + 10.0 + PLOT);
    canvas.left_axis(&up, top, bottom);
    canvas.bottom_axis(&across, bottom, PLOT, "experts of each layer that it holds");
    let mut legend = Vec::new();
    for policy in Policy::ALL {
        let (line, name) = style(policy);
        let mut own: Vec<&CacheReplay> = rows().filter(|r| r.policy == policy).collect();
        own.sort_by_key(|r| r.slots);
        let points: Vec<(f64, f64)> = own
            .iter()
            .map(|r| {
                let x = across.at(r.slots as f64, LEFT, RIGHT);
                (x, up.at(100.0 * r.hit_rate, bottom, top))
            })
            .collect();
        canvas.curve(line, &points);
        for (x, y) in &points {
            canvas.mark(Mark::Circle, *x, *y);
        }
        if !points.is_empty() {
            legend.push((Swatch::Line(line), name.to_owned()));
        }
    }
    canvas.y = bottom + 40.0;
    canvas.legend(&legend);
}

fn style(policy: Policy) -> (Line, &'static str) {
    match policy {
        Policy::StaticHottest => (Line::Ceiling, "the hottest, for good"),
        Policy::Lru => (Line::Value, "least recently used, by choice"),
        Policy::LeastStale => (Line::Floor, "least recently used, by token"),
    }
}
