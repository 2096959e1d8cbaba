//! The receipt itself: a measurement beside the plan's ceiling, forecast, band and floor.

use super::curve::depth_curve;
use super::expected::Expected;
use super::measure::Measured;
use super::peaks::Envelope;
use crate::document::{Concentration, Plan, Receipt};
use crate::error::{Code, Coded};
use crate::exit::Exit;
use crate::json::{self, JsonError};
use crate::units::round_to;

/// Why a plan cannot be held against anything.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No JSON, or not a plan's.
    #[error("{name} is no plan that can be read")]
    Unreadable {
        /// The file.
        name: String,
        /// What the reader said.
        #[source]
        cause: JsonError,
    },
    /// The floor is null, so there is nothing to clear.
    #[error("{0}: floor_tok_s is null, so no run could be judged")]
    NoFloor(String),
}

impl Coded for PlanError {
    fn code(&self) -> Code {
        Code::InputBadPlan
    }

    fn hint(&self) -> Option<String> {
        Some("pass the plan.json that gpu-container-plan wrote".into())
    }
}

/// The plan in `bytes`, fit to be held against a run.
pub fn checked_plan(bytes: &[u8], name: &str) -> Result<Plan, PlanError> {
    let plan: Plan = json::read(bytes).map_err(|cause| PlanError::Unreadable {
        name: name.to_owned(),
        cause,
    })?;
    if plan.floor_tok_s.is_none() {
        return Err(PlanError::NoFloor(name.to_owned()));
    }
    Ok(plan)
}

/// What the placement took of the card, % off what the plan says it takes without its margin.
fn vram_error(plan: &Plan, measured: &Measured) -> Option<f64> {
    let map = plan.memory_map.first()?;
    let planned = map
        .weights_bytes
        .saturating_add(map.context_bytes)
        .saturating_add(map.compute_bytes);
    let planned = crate::units::as_mib(planned as f64);
    let off = 100.0 * (measured.vram_mib? - planned) / planned;
    off.is_finite().then(|| round_to(off, 1))
}

/// The receipt of `measured` (which has a decode rate) under `plan`.
pub fn prove(plan: &Plan, measured: &Measured) -> Receipt {
    let decode = measured.decode;
    let Expected {
        ceiling,
        forecast,
        band,
        ..
    } = Expected::of(plan, measured.depth);
    // A rate beside which the other vanishes has no share that a number could hold.
    let share = |of: Option<f64>| {
        let (m, of) = (decode?, of.filter(|x| *x > 0.0)?);
        (100.0 * m / of).is_finite().then_some((m, of))
    };
    let within = decode
        .zip(band)
        .map(|(m, (low, high))| low <= m && m <= high);
    let floor = plan.floor_tok_s;
    let mut notes = Vec::new();
    if let Some((m, c)) = share(ceiling) {
        notes.push(format!(
            "{m:.2} tok/s is {:.0} % of the ceiling of {c:.2}",
            100.0 * m / c
        ));
        let noise = measured.noise();
        if m > c && m - noise <= c {
            notes.push(format!(
                "that is above the ceiling by less than the runs differ (±{noise:.2})"
            ));
        } else if m > c {
            notes.push(
                "that is above the ceiling, which no run can be: a bandwidth or the bytes per \
                 weight that the plan assumes are too low"
                    .into(),
            );
        }
    }
    if let (Some(m), Some((low, high)), Some(inside)) = (decode, band, within) {
        let forecast = forecast.map_or_else(String::new, |f| format!("forecast {f:.2} tok/s, "));
        notes.push(if inside {
            format!("{forecast}band {low:.2} to {high:.2}: {m:.2} lies inside")
        } else {
            format!(
                "{forecast}band {low:.2} to {high:.2}: {m:.2} lies outside; a calibration point \
                 of this run would move the next forecast"
            )
        });
    }
    for depth in beaten(plan, measured) {
        notes.push(format!(
            "at depth {depth} the run is above the ceiling by more than it differs: a bandwidth or \
             the bytes per weight that the plan assumes are too low"
        ));
    }
    if decode == Some(0.0) {
        notes.push("the run stalled: 0 tokens a second".into());
    }
    notes.extend(measured.notes.iter().cloned());
    notes.extend(super::identity::differences(plan, measured));
    Receipt {
        runtime: plan.runtime.clone(),
        n_cpu_moe: plan.n_cpu_moe,
        measured_decode_tok_s: decode.map(|x| round_to(x, 2)),
        measured_prefill_tok_s: measured.prefill.map(|x| round_to(x, 2)),
        measured_vram_used_mib: measured.vram_mib.map(|x| round_to(x, 1)),
        vram_error_pct: vram_error(plan, measured),
        measured_stddev_tok_s: measured.stddev.map(|x| round_to(x, 2)),
        measured_samples: measured.samples,
        measured_depth: measured.depth,
        bench_build: measured.build.clone(),
        bench_model: measured.model.clone(),
        predicted_decode_tok_s: forecast,
        ceiling_decode_tok_s: ceiling,
        decode_error_pct: share(forecast).map(|(m, f)| round_to(100.0 * (m - f) / f, 1)),
        realized_efficiency_pct: share(ceiling).map(|(m, c)| round_to(100.0 * m / c, 1)),
        within_band: within,
        cleared_floor: decode.zip(floor).map(|(m, floor)| m >= floor),
        depth_curve: depth_curve(plan, measured),
        method: Some(measured.method.clone()),
        notes,
        ..Receipt::default()
    }
}

