//! The forecast on a known card, and what the owner's receipts make of it, through the binaries.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod support;

use serde_json::{Value, json};
use support::Tool;
use support::plans::{config, plan, profile, set};

/// A 24 GB card of a known kind and bandwidth, its RAM measured.
fn known() -> Value {
    let p = set(
        profile(),
        "/hardware/gpu",
        json!({"name": "NVIDIA GeForce RTX 4090", "vram_total_mib": 24564, "vram_free_mib": 23900}),
    );
    set(p, "/hardware/bandwidth/vram_gbps", 1008.0)
}

fn number(document: &Value, key: &str) -> f64 {
    document[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key}: {}", document[key]))
}

#[track_caller]
fn planned(flags: &[&str]) -> Value {
    plan(&known(), &config(), flags).json()
}

#[test]
fn a_known_card_is_forecast_by_the_law_and_an_unknown_one_by_points() {
    let p = planned(&[]);
    let basis = p["calibration_basis"].as_str().unwrap();
    assert!(basis.contains("cuda ada"), "{basis}");
    assert!(number(&p, "calibration_n_samples") > 30.0);
    let unknown = plan(&profile(), &config(), &["--vram-bw", "1008"]).json();
    let basis = unknown["calibration_basis"].as_str().unwrap();
    assert!(basis.contains("receipt"), "{basis}");
    assert_eq!(unknown["decode_work"], Value::Null);
}

#[test]
fn a_depth_moves_the_ceiling_and_the_forecast_stays_beneath() {
    let mut last = f64::INFINITY;
    for depth in ["0", "4096", "32768"] {
        let p = planned(&["--ctx", "33000", "--depth", depth, "--n-cpu-moe", "12"]);
        let ceiling = number(&p, "ceiling_decode_tok_s");
        assert!(ceiling < last, "{depth}");
        last = ceiling;
        let (low, high) = (
            number(&p, "predicted_band_low_tok_s"),
            number(&p, "predicted_band_high_tok_s"),
        );
        let forecast = number(&p, "predicted_decode_tok_s");
        assert!(low < forecast && forecast < high && high <= ceiling, "{p}");
    }
}

#[test]
fn without_calibration_the_forecast_is_the_ceiling() {
    let p = planned(&["--no-calibration", "--depth", "0"]);
    assert_eq!(p["predicted_decode_tok_s"], p["ceiling_decode_tok_s"]);
    assert_eq!(p["predicted_band_low_tok_s"], Value::Null);
}

#[test]
fn one_receipt_moves_the_next_forecast_and_ten_settle_it() {
    for n in ["0", "24"] {
        let flags = [
            "--depth",
            "0",
            "--n-cpu-moe",
            n,
            "--calibration-dir",
            "store",
        ];
        let run = |store: &[(String, String)]| {
            let mut tool = Tool::new("plan")
                .file("p.json", known().to_string())
                .file("c.json", config().to_string());
            for (name, text) in store {
                tool = tool.file(&format!("store/{name}"), text);
            }
            tool.args(["--profile", "p.json", "--model-config", "c.json"])
                .args(flags)
                .run()
                .json()
        };
        let first = run(&[]);
        let truth = 0.6 * number(&first, "predicted_decode_tok_s");
        let mut store = Vec::new();
        for i in 0..10 {
            let measured = truth * (1.0 + 0.01 * f64::from(i % 3));
            let receipt = Tool::new("receipt")
                .file("plan.json", first.to_string())
                .args(["--plan", "plan.json", "--calibration-dir", "store"])
                .args(["--model-name", "m", "--created", "2026-10-02"])
                .args(["--decode-tok-s", &measured.to_string()])
                .run();
            let folder = std::fs::read_dir(receipt.dir.path().join("store")).unwrap();
            let file = folder.last().unwrap().unwrap().path();
            let text = std::fs::read_to_string(file).unwrap();
            store.push((format!("{i}.json"), text));
            let next = run(&store);
            let now = number(&next, "predicted_decode_tok_s");
            let (low, high) = (
                number(&next, "predicted_band_low_tok_s"),
                number(&next, "predicted_band_high_tok_s"),
            );
            assert!((now / truth - 1.0).abs() < 0.35, "{i}: {now} {truth}");
            if i >= 2 {
                assert!(low <= truth && truth <= high, "{i}: {low} {high} {truth}");
            }
            if i == 9 {
                assert!(high / now < 1.15 && low / now > 0.85, "{low} {now} {high}");
            }
        }
    }
}
