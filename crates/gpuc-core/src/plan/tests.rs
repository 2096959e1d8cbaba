//! Properties of the planner on models in closed form.

use proptest::prelude::*;

use super::*;
use crate::document::{Expert, Model, Plan, Verdict};
use crate::header::GgmlType;

struct Case {
    model: Model,
    vram_mib: f64,
    ram_gib: f64,
    wish: Wish,
}

pub(super) fn wish() -> Wish {
    Wish {
        name: "m".into(),
        ctx: 4096,
        depth: None,
        batch: 1,
        parallel: None,
        ubatch: 512,
        type_k: GgmlType::F16,
        type_v: GgmlType::F16,
        flash_attn: true,
        full_flags: false,
        margin_mib: 1024.0,
        floor: 1.0,
        search: Search::Layers,
        cpu_only: false,
        n_cpu_moe: None,
        gpu_layers: None,
        notes: Vec::new(),
    }
}

fn moe(layers: u64, per_layer: u64, resident: u64, kv_per_token: u64) -> Model {
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
        kv_bytes_per_token: Some(kv_per_token),
        expert_params_total: Some(layers * per_layer),
        non_expert_params: Some(resident),
        n_moe_layers: Some(layers),
        ..Model::default()
    }
}

fn dense(layers: u64, params: u64) -> Model {
    Model {
        name: "d".into(),
        architecture: Some("dense".into()),
        total_params: Some(params),
        non_expert_params: Some(params),
        n_layers: Some(layers),
        hidden_size: Some(4096),
        vocab_size: Some(128_256),
        kv_bytes_per_token: Some(4096 * layers),
        ..Model::default()
    }
}

fn qwen() -> Case {
    Case {
        model: moe(48, 603_979_776, 1_540_882_432, 98_304),
        vram_mib: 12282.0,
        ram_gib: 64.0,
        wish: wish(),
    }
}

fn problem<'a>(case: &'a Case, points: &'a [crate::document::Point]) -> Problem<'a> {
    let rate = |gbps| Rate {
        gbps,
        known: true,
        source: "given".into(),
        best: Best {
            gbps,
            source: "given".into(),
        },
        delivers: gbps,
        delivers_known: true,
    };
    Problem {
        subject: Subject::Config {
            model: &case.model,
            expert_bpw: 0.6,
            non_expert_bpw: 0.6,
            source: "closed-form",
        },
        rig: Rig {
            gpu: "g".into(),
            compute_capability: None,
            vram_mib: Some(case.vram_mib),
            ram: Ok(Some(case.ram_gib * 1_073_741_824.0)),
            bandwidths: Bandwidths {
                ram: rate(80.0),
                vram: rate(1790.0),
                card_known: false,
            },
        },
        wish: case.wish.clone(),
        points: Some(points),
    }
}

fn planned(case: &Case) -> Plan {
    let points = crate::calibration::seed();
    problem(case, &points).plan().unwrap()
}

#[test]
fn the_smallest_n_that_fits_is_chosen_and_one_less_does_not_fit() {
    let chosen = planned(&qwen());
    let n = chosen.n_cpu_moe.unwrap();
    assert!(chosen.fits && n > 0 && n < 48, "{n}");
    let forced = |n| {
        let mut case = qwen();
        case.wish.n_cpu_moe = Some(n);
        planned(&case)
    };
    assert!(!forced(n - 1).fits);
    assert!(forced(n).fits);
    assert_eq!(
        forced(n - 1).remedies[0].flags,
        Some(format!("--n-cpu-moe {n}"))
    );
}

#[test]
fn a_refusal_says_what_was_expected_why_and_what_would_help() {
    let vram = planned(&Case {
        vram_mib: 2000.0,
        ..qwen()
    });
    assert_eq!((vram.fits, vram.verdict), (false, Verdict::Refuse));
    assert_eq!((vram.n_cpu_moe, &vram.llama_flags), (Some(48), &None));
    let ram = planned(&Case {
        vram_mib: 8000.0,
        ram_gib: 4.0,
        ..qwen()
    });
    assert_eq!((ram.fits, ram.verdict), (true, Verdict::Refuse));
    let mut slow = qwen();
    slow.wish.floor = 500.0;
    let slow = planned(&slow);
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
        assert!(!refusal.remedies.is_empty(), "{message}");
    }
}

#[test]
fn a_dense_model_is_split_by_blocks() {
    let case = |vram_mib| Case {
        model: dense(32, 8_030_000_000),
        vram_mib,
        ..qwen()
    };
    let whole = planned(&case(24_000.0));
    assert_eq!((whole.verdict, whole.n_gpu_layers), (Verdict::Ship, None));
    assert_eq!(whole.n_cpu_moe, None);
    assert_eq!(whole.llama_flags.as_deref(), Some("-ngl 99 -c 4096 -fa on"));
    let part = planned(&case(4000.0));
    let k = part.n_gpu_layers.unwrap();
    assert!(part.fits && k > 0 && k < 33, "{k}");
    assert!(part.llama_flags.unwrap().starts_with(&format!("-ngl {k} ")));
    assert!(part.ceiling_decode_tok_s < whole.ceiling_decode_tok_s);
    let mut one_more = case(4000.0);
    one_more.wish.gpu_layers = Some(k + 1);
    assert!(!planned(&one_more).fits);
}