/// The verdict: above the ceiling first, for then the plan itself is wrong; then the floor.
pub fn verdict(plan: &Plan, measured: &Measured) -> Exit {
    let Some(m) = measured.decode else {
        return Exit::BadInput;
    };
    if above(plan, measured) || !beaten(plan, measured).is_empty() {
        Exit::AboveCeiling
    } else if plan.floor_tok_s.is_some_and(|floor| m < floor) {
        Exit::Refused
    } else {
        Exit::Ok
    }
}

/// Whether the run is above its ceiling by more than its repeats differ.
fn above(plan: &Plan, measured: &Measured) -> bool {
    let ceiling = Expected::of(plan, measured.depth).ceiling;
    let beyond = measured.decode.map(|m| m - measured.noise());
    beyond
        .zip(ceiling)
        .is_some_and(|(m, ceiling)| ceiling > 0.0 && m > ceiling)
}

/// The other depths at which it is, where the plan tells what its ceiling is there.
fn beaten(plan: &Plan, measured: &Measured) -> Vec<u64> {
    let others = measured.curve.iter().filter(|at| {
        plan.decode_work.is_some()
            && Some(at.depth) != measured.depth
            && above(plan, &measured.at(at))
    });
    others.map(|at| at.depth).collect()
}

/// Folds the routing verdict into a receipt.
pub fn fold_routing(receipt: &mut Receipt, report: &Concentration) {
    receipt.routing_cache_helps = Some(report.cache_helps);
    receipt.routing_hot_frac_for_coverage = Some(round_to(report.hot_frac_for_coverage, 3));
    receipt.routing_concentration = Some(round_to(report.concentration_score, 3));
    receipt.notes.push(crate::routing::summary(report));
}

