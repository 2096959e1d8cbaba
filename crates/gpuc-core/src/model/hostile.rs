//! Configurations that nobody should write: refused by name, never a panic, never a wrong number.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::analyze;
use crate::error::{Code, Coded as _};

fn code(config: &Value) -> Option<Code> {
    analyze(config, None, None).err().map(|e| e.code())
}

#[test]
fn what_is_no_object_is_refused() {
    for config in [json!(null), json!([]), json!("s"), json!(3), json!(true)] {
        assert_eq!(code(&config), Some(Code::InputBadModelConfig), "{config}");
    }
}

#[test]
fn dimensions_are_whole_numbers() {
    let bad = [
        json!(-1),
        json!(0.5),
        json!("24"),
        json!(true),
        json!({}),
        json!([]),
        json!([1, "2"]),
        json!(1e30),
        serde_json::from_str("123456789012345678901234567890").unwrap(),
    ];
    for key in [
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "head_dim",
        "vocab_size",
        "num_experts",
        "n_shared_experts",
        "first_k_dense_replace",
    ] {
        for value in &bad {
            let mut config = json!({"hidden_size": 64, "num_hidden_layers": 2, "num_experts": 4});
            config[key] = value.clone();
            assert_eq!(code(&config), Some(Code::InputBadModelConfig), "{config}");
        }
        let mut config = json!({"hidden_size": 64, "num_hidden_layers": 2});
        config[key] = json!(8.0);
        assert_eq!(code(&config), None, "{config}");
    }
}

#[test]
fn products_past_64_bits_are_refused() {
    let config = json!({"hidden_size": 1_000_000_000_000u64, "num_hidden_layers": 1_000_000_000,
        "num_attention_heads": 2});
    assert_eq!(code(&config), Some(Code::InputBadModelConfig));
}

#[test]
fn lists_are_taken_at_their_largest() {
    let m = analyze(
        &json!({"hidden_size": 64, "num_hidden_layers": 2, "num_experts": 4,
        "moe_intermediate_size": [32, 32], "moe_topk": [8, 6]}),
        None,
        None,
    )
    .unwrap();
    assert_eq!(m.model.expert.experts_per_token, Some(8));
    assert_eq!(m.model.expert.expert_params_each, Some(3 * 64 * 32));
    assert!(m.notes.iter().any(|n| n.contains("moe_topk")));
}

#[test]
fn a_width_that_nobody_gives_is_not_counted_as_nothing() {
    let a = analyze(
        &json!({"model_type": "dbrx", "d_model": 64, "n_heads": 4, "n_layers": 2,
            "vocab_size": 100, "ffn_config": {"moe_num_experts": 16, "moe_top_k": 4}}),
        None,
        None,
    )
    .unwrap();
    assert_eq!(a.model.total_params, None);
    assert_eq!(a.model.n_moe_layers, Some(2));
    assert!(
        a.notes.iter().any(|n| n.contains("how wide")),
        "{:?}",
        a.notes
    );
}

#[test]
fn no_experts_are_no_experts_under_any_name() {
    for key in [
        "num_experts",
        "num_local_experts",
        "n_routed_experts",
        "moe_num_experts",
    ] {
        let m = analyze(
            &json!({"hidden_size": 64, "num_hidden_layers": 2, (key): 0}),
            None,
            None,
        );
        let m = m.unwrap().model;
        assert_eq!(m.architecture.as_deref(), Some("dense"), "{key}");
        assert!(!m.expert.is_moe && m.expert.num_experts.is_none());
    }
}

