//! The receipt itself: a measurement beside the plan's ceiling, forecast, band and floor.

use super::measure::Measured;
use super::peaks::Envelope;
use crate::document::{Concentration, Plan, Receipt};
use crate::error::{Code, Coded};
use crate::exit::Exit;
use crate::forecast::Work;
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

/// The ceiling to measure against: the plan's, else its forecast, which is then no lower.
pub(super) fn ceiling(plan: &Plan) -> Option<f64> {
    plan.ceiling_decode_tok_s
        .filter(|x| *x > 0.0)
        .or(plan.predicted_decode_tok_s)
}

/// The work of a token at the depth that was measured: exactly where the plan says how its cache
/// grows, else in proportion.
pub(super) fn work_at(plan: &Plan, measured: &Measured) -> Option<Work> {
    let work = plan.decode_work?;
    let assumed = plan.assumptions.as_ref();
    let planned = assumed.and_then(|a| match (a.depth, a.ctx_len) {
        (Some(depth), Some(ctx)) => Some(depth.min(ctx)),
        (depth, ctx) => depth.or(ctx),
    });
    let (Some(from), Some(to)) = (planned, measured.depth) else {
        return Some(work);
    };
    Some(match &plan.cache_growth {
        Some(growth) => work.at_depth(growth, from, to),
        None if from > 0 => Work {
            cache_bytes: work.cache_bytes * to as f64 / from as f64,
            ..work
        },
        None => work,
    })
}

/// The ceiling at the depth that was measured, where the plan says how much of its work is cache.
pub(super) fn ceiling_at(plan: &Plan, measured: &Measured) -> Option<f64> {
    let bound = ceiling(plan)?;
    let at_depth = || {
        let assumed = plan.assumptions.as_ref()?;
        let rate = |best: Option<f64>, stated: Option<f64>| {
            best.or(stated).filter(|g| *g > 0.0).map(|g| g * 1e9)
        };
        let vram = rate(assumed.ceiling_vram_bw_gbps, assumed.vram_bw_gbps)?;
        let ram = rate(assumed.ceiling_cpu_bw_gbps, assumed.cpu_mem_bw_gbps)?;
        let seconds = |work: Work| work.least_seconds(vram, ram);
        let more = seconds(work_at(plan, measured)?) - seconds(plan.decode_work?);
        let moved = 1.0 / (1.0 / bound + more);
        Some(round_to(moved, 2)).filter(|c| c.is_finite() && *c > 0.0)
    };
    Some(at_depth().unwrap_or(bound))
}

/// What a measured mean may be off by: twice its standard error, where repeats tell.
fn noise(measured: &Measured) -> f64 {
    match (measured.stddev, measured.samples) {
        (Some(stddev), Some(n)) if n > 1 => 2.0 * stddev / (n as f64).sqrt(),
        _ => 0.0,
    }
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
    let ceiling = ceiling_at(plan, measured);
    let forecast = plan.predicted_decode_tok_s;
    // A rate beside which the other vanishes has no share that a number could hold.
    let share = |of: Option<f64>| {
        let (m, of) = (decode?, of.filter(|x| *x > 0.0)?);
        (100.0 * m / of).is_finite().then_some((m, of))
    };
    let band = plan
        .predicted_band_low_tok_s
        .zip(plan.predicted_band_high_tok_s);
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
        if m > c && m - noise(measured) <= c {
            notes.push(format!(
                "that is above the ceiling by less than the runs differ (±{:.2})",
                noise(measured)
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
    let beyond = m - noise(measured);
    if ceiling_at(plan, measured).is_some_and(|c| c > 0.0 && beyond > c) {
        Exit::AboveCeiling
    } else if plan.floor_tok_s.is_some_and(|floor| m < floor) {
        Exit::Refused
    } else {
        Exit::Ok
    }
}

/// Folds the routing verdict into a receipt.
pub fn fold_routing(receipt: &mut Receipt, report: &Concentration) {
    receipt.routing_cache_helps = Some(report.cache_helps);
    receipt.routing_hot_frac_for_coverage = Some(round_to(report.hot_frac_for_coverage, 3));
    receipt.routing_concentration = Some(round_to(report.concentration_score, 3));
    receipt.notes.push(crate::routing::summary(report));
}

/// Holds the most VRAM that was seen used against the plan's map, where nobody measured it better.
pub fn fold_vram(receipt: &mut Receipt, plan: &Plan, e: &Envelope) {
    let seen = Measured {
        vram_mib: e.gpu_vram_used_mib,
        ..Measured::default()
    };
    receipt.vram_error_pct = vram_error(plan, &seen);
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
