//! The model that the user named.

use gpuc_core::document::Model;
use gpuc_core::error::{Code, Fault};
use gpuc_core::model::analyze;
use serde_json::Value;

use super::Args;
use crate::read_document;

/// The analysed model with what is to be said about it, when one was given.
pub(super) fn given(args: &Args) -> Result<Option<(Model, Vec<String>)>, Fault> {
    let Some(path) = &args.model_config else {
        return Ok(None);
    };
    let config: Value = read_document(path, "model configuration", Code::InputBadModelConfig)?;
    let analysis = analyze(&config, args.model_name.as_deref(), args.quant.as_deref())?;
    Ok(Some((analysis.model, analysis.notes)))
}
