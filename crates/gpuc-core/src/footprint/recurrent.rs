//! The graph of a block that keeps a recurrent state instead of a cache.

use super::blocks::Builder;
use super::graph::Id;

impl Builder<'_> {
    /// The recurrent part of a block over `x`, already normed.
    pub(super) fn recurrent(&mut self, x: Id) -> Id {
        if self.has("shortconv.in_proj") {
            return self.short_convolution(x);
        }
        if self.has("ssm_in") {
            return self.state_space(x);
        }
        self.delta_net(x)
    }

    /// A copy of the cached state, `elements` for the one sequence of the batch.
    fn recall(&mut self, elements: u64) -> Id {
        let states = self.inputs.states;
        let bytes = elements * 4;
        let rows = self.graph.op(bytes, &[states]);
        let state = self.graph.view(rows, bytes, true);
        self.graph.expand(state);
        // The states of further sequences, of which there are none, are copied too.
        let spare = self.graph.view(rows, 0, true);
        self.graph.store(self.here, &[spare]);
        self.graph.reshape(state)
    }

    /// The batch's rows after the taps before them; the last taps are cached again.
    fn convolution_input(&mut self, before: Id, x: Id, bytes: u64) -> Id {
        let (conv, _) = self.facts.state;
        let turned = self.graph.view(x, bytes, false);
        let all = self
            .graph
            .op(bytes.saturating_add(conv * 4), &[before, turned]);
        let last = self.graph.view(all, conv * 4, false);
        self.graph.store(self.here, &[last]);
        all
    }

    /// Gated delta net (Qwen3-Next and its successors).
    fn delta_net(&mut self, x: Id) -> Id {
        let r = self.facts.recurrence;
        let heads = r.heads.max(1);
        let inner = self.rows(r.inner);
        let (conv, elements) = self.facts.state;
        let mixed = self.project("attn_qkv", x);
        let mixed = self.graph.reshape(mixed);
        let mixed_bytes = self.graph.node(mixed).bytes;
        let before = self.recall(conv);
        let all = self.convolution_input(before, mixed, mixed_bytes);
        let state = self.recall(elements);
        let place = self.weight("ssm_conv1d").map_or(self.here, |w| w.place);
        let conv = self.graph.weighted(place, mixed_bytes, &[all]);
        let conv = self.graph.unary(&[conv]);
        // Keys and queries of a group serve several value heads.
        let small = self.rows(r.groups * r.state);
        let wide = self.rows(heads * r.state);
        let mut parts = Vec::new();
        for _ in 0..2 {
            let part = self.graph.view(conv, small, false);
            let part = self.graph.op(small, &[part]);
            let part = self.graph.unary(&[part]);
            parts.push(if wide > small && self.facts.architecture == "qwen3next" {
                let part = self.graph.reshape(part);
                let part = self.graph.op(wide, &[part]);
                self.graph.reshape(part)
            } else {
                part
            });
        }
        parts.push(self.graph.view(conv, inner, false));
        let per_head = self.rows(heads);
        if self.has("ssm_ba") {
            let both = self.project("ssm_ba", x);
            let both = self.graph.reshape(both);
            let a = self.graph.view(both, per_head, false);
            let a = self.graph.op(per_head, &[a]);
            let b = self.graph.view(both, per_head, false);
            let b = self.graph.op(per_head, &[b]);
            let b = self.graph.unary(&[b]);
            let b = self.graph.reshape(b);
            parts.extend([self.gate_of_heads(a), b]);
        } else {
            let a = self.project("ssm_alpha", x);
            let a = self.graph.reshape(a);
            let a = self.gate_of_heads(a);
            let b = self.project("ssm_beta", x);
            let b = self.graph.reshape(b);
            let b = self.graph.unary(&[b]);
            parts.extend([a, b]);
        }
        parts.push(state);
        let net = self.graph.op(inner.saturating_add(elements * 4), &parts);
        let after = self.graph.view(net, elements * 4, true);
        self.graph.store(self.here, &[after]);
        let out = self.graph.view(net, inner, true);
        let out = self.norm("ssm_norm", out);
        let gate = self.project("attn_gate", x);
        let gate = self.graph.reshape(gate);
        let gate = self.graph.unary(&[gate]);
        let out = self.graph.unary(&[out, gate]);
        let out = self.graph.reshape(out);
        let out = self.project("ssm_out", out);
        self.graph.reshape(out)
    }

    /// The decay of each head.
    fn gate_of_heads(&mut self, a: Id) -> Id {
        let place = self.bias("ssm_dt").unwrap_or(self.here);
        let a = self.graph.weighted_unary(place, &[a]);
        let a = self.graph.weighted_unary(place, &[a]);
        self.graph.reshape(a)
    }

    /// Mamba, first and second generation.
    fn state_space(&mut self, x: Id) -> Id {
        let r = self.facts.recurrence;
        let inner = self.rows(r.inner);
        let second = r.groups > 0 && !self.has("ssm_x");
        let convolved = if second {
            self.rows(r.inner + 2 * r.groups * r.state)
        } else {
            inner
        };
        let (conv, elements) = self.facts.state;
        let before = self.recall(conv);
        let all = self.project("ssm_in", x);
        let all = self.graph.reshape(all);
        let taken = self.graph.view(all, convolved, false);
        let conv_in = self.convolution_input(before, taken, convolved);
        let place = self.weight("ssm_conv1d").map_or(self.here, |w| w.place);
        let conv = self.graph.weighted(place, convolved, &[conv_in]);
        let conv = match self.bias("ssm_conv1d") {
            Some(place) => self.graph.weighted_unary(place, &[conv]),
            None => conv,
        };
        let conv = self.graph.unary(&[conv]);
        let xs = self.graph.view(conv, inner, false);
        let (own, spare) = (self.inputs.own_state, self.inputs.spare_states);
        let mut parts = vec![xs];
        if second {
            let per_head = self.rows(r.heads);
            let dt = self.graph.view(all, per_head, false);
            let dt = self.graph.op(per_head, &[dt]);
            parts.push(match self.bias("ssm_dt") {
                Some(place) => self.graph.weighted_unary(place, &[dt]),
                None => dt,
            });
            let shared = self.rows(r.groups * r.state);
            parts.push(self.graph.view(conv, shared, false));
            parts.push(self.graph.view(conv, shared, false));
        } else {
            let db = self.project("ssm_x", conv);
            let dt = self.graph.view(db, self.graph.node(db).bytes, false);
            let dt = self.norm("ssm_dt_norm", dt);
            parts.push(self.project("ssm_dt", dt));
            for name in ["ssm_b_norm", "ssm_c_norm"] {
                let part = self.graph.view(db, self.rows(r.state), false);
                parts.push(self.norm(name, part));
            }
        }
        parts.push(own);
        let scan = self.graph.op(inner.saturating_add(elements * 4), &parts);
        self.graph.expand(scan);
        // States of further sequences: none, but the empty tensor takes part.
        let spare = self.graph.op(0, &[spare]);
        let spare = self.graph.view(spare, 0, true);
        self.graph.store(self.here, &[spare]);
        let after = self.graph.view(scan, elements * 4, true);
        self.graph.store(self.here, &[after]);
        let z = self.graph.view(all, inner, false);
        let z = self.graph.op(inner, &[z]);
        let y = self.graph.view(scan, inner, true);
        let skip = self.graph.op(inner, &[xs]);
        let y = self.graph.unary(&[y, skip]);
        let y = self.graph.op(inner, &[z, y]);
        let y = self.graph.reshape(y);
        let y = self.norm("ssm_norm", y);
        let y = self.graph.reshape(y);
        self.project("ssm_out", y)
    }

    /// A short convolution with gates before and after it (LFM2).
    fn short_convolution(&mut self, x: Id) -> Id {
        let row = self.rows(self.facts.embedding_length);
        let x = self.graph.reshape(x);
        let all = self.project("shortconv.in_proj", x);
        let b = self.graph.view(all, row, false);
        let c = self.graph.view(all, row, false);
        let inside = self.graph.view(all, row, false);
        let bx = self.graph.op(row, &[b, inside]);
        let (conv, _) = self.facts.state;
        let before = self.recall(conv);
        let conv_in = self.convolution_input(before, bx, row);
        let place = self.weight("shortconv.conv").map_or(self.here, |w| w.place);
        let conv = self.graph.weighted(place, row, &[conv_in]);
        let y = self.graph.sum(row, &[c, conv]);
        let y = self.project("shortconv.out_proj", y);
        self.graph.reshape(y)
    }
}
