//! The shipped measurements, planned and proven: none beats its ceiling.

use proptest::prelude::*;

use super::*;
use crate::document::{Bandwidth, Gpu, Hardware, Memory, Model, Plan};
use crate::forecast::evidence::{Evidence, RECEIPTS, SHAPES, evidence, models};
use crate::model::quant;
use crate::receipt::{Measured, prove};

/// The plan of a measurement's rig and placement, but for a context and a depth of its own.
fn planned(row: &Evidence, model: &Model, ctx: u64, depth: Option<u64>, theoretical: bool) -> Plan {
    let ram = row.rates.ram / 1e9;
    let hardware = Hardware {
        gpu: Gpu::default(),
        gpus: None,
        platform: None,
        bandwidth: Bandwidth {
            vram_gbps: Some(row.rates.vram / 1e9),
            ..Bandwidth::default()
        },
        memory: Some(Memory {
            cpu_mem_bw_gbps: Some(ram),
            // What modules could deliver is at least a quarter more than what was measured.
            ram_theoretical_gbps: theoretical.then_some(1.25 * ram),
            ..Memory::default()
        }),
    };
    let widths = quant::weights(Some(&row.quant), 2.0, None).unwrap();
    let problem = Problem {
        subject: Subject::Config {
            model,
            expert_bpw: widths.expert,
            non_expert_bpw: widths.rest,
            source: "closed-form",
        },
        rig: Rig {
            gpu: row.gpu.clone(),
            compute_capability: None,
            vram_mib: Some(1e6),
            ram: Ok(None),
            bandwidths: Bandwidths::resolve(&hardware, None, None).unwrap(),
        },
        wish: Wish {
            ctx,
            depth,
            n_cpu_moe: Some(row.n_cpu_moe).filter(|_| model.expert.is_moe),
            ..super::tests::wish()
        },
        points: None,
    };
    problem.plan().unwrap()
}

/// The ceiling that a receipt of this row is held against.
fn ceiling(plan: &Plan, row: &Evidence) -> f64 {
    let measured = Measured {
        decode: Some(1.0 / row.seconds),
        depth: Some(row.depth),
        ..Measured::default()
    };
    prove(plan, &measured).ceiling_decode_tok_s.unwrap()
}

#[test]
fn no_measurement_beats_the_ceiling_at_its_depth() {
    let models = models(SHAPES);
    for row in evidence(RECEIPTS, SHAPES) {
        let mut model = models[&row.model].clone();
        model.quant = Some(row.quant.clone());
        for theoretical in [false, true] {
            let ctx = row.depth.max(512);
            let plan = planned(&row, &model, ctx, Some(row.depth), theoretical);
            let most = plan.ceiling_decode_tok_s.unwrap();
            assert!(1.0 / row.seconds < most, "{most} {row:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_ceiling_moves_to_the_measured_depth_from_any_other(
        index in any::<prop::sample::Index>(),
        ctx in 1_u64..200_000,
        depth in 0_u64..200_000,
    ) {
        let rows = evidence(RECEIPTS, SHAPES);
        let row = index.get(&rows);
        let mut model = models(SHAPES)[&row.model].clone();
        model.quant = Some(row.quant.clone());
        let direct = planned(row, &model, row.depth.max(512), Some(row.depth), false);
        let elsewhere = planned(row, &model, ctx, Some(depth), false);
        let (moved, at_once) = (ceiling(&elsewhere, row), ceiling(&direct, row));
        // Plans round their ceilings to hundredths.
        let doubt = |rate: f64| 0.006 / (rate * rate);
        let there = elsewhere.ceiling_decode_tok_s.unwrap();
        let off = 1.0 / moved - 1.0 / at_once;
        let most = doubt(there) + doubt(moved) + doubt(at_once);
        prop_assert!(off.abs() <= most, "{moved} {at_once}, planned {there}");
        prop_assert!(row.seconds + most > 1.0 / moved, "{moved} {row:?}");
    }
}
