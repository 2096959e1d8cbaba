//! Published models against published figures: dimensions as their makers give them, written here
//! by hand (`tests/data/published-models.json`), and the parameters, experts and caches that llama.cpp
//! or the maker reports.

use serde_json::{Value, json};

use super::analyze;
use crate::document::{BlockRun, Model};

fn model(config: &Value) -> Model {
    analyze(config, None, None)
        .unwrap_or_else(|e| panic!("{config}: {e}"))
        .model
}

/// `config` with what every published file has beside its dimensions.
fn published(mut config: Value) -> Value {
    config["rms_norm_eps"] = json!(1e-6);
    config
}

/// A dense or routed model of `[layers, hidden, heads, kv heads, head width, vocabulary, width]`.
fn base(model_type: &str, d: [u64; 7], more: &Value) -> Value {
    let mut config = published(json!({
        "model_type": model_type,
        "num_hidden_layers": d[0], "hidden_size": d[1], "num_attention_heads": d[2],
        "num_key_value_heads": d[3], "head_dim": d[4], "vocab_size": d[5],
        "intermediate_size": d[6],
    }));
    for (k, v) in more.as_object().unwrap() {
        config[k] = v.clone();
    }
    config
}

fn published_models() -> Vec<Value> {
    serde_json::from_str(include_str!("../../tests/data/published-models.json")).unwrap()
}

#[test]
fn totals_are_the_published_ones() {
    for m in published_models() {
        let got = model(&m["config"]).total_params.unwrap() as f64 / 1e9;
        let want = m["billions"].as_f64().unwrap();
        let off = 100.0 * (got / want - 1.0);
        assert!(
            off.abs() <= m["percent"].as_f64().unwrap(),
            "{}: {got:.3}, published {want} ({off:+.2} %)",
            m["name"]
        );
    }
}

#[test]
fn caches_are_those_of_llama_cpp() {
    let mut compared = 0;
    for m in published_models() {
        for row in m["cache_mib"].as_array().into_iter().flatten() {
            let of = |i: usize| row[i].as_u64().unwrap();
            let got = model(&m["config"]).kv_bytes(of(0), 1, of(1)).unwrap() >> 20;
            assert_eq!(got, u128::from(of(2)), "{} {row}", m["name"]);
            compared += 1;
        }
    }
    assert!(compared >= 24, "{compared} rows");
}

fn run(first: u64, every: u64, count: u64) -> Vec<BlockRun> {
    vec![BlockRun {
        first,
        every,
        count,
    }]
}

#[test]
fn dense_leading_blocks_are_counted_by_n_cpu_moe() {
    let m = model(
        &json!({"model_type": "deepseek", "hidden_size": 2048, "num_hidden_layers": 28,
        "num_attention_heads": 16, "intermediate_size": 10944, "n_routed_experts": 64,
        "moe_intermediate_size": 1408, "first_k_dense_replace": 1}),
    );
    assert_eq!(m.moe_blocks, Some(run(1, 1, 27)));
    assert_eq!((m.llama_n_cpu_moe(1), m.llama_n_cpu_moe(27)), (2, 28));
    let ernie = model(&json!({"model_type": "ernie4_5_moe", "hidden_size": 2560,
        "num_hidden_layers": 28, "moe_num_experts": 64, "moe_k": 6, "moe_layer_start_index": 1,
        "moe_layer_end_index": -1, "moe_intermediate_size": 1536}));
    assert_eq!(ernie.moe_blocks, Some(run(1, 1, 27)));
}

#[test]
fn interleaved_blocks_are_found() {
    let with = |more: Value| {
        let mut c = json!({"hidden_size": 64, "num_hidden_layers": 8, "num_experts": 4,
            "intermediate_size": 128});
        for (k, v) in more.as_object().unwrap() {
            c[k] = v.clone();
        }
        model(&c).moe_blocks.unwrap_or_default()
    };
    assert_eq!(with(json!({"interleave_moe_layer_step": 2})), run(1, 2, 4));
    assert_eq!(with(json!({"decoder_sparse_step": 3})), run(2, 3, 2));
    assert_eq!(with(json!({"moe_layer_frequency": 4})), run(3, 4, 2));
    assert_eq!(
        with(json!({"expert_layer_period": 2, "expert_layer_offset": 1})),
        run(1, 2, 4)
    );
    assert_eq!(
        with(json!({"moe_layer_freq": [0, 1, 1, 1, 1, 1, 1, 1]})),
        run(1, 1, 7)
    );
    assert_eq!(
        with(json!({"first_k_dense_replace": 1, "moe_layer_freq": 2})),
        run(2, 2, 3)
    );
    assert_eq!(with(json!({"mlp_only_layers": [0, 1]})), run(2, 1, 6));
    assert_eq!(with(json!({"moe_layers": [1, 3, 5, 7]})), run(1, 2, 4));
    assert_eq!(
        with(json!({"mlp_layer_types": ["dense", "sparse", "sparse"]})),
        run(1, 1, 2)
    );
    assert_eq!(
        with(json!({"decoder_sparse_step": 1, "mlp_only_layers": []})),
        []
    );
}

