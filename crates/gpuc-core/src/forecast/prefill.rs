//! The law of prefill: seconds for a token of a prompt, evaluated a micro-batch of n at a time, with
//! all weights in VRAM.
//!
//! ```text
//! t = 2 (always (1 + c / n) + routed (1 + d / m) + 2 attention / e) / (u P)   arithmetic at the rate P
//!   + weights touched / (a V n) + fixed costs of the blocks / n               as in decode, once for n
//!   + 4 s · stream / V                                                        activations
//! ```
//!
//! P is what the card's tensor cores do on 8-bit integers; u the share of it that is got; c and d the
//! columns that a matrix costs beyond those it has, in every token's weights and in an expert, which
//! sees m of the n tokens; e how much worse attention does; s how often the residual stream goes
//! through VRAM in a block. a, V and the blocks' costs are decode's.

use serde::{Deserialize, Serialize};

use super::law::Law;
use crate::document::Model;

/// How many parameters the law has.
pub(super) const PARAMETERS: usize = 5;
/// Operations on 8-bit integers that a multiprocessor's tensor cores do in a cycle, from Ampere on
/// (GeForce and workstation cards).
const OPERATIONS_A_CYCLE: f64 = 2048.0;

/// The multiprocessors and boost clocks of cards, by the maker's specifications.
const MULTIPROCESSORS: &str = include_str!("../../data/multiprocessors.csv");

/// What the tensor cores of the card of this name do, operations a second.
pub fn arithmetic_rate(gpu: &str) -> Option<f64> {
    let plain = |name: &str| -> String {
        let name = name.to_lowercase();
        let words = name.split_whitespace();
        let words: Vec<&str> = words
            .filter(|w| !matches!(*w, "nvidia" | "geforce"))
            .collect();
        words.join(" ")
    };
    let asked = plain(gpu);
    let row = MULTIPROCESSORS.lines().skip(1).find_map(|line| {
        let (name, rest) = line.split_once(',')?;
        (plain(name) == asked).then_some(rest)
    })?;
    let (count, mhz) = row.split_once(',')?;
    let (count, mhz): (f64, f64) = (count.parse().ok()?, mhz.parse().ok()?);
    Some(count * mhz * 1e6 * OPERATIONS_A_CYCLE)
}

/// What prefill takes of a card, whatever the micro-batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PrefillWork {
    /// Weights that every token passes, without the input's table and the output layer.
    pub always: f64,
    /// Weights of routed experts that a token passes.
    pub routed: f64,
    /// Share of a layer's experts that a token uses.
    pub share: f64,
    /// Bytes of the weights that every token passes.
    pub always_bytes: f64,
    /// Bytes of all routed experts.
    pub routed_bytes: f64,
    /// Blocks with routed experts, without, and with a recurrence.
    pub blocks: (f64, f64, f64),
    /// Elements of the residual stream, over all blocks.
    pub stream: f64,
    /// Query elements over the layers that see everything.
    pub attention: f64,
    /// Query elements over the layers with a window.
    pub windowed: f64,
    /// That window, tokens.
    pub window: f64,
}

/// How a prompt is evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrefillSetting {
    /// Tokens at a time.
    pub ubatch: f64,
    /// Tokens that a token of the prompt sees before it, on average.
    pub before: f64,
}

/// What a card gives prefill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrefillRates {
    /// Operations a second.
    pub arithmetic: f64,
    /// VRAM, bytes a second.
    pub vram: f64,
    /// Its generation's factor on the blocks' fixed costs.
    pub generation: f64,
}

/// The parameters of prefill on one backend.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PrefillLaw {
    /// Share of the tensor cores' rate.
    pub tensor_share: f64,
    /// Columns that a matrix costs beyond those it has.
    pub extra_columns: f64,
    /// The same in an expert.
    pub extra_expert_columns: f64,
    /// How often the residual stream goes through VRAM in a block.
    pub stream_passes: f64,
    /// What attention gets of what matrices get.
    pub attention_share: f64,
}

impl PrefillLaw {
    /// What is taken before any measurement, with the standard deviation of its logarithm.
    pub(super) const PRIOR: [(f64, f64); PARAMETERS] = [
        (0.3, 0.5),
        (40.0, 0.7),
        (30.0, 0.7),
        (20.0, 0.7),
        (0.5, 0.5),
    ];

    /// From logarithms in the order of the fields.
    pub(super) fn from_logs(logs: [f64; PARAMETERS]) -> Self {
        let [tensor, columns, expert, stream, attention] = logs.map(f64::exp);
        Self {
            tensor_share: tensor,
            extra_columns: columns,
            extra_expert_columns: expert,
            stream_passes: stream,
            attention_share: attention,
        }
    }

