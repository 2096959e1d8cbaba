//! The profile command: the rig as it is, the model as its configuration describes it.

mod args;
mod baseline;
mod model;
mod rig;
mod saved;

use gpuc_core::document::{Profile, SCHEMA_VERSION};
use gpuc_core::exit::Exit;
use gpuc_rig::host::today;

pub use args::Args;

use crate::deliver::{check_writable, deliver_json};

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    // What can be refused is refused before anything is measured or stored.
    if let Some(out) = &args.out {
        check_writable(out)?;
    }
    let model = model::given(args)?;
    let mut profile = if let Some(path) = &args.from_profile {
        saved::read(path)?
    } else {
        let (hardware, notes) = rig::measure(args);
        let created = args.given_date().map_or_else(today, Into::into);
        Profile {
            schema_version: SCHEMA_VERSION.into(),
            created,
            hardware,
            model: None,
            notes,
        }
    };
    match model {
        Some((model, notes)) => {
            profile.model = Some(model);
            profile.notes.extend(notes);
        }
        None if args.from_profile.is_none() => profile.notes.push(
            "No model was analysed: give its config.json with --model-config here or to \
             gpu-container-plan."
                .into(),
        ),
        None => {}
    }
    if args.emit_baseline {
        baseline::emit(args, &profile)?;
    }
    deliver_json(&profile, args.out.as_deref())?;
    Ok(Exit::Ok)
}
