//! Models whose blocks were pruned one by one: `block_configs` (Nemotron-Super, Nemotron-Ultra).

use serde_json::{Map, Value};

use super::dims::{Dims, Facts};
use super::error::ModelError;
use super::mixing::{Mixing, cached};
use super::number::{Num, n};
use crate::document::KvGroup;
use crate::units::floor_bytes;

/// The blocks of such a model, counted; none for all others.
pub(super) struct Uneven {
    /// Attention.
    pub(super) mixing: Mixing,
    /// Feed-forward networks.
    pub(super) feed: Num,
}

fn part<'a>(block: &'a Value, name: &str) -> Option<&'a Map<String, Value>> {
    block.get(name)?.as_object()
}

fn is_set(part: &Map<String, Value>, key: &str) -> bool {
    part.get(key).and_then(Value::as_bool) == Some(true)
}

/// What `block_configs` says, where it has this shape.
pub(super) fn uneven(f: &Facts<'_>, d: &Dims, hidden: u64) -> Result<Option<Uneven>, ModelError> {
    let Some(Value::Array(blocks)) = f.c.get("block_configs") else {
        return Ok(None);
    };
    let square = n(hidden) * hidden;
    let (mut attention, mut feed, mut kv, mut attending) = (Num::ZERO, Num::ZERO, 0u64, 0);
    for block in blocks {
        let (Some(a), Some(net)) = (part(block, "attention"), part(block, "ffn")) else {
            return Ok(None);
        };
        if is_set(a, "replace_with_linear") {
            attention = attention + square;
        } else if !is_set(a, "no_op") {
            let group = a.get("n_heads_in_group").and_then(Value::as_u64);
            let own = d.n_heads() / group.unwrap_or(1).max(1);
            attention = attention + n(2) * hidden * d.n_heads().saturating_add(own) * d.width;
            kv = kv.saturating_add(own);
            attending += 1;
        }
        if is_set(net, "replace_with_linear") {
            feed = feed + square;
        } else if !is_set(net, "no_op") {
            let width = match net.get("intermediate_size").and_then(Value::as_u64) {
                Some(width) => width,
                None => width_of(net, hidden),
            };
            feed = feed + n(3) * hidden * width;
        }
    }
    let elements = n(2) * kv * d.width;
    Ok(Some(Uneven {
        mixing: Mixing {
            params: attention,
            groups: Some(vec![KvGroup {
                layers: attending,
                ..cached(1, elements.get("the cache of a token")?, None)?
            }]),
        },
        feed,
    }))
}

/// The width that a multiplier stands for: two thirds of it, rounded up to 256.
fn width_of(net: &Map<String, Value>, hidden: u64) -> u64 {
    let times = net.get("ffn_mult").and_then(Value::as_f64).unwrap_or(0.0);
    floor_bytes(2.0 * times * hidden as f64 / 3.0)
        .div_ceil(256)
        .saturating_mul(256)
}
