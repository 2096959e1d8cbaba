//! The facts that a GGUF file's keys and tensors state.

use std::collections::BTreeMap;

use crate::header::GgufModel;

use super::facts::{Facts, FactsError, LayerFacts, Recurrence, WindowKind};
use super::file_type;
use super::keys::{Keys, recurrent_blocks, state, windows};
use super::shape::{classes, shapes};
use super::style::Style;
use super::tensors::{ExpertKind, ExpertTensor, FactTensor, role, split_name};

/// The most blocks that are believed.
const MAX_BLOCKS: u64 = 4096;

/// Architectures whose graphs these rules were checked against.
const KNOWN: [&str; 33] = [
    "llama",
    "llama4",
    "mistral3",
    "qwen2",
    "qwen2moe",
    "qwen3",
    "qwen3moe",
    "qwen3next",
    "qwen35",
    "qwen35moe",
    "gpt-oss",
    "deepseek2",
    "glm4moe",
    "olmo2",
    "olmoe",
    "gemma2",
    "gemma3",
    "gemma4",
    "granite",
    "granitemoe",
    "granitehybrid",
    "hunyuan-moe",
    "ernie4_5",
    "ernie4_5-moe",
    "minimax-m2",
    "dots1",
    "phi3",
    "phimoe",
    "lfm2",
    "lfm2moe",
    "nemotron_h",
    "nemotron_h_moe",
    "command-r",
];

impl Facts {
    /// Reads the facts off a header.
    pub fn from_gguf(model: &GgufModel) -> Result<Self, FactsError> {
        let m = &model.metadata;
        let missing = |key: &str| FactsError::Missing {
            key: key.to_owned(),
        };
        let architecture = m
            .text("general.architecture")
            .ok_or_else(|| missing("general.architecture"))?;
        let keys = Keys {
            metadata: m,
            architecture,
        };
        let require = |key: &str| {
            keys.get(key)
                .filter(|n| *n > 0)
                .ok_or_else(|| missing(&format!("{architecture}.{key}")))
        };
        let blocks = require("block_count")?;
        if blocks > MAX_BLOCKS {
            return Err(missing(&format!("{architecture}.block_count")));
        }
        let embedding_length = require("embedding_length")?;
        let predicting = keys.get("nextn_predict_layers").unwrap_or(0).min(blocks);
        let loaded = blocks - predicting;
        let tensors = loaded_tensors(model, loaded);
        let vocabulary = tensors
            .iter()
            .find(|t| t.name == "token_embd.weight")
            .map(|t| t.dims[1])
            .or_else(|| m.array_len("tokenizer.ggml.tokens"))
            .or_else(|| keys.get("vocab_size"))
            .ok_or_else(|| missing("token_embd.weight"))?;
        let mut assumptions = Vec::new();
        if !KNOWN.contains(&architecture) {
            assumptions.push(format!(
                "no rules for the architecture {architecture:?}: its graph is drawn from its \
                 tensors, its caches from the common keys"
            ));
        }
        let (layers, widest_values, window, latent) =
            Self::layers(&keys, &tensors, blocks, loaded, embedding_length)
                .ok_or_else(|| missing(&format!("{architecture}.attention.head_count")))?;
        let recurrence = Recurrence {
            conv: keys.get("ssm.conv_kernel").unwrap_or(0),
            inner: keys.get("ssm.inner_size").unwrap_or(0),
            state: keys.get("ssm.state_size").unwrap_or(0),
            groups: keys.get("ssm.group_count").unwrap_or(0),
            heads: keys.get("ssm.time_step_rank").unwrap_or(0),
        };
        let first_heads = layers.first().map_or(0, |l| l.heads);
        let experts = keys.get("expert_count").unwrap_or(0);
        let shapes = shapes(&tensors, loaded);
        let experts_by_kind = experts_by_kind(&tensors, &layers, experts);
        let mut moe_blocks: Vec<u64> = experts_by_kind.iter().map(|e| e.block).collect();
        moe_blocks.dedup();
        Ok(Self {
            classes: classes(&shapes, &layers),
            shapes,
            experts_by_kind,
            moe_blocks,
            name: m
                .text("general.name")
                .or_else(|| m.text("general.basename"))
                .unwrap_or(architecture)
                .to_owned(),
            quantisation: m.u64("general.file_type").and_then(file_type::label),
            file_bytes: model.file_bytes,
            tied_output: tied_output(&tensors),
            architecture: architecture.to_owned(),
            blocks,
            embedding_length,
            deep_rows: keys.get("n_deepstack_layers").unwrap_or(0).min(64),
            vocabulary,
            context_length: keys.get("context_length"),
            experts,
            state: state(&keys, &recurrence, embedding_length, first_heads),
            layers,
            tensors,
            window,
            latent,
            widest_values,
            recurrence,
            style: Style::of(&keys),
            assumptions,
        })
    }

