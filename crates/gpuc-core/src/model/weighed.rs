//! What a model's safetensors files really hold: bytes of routed experts and of all else.

use crate::document::Model;
use crate::header::SafetensorsInfo;

/// Names of parts that llama.cpp keeps in a file of their own or does not load: vision, audio,
/// blocks that predict further tokens.
const LEFT_OUT: [&str; 8] = [
    "visual.",
    "vision_",
    "audio_",
    "multi_modal_projector.",
    "mm_projector.",
    "model.visual.",
    "model.vision_",
    "mtp.",
];

/// Bytes by what they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weighed {
    /// Routed experts.
    pub experts: u64,
    /// All other weights of the language model.
    pub rest: u64,
    /// What is not loaded.
    pub left_out: u64,
}

/// Weighs `tensors` by their names, as HuggingFace's models spell them: routed experts lie under
/// `experts`, shared ones under names of their own.
pub fn weigh<'t>(tensors: impl IntoIterator<Item = &'t SafetensorsInfo>) -> Weighed {
    let mut sum = Weighed::default();
    for t in tensors {
        let part = if LEFT_OUT.iter().any(|p| t.name.starts_with(p)) {
            &mut sum.left_out
        } else if t.name.split('.').any(|part| part == "experts") {
            &mut sum.experts
        } else {
            &mut sum.rest
        };
        *part = part.saturating_add(t.bytes);
    }
    sum
}

impl Weighed {
    /// Bytes of an expert weight and of any other, for the parameters that `model` has; none where
    /// its configuration does not tell them.
    pub fn widths(&self, model: &Model) -> Option<(f64, f64)> {
        let rest = model.non_expert_params.filter(|p| *p > 0)?;
        let rest = self.rest as f64 / rest as f64;
        let experts = match model.expert_params_total.filter(|p| *p > 0) {
            Some(params) => self.experts as f64 / params as f64,
            None => rest,
        };
        (experts > 0.0 && rest > 0.0).then_some((experts, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_are_told_from_shared_ones_and_from_what_is_not_loaded() {
        let tensor = |name: &str, bytes| SafetensorsInfo {
            name: name.into(),
            dtype: "BF16".into(),
            shape: vec![bytes / 2],
            bytes,
            offset: 0,
        };
        let tensors = [
            tensor("model.layers.0.mlp.experts.0.gate_proj.weight", 10),
            tensor("model.layers.0.mlp.experts.gate_up_proj", 20),
            tensor("model.layers.0.block_sparse_moe.experts.7.w1.weight", 40),
            tensor("model.layers.0.mlp.shared_experts.up_proj.weight", 100),
            tensor("model.layers.0.mlp.shared_expert.up_proj.weight", 200),
            tensor("model.embed_tokens.weight", 400),
            tensor("visual.blocks.0.attn.qkv.weight", 1000),
            tensor("mtp.layers.0.mlp.experts.0.up_proj.weight", 2000),
        ];
        let weighed = weigh(&tensors);
        let want = Weighed {
            experts: 70,
            rest: 700,
            left_out: 3000,
        };
        assert_eq!(weighed, want);
        let model = Model {
            expert_params_total: Some(35),
            non_expert_params: Some(350),
            ..Model::default()
        };
        assert_eq!(weighed.widths(&model), Some((2.0, 2.0)));
        assert_eq!(weighed.widths(&Model::default()), None);
    }
}
