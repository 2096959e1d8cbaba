//! The token-mixing half of a model: attention in its forms, recurrent layers, and what each keeps.

use super::blocks::Blocks;
use super::dims::{Dims, Facts};
use super::error::ModelError;
use super::experts::{Kind, single_kinds};
use super::family::{Mixer, Windows};
use super::latent;
use super::number::{Num, n};
use super::recurrent::{self, Recurrent};
use crate::document::KvGroup;

/// Bytes of a cache element: llama.cpp caches at 16 bits whatever the weights' type.
pub(super) const CACHE_BYTES: u64 = 2;

/// The token-mixing layers, counted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mixing {
    /// Their parameters.
    pub(super) params: Num,
    /// What they keep, where that is not the plain closed form.
    pub(super) groups: Option<Vec<KvGroup>>,
}

/// Attention with its own key-value heads.
#[derive(Debug, Clone, Copy)]
struct Heads {
    q: u64,
    kv: u64,
    k_width: u64,
    v_width: u64,
    /// Keys serve as values: no projection of their own.
    one_projection: bool,
    /// A gate as wide as the queries.
    gated: bool,
}

impl Heads {
    fn params(self, hidden: u64) -> Num {
        let queries = n(self.q) * self.k_width * if self.gated { 2 } else { 1 };
        let values = if self.one_projection {
            Num::ZERO
        } else {
            n(self.kv) * self.v_width
        };
        (queries + n(self.kv) * self.k_width + values + n(self.q) * self.v_width) * hidden
    }

    fn cache(self) -> Num {
        n(self.kv) * (self.k_width.saturating_add(self.v_width)) * CACHE_BYTES
    }
}

fn group(
    layers: u64,
    bytes: Num,
    window: Option<u64>,
    state_elements: Num,
) -> Result<KvGroup, ModelError> {
    Ok(KvGroup {
        layers,
        bytes_per_token: (bytes * layers).get("the cache of a token")?,
        window,
        // Recurrent state is f32.
        state_bytes: (state_elements * 4 * layers).get("the recurrent state")?,
    })
}

/// The token-mixing layers of `layers` blocks, `hidden` wide.
pub(super) fn mixing(
    f: &Facts<'_>,
    d: &Dims,
    hidden: u64,
    layers: u64,
) -> Result<Mixing, ModelError> {
    let full = heads(f, d)?;
    match f.family.mixer {
        Mixer::Attention => {
            if f.c.count("kv_lora_rank")?.is_some_and(|r| r > 0) {
                latent::mixing(f, d, hidden, layers)
            } else if f.c.first(&["o_lora_rank"])?.is_some() {
                latent::compressed(f, d, hidden, layers)
            } else {
                windowed(f, full, hidden, layers)
            }
        }
        Mixer::Double => {
            let doubled = layers
                .checked_mul(2)
                .ok_or(ModelError::TooLarge("layers"))?;
            latent::mixing(f, d, hidden, doubled)
        }
        Mixer::KimiDelta => {
            let full_blocks = match f.c.object("linear_attn_config") {
                Some(l) => l.counts("full_attn_layers")?.map_or(0, |l| l.len() as u64),
                None => layers,
            };
            let attention = full_blocks.min(layers);
            let other = recurrent::kimi_delta(f, hidden)?;
            let mla = latent::mixing(f, d, hidden, attention)?;
            hybrid(mla, other, layers - attention)
        }
        Mixer::Single => {
            let kinds = single_kinds(f).unwrap_or_default();
            let count = |k: Kind| kinds.iter().filter(|x| **x == k).count() as u64;
            let attention = plain(full, hidden, count(Kind::Attention))?;
            hybrid(
                attention,
                recurrent::nemotron(f, hidden)?,
                count(Kind::Mamba),
            )
        }
        Mixer::Parallel => {
            let attention = plain(full, hidden, layers)?;
            hybrid(attention, recurrent::falcon(f, hidden)?, layers)
        }
        Mixer::GatedDelta | Mixer::Mamba | Mixer::Mamba2 | Mixer::ShortConv | Mixer::Lightning => {
            let attention = attention_blocks(f, layers)?.count().min(layers);
            if f.family.mixer == Mixer::Lightning && attention == layers {
                return windowed(f, full, hidden, layers);
            }
            let other = match f.family.mixer {
                Mixer::GatedDelta => recurrent::gated_delta(f, hidden)?,
                Mixer::Mamba => recurrent::mamba(f, hidden)?,
                Mixer::Mamba2 => recurrent::mamba2(f, hidden)?,
                Mixer::ShortConv => recurrent::short_conv(f, hidden)?,
                _ => recurrent::lightning(d, hidden),
            };
            hybrid(plain(full, hidden, attention)?, other, layers - attention)
        }
    }
}

