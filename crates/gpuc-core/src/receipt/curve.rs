//! How decode falls with the depth: measured, beside what the plan expects at each.

use super::expected::Expected;
use super::measure::Measured;
use crate::document::{DepthRow, Plan};
use crate::units::round_to;

/// The rows of a receipt's curve; none where one depth was measured.
pub(super) fn depth_curve(plan: &Plan, measured: &Measured) -> Vec<DepthRow> {
    let rows = measured.curve.iter().map(|at| {
        let expected = Expected::of(plan, Some(at.depth));
        let percent = |of: Option<f64>, less: f64| {
            let share = 100.0 * (at.decode / of.filter(|x| *x > 0.0)? - less);
            share.is_finite().then(|| round_to(share, 1))
        };
        DepthRow {
            depth: at.depth,
            measured_decode_tok_s: round_to(at.decode, 2),
            measured_stddev_tok_s: at.stddev.map(|x| round_to(x, 2)),
            measured_samples: at.samples,
            measured_prefill_tok_s: at.prefill.map(|x| round_to(x, 2)),
            predicted_decode_tok_s: expected.forecast,
            ceiling_decode_tok_s: expected.ceiling,
            decode_error_pct: percent(expected.forecast, 1.0),
            realized_efficiency_pct: percent(expected.ceiling, 0.0),
            within_band: expected
                .band
                .map(|(low, high)| low <= at.decode && at.decode <= high),
        }
    });
    rows.collect()
}

/// The curve for a person; empty without one.
pub fn curve_table(rows: &[DepthRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let number = |x: Option<f64>| x.map_or_else(|| "-".into(), |x| format!("{x:.1}"));
    let mut text = format!(
        "{:>8}  {:>15}  {:>9}  {:>8}  {:>9}  {:>9}\n",
        "depth", "measured", "forecast", "error %", "ceiling", "ceiling %"
    );
    for r in rows {
        let spread = r
            .measured_stddev_tok_s
            .map_or_else(String::new, |s| format!(" ± {s:.1}"));
        text += &format!(
            "{:>8}  {:>15}  {:>9}  {:>8}  {:>9}  {:>9}\n",
            r.depth,
            format!("{:.1}{spread}", r.measured_decode_tok_s),
            number(r.predicted_decode_tok_s),
            number(r.decode_error_pct),
            number(r.ceiling_decode_tok_s),
            number(r.realized_efficiency_pct),
        );
    }
    text
}
