//! What a `model_type` implies that its configuration does not say.
//!
//! Two sources: the defaults of the Hugging Face configuration classes, and which parts llama.cpp's
//! graph of that architecture really has (sliding windows above all).

use super::config::Config;

/// How windowed layers are told from full ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    /// llama.cpp gives every layer the whole context, whatever the configuration says.
    Ignored,
    /// As the configuration lists them; without a list every n-th layer is full, the others are not.
    Every(u64),
    /// As the configuration lists them, else none.
    Said,
}

/// What a block mixes tokens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mixer {
    /// Attention in every block.
    Attention,
    /// Gated delta-net, attention in every n-th block (Qwen3-Next, Qwen3.5).
    GatedDelta,
    /// Mamba, attention in every n-th block (Jamba).
    Mamba,
    /// Mamba 2, attention where the configuration says (Granite 4, Bamba).
    Mamba2,
    /// Mamba 2 beside attention in every block (Falcon-H1).
    Parallel,
    /// Blocks of one part each: Mamba 2, attention, a plain or a routed network (Nemotron-H).
    Single,
    /// Short convolutions, attention where the configuration says (LFM2).
    ShortConv,
    /// Lightning attention, softmax attention where the configuration says (MiniMax-01).
    Lightning,
    /// Kimi delta attention, latent attention where the configuration says.
    KimiDelta,
    /// Two latent attentions and two dense networks in every block (LongCat).
    Double,
}

/// What is implied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    /// Sliding windows.
    pub(super) windows: Windows,
    /// Token mixing.
    pub(super) mixer: Mixer,
    /// Output and embedding are one unless the configuration says otherwise.
    pub(super) tied: bool,
    /// Matrices of a feed-forward network: 3 where it is gated.
    pub(super) matrices: u64,
    /// A shared expert's width stands for one shared expert.
    pub(super) lone_shared: bool,
    /// One shared expert that the configuration does not mention.
    pub(super) silent_shared: bool,
    /// A gate over the attention's output, as wide as the queries.
    pub(super) gated_attention: bool,
}

const PLAIN: Family = Family {
    windows: Windows::Ignored,
    mixer: Mixer::Attention,
    tied: false,
    matrices: 3,
    lone_shared: false,
    silent_shared: false,
    gated_attention: false,
};

/// Keys that say no more than a plain transformer's dimensions.
const DIMENSIONS: &[&str] = &[
    "_name_or_path",
    "architectures",
    "decoder_sparse_step",
    "dtype",
    "first_k_dense_replace",
    "head_dim",
    "hidden_size",
    "interleave_moe_layer_step",
    "intermediate_size",
    "intermediate_size_mlp",
    "mlp_only_layers",
    "model_type",
    "moe_intermediate_size",
    "moe_layer_freq",
    "moe_topk",
    "n_group",
    "n_routed_experts",
    "n_shared_experts",
    "norm_topk_prob",
    "num_attention_heads",
    "num_dense_layers",
    "num_experts",
    "num_experts_per_tok",
    "num_experts_per_token",
    "num_hidden_layers",
    "num_key_value_heads",
    "num_local_experts",
    "num_nextn_predict_layers",
    "num_shared_experts",
    "quantization_config",
    "shared_expert_intermediate_size",
    "tie_word_embeddings",
    "topk_group",
    "torch_dtype",
    "vocab_size",
];

/// What a configuration's family implies, and whether the family is known at all.
pub(super) struct Implied {
    /// What is implied.
    pub(super) family: Family,
    /// Whether `model_type` is one of ours.
    pub(super) known: bool,
    /// Whether the configuration is reduced to dimensions.
    pub(super) bare: bool,
}

/// What the family of `c` implies.
///
/// A configuration reduced to its dimensions was written by somebody who wants those counted: it
/// gets the plain form, and of its family only what its own keys refer to.
pub(super) fn implied(c: &Config<'_>, model_type: &str) -> Implied {
    let bare = !c.is_nested() && c.keys().all(|k| DIMENSIONS.contains(&k));
    let found = family(model_type.strip_suffix("_text").unwrap_or(model_type));
    let family = match found {
        Some(f) if bare => Family {
            lone_shared: f.lone_shared,
            ..PLAIN
        },
        Some(f) => f,
        None => Family {
            windows: Windows::Said,
            ..PLAIN
        },
    };
    Implied {
        family,
        known: found.is_some(),
        bare,
    }
}

