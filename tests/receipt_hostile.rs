//! Whatever bytes are handed to the receipt, it reads, judges or refuses; it never panics and
//! never takes longer than the input is long.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use gpuc_core::document::Plan;
use gpuc_core::receipt::{
    Bench, Envelope, Identity, Surroundings, Wanted, checked_plan, file_name, fold_peaks, measure,
    points, prove, verdict,
};
use proptest::prelude::*;

fn fixtures() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bench");
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    names.sort();
    names.iter().map(|p| fs::read(p).unwrap()).collect()
}

const PLAN: &str = r#"{"fits": true, "verdict": "ship", "n_cpu_moe": 0, "n_moe_layers": 4,
    "ceiling_decode_tok_s": 56.2, "predicted_decode_tok_s": 33.7,
    "predicted_band_low_tok_s": 25, "predicted_band_high_tok_s": 42,
    "llama_flags": "-ngl 99 -fa on", "footprint_source": "gguf",
    "decode_work": {"device_weight_bytes": 1.8e9, "cache_bytes": 5e8, "expert_blocks": 4},
    "cache_growth": [{"bytes_per_token": 98304, "window": 1024}, {"bytes_per_token": 20000}],
    "memory_map": [{"device": "RTX 4090", "weights_bytes": 90000000}],
    "assumptions": {"kv_dtype": "f16", "depth": 4096, "ctx_len": 8192, "vram_bw_gbps": 1008,
                    "cpu_mem_bw_gbps": 60}}"#;

/// Everything that is decided between the files and the receipt.
fn judge(plan: &Plan, bench: &[u8], peaks: &[u8]) {
    for depth in [None, Some(u64::MAX)] {
        let Ok(measured) = measure(&Bench::read(bench), &Wanted::of(plan, depth)) else {
            continue;
        };
        let mut receipt = prove(plan, &measured);
        if let Some(envelope) = Envelope::read(peaks, &mut Vec::new()) {
            fold_peaks(&mut receipt, &envelope);
        }
        verdict(plan, &measured);
        let text = gpuc_core::json::write(&receipt).unwrap();
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        let who = Identity::default();
        for point in points(plan, &measured, &who, Surroundings::default()).unwrap_or_default() {
            assert!(!file_name(&point, 1).contains(['/', '\\']));
        }
    }
}

fn mutated(bytes: &[u8], edits: &[(usize, u8)]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for (at, byte) in edits {
        let at = at % out.len().max(1);
        match byte % 4 {
            0 if !out.is_empty() => {
                out.remove(at);
            }
            1 => out.insert(at.min(out.len()), *byte),
            2 => out.truncate(at.max(out.len() / 2)),
            _ => {
                if let Some(b) = out.get_mut(at) {
                    *b = *byte;
                }
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let plan = checked_plan(PLAN.as_bytes(), "plan").unwrap();
        judge(&plan, &bytes, &bytes);
        if let Ok(plan) = checked_plan(&bytes, "plan") {
            judge(&plan, b"[{\"test\": \"tg1\", \"avg_ts\": 3}]", b"{}");
        }
    }

    #[test]
    fn damaged_benchmarks_are_survived(
        which in 0usize..12,
        edits in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8),
    ) {
        let all = fixtures();
        let bytes = mutated(&all[which % all.len()], &edits);
        let plan = checked_plan(PLAN.as_bytes(), "plan").unwrap();
        judge(&plan, &bytes, b"{\"samples\": 3}");
    }

    #[test]
    fn damaged_plans_are_survived(
        edits in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        if let Ok(plan) = checked_plan(&mutated(PLAN.as_bytes(), &edits), "plan") {
            judge(&plan, b"[{\"n_prompt\": 0, \"n_gen\": 8, \"avg_ts\": 1e308}]", b"{}");
        }
    }

    #[test]
    fn damaged_peaks_are_survived(
        edits in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        let peaks = br#"{"samples": 12, "peak_gpu_power_pct": 41.2, "peak_gpu_temp_c": 61.0,
            "peak_host_mem_pct": 1e300, "stayed_within_envelope": true}"#;
        let plan = checked_plan(PLAN.as_bytes(), "plan").unwrap();
        judge(&plan, b"[{\"test\": \"tg1\", \"avg_ts\": 3}]", &mutated(peaks, &edits));
    }
}

#[test]
fn hostile_benchmarks_take_linear_time() {
    // Each of these would take hours if any of the readers were quadratic.
    let units = [
        "[",
        "{\"a\":",
        "{\"a\":[",
        "[\"",
        "[[],",
        "\"",
        "'",
        "(",
        "|",
        "| test | t/s |\n",
        "INSERT INTO t (",
        "n_prompt,n_gen,avg_ts\n",
        "\\",
        "llamacpp:x{",
        "[1,",
        "\n",
        "{\"n_prompt\":0,\"n_gen\":8,\"avg_ts\":1},",
    ];
    let plan = checked_plan(PLAN.as_bytes(), "plan").unwrap();
    for unit in units {
        let text = unit.repeat(1_000_000 / unit.len());
        judge(&plan, text.as_bytes(), b"");
        // All in one array, and all in one statement or line.
        judge(&plan, format!("[{text}").as_bytes(), b"");
        judge(
            &plan,
            format!("insert into t (a) values {text}").as_bytes(),
            b"",
        );
    }
}
