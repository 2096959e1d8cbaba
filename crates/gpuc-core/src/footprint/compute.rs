//! The compute buffers: the whole graph of a batch, drawn and laid out.

use std::collections::BTreeMap;

use super::alloc;
use super::blocks::{Builder, F32};
use super::facts::{Facts, LayerFacts};
use super::graph::{DEVICE, HOST, Id};
use super::memory::{Placed, Setting};
use super::shape::Shape;
use super::tensors::ExpertKind;

/// No real model's distinct blocks have as many tensors; what follows is left out.
const MOST_TENSORS: usize = 50_000;

/// Bytes of the compute buffers of device and host.
pub(super) fn buffers(facts: &Facts, setting: &Setting, placed: &Placed, at: &[u8]) -> [u64; 2] {
    let mut b = Builder::new(facts, setting, at);
    let first = placed.first_block(facts);
    b.turn_to(facts.shapes.last(), HOST);
    let mut x = b.embed();
    let embedded = x;
    let by_layer = b.layer_embeddings(x);
    let last = facts.layers.len().saturating_sub(1);
    let kinds: Vec<Kind> = (0..facts.layers.len())
        .map(|i| Kind {
            class: facts.classes.get(i).map_or(0, |c| c + 1),
            here: Builder::side(first, i as u64),
            experts: experts_on_host(facts.shapes.get(i), at),
        })
        .collect();
    let drawn = drawn(&kinds);
    // Embeddings of every block are inputs of their own, and the empty tensors of recurrent
    // blocks leave marks for long: then all blocks are drawn.
    let all = by_layer.is_some() || facts.deep_rows > 0 || facts.layers.iter().any(|l| l.recurrent);
    for (i, layer) in facts.layers.iter().enumerate() {
        let wanted = all || drawn.get(i).copied().unwrap_or(true);
        if (!wanted || b.graph.len() > MOST_TENSORS) && i != last {
            continue;
        }
        b.turn_to(facts.shapes.get(i), Builder::side(first, i as u64));
        x = b.block(layer, x, i == last);
        x = b.add_layer_embedding(by_layer, x);
        if (i as u64) < facts.deep_rows {
            let bytes = b.rows(facts.embedding_length);
            let row = b.graph.view(embedded, bytes, false);
            b.graph
                .set_span(row, bytes.saturating_mul(facts.deep_rows + 1));
            x = b.add(x, row);
        }
    }
    let out = if placed.output_on_device() {
        DEVICE
    } else {
        HOST
    };
    b.turn_to(facts.shapes.last(), out);
    b.output(x, out);
    let order = b.graph.schedule();
    alloc::buffer_sizes(&b.graph, &order)
}

/// Which blocks are drawn. Once a block has followed another of its kind twice the buffer has
/// found its size; since neighbours may swap places in it, an even number of repeats is left out.
fn drawn(kinds: &[Kind]) -> Vec<bool> {
    let before = std::iter::once(Kind::default()).chain(kinds.iter().copied());
    let pairs: Vec<(Kind, Kind)> = before.zip(kinds.iter().copied()).collect();
    let mut times: BTreeMap<(Kind, Kind), usize> = BTreeMap::new();
    for pair in &pairs {
        *times.entry(*pair).or_default() += 1;
    }
    let mut seen: BTreeMap<(Kind, Kind), usize> = BTreeMap::new();
    pairs
        .iter()
        .map(|pair| {
            let all = times.get(pair).copied().unwrap_or(0);
            let k = seen.entry(*pair).or_default();
            *k += 1;
            *k < 2 + all % 2 || *k == all
        })
        .collect()
}

/// What makes two blocks' graphs the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    class: usize,
    here: u8,
    experts: u8,
}

/// Which of a block's expert tensors lie on the host, one bit each.
fn experts_on_host(shape: Option<&Shape>, at: &[u8]) -> u8 {
    let on_host = |k: ExpertKind| {
        shape
            .and_then(|s| s.get(k.stem()))
            .and_then(|e| e.weight)
            .and_then(|t| at.get(t))
            .is_some_and(|p| *p == HOST)
    };
    [
        ExpertKind::Gate,
        ExpertKind::Up,
        ExpertKind::GateUp,
        ExpertKind::Down,
    ]
    .into_iter()
    .fold(0, |bits, k| bits << 1 | u8::from(on_host(k)))
}

