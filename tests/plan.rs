//! gpu-container-plan end to end: what it prints, writes and ends with.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod support;

use serde_json::{Value, json};
use support::{Tool, headers};

fn rig(vram_mib: u64, ram_gib: f64) -> Value {
    json!({
        "schema_version": "0.1.0",
        "created": "2026-06-04",
        "hardware": {
            "gpu": {"name": "Test GPU", "vram_total_mib": vram_mib},
            "platform": {"os": "linux"},
            "memory": {"ram_total_gib": ram_gib, "cpu_mem_bw_gbps": 50.0}
        }
    })
}

fn moe() -> Value {
    json!({
        "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48,
        "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
        "vocab_size": 151936, "intermediate_size": 6144, "moe_intermediate_size": 768,
        "num_experts": 128, "num_experts_per_tok": 8, "max_position_embeddings": 40960
    })
}

fn tool(rig: &Value, model: &Value) -> Tool {
    Tool::new("plan")
        .file("profile.json", rig.to_string())
        .file("config.json", model.to_string())
        .args(["--profile", "profile.json", "--model-config", "config.json"])
}

#[test]
fn a_plan_that_ships_exits_0_with_flags_to_launch() {
    let run = tool(&rig(12282, 64.0), &moe()).run().expect_status(0);
    let plan = run.json();
    assert_eq!(plan["verdict"], "ship");
    let n = plan["n_cpu_moe"].as_u64().unwrap();
    assert_eq!(
        plan["llama_flags"],
        format!("-ngl 99 --n-cpu-moe {n} -c 4096 -fa on")
    );
    assert!(plan["vram_used_mib"].as_f64() <= plan["vram_budget_mib"].as_f64());
    assert!(
        run.stderr.contains("launch: llama-server"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_plan_says_what_ram_it_counted_on_and_of_what_model_it_is() {
    let plan = tool(&rig(12282, 64.0), &moe()).run().json();
    assert_eq!(plan["ram_budget_mib"], 65536.0);
    assert_eq!(plan["quant"], "gguf-q4_k_m");
    let mut blind = rig(90_000, 64.0);
    blind["hardware"]["memory"] = json!({});
    let args = ["--model-name", "mine", "--quant", "int4"];
    let plan = tool(&blind, &moe()).args(args).run().json();
    assert_eq!(plan.get("ram_budget_mib"), None);
    assert_eq!(
        (&plan["model_name"], &plan["quant"]),
        (&json!("mine"), &json!("int4"))
    );
}

#[test]
fn earlier_prompts_get_no_more_ram_than_the_plan_leaves() {
    let run = tool(&rig(12282, 12.0), &moe()).run().expect_status(0);
    let plan = run.json();
    let ram = |key: &str| plan[key].as_f64().unwrap();
    let left = ram("ram_budget_mib") - ram("ram_used_mib") - 1024.0;
    assert!(0.0 < left && left < 8192.0, "{left}");
    let flag = format!(" -np 1 -fit off --cache-ram {}\n", left.floor());
    assert!(run.stderr.contains(&flag), "{}", run.stderr);
    assert!(run.stderr.contains("note: llama-server"), "{}", run.stderr);
    let emitted = tool(&rig(12282, 12.0), &moe())
        .args(["--emit", "server"])
        .run()
        .expect_status(0);
    assert!(emitted.stdout.ends_with(&flag), "{}", emitted.stdout);
    // What it takes by itself fits a larger rig.
    let ample = tool(&rig(12282, 64.0), &moe()).run().expect_status(0);
    assert!(!ample.stderr.contains("--cache-ram"), "{}", ample.stderr);
}

#[test]
fn a_refusal_exits_3_and_still_writes_the_document() {
    let run = tool(&rig(1800, 64.0), &moe())
        .args(["-o", "plan.json"])
        .run()
        .expect_status(3);
    assert!(
        run.stdout.is_empty() && run.stderr.contains("wrote plan.json"),
        "{}",
        run.stderr
    );
    let plan: Value =
        serde_json::from_slice(&std::fs::read(run.path("plan.json")).unwrap()).unwrap();
    assert_eq!(
        (&plan["verdict"], &plan["fits"]),
        (&json!("refuse"), &json!(false))
    );
}

#[test]
fn a_context_of_zero_is_the_models_own() {
    let zero = tool(&rig(24000, 64.0), &moe())
        .args(["--ctx", "0"])
        .run()
        .expect_status(0)
        .json();
    let own = tool(&rig(24000, 64.0), &moe())
        .args(["--ctx", "40960"])
        .run()
        .json();
    assert_eq!(zero["llama_flags"], own["llama_flags"]);
    assert_eq!(zero["vram_used_mib"], own["vram_used_mib"]);
    let mut unknown = moe();
    unknown
        .as_object_mut()
        .unwrap()
        .remove("max_position_embeddings");
    tool(&rig(24000, 64.0), &unknown)
        .args(["--ctx", "0"])
        .run()
        .expect_error("INPUT_BAD_MODEL_CONFIG");
}

#[test]
fn a_forced_n_is_planned_as_given() {
    let plan = tool(&rig(24000, 64.0), &moe())
        .args(["--n-cpu-moe", "20"])
        .run()
        .json();
    assert_eq!(
        (&plan["n_cpu_moe"], &plan["assumptions"]["forced_n"]),
        (&json!(20), &json!(20))
    );
    let run = tool(&rig(4000, 64.0), &moe())
        .args(["--n-cpu-moe", "0"])
        .run()
        .expect_status(3);
    assert_eq!(run.json()["fits"], false);
}

#[test]
fn margin_depth_and_bandwidth_move_what_they_should() {
    let base = tool(&rig(24000, 64.0), &moe()).run().json();
    let more = tool(&rig(24000, 64.0), &moe())
        .args(["--margin-mib", "2048"])
        .run()
        .json();
    let gain = more["vram_used_mib"].as_f64().unwrap() - base["vram_used_mib"].as_f64().unwrap();
    assert!((gain - 1024.0).abs() < 0.11, "{gain}");
    let empty = tool(&rig(24000, 64.0), &moe())
        .args(["--depth", "0"])
        .run()
        .json();
    assert!(empty["ceiling_decode_tok_s"].as_f64() > base["ceiling_decode_tok_s"].as_f64());
    assert_eq!(
        empty["vram_used_mib"], base["vram_used_mib"],
        "room is kept for the whole context"
    );
    let slow = tool(&rig(24000, 64.0), &moe())
        .args(["--vram-bw", "895"])
        .run()
        .json();
    let half = base["ceiling_decode_tok_s"].as_f64().unwrap() / 2.0;
    assert!((slow["ceiling_decode_tok_s"].as_f64().unwrap() - half).abs() < 0.01);
    assert_eq!(slow["assumptions"]["vram_bw_source"], "given");
}

#[test]
fn a_full_card_is_planned_as_full() {
    let mut full = rig(24564, 64.0);
    full["hardware"]["gpu"]["vram_free_mib"] = json!(0);
    tool(&full, &moe()).run().expect_status(3);
}

fn dense() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "intermediate_size": 14336, "tie_word_embeddings": false
    })
}

