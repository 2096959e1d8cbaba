//! The picture of a receipt: what was measured between what was promised.

use gpuc_core::document::{Plan, Receipt};

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, LEFT, RIGHT};
use super::depths;
use super::number::{decimals, rate};
use super::paint::{Fill, Line, Mark, Swatch};
use super::picture::Picture;
use crate::view::Speed;

const PLOT: f64 = 90.0;

/// A measured run against its plan.
pub fn receipt(receipt: &Receipt, plan: &Plan) -> Picture {
    let measured = receipt.measured_decode_tok_s;
    let title = match (measured, receipt.measured_depth.filter(|d| *d > 0)) {
        (Some(x), Some(depth)) => format!(
            "Receipt: decode {} tok/s with {} tokens of context filled",
            rate(x),
            decimals(depth as f64, 0)
        ),
        (Some(x), None) => format!("Receipt: decode {} tok/s", rate(x)),
        (None, _) => "Receipt: decode was not measured".to_owned(),
    };
    let mut canvas = Canvas::new("receipt", &title);
    let words = words(receipt, plan);
    canvas.paragraph("dim", &words, 4);
    rates(&mut canvas, receipt, plan);
    depths::draw(&mut canvas, receipt, plan);
    canvas.finish(&format!(
        "The measured decode rate on an axis of tok/s with the plan's forecast, band, ceiling and \
         floor. {words}"
    ))
}

fn words(receipt: &Receipt, plan: &Plan) -> String {
    let mut words = Vec::new();
    if let Some(within) = receipt.within_band {
        words.push(if within {
            "The measurement lies in the forecast's band.".to_owned()
        } else {
            "The measurement lies outside the forecast's band.".to_owned()
        });
    }
    if let Some(pct) = receipt.decode_error_pct {
        let (pct, side) = (
            decimals(pct.abs(), 1),
            if pct < 0.0 { "below" } else { "above" },
        );
        words.push(format!("{pct} % {side} the forecast."));
    }
    if let Some(pct) = receipt.realized_efficiency_pct {
        words.push(format!("{} % of the ceiling.", decimals(pct, 1)));
    }
    if let (Some(false), Some(floor)) = (receipt.cleared_floor, plan.floor_tok_s) {
        words.push(format!("Below the floor of {}.", rate(floor)));
    }
    words.join(" ")
}

/// The plan's band about another forecast of it, at another depth: it keeps its width in percent.
pub(super) fn band_at(plan: &Plan, forecast: Option<f64>) -> Option<(f64, f64)> {
    let (low, high) = Speed::of(plan).band?;
    let by = forecast.zip(plan.predicted_decode_tok_s);
    let by = by.map_or(1.0, |(there, here)| there / here);
    let by = if by.is_finite() { by } else { 1.0 };
    Some((by * low, by * high))
}

