//! The depth curve of a receipt: decode as the context fills, measured against what was promised.

use gpuc_core::document::{DepthRow, Plan, Receipt};

use super::axis::Axis;
use super::canvas::{Canvas, LEFT, RIGHT, path};
use super::paint::{Fill, Line, Mark, Swatch};
use super::rates::band_at;

const PLOT: f64 = 220.0;
/// More depths than any benchmark sweeps.
const MOST_ROWS: usize = 500;

/// Decode by depth; nothing where fewer than two depths were measured.
pub(super) fn draw(canvas: &mut Canvas, receipt: &Receipt, plan: &Plan) {
    let mut rows: Vec<&DepthRow> = receipt.depth_curve.iter().take(MOST_ROWS).collect();
    rows.sort_by_key(|row| row.depth);
    let (Some(deepest), true) = (rows.last().map(|r| r.depth), rows.len() > 1) else {
        return;
    };
    canvas.heading("Decode, tok/s, by the context that is filled");
    let reached = |r: &DepthRow| r.measured_decode_tok_s + r.measured_stddev_tok_s.unwrap_or(0.0);
    let most = rows.iter().fold(0.0, |most: f64, r| {
        let promised = r.ceiling_decode_tok_s.or(r.predicted_decode_tok_s);
        most.max(reached(r)).max(promised.unwrap_or(0.0))
    });
    let rates = Axis::from_zero(most, 5.0);
    let depths = Axis::counts(deepest, 8.0);
    let (top, bottom) = (canvas.y + 10.0, canvas.y + 10.0 + PLOT);
    canvas.left_axis(&rates, top, bottom);
    canvas.bottom_axis(&depths, bottom, PLOT, "context filled, tokens");
    let x = |row: &DepthRow| depths.at(row.depth as f64, LEFT, RIGHT);
    let y = |value: f64| rates.at(value, bottom, top);
    let line = |value: fn(&DepthRow) -> Option<f64>| -> Vec<(f64, f64)> {
        let known = rows.iter().filter_map(|r| Some((x(r), y(value(r)?))));
        known.collect()
    };
    let banded = || {
        rows.iter()
            .filter_map(|r| Some((x(r), band_at(plan, r.predicted_decode_tok_s)?)))
    };
    let mut band: Vec<(f64, f64)> = banded().map(|(x, (_, high))| (x, y(high))).collect();
    let lower: Vec<(f64, f64)> = banded().map(|(x, (low, _))| (x, y(low))).collect();
    band.extend(lower.into_iter().rev());
    let mut legend = vec![(Swatch::Mark(Mark::Circle), "measured".to_owned())];
    if band.len() > 3 {
        canvas.shape(Fill::Band, &format!("{}z", path(&band)));
        legend.push((Swatch::Fill(Fill::Band), "the forecast's band".into()));
    }
    let drawn = [
        (Line::Ceiling, "ceiling", line(|r| r.ceiling_decode_tok_s)),
        (
            Line::Forecast,
            "forecast",
            line(|r| r.predicted_decode_tok_s),
        ),
    ];
    for (stroke, name, points) in drawn {
        canvas.curve(stroke, &points);
        if points.len() > 1 {
            legend.push((Swatch::Line(stroke), name.into()));
        }
    }
    for row in &rows {
        let (x, value) = (x(row), row.measured_decode_tok_s);
        if let Some(spread) = row.measured_stddev_tok_s {
            canvas.stroke("edge", x, y(value - spread), x, y(value + spread));
        }
        canvas.mark(Mark::Circle, x, y(value));
    }
    canvas.y = bottom + 40.0;
    canvas.legend(&legend);
}
