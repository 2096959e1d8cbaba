//! The model that the user named.

use gpuc_core::document::Model;
use gpuc_core::error::Fault;
use gpuc_core::model::analyze;

use super::Args;
use crate::read_model_config;

/// The analysed model with what is to be said about it, when one was given.
pub(super) fn given(args: &Args) -> Result<Option<(Model, Vec<String>)>, Fault> {
    let Some(path) = &args.model_config else {
        return Ok(None);
    };
    let config = read_model_config(path)?;
    let analysis = analyze(&config, args.model_name.as_deref(), args.quant.as_deref())?;
    Ok(Some((analysis.model, analysis.notes)))
}
