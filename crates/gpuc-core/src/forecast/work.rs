//! What decoding one token takes of a rig: bytes by tier, and blocks by kind.

use serde::{Deserialize, Serialize};

use crate::document::Model;

/// A block that keeps less than this keeps a short convolution: a few tokens' inputs, and none of
/// the kernels of a recurrence.
const LEAST_STATE: u64 = 64 << 10;

/// The work of one decoded token under one placement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Work {
    /// Bytes of weights that are read from VRAM.
    pub device_weight_bytes: f64,
    /// Bytes of cache and recurrent state that are read (and, of state, written) in VRAM.
    pub cache_bytes: f64,
    /// Bytes of weights, and of cache beside them, that are read from RAM.
    pub host_weight_bytes: f64,
    /// Blocks without routed experts.
    pub dense_blocks: f64,
    /// Blocks with routed experts.
    pub expert_blocks: f64,
    /// Blocks, of either kind, that keep a recurrent state.
    pub state_blocks: f64,
    /// Blocks whose work is handed to the processor.
    pub host_blocks: f64,
}

/// Cache that decoding a token reads for each token before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CacheGrowth {
    /// Bytes for each token in the cache.
    pub bytes_per_token: f64,
    /// Tokens beyond which no more is read, where there is a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// Whether it is in RAM.
    pub on_host: bool,
}

impl CacheGrowth {
    /// What more is read at a depth of `to` tokens than at `from`, bytes; less is negative.
    fn between(&self, from: u64, to: u64) -> f64 {
        let seen = |depth: u64| depth.min(self.window.unwrap_or(u64::MAX)) as f64;
        self.bytes_per_token * (seen(to) - seen(from))
    }
}

/// Blocks that run a recurrence.
pub(super) fn state_blocks(model: &Model) -> f64 {
    let groups = model.kv_groups.as_deref().unwrap_or_default();
    let recurrent = groups
        .iter()
        .filter(|g| g.state_bytes / g.layers.max(1) >= LEAST_STATE);
    // A sum of no floats is a negative zero.
    recurrent.fold(0.0, |sum, g| sum + g.layers as f64)
}

/// Bytes a weight by which a tag is forecast: [`quant`](crate::model::quant)'s, but for gpt-oss,
/// whose experts are MXFP4 under every tag and whose other tensors are published in Q8_0 where the
/// tag speaks of the experts only.
pub fn decode_weights(family: Option<&str>, tag: Option<&str>, by_tag: (f64, f64)) -> (f64, f64) {
    let tag = tag.unwrap_or("").to_lowercase();
    let wide = ["f16", "bf16", "f32"].iter().any(|w| tag.ends_with(w));
    match family {
        Some("gpt_oss") if wide => (4.25 / 8.0, 2.0),
        Some("gpt_oss") => (4.25 / 8.0, 8.5 / 8.0),
        _ if tag.ends_with("mxfp4") => (by_tag.0, 8.5 / 8.0),
        _ => by_tag,
    }
}

/// How a closed form is decoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeSetting {
    /// Bytes of a routed expert's weight.
    pub expert_bpw: f64,
    /// Bytes of any other weight.
    pub rest_bpw: f64,
    /// Layers whose experts are in RAM.
    pub on_host: u64,
    /// Bytes of cache and state that are read.
    pub cache_read_bytes: f64,
    /// Sequences.
    pub sequences: u64,
}

impl Work {
    /// The work of `model`, which is all on the card but for the experts of some layers. None
    /// where its configuration does not give the parameters.
    ///
    /// The input embedding is a table of which a token reads one row, so it counts only where it
    /// serves as the output layer too.
    pub fn of_model(model: &Model, setting: &DecodeSetting) -> Option<Self> {
        let others = model.non_expert_params.filter(|p| *p > 0)?;
        let table = match model.tied_embeddings {
            Some(false) => model.vocab_size?.checked_mul(model.hidden_size?)?,
            _ => 0,
        };
        let blocks = model.n_layers? as f64;
        let moe = model.n_moe_layers.unwrap_or(0);
        let on_host = setting.on_host.min(moe);
        let active = model.expert.experts_per_token.unwrap_or(0) as f64
            * model.expert.expert_params_each.unwrap_or(0) as f64
            * setting.expert_bpw;
        let groups = model.kv_groups.as_deref().unwrap_or_default();
        let state: f64 = groups
            .iter()
            .map(|g| g.state_bytes as f64 * setting.sequences as f64)
            .sum();
        Some(Self {
            device_weight_bytes: others.saturating_sub(table) as f64 * setting.rest_bpw
                + active * moe.saturating_sub(on_host) as f64,
            cache_bytes: setting.cache_read_bytes + state,
            host_weight_bytes: active * on_host as f64,
            dense_blocks: (blocks - moe as f64).max(0.0),
            expert_blocks: moe as f64,
            state_blocks: state_blocks(model),
            host_blocks: on_host as f64,
        })
    }

    /// Seconds that no rig of these rates can beat: every byte once, each tier at its best rate.
    pub fn least_seconds(&self, vram_bytes_s: f64, ram_bytes_s: f64) -> f64 {
        (self.device_weight_bytes + self.cache_bytes) / vram_bytes_s
            + self.host_weight_bytes / ram_bytes_s
    }

