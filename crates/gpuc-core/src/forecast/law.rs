//! The law of decode: seconds per token from bytes, blocks and the rig's rates.
//!
//! ```text
//! t = weights / (a · V) + cache / (b · V)                 VRAM at the rate V
//!   + g · (c · expert blocks + d · dense blocks + e · blocks with state)
//!   + host weights / (f · (R / 40 GB/s)^p) + h · host blocks   RAM that could deliver R
//! ```
//!
//! a and b are shares of the card's bandwidth, c, d and e what launching a block's kernels costs, g
//! how a generation differs in that, f and p what decode gets out of RAM (less than in proportion:
//! a wide memory outruns the processor's arithmetic), h what handing a block to the processor and
//! back costs.

use serde::{Deserialize, Serialize};

use super::work::Work;

/// The RAM rate that `ram_bytes_s` is stated at.
const RAM_REFERENCE: f64 = 40e9;

/// How many parameters a law has.
pub(super) const PARAMETERS: usize = 8;

/// The parameters of decode on one backend.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Law {
    /// Share of the VRAM bandwidth that weights are read at.
    pub weight_share: f64,
    /// Share of the VRAM bandwidth that cache and state are read at.
    pub cache_share: f64,
    /// Fixed microseconds of a block with routed experts.
    pub expert_block_us: f64,
    /// Fixed microseconds of a block without.
    pub dense_block_us: f64,
    /// Further microseconds of a block with a recurrent state.
    pub state_block_us: f64,
    /// GB/s at which weights in RAM of 40 GB/s are gone through.
    pub ram_gbps_at_40: f64,
    /// How that grows with the RAM's rate.
    pub ram_exponent: f64,
    /// Fixed microseconds of a block that is handed to the processor.
    pub host_block_us: f64,
}

/// The rates of a rig, bytes a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// VRAM.
    pub vram: f64,
    /// What the RAM's modules could deliver.
    pub ram: f64,
}

impl Law {
    /// What is taken before any measurement, with the standard deviation of its logarithm (of the
    /// exponent itself).
    pub(super) const PRIOR: [(f64, f64); PARAMETERS] = [
        (0.8, 0.2),
        (0.7, 0.3),
        (40.0, 0.7),
        (40.0, 0.7),
        (40.0, 1.0),
        (26.0, 0.5),
        (0.7, 0.3),
        (100.0, 0.7),
    ];

    /// From logarithms in the order of the fields; the exponent is itself.
    pub(super) fn from_logs(logs: [f64; PARAMETERS]) -> Self {
        let [
            weights,
            cache,
            expert,
            dense,
            state,
            ram,
            ram_exponent,
            host,
        ] = logs;
        Self {
            weight_share: weights.exp(),
            cache_share: cache.exp(),
            expert_block_us: expert.exp(),
            dense_block_us: dense.exp(),
            state_block_us: state.exp(),
            ram_gbps_at_40: ram.exp(),
            ram_exponent,
            host_block_us: host.exp(),
        }
    }

    /// Seconds for one token; `generation` multiplies the fixed costs of the blocks on the card.
    pub fn seconds(&self, work: &Work, rates: Rates, generation: f64) -> f64 {
        let read = work.device_weight_bytes / (self.weight_share * rates.vram)
            + work.cache_bytes / (self.cache_share * rates.vram);
        let blocks = self.expert_block_us * work.expert_blocks
            + self.dense_block_us * work.dense_blocks
            + self.state_block_us * work.state_blocks;
        let ram = self.ram_gbps_at_40 * 1e9 * (rates.ram / RAM_REFERENCE).powf(self.ram_exponent);
        let host = if work.in_vram() {
            0.0
        } else {
            work.host_weight_bytes / ram + self.host_block_us * 1e-6 * work.host_blocks
        };
        read + generation * blocks * 1e-6 + host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAW: Law = Law {
        weight_share: 0.8,
        cache_share: 0.5,
        expert_block_us: 50.0,
        dense_block_us: 20.0,
        state_block_us: 10.0,
        ram_gbps_at_40: 30.0,
        ram_exponent: 0.5,
        host_block_us: 100.0,
    };

    #[test]
    fn each_term_counts_once() {
        let work = Work {
            device_weight_bytes: 0.8e9,
            cache_bytes: 0.05e9,
            host_weight_bytes: 0.06e9,
            dense_blocks: 2.0,
            expert_blocks: 10.0,
            state_blocks: 1.0,
            host_blocks: 3.0,
        };
        let rates = Rates {
            vram: 1e12,
            ram: 160e9,
        };
        let want = 1e-3 + 1e-4 + 2.0 * (500.0 + 40.0 + 10.0) * 1e-6 + 1e-3 + 3e-4;
        assert!((LAW.seconds(&work, rates, 2.0) - want).abs() < 1e-12);
        let vram = Work {
            host_weight_bytes: 0.0,
            ..work
        };
        let want = 1e-3 + 1e-4 + 550e-6;
        assert!((LAW.seconds(&vram, rates, 1.0) - want).abs() < 1e-12);
    }
}
