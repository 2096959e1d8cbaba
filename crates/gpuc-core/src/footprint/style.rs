//! How an architecture's graph differs from the plain one, where its tensors do not tell.

use super::keys::Keys;

/// The differences that matter to what is allocated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Style {
    /// Whether norms subtract the mean (they then need room of their own).
    pub(super) layer_norm: bool,
    /// Whether attention scores are capped.
    pub(super) score_cap: bool,
    /// Whether the weights of the chosen experts are made to sum to one.
    pub(super) weights_normed: bool,
    /// Whether they are scaled after that.
    pub(super) weights_scaled: bool,
    /// Whether queries and keys are turned by their positions.
    pub(super) positioned: bool,
    /// Whether llama.cpp turns flash attention off whatever is asked for.
    pub(super) no_flash_attention: bool,
    /// Whether values are normed like keys.
    pub(super) normed_values: bool,
    /// Whether the wanted rows are picked after the last norm instead of in the last block.
    pub(super) late_pick: bool,
    /// Whether that is so in a block's first sum too.
    pub(super) residual_always_first: bool,
    /// Whether the residual is the first operand of a block's last sum, whose place it keeps.
    pub(super) residual_first: bool,
    /// Whether embeddings are scaled before the first block.
    pub(super) scaled_embedding: bool,
    /// Whether a tied output is a second copy on the host too.
    pub(super) tied_twice: bool,
}

/// Architectures that keep the last block's rows for a prediction head.
const LATE_PICK: [&str; 13] = [
    "gpt-oss",
    "qwen3next",
    "qwen35",
    "qwen35moe",
    "qwen4exp",
    "gemma4",
    "nemotron_h",
    "nemotron_h_moe",
    "hunyuan-v3",
    "step35",
    "mimo2",
    "bailingmoe3",
    "cohere2moe",
];

impl Style {
    /// The style of an architecture, by its name and keys.
    pub(super) fn of(keys: &Keys) -> Self {
        let architecture = keys.architecture;
        let is = |names: &[&str]| names.contains(&architecture);
        let has = |key: &str| {
            keys.metadata
                .get(&format!("{architecture}.{key}"))
                .is_some()
        };
        let number = |key: &str| keys.metadata.f64(&format!("{architecture}.{key}"));
        let untrained_positions = architecture.starts_with("granite")
            && keys
                .metadata
                .bool(&format!("{architecture}.rope.scaling.finetuned"))
                == Some(false);
        Self {
            layer_norm: !has("attention.layer_norm_rms_epsilon"),
            score_cap: has("attn_logit_softcapping"),
            weights_normed: weights_normed(keys),
            weights_scaled: number("expert_weights_scale").is_some_and(|x| x != 0.0 && x != 1.0),
            positioned: !is(&["nemotron_h", "nemotron_h_moe", "jamba"]) && !untrained_positions,
            no_flash_attention: is(&["grok"]),
            normed_values: is(&["gemma4"]),
            late_pick: is(&LATE_PICK),
            residual_always_first: is(&["lfm2", "lfm2moe"]),
            residual_first: is(&["phi3", "phimoe", "lfm2", "lfm2moe"]),
            scaled_embedding: architecture.starts_with("gemma") || has("embedding_scale"),
            // These load the output before the embedding, so that neither finds the other.
            tied_twice: is(&["gemma4", "gemma3n"]),
        }
    }
}

/// Whether the architecture divides the chosen experts' weights by their sum.
fn weights_normed(keys: &Keys) -> bool {
    match keys.architecture {
        "olmoe" | "qwen2moe" | "llama4" | "gpt-oss" | "deepseek" | "dbrx" => false,
        "deepseek2" | "dots1" | "glm4moe" | "bailingmoe" | "bailingmoe2" | "nemotron_h_moe"
        | "afmoe" | "exaone-moe" | "deepseek32" | "glm-dsa" => keys
            .metadata
            .bool(&format!("{}.expert_weights_norm", keys.architecture))
            .unwrap_or(false),
        _ => true,
    }
}