/// Folds the safety envelope of the run into its receipt.
pub fn fold_peaks(receipt: &mut Receipt, e: &Envelope) {
    receipt.peak_gpu_power_pct = e.gpu_power_pct;
    receipt.peak_gpu_temp_c = e.gpu_temp_c;
    receipt.peak_gpu_vram_used_mib = e.gpu_vram_used_mib;
    receipt.peak_host_mem_pct = e.host_mem_pct;
    receipt.min_host_avail_mib = e.host_avail_mib;
    receipt.safety_samples = e.samples;
    receipt.stayed_within_envelope = e.within;
    receipt.notes.push(e.sentence());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str) -> Plan {
        checked_plan(json.as_bytes(), "plan.json").unwrap()
    }

    fn ran(rate: f64) -> Measured {
        Measured {
            decode: Some(rate),
            ..Measured::default()
        }
    }

    #[test]
    fn verdicts_at_the_edges() {
        let p = plan(
            r#"{"fits": true, "verdict": "ship", "ceiling_decode_tok_s": 56.2, "floor_tok_s": 1}"#,
        );
        let cases = [
            (0.0, Exit::Refused),
            (0.999, Exit::Refused),
            (1.0, Exit::Ok),
            (56.2, Exit::Ok),
            (56.201, Exit::AboveCeiling),
        ];
        for (rate, want) in cases {
            assert_eq!(verdict(&p, &ran(rate)), want, "{rate}");
        }
        // A plan that was refused for its floor can be beaten at its ceiling and still miss it.
        let refused = plan(
            r#"{"fits": true, "verdict": "refuse", "ceiling_decode_tok_s": 56.2, "floor_tok_s": 500}"#,
        );
        assert_eq!(verdict(&refused, &ran(70.0)), Exit::AboveCeiling);
    }

    #[test]
    fn above_the_ceiling_by_less_than_the_runs_differ_is_not_above_it() {
        let p = plan(r#"{"fits": true, "verdict": "ship", "ceiling_decode_tok_s": 50}"#);
        let run = |stddev, samples| Measured {
            stddev,
            samples,
            ..ran(52.0)
        };
        let cases = [
            (None, None, Exit::AboveCeiling),
            // Twice 2.5 / sqrt(5) is 2.24; twice 2.0 / sqrt(5) is 1.79.
            (Some(2.5), Some(5), Exit::Ok),
            (Some(2.0), Some(5), Exit::AboveCeiling),
            // One run has no spread to speak of; a table does not say how many there were.
            (Some(2.5), Some(1), Exit::AboveCeiling),
            (Some(1.2), None, Exit::Ok),
            (Some(0.9), None, Exit::AboveCeiling),
        ];
        for (stddev, samples, want) in cases {
            let measured = run(stddev, samples);
            assert_eq!(verdict(&p, &measured), want, "{stddev:?} {samples:?}");
            let noted = |what: &str| prove(&p, &measured).notes.iter().any(|n| n.contains(what));
            assert_eq!(noted("by less than the runs differ"), want == Exit::Ok);
            assert_eq!(noted("which no run can be"), want == Exit::AboveCeiling);
        }
    }

    #[test]
    fn a_stalled_run_is_measured_and_below_the_floor() {
        let p = plan(
            r#"{"fits": true, "verdict": "ship", "ceiling_decode_tok_s": 50, "predicted_decode_tok_s": 25}"#,
        );
        let r = prove(&p, &ran(0.0));
        assert_eq!(r.measured_decode_tok_s, Some(0.0));
        assert_eq!(r.cleared_floor, Some(false));
        assert_eq!(r.decode_error_pct, Some(-100.0));
        assert_eq!(r.realized_efficiency_pct, Some(0.0));
    }

    #[test]
    fn a_band_without_a_forecast_is_still_a_band() {
        let p = plan(
            r#"{"fits": true, "verdict": "ship", "predicted_band_low_tok_s": 20,
                "predicted_band_high_tok_s": 30, "predicted_decode_tok_s": null}"#,
        );
        let r = prove(&p, &ran(24.0));
        assert_eq!(r.within_band, Some(true));
        assert_eq!(r.decode_error_pct, None);
    }

    #[test]
    fn a_plan_without_a_ceiling_leaves_the_shares_open() {
        let r = prove(&plan(r#"{"fits": false, "verdict": "refuse"}"#), &ran(10.0));
        assert_eq!((r.realized_efficiency_pct, r.within_band), (None, None));
        assert_eq!(r.cleared_floor, Some(true));
        assert!(r.notes.is_empty());
    }

    #[test]
    fn what_is_no_plan_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"fits": true}"#,
            r#"{"fits": true, "verdict": "ship", "ceiling_decode_tok_s": "40"}"#,
            r#"{"fits": true, "verdict": "ship", "ceiling_decode_tok_s": NaN}"#,
            r#"{"fits": true, "verdict": "ship", "ceiling_decode_tok_s": -1}"#,
            r#"{"fits": true, "verdict": "ship", "floor_tok_s": null}"#,
        ] {
            let e = checked_plan(text.as_bytes(), "plan.json").unwrap_err();
            assert_eq!(e.code(), Code::InputBadPlan, "{text}");
        }
    }
}
