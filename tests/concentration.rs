//! `gpu-container-concentration` end to end: verdicts, statuses, and what it refuses.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fmt::Write as _;

use serde_json::{Value, json};
use support::gguf::{self, Tensor};
use support::headers;
use support::{Run, Tool};

fn trace(layers: &Value) -> Value {
    json!({
        "model": "m", "num_experts": 4, "experts_per_token": 2, "n_tokens": 50, "layers": layers,
    })
}

fn skewed() -> String {
    trace(&json!([{"layer_index": 0, "expert_counts": [97, 1, 1, 1]}])).to_string()
}

fn even() -> String {
    trace(&json!([{"layer_index": 0, "expert_counts": [25, 25, 25, 25]}])).to_string()
}

fn run_trace(bytes: impl AsRef<[u8]>) -> Run {
    Tool::new("concentration")
        .file("t.json", bytes)
        .args(["--trace", "t.json"])
        .run()
}

fn run_imatrix(bytes: impl AsRef<[u8]>) -> Run {
    Tool::new("concentration")
        .file("i.gguf", bytes)
        .args(["--imatrix", "i.gguf"])
        .run()
}

/// The trace with `key` set to `value`.
fn with(key: &str, value: Value) -> String {
    let mut t: Value = serde_json::from_str(&even()).unwrap();
    t[key] = value;
    t.to_string()
}

#[test]
fn the_verdict_is_the_status() {
    let run = run_trace(skewed()).expect_status(5);
    let report = run.json();
    assert_eq!(report["cache_helps"], true);
    assert_eq!(report["hot_frac_for_coverage"], 0.25);
    assert_eq!(report["per_layer"][0]["total_mass"], 100);
    assert!(
        run.stderr.starts_with("m: a per-expert cache could help"),
        "{}",
        run.stderr
    );
    let run = run_trace(even()).expect_status(0);
    assert_eq!(run.json()["cache_helps"], false);
    assert!(run.stderr.contains("not justified"), "{}", run.stderr);
}

#[test]
fn flags_move_the_line() {
    let cases = [
        (&["--threshold", "0.25"][..], 0),
        (&["--threshold", "0.26"][..], 5),
        (&["--coverage", "0.98"][..], 0),
        (&["--coverage", "0.98", "--coverage", "0.97"][..], 5),
        (&["--coverage", "2"][..], 0),
        (&["--topk", "0"][..], 5),
        (&["--model-name", "other"][..], 5),
    ];
    for (flags, status) in cases {
        let tool = Tool::new("concentration")
            .args(["--trace", "-"])
            .args(flags);
        let run = tool.stdin(skewed()).run().expect_status(status);
        assert_eq!(run.json()["model"], "m", "a trace names its own model");
    }
}

#[test]
fn the_report_goes_to_a_file_whole_or_not_at_all() {
    let tool = || Tool::new("concentration").file("t.json", skewed());
    let run = tool()
        .args(["--trace", "t.json", "-o", "r.json"])
        .run()
        .expect_status(5);
    assert!(run.stdout.is_empty() && run.stderr.contains("wrote r.json"));
    let report: Value =
        serde_json::from_slice(&std::fs::read(run.path("r.json")).unwrap()).unwrap();
    assert_eq!(report["cache_helps"], true);
    tool()
        .args(["--trace", "t.json", "-o", "no/r.json"])
        .run()
        .expect_error("IO_WRITE_FAILED");
}

