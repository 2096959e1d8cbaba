//! The footprint from a configuration alone: parameter counts times bytes per weight.
//!
//! The estimate for when no weights file is at hand. Biases and norms are left out (under 1 %),
//! and all non-expert weights are taken to be read for each token.

use super::footprint::{Footprint, Placement, Tier, Usage};
use crate::document::Model;
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
}

/// A mixture-of-experts model in closed form.
#[derive(Debug, Clone)]
pub struct ClosedForm<'m> {
    model: &'m Model,
    moe_layers: u64,
    /// Non-expert weights, bytes.
    resident: f64,
    /// Routed experts of one layer, bytes.
    per_layer: f64,
    /// Routed experts of one layer that a token uses, bytes.
    active: f64,
    kv_bytes: u128,
    kv_read_bytes: u128,
}

impl<'m> ClosedForm<'m> {
    /// The footprint of `model`, or none when its configuration does not give the split.
    pub fn new(model: &'m Model, setting: ClosedFormSetting) -> Option<Self> {
        let moe_layers = model
            .n_moe_layers
            .filter(|l| *l > 0 && model.expert.is_moe)?;
        let experts = model.expert_params_total.filter(|p| *p > 0)?;
        let others = model.non_expert_params?;
        let each = model.expert.expert_params_each.unwrap_or(0);
        let used = model.expert.experts_per_token.unwrap_or(0);
        Some(Self {
            model,
            moe_layers,
            resident: others as f64 * setting.non_expert_bpw,
            per_layer: experts as f64 * setting.expert_bpw / moe_layers as f64,
            active: used as f64 * each as f64 * setting.expert_bpw,
            kv_bytes: setting.kv_bytes,
            kv_read_bytes: setting.kv_read_bytes,
        })
    }
}

impl Footprint for ClosedForm<'_> {
    fn moe_layers(&self) -> u64 {
        self.moe_layers
    }

    fn placement(&self, on_host: u64) -> Placement {
        Placement {
            n_cpu_moe: self.model.llama_n_cpu_moe(on_host),
        }
    }

    fn moe_layers_on_host(&self, n_cpu_moe: u64) -> u64 {
        self.model.moe_on_host(n_cpu_moe)
    }

    fn usage(&self, placement: &Placement) -> Usage {
        let host = self
            .moe_layers_on_host(placement.n_cpu_moe)
            .min(self.moe_layers) as f64;
        let device = self.moe_layers as f64 - host;
        let (on_device, on_host) = (self.per_layer * device, self.per_layer * host);
        let bytes = |x: f64| u128::from(nearest_bytes(x));
        Usage {
            device: Tier {
                weights: bytes(self.resident + on_device),
                context: self.kv_bytes,
                compute: 0,
            },
            host: Tier {
                weights: bytes(on_host),
                context: 0,
                compute: 0,
            },
            device_bytes: self.resident + on_device + self.kv_bytes as f64,
            host_bytes: on_host,
            device_read: self.resident + self.active * device + self.kv_read_bytes as f64,
            host_read: self.active * host,
        }
    }
}
