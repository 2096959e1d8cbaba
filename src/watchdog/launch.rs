//! The job of a plan, where no command is given.

use std::ffi::OsString;
use std::path::Path;

use gpuc_core::document::Plan;
use gpuc_core::error::{Code, Fault};
use gpuc_core::launch::{Job, Programs, Weights, shell_line};

use crate::read_document;
use crate::screen::say;

/// The command that `watchdog run --plan` starts: llama-server with the plan's weights, or the
/// given ones, its flags, and further ones.
pub(super) fn plan_command(
    path: &Path,
    model: Option<&Path>,
    further: Vec<OsString>,
) -> Result<Vec<OsString>, Fault> {
    let plan: Plan = read_document(path, "plan", Code::InputBadPlan)?;
    let weights = match model {
        Some(file) => Weights::File(file.to_str().map(str::to_owned).ok_or_else(|| {
            Fault::new(
                Code::InputUsage,
                "--model must be UTF-8 to be shown and logged",
            )
        })?),
        None => Weights::of(&plan),
    };
    match &weights {
        Weights::Unknown => {
            return Err(Fault::new(
                Code::InputUsage,
                format!("{} names no weights to launch", path.display()),
            )
            .with_hint("add --model FILE, or plan with --model FILE or --hf REF"));
        }
        Weights::File(file) if !Path::new(file).is_file() => {
            return Err(Fault::new(
                Code::InputBadModelFile,
                format!("there is no weights file {file}"),
            )
            .with_hint("add --model FILE with the place that it has now"));
        }
        Weights::File(_) | Weights::Repo(_) => {}
    }
    let job = Job::of(&plan, weights).map_err(|e| Fault::from(e).about(path.display()))?;
    let mut words = vec![Programs::default().server];
    words.extend(job.server());
    let further_text = further.iter().map(|w| w.to_string_lossy().into_owned());
    let shown: Vec<String> = words.iter().cloned().chain(further_text).collect();
    say(&format!("watchdog: launch: {}", shell_line(&shown)));
    Ok(words
        .into_iter()
        .map(OsString::from)
        .chain(further)
        .collect())
}
