//! Settings that llama.cpp refuses for a model.

use crate::error::{Code, Coded};
use crate::header::GgmlType;

use super::facts::Facts;
use super::memory::Setting;

/// Why llama.cpp would not start with this setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Values of few bits without flash attention.
    #[error("a value cache of type {kind} needs flash attention")]
    QuantisedValues {
        /// The type asked for.
        kind: String,
    },
    /// Latent attention keeps one cache for both.
    #[error(
        "{architecture} caches keys and values together: their types must be equal, not {k} and {v}"
    )]
    UnequalTypes {
        /// The model's architecture.
        architecture: String,
        /// The keys' type.
        k: String,
        /// The values' type.
        v: String,
    },
    /// A head is no whole number of blocks.
    #[error(
        "a {what} cache of type {kind} needs heads of a multiple of {block} elements, block {layer} has {head}"
    )]
    HeadSize {
        /// Keys or values.
        what: &'static str,
        /// The type asked for.
        kind: String,
        /// Elements of one of the type's blocks.
        block: u64,
        /// The model's block.
        layer: u64,
        /// Its head's elements.
        head: u64,
    },
    /// A type that caches cannot have.
    #[error("no cache can have the type {kind}")]
    CacheType {
        /// The type asked for.
        kind: String,
    },
}

impl Coded for SettingError {
    fn code(&self) -> Code {
        Code::InputUsage
    }

    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::QuantisedValues { .. } => "--flash-attn on, or --cache-type-v f16",
                Self::UnequalTypes { .. } => "give --cache-type-k and --cache-type-v the same type",
                Self::HeadSize { .. } => "f16 always works",
                Self::CacheType { .. } => "f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0 or q5_1",
            }
            .to_owned(),
        )
    }
}

/// The names of the types that `--cache-type-k` takes.
const CACHE_TYPES: [&str; 9] = [
    "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "IQ4_NL", "Q5_0", "Q5_1",
];

impl Facts {
    /// Whether llama.cpp runs this model with this setting.
    pub fn check(&self, setting: &Setting) -> Result<(), SettingError> {
        let setting = &self.in_effect(setting);
        let (k, v) = (setting.type_k, setting.type_v);
        for kind in [k, v] {
            if !CACHE_TYPES.contains(&kind.name().as_str()) {
                return Err(SettingError::CacheType { kind: kind.name() });
            }
        }
        if self.latent && k != v {
            return Err(SettingError::UnequalTypes {
                architecture: self.architecture.clone(),
                k: k.name(),
                v: v.name(),
            });
        }
        let block = |t: GgmlType| t.block().map_or(1, |(n, _)| n);
        if block(v) > 1 && !setting.flash_attn {
            return Err(SettingError::QuantisedValues { kind: v.name() });
        }
        if !setting.flash_attn {
            return Ok(());
        }
        for (i, l) in (0_u64..).zip(&self.layers) {
            let sizes = [("key", k, l.key_length), ("value", v, l.value_length)];
            for (what, kind, head) in sizes {
                let block = block(kind);
                if block > 1 && !head.is_multiple_of(block) {
                    return Err(SettingError::HeadSize {
                        what,
                        kind: kind.name(),
                        block,
                        layer: i,
                        head,
                    });
                }
            }
        }
        Ok(())
    }
}