#[test]
fn a_dense_model_ships_whole_or_by_blocks() {
    let whole = tool(&rig(12282, 64.0), &dense())
        .run()
        .expect_status(0)
        .json();
    assert_eq!(whole["llama_flags"], "-ngl 99 -c 4096 -fa on");
    assert_eq!(whole["n_cpu_moe"], Value::Null);
    let part = tool(&rig(4096, 64.0), &dense())
        .run()
        .expect_status(0)
        .json();
    let k = part["n_gpu_layers"].as_u64().unwrap();
    assert!(0 < k && k < 33, "{k}");
    assert_eq!(part["llama_flags"], format!("-ngl {k} -c 4096 -fa on"));
    assert!(part["vram_used_mib"].as_f64() <= part["vram_budget_mib"].as_f64());
}

#[test]
fn a_rig_without_a_known_gpu_is_refused_and_told_of_the_cpu() {
    let mut blind = rig(0, 64.0);
    blind["hardware"]["gpu"]["vram_total_mib"] = Value::Null;
    let refused = tool(&blind, &moe()).run().expect_status(3);
    assert!(
        refused.json()["message"]
            .as_str()
            .unwrap()
            .contains("--cpu-only")
    );
    let alone = tool(&blind, &moe())
        .arg("--cpu-only")
        .run()
        .expect_status(0)
        .json();
    assert_eq!(alone["n_gpu_layers"], 0);
    assert_eq!(alone["memory_map"][0]["weights_bytes"], 0);
    assert!(alone["memory_map"][1]["weights_bytes"].as_u64() > Some(0));
}

#[test]
fn remedies_are_offered_and_hold() {
    let refused = tool(&rig(4096, 64.0), &moe())
        .args(["--ctx", "131072"])
        .run()
        .expect_status(3)
        .json();
    let remedies = refused["remedies"].as_array().unwrap();
    assert!(!remedies.is_empty());
    for remedy in remedies.iter().filter(|r| r["flags"].is_string()) {
        let flags = remedy["flags"].as_str().unwrap().split(' ');
        tool(&rig(4096, 64.0), &moe())
            .args(["--ctx", "131072"])
            .args(flags)
            .run()
            .expect_status(0);
    }
}

