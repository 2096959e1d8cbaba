//! Where a closed form that takes every model for a plain one would be wrong: what llama.cpp does.
//! (A context of 0 and dense models are in plan.rs, silent GPUs in watchdog_actions.rs, byte order
//! in concentration.rs.)
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests only"
)]

mod support;

use serde_json::{Value, json};
use support::{Tool, plans};

/// The model as profile analyses it.
fn facts(config: &Value) -> Value {
    let run = Tool::new("profile")
        .file("c.json", config.to_string())
        .args(["--no-bench", "--model-config", "c.json"])
        .run();
    run.expect_status(0).json()["model"].clone()
}

/// The plan on a card with this much free VRAM, in a machine with RAM for anything.
fn plan(config: &Value, vram_mib: u64, flags: &[&str]) -> Value {
    let rig = plans::set(
        plans::profile(),
        "/hardware/gpu/vram_total_mib",
        vram_mib + 300,
    );
    let rig = plans::set(rig, "/hardware/gpu/vram_free_mib", vram_mib);
    let rig = plans::set(rig, "/hardware/memory/ram_total_gib", 2048.0);
    let rig = plans::set(rig, "/hardware/memory/ram_available_gib", 2000.0);
    let run = plans::plan(&rig, config, flags);
    assert!(run.status == 0 || run.status == 3, "{}", run.stderr);
    run.json()
}

fn example(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/models/");
    serde_json::from_slice(&std::fs::read(format!("{folder}{name}.json")).unwrap()).unwrap()
}

/// `config` with more keys.
fn with(mut config: Value, more: &Value) -> Value {
    let keys = config.as_object_mut().unwrap();
    keys.extend(more.as_object().unwrap().clone());
    config
}

#[test]
fn n_cpu_moe_counts_blocks_from_the_first_dense_ones_included() {
    let led = json!({"model_type": "deepseek_v2", "first_k_dense_replace": 3});
    let plan = plan(&with(plans::config(), &led), 11200, &[]);
    let n = plan["n_cpu_moe"].as_u64().unwrap();
    assert_eq!(plan["n_moe_layers"], 45);
    assert_eq!(
        plan["moe_layers_on_host"],
        n - 3,
        "three of llama.cpp's {n} blocks have no experts"
    );
    let flags = plan["llama_flags"].as_str().unwrap();
    assert!(flags.contains(&format!("--n-cpu-moe {n} ")), "{flags}");
}

#[test]
fn latent_attention_caches_the_latent_and_the_rotated_key() {
    let v3 = facts(&example("deepseek-v3"));
    // 61 layers, (512 + 64) elements of f16, and no values.
    assert_eq!(v3["kv_bytes_per_token"], 61 * (512 + 64) * 2);
    // 671 B as published; attention of full width alone would add 10 B.
    assert_eq!(
        v3["total_params"].as_f64().map(|n| (n / 1e9).round()),
        Some(671.0)
    );
}

#[test]
fn a_sliding_window_caches_its_window() {
    let at = |ctx: &str| {
        let plan = plan(
            &example("gpt-oss-20b"),
            16000,
            &["--ctx", ctx, "--n-cpu-moe", "24"],
        );
        plan["vram_used_mib"].as_f64().unwrap()
    };
    // 12 of 24 layers see everything: 2 (K and V) × 8 heads × 64 wide × 2 bytes a token.
    let more = (32768 - 4096) * 12 * 2 * 8 * 64 * 2;
    assert!((at("32768") - at("4096") - f64::from(more) / 1048576.0).abs() < 0.11);
}

