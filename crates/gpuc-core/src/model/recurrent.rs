//! Layers that keep a state of constant size instead of a cache.

use super::dims::{Dims, Facts};
use super::error::ModelError;
use super::number::{Num, n};

/// One recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recurrent {
    /// Its parameters.
    pub(super) params: Num,
    /// Elements of its state, convolution included, for one sequence.
    pub(super) state: Num,
}

/// Gated delta-net (Qwen3-Next, Qwen3.5).
pub(super) fn gated_delta(f: &Facts<'_>, hidden: u64) -> Result<Recurrent, ModelError> {
    let k_heads = f.count_or_zero("linear_num_key_heads")?;
    let v_heads = f.count_or_zero("linear_num_value_heads")?;
    let k_dim = f.count_or_zero("linear_key_head_dim")?;
    let v_dim = f.count_or_zero("linear_value_head_dim")?;
    let conv = f.count_or_zero("linear_conv_kernel_dim")?;
    let keys = n(k_heads) * k_dim;
    let values = n(v_heads) * v_dim;
    let mixed = keys * 2 + values;
    Ok(Recurrent {
        // q, k, v and the gate z; beta and decay; the convolution; the output.
        params: (mixed + values + n(v_heads) * 2 + values) * hidden
            + mixed * conv
            + n(v_heads) * 2
            + n(v_dim),
        state: mixed * conv.saturating_sub(1) + values * k_dim,
    })
}

/// Mamba (Jamba).
pub(super) fn mamba(f: &Facts<'_>, hidden: u64) -> Result<Recurrent, ModelError> {
    let inner = n(hidden) * f.count_or_zero("mamba_expand")?;
    let state = f.count_or_zero("mamba_d_state")?;
    let conv = f.count_or_zero("mamba_d_conv")?;
    // "auto" means a sixteenth.
    let rank = match f.c.get("mamba_dt_rank") {
        Some(serde_json::Value::Number(_)) => f.count_or_zero("mamba_dt_rank")?,
        _ => hidden.div_ceil(16),
    };
    Ok(Recurrent {
        params: inner * hidden * 3
            + inner * conv.saturating_add(1)
            + inner * (n(rank) + n(state) * 2)
            + inner * rank
            + inner
            + inner * state
            + inner,
        state: inner * conv.saturating_sub(1) + inner * state,
    })
}

/// Mamba 2, from its own dimensions.
fn mamba2_of(hidden: u64, inner: Num, heads: u64, groups: u64, state: u64, conv: u64) -> Recurrent {
    let mixed = inner + n(groups) * state * 2;
    Recurrent {
        // Gate, convolved part and step size in; out; convolution; A, D, step bias; norm.
        params: (inner + mixed + n(heads)) * hidden
            + inner * hidden
            + mixed * conv.saturating_add(1)
            + n(heads) * 3
            + inner,
        state: mixed * conv.saturating_sub(1) + inner * state,
    }
}

/// Mamba 2, its inner width found, under the keys of those that call it Mamba.
fn mamba2_keyed(f: &Facts<'_>, hidden: u64, inner: Num) -> Result<Recurrent, ModelError> {
    Ok(mamba2_of(
        hidden,
        inner,
        f.count_or_zero("mamba_n_heads")?,
        f.count_or_zero("mamba_n_groups")?,
        f.count_or_zero("mamba_d_state")?,
        f.count_or_zero("mamba_d_conv")?,
    ))
}

/// Mamba 2 (Granite 4, Bamba).
pub(super) fn mamba2(f: &Facts<'_>, hidden: u64) -> Result<Recurrent, ModelError> {
    let inner = match f.c.get("mamba_d_head") {
        Some(serde_json::Value::Number(_)) => {
            n(f.count_or_zero("mamba_n_heads")?) * f.count_or_zero("mamba_d_head")?
        }
        _ => n(hidden) * f.count_or_zero("mamba_expand")?,
    };
    mamba2_keyed(f, hidden, inner)
}

/// Mamba 2 beside attention (Falcon-H1).
pub(super) fn falcon(f: &Facts<'_>, hidden: u64) -> Result<Recurrent, ModelError> {
    let inner = match f.c.first(&["mamba_d_ssm"])? {
        Some(width) => n(width),
        None => n(hidden) * f.c.first(&["mamba_expand"])?.unwrap_or(2),
    };
    mamba2_keyed(f, hidden, inner)
}

/// Mamba 2 (Nemotron-H).
pub(super) fn nemotron(f: &Facts<'_>, hidden: u64) -> Result<Recurrent, ModelError> {
    let heads = f.count_or_zero("mamba_num_heads")?;
    let inner = n(heads) * f.count_or_zero("mamba_head_dim")?;
    Ok(mamba2_of(
        hidden,
        inner,
        heads,
        f.count_or_zero("n_groups")?,
        f.count_or_zero("ssm_state_size")?,
        f.count_or_zero("conv_kernel")?,
    ))
}

/// A gated short convolution (LFM2).
pub(super) fn short_conv(f: &Facts<'_>, hidden: u64) -> Result<Recurrent, ModelError> {
    let kernel = f.count_or_zero("conv_L_cache")?;
    Ok(Recurrent {
        params: n(hidden) * hidden * 4 + n(hidden) * kernel,
        state: n(hidden) * kernel.saturating_sub(1),
    })
}

/// Lightning attention (MiniMax-01): queries, keys, values, gate and output, all of one width.
pub(super) fn lightning(d: &Dims, hidden: u64) -> Recurrent {
    let width = n(d.n_heads()) * d.width;
    Recurrent {
        params: width * hidden * 5,
        state: width * d.width,
    }
}

/// Kimi delta attention.
pub(super) fn kimi_delta(f: &Facts<'_>, hidden: u64) -> Result<Recurrent, ModelError> {
    let Some(l) = f.c.object("linear_attn_config") else {
        return Ok(Recurrent {
            params: Num::ZERO,
            state: Num::ZERO,
        });
    };
    let heads = l.first(&["num_heads"])?.unwrap_or(0);
    let width = l.first(&["head_dim"])?.unwrap_or(0);
    let conv = l.first(&["short_conv_kernel_size"])?.unwrap_or(4);
    let inner = n(heads) * width;
    let low_rank = (n(hidden) + inner) * width;
    let gate = if l.truth("use_full_rank_gate") == Some(true) {
        inner * hidden
    } else {
        low_rank
    };
    Ok(Recurrent {
        params: inner * hidden * 4 + inner * 3 * conv + low_rank + gate + n(hidden) * heads + inner,
        state: inner * 3 * conv.saturating_sub(1) + inner * width,
    })
}
