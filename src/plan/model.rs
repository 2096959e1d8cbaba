//! The model that the user named.

use std::path::Path;

use gpuc_core::document::{Model, Profile};
use gpuc_core::error::Fault;
use gpuc_core::model::{self, quant};
use gpuc_core::plan::Subject;

use super::PlanArgs;
use crate::deliver::read_model_config;
use crate::model_file::{OnDisk, read_model};

/// The model to place, as it was read.
pub(super) enum Loaded {
    /// From its configuration.
    Config { model: Model, notes: Vec<String> },
    /// From its weights.
    OnDisk(OnDisk),
}

/// The model that is asked for, where there is one.
pub(super) fn load(args: &PlanArgs, profile: &Profile) -> anyhow::Result<Option<Loaded>> {
    let name = args.model_name.as_deref();
    if let Some(path) = &args.model {
        return Ok(Some(Loaded::OnDisk(read_model(path, name)?)));
    }
    if let Some(path) = &args.model_config {
        let config = read_model_config(path)?;
        let tag = args.quant.as_deref().unwrap_or("gguf-q4_k_m");
        let analysis = model::analyze(&config, name, Some(tag)).map_err(Fault::from)?;
        return Ok(Some(Loaded::Config {
            model: analysis.model,
            notes: analysis.notes,
        }));
    }
    Ok(profile.model.clone().map(|mut model| {
        if let Some(name) = name {
            name.clone_into(&mut model.name);
        }
        if let Some(tag) = &args.quant {
            model.quant = Some(tag.clone());
        }
        Loaded::Config {
            model,
            notes: Vec::new(),
        }
    }))
}

impl Loaded {
    /// What it is called.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Config { model, .. } => &model.name,
            Self::OnDisk(OnDisk::Weighed(weighed)) => &weighed.model.name,
            Self::OnDisk(OnDisk::File(file)) => &file.name,
        }
    }

    /// The file that llama.cpp loads.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Config { .. } | Self::OnDisk(OnDisk::Weighed(_)) => None,
            Self::OnDisk(OnDisk::File(file)) => Some(&file.path),
        }
    }

    /// What is placed of it.
    pub(super) fn subject(&self, args: &PlanArgs) -> Result<Subject<'_>, Fault> {
        Ok(match self {
            Self::Config { model, .. } => {
                let weights = weights(model)?;
                Subject::Config {
                    model,
                    expert_bpw: weights.expert,
                    non_expert_bpw: args.non_expert_bpw.unwrap_or(weights.rest),
                    source: "closed-form",
                }
            }
            Self::OnDisk(OnDisk::Weighed(weighed)) => Subject::Config {
                model: &weighed.model,
                expert_bpw: weighed.expert_bpw,
                non_expert_bpw: weighed.non_expert_bpw,
                source: "safetensors",
            },
            Self::OnDisk(OnDisk::File(file)) => Subject::File {
                facts: &file.facts,
                source: file.source,
                weight_ratio: 1.0,
            },
        })
    }

    /// What is taken for granted of it, and what of the flags is not used.
    pub(super) fn notes(&self, args: &PlanArgs) -> Result<Vec<String>, Fault> {
        Ok(match self {
            Self::Config { model, notes } => {
                let assumed = weights(model)?.note;
                notes.iter().cloned().chain(assumed).collect()
            }
            Self::OnDisk(OnDisk::Weighed(weighed)) => {
                let converted = "llama.cpp runs GGUF files: the widths are those of the safetensors \
                                 files, as a conversion that keeps them would have";
                let notes = weighed.notes.iter().cloned();
                notes.chain([converted.to_owned()]).collect()
            }
            Self::OnDisk(OnDisk::File(file)) => {
                let unused = [
                    (args.quant.is_some(), "--quant"),
                    (args.non_expert_bpw.is_some(), "--non-expert-bpw"),
                    (args.model_config.is_some(), "--model-config"),
                ];
                let unused = unused.iter().filter(|(given, _)| *given).map(|(_, flag)| {
                    format!("{flag} is not used: the weights file says what each tensor takes")
                });
                file.facts.notes().iter().cloned().chain(unused).collect()
            }
        })
    }
}

fn weights(model: &Model) -> Result<quant::Weights, Fault> {
    let dtype_bytes = model.dtype_bytes.unwrap_or(2.0);
    let (tag, published) = (model.quant.as_deref(), model.quantization.as_ref());
    Ok(quant::weights(tag, dtype_bytes, published)?)
}
