//! The footprint from a configuration alone: parameter counts times bytes per weight.
//!
//! The estimate for when no weights file is at hand. Biases and norms are left out (under 1 %).
//! Of a mixture of experts all other weights are taken to be on the GPU and to be read for each
//! token; a dense model is taken to be of equal blocks, its input embedding in RAM.

use super::footprint::{Footprint, Placement, Tier, Usage};
use crate::document::Model;
use crate::forecast::{CacheGrowth, DecodeSetting, PrefillWork, Work};
use crate::units::nearest_bytes;

/// What a closed form is made for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClosedFormSetting {
    /// Bytes of an expert weight.
    pub expert_bpw: f64,
    /// Bytes of any other weight.
    pub non_expert_bpw: f64,
    /// KV cache at the full context, bytes.
    pub kv_bytes: u128,
    /// KV cache that decode reads for a token, bytes.
    pub kv_read_bytes: u128,
    /// What the cache takes of one at 16 bits an element.
    pub cache_share: f64,
    /// Bytes of an expert weight and of any other weight as the forecast takes them.
    pub decode_bpw: (f64, f64),
    /// Sequences.
    pub sequences: u64,
    /// Where the widths come from: "closed-form", or "safetensors" where files were weighed.
    pub source: &'static str,
}

/// A model in closed form.
#[derive(Debug, Clone)]
pub struct ClosedForm<'m> {
    model: &'m Model,
    kv_bytes: u128,
    kv_read_bytes: u128,
    cache_share: f64,
    decode_bpw: (f64, f64),
    sequences: u64,
    source: &'static str,
    shape: Shape,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Moe {
        layers: u64,
        /// Non-expert weights, bytes.
        resident: f64,
        /// Routed experts of one layer, bytes.
        per_layer: f64,
        /// Routed experts of one layer that a token uses, bytes.
        active: f64,
    },
    Dense {
        blocks: u64,
        /// The input embedding, which stays in RAM and of which a token reads one row, bytes.
        embedding: f64,
        /// The output layer, bytes.
        output: f64,
        /// One block, bytes.
        per_block: f64,
    },
}

impl<'m> ClosedForm<'m> {
    /// The footprint of `model`, or none when its configuration does not give what it takes.
    pub fn new(model: &'m Model, setting: ClosedFormSetting) -> Option<Self> {
        let shape = if model.expert.is_moe {
            moe(model, setting)?
        } else {
            dense(model, setting)?
        };
        Some(Self {
            model,
            kv_bytes: setting.kv_bytes,
            kv_read_bytes: setting.kv_read_bytes,
            cache_share: setting.cache_share,
            decode_bpw: setting.decode_bpw,
            sequences: setting.sequences,
            source: setting.source,
            shape,
        })
    }
}

fn moe(model: &Model, setting: ClosedFormSetting) -> Option<Shape> {
    let layers = model.n_moe_layers.filter(|l| *l > 0)?;
    let experts = model.expert_params_total.filter(|p| *p > 0)?;
    let others = model.non_expert_params?;
    let each = model.expert.expert_params_each.unwrap_or(0);
    let used = model.expert.experts_per_token.unwrap_or(0);
    Some(Shape::Moe {
        layers,
        resident: others as f64 * setting.non_expert_bpw,
        per_layer: experts as f64 * setting.expert_bpw / layers as f64,
        active: used as f64 * each as f64 * setting.expert_bpw,
    })
}

fn dense(model: &Model, setting: ClosedFormSetting) -> Option<Shape> {
    if model.architecture.as_deref() != Some("dense") {
        return None;
    }
    let blocks = model.n_layers.filter(|l| *l > 0)?;
    let params = model.non_expert_params.or(model.total_params)?;
    // Where the profile does not say how large the embedding is, it counts as part of the blocks.
    let table = model
        .hidden_size
        .zip(model.vocab_size)
        .and_then(|(h, v)| h.checked_mul(v))
        .filter(|t| *t < params)
        .unwrap_or(0);
    let tied = model.tied_embeddings.unwrap_or(false);
    let tables = if tied { table } else { table.saturating_mul(2) };
    let bpw = setting.non_expert_bpw;
    Some(Shape::Dense {
        blocks,
        embedding: table as f64 * bpw,
        output: table as f64 * bpw,
        per_block: params.saturating_sub(tables) as f64 * bpw / blocks as f64,
    })
}

