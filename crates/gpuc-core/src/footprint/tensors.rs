//! What each tensor of a model is for, read from its name.

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Projections, norms and biases of attention.
    Attention,
    /// State-space, convolution and linear-attention weights.
    Recurrent,
    /// What chooses the experts.
    Router,
    /// The gates of all experts of a block.
    ExpertGate,
    /// The up projections of all experts of a block.
    ExpertUp,
    /// Gates and up projections of all experts of a block in one.
    ExpertGateUp,
    /// The down projections of all experts of a block.
    ExpertDown,
    /// Experts that every token passes.
    SharedExpert,
    /// The feed-forward weights of a block without experts.
    DenseFfn,
    /// Norms outside attention.
    Norm,
    /// The token embedding.
    Embedding,
    /// The output projection.
    Output,
    /// Anything else.
    Other,
}

impl Role {
    /// Whether these are routed experts, which `--n-cpu-moe` moves.
    pub fn is_expert(self) -> bool {
        matches!(
            self,
            Self::ExpertGate | Self::ExpertUp | Self::ExpertGateUp | Self::ExpertDown
        )
    }
}

/// Which projection of a block's routed experts a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExpertKind {
    /// `ffn_gate_exps`
    Gate,
    /// `ffn_up_exps`
    Up,
    /// `ffn_gate_up_exps`
    GateUp,
    /// `ffn_down_exps`
    Down,
}

impl ExpertKind {
    /// The tensor's name within its block, as `-ot` patterns spell it.
    pub const fn stem(self) -> &'static str {
        match self {
            Self::Gate => "ffn_gate_exps",
            Self::Up => "ffn_up_exps",
            Self::GateUp => "ffn_gate_up_exps",
            Self::Down => "ffn_down_exps",
        }
    }

    /// The kind of a tensor of this name within its block; its bias and scales belong to it.
    pub(super) fn of(suffix: &str) -> Option<Self> {
        [Self::Gate, Self::Up, Self::GateUp, Self::Down]
            .into_iter()
            .find(|k| {
                suffix
                    .strip_prefix(k.stem())
                    .is_some_and(|r| r.starts_with('.'))
            })
    }
}

/// The routed experts' tensors of one block and kind, with all that moves with them.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertTensor {
    /// The block.
    pub block: u64,
    /// The projection.
    pub kind: ExpertKind,
    /// Bytes of its weights, biases and scales.
    pub bytes: u64,
    /// Bytes of it that a token reads on average.
    pub read: f64,
}

/// One tensor with its place in the model.
#[derive(Debug, Clone, PartialEq)]
pub struct FactTensor {
    /// Its full name.
    pub name: String,
    /// Its block, if it belongs to one.
    pub block: Option<u64>,
    /// What it is for.
    pub role: Role,
    /// Which of its block's experts it holds, if any.
    pub expert: Option<ExpertKind>,
    /// Its dimensions, the row length first.
    pub dims: [u64; 4],
    /// Its bytes.
    pub bytes: u64,
}

impl FactTensor {
    /// The name without `blk.N.`.
    pub fn suffix(&self) -> &str {
        suffix(&self.name)
    }
}

/// The block's number in `blk.N.REST`, and the rest.
pub(super) fn split_name(name: &str) -> (Option<u64>, &str) {
    name.strip_prefix("blk.")
        .and_then(|r| r.split_once('.'))
        .and_then(|(n, rest)| n.parse().ok().map(|n| (Some(n), rest)))
        .unwrap_or((None, name))
}

fn suffix(name: &str) -> &str {
    split_name(name).1
}

/// What a tensor of this name is for.
pub(super) fn role(name: &str) -> Role {
    let (block, rest) = split_name(name);
    let stem = rest
        .strip_suffix(".weight")
        .or_else(|| rest.strip_suffix(".bias"))
        .or_else(|| rest.strip_suffix(".scale"))
        .unwrap_or(rest);
    if block.is_none() {
        return match stem {
            "token_embd" | "per_layer_token_embd" | "position_embd" | "token_types" => {
                Role::Embedding
            }
            "output" => Role::Output,
            s if s.ends_with("norm") => Role::Norm,
            _ => Role::Other,
        };
    }
    match stem {
        "ffn_gate_exps" | "ffn_gate_chexps" => Role::ExpertGate,
        "ffn_up_exps" | "ffn_up_chexps" => Role::ExpertUp,
        "ffn_gate_up_exps" | "ffn_gate_up_chexps" => Role::ExpertGateUp,
        "ffn_down_exps" | "ffn_down_chexps" => Role::ExpertDown,
        "ffn_gate_inp" | "exp_probs_b" | "ffn_gate_tid2eid" => Role::Router,
        s if s.ends_with("_shexp") => Role::SharedExpert,
        "attn_norm" | "attn_norm_2" | "ffn_norm" | "layer_output_norm" => Role::Norm,
        s if s.starts_with("post_") || s.starts_with("ffn_") && s.ends_with("norm") => Role::Norm,
        s if s.starts_with("attn") || s.starts_with("indexer") => Role::Attention,
        s if s.starts_with("ssm") || s.starts_with("shortconv") || s.starts_with("time_mix") => {
            Role::Recurrent
        }
        s if s.starts_with("ffn") => Role::DenseFfn,
        _ => Role::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_tensors_are_for() {
        let cases = [
            ("blk.0.attn_q.weight", Role::Attention),
            ("blk.0.attn_norm.weight", Role::Norm),
            ("blk.12.ffn_gate_exps.weight", Role::ExpertGate),
            ("blk.12.ffn_down_exps.bias", Role::ExpertDown),
            ("blk.12.ffn_gate_up_exps.weight", Role::ExpertGateUp),
            ("blk.3.ffn_gate_inp.weight", Role::Router),
            ("blk.3.ffn_gate_inp_shexp.weight", Role::SharedExpert),
            ("blk.3.ffn_up_shexp.weight", Role::SharedExpert),
            ("blk.3.ffn_down.weight", Role::DenseFfn),
            ("blk.3.ssm_out.weight", Role::Recurrent),
            ("blk.3.post_attention_norm.weight", Role::Norm),
            ("token_embd.weight", Role::Embedding),
            ("output.weight", Role::Output),
            ("output_norm.weight", Role::Norm),
            ("blk.x.attn_q.weight", Role::Other),
            ("rope_freqs.weight", Role::Other),
        ];
        for (name, want) in cases {
            assert_eq!(role(name), want, "{name}");
        }
    }
}
