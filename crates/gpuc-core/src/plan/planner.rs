//! The search: the fewest experts in RAM that fit, the ceiling and forecast, ship or refuse.

use super::explain;
use super::footprint::{Footprint, Placement, Usage};
use super::rig::{Bandwidths, RigError, RigView};
use crate::calibration::{Estimate, Regime, estimate};
use crate::document::{Assumptions, Plan, Point, Verdict};
use crate::units::{as_mib, round_to};

/// Everything a plan is made from.
pub struct PlanRequest<'a> {
    /// The model's name, for messages.
    pub model: &'a str,
    /// What each placement costs.
    pub footprint: &'a dyn Footprint,
    /// The rig's budgets.
    pub rig: RigView<'a>,
    /// The rig's bandwidths.
    pub bandwidths: &'a Bandwidths,
    /// VRAM kept free of weights and KV cache: compute buffers, CUDA context, safety. Bytes.
    pub margin: f64,
    /// Decode must reach this, tokens a second.
    pub floor: f64,
    /// `--n-cpu-moe` as the user wants it, instead of the smallest that fits.
    pub forced_n: Option<u64>,
    /// Points to calibrate by; none leaves the forecast at the ceiling.
    pub points: Option<&'a [Point]>,
    /// The numbers that the footprint was made with, for the record.
    pub assumptions: Assumptions,
}

/// A refusal before any placement was looked at. No rate was judged, so the floor in the document
/// keeps its default.
pub fn refuse(message: String) -> Plan {
    Plan {
        message: Some(message),
        ..blank(1.0)
    }
}

fn blank(floor: f64) -> Plan {
    Plan {
        fits: false,
        verdict: Verdict::Refuse,
        runtime: "llama.cpp".into(),
        n_cpu_moe: None,
        n_moe_layers: None,
        moe_layers_on_host: None,
        llama_flags: None,
        vram_budget_mib: None,
        vram_used_mib: None,
        ram_used_mib: None,
        predicted_decode_tok_s: None,
        ceiling_decode_tok_s: None,
        predicted_band_low_tok_s: None,
        predicted_band_high_tok_s: None,
        throughput_basis: None,
        calibration_basis: None,
        calibration_n_samples: None,
        floor_tok_s: Some(floor),
        message: None,
        assumptions: None,
    }
}

/// A placement that was looked at.
pub(super) struct Candidate {
    pub(super) placement: Placement,
    pub(super) on_host: u64,
    pub(super) usage: Usage,
    /// Device bytes, margin included.
    pub(super) needed: f64,
}

impl Candidate {
    fn new(request: &PlanRequest<'_>, placement: Placement) -> Self {
        let usage = request.footprint.usage(&placement);
        let on_host = request
            .footprint
            .moe_layers_on_host(placement.n_cpu_moe)
            .min(request.footprint.moe_layers());
        let needed = usage.device_bytes + request.margin;
        Self {
            placement,
            on_host,
            usage,
            needed,
        }
    }
}

