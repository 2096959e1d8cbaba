//! The feed-forward half of a model: which blocks route, how wide experts are, what is shared.

use super::blocks::Blocks;
use super::dims::{Dims, Facts, MOST_LISTED};
use super::error::ModelError;
use super::family::Mixer;
use super::number::{Num, n};

/// The feed-forward networks, counted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Feed {
    /// Routed experts of a block, if any.
    pub(super) experts: Option<u64>,
    /// Experts that a token uses.
    pub(super) top_k: Option<u64>,
    /// Parameters of one expert.
    pub(super) each: Num,
    /// Blocks with experts.
    pub(super) moe: Blocks,
    /// All that is not a routed expert: routers, shared experts, dense networks.
    pub(super) rest: Num,
    /// What is there, though nothing says how large it is.
    pub(super) unknown: Option<&'static str>,
}

const EXPERTS: &[&str] = &[
    "num_local_experts",
    "num_experts",
    "n_routed_experts",
    "moe_num_experts",
    "moe_num_primary_experts",
];
const TOP_K: &[&str] = &[
    "num_experts_per_tok",
    "num_experts_per_token",
    "moe_topk",
    "moe_k",
    "moe_top_k",
    "top_k_experts",
    "num_selected_experts",
    "moe_num_active_primary_experts",
    "experts_per_token",
];
const WIDTH: &[&str] = &[
    "moe_intermediate_size",
    "expert_ffn_hidden_size",
    "moe_ffn_hidden_size",
];
const SHARED: &[&str] = &[
    "n_shared_experts",
    "num_shared_experts",
    "moe_num_shared_experts",
    "num_shared_expert",
];
const SHARED_WIDTH: &[&str] = &[
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "shared_intermediate_size",
    "share_expert_dim",
];
/// Width of dense networks among experts, where it is not `intermediate_size`.
const DENSE_WIDTH: &[&str] = &[
    "intermediate_size_mlp",
    "dense_intermediate_size",
    "prefix_dense_intermediate_size",
];

/// The feed-forward networks of `layers` blocks, `hidden` wide.
pub(super) fn feed(f: &Facts<'_>, d: &Dims, hidden: u64, layers: u64) -> Result<Feed, ModelError> {
    let c = &f.c;
    let ffn = c.object("ffn_config");
    let mut experts = c.first(EXPERTS)?;
    let mut top_k = c.first(TOP_K)?;
    let mut width = c.first(WIDTH)?;
    if let Some(ffn) = &ffn {
        experts = experts.or(ffn.first(&["moe_num_experts"])?);
        top_k = top_k.or(ffn.first(&["moe_top_k"])?);
        width = width.or(ffn.first(&["ffn_hidden_size"])?);
    }
    if c.truth("enable_moe_block") == Some(false) {
        experts = None;
    }
    let width = width.unwrap_or(d.inter);
    let matrices = f.family.matrices;
    let single = single_kinds(f);
    let moe = match (&single, experts) {
        (_, None) => Blocks::NONE,
        (Some(kinds), _) => Blocks::of(kinds.iter().map(|k| *k == Kind::Routed), layers),
        (None, Some(_)) => routed_blocks(f, layers)?,
    };
    let n_moe = moe.count();
    let routed = experts.unwrap_or(0);

    // Experts may work on a narrower stream, with a projection down to it and up again.
    let latent = c.first(&["moe_latent_size", "routed_expert_hidden_size"])?;
    let inner = latent.unwrap_or(hidden);
    let each = if routed > 0 {
        n(matrices) * inner * width
    } else {
        Num::ZERO
    };
    let projections = latent.map_or(Num::ZERO, |l| n(2) * hidden * l);

    let scored = routed + c.first(&["zero_expert_num"])?.unwrap_or(0);
    let mut count = c.first(SHARED)?;
    let said_width = c.first(SHARED_WIDTH)?;
    let lone = f.family.lone_shared || (!f.bare && c.count("shared_intermediate_size")?.is_some());
    if count.is_none() && ((lone && said_width.is_some()) || f.family.silent_shared) {
        count = Some(1);
    }
    let shared = n(count.unwrap_or(0)) * matrices * hidden * said_width.unwrap_or(width);

    let dense_width = match c.first(DENSE_WIDTH)? {
        Some(w) if routed > 0 => w,
        _ => d.inter,
    };
    let dense = n(matrices) * hidden * dense_width;
    let dense_blocks = match &single {
        Some(kinds) => kinds.iter().filter(|k| **k == Kind::Dense).count() as u64,
        None => layers.saturating_sub(n_moe),
    };
    // Granite's hybrids without experts have only what they call the shared network.
    let dense = match c.count("shared_intermediate_size")?.filter(|w| *w > 0) {
        Some(w) if f.family.mixer == Mixer::Mamba2 && routed == 0 => n(matrices) * hidden * w,
        _ => dense,
    };
    let beside = beside_experts(f, d, hidden, n_moe, layers)?;
    let missing = |network: Num, blocks: u64| network == Num::ZERO && blocks > 0 && hidden > 0;
    Ok(Feed {
        unknown: if f.bare {
            None
        } else if missing(each, n_moe) || missing(dense, dense_blocks) {
            Some("how wide a feed-forward network is")
        } else if d.n_heads() == 0 && f.family.mixer == Mixer::Attention && layers > 0 {
            Some("how many attention heads there are")
        } else {
            None
        },
        experts,
        top_k,
        each,
        rest: (n(scored) * hidden + shared + projections) * n_moe + dense * dense_blocks + beside,
        moe,
    })
}

