//! Latent attention (MLA) and the sparse indexers that go with it.

use super::dims::{Dims, Facts};
use super::error::ModelError;
use super::mixing::{Indexer, Mixing, cached};
use super::number::{Num, n};
use crate::document::KvGroup;

/// Widths of latent attention where a configuration leaves them out: DeepSeek's.
const NOPE: u64 = 128;
const ROPE: u64 = 64;
const VALUE: u64 = 128;

/// Latent attention in `layers` layers: llama.cpp caches the latent and the rotated key, no values.
pub(super) fn mixing(
    f: &Facts<'_>,
    d: &Dims,
    hidden: u64,
    layers: u64,
) -> Result<Mixing, ModelError> {
    let c = &f.c;
    let heads = d.n_heads();
    let kv_rank = c.first(&["kv_lora_rank"])?.unwrap_or(0);
    let nope = c.count("qk_nope_head_dim")?.unwrap_or(NOPE);
    let rope = c.count("qk_rope_head_dim")?.unwrap_or(ROPE);
    // DeepSeek's classes have a default of their own; other families share the width evenly.
    let value = match c.first(&["v_head_dim"])? {
        Some(width) => width,
        None if f.is("minicpm3") => d.width,
        None => VALUE,
    };
    let q_width = n(heads) * nope.saturating_add(rope);
    let queries = match c.first(&["q_lora_rank"])? {
        Some(rank) => (n(hidden) + q_width) * rank,
        None => q_width * hidden,
    };
    let down = n(hidden) * kv_rank.saturating_add(rope);
    let up = n(kv_rank) * heads * nope.saturating_add(value);
    let mut output = n(heads) * value * hidden;
    if c.truth("mla_use_output_gate") == Some(true) {
        output = output * 2;
    }
    let indexer = sparse_index_over(f, hidden, layers)?;
    let mut groups = vec![cached(layers, kv_rank.saturating_add(rope), None)?];
    groups.extend(indexer.group()?);
    Ok(Mixing {
        params: (queries + down + up + output) * layers + indexer.params,
        groups: Some(groups),
    })
}

/// DeepSeek-V4: one key-value head, grouped low-rank output, layers that keep a window and every
/// n-th compressed token.
pub(super) fn compressed(
    f: &Facts<'_>,
    d: &Dims,
    hidden: u64,
    layers: u64,
) -> Result<Mixing, ModelError> {
    let c = &f.c;
    let q_rank = c.first(&["q_lora_rank"])?.unwrap_or(hidden);
    let o_rank = c.first(&["o_lora_rank"])?.unwrap_or(0);
    let o_groups = c.first(&["o_groups"])?.unwrap_or(1);
    let q_width = n(d.n_heads()) * d.width;
    let attention = (n(hidden) + q_width) * q_rank
        + n(hidden) * d.width
        + q_width * o_rank
        + n(o_groups) * o_rank * hidden;
    let mut groups = Vec::new();
    let mut ratios = c.counts("compress_ratios")?.unwrap_or_default();
    ratios.truncate(usize::try_from(layers).unwrap_or(usize::MAX));
    let mut extra = Num::ZERO;
    let kept: u64 = ratios
        .iter()
        .filter(|r| **r > 0)
        .map(|r| d.width.div_ceil(*r))
        .fold(0, u64::saturating_add);
    for ratio in ratios.iter().filter(|r| **r > 0) {
        // A key and a weight projection compress the tokens, doubled where they overlap.
        let overlap = if *ratio <= 4 { 2 } else { 1 };
        extra = extra + n(2) * hidden * d.width * overlap;
        if *ratio <= 4 {
            let index = c.first(&["index_head_dim"])?.unwrap_or(0);
            let heads = c.first(&["index_n_heads"])?.unwrap_or(0);
            extra = extra + n(heads) * index * q_rank + n(hidden) * heads + n(4) * hidden * index;
        }
    }
    if let Some(window) = c.first(&["sliding_window"])? {
        groups.push(cached(layers, d.width, Some(window))?);
    }
    if kept > 0 {
        groups.push(KvGroup {
            layers: ratios.iter().filter(|r| **r > 0).count() as u64,
            ..cached(1, kept, None)?
        });
    }
    Ok(Mixing {
        params: attention * layers + extra,
        groups: if groups.is_empty() {
            None
        } else {
            Some(groups)
        },
    })
}

/// The indexer of sparse attention over latent keys, in those layers that do not borrow one.
fn sparse_index_over(f: &Facts<'_>, hidden: u64, layers: u64) -> Result<Indexer, ModelError> {
    let c = &f.c;
    let (Some(heads), Some(width)) = (c.first(&["index_n_heads"])?, c.first(&["index_head_dim"])?)
    else {
        return Ok(Indexer {
            params: Num::ZERO,
            layers: 0,
            elements: 0,
        });
    };
    let own = match c.words("indexer_types") {
        Some(words) => (words.iter().filter(|w| **w != "shared").count() as u64).min(layers),
        None => layers,
    };
    let rank = c.first(&["q_lora_rank"])?.unwrap_or(hidden);
    let each = n(heads) * width * rank + n(hidden) * width + n(hidden) * heads;
    Ok(Indexer {
        params: each * own,
        layers: own,
        elements: width,
    })
}

/// The index heads of block-sparse attention (MiniMax-M3).
pub(super) fn sparse_index(f: &Facts<'_>, hidden: u64) -> Result<Indexer, ModelError> {
    let none = Indexer {
        params: Num::ZERO,
        layers: 0,
        elements: 0,
    };
    let Some(s) = f.c.object("sparse_attention_config") else {
        return Ok(none);
    };
    let width = s.first(&["sparse_index_dim"])?.unwrap_or(0);
    let heads = s.first(&["sparse_num_index_heads"])?.unwrap_or(0);
    let layers = s
        .counts("sparse_attention_freq")?
        .map_or(0, |l| l.iter().filter(|x| **x != 0).count() as u64);
    Ok(Indexer {
        params: n(hidden) * width * heads.saturating_add(1) * layers,
        layers,
        elements: width,
    })
}