/// The heads that attend to everything.
fn heads(f: &Facts<'_>, d: &Dims) -> Result<Heads, ModelError> {
    let said = f.c.truth("attn_output_gate");
    Ok(Heads {
        q: d.n_heads(),
        kv: d.n_kv(),
        k_width: d.width,
        // Latent attention has a use of its own for this key.
        v_width: f
            .c
            .first(&["v_head_dim"])?
            .filter(|_| f.known && !f.bare)
            .unwrap_or(d.width),
        one_projection: false,
        gated: said.unwrap_or(f.family.gated_attention),
    })
}

fn plain(heads: Heads, hidden: u64, layers: u64) -> Result<Mixing, ModelError> {
    Ok(Mixing {
        params: heads.params(hidden) * layers,
        groups: Some(vec![group(layers, heads.cache(), None, Num::ZERO)?]),
    })
}

/// Attention layers beside `layers` recurrent ones.
fn hybrid(attention: Mixing, other: Recurrent, layers: u64) -> Result<Mixing, ModelError> {
    let mut groups = attention.groups.unwrap_or_default();
    groups.push(group(layers, Num::ZERO, None, other.state)?);
    groups.retain(|g| g.layers > 0);
    Ok(Mixing {
        params: attention.params + other.params * layers,
        groups: Some(groups),
    })
}

/// Which blocks of a hybrid attend.
fn attention_blocks(f: &Facts<'_>, layers: u64) -> Result<Blocks, ModelError> {
    let c = &f.c;
    for key in ["layer_types", "layers_block_type"] {
        if let Some(words) = c.words(key) {
            let attends = |w: &&str| w.ends_with("attention") && !w.contains("linear");
            return Ok(Blocks::of(words.iter().map(attends), layers));
        }
    }
    if let Some(list) = c.counts("attn_type_list")? {
        return Ok(Blocks::of(list.iter().map(|x| *x == 1), layers));
    }
    for key in ["full_attn_idxs", "attn_layer_indices"] {
        if let Some(list) = c.counts(key)? {
            return Ok(Blocks::listed(list, layers));
        }
    }
    if let Some(every) = f.count("attn_layer_period")?.filter(|p| *p > 0) {
        return Ok(Blocks::Every {
            first: f.count_or_zero("attn_layer_offset")? % every,
            every,
            end: layers,
        });
    }
    match f.count("full_attention_interval")?.filter(|p| *p > 0) {
        Some(every) => Ok(Blocks::each(every, layers)),
        None => Ok(Blocks::range(0, layers)),
    }
}

/// The blocks that attend to everything, and the tokens that the others keep; none when all do.
fn full_blocks(f: &Facts<'_>, layers: u64) -> Result<Option<(Blocks, u64)>, ModelError> {
    let c = &f.c;
    let default_step = match f.family.windows {
        Windows::Ignored => return Ok(None),
        Windows::Every(step) => Some(step),
        Windows::Said => None,
    };
    if c.truth("use_sliding_window") == Some(false) {
        return Ok(None);
    }
    let size = if f.is("llama4") {
        f.count("attention_chunk_size")?
    } else {
        match f.count("sliding_window")? {
            None => f.c.count("sliding_window_size")?,
            said => said,
        }
    };
    let Some(size) = size.filter(|s| *s > 0) else {
        return Ok(None);
    };
    if let Some(words) = c.words("layer_types").filter(|w| !w.is_empty()) {
        let slides = |w: &str| w.starts_with("sliding") || w.starts_with("chunked");
        return Ok(Some((
            Blocks::of(words.iter().map(|w| !slides(w)), layers),
            size,
        )));
    }
    for key in ["hybrid_layer_pattern", "sliding_window_layout"] {
        if let Some(slides) = c.switches(key) {
            return Ok(Some((Blocks::of(slides.iter().map(|x| !x), layers), size)));
        }
    }
    if let Some(list) = c.counts("no_rope_layers")?.filter(|l| !l.is_empty()) {
        return Ok(Some((
            Blocks::of(list.iter().map(|x| *x == 0), layers),
            size,
        )));
    }
    let mut step = None;
    for key in [
        "sliding_window_pattern",
        "_sliding_window_pattern",
        "global_attn_every_n_layers",
        "no_rope_layer_interval",
    ] {
        if let Some(serde_json::Value::Number(_)) = c.get(key) {
            step = step.or(c.count(key)?.filter(|s| *s > 0));
        }
    }
    Ok(step
        .or(default_step)
        .map(|s| (Blocks::each(s, layers), size)))
}