/// Plans `request`.
pub fn plan(request: &PlanRequest<'_>) -> Result<Plan, RigError> {
    let (Some(budget), Some(budget_mib)) = (
        request.rig.vram_budget_bytes(),
        request.rig.vram_budget_mib(),
    ) else {
        return Ok(refuse(explain::unknown_vram(request.rig.gpu_name())));
    };
    let layers = request.footprint.moe_layers();
    let chosen = choose(request, budget);
    let fits = chosen.needed <= budget;
    let base = Plan {
        fits,
        n_cpu_moe: Some(chosen.placement.n_cpu_moe),
        n_moe_layers: Some(layers),
        moe_layers_on_host: Some(chosen.on_host).filter(|m| *m != chosen.placement.n_cpu_moe),
        vram_budget_mib: Some(round_to(budget_mib, 1)),
        vram_used_mib: Some(round_to(as_mib(chosen.needed), 1)),
        assumptions: Some(request.assumptions.clone()),
        ..blank(request.floor)
    };
    if !fits {
        let message = explain::vram_short(request, &chosen, budget);
        return Ok(Plan {
            message: Some(message),
            ..base
        });
    }

    let gb = 1e9;
    let Bandwidths { ram, vram } = request.bandwidths;
    let ceiling = chosen.usage.ceiling_tok_s(vram.gbps * gb, ram.gbps * gb);
    let regime = Regime::of(chosen.on_host, layers);
    let forecast = request.points.and_then(|points| estimate(points, regime));
    let ram_budget = request.rig.ram_budget_bytes()?;
    let ram_needed = chosen.usage.host_bytes;
    let ram_short = ram_budget.is_some_and(|b| ram_needed > b);
    let too_slow = ceiling < request.floor;
    let message = if ram_short || too_slow {
        let ram_short = ram_budget.filter(|_| ram_short);
        explain::refused(request, &chosen, ceiling, too_slow, ram_short)
    } else {
        explain::ships(request, &chosen, budget, ceiling, forecast.as_ref())
    };
    // Receipts that measured nothing forecast nothing, which is no number.
    let share = |f: fn(&Estimate) -> f64| {
        let x = forecast.as_ref().map(|e| ceiling * f(e));
        x.filter(|x| *x > 0.0).map(|x| round_to(x, 2))
    };
    let predicted = match forecast {
        Some(_) => share(|e| e.centre),
        None => Some(round_to(ceiling, 2)),
    };
    Ok(Plan {
        verdict: if ram_short || too_slow {
            Verdict::Refuse
        } else {
            Verdict::Ship
        },
        llama_flags: Some(flags(&chosen.placement, &request.assumptions)),
        ram_used_mib: Some(round_to(as_mib(ram_needed), 1)),
        ceiling_decode_tok_s: Some(round_to(ceiling, 2)),
        predicted_decode_tok_s: predicted,
        predicted_band_low_tok_s: share(|e| e.low),
        predicted_band_high_tok_s: share(|e| e.high),
        calibration_n_samples: Some(forecast.as_ref().map_or(0, |e| e.samples)),
        throughput_basis: Some(explain::throughput_basis(request, &chosen)),
        calibration_basis: Some(explain::calibration_basis(request, forecast.as_ref())),
        message: Some(message),
        ..base
    })
}

