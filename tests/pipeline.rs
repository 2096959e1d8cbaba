//! The five commands hand to hand, as the README shows them: a rig is profiled, a model planned, a
//! job run under the watch, its benchmark held against the plan, and the next plan learns from it.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests only"
)]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{Run, Tool, nvml};

/// llama-bench's own output for a model of four layers, run with `--n-cpu-moe` 0 and 3.
const RECORDED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/bench/bench-sweep.jsonl"
);

/// Its fastest decode row without context, experts of three layers in RAM.
const RECORDED_RATE: f64 = 822.64;

/// A model of four layers, each with experts of 12 MiB, with as many parameters as the recorded one.
fn small_model() -> Value {
    json!({
        "model_type": "qwen3_moe", "hidden_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64,
        "vocab_size": 16908, "intermediate_size": 1024, "torch_dtype": "float16",
        "tie_word_embeddings": false, "num_experts": 8, "num_experts_per_tok": 4,
        "moe_intermediate_size": 512, "max_position_embeddings": 4096,
    })
}

/// Runs a command that writes to `out`, and gives the document back.
fn into_file(tool: Tool, out: &Path) -> Value {
    let run = tool.arg("-o").arg(out).run().expect_status(0);
    assert!(run.stdout.is_empty(), "{}", run.stdout);
    assert!(run.stderr.contains("wrote "), "{}", run.stderr);
    serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap()
}

fn plan(folder: &Path) -> Tool {
    Tool::new("plan")
        .arg("--profile")
        .arg(folder.join("profile.json"))
        .args(["--ctx", "512", "--cpu-bw", "40"])
        .arg("--calibration-dir")
        .arg(folder.join("calibration"))
}

/// `llama-bench` as a child that gives its recorded output once the watch has looked at the rig.
fn supervised_bench(folder: &Path, library: &Path) -> Run {
    let log = folder.join("watchdog.jsonl");
    let job = format!(
        "#!/bin/sh\nuntil [ -s '{}' ]; do :; done\ncat '{RECORDED}'\n",
        log.display()
    );
    Tool::new("watchdog")
        .on_path("llama-bench", &job)
        .env("GPUC_NVML_LIB", library)
        .args(["run", "--interval", "0.5", "--peaks-out"])
        .arg(folder.join("peaks.json"))
        .arg("--log")
        .arg(log)
        .args(["--host-mem-max", "100", "--host-avail-min", "0"])
        .args(["--", "llama-bench", "-m", "model.gguf"])
        .args(["-ncmoe", "3", "-o", "jsonl"])
        .run()
}

