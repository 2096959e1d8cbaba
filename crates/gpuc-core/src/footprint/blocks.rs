//! The pieces that every block's graph is made of.

use super::cache::Cells;
use super::facts::{Facts, LayerFacts, WindowKind};
use super::graph::{DEVICE, Graph, HOST, Id};
use super::memory::Setting;
use super::shape::Shape;

/// Bytes of an activation's element.
pub(super) const F32: u64 = 4;

/// A weight as the graph sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    pub(super) dims: [u64; 4],
    pub(super) place: u8,
}

/// Tensors that are filled before the graph runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inputs {
    pub(super) positions: Id,
    pub(super) keys_at: Id,
    pub(super) values_at: Id,
    pub(super) mask: Id,
    pub(super) window_keys_at: Id,
    pub(super) window_values_at: Id,
    pub(super) window_mask: Id,
    pub(super) outputs: Id,
    pub(super) states: Id,
    pub(super) rotation: Option<Id>,
    pub(super) value_rotation: Option<Id>,
}

/// The graph in the making.
pub(super) struct Builder<'a> {
    pub(super) graph: Graph,
    pub(super) facts: &'a Facts,
    pub(super) setting: &'a Setting,
    pub(super) cells: Cells,
    /// Tokens of the batch.
    pub(super) tokens: u64,
    pub(super) inputs: Inputs,
    /// Weights of the current block.
    shape: Option<&'a Shape>,
    /// Where each tensor lies.
    places: &'a [u8],
    /// Where the current block runs.
    pub(super) here: u8,
}

impl<'a> Builder<'a> {
    pub(super) fn new(facts: &'a Facts, setting: &'a Setting, places: &'a [u8]) -> Self {
        let tokens = setting.batch();
        let cells = Cells::of(facts, setting);
        let mut g = Graph::default();
        let element = if setting.flash_attn { 2 } else { F32 };
        let per_layer = |f: fn(&LayerFacts) -> u64| {
            let mut all = facts.layers.iter().filter(|l| l.has_cache).map(f);
            let first = all.next().unwrap_or(0);
            all.all(|n| n == first).then_some(first)
        };
        // Caches of few bits are rotated where all heads are alike, in multiples of 64.
        let rotates = |length: Option<u64>, bytes: Option<(u64, u64)>| {
            length.is_some_and(|n| n > 0 && n.is_multiple_of(64))
                && bytes.is_some_and(|(per_block, _)| per_block > 1)
        };
        let by_keys = rotates(per_layer(|l| l.key_length), setting.type_k.block());
        let by_values = rotates(per_layer(|l| l.value_length), setting.type_v.block());
        let latent = facts.latent;
        let mut input = |bytes| g.input(bytes);
        let inputs = Inputs {
            positions: input(tokens * F32),
            rotation: by_keys.then(|| input(64 * 64 * F32)),
            value_rotation: (by_values && !latent).then(|| input(64 * 64 * F32)),
            keys_at: input(tokens * 8),
            values_at: input(tokens * 8),
            mask: input(cells.full * tokens * element),
            window_keys_at: input(tokens * 8),
            window_values_at: input(tokens * 8),
            window_mask: input(if facts.window > 0 {
                cells.window * tokens * element
            } else {
                0
            }),
            outputs: input(tokens * F32),
            states: input(F32),
        };
        Self {
            graph: g,
            facts,
            setting,
            cells,
            tokens,
            inputs,
            shape: None,
            places,
            here: HOST,
        }
    }

    /// Turns to a block's weights, or to those of no block.
    pub(super) fn turn_to(&mut self, shape: Option<&'a Shape>, here: u8) {
        self.shape = shape;
        self.here = here;
    }

    fn place(&self, tensor: usize) -> u8 {
        self.places.get(tensor).copied().unwrap_or(self.here)
    }

    pub(super) fn weight(&self, stem: &str) -> Option<Weight> {
        let e = self.shape?.get(stem)?;
        Some(Weight {
            dims: e.dims,
            place: self.place(e.weight?),
        })
    }

    /// Where a bias lies, if there is one.
    pub(super) fn bias(&self, stem: &str) -> Option<u8> {
        Some(self.place(self.shape?.get(stem)?.bias?))
    }

    pub(super) fn has(&self, stem: &str) -> bool {
        self.weight(stem).is_some()
    }

    /// Bytes of one activation row of `width` elements for every token.
    pub(super) fn rows(&self, width: u64) -> u64 {
        width.saturating_mul(self.tokens).saturating_mul(F32)
    }

    /// A projection by `NAME.weight`, with its bias where there is one.
    pub(super) fn project(&mut self, name: &str, src: Id) -> Id {
        let Some(w) = self.weight(name) else {
            return src;
        };
        let bytes = self.rows(w.dims[1].saturating_mul(w.dims[2]));
        let out = self.graph.weighted(w.place, bytes, &[src]);
        self.biased(name, out)
    }

    fn biased(&mut self, name: &str, src: Id) -> Id {
        match self.bias(name) {
            Some(place) => self.graph.weighted_unary(place, &[src]),
            None => src,
        }
    }

    /// A norm without weights.
    pub(super) fn bare_norm(&mut self, src: Id) -> Id {
        if self.facts.layer_norm {
            let bytes = self.graph.node(src).bytes;
            return self.graph.op(bytes, &[src]);
        }
        self.graph.unary(&[src])
    }

    /// A norm with its weights, or the input where the block has no such norm.
    pub(super) fn norm(&mut self, name: &str, src: Id) -> Id {
        let Some(w) = self.weight(name) else {
            return src;
        };
        let out = self.bare_norm(src);
        let out = self.graph.weighted_unary(w.place, &[out]);
        self.biased(name, out)
    }

    /// A sum, written over the first operand where it may.
    pub(super) fn add(&mut self, a: Id, b: Id) -> Id {
        self.graph.unary(&[a, b])
    }

    /// The mask and the cache indices of a block's attention.
    pub(super) fn attention_inputs(&self, layer: &LayerFacts) -> (Id, Id, Id) {
        match layer.window {
            WindowKind::Full => (self.inputs.mask, self.inputs.keys_at, self.inputs.values_at),
            WindowKind::Window => (
                self.inputs.window_mask,
                self.inputs.window_keys_at,
                self.inputs.window_values_at,
            ),
        }
    }

    /// Where a block's caches and unweighted operations lie.
    pub(super) fn side(first_block: u64, block: u64) -> u8 {
        if block < first_block { HOST } else { DEVICE }
    }
}