/// Where neither memory alone would do, or only VRAM for the whole model, both are named, and a rig
/// with both ships.
#[test]
fn vram_and_ram_are_offered_together() {
    let refused = tool(&rig(2048, 2.0), &moe()).run().expect_status(3).json();
    let remedies = refused["remedies"].as_array().unwrap();
    let both = remedies.iter().find(|r| r["kind"] == "vram-and-ram");
    let change = both.unwrap()["change"].as_str().unwrap();
    let in_all: Vec<&str> = change
        .split('(')
        .skip(1)
        .map(|part| part.split(' ').next().unwrap())
        .collect();
    let (vram, ram): (u64, f64) = (in_all[0].parse().unwrap(), in_all[1].parse().unwrap());
    let ends_with = |status, vram, ram| tool(&rig(vram, ram), &moe()).run().expect_status(status);
    ends_with(0, vram, ram);
    ends_with(3, vram - 1, ram);
    ends_with(3, vram, ram - 0.2);
}

/// gpt-oss is not published below its own MXFP4, whatever a tag says.
#[test]
fn a_quantisation_that_nobody_publishes_is_no_remedy() {
    let config = include_str!("../examples/models/gpt-oss-120b.json");
    let config: Value = serde_json::from_str(config).unwrap();
    let short = tool(&rig(11600, 26.0), &config)
        .run()
        .expect_status(3)
        .json();
    for remedy in short["remedies"].as_array().unwrap() {
        assert_ne!(remedy["kind"], "quant", "{remedy}");
    }
    let wide = tool(&rig(11600, 58.0), &config)
        .args(["--quant", "f16"])
        .run()
        .expect_status(3)
        .json();
    let first = &wide["remedies"][0];
    assert_eq!(first["flags"], "--quant mxfp4_moe", "{wide}");
    tool(&rig(11600, 58.0), &config)
        .args(["--quant", "mxfp4_moe"])
        .run()
        .expect_status(0);
}

#[test]
fn what_needs_the_weights_file_says_so() {
    for flags in [["--placement", "tensors"], ["--n-gpu-layers", "10"]] {
        let run = tool(&rig(12282, 64.0), &moe()).args(flags).run();
        assert!(run.stderr.contains("--model FILE.gguf"), "{}", run.stderr);
        run.expect_error("INPUT_USAGE");
    }
    tool(&rig(12282, 64.0), &moe())
        .args(["--model", "config.json"])
        .run()
        .expect_error("INPUT_BAD_MODEL_FILE");
}

#[test]
fn a_folder_of_safetensors_is_weighed() {
    let tool = Tool::new("plan").file("profile.json", rig(24000, 64.0).to_string());
    headers::safetensors_model(&tool.dir().join("m"), &moe());
    let run = tool
        .args(["--profile", "profile.json", "--model", "m"])
        .run()
        .expect_status(0);
    let plan = run.json();
    assert_eq!(plan["footprint_source"], "safetensors");
    assert_eq!(plan["assumptions"]["bytes_per_weight"], 1.0);
    assert_eq!(plan["assumptions"]["non_expert_bpw"], 2.0);
    assert!(run.stderr.contains("are not counted"), "{}", run.stderr);
    Tool::new("plan")
        .file("profile.json", rig(24000, 64.0).to_string())
        .file("m/config.json", moe().to_string())
        .file("m/model.safetensors", [0xff; 64])
        .args(["--profile", "profile.json", "--model", "m"])
        .run()
        .expect_error("INPUT_BAD_MODEL_FILE");
}

#[test]
fn the_frontier_of_a_model_of_unknown_shape_says_what_is_missing() {
    let run = tool(&rig(12282, 64.0), &json!({"model_type": "nothing"}))
        .arg("--frontier")
        .run();
    assert_eq!(
        (run.status, run.code()),
        (2, Some("INPUT_BAD_MODEL_CONFIG"))
    );
    assert!(run.stderr.contains("is not known"), "{}", run.stderr);
}

#[test]
fn the_frontier_is_one_table() {
    let run = tool(&rig(12282, 64.0), &moe())
        .arg("--frontier")
        .run()
        .expect_status(0);
    let table = run.json();
    let rows = table["rows"].as_array().unwrap();
    // Contexts 4k, 8k, 16k, 32k and the model's own 40k; three cache types; 0 to 48 layers.
    assert_eq!(rows.len(), 5 * 3 * 49);
    // One of them is the plan.
    let plan = tool(&rig(12282, 64.0), &moe()).run().json();
    let chosen: Vec<&Value> = rows.iter().filter(|r| r["chosen"] == true).collect();
    let [chosen] = chosen.as_slice() else {
        panic!("{chosen:?}");
    };
    for key in [
        "n_cpu_moe",
        "ceiling_decode_tok_s",
        "predicted_decode_tok_s",
        "predicted_band_low_tok_s",
    ] {
        assert_eq!(chosen[key], plan[key], "{key}");
    }
    assert_eq!(
        (&chosen["ctx"], &chosen["cache_type"]),
        (&json!(4096), &json!("f16"))
    );
    assert!(run.stderr.contains("forecast"), "{}", run.stderr);
}
