//! A profile that was written earlier.

use std::path::Path;

use gpuc_core::document::{Expert, Profile};
use gpuc_core::error::{Code, Fault};
use serde_json::Value;

use crate::read_document;

/// The profile in a file.
pub(super) fn read(path: &Path) -> Result<Profile<Option<Expert>>, Fault> {
    // By way of a value, so that of a key given twice the last one counts.
    let value: Value = read_document(path, "profile", Code::InputBadProfile)?;
    serde_json::from_value(value).map_err(|e| {
        Fault::new(
            Code::InputBadProfile,
            format!("profile {} is not the JSON expected", path.display()),
        )
        .with_hint("write it anew with gpu-container-profile")
        .with_cause(e)
    })
}
