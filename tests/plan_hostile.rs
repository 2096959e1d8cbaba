//! Whatever stands in a profile or a configuration, it is planned or refused with a code: never a
//! panic, never a plan that breaks its own promises.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};
use support::Run;
use support::plans::{config, plan, plan_profile, plan_text, profile, profile_with_model, set};

/// Values that no field expects, or that only some do.
fn odd_values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(0.5),
        json!(1e-308),
        json!(1e308),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1_u64 << 53),
        json!("x"),
        json!(""),
        json!([]),
        json!([1, 2]),
        json!([null]),
        json!({}),
        json!({"a": [0]}),
    ]
}

/// The JSON pointers of all values in `v`.
fn pointers(v: &Value, at: &str, out: &mut Vec<String>) {
    if let Value::Object(map) = v {
        for (key, inner) in map {
            let path = format!("{at}/{key}");
            pointers(inner, &path, out);
            out.push(path);
        }
    }
}

/// A verdict that keeps its promises, or an error with a code of the input's.
fn judged(run: &Run, what: &str) {
    if run.status == 2 {
        let code = run.code().unwrap_or_default();
        assert!(code.starts_with("INPUT_"), "{what}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{what}: {}", run.stdout);
        return;
    }
    let p = run.json();
    let x = |key: &str| p[key].as_f64();
    assert!(
        !run.stdout.contains("NaN") && !run.stdout.contains(" inf"),
        "{what}: {p}"
    );
    if run.status == 0 {
        assert_eq!(p["verdict"], "ship", "{what}: {p}");
        assert!(x("vram_used_mib") <= x("vram_budget_mib"), "{what}: {p}");
        let rates = [
            x("predicted_band_low_tok_s"),
            x("predicted_decode_tok_s"),
            x("predicted_band_high_tok_s"),
            x("ceiling_decode_tok_s"),
        ];
        assert!(rates.is_sorted(), "{what}: {p}");
    } else {
        assert_eq!(
            (run.status, &p["verdict"]),
            (3, &json!("refuse")),
            "{what}: {}",
            run.stderr
        );
    }
}

#[test]
fn every_field_of_a_profile_may_hold_anything() {
    let whole = profile_with_model();
    let mut fields = Vec::new();
    pointers(&whole, "", &mut fields);
    assert!(fields.len() > 25, "{fields:?}");
    for field in fields {
        for odd in odd_values() {
            let what = format!("{field} = {odd}");
            judged(
                &plan_profile(set(whole.clone(), &field, odd).to_string()),
                &what,
            );
        }
    }
}

#[test]
fn every_key_of_a_configuration_may_hold_anything() {
    let mut fields = Vec::new();
    pointers(&config(), "", &mut fields);
    // Keys of other families, which this model does not have.
    for key in [
        "n_shared_experts",
        "first_k_dense_replace",
        "shared_expert_intermediate_size",
        "sliding_window",
        "layer_types",
        "kv_lora_rank",
        "qk_rope_head_dim",
        "full_attention_interval",
        "decoder_sparse_step",
        "mlp_only_layers",
        "moe_layer_freq",
        "text_config",
        "quantization_config",
        "max_position_embeddings",
    ] {
        fields.push(format!("/{key}"));
    }
    for field in fields {
        for odd in odd_values() {
            let what = format!("{field} = {odd}");
            judged(&plan(&profile(), &set(config(), &field, odd), &[]), &what);
        }
    }
}

fn spoilt(text: &str, edits: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, byte) in edits {
        let at = at % bytes.len();
        bytes[at] = *byte;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        judged(&plan_text(&bytes, config().to_string(), &[]), "profile");
        judged(&plan_text(profile().to_string(), &bytes, &[]), "config");
    }

    #[test]
    fn spoilt_files_are_judged(
        edits in prop::collection::vec((any::<usize>(), b' '..b'~'), 1..4),
    ) {
        let p = spoilt(&profile_with_model().to_string(), &edits);
        judged(&plan_profile(p), "profile");
        let c = spoilt(&config().to_string(), &edits);
        judged(&plan_text(profile().to_string(), c, &[]), "config");
    }
}
