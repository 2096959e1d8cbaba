//! The dimensions of a transformer, gathered from the keys that each family calls them by.

use super::config::Config;
use super::error::ModelError;
use super::family::{self, Family, Implied, Mixer};

/// The most blocks whose configuration may be looked at one by one.
pub(super) const MOST_LISTED: u64 = 16_384;

/// A configuration together with what its family implies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The text model's configuration.
    pub(super) c: Config<'a>,
    /// Its family's name, "" when it has none.
    pub(super) model_type: &'a str,
    /// What the family implies.
    pub(super) family: Family,
    /// Whether the family is known.
    pub(super) known: bool,
    /// Whether the configuration is reduced to dimensions.
    pub(super) bare: bool,
}

impl<'a> Facts<'a> {
    /// The facts of `c`.
    pub(super) fn of(c: Config<'a>) -> Result<Self, ModelError> {
        let model_type = c
            .text("model_type")?
            .or(c.outer_text("model_type"))
            .unwrap_or("");
        let Implied {
            family,
            known,
            bare,
        } = family::implied(&c, model_type);
        Ok(Self {
            c,
            model_type,
            family,
            known,
            bare,
        })
    }

    /// The whole number under `key`, else the family's default.
    pub(super) fn count(&self, key: &str) -> Result<Option<u64>, ModelError> {
        let said = self.c.count(key)?;
        if said.is_some() || self.bare {
            return Ok(said);
        }
        Ok(family::default_of(self.model_type, key))
    }

    /// The same, 0 when there is none.
    pub(super) fn count_or_zero(&self, key: &str) -> Result<u64, ModelError> {
        Ok(self.count(key)?.unwrap_or(0))
    }

    /// Whether the family is `name`, with or without "_text".
    pub(super) fn is(&self, name: &str) -> bool {
        self.model_type
            .strip_suffix("_text")
            .unwrap_or(self.model_type)
            == name
    }
}

/// The dimensions that every family has. Missing ones stay missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Dims {
    /// Blocks.
    pub(super) layers: Option<u64>,
    /// Width of the residual stream.
    pub(super) hidden: Option<u64>,
    /// Query heads.
    pub(super) heads: Option<u64>,
    /// Key-value heads; the query heads when it is not said or 0.
    pub(super) kv_heads: Option<u64>,
    /// Elements of a head, as the document shows it: 0 when 0 is said.
    pub(super) head_dim: Option<u64>,
    /// Elements of a head to count with: an even share when 0 is said, 0 when unknown.
    pub(super) width: u64,
    /// Vocabulary.
    pub(super) vocab: Option<u64>,
    /// Width of a dense feed-forward network.
    pub(super) inter: u64,
}

impl Dims {
    /// The dimensions in `f`.
    pub(super) fn of(f: &Facts<'_>) -> Result<Self, ModelError> {
        let mut layers = f.count("num_hidden_layers")?;
        let mut hidden = f.count("hidden_size")?;
        let mut heads = f.count("num_attention_heads")?;
        let mut kv = f.count("num_key_value_heads")?;
        let mut inter = f.count("intermediate_size")?;
        if f.is("dbrx") {
            layers = layers.or(f.count("n_layers")?);
            hidden = hidden.or(f.count("d_model")?);
            heads = heads.or(f.count("n_heads")?);
            if let Some(attention) = f.c.object("attn_config") {
                kv = kv.or(attention.count("kv_n_heads")?);
            }
        }
        let mut vocab = f.count("vocab_size")?;
        if !f.bare {
            layers = layers.or(f.count("num_layers")?);
            inter = inter.or(f.count("ffn_hidden_size")?);
        }
        if f.is("chatglm") {
            kv = kv.or(f.count("multi_query_group_num")?);
            vocab = vocab.or(f.count("padded_vocab_size")?);
        }
        if f.is("qwen") {
            // The first Qwen counts both halves of its gated network.
            inter = inter.map(|w| w / 2);
        }
        if layers.is_none() && f.family.mixer == Mixer::Single {
            layers = f.c.words("layers_block_type").map(|w| w.len() as u64);
        }
        if f.family.mixer == Mixer::ShortConv && !f.bare {
            inter = short_conv_width(f, inter)?;
        }
        let even = hidden
            .zip(heads)
            .and_then(|(h, n)| h.checked_div(n))
            .filter(|d| *d > 0);
        let said = match f.count("head_dim")? {
            None => f.c.count("attention_head_dim")?,
            said => said,
        };
        Ok(Self {
            layers,
            hidden,
            heads,
            kv_heads: kv.filter(|n| *n > 0).or(heads),
            head_dim: said.or(even),
            width: said.filter(|d| *d > 0).or(even).unwrap_or(0),
            vocab,
            inter: inter.unwrap_or(0),
        })
    }

    /// Query heads, 0 when unknown.
    pub(super) fn n_heads(&self) -> u64 {
        self.heads.unwrap_or(0)
    }

    /// Key-value heads, 0 when unknown.
    pub(super) fn n_kv(&self) -> u64 {
        self.kv_heads.unwrap_or(0)
    }
}

/// LFM2 gives its width before the adjustment that its own code makes: two thirds, rounded up.
fn short_conv_width(f: &Facts<'_>, inter: Option<u64>) -> Result<Option<u64>, ModelError> {
    let given = f.c.count("block_ff_dim")?.or(inter);
    if f.c.truth("block_auto_adjust_ff_dim") != Some(true) {
        return Ok(given);
    }
    let step = f.c.count("block_multiple_of")?.unwrap_or(256).max(1);
    Ok(given.and_then(|w| {
        let adjusted = w.checked_mul(2)? / 3;
        adjusted.div_ceil(step).checked_mul(step)
    }))
}
