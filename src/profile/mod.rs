//! The profile command: the rig as it is, the model as its configuration describes it.

mod args;
mod attention;
mod baseline;
mod bench;
mod choice;
mod gpu;
mod history;
mod memory;
mod model;
mod registry;
mod rig;
mod saved;

use gpuc_core::document::{Expert, Profile, SCHEMA_VERSION};
use gpuc_core::exit::Exit;
use gpuc_rig::host::today;
use gpuc_show::text::{self, Terminal};
use serde::Serialize;

pub use args::Args;

use crate::deliver::check_writable;
use crate::screen::say;

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.list_gpus {
        registry::list()?;
        return Ok(Exit::Ok);
    }
    if args.baseline_history {
        history::print(&baseline::database(args)?)?;
        return Ok(Exit::Ok);
    }
    // What can be refused is refused before anything is measured or stored.
    if let Some(out) = &args.out {
        check_writable(out)?;
    }
    let model = model::given(args)?;
    let imagined = match (&args.what_if, args.ram) {
        (Some(gpu), Some(ram)) => Some(registry::rig(gpu, ram, args.ram_bw)?),
        _ => None,
    };
    let saved = args.from_profile.as_deref().map(saved::read).transpose()?;
    let mut profile = match saved {
        // It is passed on as it is, and may say less than a plan needs.
        Some(saved) if model.is_none() => {
            let expert = saved.model.as_ref().and_then(|m| m.expert.as_ref());
            return finish(args, &saved, expert);
        }
        Some(saved) => Profile {
            schema_version: saved.schema_version,
            created: saved.created,
            hardware: saved.hardware,
            model: None,
            notes: saved.notes,
        },
        None => {
            let (hardware, notes) = match imagined {
                Some(imagined) => imagined,
                None => match rig::measure(args)? {
                    Ok(measured) => measured,
                    Err(exit) => return Ok(exit),
                },
            };
            let created = args.given_date().map_or_else(today, Into::into);
            Profile {
                schema_version: SCHEMA_VERSION.into(),
                created,
                hardware,
                model: None,
                notes,
            }
        }
    };
    if let Some((model, notes)) = model {
        profile.model = Some(model);
        profile.notes.extend(notes);
    } else {
        profile.notes.push(
            "No model was analysed: give its config.json with --model-config here or to \
             gpu-container-plan."
                .into(),
        );
    }
    let expert = profile.model.as_ref().map(|m| &m.expert);
    finish(args, &profile, expert)
}

fn finish<E: Serialize>(
    args: &Args,
    profile: &Profile<E>,
    expert: Option<&Expert>,
) -> anyhow::Result<Exit> {
    if args.emit_baseline {
        baseline::emit(args, profile)?;
    }
    let screen = |t: &Terminal| text::profile(profile, expert, t);
    if !args.format.deliver(profile, args.out.as_deref(), screen)? {
        say(&text::gist(&profile.hardware));
    }
    Ok(Exit::Ok)
}