/// The smallest number of layers' experts in RAM that fits, or all of them when none does.
fn choose(request: &PlanRequest<'_>, budget: f64) -> Candidate {
    if let Some(n) = request.forced_n {
        return Candidate::new(request, Placement { n_cpu_moe: n });
    }
    // More layers on the host never need more VRAM, so the first that fits is found by halving.
    let at = |on_host| Candidate::new(request, request.footprint.placement(on_host));
    let (mut low, mut high) = (0, request.footprint.moe_layers());
    while low < high {
        let middle = low + (high - low) / 2;
        if at(middle).needed <= budget {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    at(low)
}

fn flags(placement: &Placement, assumptions: &Assumptions) -> String {
    let ctx = assumptions.ctx_len.unwrap_or(0);
    format!(
        "-ngl 99 --n-cpu-moe {} -c {ctx} -fa on",
        placement.n_cpu_moe
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{ClosedForm, ClosedFormSetting};
    use super::*;
    use crate::document::{Expert, Gpu, Hardware, Memory, Model};

    fn model(layers: u64, per_layer: u64, resident: u64) -> Model {
        Model {
            name: "m".into(),
            architecture: Some("moe".into()),
            total_params: Some(layers * per_layer + resident),
            n_layers: Some(layers),
            expert: Expert {
                is_moe: true,
                num_experts: Some(8),
                experts_per_token: Some(2),
                shared_params: None,
                expert_params_each: Some(per_layer / 8),
            },
            expert_params_total: Some(layers * per_layer),
            non_expert_params: Some(resident),
            n_moe_layers: Some(layers),
            ..Model::default()
        }
    }

    fn rig(vram_mib: f64, ram_gib: f64) -> Hardware {
        Hardware {
            gpu: Gpu {
                vram_total_mib: Some(vram_mib),
                ..Gpu::default()
            },
            platform: None,
            bandwidth: crate::document::Bandwidth::default(),
            memory: Some(Memory {
                ram_total_gib: Some(ram_gib),
                ..Memory::default()
            }),
        }
    }

    struct Case {
        model: Model,
        hardware: Hardware,
        kv: u64,
        floor: f64,
        forced: Option<u64>,
    }

    fn planned(case: &Case) -> Plan {
        let setting = ClosedFormSetting {
            expert_bpw: 0.6,
            non_expert_bpw: 0.6,
            kv_bytes: case.kv.into(),
            kv_read_bytes: case.kv.into(),
        };
        let footprint = ClosedForm::new(&case.model, setting).unwrap();
        let bandwidths = Bandwidths::resolve(&case.hardware, None, None).unwrap();
        let points = crate::calibration::seed();
        plan(&PlanRequest {
            model: "m",
            footprint: &footprint,
            rig: RigView::new(&case.hardware),
            bandwidths: &bandwidths,
            margin: 1073741824.0,
            floor: case.floor,
            forced_n: case.forced,
            points: Some(&points),
            assumptions: Assumptions {
                ctx_len: Some(4096),
                ..Assumptions::default()
            },
        })
        .unwrap()
    }

    fn qwen() -> Case {
        Case {
            model: model(48, 603_979_776, 1_540_882_432),
            hardware: rig(12282.0, 64.0),
            kv: 402_653_184,
            floor: 1.0,
            forced: None,
        }
    }

    #[test]
    fn the_smallest_n_that_fits_is_chosen_and_one_less_does_not_fit() {
        let chosen = planned(&qwen());
        let n = chosen.n_cpu_moe.unwrap();
        assert!(chosen.fits && n > 0 && n < 48, "{n}");
        assert!(
            !planned(&Case {
                forced: Some(n - 1),
                ..qwen()
            })
            .fits
        );
        assert!(
            planned(&Case {
                forced: Some(n),
                ..qwen()
            })
            .fits
        );
    }

    #[test]
    fn a_refusal_says_what_was_expected_why_and_what_would_help() {
        let vram = planned(&Case {
            hardware: rig(2000.0, 64.0),
            ..qwen()
        });
        assert_eq!(
            (vram.fits, vram.verdict, &vram.llama_flags),
            (false, Verdict::Refuse, &None)
        );
        assert_eq!(vram.n_cpu_moe, Some(48));
        let ram = planned(&Case {
            hardware: rig(8000.0, 4.0),
            ..qwen()
        });
        assert_eq!((ram.fits, ram.verdict), (true, Verdict::Refuse));
        let slow = planned(&Case {
            floor: 500.0,
            ..qwen()
        });
        assert_eq!((slow.fits, slow.verdict), (true, Verdict::Refuse));
        for (refusal, why) in [
            (vram, "MiB"),
            (ram, "GiB are available"),
            (slow, "under the floor"),
        ] {
            let message = refusal.message.unwrap();
            for part in ["was expected to", why, "What would help"] {
                assert!(message.contains(part), "{part:?} in {message}");
            }
        }
    }

    #[test]
    fn what_the_message_suggests_really_helps() {
        // A third of the shortage is the cache: the suggested context must fit when planned.
        let case = Case {
            hardware: rig(2500.0, 64.0),
            kv: 2 << 30,
            ..qwen()
        };
        let message = planned(&case).message.unwrap();
        let ctx: u64 = message
            .split("a context of at most ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or_else(|| panic!("{message}"))
            .parse()
            .unwrap();
        let smaller = Case {
            kv: (2 << 30) / 4096 * ctx,
            ..case
        };
        assert!(planned(&smaller).fits, "{message}");
        let larger = Case {
            kv: (2 << 30) / 4096 * (ctx + 512),
            ..smaller
        };
        assert!(!planned(&larger).fits, "{message}");
    }

    proptest! {
        #[test]
        fn never_over_budget_and_monotone_in_vram(
            layers in 1u64..200,
            per_layer in 1u64..4_000_000_000,
            resident in 1u64..40_000_000_000,
            kv in 0u64..(64 << 30),
            vram in 1u64..200_000,
            more in 0u64..50_000,
        ) {
            let case = Case {
                model: model(layers, per_layer, resident),
                hardware: rig(vram as f64, 2048.0),
                kv,
                floor: 0.0,
                forced: None,
            };
            let small = planned(&case);
            let large = planned(&Case { hardware: rig((vram + more) as f64, 2048.0), ..case });
            if small.fits {
                prop_assert!(small.vram_used_mib.unwrap() <= vram as f64 + 0.05);
                prop_assert!(large.fits);
                prop_assert!(large.n_cpu_moe <= small.n_cpu_moe);
                prop_assert!(large.ceiling_decode_tok_s >= small.ceiling_decode_tok_s);
            } else {
                prop_assert_eq!(small.n_cpu_moe, Some(layers));
                prop_assert_eq!(small.llama_flags, None);
            }
        }
    }
}
