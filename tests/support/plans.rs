//! A rig and a model to plan with, and ways to spoil them.

use serde_json::{Value, json};

use super::{Run, Tool};

/// A 12 GB card in a machine with 64 GiB, 48 of them free.
pub fn profile() -> Value {
    json!({
        "schema_version": "0.1.0",
        "created": "2026-10-01",
        "hardware": {
            "gpu": {"name": "12 GB card", "vram_total_mib": 12282, "vram_free_mib": 11200},
            "platform": {"os": "linux", "in_container": false, "wsl2": false},
            "bandwidth": {},
            "memory": {
                "ram_total_gib": 64.0, "ram_available_gib": 48.0, "cpu_mem_bw_gbps": 52.5,
            },
        },
    })
}

/// The shape of Qwen3-30B-A3B, from its published config.json.
pub fn config() -> Value {
    json!({
        "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48,
        "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
        "vocab_size": 151936, "intermediate_size": 6144, "torch_dtype": "bfloat16",
        "tie_word_embeddings": false, "num_experts": 128, "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
    })
}

/// That profile with its model analysed in it.
pub fn profile_with_model() -> Value {
    let mut p = profile();
    p["model"] = json!({
        "name": "made-up", "architecture": "moe", "total_params": 30_531_911_680_u64,
        "n_layers": 48, "n_kv_heads": 4, "head_dim": 128, "dtype_bytes": 2.0,
        "quant": "gguf-q4_k_m",
        "expert": {
            "is_moe": true, "num_experts": 128, "experts_per_token": 8,
            "expert_params_each": 4_718_592,
        },
        "kv_bytes_per_token": 98304, "expert_params_total": 28_991_029_248_u64,
        "non_expert_params": 1_540_882_432, "n_moe_layers": 48,
    });
    p
}

/// `document` with the value at `path` (a JSON pointer) replaced.
pub fn set(mut document: Value, path: &str, value: impl Into<Value>) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap()[key] = value.into();
    document
}

/// `document` without the key at `path`.
pub fn without(mut document: Value, path: &str) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    parent.as_object_mut().unwrap().remove(key).unwrap();
    document
}

/// Plans the config of a text in the rig of another.
pub fn plan_text(profile: impl AsRef<[u8]>, config: impl AsRef<[u8]>, flags: &[&str]) -> Run {
    Tool::new("plan")
        .file("p.json", profile)
        .file("c.json", config)
        .args(["--profile", "p.json", "--model-config", "c.json"])
        .args(flags)
        .run()
}

/// Plans `config` in `profile`.
pub fn plan(profile: &Value, config: &Value, flags: &[&str]) -> Run {
    plan_text(profile.to_string(), config.to_string(), flags)
}

/// The plan of the model in the profile.
pub fn plan_profile(profile: impl AsRef<[u8]>) -> Run {
    Tool::new("plan")
        .file("p.json", profile)
        .args(["--profile", "p.json"])
        .run()
}

/// Planning `p`, a profile with its model, is refused.
#[track_caller]
pub fn bad_profile(p: &Value) {
    plan_profile(p.to_string()).expect_error("INPUT_BAD_PROFILE");
}

/// Planning `c` is refused.
#[track_caller]
pub fn bad_config(c: &Value) {
    plan(&profile(), c, &[]).expect_error("INPUT_BAD_MODEL_CONFIG");
}

/// The plan with a store of `points`.
pub fn calibrated(points: impl AsRef<[u8]>) -> Run {
    Tool::new("plan")
        .file("p.json", profile().to_string())
        .file("c.json", config().to_string())
        .file("cal/x.json", points)
        .args([
            "--profile",
            "p.json",
            "--model-config",
            "c.json",
            "--calibration-dir",
            "cal",
        ])
        .run()
}