    /// Seconds for one token; `decode` is the backend's law of decode.
    pub fn seconds(
        &self,
        work: &PrefillWork,
        setting: PrefillSetting,
        rates: PrefillRates,
        decode: &Law,
    ) -> f64 {
        let n = setting.ubatch.max(1.0);
        // Experts that any of the micro-batch uses, and how many of its tokens each of them sees.
        let hit = 1.0 - (1.0 - work.share).powf(n);
        let seen = if hit > 0.0 { n * work.share / hit } else { 1.0 };
        let attention =
            work.attention * setting.before + work.windowed * setting.before.min(work.window);
        let columns = work.always * (1.0 + self.extra_columns / n)
            + work.routed * (1.0 + self.extra_expert_columns / seen)
            + 2.0 * attention / self.attention_share;
        let (experts, dense, state) = work.blocks;
        let blocks = decode.expert_block_us * experts
            + decode.dense_block_us * dense
            + decode.state_block_us * state;
        let touched = work.always_bytes + hit * work.routed_bytes;
        2.0 * columns / (self.tensor_share * rates.arithmetic)
            + touched / (decode.weight_share * rates.vram * n)
            + rates.generation * blocks * 1e-6 / n
            + 4.0 * self.stream_passes * work.stream / rates.vram
    }
}

impl PrefillWork {
    /// The work of a model by its configuration, its weights of these widths (experts', others').
    pub fn of_model(model: &Model, (expert_bpw, rest_bpw): (f64, f64)) -> Option<Self> {
        let hidden = model.hidden_size? as f64;
        let table = model.vocab_size? as f64 * hidden;
        let tables = if model.tied_embeddings? {
            table
        } else {
            2.0 * table
        };
        let always = (model.non_expert_params? as f64 - tables).max(0.0);
        let blocks = model.n_layers? as f64;
        let moe = model.n_moe_layers.unwrap_or(0) as f64;
        let count = |n: Option<u64>| n.unwrap_or(0) as f64;
        let expert = &model.expert;
        let used = count(expert.experts_per_token);
        let width = count(model.n_heads) * count(model.head_dim);
        let groups = model.kv_groups.as_deref().unwrap_or_default();
        let layers = |windowed: bool| -> f64 {
            let grows = groups.iter().filter(|g| g.bytes_per_token > 0);
            grows
                .filter(|g| g.window.is_some() == windowed)
                .map(|g| g.layers as f64)
                .sum()
        };
        let full = if model.kv_groups.is_some() {
            layers(false)
        } else {
            blocks
        };
        let window = groups.iter().filter_map(|g| g.window).max();
        Some(Self {
            always,
            routed: used * count(expert.expert_params_each) * moe,
            share: if expert.is_moe {
                used / expert.num_experts.filter(|n| *n > 0)? as f64
            } else {
                0.0
            },
            always_bytes: always * rest_bpw,
            routed_bytes: count(model.expert_params_total) * expert_bpw,
            blocks: (
                moe,
                (blocks - moe).max(0.0),
                super::work::state_blocks(model),
            ),
            stream: blocks * hidden,
            attention: width * full,
            windowed: width * layers(true),
            window: count(window),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECODE: Law = Law {
        weight_share: 0.5,
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
        let law = PrefillLaw {
            tensor_share: 0.5,
            extra_columns: 10.0,
            extra_expert_columns: 5.0,
            stream_passes: 3.0,
            attention_share: 0.5,
        };
        let work = PrefillWork {
            always: 1e9,
            always_bytes: 1e9,
            blocks: (1.0, 2.0, 1.0),
            stream: 1e5,
            attention: 1e4,
            windowed: 2e4,
            window: 100.0,
            ..PrefillWork::default()
        };
        let setting = PrefillSetting {
            ubatch: 100.0,
            before: 1000.0,
        };
        let rates = PrefillRates {
            arithmetic: 1e14,
            vram: 1e12,
            generation: 2.0,
        };
        let attention = 2.0 * (1e4 * 1000.0 + 2e4 * 100.0) / 0.5;
        let want = 2.0 * (1.1e9 + attention) / 0.5e14
            + 1e9 / 0.5e12 / 100.0
            + 2.0 * (50.0 + 40.0 + 10.0) * 1e-6 / 100.0
            + 12.0 * 1e5 / 1e12;
        assert!((law.seconds(&work, setting, rates, &DECODE) / want - 1.0).abs() < 1e-12);
        // Every expert is used by a large batch, and sees its share of the tokens.
        let experts = PrefillWork {
            routed: 1e9,
            share: 0.25,
            ..PrefillWork::default()
        };
        let want = 2.0 * 1e9 * (1.0 + 5.0 / 25.0) / 0.5e14;
        assert!((law.seconds(&experts, setting, rates, &DECODE) / want - 1.0).abs() < 1e-9);
    }

    #[test]
    fn cards_are_found_by_their_drivers_names() {
        let rate = |name| arithmetic_rate(name).map(|r| (r / 1e12).round());
        assert_eq!(rate("NVIDIA GeForce RTX 4090"), Some(661.0));
        assert_eq!(rate("RTX 3090"), Some(285.0));
        assert_eq!(rate("NVIDIA GeForce RTX 4090 Laptop GPU"), None);
        assert_eq!(rate(""), None);
    }
}
