//! The model that the user named.

use gpuc_core::document::Model;
use gpuc_core::error::Fault;
use gpuc_core::model::{analyze, quant};

use super::Args;
use crate::model_file::{OnDisk, read_model};
use crate::read_model_config;

/// The analysed model with what is to be said about it, when one was given.
pub(super) fn given(args: &Args) -> Result<Option<(Model, Vec<String>)>, Fault> {
    if let Some(path) = &args.model {
        let (mut model, mut notes, how) = match read_model(path, args.model_name.as_deref())? {
            OnDisk::File(file) => {
                let mut model = file.facts.document();
                model.name = file.name;
                (
                    model,
                    file.facts.notes().to_vec(),
                    "places its tensors one by one",
                )
            }
            OnDisk::Weighed(read) => (
                read.model,
                read.notes,
                "takes the widths that its files have",
            ),
        };
        if let Some(tag) = &args.quant {
            quant::bytes_per_weight(Some(tag), 2.0, None)?;
            model.quant = Some(tag.clone());
        }
        notes.push(format!(
            "The model was read from its weights: gpu-container-plan --model with them {how}; this \
             profile alone gives the closed form."
        ));
        return Ok(Some((model, notes)));
    }
    let Some(path) = &args.model_config else {
        return Ok(None);
    };
    let config = read_model_config(path)?;
    let analysis = analyze(&config, args.model_name.as_deref(), args.quant.as_deref())?;
    Ok(Some((analysis.model, analysis.notes)))
}
