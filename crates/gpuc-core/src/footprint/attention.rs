//! The graph of a block's attention: plain, gated, fused, latent.

use super::blocks::{Builder, F32};
use super::facts::LayerFacts;
use super::graph::Id;

/// Queries, and what gates the result where the model gates it.
struct Queries {
    q: Id,
    gate: Option<Id>,
}

impl Builder<'_> {
    /// Attention over `x`, already normed; the result is projected back to the residual's width.
    pub(super) fn attention(&mut self, layer: &LayerFacts, x: Id) -> Id {
        if self.facts.latent {
            return self.latent_attention(layer, x);
        }
        let (mask, keys_at, values_at) = self.attention_inputs(layer);
        let k_rows = self.rows(layer.key_length * layer.kv_heads);
        let v_rows = self.rows(layer.value_length * layer.kv_heads);
        let q_rows = self.rows(layer.key_length * layer.heads);
        let (by_key, by_value) = self.rotations(layer);
        let fused = self.has("attn_qkv").then(|| self.project("attn_qkv", x));
        let queries = if let Some(all) = fused {
            let q = self.graph.view(all, q_rows, false);
            let q = self.positioned("attn_q_norm", q, q_rows);
            Queries { q, gate: None }
        } else {
            self.queries(x, q_rows)
        };
        let q = self.rotated(queries.q, q_rows, by_key);
        self.graph.expand(q);
        // A block that shares another's cache computes no keys or values.
        if layer.has_cache {
            let raw_k = if let Some(all) = fused {
                self.graph.view(all, k_rows, false)
            } else {
                let k = self.project("attn_k", x);
                self.graph.reshape(k)
            };
            let k = self.positioned("attn_k_norm", raw_k, k_rows);
            let k = self.rotated(k, k_rows, by_key);
            let v = if let Some(all) = fused {
                self.graph.view(all, v_rows, false)
            } else if self.has("attn_v") {
                let v = self.project("attn_v", x);
                self.graph.reshape(v)
            } else {
                raw_k
            };
            let v = if self.facts.style.normed_values {
                self.bare_norm(v)
            } else {
                v
            };
            let v = self.rotated(v, v_rows, by_value);
            // The graph with windows computes keys before values, the plain one after.
            let order = if self.facts.window > 0 {
                [k, v]
            } else {
                [v, k]
            };
            for id in order {
                self.graph.expand(id);
            }
            let (k, v) = (self.graph.reshape(k), self.graph.reshape(v));
            self.graph.store(self.here, &[k, keys_at]);
            self.graph.store(self.here, &[v, values_at]);
        }
        let out_rows = self.rows(layer.value_length * layer.heads);
        let out = self.scores(layer, q, mask, out_rows, None);
        let mut out = self.rotated(out, out_rows, by_value);
        if let Some(gate) = queries.gate {
            let gate = self.graph.op(out_rows, &[gate]);
            let gate = self.graph.unary(&[gate]);
            out = self.graph.unary(&[out, gate]);
        } else if self.has("attn_gate") {
            let gate = self.project("attn_gate", x);
            let gate = self.graph.unary(&[gate]);
            out = self.graph.unary(&[out, gate]);
        }
        let out = self.norm("attn_sub_norm", out);
        self.project("attn_output", out)
    }

    fn rotated(&mut self, x: Id, bytes: u64, by: Option<Id>) -> Id {
        match by {
            Some(r) => self.graph.op(bytes, &[r, x]),
            None => x,
        }
    }

    fn queries(&mut self, x: Id, q_rows: u64) -> Queries {
        let q = self.project("attn_q", x);
        let q = self.graph.reshape(q);
        let all = self.graph.node(q).bytes;
        // Queries twice as wide as the heads carry a gate for each head.
        let gated = all == q_rows.saturating_mul(2);
        if !gated {
            let q = self.positioned("attn_q_norm", q, q_rows);
            return Queries { q, gate: None };
        }
        let view = self.graph.view(q, q_rows, false);
        let gate = self.graph.view(q, q_rows, false);
        let q = self.positioned("attn_q_norm", view, q_rows);
        Queries {
            q,
            gate: Some(gate),
        }
    }

    /// Norm where there is one, then rotation by position; both write over their input if they
    /// may.
    fn positioned(&mut self, norm: &str, x: Id, bytes: u64) -> Id {
        let x = self.norm(norm, x);
        if !self.facts.style.positioned {
            return x;
        }
        if self.graph.node(x).contiguous {
            return self.graph.unary(&[x, self.inputs.positions]);
        }
        self.graph.op(bytes, &[x, self.inputs.positions])
    }

    /// From queries to the weighted values, `bytes` of them; with `latent` they are first cached
    /// latents of so many elements a head, decompressed by `attn_v_b`.
    fn scores(
        &mut self,
        layer: &LayerFacts,
        q: Id,
        mask: Id,
        bytes: u64,
        latent: Option<u64>,
    ) -> Id {
        let view = self.graph.reshape(q);
        let q = self.graph.view(view, self.graph.node(view).bytes, false);
        let raw = latent.map_or(bytes, |n| self.rows(n * layer.heads));
        let out = self.weighted_values(layer, q, mask, [raw, bytes], latent);
        self.graph.expand(out);
        out
    }

    fn weighted_values(
        &mut self,
        layer: &LayerFacts,
        q: Id,
        mask: Id,
        [raw, bytes]: [u64; 2],
        latent: Option<u64>,
    ) -> Id {
        if self.setting.flash_attn {
            let out = self.graph.op(raw, &[q, mask]);
            if latent.is_none() {
                return self.graph.reshape(out);
            }
            let out = self.graph.view(out, raw, false);
            let out = self.project("attn_v_b", out);
            let out = self.graph.view(out, bytes, false);
            let out = self.graph.op(bytes, &[out]);
            return self.graph.reshape(out);
        }
        let cells = self.cells.for_layer(layer);
        let kq = self.graph.op(
            cells
                .saturating_mul(self.tokens)
                .saturating_mul(layer.heads)
                .saturating_mul(F32),
            &[q],
        );
        let mut kq = kq;
        if self.facts.style.score_cap {
            kq = self.graph.unary(&[kq]);
        }
        let kq = self.graph.unary(&[kq, mask]);
        let out = if let Some(n) = latent {
            // The values are a part of the cached keys and must be turned over first.
            let (per_block, size) = self.setting.type_k.block().unwrap_or((1, 2));
            let turned = (n.saturating_mul(cells) / per_block).saturating_mul(size);
            let values = self.graph.op(turned, &[]);
            let out = self.graph.op(raw, &[values, kq]);
            self.project("attn_v_b", out)
        } else {
            self.graph.op(raw, &[kq])
        };
        let out = self.graph.view(out, bytes, false);
        self.graph.op(bytes, &[out])
    }

    /// Attention over latent keys (MLA).
    fn latent_attention(&mut self, layer: &LayerFacts, x: Id) -> Id {
        let heads = layer.heads;
        let latent = layer.value_length;
        let position = layer.key_length.saturating_sub(latent);
        let q = if self.has("attn_q_a") {
            let a = self.project("attn_q_a", x);
            let a = self.norm("attn_q_a_norm", a);
            self.project("attn_q_b", a)
        } else {
            self.project("attn_q", x)
        };
        let q = self.graph.reshape(q);
        let q_bytes = self.graph.node(q).bytes;
        let position_rows = self.rows(position * heads);
        let plain = self
            .graph
            .view(q, q_bytes.saturating_sub(position_rows), false);
        let plain = self.graph.view(plain, self.graph.node(plain).bytes, false);
        let absorbed = self.project("attn_k_b", plain);
        let absorbed = self
            .graph
            .view(absorbed, self.graph.node(absorbed).bytes, false);
        let turned = self.graph.view(q, position_rows, false);
        let turned = self
            .graph
            .op(position_rows, &[turned, self.inputs.positions]);
        let all = self.rows(layer.key_length * heads);
        let q = self.graph.op(all, &[absorbed, turned]);

        let kv = self.project("attn_kv_a_mqa", x);
        let kept = self.graph.view(kv, self.rows(latent), false);
        let kept = if self.facts.style.layer_norm {
            kept
        } else {
            self.graph.op(self.rows(latent), &[kept])
        };
        let kept = match self.weight("attn_kv_a_norm") {
            Some(w) => self.graph.weighted_unary(w.place, &[kept]),
            None => kept,
        };
        let kept = self.graph.reshape(kept);
        let place = self.graph.view(kv, self.rows(position), false);
        let place = self
            .graph
            .op(self.rows(position), &[place, self.inputs.positions]);
        let key_rows = self.rows(layer.key_length);
        let k = self.graph.op(key_rows, &[kept, place]);

        let (mask, keys_at, _) = self.attention_inputs(layer);
        let (by_key, _) = self.rotations(layer);
        let q = self.rotated(q, all, by_key);
        let k = self.rotated(k, key_rows, by_key);
        for id in [q, kept, k] {
            self.graph.expand(id);
        }
        let k = self.graph.reshape(k);
        self.graph.store(self.here, &[k, keys_at]);
        let head = self.weight("attn_v_b").map_or(latent, |w| w.dims[1]);
        let bytes = self.rows(head.saturating_mul(heads));
        let out = self.scores(layer, q, mask, bytes, Some(latent));
        self.project("attn_output", out)
    }
}
