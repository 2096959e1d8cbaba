//! From a configuration to the facts of a [`Model`].

use serde_json::Value;

use super::config::Config;
use super::dims::{Dims, Facts};
use super::error::ModelError;
use super::experts::{self, Feed};
use super::mixing::{self, Mixing};
use super::number::{Num, n};
use super::{notes, published, quant, uneven};
use crate::document::{Expert, KvGroup, Model};
use crate::units::floor_bytes;

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
    let f = Facts::of(c)?;
    let d = Dims::of(&f)?;
    let dtype_bytes = c.dtype_bytes();
    let quantization = published::quantization(&c);
    let weights = quant::weights(quant, dtype_bytes, quantization.as_ref())?;

    let hidden = d.hidden.unwrap_or(0);
    let layers = d.layers.unwrap_or(0);
    let mut feed = experts::feed(&f, &d, hidden, layers)?;
    let mixing = match uneven::uneven(&f, &d, hidden)? {
        Some(pruned) => {
            feed.rest = pruned.feed;
            feed.unknown = None;
            pruned.mixing
        }
        None => mixing::mixing(&f, &d, hidden, layers)?,
    };
    let groups = mixing.groups.clone().filter(|_| layers > 0);

    let mut notes: Vec<String> = weights.note.into_iter().collect();
    notes.extend(notes::notes(&f, &d, &feed));
    let mut model = Model {
        name: match name.filter(|s| !s.is_empty()) {
            Some(s) => s.to_string(),
            None => c.name()?,
        },
        architecture: Some(architecture(&feed, layers).into()),
        n_layers: d.layers,
        n_kv_heads: d.kv_heads,
        head_dim: d.head_dim,
        dtype_bytes: Some(dtype_bytes),
        quant: quant.map(str::to_string),
        expert: Expert {
            is_moe: feed.experts.is_some(),
            num_experts: feed.experts,
            experts_per_token: feed.top_k,
            shared_params: c.count("n_shared_experts")?,
            expert_params_each: None,
        },
        kv_bytes_per_token: match &groups {
            Some(groups) => Some(per_token(groups)?),
            None => plain_cache(&d, layers, dtype_bytes)?,
        },
        family: (!f.model_type.is_empty()).then(|| f.model_type.to_string()),
        max_context: f.count("max_position_embeddings")?,
        hidden_size: d.hidden,
        vocab_size: d.vocab,
        n_heads: d.heads,
        n_nextn_layers: c.count("num_nextn_predict_layers")?.filter(|x| *x > 0),
        kv_groups: groups,
        quantization,
        ..Model::default()
    };
    if hidden > 0 && layers > 0 {
        count_parameters(&mut model, &f, &d, &feed, &mixing)?;
    }
    Ok(Analysis { model, notes })
}

fn architecture(feed: &Feed, layers: u64) -> &'static str {
    match feed.experts {
        Some(_) => "moe",
        None if layers > 0 => "dense",
        None => "unknown",
    }
}

/// Cache of a token over all layers: keys and values of every head.
fn plain_cache(d: &Dims, layers: u64, dtype_bytes: f64) -> Result<Option<u64>, ModelError> {
    match (layers, d.kv_heads, d.head_dim) {
        (l, Some(kv), Some(width)) if l > 0 && kv > 0 && width > 0 => {
            let bytes = n(2) * l * kv * width * floor_bytes(dtype_bytes);
            bytes.get("the cache of a token").map(Some)
        }
        _ => Ok(None),
    }
}

fn per_token(groups: &[KvGroup]) -> Result<u64, ModelError> {
    groups
        .iter()
        .map(|g| n(g.bytes_per_token))
        .sum::<Num>()
        .get("the cache of a token")
}

/// Parameters by role.
fn count_parameters(
    model: &mut Model,
    f: &Facts<'_>,
    d: &Dims,
    feed: &Feed,
    mixing: &Mixing,
) -> Result<(), ModelError> {
    let hidden = d.hidden.unwrap_or(0);
    let layers = d.layers.unwrap_or(0);
    let tied = if f.bare {
        f.c.truth("tie_word_embeddings").unwrap_or(false)
    } else {
        f.c.truth_any("tie_word_embeddings")
            .unwrap_or(f.family.tied)
    };
    let moe_layers = feed.moe.count();
    model.n_moe_layers = Some(moe_layers);
    model.tied_embeddings = Some(tied);
    model.moe_blocks = (!feed.moe.is_leading()).then(|| feed.moe.runs());
    if feed.unknown.is_some() {
        return Ok(());
    }
    let experts = feed.each * feed.experts.unwrap_or(0) * moe_layers;
    let embeddings = n(d.vocab.unwrap_or(0)) * hidden * if tied { 1 } else { 2 };
    let rest = mixing.params + feed.rest + embeddings + per_layer_inputs(f, hidden, layers)?;
    model.total_params = Some((rest + experts).get("the number of parameters")?);
    model.non_expert_params = Some(rest.get("the number of parameters")?);
    model.expert_params_total = Some(experts.get("the number of parameters")?);
    model.expert.expert_params_each =
        Some(feed.each.get("the parameters of an expert")?).filter(|x| *x > 0);
    Ok(())
}

/// What Gemma's E models add to a block: an embedding of its own for each layer, low-rank and
/// parallel paths around it.
fn per_layer_inputs(f: &Facts<'_>, hidden: u64, layers: u64) -> Result<Num, ModelError> {
    let mut sum = Num::ZERO;
    let width = f.count_or_zero("hidden_size_per_layer_input")?;
    if width > 0 {
        let vocab = f.count_or_zero("vocab_size_per_layer_input")?;
        // The embedding, its projection, and the gate and projection of each block.
        sum = sum + (n(vocab) + n(hidden) * 3) * width * layers;
    }
    let rank = f.count_or_zero("laurel_rank")?;
    let paths = f.count_or_zero("altup_num_inputs")?;
    sum = sum + n(2) * hidden * rank * layers + n(hidden) * paths * layers;
    Ok(sum + n(2) * paths.saturating_sub(1) * hidden * hidden)
}
