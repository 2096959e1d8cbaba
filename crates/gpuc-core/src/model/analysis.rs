//! From a configuration to the facts of a [`Model`].

use serde_json::Value;

use super::config::Config;
use super::error::ModelError;
use super::number::n;
use super::quant;
use crate::document::{Expert, Model};

/// A model's facts, and what was assumed to get them.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// The facts.
    pub model: Model,
    /// What was assumed, left out or not understood, a sentence each.
    pub notes: Vec<String>,
}

/// The facts of the model that `config` describes.
///
/// `name` and `quant` are what the user calls it and how its weights are quantised; an unknown tag
/// is an error here, before anything is planned with it.
pub fn analyze(
    config: &Value,
    name: Option<&str>,
    quant: Option<&str>,
) -> Result<Analysis, ModelError> {
    let c = Config::of(config)?;
    let mut notes = Vec::new();
    let dtype_bytes = c.dtype_bytes();
    notes.extend(quant::weights(quant, dtype_bytes, None)?.note);

    let layers = c.count("num_hidden_layers")?;
    let hidden = c.count("hidden_size")?;
    let heads = c.count("num_attention_heads")?;
    let kv_heads = c.count("num_key_value_heads")?.filter(|x| *x > 0).or(heads);
    let said_head_dim = c.count("head_dim")?;
    let even_head_dim = hidden
        .zip(heads)
        .and_then(|(h, n)| h.checked_div(n))
        .filter(|d| *d > 0);
    let head_dim = said_head_dim.or(even_head_dim);
    let experts = c.first(&["num_local_experts", "num_experts", "n_routed_experts"])?;
    let top_k = c.first(&["num_experts_per_tok", "num_experts_per_token", "moe_topk"])?;

    let kv_bytes_per_token = match (layers, kv_heads, head_dim) {
        (Some(l), Some(k), Some(d)) if l > 0 && k > 0 && d > 0 => Some(
            (n(2) * l * k * d * crate::units::floor_bytes(dtype_bytes))
                .get("the cache of a token")?,
        ),
        _ => None,
    };
    let mut model = Model {
        name: match name.filter(|s| !s.is_empty()) {
            Some(s) => s.to_string(),
            None => c.name()?,
        },
        architecture: Some(
            match (experts, layers) {
                (Some(_), _) => "moe",
                (None, Some(l)) if l > 0 => "dense",
                _ => "unknown",
            }
            .into(),
        ),
        n_layers: layers,
        n_kv_heads: kv_heads,
        head_dim,
        dtype_bytes: Some(dtype_bytes),
        quant: quant.map(str::to_string),
        expert: Expert {
            is_moe: experts.is_some(),
            num_experts: experts,
            experts_per_token: top_k,
            shared_params: c.count("n_shared_experts")?,
            expert_params_each: None,
        },
        kv_bytes_per_token,
        family: c.text("model_type")?.map(str::to_string),
        max_context: c.count("max_position_embeddings")?,
        hidden_size: hidden,
        vocab_size: c.count("vocab_size")?,
        n_heads: heads,
        ..Model::default()
    };

    if let (Some(h), Some(l)) = (hidden.filter(|x| *x > 0), layers.filter(|x| *x > 0)) {
        let nh = heads.unwrap_or(0);
        let nkv = kv_heads.unwrap_or(0);
        let hd = said_head_dim
            .filter(|x| *x > 0)
            .or(even_head_dim)
            .unwrap_or(0);
        let vocab = model.vocab_size.unwrap_or(0);
        let inter = c.count("intermediate_size")?.unwrap_or(0);
        let moe_inter = c.first(&["moe_intermediate_size"])?.unwrap_or(inter);
        let dense = c
            .first(&["first_k_dense_replace", "num_dense_layers"])?
            .unwrap_or(0);
        let shared = c
            .first(&["n_shared_experts", "num_shared_experts"])?
            .unwrap_or(0);
        let shared_inter = c
            .first(&["shared_expert_intermediate_size"])?
            .unwrap_or(moe_inter);
        let tied = c.truth("tie_word_embeddings").unwrap_or(false);
        let e = experts.unwrap_or(0);
        let moe_layers = if e > 0 { l.saturating_sub(dense) } else { 0 };
        let each = if e > 0 { n(3) * h * moe_inter } else { n(0) };
        let expert_total = (each * e * moe_layers).get("the experts' parameters")?;
        let attention = n(2) * h * nh * hd + n(2) * h * nkv * hd;
        let rest = attention * l
            + n(e) * h * moe_layers
            + n(shared) * 3 * h * shared_inter * moe_layers
            + n(3) * h * inter * (l - moe_layers)
            + n(vocab) * h * if tied { 1 } else { 2 };
        model.total_params = Some((rest + n(expert_total)).get("the parameters")?);
        model.non_expert_params = Some(rest.get("the parameters")?);
        model.expert_params_total = Some(expert_total);
        model.expert.expert_params_each =
            Some(each.get("an expert's parameters")?).filter(|x| *x > 0);
        model.n_moe_layers = Some(moe_layers);
        model.tied_embeddings = Some(tied);
    }
    Ok(Analysis { model, notes })
}
