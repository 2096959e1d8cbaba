//! What starts a plan, printed or written.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use gpuc_core::document::Plan;
use gpuc_core::error::Fault;
use gpuc_core::launch::{Job, Programs, Target, Weights};

use crate::deliver::{deliver_text, write_atomically};

/// `--emit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Emit {
    /// Shell line: llama-server under the watchdog.
    Server,
    /// Shell line: llama-bench under the watchdog, for gpu-container-receipt.
    Bench,
    /// Shell line: llama-cli.
    Cli,
    /// Shell line: the server's container, with the watchdog around it.
    Docker,
    /// Compose file: the server's container, with the watchdog in it.
    Compose,
    /// Unit file: llama-server under the watchdog.
    Systemd,
    /// llama-swap's configuration: llama-server under the watchdog.
    LlamaSwap,
    /// Environment file as `docker run --env-file` reads it.
    Env,
}

impl Emit {
    fn target(self) -> Target {
        match self {
            Self::Server => Target::Server,
            Self::Bench => Target::Bench,
            Self::Cli => Target::Cli,
            Self::Docker => Target::Docker,
            Self::Compose => Target::Compose,
            Self::Systemd => Target::Systemd,
            Self::LlamaSwap => Target::LlamaSwap,
            Self::Env => Target::Env,
        }
    }
}

/// Writes what starts `plan`, a model called `name`, to `to` or to standard output.
pub(crate) fn emit(plan: &Plan, name: &str, how: Emit, to: Option<&Path>) -> Result<(), Fault> {
    let target = how.target();
    let mut weights = Weights::of(plan);
    if let (true, Weights::File(path)) = (target.mounts_weights(), &mut weights) {
        follow(path);
    }
    let programs = if target.wants_absolute_programs() {
        let by_name = Programs::default();
        Programs {
            watchdog: beside_this(&by_name.watchdog),
            server: found(gpuc_rig::path::find(&by_name.server), &by_name.server),
        }
    } else {
        Programs::default()
    };
    let text = target.write(&Job::of(plan, weights)?, name, &programs)?;
    match to {
        Some(path) => write_atomically(path, text.as_bytes()),
        None => deliver_text(&text),
    }
}

/// Where a link leads: its folder, seen from a container, would not hold the file. The files of a
/// split model are found by their names, so those links stay.
fn follow(path: &mut String) {
    let target = Path::new(path).canonicalize();
    let split = gpuc_core::header::shard_names(path).is_some();
    if let (false, Some(target)) = (split, target.as_deref().ok().and_then(Path::to_str)) {
        target.clone_into(path);
    }
}

/// The command of ours called `name`, which was installed with this one.
fn beside_this(name: &str) -> String {
    let this = std::env::current_exe().unwrap_or_default();
    let beside = Some(this.with_file_name(name)).filter(|p| p.is_file());
    found(beside, name)
}

/// The whole path, or the name alone where there is none.
fn found(path: Option<PathBuf>, name: &str) -> String {
    path.and_then(|p| p.into_os_string().into_string().ok())
        .unwrap_or_else(|| name.to_owned())
}