/// Networks that stand beside the experts of the same block.
fn beside_experts(
    f: &Facts<'_>,
    d: &Dims,
    hidden: u64,
    n_moe: u64,
    layers: u64,
) -> Result<Num, ModelError> {
    let c = &f.c;
    let mut sum = Num::ZERO;
    if c.truth("enable_moe_block") == Some(true) {
        sum = sum + n(3) * hidden * d.inter * n_moe;
    }
    if c.truth("parallel_attn_mlp_res") == Some(true) {
        sum = sum + n(3) * hidden * hidden * n_moe;
    }
    if f.family.mixer == Mixer::Double {
        sum = sum + n(6) * hidden * d.inter * layers;
    }
    if c.truth("use_double_wide_mlp") == Some(true) {
        // The blocks that borrow another's cache are twice as wide.
        sum = sum + n(3) * hidden * d.inter * f.count_or_zero("num_kv_shared_layers")?.min(layers);
    }
    Ok(sum)
}

/// What a block of one part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Mamba 2.
    Mamba,
    /// Attention.
    Attention,
    /// A dense feed-forward network.
    Dense,
    /// Routed experts.
    Routed,
}

/// The parts of a model whose blocks have one each; none for all others.
pub(super) fn single_kinds(f: &Facts<'_>) -> Option<Vec<Kind>> {
    if f.family.mixer != Mixer::Single {
        return None;
    }
    if let Some(words) = f.c.words("layers_block_type") {
        return Some(
            words
                .iter()
                .map(|w| match *w {
                    "attention" => Kind::Attention,
                    "mlp" => Kind::Dense,
                    "moe" => Kind::Routed,
                    _ => Kind::Mamba,
                })
                .collect(),
        );
    }
    let pattern = f.c.get("hybrid_override_pattern")?.as_str()?;
    Some(
        pattern
            .chars()
            .map(|ch| match ch {
                '*' => Kind::Attention,
                '-' => Kind::Dense,
                'E' => Kind::Routed,
                _ => Kind::Mamba,
            })
            .collect(),
    )
}

/// The blocks that route, by whichever key the family tells it.
fn routed_blocks(f: &Facts<'_>, layers: u64) -> Result<Blocks, ModelError> {
    let c = &f.c;
    if f.family.mixer == Mixer::Double {
        return Ok(Blocks::range(0, layers));
    }
    for key in ["moe_layer_freq", "is_moe_layer"] {
        if let Some(list) = c.switches(key) {
            return Ok(Blocks::of(list.into_iter(), layers));
        }
    }
    if let Some(words) = c.words("mlp_layer_types") {
        return Ok(Blocks::of(words.iter().map(|w| *w == "sparse"), layers));
    }
    for key in ["moe_layers", "moe_layers_enum"] {
        if let Some(list) = c.counts(key)?.or_else(|| comma_list(f, key))
            && !list.is_empty()
        {
            return Ok(Blocks::listed(list, layers));
        }
    }
    let dense = c.first(&["first_k_dense_replace", "num_dense_layers"])?;
    if let Some(first) = dense {
        let every = c.first(&["moe_layer_freq"])?.unwrap_or(1);
        return Ok(Blocks::Every {
            first: first.div_ceil(every).saturating_mul(every),
            every,
            end: layers,
        });
    }
    if let Some(first) = c.count("moe_layer_start_index")? {
        let every = c.first(&["moe_layer_interval"])?.unwrap_or(1);
        // The last index may be given as -1: the last block.
        let end = match c
            .get("moe_layer_end_index")
            .and_then(serde_json::Value::as_i64)
        {
            Some(-1) => layers,
            _ => match c.count("moe_layer_end_index")? {
                Some(last) => last.saturating_add(1).min(layers),
                None => layers,
            },
        };
        // Block i routes when i + 1 is a multiple of the interval.
        let aligned = first
            .saturating_add(1)
            .div_ceil(every)
            .saturating_mul(every)
            - 1;
        return Ok(Blocks::Every {
            first: aligned,
            every,
            end,
        });
    }
    if let Some(every) = f.count("expert_layer_period")?.filter(|p| *p > 0) {
        return Ok(Blocks::Every {
            first: f.count_or_zero("expert_layer_offset")? % every,
            every,
            end: layers,
        });
    }
    let step = c
        .first(&[
            "interleave_moe_layer_step",
            "decoder_sparse_step",
            "moe_layer_frequency",
            "moe_layer_freq",
        ])?
        .unwrap_or(1);
    let blocks = match c.first(&["moe_layer_freq"])? {
        Some(every) if every > 1 => Blocks::Every {
            first: 0,
            every,
            end: layers,
        },
        _ => Blocks::each(step, layers),
    };
    match c.counts("mlp_only_layers")? {
        Some(dense) if !dense.is_empty() => without(&blocks, &dense, layers),
        _ => Ok(blocks),
    }
}

/// `blocks` less those in `dense`.
fn without(blocks: &Blocks, dense: &[u64], layers: u64) -> Result<Blocks, ModelError> {
    if layers > MOST_LISTED {
        return Err(ModelError::Contradiction(format!(
            "\"mlp_only_layers\" with {layers} layers: at most {MOST_LISTED} are looked at one by one"
        )));
    }
    let routed = |i: u64| blocks.below(i + 1) > blocks.below(i) && !dense.contains(&i);
    Ok(Blocks::of((0..layers).map(routed), layers))
}

/// Whole numbers in a text, separated by commas.
fn comma_list(f: &Facts<'_>, key: &str) -> Option<Vec<u64>> {
    f.c.get(key)?
        .as_str()?
        .split(',')
        .map(|s| s.trim().parse().ok())
        .collect()
}
