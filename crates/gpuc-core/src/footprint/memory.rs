//! The memory map of one placement: weights, context and compute bytes of device and host.

use std::collections::{BTreeMap, BTreeSet};

use crate::forecast::{CacheGrowth, PrefillWork};
use crate::header::GgmlType;

use super::cache;
use super::compute;
use super::facts::{Facts, WindowKind};
use super::graph::{DEVICE, HOST};
use super::tensors::{ExpertKind, FactTensor, Role};

/// How the model will be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Tokens of context, for all sequences together.
    pub ctx: u64,
    /// Type of cached keys.
    pub type_k: GgmlType,
    /// Type of cached values.
    pub type_v: GgmlType,
    /// Most tokens computed at once (`--ubatch-size`).
    pub ubatch: u64,
    /// Whether flash attention is on.
    pub flash_attn: bool,
    /// Sequences served at once (`--parallel`).
    pub n_seq: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            ctx: 4096,
            type_k: GgmlType::F16,
            type_v: GgmlType::F16,
            ubatch: 512,
            flash_attn: true,
            n_seq: 1,
        }
    }
}

impl Setting {
    /// Tokens of a batch: never more than the context holds.
    pub(super) fn batch(&self) -> u64 {
        self.ubatch
            .min(self.context().next_multiple_of(256))
            .clamp(1, 1 << 20)
    }

    /// The context, within bounds that keep products in 64 bits.
    pub(super) fn context(&self) -> u64 {
        self.ctx.min(1 << 40)
    }

    /// The sequences, likewise.
    pub(super) fn sequences(&self) -> u64 {
        self.n_seq.clamp(1, 1 << 16)
    }
}

/// What lies where, in llama.cpp's own terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// `--n-gpu-layers`: how many of the last blocks lie on the device, the output counting as
    /// the last; from `blocks + 1` up everything does.
    pub gpu_layers: u64,
    /// `--n-cpu-moe`: blocks, from the first, whose experts stay on the host.
    pub n_cpu_moe: u64,
    /// Further expert tensors on the host (`-ot`).
    pub host_experts: BTreeSet<(u64, ExpertKind)>,
}

impl Placed {
    /// The first block on the device.
    pub(super) fn first_block(&self, facts: &Facts) -> u64 {
        (facts.blocks + 1).saturating_sub(self.gpu_layers)
    }

    /// Whether the output is computed on the device.
    pub(super) fn output_on_device(&self) -> bool {
        self.gpu_layers > 0
    }
}

/// Bytes of one device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Device {
    /// Weights.
    pub weights: u64,
    /// Key-value caches and recurrent states.
    pub context: u64,
    /// The compute buffer.
    pub compute: u64,
}

impl Device {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights
            .saturating_add(self.context)
            .saturating_add(self.compute)
    }
}

/// Bytes of device and host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryMap {
    /// The GPU.
    pub device: Device,
    /// The host.
    pub host: Device,
}

impl Facts {
    /// What llama.cpp allocates on device and host for this placement.
    pub fn memory_map(&self, setting: &Setting, placed: &Placed) -> MemoryMap {
        let setting = &self.in_effect(setting);
        let lies = self.places(placed);
        let mut map = MemoryMap::default();
        for (t, at) in self.tensors.iter().zip(&lies) {
            let part = if *at == DEVICE {
                &mut map.device
            } else {
                &mut map.host
            };
            part.weights = part.weights.saturating_add(t.bytes);
        }
        // A tied output is a second copy of the embedding.
        if let Some(bytes) = self.tied_output {
            if placed.output_on_device() {
                map.device.weights = map.device.weights.saturating_add(bytes);
            } else if self.style.tied_twice {
                map.host.weights = map.host.weights.saturating_add(bytes);
            }
        }
        let first = placed.first_block(self);
        for (i, layer) in (0_u64..).zip(&self.layers) {
            let bytes = cache::layer_bytes(self, layer, setting);
            let part = if i < first {
                &mut map.host
            } else {
                &mut map.device
            };
            part.context = part.context.saturating_add(bytes);
        }
        let [device, host] = compute::buffers(self, setting, placed, &lies);
        map.device.compute = device;
        map.host.compute = host;
        map
    }

    /// The setting as llama.cpp applies it: for some models it turns flash attention off.
    pub(super) fn in_effect(&self, setting: &Setting) -> Setting {
        Setting {
            flash_attn: setting.flash_attn && !self.style.no_flash_attention,
            ..*setting
        }
    }

