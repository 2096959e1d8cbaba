//! Placements within a budget, against what llama.cpp's own `--fit` chose for it and the smallest
//! `--n-cpu-moe` that llama.cpp says fits.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use serde_json::{Value, json};
use support::{Tool, headers};

/// A budget of the record.
struct Case {
    model: String,
    ctx: String,
    budget: f64,
    /// What `--fit` put to use of it, MiB.
    fit_used: Option<f64>,
    /// The smallest N that fits, where one does.
    n: Option<u64>,
}

fn cases() -> Vec<Case> {
    let csv = std::fs::read_to_string(headers::folder().join("llama-cpp-fit.csv")).unwrap();
    let case = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        Case {
            model: cells[0].trim_end_matches(".gguf").into(),
            ctx: cells[1].into(),
            budget: cells[2].parse().unwrap(),
            fit_used: cells[3].parse().ok(),
            n: cells[5].parse().ok(),
        }
    };
    csv.lines().skip(1).map(case).collect()
}

/// The plan of `case` in 4 TiB of RAM, without a margin.
fn plan(case: &Case, placement: &str) -> Value {
    let rig = json!({
        "schema_version": "0.1.0", "created": "2026-10-01",
        "hardware": {
            "gpu": {"name": "card", "vram_total_mib": case.budget, "vram_free_mib": case.budget},
            "platform": {"os": "linux"},
            "memory": {"ram_total_gib": 4096.0, "cpu_mem_bw_gbps": 80.0},
        },
    });
    let tool = Tool::new("plan");
    let model = headers::model(tool.dir(), &case.model);
    tool.file("profile.json", rig.to_string())
        .args([
            "--profile",
            "profile.json",
            "--no-calibration",
            "--margin-mib",
            "0",
        ])
        .args(["--ctx", &case.ctx, "--placement", placement, "--model"])
        .arg(model)
        .run()
        .json()
}

#[test]
fn whole_layers_are_as_many_on_the_card_as_llama_cpp_says_fit() {
    let cases = cases();
    assert_eq!(cases.len(), 64);
    for case in &cases {
        let plan = plan(case, "layers");
        let at = format!("{} at {} in {} MiB", case.model, case.ctx, case.budget);
        if case.n.is_some() {
            assert_eq!(plan["n_cpu_moe"].as_u64(), case.n, "{at}");
        }
        assert!(
            plan["vram_used_mib"].as_f64().unwrap() <= case.budget,
            "{at}"
        );
    }
}

#[test]
fn single_tensors_fill_the_card_as_full_as_fit_does() {
    let mut beyond: Vec<f64> = Vec::new();
    for case in cases() {
        let (plan, Some(theirs)) = (plan(&case, "tensors"), case.fit_used) else {
            continue;
        };
        let used = plan["vram_used_mib"].as_f64().unwrap();
        assert!(used <= case.budget, "{} in {}", case.model, case.budget);
        beyond.push(used - theirs);
    }
    beyond.sort_by(f64::total_cmp);
    let median = beyond[beyond.len() / 2];
    let fuller = beyond.iter().filter(|off| **off >= -32.0).count();
    assert!(median >= 0.0 && fuller + 2 >= beyond.len(), "{beyond:?}");
}
