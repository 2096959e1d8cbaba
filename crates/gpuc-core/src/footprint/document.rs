//! A weights file as a profile describes a model.

use crate::document::{BlockRun, Expert, KvGroup, Model};
use crate::model::quant;

use super::facts::{Facts, LayerFacts, WindowKind};

impl Facts {
    /// The model for a profile: what the closed form needs of it.
    pub fn document(&self) -> Model {
        let elements = |expert: bool| {
            self.tensors
                .iter()
                .filter(|t| t.role.is_expert() == expert)
                .filter_map(|t| t.dims.iter().copied().reduce(u64::saturating_mul))
                .fold(0, u64::saturating_add)
        };
        let routed = elements(true);
        let is_moe = !self.moe_blocks.is_empty();
        let all = (self.moe_blocks.len() as u64).saturating_mul(self.experts);
        let attention = self.layers.iter().find(|l| l.kv_heads > 0);
        let groups = self.groups();
        let per_token = groups
            .iter()
            .fold(0, |n: u64, g| n.saturating_add(g.bytes_per_token));
        let even = groups.iter().all(|g| g.window.is_none()) && !self.recurs();
        let used = self.moe_blocks.first().and_then(|b| {
            let layer = self.layers.get(usize::try_from(*b).ok()?)?;
            Some(layer.experts_used)
        });
        Model {
            name: self.name.clone(),
            architecture: Some(if is_moe { "moe" } else { "dense" }.into()),
            total_params: Some(self.total_params()),
            n_layers: Some(self.layers.len() as u64),
            n_kv_heads: attention.map(|l| l.kv_heads),
            head_dim: attention.map(|l| l.key_length),
            dtype_bytes: Some(2.0),
            quant: self.quant_tag(),
            expert: Expert {
                is_moe,
                num_experts: is_moe.then_some(self.experts),
                experts_per_token: used,
                shared_params: None,
                expert_params_each: routed.checked_div(all),
            },
            kv_bytes_per_token: Some(per_token),
            expert_params_total: Some(routed),
            non_expert_params: Some(elements(false)),
            n_moe_layers: Some(self.moe_blocks.len() as u64),
            family: Some(self.architecture.clone()),
            max_context: self.context_length,
            hidden_size: Some(self.embedding_length),
            vocab_size: Some(self.vocabulary),
            n_heads: attention.map(|l| l.heads),
            tied_embeddings: Some(self.tied_output.is_some()),
            n_nextn_layers: self
                .blocks
                .checked_sub(self.layers.len() as u64)
                .filter(|n| *n > 0),
            moe_blocks: self.uneven_blocks(),
            kv_groups: (!even).then_some(groups),
            quantization: None,
        }
    }

    fn recurs(&self) -> bool {
        self.layers.iter().any(|l| l.recurrent)
    }

    /// The file's quantisation as `--quant` takes it.
    pub(crate) fn quant_tag(&self) -> Option<String> {
        let tag = format!("gguf-{}", self.quantisation?.to_lowercase());
        quant::bytes_per_weight(Some(&tag), 2.0, None)
            .is_ok()
            .then_some(tag)
    }

    /// Layers whose caches grow alike: the whole context, a window, none with a state.
    fn groups(&self) -> Vec<KvGroup> {
        let cached = |l: &LayerFacts| {
            if !l.has_cache {
                return 0;
            }
            let values = if self.latent { 0 } else { l.value_length };
            let head = l.key_length.saturating_add(values);
            let elements = head
                .saturating_mul(l.kv_heads)
                .saturating_add(l.indexer_length);
            elements.saturating_mul(2)
        };
        let mut groups: Vec<KvGroup> = Vec::new();
        for layer in &self.layers {
            let window = (layer.window == WindowKind::Window && layer.has_cache)
                .then_some(self.window)
                .filter(|w| *w > 0);
            let (conv, state) = self.state;
            let elements = if layer.recurrent {
                conv.saturating_add(state)
            } else {
                0
            };
            let state_bytes = elements.saturating_mul(4);
            let alike =
                |g: &&mut KvGroup| g.window == window && (g.state_bytes > 0) == (state_bytes > 0);
            if let Some(group) = groups.iter_mut().find(alike) {
                group.layers += 1;
                group.bytes_per_token = group.bytes_per_token.saturating_add(cached(layer));
                group.state_bytes = group.state_bytes.saturating_add(state_bytes);
            } else {
                groups.push(KvGroup {
                    layers: 1,
                    bytes_per_token: cached(layer),
                    window,
                    state_bytes,
                });
            }
        }
        groups
    }

    /// The blocks with experts in runs, unless they are simply the first ones.
    fn uneven_blocks(&self) -> Option<Vec<BlockRun>> {
        let leading = (0..).zip(&self.moe_blocks).all(|(i, block)| i == *block);
        if leading {
            return None;
        }
        let mut runs: Vec<BlockRun> = Vec::new();
        for block in &self.moe_blocks {
            let next = |run: &mut BlockRun| {
                let distance = block - run.first;
                if run.count == 1 {
                    run.every = distance;
                } else if distance != run.every.saturating_mul(run.count) {
                    return false;
                }
                run.count += 1;
                true
            };
            if !runs.last_mut().is_some_and(next) {
                runs.push(BlockRun {
                    first: *block,
                    every: 1,
                    count: 1,
                });
            }
        }
        Some(runs)
    }
}