#[test]
fn usage_errors_end_with_2() {
    let cases: [&[&str]; 13] = [
        &[],
        &["--trace", "t.json", "--imatrix", "i.gguf"],
        &["--trace", "t.json", "--topk", "x"],
        &["--trace", "t.json", "--topk=-3"],
        &["--trace", "t.json", "--topk", "2.0"],
        &["--trace", "t.json", "--topk", "1_0"],
        &["--trace", "t.json", "--topk", "99999999999999999999"],
        &["--trace", "t.json", "--coverage", "most"],
        &["--trace", "t.json", "--coverage=-1"],
        &["--trace", "t.json", "--coverage", "nan"],
        &["--trace", "t.json", "--threshold=-0.5"],
        &["--trace", "t.json", "--threshold", "inf"],
        &["--trac", "t.json"],
    ];
    for args in cases {
        let tool = Tool::new("concentration").file("t.json", skewed());
        tool.args(args).run().expect_error("INPUT_USAGE");
    }
}

#[test]
fn what_is_no_trace_prints_no_report() {
    let documents = [
        String::new(),
        "[]".into(),
        "null".into(),
        "5".into(),
        "\"x\"".into(),
        skewed() + " more",
        // Python's JSON: NaN, infinities, lone surrogates, nesting without end.
        skewed().replace("97", "NaN"),
        skewed().replace("97", "1e400"),
        skewed().replace("\"m\"", r#""\ud800""#),
        format!("{{\"x\":{}", "[".repeat(5000)),
        with("num_experts", Value::Null),
        with("num_experts", json!("4")),
        with("num_experts", json!(true)),
        with("num_experts", json!(-4)),
        with("num_experts", json!(4.5)),
        skewed().replace(
            "\"num_experts\":4",
            "\"num_experts\":123456789012345678901234567890",
        ),
        with("n_tokens", json!("50")),
        with("model", json!(["m"])),
        with("layers", json!(7)),
        with("layers", json!([{"expert_counts": [3, null]}])),
        with("layers", json!([{"expert_counts": [3, -1]}])),
        with("layers", json!([{"expert_counts": [3, true]}])),
        with("layers", json!([{"expert_counts": ["3", " 1 "]}])),
        with("layers", json!([{"expert_counts": "123"}])),
    ];
    for text in documents {
        let run = run_trace(&text);
        assert_eq!(run.code(), Some("IO_TRACE_UNREADABLE"), "{text:.80}");
        run.expect_error("IO_TRACE_UNREADABLE");
    }
    run_trace(b"{\"model\": \"\xff\"}").expect_error("IO_TRACE_UNREADABLE");
    for key in ["model", "num_experts", "experts_per_token", "n_tokens"] {
        let mut t: Value = serde_json::from_str(&even()).unwrap();
        t.as_object_mut().unwrap().remove(key);
        run_trace(t.to_string()).expect_error("IO_TRACE_UNREADABLE");
    }
    let tool = || Tool::new("concentration").file("d/x", "").arg("--trace");
    tool()
        .arg("nope.json")
        .run()
        .expect_error("IO_TRACE_UNREADABLE");
    tool().arg("d").run().expect_error("IO_TRACE_UNREADABLE");
}

#[cfg(unix)]
#[test]
fn an_endless_input_is_given_up() {
    for flag in ["--trace", "--imatrix"] {
        let run = Tool::new("concentration").args([flag, "/dev/zero"]).run();
        assert_eq!(run.status, 2, "{}", run.stderr);
    }
}

#[test]
fn an_imatrix_is_read_where_its_counts_lie() {
    let file = gguf::file(&[
        Tensor::f32("blk.3.ffn_down_exps.weight.in_sum2", &[0.5; 40]),
        Tensor::counts(3, &[800.0, 100.0, 50.0, 50.0]),
        Tensor::counts(1, &[970.0, 10.0, 10.0, 10.0]),
        Tensor::f32("blk.0.attn_q.weight.counts", &[7.0]),
    ]);
    let run = Tool::new("concentration")
        .file("i.gguf", file)
        .args(["--imatrix", "i.gguf", "--topk", "3", "--model-name", "tiny"])
        .run()
        .expect_status(5);
    let r = run.json();
    assert_eq!(
        (&r["model"], &r["num_experts"], &r["n_tokens"]),
        (&json!("tiny"), &json!(4), &json!(333))
    );
    assert_eq!(r["hot_frac_for_coverage"], 0.375);
    let layers: Vec<_> = r["per_layer"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["layer_index"])
        .collect();
    assert_eq!(layers, [1, 3]);
}

#[test]
fn llama_imatrix_s_own_files() {
    // Recorded with llama.cpp on a tiny random MoE model (16 experts, 4 blocks, near-even routing).
    let report = run_imatrix(include_bytes!("data/imatrix-micro.gguf"))
        .expect_status(0)
        .json();
    assert_eq!(
        (&report["model"], &report["num_experts"]),
        (&json!("model"), &json!(16))
    );
    assert_eq!(
        (&report["n_layers"], &report["n_tokens"]),
        (&json!(4), &json!(5120))
    );
    assert_eq!(report["hot_frac_for_coverage"], 0.8125);
    let score = report["concentration_score"].as_f64().unwrap();
    assert!((score - 0.038_504_194_698_451_37).abs() < 1e-12, "{score}");

    let run = run_imatrix(include_bytes!("data/imatrix-micro.dat"));
    assert!(run.stderr.contains(".dat"), "{}", run.stderr);
    assert!(
        run.stderr.contains("hint: run llama-imatrix"),
        "{}",
        run.stderr
    );
    run.expect_error("INPUT_BAD_IMATRIX");
}

#[test]
fn what_is_no_imatrix_is_refused() {
    let good = gguf::file(&[
        Tensor::counts(0, &[9.0, 1.0]),
        Tensor::counts(1, &[9.0, 1.0]),
    ]);
    run_imatrix(&good).expect_status(0);
    // However it is cut, it is refused the same way.
    for n in (0..good.len() - 32).step_by(3) {
        run_imatrix(&good[..n]).expect_error("INPUT_BAD_IMATRIX");
    }
    let huge = |at: usize| {
        let mut bytes = good.clone();
        bytes[at..at + 8].copy_from_slice(&(1u64 << 56).to_le_bytes());
        bytes
    };
    let version = |v: u32| [&good[..4], &v.to_le_bytes(), &good[8..]].concat();
    let bad = [
        huge(8),
        huge(16),
        version(1),
        version(4),
        [b"GGML", &good[4..]].concat(),
        b"PK\x03\x04 some other kind of file".to_vec(),
        vec![0; 4096],
        gguf::file(&[]),
        gguf::file(&[Tensor::f32(
            "blk.0.ffn_gate_exps.weight.counts",
            &[9.0, 1.0],
        )]),
        gguf::file(&[Tensor::counts(0, &[f32::NAN, 1.0])]),
        gguf::file(&[Tensor::counts(0, &[f32::INFINITY, 1.0])]),
        gguf::file(&[Tensor::counts(0, &[-2.0, 4.0])]),
        gguf::file(&[Tensor::counts(0, &[1e30, 4.0])]),
        gguf::file(&[Tensor {
            ggml_type: 99,
            ..Tensor::counts(0, &[9.0, 1.0])
        }]),
        gguf::file(&[Tensor {
            dims: vec![u64::MAX, 2],
            ..Tensor::counts(0, &[9.0, 1.0])
        }]),
    ];
    for bytes in bad {
        run_imatrix(bytes).expect_error("INPUT_BAD_IMATRIX");
    }
    for name in ["nope.gguf", "d", "-"] {
        let tool = Tool::new("concentration").file("d/x", "");
        tool.args(["--imatrix", name])
            .run()
            .expect_error("INPUT_BAD_IMATRIX");
    }
}

#[test]
fn a_big_endian_imatrix_is_refused_by_name() {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_be_bytes());
    bytes.extend(1u64.to_be_bytes());
    bytes.extend(0u64.to_be_bytes());
    bytes.extend([0; 64]);
    let run = run_imatrix(bytes);
    assert!(run.stderr.contains("big-endian"), "{}", run.stderr);
    run.expect_error("INPUT_BAD_IMATRIX");
}