    fn layers(
        keys: &Keys,
        tensors: &[FactTensor],
        blocks: u64,
        loaded: u64,
        embedding: u64,
    ) -> Option<(Vec<LayerFacts>, u64, u64, bool)> {
        let heads = keys.per_block("attention.head_count", blocks)?;
        let kv_heads = keys
            .per_block("attention.head_count_kv", blocks)
            .unwrap_or_else(|| heads.clone());
        let first = heads.iter().copied().find(|n| *n > 0).unwrap_or(1);
        let head = embedding / first;
        let key = keys.get("attention.key_length").unwrap_or(head);
        let value = keys.get("attention.value_length").unwrap_or(head);
        let key_window = keys.get("attention.key_length_swa").unwrap_or(key);
        let value_window = keys.get("attention.value_length_swa").unwrap_or(value);
        let latent = keys.get("attention.key_length_mla").unwrap_or(0) > 0
            && keys.get("attention.value_length_mla").unwrap_or(0) > 0;
        let (window, windowed) = windows(keys, blocks);
        let recurrent = recurrent_blocks(keys, tensors, blocks, loaded, &kv_heads);
        let used = keys
            .per_block("expert_used_count", blocks)
            .unwrap_or_default();
        let owners = match keys.architecture {
            "gemma3n" => 20,
            _ => blocks.saturating_sub(keys.get("attention.shared_kv_layers").unwrap_or(0)),
        };
        let ff = keys
            .per_block("feed_forward_length", blocks)
            .unwrap_or_default();
        let indexer = keys.get("attention.indexer.key_length").unwrap_or(0);
        let mut layers = Vec::new();
        let mut widest = 0;
        let per_block = heads
            .iter()
            .zip(&kv_heads)
            .zip(windowed.iter().zip(&recurrent));
        for (i, ((heads, kv), (windowed, recurrent))) in (0_u64..).zip(per_block) {
            let (key_length, value_length) = if *windowed {
                (key_window, value_window)
            } else {
                (key, value)
            };
            widest = widest.max(value_length.saturating_mul(*kv));
            if i >= loaded {
                continue;
            }
            let at = usize::try_from(i).unwrap_or(usize::MAX);
            // Blocks of these are attention, recurrence or feed-forward, never two of them.
            let single = keys.architecture.starts_with("nemotron_h");
            let feeds = ff.get(at).copied().unwrap_or(0) > 0;
            let both = keys.architecture == "falcon-h1";
            layers.push(LayerFacts {
                heads: *heads,
                kv_heads: *kv,
                key_length,
                value_length,
                window: if *windowed {
                    WindowKind::Window
                } else {
                    WindowKind::Full
                },
                has_cache: i < owners && (both || !*recurrent) && !(single && feeds),
                recurrent: (both || *recurrent) && !(single && feeds),
                experts_used: used.get(at).copied().unwrap_or(0),
                indexer_length: indexer,
            });
        }
        Some((layers, widest, window, latent))
    }
}

/// The tensors of blocks that are loaded, and those of no block.
fn loaded_tensors(model: &GgufModel, loaded: u64) -> Vec<FactTensor> {
    let fact = |t: &crate::header::TensorInfo| {
        let (block, suffix) = split_name(&t.name);
        block.is_none_or(|b| b < loaded).then(|| FactTensor {
            name: t.name.clone(),
            block,
            role: role(&t.name),
            expert: block.and_then(|_| ExpertKind::of(suffix)),
            dims: t.dims,
            bytes: t.bytes,
        })
    };
    model.tensors.iter().filter_map(fact).collect()
}

fn tied_output(tensors: &[FactTensor]) -> Option<u64> {
    if tensors.iter().any(|t| t.name == "output.weight") {
        return None;
    }
    tensors
        .iter()
        .find(|t| t.name == "token_embd.weight")
        .map(|t| t.bytes)
}

/// The routed experts by block and kind, with what a token reads of them.
fn experts_by_kind(
    tensors: &[FactTensor],
    layers: &[LayerFacts],
    experts: u64,
) -> Vec<ExpertTensor> {
    let mut sums: BTreeMap<(u64, ExpertKind), u64> = BTreeMap::new();
    for t in tensors {
        if let (Some(block), Some(kind)) = (t.block, t.expert) {
            let sum = sums.entry((block, kind)).or_default();
            *sum = sum.saturating_add(t.bytes);
        }
    }
    sums.into_iter()
        .map(|((block, kind), bytes)| {
            let used = usize::try_from(block)
                .ok()
                .and_then(|b| layers.get(b))
                .map_or(0, |l| l.experts_used);
            let share = if experts == 0 {
                1.0
            } else {
                (used as f64 / experts as f64).min(1.0)
            };
            ExpertTensor {
                block,
                kind,
                bytes,
                read: bytes as f64 * share,
            }
        })
        .collect()
}