    /// Bytes that one token reads on device and host at a context of `depth` tokens: all weights
    /// but the embedding's table, of routed experts the share that is used, the cache so far,
    /// the recurrent state.
    pub fn reads(&self, setting: &Setting, placed: &Placed, depth: u64) -> (f64, f64) {
        let mut device = 0.0;
        let mut host = 0.0;
        for t in &self.tensors {
            if t.role == Role::Embedding {
                continue;
            }
            let sum = if self.place(placed, t) == DEVICE {
                &mut device
            } else {
                &mut host
            };
            *sum += t.bytes as f64 * self.share_read(t);
        }
        if let Some(bytes) = self.tied_output {
            let sum = if placed.output_on_device() {
                &mut device
            } else {
                &mut host
            };
            *sum += bytes as f64;
        }
        let first = placed.first_block(self);
        for (i, layer) in (0_u64..).zip(&self.layers) {
            let sum = if i < first { &mut host } else { &mut device };
            *sum += cache::layer_read(self, layer, setting, depth);
        }
        (device, host)
    }

    /// How what [`Self::reads`] counts grows with the depth.
    pub fn cache_growth(&self, setting: &Setting, placed: &Placed) -> Vec<CacheGrowth> {
        let first = placed.first_block(self);
        let mut parts: BTreeMap<(bool, Option<u64>), f64> = BTreeMap::new();
        for (i, layer) in (0_u64..).zip(&self.layers) {
            let (bytes, window) = cache::layer_growth(self, layer, setting);
            if bytes > 0.0 {
                *parts.entry((i < first, window)).or_default() += bytes;
            }
        }
        let part = |((on_host, window), bytes_per_token)| CacheGrowth {
            bytes_per_token,
            window,
            on_host,
        };
        parts.into_iter().map(part).collect()
    }

    /// The work of prefill with everything on the device.
    pub fn prefill_work(&self) -> PrefillWork {
        let blocks = self.layers.len() as f64;
        let moe = self.moe_blocks.len() as f64;
        let used = self.layers.iter().map(|l| l.experts_used).max();
        let mut work = PrefillWork {
            share: match self.experts {
                0 => 0.0,
                experts => (used.unwrap_or(0) as f64 / experts as f64).min(1.0),
            },
            blocks: (
                moe,
                (blocks - moe).max(0.0),
                self.recurrent_blocks(0) as f64,
            ),
            stream: blocks * self.embedding_length as f64,
            window: self.window as f64,
            ..PrefillWork::default()
        };
        // Norms, biases and tables are no matrices that tokens are multiplied by.
        let matrices = self.tensors.iter().filter(|t| {
            let [_, columns, ..] = t.dims;
            columns > 1 && !matches!(t.role, Role::Embedding | Role::Output)
        });
        for t in matrices {
            let weights: f64 = t.dims.iter().map(|d| *d as f64).product();
            if t.role.is_expert() {
                work.routed += weights * self.share_read(t);
                work.routed_bytes += t.bytes as f64;
            } else {
                work.always += weights;
                work.always_bytes += t.bytes as f64;
            }
        }
        for layer in self.layers.iter().filter(|l| l.kv_heads > 0) {
            let width = layer.heads as f64 * layer.key_length as f64;
            match layer.window {
                WindowKind::Full => work.attention += width,
                WindowKind::Window => work.windowed += width,
            }
        }
        work
    }

    /// Bytes of recurrent state that a token reads on the device.
    pub fn state_read(&self, placed: &Placed) -> f64 {
        let first = placed.first_block(self);
        let on_device = (0_u64..).zip(&self.layers).filter(|(i, _)| *i >= first);
        on_device
            .map(|(_, layer)| cache::layer_state(self, layer))
            .sum()
    }

    fn share_read(&self, t: &FactTensor) -> f64 {
        if !t.role.is_expert() || self.experts == 0 {
            return 1.0;
        }
        let used = t
            .block
            .and_then(|b| usize::try_from(b).ok())
            .and_then(|b| self.layers.get(b))
            .map_or(0, |l| l.experts_used);
        (used as f64 / self.experts as f64).min(1.0)
    }

    /// Where each tensor lies.
    pub(super) fn places(&self, placed: &Placed) -> Vec<u8> {
        self.tensors.iter().map(|t| self.place(placed, t)).collect()
    }

    fn place(&self, placed: &Placed, t: &FactTensor) -> u8 {
        let first = placed.first_block(self);
        match t.block {
            Some(b) if b < first => HOST,
            Some(b) if t.role.is_expert() && b < placed.n_cpu_moe => HOST,
            Some(b)
                if t.expert
                    .is_some_and(|k| placed.host_experts.contains(&(b, k))) =>
            {
                HOST
            }
            Some(_) => DEVICE,
            None if t.role == Role::Embedding => HOST,
            // Projections of per-layer embeddings belong to the input.
            None if t.name.starts_with("per_layer_") && first > 0 => HOST,
            None if placed.output_on_device() => DEVICE,
            None => HOST,
        }
    }
}