#[test]
fn latent_attention_caches_the_latent() {
    let m = model(&base(
        "deepseek_v3",
        [61, 7168, 128, 128, 56, 129_280, 18432],
        &json!({
        "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
        "v_head_dim": 128, "n_routed_experts": 256, "moe_intermediate_size": 2048}),
    ));
    assert_eq!(m.kv_bytes(4096, 1, 512), Some(61 * 576 * 2 * 4096));
}

#[test]
fn windows_and_recurrent_layers_do_not_grow() {
    // llama.cpp: 4,635 MiB for gpt-oss-120b at 131,072; 171 MiB for Qwen3-Next at 4,096.
    let oss = model(&base(
        "gpt_oss",
        [36, 2880, 64, 8, 64, 201_088, 2880],
        &json!({"num_local_experts": 128, "sliding_window": 128}),
    ));
    assert_eq!(oss.kv_bytes(131_072, 1, 512).unwrap() >> 20, 4635);
    let next = model(&json!({"model_type": "qwen3_next", "hidden_size": 2048,
        "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2,
        "head_dim": 256, "full_attention_interval": 4}));
    assert_eq!(next.kv_bytes(4096, 1, 512).unwrap() >> 20, 171);
    // Both keep the cache type's 16 bits, whatever the weights are.
    assert_eq!(next.kv_bytes_per_token, Some(12 * 2 * 2 * 256 * 2));
}

#[test]
fn layers_may_share_a_cache() {
    let m = model(
        &json!({"model_type": "gemma4", "text_config": base("gemma4_text",
        [42, 2560, 8, 2, 256, 262_144, 10240], &json!({"enable_moe_block": false,
        "num_kv_shared_layers": 18, "sliding_window": 512, "global_head_dim": 512}))}),
    );
    let layers: u64 = m.kv_groups.unwrap().iter().map(|g| g.layers).sum();
    assert_eq!(layers, 24);
}

#[test]
fn a_lone_width_is_one_shared_expert_where_it_means_that() {
    let with = |family: &str| {
        model(
            &json!({"model_type": family, "hidden_size": 64, "num_hidden_layers": 1,
            "num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 16}),
        )
        .non_expert_params
        .unwrap()
    };
    assert_eq!(with("qwen2_moe") - with("mixtral"), 3 * 64 * 16);
    assert_eq!(with("custom"), with("mixtral"));
}

#[test]
fn nested_text_models_are_found() {
    let m = model(
        &json!({"model_type": "qwen3_vl_moe", "tie_word_embeddings": false,
        "vision_config": {"hidden_size": 1152}, "text_config": {"model_type": "qwen3_vl_moe_text",
        "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32,
        "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8,
        "moe_intermediate_size": 768, "vocab_size": 151_936}}),
    );
    assert_eq!(m.total_params, Some(30_531_911_680));
    assert_eq!(m.name, "qwen3_vl_moe");
}

#[test]
fn other_names_of_the_experts_are_known() {
    for (count, top) in [
        ("moe_num_experts", "moe_k"),
        ("n_routed_experts", "experts_per_token"),
        ("num_experts", "top_k_experts"),
        ("num_local_experts", "num_selected_experts"),
    ] {
        let m = model(&json!({"hidden_size": 64, "num_hidden_layers": 2, (count): 8, (top): 2}));
        assert_eq!(
            (m.expert.num_experts, m.expert.experts_per_token),
            (Some(8), Some(2)),
            "{count}"
        );
    }
    let a = analyze(
        &json!({"hidden_size": 64, "num_hidden_layers": 2, "num_moe_units": 8}),
        None,
        None,
    );
    assert!(a.unwrap().notes.iter().any(|n| n.contains("num_moe_units")));
}

#[test]
fn the_models_own_context_is_known() {
    let m = model(&json!({"hidden_size": 64, "num_hidden_layers": 2,
        "max_position_embeddings": 40960}));
    assert_eq!(m.max_context, Some(40960));
}