#[test]
fn layers_without_attention_cache_nothing_that_grows() {
    let next = json!({"model_type": "qwen3_next", "full_attention_interval": 4, "head_dim": 256,
        "num_key_value_heads": 2, "num_attention_heads": 16, "linear_num_key_heads": 16,
        "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4});
    let next = facts(&with(plans::config(), &next));
    // 12 of 48 layers are attention.
    assert_eq!(next["kv_bytes_per_token"], 12 * 2 * 2 * 256 * 2);

    let jamba = json!({"model_type": "jamba", "num_hidden_layers": 32, "attn_layer_period": 8,
        "attn_layer_offset": 4, "num_key_value_heads": 8, "mamba_d_state": 16, "mamba_d_conv": 4,
        "mamba_expand": 2, "mamba_dt_rank": 256});
    let jamba = facts(&with(plans::config(), &jamba));
    assert_eq!(jamba["kv_bytes_per_token"], 4 * 2 * 8 * 128 * 2);
}

#[test]
fn a_shared_expert_is_counted_where_only_its_width_is_given() {
    let config = with(plans::config(), &json!({"model_type": "qwen2_moe"}));
    let shared = with(
        config.clone(),
        &json!({"shared_expert_intermediate_size": 5632}),
    );
    let params = |c: &Value| facts(c)["non_expert_params"].as_u64().unwrap();
    // Gate, up and down in each of 48 layers.
    let expected = 48 * 3 * 2048 * 5632;
    assert_eq!(params(&shared) - params(&config), expected);
}

#[test]
fn interleaved_layers_with_experts_are_counted_and_placed_as_they_lie() {
    for (keys, layers) in [
        (
            json!({"model_type": "llama4_text", "interleave_moe_layer_step": 2}),
            24,
        ),
        (
            json!({"model_type": "qwen2_moe", "decoder_sparse_step": 2}),
            24,
        ),
        (
            json!({"model_type": "jamba", "expert_layer_period": 2, "expert_layer_offset": 1,
                "attn_layer_period": 8, "attn_layer_offset": 4, "mamba_d_state": 16,
                "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": 256}),
            24,
        ),
        (
            json!({"model_type": "arctic", "moe_layer_frequency": 2}),
            24,
        ),
    ] {
        let config = with(plans::config(), &keys);
        assert_eq!(facts(&config)["n_moe_layers"], layers, "{keys}");
        // Every second of the first 11 blocks has experts: blocks 1, 3, 5, 7 and 9.
        let plan = plan(&config, 60000, &["--n-cpu-moe", "11"]);
        assert_eq!(plan["moe_layers_on_host"], 5, "{keys}");
    }
}

#[test]
fn a_model_within_a_model_is_read() {
    let flat = plans::config();
    let nested = json!({"model_type": "qwen3_vl_moe", "vision_config": {"depth": 27},
        "text_config": with(flat.clone(), &json!({"model_type": "qwen3_vl_moe_text"}))});
    let (nested, flat) = (facts(&nested), facts(&flat));
    for key in [
        "architecture",
        "n_layers",
        "n_moe_layers",
        "expert_params_total",
        "non_expert_params",
        "kv_bytes_per_token",
    ] {
        assert_eq!(nested[key], flat[key], "{key}");
    }
}

#[test]
fn experts_are_found_under_every_familys_keys() {
    let base = plans::without(
        plans::without(plans::config(), "/num_experts"),
        "/num_experts_per_tok",
    );
    let ernie = json!({"model_type": "ernie4_5_moe", "moe_num_experts": 64, "moe_k": 6});
    let dbrx = json!({"model_type": "dbrx", "d_model": 6144, "n_heads": 48, "n_layers": 40,
        "vocab_size": 100352, "attn_config": {"kv_n_heads": 8},
        "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4}});
    let oss = json!({"model_type": "gpt_oss", "num_local_experts": 32, "experts_per_token": 4});
    for (config, experts, used) in [
        (with(base.clone(), &ernie), 64, 6),
        (dbrx.clone(), 16, 4),
        (with(base, &oss), 32, 4),
    ] {
        let model = facts(&config);
        assert_eq!(model["architecture"], "moe", "{config}");
        assert_eq!(model["expert"]["num_experts"], experts, "{config}");
        assert_eq!(model["expert"]["experts_per_token"], used, "{config}");
    }
    // 132 B as published.
    let total = facts(&dbrx)["total_params"].as_f64().unwrap();
    assert!((total / 132e9 - 1.0).abs() < 0.01, "{total}");
}