    /// The same work, of a token at a depth of `to` tokens instead of `from`.
    #[must_use]
    pub fn at_depth(mut self, growth: &[CacheGrowth], from: u64, to: u64) -> Self {
        for part in growth {
            let of_tier = if part.on_host {
                &mut self.host_weight_bytes
            } else {
                &mut self.cache_bytes
            };
            *of_tier = (*of_tier + part.between(from, to)).max(0.0);
        }
        self
    }

    /// The same in whole bytes, for the record.
    #[must_use]
    pub fn rounded(self) -> Self {
        Self {
            device_weight_bytes: self.device_weight_bytes.round(),
            cache_bytes: self.cache_bytes.round(),
            host_weight_bytes: self.host_weight_bytes.round(),
            ..self
        }
    }

    /// The work of a processor alone, which reads so many bytes from RAM for a token.
    pub fn of_processor(bytes: f64) -> Self {
        Self {
            host_weight_bytes: bytes,
            ..Self::default()
        }
    }

    /// Whether no card takes part.
    pub fn on_processor(&self) -> bool {
        !self.in_vram() && self.device_weight_bytes <= 0.0
    }

    /// Whether all weights are in VRAM.
    pub fn in_vram(&self) -> bool {
        self.host_weight_bytes <= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Expert, KvGroup};

    fn model() -> Model {
        Model {
            n_layers: Some(4),
            n_moe_layers: Some(3),
            non_expert_params: Some(1000),
            expert_params_total: Some(9000),
            vocab_size: Some(10),
            hidden_size: Some(20),
            tied_embeddings: Some(false),
            expert: Expert {
                is_moe: true,
                experts_per_token: Some(2),
                expert_params_each: Some(100),
                ..Expert::default()
            },
            kv_groups: Some(vec![
                KvGroup {
                    layers: 1,
                    bytes_per_token: 8,
                    window: None,
                    state_bytes: 0,
                },
                KvGroup {
                    layers: 1,
                    bytes_per_token: 4,
                    window: Some(10),
                    state_bytes: 0,
                },
                KvGroup {
                    layers: 2,
                    bytes_per_token: 0,
                    window: None,
                    state_bytes: 2 * LEAST_STATE,
                },
            ]),
            ..Model::default()
        }
    }

    #[test]
    fn the_embedding_is_not_read_windows_end_and_state_is_read_and_written() {
        let setting = DecodeSetting {
            expert_bpw: 0.5,
            rest_bpw: 1.0,
            on_host: 1,
            cache_read_bytes: model().kv_read_bytes(100, 1).unwrap() as f64,
            sequences: 1,
        };
        let w = Work::of_model(&model(), &setting).unwrap();
        assert_eq!(w.device_weight_bytes, 800.0 + 2.0 * 100.0);
        assert_eq!(w.host_weight_bytes, 100.0);
        assert_eq!(w.cache_bytes, 800.0 + 40.0 + 4.0 * LEAST_STATE as f64);
        assert_eq!(
            (w.dense_blocks, w.expert_blocks, w.state_blocks),
            (1.0, 3.0, 2.0)
        );
        let mut convolution = model();
        convolution.kv_groups.as_mut().unwrap()[2].state_bytes = 7;
        let w = Work::of_model(&convolution, &setting).unwrap();
        assert_eq!(w.state_blocks, 0.0, "a short convolution");
        let tied = Model {
            tied_embeddings: Some(true),
            ..model()
        };
        let w = Work::of_model(&tied, &setting).unwrap();
        assert_eq!(w.device_weight_bytes, 1000.0 + 2.0 * 100.0);
    }

    #[test]
    fn a_move_to_another_depth_is_exact_with_windows_and_state() {
        let growth = model().cache_growth(1);
        let at = |depth: u64| {
            let setting = DecodeSetting {
                expert_bpw: 0.5,
                rest_bpw: 1.0,
                on_host: 1,
                cache_read_bytes: model().kv_read_bytes(depth, 1).unwrap() as f64,
                sequences: 1,
            };
            Work::of_model(&model(), &setting).unwrap()
        };
        for from in [0, 5, 10, 4096] {
            for to in [0, 9, 11, 32768] {
                assert_eq!(
                    at(from).at_depth(&growth, from, to),
                    at(to),
                    "{from} to {to}"
                );
            }
        }
    }

    #[test]
    fn gpt_oss_is_mxfp4_under_every_tag() {
        let by_tag = (0.6, 0.7);
        let of = |family, tag| decode_weights(family, Some(tag), by_tag);
        assert_eq!(of(Some("gpt_oss"), "Q8_0"), (0.53125, 1.0625));
        assert_eq!(of(Some("gpt_oss"), "gguf-f16"), (0.53125, 2.0));
        assert_eq!(of(Some("qwen3_moe"), "gguf-q4_k_m"), (0.6, 0.7));
        assert_eq!(of(None, "MXFP4"), (0.6, 1.0625));
    }
}