#[test]
fn the_cpu_alone_needs_no_vram() {
    for model in [qwen().model, dense(32, 8_030_000_000)] {
        let mut case = Case { model, ..qwen() };
        case.wish.cpu_only = true;
        let points = crate::calibration::seed();
        let mut alone = problem(&case, &points);
        alone.rig.vram_mib = None;
        let plan = alone.plan().unwrap();
        assert_eq!((plan.verdict, plan.n_gpu_layers), (Verdict::Ship, Some(0)));
        assert_eq!(plan.vram_used_mib, Some(0.0));
        assert!(plan.llama_flags.unwrap().starts_with("-ngl 0 "));
        assert_eq!(plan.memory_map[0].weights_bytes, 0);
    }
}

#[test]
fn the_frontier_holds_the_plan() {
    let (case, points) = (qwen(), crate::calibration::seed());
    let problem = problem(&case, &points);
    let plan = problem.plan().unwrap();
    let table = frontier(&problem).unwrap();
    let row = table
        .rows
        .iter()
        .find(|r| r.ctx == 4096 && r.cache_type == "f16" && r.n_cpu_moe == plan.n_cpu_moe)
        .unwrap();
    assert!(row.fits);
    assert_eq!(Some(row.vram_mib), plan.vram_used_mib);
    assert_eq!(Some(row.ceiling_decode_tok_s), plan.ceiling_decode_tok_s);
    assert_eq!(
        Some(row.predicted_decode_tok_s),
        plan.predicted_decode_tok_s
    );
    assert_eq!(table.rows.len(), 3 * 49);
}

/// The same problem with one remedy applied.
fn applied(case: &Case, remedy: &crate::document::Remedy) -> Case {
    let mut case = Case {
        model: case.model.clone(),
        wish: case.wish.clone(),
        ..*case
    };
    let words: Vec<&str> = remedy
        .flags
        .as_deref()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let number = || words.last().unwrap().parse::<u64>().unwrap();
    let first = |text: &str| text.split(' ').next().unwrap().parse::<f64>().unwrap();
    match remedy.kind.as_str() {
        "context" => case.wish.ctx = number(),
        "n-cpu-moe" => case.wish.n_cpu_moe = Some(number()),
        "cpu-only" => case.wish.cpu_only = true,
        "ram" => case.ram_gib += first(&remedy.change) + 1e-6,
        "vram" => case.vram_mib += first(&remedy.change),
        "vram-and-ram" => {
            let (vram, ram) = remedy.change.split_once(" and ").unwrap();
            case.vram_mib += first(vram);
            case.ram_gib += first(ram) + 1e-6;
        }
        "cache-type" => {
            let t = GgmlType::by_name(words.last().unwrap()).unwrap();
            (case.wish.type_k, case.wish.type_v) = (t, t);
        }
        other => panic!("{other}"),
    }
    case
}

proptest! {
    #[test]
    fn never_over_budget_and_monotone_in_vram(
        layers in 1u64..200,
        per_layer in 8u64..4_000_000_000,
        resident in 1u64..40_000_000_000,
        kv in 0u64..4_000_000,
        vram in 1u64..200_000,
        more in 0u64..50_000,
        is_dense: bool,
    ) {
        let model = if is_dense {
            dense(layers, resident)
        } else {
            moe(layers, per_layer, resident, kv)
        };
        let case = |vram_mib: u64| {
            let mut case = Case {
                model: model.clone(),
                vram_mib: vram_mib as f64,
                ram_gib: 1e6,
                wish: wish(),
            };
            case.wish.floor = 0.0;
            case
        };
        let (small, large) = (planned(&case(vram)), planned(&case(vram + more)));
        if small.fits {
            prop_assert!(small.vram_used_mib.unwrap() <= vram as f64 + 0.05);
            prop_assert!(large.fits);
            prop_assert!(large.n_cpu_moe <= small.n_cpu_moe);
            prop_assert!(large.ceiling_decode_tok_s >= small.ceiling_decode_tok_s);
        } else {
            prop_assert_eq!(small.llama_flags, None);
            prop_assert_eq!(small.n_cpu_moe, Some(layers));
        }
    }

    #[test]
    fn every_remedy_really_ships(
        layers in 1u64..80,
        per_layer in 8u64..2_000_000_000,
        resident in 1u64..20_000_000_000,
        kv in 0u64..2_000_000,
        vram in 1u64..30_000,
        ram in 1u64..64,
        ctx in 1u64..200_000,
        floor in 0.5f64..60.0,
    ) {
        let mut case = Case {
            model: moe(layers, per_layer, resident, kv),
            vram_mib: vram as f64,
            ram_gib: ram as f64,
            wish: wish(),
        };
        (case.wish.ctx, case.wish.floor) = (ctx, floor);
        let plan = planned(&case);
        for remedy in plan.remedies.iter().filter(|r| r.kind != "quant") {
            let mended = planned(&applied(&case, remedy));
            prop_assert_eq!(mended.verdict, Verdict::Ship, "{:?}: {:?}", remedy, mended.message);
        }
    }
}