/// Forty tokens of two layers, each token choosing a hot and a changing expert.
fn per_token() -> String {
    let lines: Vec<String> = (0..80)
        .map(|i| {
            let (pos, layer) = (i / 2, i % 2);
            let cold = 1 + (pos * 7 + layer) % 15;
            format!("{{\"pos\": {pos}, \"layer\": {layer}, \"experts\": [0, {cold}]}}\n")
        })
        .collect();
    lines.concat()
}

#[test]
fn a_per_token_trace_is_counted_and_replayed() {
    let run = Tool::new("concentration")
        .file("t.jsonl", per_token())
        .file("other.jsonl", per_token().replace("[0, ", "[9, "))
        .args(["--trace", "t.jsonl", "--slots", "1,4", "--experts", "16"])
        .args(["--compare", "other.jsonl"])
        .run();
    let report = run.json();
    assert_eq!(report["num_experts"], 16);
    assert_eq!(report["n_tokens"], 40);
    let replay = report["replay"].as_array().unwrap();
    assert_eq!(replay.len(), 6);
    assert_eq!(replay[0]["policy"], "static-hottest");
    // The hot expert alone is half of all choices.
    assert_eq!(replay[0]["hit_rate"], 0.5);
    // One slot is always lost to the other choice of the token.
    assert_eq!(replay[1]["hit_rate"], 0.0);
    assert!(report["hot_frac_low"].as_f64() <= report["hot_frac_high"].as_f64());
    assert!(report["gini"].as_f64().unwrap() > 0.3);
    let other = &report["workloads"][0];
    assert!(other["carried_by_first"].as_f64().unwrap() < 1.0);
    assert!(
        run.stderr.contains("4 experts a layer, lru"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_cache_is_worth_what_the_rig_makes_of_it() {
    let root = env!("CARGO_MANIFEST_DIR");
    let report = Tool::new("concentration")
        .file("t.jsonl", per_token())
        .args(["--trace", "t.jsonl", "--slots", "4"])
        .args([
            "--profile",
            &format!("{root}/examples/rigs/rtx-3060-12gb.json"),
        ])
        .args([
            "--model-config",
            &format!("{root}/examples/models/qwen3-30b-a3b.json"),
        ])
        .run()
        .json();
    let without = report["uncached_decode_tok_s"].as_f64().unwrap();
    let with = report["replay"][0]["predicted_decode_tok_s"]
        .as_f64()
        .unwrap();
    assert!(without > 5.0 && with > without, "{without} {with}");
    assert!(report["replay"][0]["vram_mib"].as_f64().unwrap() > 100.0);
}

/// Tokens that choose 4 of 32 experts in each of 24 layers, the first ones of each more often.
fn gpt_oss_trace(tokens: u64) -> String {
    let mut state = 1u64;
    let mut below = |n: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut lines = String::new();
    for pos in 0..tokens {
        for layer in 0..24 {
            let mut chosen: Vec<u64> = Vec::new();
            while chosen.len() < 4 {
                let expert = (below(32).min(below(32)) + layer) % 32;
                if !chosen.contains(&expert) {
                    chosen.push(expert);
                }
            }
            lines += &format!("{{\"pos\": {pos}, \"layer\": {layer}, \"experts\": {chosen:?}}}\n");
        }
    }
    lines
}

#[test]
fn a_weights_file_weighs_its_experts_to_the_byte() {
    let root = env!("CARGO_MANIFEST_DIR");
    let rig = format!("{root}/examples/rigs/rtx-3060-12gb.json");
    let tool = Tool::new("concentration").file("t.jsonl", gpt_oss_trace(60));
    let model = headers::model(tool.dir(), "gpt-oss-20b.MXFP4_MOE");
    let run = tool
        .args([
            "--trace",
            "t.jsonl",
            "--slots",
            "8,32",
            "--profile",
            &rig,
            "--model",
        ])
        .arg(&model)
        .run();
    let report = run.json();
    assert_eq!(report["num_experts"], 32);
    // Of a layer's experts, three matrices of 2880 x 2880 in MXFP4 (17 bytes for 32 weights), and
    // their biases in 32 bits; 24 layers of 32.
    let expert: u64 = 3 * 2880 * 2880 / 32 * 17 + 3 * 2880 * 4;
    let mib = |slots: u64| {
        let bytes = expert * 24 * slots;
        (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0
    };
    assert_eq!(report["replay"][0]["vram_mib"], mib(8));
    assert_eq!(report["replay"][3]["vram_mib"], mib(32));

    // Without a cache it is the plan with every expert in RAM; with all of them, the one with none.
    let plan = |n: &str| {
        let plan = Tool::new("plan")
            .args([
                "--profile",
                &rig,
                "--depth",
                "0",
                "--n-cpu-moe",
                n,
                "--vram-mib",
                "99999",
            ])
            .arg("--model")
            .arg(&model)
            .run();
        plan.json()["predicted_decode_tok_s"].clone()
    };
    assert_eq!(report["uncached_decode_tok_s"], plan("24"));
    assert_eq!(report["replay"][3]["whole_layers_decode_tok_s"], plan("0"));
    // A quarter of the experts takes what the last six layers' experts take.
    assert_eq!(report["replay"][0]["whole_layers_decode_tok_s"], plan("18"));
    assert!(
        run.stderr.contains("with whole layers there instead"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_folder_of_safetensors_weighs_its_experts_too() {
    let root = env!("CARGO_MANIFEST_DIR");
    let rig = format!("{root}/examples/rigs/rtx-3060-12gb.json");
    let config = include_str!("../examples/models/qwen3-30b-a3b.json");
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("m");
    headers::safetensors_model(&model, &serde_json::from_str(config).unwrap());
    let mut trace = String::new();
    for (t, layer) in (0..60).flat_map(|t| (0..48).map(move |layer| (t, layer))) {
        let experts: Vec<u64> = (0..8).map(|i| (t + layer + 16 * i) % 128).collect();
        writeln!(trace, r#"{{"layer": {layer}, "experts": {experts:?}}}"#).unwrap();
    }
    let run = Tool::new("concentration")
        .file("t.jsonl", trace)
        .args(["--trace", "t.jsonl", "--slots", "8", "--profile", &rig])
        .arg("--model")
        .arg(&model)
        .run();
    let report = run.json();
    // Three matrices of 2048 x 768 in 8 bits, of 8 experts in 48 layers.
    assert_eq!(report["replay"][0]["vram_mib"], 1728.0);
    let plan = Tool::new("plan")
        .args(["--profile", &rig, "--depth", "0", "--n-cpu-moe", "48"])
        .args(["--vram-mib", "99999", "--floor", "0", "--model"])
        .arg(&model)
        .run()
        .json();
    assert_eq!(plan["footprint_source"], "safetensors");
    assert_eq!(
        report["uncached_decode_tok_s"],
        plan["predicted_decode_tok_s"]
    );
}

#[test]
fn a_trace_of_another_model_buys_nothing() {
    let root = env!("CARGO_MANIFEST_DIR");
    let run = Tool::new("concentration")
        .file("t.jsonl", "{\"layer\": 0, \"experts\": [40]}\n")
        .args(["--trace", "t.jsonl"])
        .args([
            "--profile",
            &format!("{root}/examples/rigs/rtx-3060-12gb.json"),
        ])
        .args([
            "--model-config",
            &format!("{root}/examples/models/gpt-oss-20b.json"),
        ])
        .run();
    let report = run.json();
    assert_eq!(report["uncached_decode_tok_s"], Value::Null);
    assert!(
        run.stderr
            .contains("names 41 experts in a layer, the model has 32"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_model_and_a_profile_go_together() {
    for args in [
        &["--profile", "p.json"][..],
        &["--model", "m.gguf"],
        &[
            "--profile",
            "p.json",
            "--model",
            "m.gguf",
            "--model-config",
            "c.json",
        ],
    ] {
        let tool = Tool::new("concentration").file("t.jsonl", per_token());
        let run = tool.args(["--trace", "t.jsonl"]).args(args).run();
        run.expect_error("INPUT_USAGE");
    }
    let root = env!("CARGO_MANIFEST_DIR");
    let rig = format!("{root}/examples/rigs/rtx-3060-12gb.json");
    let tool = Tool::new("concentration")
        .file("t.jsonl", per_token())
        .file("m.gguf", "GGUF");
    let run = tool
        .args(["--trace", "t.jsonl", "--profile", &rig, "--model", "m.gguf"])
        .run();
    run.expect_error("INPUT_BAD_MODEL_FILE");
}

#[test]
fn workloads_are_told_apart_and_small_samples_are_said() {
    let lines = gpt_oss_trace(300);
    let elsewhere = lines
        .replace("\"layer\": 1,", "\"layer\": 99,")
        .replace("\"layer\": 2,", "\"layer\": 1,");
    let run = Tool::new("concentration")
        .file("t.jsonl", &lines)
        .file("same.jsonl", gpt_oss_trace(200))
        .file("moved.jsonl", elsewhere)
        .args([
            "--trace",
            "t.jsonl",
            "--compare",
            "same.jsonl",
            "moved.jsonl",
        ])
        .run();
    let report = run.json();
    let small = |report: &Value| report["notes"].to_string().contains("small sample");
    assert!(!small(&report), "{}", report["notes"]);
    let [same, moved] = report["workloads"].as_array().unwrap().as_slice() else {
        panic!("{report}")
    };
    let carried = |w: &Value| w["carried_by_first"].as_f64().unwrap();
    assert!(
        carried(same) > 0.88 && carried(moved) < carried(same),
        "{same} {moved}"
    );
    for w in [same, moved] {
        let hot = |key: &str| w[key].as_f64().unwrap();
        assert!(hot("hot_frac_low") <= hot("hot_frac_high"), "{w}");
        assert!(
            hot("hot_frac_low") - 0.1 < hot("hot_frac_for_coverage"),
            "{w}"
        );
    }
    // The same odds are the same workload: each estimate lies near the other's interval.
    let low = report["hot_frac_low"].as_f64().unwrap();
    let high = report["hot_frac_high"].as_f64().unwrap();
    let other = same["hot_frac_for_coverage"].as_f64().unwrap();
    assert!(
        low - 0.05 <= other && other <= high + 0.05,
        "{low} {other} {high}"
    );

    let few = Tool::new("concentration")
        .file("t.jsonl", gpt_oss_trace(40))
        .args(["--trace", "t.jsonl"])
        .run();
    assert!(small(&few.json()));
    let wider = few.json()["hot_frac_high"].as_f64().unwrap()
        - few.json()["hot_frac_low"].as_f64().unwrap();
    assert!(wider > high - low, "{wider}");
    // Counts alone have no interval, but they can be too few as well.
    let counts = run_trace(skewed().replace("97", "197"));
    assert!(!small(&counts.json()) && counts.json()["hot_frac_low"].is_null());
    let short = skewed().replace("97", "17");
    assert!(small(&run_trace(short).json()));
}

#[test]
fn a_per_token_trace_that_breaks_off_is_refused() {
    let run = Tool::new("concentration")
        .file("t.jsonl", per_token() + "{\"pos\": 40, \"lay")
        .args(["--trace", "t.jsonl"])
        .run();
    assert_eq!((run.status, run.code()), (2, Some("IO_TRACE_UNREADABLE")));
    assert!(run.stderr.contains("line 81"), "{}", run.stderr);
}