#[test]
fn a_round_from_the_rig_to_a_calibrated_plan() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let readings = "NAME=Stand-in\nTOTAL_MIB=1500\nRESERVED_MIB=300\nUSED_MIB=117\nTEMP_C=71\n";
    let Some(library) = nvml::stand_in(folder, &[], readings) else {
        return;
    };

    // The rig as the driver tells it, the model as its configuration does.
    let profile = Tool::new("profile")
        .env("GPUC_NVML_LIB", &library)
        .file("config.json", small_model().to_string())
        .args(["--no-bench", "--model-config", "config.json"])
        .args(["--model-name", "small", "--quant", "gguf-f16"]);
    let profile = into_file(profile, &folder.join("profile.json"));
    assert_eq!(profile["hardware"]["gpu"]["vram_free_mib"], 1083);
    assert_eq!(profile["model"]["n_moe_layers"], 4);

    // With 59 MiB beside the margin, the experts of one layer stay in VRAM.
    let first = into_file(plan(folder), &folder.join("plan.json"));
    assert_eq!(first["verdict"], "ship");
    assert_eq!(first["n_cpu_moe"], 3);

    // The benchmark that the plan asks for, under the watch.
    let flags = first["llama_flags"].as_str().unwrap();
    assert!(flags.contains("--n-cpu-moe 3"), "{flags}");
    let bench = supervised_bench(folder, &library).expect_status(0);
    assert_eq!(
        bench.stdout,
        std::fs::read_to_string(RECORDED).unwrap(),
        "the job's output is not touched"
    );
    // Of its depths the first: what it did with a filled cache is another receipt's matter.
    let shallow = bench
        .stdout
        .lines()
        .filter(|l| l.contains("\"n_depth\": 0,"));
    let shallow: Vec<&str> = shallow.collect();
    // It was recorded without a card, which would make it a run of another placement.
    let with_card = r#""backends": "CUDA""#;
    let shallow = shallow
        .join("\n")
        .replace(r#""backends": "CPU""#, with_card);
    std::fs::write(folder.join("bench.jsonl"), shallow).unwrap();

    // What it did, held against what was promised.
    let receipt = Tool::new("receipt")
        .arg("--plan")
        .arg(folder.join("plan.json"))
        .arg("--bench")
        .arg(folder.join("bench.jsonl"))
        .arg("--peaks")
        .arg(folder.join("peaks.json"))
        .arg("--calibration-dir")
        .arg(folder.join("calibration"))
        .args(["--model-name", "small", "--quant", "gguf-f16"]);
    let receipt = into_file(receipt, &folder.join("receipt.json"));
    assert_eq!(receipt["n_cpu_moe"], 3);
    assert_eq!(receipt["measured_decode_tok_s"], RECORDED_RATE);
    assert_eq!(receipt["cleared_floor"], true);
    assert_eq!(
        receipt["predicted_decode_tok_s"],
        first["predicted_decode_tok_s"]
    );
    assert_eq!(receipt["peak_gpu_temp_c"], 71.0);
    assert_eq!(receipt["stayed_within_envelope"], true);
    assert!(receipt["safety_samples"].as_u64().unwrap() > 0);

    // The next plan places as before, and forecasts nearer to what was measured.
    let next = into_file(plan(folder), &folder.join("next.json"));
    assert_eq!(next["n_cpu_moe"], 3);
    assert_eq!(
        next["ceiling_decode_tok_s"], first["ceiling_decode_tok_s"],
        "a receipt moves the forecast, never the ceiling"
    );
    let samples = |plan: &Value| plan["calibration_n_samples"].as_u64().unwrap();
    assert_eq!(samples(&next), samples(&first) + 1);
    let error = |plan: &Value| {
        (plan["predicted_decode_tok_s"].as_f64().unwrap() - RECORDED_RATE).abs() / RECORDED_RATE
    };
    assert!(error(&next) < error(&first), "the first forecast: {first}");
    assert!(error(&next) < 0.1, "the second forecast: {next}");
}

#[test]
fn a_model_split_by_blocks_learns_from_its_own_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("calibration");
    let rig = json!({
        "schema_version": "0.1.0", "created": "2026-06-04",
        "hardware": {
            "gpu": {"name": "none"}, "platform": {"os": "linux"},
            "memory": {"ram_total_gib": 64.0, "cpu_mem_bw_gbps": 40.0}
        }
    });
    let dense = json!({
        "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256,
        "intermediate_size": 8192, "tie_word_embeddings": true
    });
    let plan = || {
        Tool::new("plan")
            .file("profile.json", rig.to_string())
            .file("config.json", dense.to_string())
            .args([
                "--profile",
                "profile.json",
                "--model-config",
                "config.json",
                "--cpu-only",
            ])
            .arg("--calibration-dir")
            .arg(&store)
            .run()
            .expect_status(0)
    };
    let before = plan();
    assert_eq!(before.json()["offload_fraction"], 1.0);
    let measured = before.json()["ceiling_decode_tok_s"].as_f64().unwrap() * 0.2;
    Tool::new("receipt")
        .file("plan.json", &before.stdout)
        .args([
            "--plan",
            "plan.json",
            "--model-name",
            "m",
            "--created",
            "2026-06-05",
        ])
        .args(["--decode-tok-s", &measured.to_string()])
        .arg("--calibration-dir")
        .arg(&store)
        .run()
        .expect_status(0);
    let (before, after) = (before.json(), plan().json());
    let count = |plan: &Value| plan["calibration_n_samples"].as_u64().unwrap();
    assert_eq!(count(&after), count(&before) + 1);
    assert!(after["predicted_decode_tok_s"].as_f64() < before["predicted_decode_tok_s"].as_f64());
}
