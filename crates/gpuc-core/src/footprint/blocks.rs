//! The pieces that every block's graph is made of.

use crate::header::GgmlType;

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
    /// Which cached states the batch's sequences have.
    pub(super) states: Id,
    /// The part of them that is this batch's.
    pub(super) own_state: Id,
    /// The states of further sequences: none in a batch of one, but an empty tensor counts.
    pub(super) spare_states: Id,
    /// Rotations of keys in full and in windowed caches.
    rotation: [Option<Id>; 2],
    value_rotation: [Option<Id>; 2],
}

/// The widths of the rotations that caches of few bits are kept under, full and windowed.
struct Rotations {
    keys: [Option<u64>; 2],
    values: [Option<u64>; 2],
}

impl Rotations {
    /// Heads that are all alike within a cache and a multiple of 64 are rotated: keys by the
    /// largest power of two that divides them, values by 64.
    fn of(facts: &Facts, setting: &Setting) -> Self {
        let width = |window: WindowKind, kind: GgmlType, of: fn(&LayerFacts) -> u64| {
            let mut heads = facts
                .layers
                .iter()
                .filter(|l| l.has_cache && l.kv_heads > 0 && l.window == window)
                .map(of);
            let first = heads.next()?;
            let alike = heads.all(|n| n == first);
            let few_bits = kind.block().is_some_and(|(per_block, _)| per_block > 1);
            (alike && few_bits && !facts.latent && first > 0 && first.is_multiple_of(64))
                .then_some(first)
        };
        let largest = |n: u64| 1_u64 << n.trailing_zeros();
        let windows = [WindowKind::Full, WindowKind::Window];
        Self {
            keys: windows.map(|w| width(w, setting.type_k, |l| l.key_length).map(largest)),
            values: windows.map(|w| width(w, setting.type_v, |l| l.value_length).map(|_| 64)),
        }
    }
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
        let rotations = Rotations::of(facts, setting);
        let latent = facts.latent;
        // Values stored transposed are placed one by one.
        let values_at = if setting.flash_attn || latent {
            tokens * 8
        } else {
            (tokens * 8).saturating_mul(facts.widest_values.max(1))
        };
        let states = g.input(F32);
        let mut input = |bytes| g.input(bytes);
        let inputs = Inputs {
            positions: input(tokens * F32),
            rotation: rotations.keys.map(|n| n.map(|n| input(n * n * F32))),
            value_rotation: rotations.values.map(|n| n.map(|n| input(n * n * F32))),
            keys_at: input(tokens * 8),
            values_at: input(values_at),
            mask: input(cells.full * tokens * element),
            window_keys_at: input(tokens * 8),
            window_values_at: input(values_at),
            window_mask: input(if facts.window > 0 {
                cells.window * tokens * element
            } else {
                0
            }),
            outputs: input(tokens * F32),
            states,
            own_state: g.view(states, F32, true),
            spare_states: g.view(states, 0, true),
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
        if self.facts.style.layer_norm {
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

    /// What rotates a block's keys and values, if anything does.
    pub(super) fn rotations(&self, layer: &LayerFacts) -> (Option<Id>, Option<Id>) {
        let pick = |[full, window]: [Option<Id>; 2]| match layer.window {
            WindowKind::Full => full,
            WindowKind::Window => window,
        };
        (pick(self.inputs.rotation), pick(self.inputs.value_rotation))
    }

    /// Where a block's caches and unweighted operations lie.
    pub(super) fn side(first_block: u64, block: u64) -> u8 {
        if block < first_block { HOST } else { DEVICE }
    }
}