fn family(model_type: &str) -> Option<Family> {
    let tied = Family {
        tied: true,
        ..PLAIN
    };
    let windowed = |n| Family {
        windows: Windows::Every(n),
        ..PLAIN
    };
    let mixer = |mixer| Family { mixer, ..PLAIN };
    let two_matrices = Family {
        matrices: 2,
        ..PLAIN
    };
    Some(match model_type {
        "llama" | "mistral" | "mistral3" | "ministral" | "ministral3" | "mixtral" | "qwen2"
        | "qwen2_vl" | "qwen2_5_vl" | "qwen3" | "qwen3_moe" | "qwen3_vl" | "qwen3_vl_moe"
        | "qwen3_omni_moe" | "olmo" | "olmo2" | "olmoe" | "flex_olmo" | "phi3" | "phimoe"
        | "granite" | "granitemoe" | "granitemoeshared" | "deepseek" | "deepseek_v2"
        | "deepseek_v3" | "deepseek_v32" | "deepseek_v4" | "kimi_k2" | "kimi_k25" | "glm"
        | "glm4" | "glm4_moe" | "glm4_moe_lite" | "glm4v" | "glm4v_moe" | "glm_moe_dsa"
        | "dots1" | "hunyuan" | "hunyuan_v1_dense" | "hunyuan_v1_moe" | "minimax_m2"
        | "internlm2" | "internlm3" | "chatglm" | "qwen" | "baichuan" | "stablelm" | "xverse"
        | "exaone" | "seed_oss" | "bailing_moe" | "bailing_moe_v2" | "solar_open" | "dbrx"
        | "arctic" | "grok" | "grok-1" | "helium" | "mimo" | "llada_moe" | "grovemoe"
        | "apriel" | "orion" | "chameleon" | "mllama" | "pangu_pro_moe" | "nemotron-nas" => PLAIN,
        "qwen2_moe" => Family {
            lone_shared: true,
            ..PLAIN
        },
        "gemma" | "ernie4_5" | "ernie4_5_moe" | "ernie_moe" | "cohere" | "minicpm" | "minicpm3"
        | "smollm3" => tied,
        "gemma2" | "gemma3" | "gemma3n" | "gemma4" | "gemma4_unified" => Family {
            tied: true,
            ..windowed(match model_type {
                "gemma2" => 2,
                "gemma3n" => 5,
                _ => 6,
            })
        },
        "cohere2" | "cohere2_moe" => Family {
            tied: true,
            ..windowed(4)
        },
        "gpt_oss" => windowed(2),
        "exaone4" | "exaone_moe" | "olmo3" | "smallthinker" => windowed(4),
        "afmoe" => Family {
            gated_attention: true,
            ..windowed(4)
        },
        "llama4" => Family {
            silent_shared: true,
            ..windowed(4)
        },
        "mimo_v2" | "mimo_v2_flash" | "step3p5" | "step3p7" | "minimax_m3" | "minimax_m3_vl" => {
            Family {
                windows: Windows::Said,
                ..PLAIN
            }
        }
        "laguna" => Family {
            windows: Windows::Said,
            lone_shared: true,
            ..PLAIN
        },
        "qwen3_next" | "qwen3_5" | "qwen3_5_moe" => Family {
            lone_shared: true,
            gated_attention: true,
            ..mixer(Mixer::GatedDelta)
        },
        "jamba" => mixer(Mixer::Mamba),
        "granitemoehybrid" | "bamba" => mixer(Mixer::Mamba2),
        "falcon_h1" => mixer(Mixer::Parallel),
        "nemotron_h" => Family {
            matrices: 2,
            ..mixer(Mixer::Single)
        },
        "lfm2" | "lfm2_moe" | "lfm2_vl" => Family {
            tied: true,
            ..mixer(Mixer::ShortConv)
        },
        "minimax" | "minimax_text_01" | "minimax_m1" => mixer(Mixer::Lightning),
        "kimi_linear" | "kimi_k3" => mixer(Mixer::KimiDelta),
        "longcat_flash" => mixer(Mixer::Double),
        "phi" | "gpt_neox" | "gptj" | "nemotron" | "arcee" | "apertus" | "starcoder2"
        | "falcon" | "persimmon" => two_matrices,
        _ => return None,
    })
}

/// A dimension that a family's configurations may leave out.
pub(super) fn default_of(model_type: &str, key: &str) -> Option<u64> {
    let family = model_type.strip_suffix("_text").unwrap_or(model_type);
    let table: &[(&str, u64)] = match family {
        "gemma3" => &[
            ("vocab_size", 262_208),
            ("num_attention_heads", 8),
            ("num_key_value_heads", 4),
            ("head_dim", 256),
            ("sliding_window", 4096),
            ("max_position_embeddings", 131_072),
        ],
        "gemma2" => &[
            ("vocab_size", 256_000),
            ("head_dim", 256),
            ("sliding_window", 4096),
        ],
        "gemma" => &[("vocab_size", 256_000), ("head_dim", 256)],
        "gemma3n" => &[
            ("vocab_size", 262_400),
            ("head_dim", 256),
            ("sliding_window", 512),
            ("hidden_size_per_layer_input", 256),
            ("vocab_size_per_layer_input", 262_144),
            ("laurel_rank", 64),
            ("altup_num_inputs", 4),
            ("num_kv_shared_layers", 15),
        ],
        "gemma4" => &[
            ("vocab_size", 262_144),
            ("head_dim", 256),
            ("global_head_dim", 512),
            ("sliding_window", 512),
            ("vocab_size_per_layer_input", 262_144),
        ],
        "llama4" => &[("attention_chunk_size", 8192), ("vocab_size", 202_048)],
        "gpt_oss" => &[("sliding_window", 128)],
        "jamba" => &[
            ("attn_layer_period", 8),
            ("attn_layer_offset", 4),
            ("expert_layer_period", 2),
            ("expert_layer_offset", 1),
            ("mamba_d_state", 16),
            ("mamba_d_conv", 4),
            ("mamba_expand", 2),
        ],
        "granitemoehybrid" | "bamba" => &[
            ("mamba_n_heads", 128),
            ("mamba_d_state", 256),
            ("mamba_d_conv", 4),
            ("mamba_expand", 2),
            ("mamba_n_groups", 1),
        ],
        "falcon_h1" => &[
            ("mamba_n_heads", 128),
            ("mamba_d_state", 256),
            ("mamba_d_conv", 4),
            ("mamba_n_groups", 1),
        ],
        "qwen3_next" | "qwen3_5" | "qwen3_5_moe" => &[
            ("full_attention_interval", 4),
            ("linear_conv_kernel_dim", 4),
            ("linear_key_head_dim", 128),
            ("linear_value_head_dim", 128),
            ("linear_num_key_heads", 16),
            ("linear_num_value_heads", 32),
        ],
        "nemotron_h" => &[("conv_kernel", 4), ("ssm_state_size", 128), ("n_groups", 8)],
        "lfm2" | "lfm2_moe" => &[("conv_L_cache", 3)],
        _ => &[],
    };
    table.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
}
