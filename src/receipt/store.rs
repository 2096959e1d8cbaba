//! The calibration store: where a receipt leaves its points.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use gpuc_core::document::{Plan, Point, Receipt};
use gpuc_core::error::{Code, Fault};
use gpuc_core::receipt::{Identity, Measured, Surroundings, file_name, points};
use gpuc_rig::host::today;

use super::ReceiptArgs;

/// Points of one model, placement and date that a store may hold.
const MOST_COPIES: u32 = 10_000;

/// Adds the run to the calibration store, where one is named; the new file, if there is one.
pub(super) fn write_back(
    args: &ReceiptArgs,
    plan: &Plan,
    measured: &Measured,
    around: Surroundings<'_>,
    receipt: &mut Receipt,
) -> Result<Option<PathBuf>, Fault> {
    let Some(dir) = &args.calibration_dir else {
        return Ok(None);
    };
    let model = args.model_name.as_ref().or(plan.model_name.as_ref());
    let Some(model) = model.filter(|m| !m.is_empty()).cloned() else {
        receipt
            .notes
            .push("no calibration point: --calibration-dir needs --model-name".into());
        return Ok(None);
    };
    let who = Identity {
        model,
        quant: args.quant.as_ref().or(plan.quant.as_ref()).cloned(),
        created: args.created.clone().unwrap_or_else(today),
        rig: args.rig.clone(),
        source: args.source.clone(),
    };
    match points(plan, measured, &who, around) {
        Ok(points) => {
            let path = store(dir, &points)?;
            let added = match points.len() {
                1 => "calibration point".to_owned(),
                n => format!("{n} calibration points, one for each depth,"),
            };
            receipt
                .notes
                .push(format!("{added} added: {}", path.display()));
            Ok(Some(path))
        }
        Err(why) => {
            receipt.notes.push(format!("no calibration point: {why}"));
            Ok(None)
        }
    }
}

/// Writes the points of a run into a file of their own; one that is there already is never touched, whoever
/// else writes at the same time.
fn store(dir: &Path, points: &[Point]) -> Result<PathBuf, Fault> {
    let failed = |path: &Path, e: io::Error| {
        Fault::new(
            Code::IoWriteFailed,
            format!("calibration point {} cannot be written", path.display()),
        )
        .with_hint("check that --calibration-dir names a folder that you may write to")
        .with_cause(e)
    };
    fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
    let text = match points {
        [point] => gpuc_core::json::write(point),
        several => gpuc_core::json::write(&several),
    };
    let text = text.map_err(|e| {
        Fault::new(Code::RuntimeUnexpected, "the point cannot be written").with_cause(e)
    })?;
    let first = points.first().cloned().unwrap_or_default();
    for copy in 1..=MOST_COPIES {
        let path = dir.join(file_name(&first, copy));
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(failed(&path, e)),
        };
        if let Err(e) = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
        {
            // A part of a point is worse than none; more than removing it cannot be done.
            let _ = fs::remove_file(&path);
            return Err(failed(&path, e));
        }
        return Ok(path);
    }
    Err(Fault::new(
        Code::IoWriteFailed,
        format!("{} holds {MOST_COPIES} such points already", dir.display()),
    )
    .with_hint("name the run apart with --created, or remove what no longer counts"))
}
