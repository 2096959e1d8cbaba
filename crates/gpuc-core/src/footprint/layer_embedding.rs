//! Embeddings of their own for every block (Gemma 4's E models).

use super::blocks::{Builder, F32};
use super::graph::{HOST, Id};

impl Builder<'_> {
    /// All blocks' embeddings of the batch, looked up on the host and mixed with the stream `x`.
    pub(super) fn layer_embeddings(&mut self, x: Id) -> Option<Id> {
        let table = self.weight("per_layer_token_embd")?;
        let bytes = self.rows(table.dims[0]);
        let tokens = self.graph.input(self.tokens * F32);
        let rows = self.graph.weighted(HOST, bytes, &[tokens]);
        let rows = self.graph.reshape(rows);
        let rows = self.graph.unary(&[rows]);
        self.graph.expand(rows);
        let mixed = self.project("per_layer_model_proj", x);
        let mixed = self.graph.unary(&[mixed]);
        let mixed = self.graph.reshape(mixed);
        let mixed = self.norm("per_layer_proj_norm", mixed);
        let sum = self.graph.unary(&[mixed, rows]);
        let sum = self.graph.unary(&[sum]);
        let turned = self.graph.view(sum, bytes, false);
        Some(self.graph.op(bytes, &[turned]))
    }

    /// A block's own embedding, gated by the stream and added to it, and the block's scale.
    pub(super) fn add_layer_embedding(&mut self, all: Option<Id>, x: Id) -> Id {
        let mut x = x;
        if let (Some(all), Some(gate)) = (all, self.weight("inp_gate")) {
            let bytes = self.rows(gate.dims[1]);
            let gate = self.project("inp_gate", x);
            let gate = self.graph.unary(&[gate]);
            let own = self.graph.view(all, bytes, true);
            let own = self.graph.unary(&[gate, own]);
            let own = self.project("proj", own);
            let own = self.norm("post_norm", own);
            x = self.add(x, own);
        }
        match self.weight("layer_output_scale") {
            Some(w) => self.graph.weighted_unary(w.place, &[x]),
            None => x,
        }
    }
}
