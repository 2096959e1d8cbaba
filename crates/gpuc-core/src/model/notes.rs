//! What an analysis left out or assumed, in sentences.

use serde_json::Value;

use super::dims::{Dims, Facts};
use super::experts::Feed;
use super::family::Windows;

/// Keys whose names speak of experts though they say nothing that is counted.
const SILENT: &[&str] = &["moe_layer_freq", "moe_intermediate_size"];

/// The sentences about `f`.
pub(super) fn notes(f: &Facts<'_>, d: &Dims, feed: &Feed) -> Vec<String> {
    let c = &f.c;
    let mut notes = Vec::new();
    if !f.known && d.layers.is_some() {
        notes.push(match f.model_type {
            "" => "model: the configuration names no model_type; counted as a plain gated \
                   transformer"
                .to_string(),
            name => format!(
                "model: \"{name}\" is no family this analysis knows; counted as a plain gated \
                 transformer"
            ),
        });
    }
    for key in ["vision_config", "audio_config"] {
        if c.outer_has(key) {
            notes.push(format!("model: {key} is not counted, only the text model"));
        }
    }
    if let Some(what) = feed.unknown.filter(|_| d.hidden.is_some()) {
        notes.push(format!(
            "model: the configuration does not say {what}; the parameters are not counted"
        ));
    }
    if feed.experts.is_none() {
        let odd = expert_like(f);
        if !odd.is_empty() {
            notes.push(format!(
                "model: planned as dense, though {} may speak of experts that are not understood",
                odd.join(", ")
            ));
        }
    } else if feed.top_k.is_none() {
        notes.push(
            "model: the configuration does not say how many experts a token uses; their reads \
             are not in the ceiling"
                .into(),
        );
    }
    if let Some(window) = c.get("sliding_window").and_then(Value::as_u64)
        && f.family.windows == Windows::Ignored
        && !f.bare
        && c.truth("use_sliding_window") != Some(false)
        && c.get("max_position_embeddings")
            .and_then(Value::as_u64)
            .is_none_or(|most| window < most)
    {
        notes.push(format!(
            "model: llama.cpp keeps the whole context in every layer of this family, not the \
             {window} tokens of its window"
        ));
    }
    for key in [
        "num_nextn_predict_layers",
        "mtp_num_hidden_layers",
        "num_mtp_modules",
    ] {
        if let Some(count) = c.get(key).and_then(Value::as_u64).filter(|x| *x > 0) {
            notes.push(format!(
                "model: {count} block(s) for predicting further tokens ({key}) are not counted; \
                 llama.cpp does not load them"
            ));
            break;
        }
    }
    for key in ["moe_intermediate_size", "moe_topk", "intermediate_size"] {
        if let Some(Value::Array(items)) = c.get(key)
            && items.iter().any(|x| Some(x) != items.first())
        {
            notes.push(format!(
                "model: {key} differs from block to block; its largest value is used"
            ));
        }
    }
    notes
}

/// Keys that hold a number and are named after experts.
fn expert_like<'a>(f: &Facts<'a>) -> Vec<&'a str> {
    f.c.keys()
        .filter(|k| (k.contains("expert") || k.contains("moe")) && !SILENT.contains(k))
        .filter(|k| k.contains("num") || k.starts_with("n_") || k.contains("count"))
        .filter(|k| f.c.get(k).and_then(Value::as_f64).is_some_and(|x| x > 1.0))
        .take(4)
        .collect()
}
