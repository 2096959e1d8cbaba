//! The graph of a block's feed-forward part: dense, experts, shared experts.

use super::blocks::{Builder, F32};
use super::facts::LayerFacts;
use super::graph::Id;

/// More experts a token than any model uses.
const MOST_EXPERTS_USED: u64 = 512;

const DENSE: [&str; 3] = ["ffn_gate", "ffn_up", "ffn_down"];

impl Builder<'_> {
    /// The feed-forward part of a block over `x`, already normed; none where it has none.
    pub(super) fn feed_forward(&mut self, layer: &LayerFacts, x: Id) -> Option<Id> {
        let dense = self.has("ffn_up").then(|| self.dense(x, DENSE));
        if !self.has("ffn_down_exps") {
            return dense;
        }
        let router = self.project("ffn_gate_inp", x);
        let chosen_out = self.experts(layer, x, router);
        let shared = self.has("ffn_up_shexp").then(|| {
            let out = self.dense(x, ["ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"]);
            if !self.has("ffn_gate_inp_shexp") {
                return out;
            }
            let gate = self.project("ffn_gate_inp_shexp", x);
            let gate = self.graph.unary(&[gate]);
            self.graph.unary(&[out, gate])
        });
        let chosen_out = match shared {
            Some(s) => self.add(chosen_out, s),
            None => chosen_out,
        };
        Some(match dense {
            Some(d) => self.add(d, chosen_out),
            None => chosen_out,
        })
    }

    /// One feed-forward network, gated where it has a gate.
    fn dense(&mut self, x: Id, names: [&str; 3]) -> Id {
        let [gate, up, down] = names;
        let width = self.weight(down).map_or(0, |w| w.dims[0]);
        let bytes = self.rows(width);
        let middle = if self.has(gate) {
            let g = self.project(gate, x);
            let u = self.project(up, x);
            self.graph.op(bytes, &[g, u])
        } else {
            let u = self.project(up, x);
            if self.graph.node(u).bytes == bytes {
                self.graph.unary(&[u])
            } else {
                // Gate and up in one: the product is half as wide.
                self.graph.op(bytes, &[u])
            }
        };
        self.project(down, middle)
    }

    /// A dense network and experts side by side, each with norms of its own, the router reading
    /// the stream itself (Gemma 4).
    pub(super) fn twin_feed_forward(&mut self, layer: &LayerFacts, stream: Id) -> Id {
        let x = self.norm("ffn_norm", stream);
        let dense = self.dense(x, DENSE);
        let dense = self.norm("post_ffw_norm_1", dense);
        let x = self.norm("pre_ffw_norm_2", stream);
        let seen = self.bare_norm(stream);
        let seen = self.graph.unary(&[seen]);
        let seen = match self.weight("ffn_gate_inp.scale") {
            Some(w) => self.graph.weighted_unary(w.place, &[seen]),
            None => seen,
        };
        let router = self.project("ffn_gate_inp", seen);
        let chosen_out = self.experts(layer, x, router);
        let chosen_out = self.norm("post_ffw_norm_2", chosen_out);
        self.add(dense, chosen_out)
    }

    /// The routed experts, chosen by what the router says.
    fn experts(&mut self, layer: &LayerFacts, x: Id, router: Id) -> Id {
        let used = layer.experts_used.clamp(1, MOST_EXPERTS_USED);
        let weight_first = self.facts.architecture == "llama4";
        let scores = self.graph.node(router).bytes;
        let chances = self.graph.unary(&[router]);
        let biased = match self.bias("exp_probs_b") {
            Some(place) => self.graph.weighted(place, scores, &[chances]),
            None => chances,
        };
        let flat = self.graph.reshape(chances);
        let sorted = self.graph.op(scores, &[biased]);
        let chosen = self.graph.view(sorted, scores, false);
        let chosen_rows = self.rows(used);
        let weights = self.graph.op(chosen_rows, &[flat, chosen]);
        let weights = self.expert_weights(weights, chosen_rows);
        self.graph.expand(weights);
        let mut cur = self.graph.reshape(x);
        let embedding_rows = self.graph.node(x).bytes;
        if weight_first {
            let repeated = self.graph.op(embedding_rows.saturating_mul(used), &[cur]);
            cur = self.graph.unary(&[repeated, weights]);
        }
        let down = self.weight("ffn_down_exps");
        let width = down.map_or(0, |w| w.dims[0]);
        let middle_bytes = self.rows(width.saturating_mul(used));
        let middle = if self.has("ffn_gate_up_exps") {
            let both = self.by_expert("ffn_gate_up_exps", cur, chosen, used);
            let g = self.graph.view(both, middle_bytes, false);
            let u = self.graph.view(both, middle_bytes, false);
            self.graph.op(middle_bytes, &[g, u])
        } else if self.has("ffn_gate_exps") {
            let g = self.by_expert("ffn_gate_exps", cur, chosen, used);
            let u = self.by_expert("ffn_up_exps", cur, chosen, used);
            self.graph.op(middle_bytes, &[g, u])
        } else {
            let u = self.by_expert("ffn_up_exps", cur, chosen, used);
            self.graph.unary(&[u])
        };
        let mut out = self.by_expert("ffn_down_exps", middle, chosen, used);
        if !weight_first {
            out = self.graph.unary(&[out, weights]);
        }
        self.graph.expand(out);
        let each = down.map_or(0, |w| self.rows(w.dims[1]));
        let views: Vec<Id> = (0..used)
            .map(|_| {
                let v = self.graph.view(out, each, false);
                self.graph.expand(v);
                v
            })
            .collect();
        let mut views = views.into_iter();
        let Some(mut sum) = views.next() else {
            return out;
        };
        if used == 1 {
            return self.graph.op(each, &[sum]);
        }
        for v in views {
            sum = self.graph.sum(each, &[sum, v]);
            self.graph.expand(sum);
        }
        sum
    }

    /// The weights of the chosen experts, normed and scaled as the model does it.
    fn expert_weights(&mut self, weights: Id, bytes: u64) -> Id {
        let mut weights = weights;
        if self.facts.architecture == "gpt-oss" {
            let flat = self.graph.reshape(weights);
            weights = self.graph.op(bytes, &[flat]);
            weights = self.graph.reshape(weights);
        }
        if self.facts.style.weights_normed {
            let flat = self.graph.reshape(weights);
            let sum = self.graph.op(self.rows(1), &[flat]);
            let sum = self.graph.unary(&[sum]);
            weights = self.graph.op(bytes, &[flat, sum]);
            weights = self.graph.reshape(weights);
        }
        if self.facts.style.weights_scaled {
            weights = self.graph.unary(&[weights]);
        }
        weights
    }

    fn by_expert(&mut self, name: &str, x: Id, chosen: Id, used: u64) -> Id {
        let Some(w) = self.weight(name) else {
            return x;
        };
        let bytes = w.dims[1]
            .saturating_mul(used)
            .saturating_mul(self.tokens)
            .saturating_mul(F32);
        let out = self.graph.weighted(w.place, bytes, &[x, chosen]);
        match self.bias(name) {
            Some(place) => self.graph.weighted_unary(place, &[out, chosen]),
            None => out,
        }
    }
}
