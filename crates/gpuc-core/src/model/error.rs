//! What can be wrong with a model's description.

use crate::error::{Code, Coded};

/// Why a model cannot be analysed.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The configuration is no JSON.
    #[error("{0}")]
    NotJson(crate::json::JsonError),
    /// The configuration is a list, a number, null: anything but an object.
    #[error("model configuration: expected a JSON object, found {0}")]
    NotAnObject(&'static str),
    /// A dimension is no whole number.
    #[error(
        "model configuration: \"{key}\" must be a whole number from 0 to 2^64 - 1, found {found}"
    )]
    NotACount {
        /// The key.
        key: String,
        /// What stands there.
        found: String,
    },
    /// A name is no text.
    #[error("model configuration: \"{key}\" must be text, found {found}")]
    NotText {
        /// The key.
        key: String,
        /// What stands there.
        found: String,
    },
    /// A part of the configuration has another shape than its family's.
    #[error("model configuration: \"{key}\" must be {expected}, found {found}")]
    Shape {
        /// The key.
        key: String,
        /// What was expected.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// Two parts of the configuration cannot both be true.
    #[error("model configuration: {0}")]
    Contradiction(String),
    /// The dimensions multiply to more than can be counted.
    #[error("model configuration: {0} is larger than 2^64 - 1")]
    TooLarge(&'static str),
    /// No table knows the quantisation tag.
    #[error("unknown quantisation \"{tag}\"")]
    UnknownQuant {
        /// The tag, as it was given.
        tag: String,
        /// Known tags, nearest first.
        nearest: Vec<&'static str>,
    },
}

impl Coded for ModelError {
    fn code(&self) -> Code {
        match self {
            Self::UnknownQuant { .. } => Code::InputUnknownQuant,
            _ => Code::InputBadModelConfig,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownQuant { nearest, .. } => Some(format!(
                "the nearest known tags are {}; a GGUF's own name for itself works, \
                 and so do gptq, awq, int4, int8, fp8, nf4 and nvfp4",
                nearest.join(", ")
            )),
            _ => Some("pass the config.json that lies beside the weights on Hugging Face".into()),
        }
    }
}