fn rates(canvas: &mut Canvas, receipt: &Receipt, plan: &Plan) {
    let promised = Speed::of(plan);
    // The receipt's own are for the depth that was measured.
    let speed = Speed {
        measured: receipt.measured_decode_tok_s,
        forecast: receipt.predicted_decode_tok_s.or(promised.forecast),
        ceiling: receipt.ceiling_decode_tok_s.or(promised.ceiling),
        band: band_at(plan, receipt.predicted_decode_tok_s),
        ..promised
    };
    let spread = receipt.measured_stddev_tok_s.unwrap_or(0.0);
    let reached = speed.measured.map_or(0.0, |m| m + spread);
    // A little beyond the last line, so that it is seen.
    let axis = Axis::from_zero(1.04 * speed.top().unwrap_or(1.0).max(reached), 8.0);
    let x = |value: f64| axis.at(value, LEFT, RIGHT);
    let (top, bottom) = (canvas.y + 20.0, canvas.y + 20.0 + PLOT);
    canvas.bottom_axis(&axis, bottom, PLOT, "decode, tok/s");
    let mut legend = Vec::new();
    // Lines that the label of the measurement keeps clear of.
    let mut taken = Vec::new();
    if let Some((low, high)) = speed.band {
        let words = format!("{} to {}", rate(low), rate(high));
        let (low, high) = (x(low), x(high).max(x(low) + 1.0));
        let (above, below) = (top + 0.25 * PLOT, bottom - 0.25 * PLOT);
        canvas.area(Fill::Band, low, above, high - low, below - above);
        taken.push([(low, above), (high, above)]);
        taken.push([(low, below), (high, below)]);
        legend.push((Swatch::Fill(Fill::Band), format!("band {words}")));
    }
    let lines = [
        (Line::Forecast, "forecast", speed.forecast),
        (Line::Ceiling, "ceiling", speed.ceiling),
        (Line::Floor, "floor", speed.floor),
    ];
    for (line, name, value) in lines {
        if let Some(value) = value {
            canvas.line(line, x(value), top, x(value), bottom);
            legend.push((Swatch::Line(line), format!("{name} {}", rate(value))));
            taken.push([(x(value), top), (x(value), bottom)]);
        }
    }
    if let Some(value) = speed.measured {
        let y = top + PLOT * 0.5;
        if spread > 0.0 {
            let (from, to) = (x(value - spread), x(value + spread));
            canvas.stroke("edge", from, y, to, y);
            canvas.stroke("edge", from, y - 6.0, from, y + 6.0);
            canvas.stroke("edge", to, y - 6.0, to, y + 6.0);
        }
        canvas.mark(Mark::Circle, x(value), y);
        let mut words = format!("measured {}", rate(value));
        if spread > 0.0 {
            words += &format!(" ± {}", rate(spread));
        }
        let lines: Vec<&[(f64, f64)]> = taken.iter().map(<[_; 2]>::as_slice).collect();
        canvas.beside((x(value), y), (top, bottom), &words, &lines);
        legend.push((Swatch::Mark(Mark::Circle), words));
    } else {
        let middle = f64::midpoint(LEFT, RIGHT);
        canvas.text(
            "dim",
            middle,
            top + PLOT * 0.5,
            Anchor::Middle,
            "no measurement",
        );
    }
    canvas.y = bottom + 40.0;
    canvas.legend(&legend);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::svg::tests::{checked, maybe, number, plan, without_style};
    use gpuc_core::document::{DepthRow, Plan, Receipt};

    fn row(
        (depth, measured, spread, forecast, ceiling): (
            u64,
            f64,
            Option<f64>,
            Option<f64>,
            Option<f64>,
        ),
    ) -> DepthRow {
        DepthRow {
            depth,
            measured_decode_tok_s: measured,
            measured_stddev_tok_s: spread,
            predicted_decode_tok_s: forecast,
            ceiling_decode_tok_s: ceiling,
            ..DepthRow::default()
        }
    }

    #[test]
    fn a_small_receipt() {
        let plan: Plan = gpuc_core::json::read(
            br#"{"fits": true, "verdict": "ship", "predicted_decode_tok_s": 30,
                "predicted_band_low_tok_s": 20, "predicted_band_high_tok_s": 40,
                "ceiling_decode_tok_s": 60, "floor_tok_s": 5}"#,
        )
        .unwrap();
        let receipt = Receipt {
            measured_decode_tok_s: Some(25.0),
            measured_stddev_tok_s: Some(1.5),
            within_band: Some(true),
            decode_error_pct: Some(-16.7),
            depth_curve: vec![
                row((0, 25.0, Some(1.5), Some(30.0), Some(60.0))),
                row((4096, 20.0, None, Some(24.0), Some(50.0))),
            ],
            ..Receipt::default()
        };
        insta::assert_snapshot!(without_style(&checked(&super::receipt(&receipt, &plan))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_receipt_is_drawn(
            plan in plan(),
            numbers in prop::array::uniform4(maybe()),
            within_band in prop::option::of(any::<bool>()),
            depths in prop::collection::vec(
                (any::<u64>(), number(), maybe(), maybe(), maybe()),
                0..5,
            ),
        ) {
            let [measured, spread, error, realized] = numbers;
            let receipt = Receipt {
                measured_decode_tok_s: measured,
                measured_stddev_tok_s: spread,
                decode_error_pct: error,
                realized_efficiency_pct: realized,
                within_band,
                depth_curve: depths.into_iter().map(row).collect(),
                ..Receipt::default()
            };
            checked(&super::receipt(&receipt, &plan));
        }
    }
}
