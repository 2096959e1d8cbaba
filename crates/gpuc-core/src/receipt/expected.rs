//! What a plan expects of a run at the depth that was measured.

use crate::document::Plan;
use crate::forecast::{Outlook, Stated, Work};
use crate::units::round_to;

/// Ceiling, forecast and band at one depth.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// What no run can exceed, tokens a second.
    pub ceiling: Option<f64>,
    /// The forecast.
    pub forecast: Option<f64>,
    /// Its band.
    pub band: Option<(f64, f64)>,
    /// The work of a token.
    pub work: Option<Work>,
}

impl Expected {
    /// What `plan` expects at `depth`; a plan that does not say what its work is expects the same at
    /// every depth.
    pub fn of(plan: &Plan, depth: Option<u64>) -> Self {
        let work = work_at(plan, depth);
        let factor = plan
            .decode_work
            .zip(work)
            .filter(|(planned, here)| planned != here)
            .and_then(|(planned, here)| slower(plan, &planned, &here));
        let ceiling = ceiling(plan, work);
        // A forecast lies at or below its ceiling.
        let moved = |rate: Option<f64>| match factor {
            Some(factor) => {
                let rate = round_to(rate? * factor, 2);
                Some(ceiling.map_or(rate, |c| rate.min(c)))
            }
            None => rate,
        };
        Self {
            forecast: moved(plan.predicted_decode_tok_s),
            band: moved(plan.predicted_band_low_tok_s).zip(moved(plan.predicted_band_high_tok_s)),
            ceiling,
            work,
        }
    }
}

/// The work of a token at `depth`: exactly where the plan says how its cache grows, else in
/// proportion.
fn work_at(plan: &Plan, depth: Option<u64>) -> Option<Work> {
    let work = plan.decode_work?;
    let assumed = plan.assumptions.as_ref();
    let planned = assumed.and_then(|a| match (a.depth, a.ctx_len) {
        (Some(depth), Some(ctx)) => Some(depth.min(ctx)),
        (depth, ctx) => depth.or(ctx),
    });
    let (Some(from), Some(to)) = (planned, depth) else {
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

/// The ceiling of this work: the plan's, else its forecast, which is then no lower; moved by the
/// time that the bytes take which it does not count.
fn ceiling(plan: &Plan, work: Option<Work>) -> Option<f64> {
    let bound = plan
        .ceiling_decode_tok_s
        .filter(|x| *x > 0.0)
        .or(plan.predicted_decode_tok_s)?;
    let at_depth = || {
        let rates = rates(plan)?;
        let seconds = |work: Work| work.least_seconds(rates.best_vram * 1e9, rates.best_ram * 1e9);
        let more = seconds(work?) - seconds(plan.decode_work?);
        let moved = 1.0 / (1.0 / bound + more);
        Some(round_to(moved, 2)).filter(|c| c.is_finite() && *c > 0.0)
    };
    Some(at_depth().unwrap_or(bound))
}

/// The plan's bandwidths, GB/s, and the most that each tier could give.
struct PlanRates {
    vram: f64,
    ram: f64,
    best_vram: f64,
    best_ram: f64,
}

fn rates(plan: &Plan) -> Option<PlanRates> {
    let assumed = plan.assumptions.as_ref()?;
    let (vram, ram) = (assumed.vram_bw_gbps?, assumed.cpu_mem_bw_gbps?);
    let rates = PlanRates {
        vram,
        ram,
        best_vram: assumed.ceiling_vram_bw_gbps.unwrap_or(vram),
        best_ram: assumed.ceiling_cpu_bw_gbps.unwrap_or(ram),
    };
    let all = [rates.vram, rates.ram, rates.best_vram, rates.best_ram];
    all.iter().all(|g| *g > 0.0).then_some(rates)
}

/// Decode `here` over decode of the `planned` work by the law of the plan's card.
fn slower(plan: &Plan, planned: &Work, here: &Work) -> Option<f64> {
    let rates = rates(plan)?;
    let stated = |gbps, best_gbps| Stated {
        gbps,
        best_gbps,
        known: true,
    };
    let ram = stated(rates.ram, rates.best_ram);
    let outlook = if planned.on_processor() {
        Outlook::on_processor(ram, &[])
    } else {
        let card = &plan.memory_map.first()?.device;
        Outlook::new(card, None, stated(rates.vram, rates.best_vram), ram, &[])
    }?;
    let rate = |work: &Work| Some(outlook.forecast(work, outlook.ceiling(work))?.centre);
    Some(rate(here)? / rate(planned)?).filter(|f| f.is_finite() && *f > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(card: &str) -> Plan {
        serde_json::from_value(serde_json::json!({
            "fits": true, "verdict": "ship", "ceiling_decode_tok_s": 400.0,
            "predicted_decode_tok_s": 150.0, "predicted_band_low_tok_s": 120.0,
            "predicted_band_high_tok_s": 180.0,
            "decode_work": {"device_weight_bytes": 1.8e9, "cache_bytes": 0.5e9, "expert_blocks": 48.0},
            "cache_growth": [{"bytes_per_token": 98304.0}, {"bytes_per_token": 1e5, "window": 128}],
            "memory_map": [{"device": card}],
            "assumptions": {"ctx_len": 4096, "vram_bw_gbps": 1008.0, "cpu_mem_bw_gbps": 60.0}
        }))
        .unwrap()
    }

    #[test]
    fn the_plans_own_depth_is_the_plans_own_number() {
        let p = plan("RTX 4090");
        for depth in [None, Some(4096)] {
            let e = Expected::of(&p, depth);
            assert_eq!((e.ceiling, e.forecast), (Some(400.0), Some(150.0)));
            assert_eq!(e.band, Some((120.0, 180.0)));
            assert_eq!(e.work, p.decode_work);
        }
    }

    #[test]
    fn shallower_is_faster_and_deeper_is_slower_by_the_cache_alone() {
        let p = plan("RTX 4090");
        let at = |depth| Expected::of(&p, Some(depth));
        let moved = 1.0 / (1.0 / 400.0 - (4096.0 * 98304.0 + 128.0 * 1e5) / 1008e9);
        assert_eq!(at(0).ceiling, Some(round_to(moved, 2)));
        let rates: Vec<f64> = [0, 1024, 4096, 32768]
            .map(|d| at(d).forecast.unwrap())
            .into();
        assert!(rates.windows(2).all(|w| w[0] > w[1]), "{rates:?}");
        let (low, high) = at(32768).band.unwrap();
        let forecast = at(32768).forecast.unwrap();
        assert!(low < forecast && forecast < high && high <= at(32768).ceiling.unwrap());
        assert!(
            (low / forecast - 0.8).abs() < 1e-3,
            "the band keeps its width"
        );
    }

    #[test]
    fn a_plan_without_its_work_expects_the_same_everywhere() {
        let p = Plan {
            decode_work: None,
            ..plan("RTX 4090")
        };
        assert_eq!(Expected::of(&p, Some(0)), Expected::of(&p, None));
        // Without a law of the card its ceiling can still be moved.
        let e = Expected::of(&plan("GPU"), Some(0));
        assert!(e.ceiling > Some(400.0) && e.forecast == Some(150.0));
    }
}
