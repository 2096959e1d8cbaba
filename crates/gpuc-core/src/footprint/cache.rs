//! Bytes of a block's key-value cache and recurrent state.

use crate::header::GgmlType;

use super::facts::{Facts, LayerFacts, WindowKind};
use super::memory::Setting;

/// Cells are reserved in steps of this.
const CELLS: u64 = 256;
const F32: u64 = 4;

/// Cells of a windowed and of a full cache, each for one stream, and the number of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cells {
    pub(super) full: u64,
    pub(super) window: u64,
    pub(super) streams: u64,
}

impl Cells {
    /// What llama.cpp reserves: the context is shared out among the sequences, each share padded;
    /// a window needs room for one batch beside it.
    pub(super) fn of(facts: &Facts, setting: &Setting) -> Self {
        let streams = setting.sequences();
        let context = setting.context().next_multiple_of(CELLS);
        let full = (context / streams).next_multiple_of(CELLS).max(CELLS);
        let window = full
            .min(facts.window.saturating_add(setting.batch()))
            .next_multiple_of(CELLS);
        Self {
            full,
            window,
            streams,
        }
    }

    pub(super) fn for_layer(&self, layer: &LayerFacts) -> u64 {
        match layer.window {
            WindowKind::Full => self.full,
            WindowKind::Window => self.window,
        }
    }
}

/// Bytes of `elements` of a cache of this type, whose rows are always whole blocks in practice.
fn cached(kind: GgmlType, elements: u64) -> u64 {
    let (per_block, bytes) = kind.block().unwrap_or((1, 2));
    elements.div_ceil(per_block).saturating_mul(bytes)
}

/// Bytes that a block caches: keys, values, indexer keys and recurrent state.
pub(super) fn layer_bytes(facts: &Facts, layer: &LayerFacts, setting: &Setting) -> u64 {
    let cells = Cells::of(facts, setting);
    let mut total: u64 = 0;
    if layer.has_cache && layer.kv_heads > 0 {
        let n = cells.for_layer(layer).saturating_mul(cells.streams);
        let keys = layer.key_length.saturating_mul(layer.kv_heads);
        total = cached(setting.type_k, keys).saturating_mul(n);
        if !facts.latent {
            // Without flash attention values are stored transposed, all blocks equally wide.
            let values = if setting.flash_attn {
                layer.value_length.saturating_mul(layer.kv_heads)
            } else {
                facts.widest_values
            };
            total = total.saturating_add(cached(setting.type_v, values).saturating_mul(n));
        }
        if layer.indexer_length > 0 {
            total = total
                .saturating_add(cached(setting.type_k, layer.indexer_length).saturating_mul(n));
        }
    }
    if layer.recurrent {
        let (conv, state) = facts.state;
        let elements = conv.saturating_add(state);
        total = total.saturating_add(elements.saturating_mul(F32 * setting.sequences()));
    }
    total
}

/// What a block's cache grows by with each token, bytes, and the window that ends it.
pub(super) fn layer_growth(
    facts: &Facts,
    layer: &LayerFacts,
    setting: &Setting,
) -> (f64, Option<u64>) {
    let window = match layer.window {
        WindowKind::Full => None,
        WindowKind::Window => Some(facts.window),
    };
    let mut bytes = 0;
    // A block without a cache of its own reads another's, which is as wide.
    if layer.kv_heads > 0 && (layer.has_cache || !layer.recurrent) && layer.heads > 0 {
        let keys = cached(setting.type_k, layer.key_length * layer.kv_heads);
        let values = if facts.latent {
            0
        } else {
            cached(setting.type_v, layer.value_length * layer.kv_heads)
        };
        bytes = keys.saturating_add(values);
        if layer.indexer_length > 0 {
            bytes = bytes.saturating_add(cached(setting.type_k, layer.indexer_length));
        }
    }
    (bytes as f64, window)
}

/// Bytes of a block's recurrent state, which a token reads.
pub(super) fn layer_state(facts: &Facts, layer: &LayerFacts) -> f64 {
    if !layer.recurrent {
        return 0.0;
    }
    let (conv, state) = facts.state;
    conv.saturating_add(state) as f64 * F32 as f64
}

/// Bytes that a token reads of a block's caches at a context of `depth` tokens.
pub(super) fn layer_read(facts: &Facts, layer: &LayerFacts, setting: &Setting, depth: u64) -> f64 {
    let (bytes, window) = layer_growth(facts, layer, setting);
    bytes * depth.min(window.unwrap_or(u64::MAX)) as f64 + layer_state(facts, layer)
}
