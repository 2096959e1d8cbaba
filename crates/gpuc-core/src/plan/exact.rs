//! The footprint from a weights file: each tensor where llama.cpp puts it.

use std::collections::BTreeSet;

use super::footprint::{Footprint, Placement, Tier, Usage};
use crate::footprint::{Device, ExpertTensor, Facts, Placed, Setting};
use crate::forecast::{CacheGrowth, PrefillWork, Work};
use crate::units::nearest_bytes;

/// A weights file at one setting.
#[derive(Debug, Clone)]
pub struct Exact<'f> {
    facts: &'f Facts,
    setting: Setting,
    depth: u64,
    source: &'static str,
    weight_ratio: f64,
}

impl<'f> Exact<'f> {
    /// The footprint of `facts`; `depth` tokens of the context count as filled when decode is
    /// judged.
    pub fn new(facts: &'f Facts, setting: Setting, depth: u64, source: &'static str) -> Self {
        Self {
            facts,
            setting,
            depth,
            source,
            weight_ratio: 1.0,
        }
    }

    /// The same as if all weights took this share of their bytes: another quantisation.
    #[must_use]
    pub fn scaled(mut self, weight_ratio: f64) -> Self {
        self.weight_ratio = weight_ratio;
        self
    }

    fn placed(&self, placement: &Placement) -> Placed {
        let most = self.facts.blocks() + 1;
        Placed {
            gpu_layers: placement.gpu_layers.map_or(most, |k| k.min(most)),
            n_cpu_moe: placement.n_cpu_moe,
            host_experts: placement.host_experts.clone(),
        }
    }

    fn unscaled(&self) -> bool {
        (self.weight_ratio - 1.0).abs() < f64::EPSILON
    }
}

fn tier(device: Device, weight_ratio: f64) -> Tier {
    let weights = nearest_bytes((device.weights as f64 * weight_ratio).ceil());
    Tier {
        weights: weights.into(),
        context: device.context.into(),
        compute: device.compute.into(),
    }
}

impl Footprint for Exact<'_> {
    fn source(&self) -> &'static str {
        self.source
    }

    fn moe_layers(&self) -> u64 {
        self.facts.moe_blocks().len() as u64
    }

    fn placement(&self, on_host: u64) -> Placement {
        let n_cpu_moe = match usize::try_from(on_host) {
            Ok(0) => 0,
            Ok(n) => self
                .facts
                .moe_blocks()
                .get(n - 1)
                .map_or(self.facts.blocks(), |block| block + 1),
            Err(_) => self.facts.blocks(),
        };
        Placement {
            n_cpu_moe,
            ..Placement::default()
        }
    }

    fn moe_layers_on_host(&self, n_cpu_moe: u64) -> u64 {
        self.facts
            .moe_blocks()
            .partition_point(|block| *block < n_cpu_moe) as u64
    }

    fn blocks(&self) -> Option<u64> {
        Some(self.facts.blocks())
    }

    fn by_blocks(&self) -> bool {
        true
    }

    fn experts(&self) -> &[ExpertTensor] {
        self.facts.experts()
    }

    fn usage(&self, placement: &Placement) -> Usage {
        let placed = self.placed(placement);
        let map = self.facts.memory_map(&self.setting, &placed);
        let (mut device_read, mut host_read) = self.facts.reads(&self.setting, &placed, self.depth);
        if !self.unscaled() {
            // What is read at depth 0 is weights.
            let (device, host) = self.facts.reads(&self.setting, &placed, 0);
            device_read -= device * (1.0 - self.weight_ratio);
            host_read -= host * (1.0 - self.weight_ratio);
        }
        let ratio = self.weight_ratio;
        let (device, host) = (tier(map.device, ratio), tier(map.host, ratio));
        Usage {
            device,
            host,
            device_bytes: device.total() as f64,
            host_bytes: host.total() as f64,
            device_read,
            host_read,
        }
    }

    fn work(&self, placement: &Placement) -> Option<Work> {
        let blocks = self.facts.blocks();
        let placed = self.placed(placement);
        // The output layer goes first, then the blocks from the last.
        let first = blocks - placed.gpu_layers.saturating_sub(1);
        let of_experts = |range: std::ops::Range<u64>| {
            let moe = self.facts.moe_blocks();
            moe.iter().filter(|b| range.contains(b)).count() as f64
        };
        let experts = of_experts(first..blocks);
        let partly: BTreeSet<u64> = placement.host_experts.iter().map(|(b, _)| *b).collect();
        let moved = of_experts(first..placement.n_cpu_moe.max(first)) + partly.len() as f64;
        let (device, host) = self.facts.reads(&self.setting, &placed, self.depth);
        let (weights, _) = self.facts.reads(&self.setting, &placed, 0);
        // State is read and written; what is read at depth 0 is weights and it.
        let state = self.facts.state_read(&placed);
        Some(Work {
            device_weight_bytes: (weights - state) * self.weight_ratio,
            cache_bytes: device - weights + 2.0 * state,
            host_weight_bytes: host * self.weight_ratio,
            dense_blocks: (blocks - first) as f64 - experts,
            expert_blocks: experts,
            state_blocks: self.facts.recurrent_blocks(first) as f64,
            host_blocks: first as f64 + moved,
        })
    }

    fn prefill_work(&self) -> Option<PrefillWork> {
        let mut work = self.facts.prefill_work();
        work.always_bytes *= self.weight_ratio;
        work.routed_bytes *= self.weight_ratio;
        Some(work)
    }

    fn cache_growth(&self, placement: &Placement) -> Vec<CacheGrowth> {
        self.facts
            .cache_growth(&self.setting, &self.placed(placement))
    }
}
