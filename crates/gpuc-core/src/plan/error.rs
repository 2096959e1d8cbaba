//! Why a problem cannot be planned at all.

use super::rig::RigError;
use crate::error::{Code, Coded};
use crate::footprint::SettingError;

/// Why a problem cannot be planned at all.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The profile cannot be used.
    #[error(transparent)]
    Rig(#[from] RigError),
    /// llama.cpp would refuse the model with these settings.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A context of 0, and a model that does not say its own.
    #[error("a context of 0 means the model's own, which is not known here")]
    UnknownContext,
    /// A configuration that does not say what there is to place.
    #[error("{0}")]
    Unplaceable(String),
    /// A number of GPU layers for a model whose blocks are not known one by one.
    #[error(
        "--n-gpu-layers of a mixture of experts needs the weights file: a configuration does not say what each block holds"
    )]
    BlocksUnknown,
    /// Placement tensor by tensor of a model whose tensors are not known.
    #[error("--placement tensors needs the weights file: a configuration does not name tensors")]
    TensorsUnknown,
}

impl Coded for PlanError {
    fn code(&self) -> Code {
        match self {
            Self::Rig(e) => e.code(),
            Self::Setting(e) => e.code(),
            Self::UnknownContext | Self::Unplaceable(_) => Code::InputBadModelConfig,
            Self::BlocksUnknown | Self::TensorsUnknown => Code::InputUsage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Rig(e) => e.hint(),
            Self::Setting(e) => e.hint(),
            Self::UnknownContext => {
                Some("give --ctx N, or a config.json with max_position_embeddings".into())
            }
            Self::Unplaceable(_) => None,
            Self::TensorsUnknown => Some("give --model FILE.gguf, or --placement layers".into()),
            Self::BlocksUnknown => Some("give --model FILE.gguf, or --n-cpu-moe N".into()),
        }
    }
}