impl Footprint for ClosedForm<'_> {
    fn source(&self) -> &'static str {
        self.source
    }

    fn moe_layers(&self) -> u64 {
        match self.shape {
            Shape::Moe { layers, .. } => layers,
            Shape::Dense { .. } => 0,
        }
    }

    fn placement(&self, on_host: u64) -> Placement {
        Placement {
            n_cpu_moe: self.model.llama_n_cpu_moe(on_host),
            ..Placement::default()
        }
    }

    fn moe_layers_on_host(&self, n_cpu_moe: u64) -> u64 {
        self.model.moe_on_host(n_cpu_moe).min(self.moe_layers())
    }

    fn blocks(&self) -> Option<u64> {
        match self.shape {
            Shape::Moe { .. } => self.model.n_layers,
            Shape::Dense { blocks, .. } => Some(blocks),
        }
    }

    fn by_blocks(&self) -> bool {
        matches!(self.shape, Shape::Dense { .. })
    }

    fn usage(&self, placement: &Placement) -> Usage {
        let bytes = |x: f64| u128::from(nearest_bytes(x));
        let kv_read = self.kv_read_bytes as f64;
        match self.shape {
            Shape::Moe {
                layers,
                resident,
                per_layer,
                active,
            } if placement.gpu_layers == Some(0) => {
                let weights = resident + per_layer * layers as f64;
                Usage {
                    host: Tier {
                        weights: bytes(weights),
                        context: self.kv_bytes,
                        compute: 0,
                    },
                    host_bytes: weights + self.kv_bytes as f64,
                    host_read: resident + active * layers as f64 + kv_read,
                    ..Usage::default()
                }
            }
            Shape::Moe {
                layers,
                resident,
                per_layer,
                active,
            } => {
                let host = self.moe_layers_on_host(placement.n_cpu_moe) as f64;
                let device = layers as f64 - host;
                let (on_device, on_host) = (per_layer * device, per_layer * host);
                Usage {
                    device: Tier {
                        weights: bytes(resident + on_device),
                        context: self.kv_bytes,
                        compute: 0,
                    },
                    host: Tier {
                        weights: bytes(on_host),
                        ..Tier::default()
                    },
                    device_bytes: resident + on_device + self.kv_bytes as f64,
                    host_bytes: on_host,
                    device_read: resident + active * device + kv_read,
                    host_read: active * host,
                }
            }
            Shape::Dense {
                blocks,
                embedding,
                output,
                per_block,
            } => {
                let layers = placement.gpu_layers.unwrap_or(u64::MAX).min(blocks + 1);
                // The output layer goes to the GPU first, then the blocks from the last.
                let on_device = layers.saturating_sub(1);
                let share = on_device as f64 / blocks as f64;
                let output_on_device = if layers > 0 { output } else { 0.0 };
                let device_weights = output_on_device + per_block * on_device as f64;
                let host_blocks = per_block * (blocks - on_device) as f64;
                let context = self.kv_bytes / u128::from(blocks) * u128::from(on_device);
                let device = Tier {
                    weights: bytes(device_weights),
                    context,
                    compute: 0,
                };
                let host = Tier {
                    weights: bytes(host_blocks + embedding),
                    context: self.kv_bytes - context,
                    compute: 0,
                };
                Usage {
                    device,
                    host,
                    device_bytes: device.total() as f64,
                    host_bytes: host.total() as f64,
                    device_read: device_weights + kv_read * share,
                    host_read: host_blocks + (output - output_on_device) + kv_read * (1.0 - share),
                }
            }
        }
    }
    fn work(&self, placement: &Placement) -> Option<Work> {
        let cache = self.kv_read_bytes as f64;
        match self.shape {
            Shape::Moe { .. } => {
                let (expert_bpw, rest_bpw) = self.decode_bpw;
                let setting = DecodeSetting {
                    expert_bpw,
                    rest_bpw,
                    on_host: self.moe_layers_on_host(placement.n_cpu_moe),
                    cache_read_bytes: cache,
                    sequences: self.sequences,
                };
                Work::of_model(self.model, &setting)
            }
            Shape::Dense { blocks, .. } => {
                let usage = self.usage(placement);
                let layers = placement.gpu_layers.unwrap_or(u64::MAX).min(blocks + 1);
                let on_device = layers.saturating_sub(1) as f64;
                let cache_bytes = cache * on_device / blocks as f64;
                Some(Work {
                    device_weight_bytes: (usage.device_read - cache_bytes).max(0.0),
                    cache_bytes,
                    host_weight_bytes: usage.host_read,
                    dense_blocks: on_device,
                    host_blocks: blocks as f64 - on_device,
                    ..Work::default()
                })
            }
        }
    }

    fn prefill_work(&self) -> Option<PrefillWork> {
        PrefillWork::of_model(self.model, self.decode_bpw)
    }

    fn cache_growth(&self, placement: &Placement) -> Vec<CacheGrowth> {
        let mut growth = self.model.cache_growth(self.sequences);
        for part in &mut growth {
            part.bytes_per_token *= self.cache_share;
        }
        let Shape::Dense { blocks, .. } = self.shape else {
            return growth;
        };
        // Blocks are taken to be equal, so that each has its share of every part.
        let layers = placement.gpu_layers.unwrap_or(u64::MAX).min(blocks + 1);
        let share = layers.saturating_sub(1) as f64 / blocks as f64;
        let of_tier = |on_host, share: f64| {
            let part = move |g: &CacheGrowth| CacheGrowth {
                bytes_per_token: g.bytes_per_token * share,
                on_host,
                ..*g
            };
            growth.iter().map(part).collect::<Vec<_>>()
        };
        let parts = of_tier(false, share)
            .into_iter()
            .chain(of_tier(true, 1.0 - share));
        parts.filter(|g| g.bytes_per_token > 0.0).collect()
    }
}