/// Attention in every block, some of it over a window.
fn windowed(f: &Facts<'_>, full: Heads, hidden: u64, layers: u64) -> Result<Mixing, ModelError> {
    let shared = f.count_or_zero("num_kv_shared_layers")?.min(layers);
    let indexer = latent::sparse_index(f, hidden)?;
    let Some((full_blocks, window)) = full_blocks(f, layers)? else {
        let special = full.v_width != full.k_width || full.gated || shared > 0;
        let params = full.params(hidden) * layers + indexer.params;
        let groups = if special || indexer.layers > 0 {
            let mut groups = vec![group(layers - shared, full.cache(), None, Num::ZERO)?];
            groups.extend(indexer.group()?);
            Some(groups)
        } else {
            None
        };
        return Ok(Mixing { params, groups });
    };
    let narrow = Heads {
        q: f.c.first(&["swa_num_attention_heads"])?.unwrap_or(full.q),
        kv: f.c.first(&["swa_num_key_value_heads"])?.unwrap_or(full.kv),
        k_width: f.c.first(&["swa_head_dim"])?.unwrap_or(full.k_width),
        v_width: f.c.first(&["swa_v_head_dim"])?.unwrap_or(full.v_width),
        ..full
    };
    // Gemma 4's full layers have heads of their own.
    let width = f.count("global_head_dim")?.filter(|w| *w > 0);
    let wide = Heads {
        kv: f
            .c
            .first(&["num_global_key_value_heads"])?
            .unwrap_or(full.kv),
        k_width: width.unwrap_or(full.k_width),
        v_width: width.unwrap_or(full.v_width),
        one_projection: f.c.truth("attention_k_eq_v") == Some(true),
        ..full
    };
    let owners = layers - shared;
    let n_full = full_blocks.count();
    let params = match f.c.counts("num_attention_heads_per_layer")? {
        Some(heads) => {
            let all = heads.iter().map(|q| n(*q)).sum::<Num>();
            let keys = Heads { q: 0, ..full };
            all * full.k_width * hidden * 2 + keys.params(hidden) * layers
        }
        None => {
            wide.params(hidden) * n_full + narrow.params(hidden) * layers.saturating_sub(n_full)
        }
    };
    let full_owners = full_blocks.below(owners);
    let mut groups = vec![
        group(full_owners, wide.cache(), None, Num::ZERO)?,
        group(
            owners - full_owners,
            narrow.cache(),
            Some(window),
            Num::ZERO,
        )?,
    ];
    groups.extend(indexer.group()?);
    groups.retain(|g| g.layers > 0);
    Ok(Mixing {
        params: params + indexer.params,
        groups: Some(groups),
    })
}

/// An index over keys that picks which to attend to: its own weights and its own cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Indexer {
    /// Its parameters over all layers.
    pub(super) params: Num,
    /// Layers that have one.
    pub(super) layers: u64,
    /// Elements that it caches of a token in a layer.
    pub(super) elements: u64,
}

impl Indexer {
    /// What it keeps.
    pub(super) fn group(self) -> Result<Option<KvGroup>, ModelError> {
        if self.layers == 0 || self.elements == 0 {
            return Ok(None);
        }
        group(self.layers, n(self.elements) * CACHE_BYTES, None, Num::ZERO).map(Some)
    }
}

/// A group of layers that cache `elements` of each token, all or the last `window`.
pub(super) fn cached(
    layers: u64,
    elements: u64,
    window: Option<u64>,
) -> Result<KvGroup, ModelError> {
    group(layers, n(elements) * CACHE_BYTES, window, Num::ZERO)
}
