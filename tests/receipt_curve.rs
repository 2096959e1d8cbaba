//! A run at several depths, what a receipt leaves behind for the next plan, and runs over time.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::plans::{config, plan as plan_of, profile, set};
use support::{Run, Tool};

fn receipt(plan: &Value) -> Tool {
    Tool::new("receipt")
        .file("plan.json", plan.to_string())
        .args(["--plan", "plan.json"])
}

fn points(run: &Run) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(run.path("cal"))
        .map(|dir| {
            dir.map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

/// A plan of Qwen3-30B-A3B on a 24 GB card that is known, for a context of 20,000.
fn planned() -> (Value, Value) {
    let gpu = json!({"name": "NVIDIA GeForce RTX 4090", "vram_total_mib": 24564,
                     "vram_free_mib": 23900, "driver_version": "580.82.09",
                     "compute_capability": "8.9"});
    let rig = set(
        set(profile(), "/hardware/gpu", gpu),
        "/hardware/bandwidth/vram_gbps",
        1008.0,
    );
    let plan = plan_of(&rig, &config(), &["--ctx", "20000"]).json();
    (rig, plan)
}

/// A decode row of llama-bench at this depth, five runs of it.
fn at_depth(depth: u64, rate: f64) -> Value {
    let samples: Vec<f64> = [0.99, 1.0, 1.01, 0.995, 1.005].map(|x| x * rate).into();
    json!({"build_commit": "abc1234", "build_number": 7000, "n_prompt": 0, "n_gen": 128,
           "n_depth": depth, "avg_ts": rate, "stddev_ts": rate * 0.008, "samples_ts": samples,
           "n_cpu_moe": 0, "n_gpu_layers": 99, "type_k": "f16", "type_v": "f16", "n_ubatch": 512,
           "flash_attn": true, "gpu_info": "NVIDIA GeForce RTX 4090",
           "model_filename": "m.gguf", "model_n_params": 30_532_122_624_u64,
           "model_size": 18_556_684_288_u64})
}

const RATES: [(u64, f64); 3] = [(0, 190.0), (4096, 165.0), (16384, 118.0)];

/// A receipt of a sweep over three depths; the same rows are in one file and in two.
fn sweep(rig: &Value, plan: &Value) -> Tool {
    let rows: Vec<Value> = RATES.iter().map(|(d, r)| at_depth(*d, *r)).collect();
    let prefill = json!({"n_prompt": 512, "n_gen": 0, "n_depth": 4096, "avg_ts": 4000.0,
                         "n_cpu_moe": 0, "build_commit": "abc1234", "build_number": 7000,
                         "model_filename": "m.gguf"});
    let one = Value::from([rows.clone(), vec![prefill]].concat());
    let peaks = json!({"samples": 9, "peak_gpu_temp_c": 71.0, "peak_gpu_power_pct": 88.5,
                       "peak_gpu_vram_used_mib": 20000.0});
    receipt(plan)
        .file("rig.json", rig.to_string())
        .file("bench.json", one.to_string())
        .file("a.json", rows[0].to_string())
        .file("b.jsonl", format!("{}\n{}", rows[1], rows[2]))
        .file("peaks.json", peaks.to_string())
}

/// The sweep as one benchmark that leaves a point.
fn recorded(rig: &Value, plan: &Value) -> Run {
    sweep(rig, plan)
        .args(["--bench", "bench.json", "--peaks", "peaks.json"])
        .args(["--profile", "rig.json", "--calibration-dir", "cal"])
        .args(["--model-name", "M", "--created", "2026-06-05"])
        .run()
        .expect_status(0)
}

#[test]
fn several_depths_are_a_curve() {
    let (rig, plan) = planned();
    let run = recorded(&rig, &plan);
    let r = run.json();
    let curve = r["depth_curve"].as_array().unwrap();
    let number =
        |row: &Value, key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key}: {row}"));
    for ((depth, rate), row) in RATES.iter().zip(curve) {
        assert_eq!(row["depth"], *depth);
        assert_eq!(row["measured_decode_tok_s"], *rate);
        assert_eq!(row["measured_samples"], 5);
        assert!(number(row, "ceiling_decode_tok_s") > number(row, "predicted_decode_tok_s"));
        let error = 100.0 * (rate / number(row, "predicted_decode_tok_s") - 1.0);
        assert!(
            (number(row, "decode_error_pct") - error).abs() < 0.06,
            "{row}"
        );
    }
    assert_eq!(curve[1]["measured_prefill_tok_s"], 4000.0);
    for pair in curve.windows(2) {
        for key in ["ceiling_decode_tok_s", "predicted_decode_tok_s"] {
            assert!(number(&pair[0], key) > number(&pair[1], key), "{key}");
        }
    }
    // The receipt is by the shallowest, and compares at that depth.
    assert_eq!(r["measured_depth"], 0);
    for key in [
        "ceiling_decode_tok_s",
        "predicted_decode_tok_s",
        "decode_error_pct",
    ] {
        assert_eq!(r[key], curve[0][key], "{key}");
    }
    assert!(number(&r, "predicted_decode_tok_s") > number(&plan, "predicted_decode_tok_s"));
    assert!(run.stderr.contains("165.0 ± 1.3"), "{}", run.stderr);
    assert!(run.stderr.contains("   16384  "), "{}", run.stderr);
    // What the watchdog saw used is the VRAM of the run.
    assert_eq!(r["measured_vram_used_mib"], 20000.0);
    assert!(number(&r, "vram_error_pct").abs() < 30.0, "{r}");

    // Two files are the same curve.
    let two = sweep(&rig, &plan)
        .args(["--bench", "a.json", "b.jsonl"])
        .run()
        .expect_status(0)
        .json();
    for (a, b) in curve.iter().zip(two["depth_curve"].as_array().unwrap()) {
        assert_eq!(a["predicted_decode_tok_s"], b["predicted_decode_tok_s"]);
    }
    // The plan's own depth is judged by the plan's own numbers.
    let (_, plan) = planned();
    let own = receipt(&plan)
        .file("d.json", json!([at_depth(20000, 100.0)]).to_string())
        .args(["--bench", "d.json"])
        .run()
        .json();
    assert_eq!(
        own["predicted_decode_tok_s"],
        plan["predicted_decode_tok_s"]
    );
    assert_eq!(own["depth_curve"], Value::Null);
}

#[test]
fn each_depth_is_evidence_for_the_next_plan() {
    let (rig, plan) = planned();
    let run = recorded(&rig, &plan);
    // One point for each depth, with all that a fit needs, and the next plan takes them.
    assert_eq!(points(&run), ["2026-06-05_M_n0.json"]);
    let bytes = fs::read(run.path("cal/2026-06-05_M_n0.json")).unwrap();
    let stored = gpuc_core::calibration::points_in(&bytes).points;
    assert_eq!(stored.len(), 3);
    let p = &stored[2];
    assert_eq!(
        (p.schema_version, p.run_points, p.depth),
        (Some(2), Some(3), Some(16384))
    );
    assert_eq!(
        (p.samples, p.gpu_temp_c, p.gpu_power_pct),
        (Some(5), Some(71.0), Some(88.5))
    );
    assert_eq!(p.driver.as_deref(), Some("580.82.09"));
    assert_eq!(p.gpu.as_deref(), Some("NVIDIA GeForce RTX 4090"));
    assert_eq!(p.compute_capability.as_deref(), Some("8.9"));
    assert_eq!(p.build.as_deref(), Some("abc1234 (7000)"));
    assert_eq!((p.ubatch, p.flash_attn), (Some(512), Some(true)));
    assert_eq!(
        (p.cache_type_k.as_deref(), p.cache_type_v.as_deref()),
        (Some("f16"), Some("f16"))
    );
    assert_eq!(
        (p.n_params, p.model_bytes),
        (Some(30_532_122_624), Some(18_556_684_288))
    );
    assert!(p.decode_work.unwrap().cache_bytes > stored[1].decode_work.unwrap().cache_bytes);
    let cal = run.path("cal");
    let next = plan_of(
        &rig,
        &config(),
        &["--ctx", "20000", "--calibration-dir", cal.to_str().unwrap()],
    );
    let basis = next.json()["calibration_basis"].to_string();
    assert!(basis.contains("1 receipt(s) of this rig"), "{basis}");
}

#[test]
fn a_deeper_run_above_its_own_ceiling_is_seen() {
    let (_, plan) = planned();
    let verdict = |deep: f64, spread: f64| {
        let mut row = at_depth(16384, deep);
        row["stddev_ts"] = json!(spread);
        let rows = json!([at_depth(0, 190.0), row]);
        receipt(&plan)
            .file("b.json", rows.to_string())
            .args(["--bench", "b.json"])
            .run()
    };
    let of = verdict(118.0, 1.0).json();
    let ceiling = of["depth_curve"][1]["ceiling_decode_tok_s"]
        .as_f64()
        .unwrap();
    let r = verdict(ceiling * 1.05, 1.0).expect_status(4);
    assert!(r.stderr.contains("at depth 16384"), "{}", r.stderr);
    verdict(ceiling * 1.05, ceiling * 0.1).expect_status(0);
}

#[test]
fn a_run_of_another_model_or_quantisation_is_said_and_kept_out() {
    let (_, plan) = planned();
    for (key, value, said) in [
        ("model_n_params", json!(20_914_757_184_u64), "another model"),
        (
            "model_size",
            json!(32_483_931_648_u64),
            "another quantisation",
        ),
    ] {
        let mut row = at_depth(0, 190.0);
        row[key] = value;
        let run = receipt(&plan)
            .file("b.json", json!([row]).to_string())
            .args([
                "--bench",
                "b.json",
                "--calibration-dir",
                "cal",
                "--model-name",
                "M",
            ])
            .run();
        assert!(run.stderr.contains(said), "{}", run.stderr);
        assert_eq!(points(&run), [""; 0], "{said}");
    }
    let mut row = at_depth(0, 190.0);
    for (key, value) in [
        ("gpu_info", json!("NVIDIA GeForce RTX 3090")),
        ("n_ubatch", json!(2048)),
        ("flash_attn", json!(false)),
        ("type_k", json!("q8_0")),
        ("n_gpu_layers", json!(20)),
    ] {
        row[key] = value;
    }
    let run = receipt(&plan)
        .file("b.json", json!([row]).to_string())
        .args(["--bench", "b.json"])
        .run();
    for said in [
        "RTX 3090",
        "-ub 2048",
        "flash attention off",
        "q8_0/f16",
        "-ngl 20",
    ] {
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
}

#[test]
fn the_history_names_drift_and_old_points_count() {
    let old = json!({"model": "M", "n_cpu_moe": 12, "n_moe_layers": 48, "ceiling_tok_s": 56.2,
                     "measured_tok_s": 30.0, "created": "2026-01-01"});
    let with = |created: &str, rate: f64, more: Value| {
        let mut p = old.clone();
        p["created"] = json!(created);
        p["measured_tok_s"] = json!(rate);
        for (key, value) in more.as_object().unwrap() {
            p[key] = value.clone();
        }
        p
    };
    let now = json!({"schema_version": 2, "driver": "550.54", "gpu_temp_c": 64.0, "build": "b1"});
    let warm = json!({"schema_version": 2, "driver": "550.54", "gpu_temp_c": 83.0, "build": "b1"});
    let later = json!({"schema_version": 9, "driver": "580.82", "gpu_temp_c": 65.0, "build": "b1",
                       "something": {"new": true}});
    let run = Tool::new("receipt")
        .file("cal/a.json", old.to_string())
        .file(
            "cal/b.json",
            json!([
                with("2026-02-01", 30.3, now.clone()),
                with("2026-03-01", 29.8, now)
            ])
            .to_string(),
        )
        .file("cal/c.json", with("2026-04-01", 25.0, warm).to_string())
        .file("cal/d.json", with("2026-05-01", 31.0, later).to_string())
        .file("cal/e.json", "no point")
        .args(["--history", "cal"])
        .run()
        .expect_status(0);
    let h = run.json();
    assert_eq!(
        (h["rows"].as_array().unwrap().len(), &h["drifted"]),
        (5, &json!(2))
    );
    let drift = |i: usize| h["rows"][i]["drift"].as_str().unwrap_or("none").to_owned();
    assert_eq!([drift(0), drift(1), drift(2)], ["none", "none", "none"]);
    assert!(drift(3).contains("at 83 °C instead of 64"), "{}", drift(3));
    assert!(
        drift(4).contains("the driver went from 550.54 to 580.82"),
        "{}",
        drift(4)
    );
    assert!(run.stderr.contains("noise %"), "{}", run.stderr);
    assert!(
        run.stderr
            .lines()
            .any(|l| l.starts_with("2026-04-01") && l.contains("83 °C"))
    );
}