impl Builder<'_> {
    /// The embeddings of the batch: by token, and the parts of a mixed batch beside them.
    fn embed(&mut self) -> Id {
        let deep = self.facts.deep_rows;
        let narrow = self.rows(self.facts.embedding_length);
        let row = narrow.saturating_mul(deep + 1);
        let tokens = self.graph.input(self.tokens * F32);
        let raw = self.graph.input(row);
        let mixed_tokens = self.graph.input(self.tokens * F32);
        let slots = self.graph.input(self.tokens * 8);
        let mixed = self.graph.input(row);
        let mut x = self.graph.weighted(HOST, narrow, &[tokens]);
        let mut by_token = self.graph.weighted(HOST, narrow, &[mixed_tokens]);
        if deep > 0 {
            // Padded to the width that an image's embedding has.
            x = self.graph.op(row, &[x]);
            by_token = self.graph.op(row, &[by_token]);
        }
        let joined = self.graph.op(row, &[mixed]);
        let joined = self.graph.write(joined, &[by_token, slots, joined]);
        for id in [x, raw, joined] {
            self.graph.expand(id);
        }
        if deep > 0 {
            let view = self.graph.view(x, narrow, false);
            self.graph.set_span(view, row);
            self.graph.expand(view);
            return view;
        }
        if self.facts.style.scaled_embedding {
            let scale = self.graph.input(self.tokens * F32);
            return self.graph.unary(&[x, scale]);
        }
        x
    }

    /// One block: attention or recurrence, then feed-forward, each added to the stream.
    fn block(&mut self, layer: &LayerFacts, x: Id, last: bool) -> Id {
        let normed = self.norm("attn_norm", x);
        if self.facts.architecture.starts_with("qwen3") && !self.facts.recurrence.is_empty() {
            self.graph.expand(normed);
        }
        let mixes = layer.kv_heads > 0 && self.has("attn_output");
        let mut out = mixes.then(|| self.attention(layer, normed));
        if layer.recurrent && (!mixes || self.has("ssm_in")) {
            let r = self.recurrent(normed);
            out = Some(match out {
                Some(a) => self.add(a, r),
                None => r,
            });
        }
        let split = self.has("ffn_norm");
        let after_norm = self.has("post_attention_norm");
        if let Some(o) = out
            && after_norm
            && (split || !self.has("attn_norm"))
        {
            out = Some(self.norm("post_attention_norm", o));
        }
        let (mut out, mut x, mut normed) = (out, x, normed);
        if last && !self.facts.style.late_pick {
            // Only rows whose logits are wanted go on; in the worst case that is all of them.
            let pick = |b: &mut Self, id: Id| {
                let bytes = b.graph.node(id).bytes;
                b.graph.op(bytes, &[id, b.inputs.outputs])
            };
            out = out.map(|o| pick(self, o));
            x = pick(self, x);
            if !split && !after_norm && out.is_some() {
                normed = pick(self, normed);
            }
        }
        let Some(o) = out else {
            // A block that is feed-forward only.
            return match self.feed_forward(layer, normed) {
                Some(f) => self.add(f, x),
                None => x,
            };
        };
        let parallel = !split && !after_norm && self.has("attn_norm");
        if parallel {
            return match self.feed_forward(layer, normed) {
                Some(f) => {
                    let sum = self.add(f, x);
                    self.add(sum, o)
                }
                None => self.add(o, x),
            };
        }
        let middle = if self.facts.style.residual_always_first {
            self.add(x, o)
        } else {
            self.add(o, x)
        };
        let inner = if split {
            self.norm("ffn_norm", middle)
        } else if self.has("attn_norm") {
            self.norm("post_attention_norm", middle)
        } else {
            middle
        };
        let f = if self.has("pre_ffw_norm_2") {
            self.twin_feed_forward(layer, middle)
        } else if let Some(f) = self.feed_forward(layer, inner) {
            f
        } else {
            return middle;
        };
        let f = self.norm("post_ffw_norm", f);
        if self.facts.style.residual_first {
            return self.add(middle, f);
        }
        self.add(f, middle)
    }

    fn pick_kept(&mut self, x: Id) -> Id {
        self.graph.keep(x);
        let bytes = self.graph.node(x).bytes;
        self.graph.op(bytes, &[x, self.inputs.outputs])
    }

    /// The last norm and the logits, both kept until the graph ends.
    fn output(&mut self, x: Id, here: u8) {
        let mut x = x;
        // What a prediction head would read on is kept as well.
        let before_norm = self.facts.style.late_pick && self.facts.architecture == "gpt-oss";
        if before_norm {
            x = self.pick_kept(x);
        }
        x = self.norm("output_norm", x);
        if self.facts.style.late_pick && !before_norm {
            x = self.pick_kept(x);
        }
        self.graph.keep(x);
        let place = self.weight("output").map_or(here, |w| w.place);
        let logits = self.rows(self.facts.vocabulary);
        let out = self.graph.weighted(place, logits, &[x]);
        self.graph.keep(out);
        self.graph.expand(out);
    }
}