#[test]
fn any_number_of_layers_takes_no_memory() {
    let m = analyze(
        &json!({"model_type": "gpt_oss", "hidden_size": 1, "vocab_size": 1,
        "num_attention_heads": 1, "num_hidden_layers": 1_000_000_000_000u64, "num_experts": 2,
        "moe_intermediate_size": 1, "intermediate_size": 1, "sliding_window": 128, "first_k_dense_replace": 5,
        "rms_norm_eps": 1}),
        None,
        None,
    )
    .unwrap()
    .model;
    assert_eq!(m.n_moe_layers, Some(999_999_999_995));
    let many = json!({"hidden_size": 1, "num_hidden_layers": 1_000_000_000_000u64,
        "num_experts": 2, "mlp_only_layers": [1]});
    assert_eq!(code(&many), Some(Code::InputBadModelConfig));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0u64..300).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zA-Z*M-]{0,12}".prop_map(Value::from),
        Just(Value::from("full_attention")),
        Just(Value::from("sliding_attention")),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,12}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Every key that an analysis reads, so that mutations hit.
const KEYS: &[&str] = &[
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "intermediate_size",
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "first_k_dense_replace",
    "moe_layer_freq",
    "is_moe_layer",
    "sliding_window_layout",
    "num_attention_heads_per_layer",
    "mlp_only_layers",
    "moe_layers",
    "mlp_layer_types",
    "moe_layer_start_index",
    "moe_layer_end_index",
    "moe_layer_interval",
    "expert_layer_period",
    "expert_layer_offset",
    "interleave_moe_layer_step",
    "shared_intermediate_size",
    "kv_lora_rank",
    "q_lora_rank",
    "v_head_dim",
    "index_n_heads",
    "index_head_dim",
    "indexer_types",
    "o_lora_rank",
    "compress_ratios",
    "sliding_window",
    "layer_types",
    "sliding_window_pattern",
    "num_kv_shared_layers",
    "hybrid_override_pattern",
    "layers_block_type",
    "attn_layer_period",
    "attn_layer_offset",
    "full_attention_interval",
    "linear_attn_config",
    "attn_type_list",
    "block_configs",
    "text_config",
    "ffn_config",
    "quantization_config",
    "block_ff_dim",
    "block_auto_adjust_ff_dim",
    "altup_num_inputs",
    "hidden_size_per_layer_input",
    "sparse_attention_config",
    "mamba_d_state",
    "mamba_dt_rank",
    "attn_config",
    "full_attn_idxs",
    "moe_latent_size",
    "enable_moe_block",
    "parallel_attn_mlp_res",
];

const FAMILIES: &[&str] = &[
    "",
    "llama",
    "gemma3",
    "gemma3n",
    "gemma4",
    "gpt_oss",
    "llama4",
    "deepseek_v3",
    "deepseek_v4",
    "qwen3_next",
    "jamba",
    "granitemoehybrid",
    "falcon_h1",
    "nemotron_h",
    "lfm2",
    "minimax",
    "kimi_linear",
    "longcat_flash",
    "dbrx",
    "chatglm",
    "minimax_m3",
    "laguna",
    "unheard_of",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_configuration_is_survived(
        family in prop::sample::select(FAMILIES),
        nested in any::<bool>(),
        changes in prop::collection::vec((prop::sample::select(KEYS), any_value()), 0..8),
        cut in any::<u64>(),
    ) {
        let mut config = json!({"model_type": family, "hidden_size": 64, "num_hidden_layers": 12,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
            "intermediate_size": 128, "num_experts": 8, "rms_norm_eps": 1});
        for (key, value) in changes {
            config[key] = value;
        }
        if nested {
            config = json!({"text_config": config});
        }
        if let Ok(a) = analyze(&config, None, Some("gguf-q4_k_m")) {
            let m = a.model;
            let text = serde_json::to_string(&m).unwrap();
            let back: crate::document::Model = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&back, &m);
            let _ = (m.kv_bytes(cut, 1, 512), m.llama_n_cpu_moe(cut), m.moe_on_host(cut));
            if let (Some(t), Some(e), Some(r)) =
                (m.total_params, m.expert_params_total, m.non_expert_params)
            {
                prop_assert_eq!(t, e + r);
            }
            let all = m.n_layers.unwrap_or(0);
            prop_assert_eq!(m.moe_on_host(all), m.n_moe_layers.unwrap_or(0));
        }
    }

    #[test]
    fn any_json_is_survived(value in any_value()) {
        let _ = analyze(&value, Some(""), None);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = super::read(&bytes);
    }
}
