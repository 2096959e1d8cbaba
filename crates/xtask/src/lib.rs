//! What is generated from gpu-container's own types: JSON Schemas of its documents, and man pages
//! and shell completions of its commands.

mod man;
pub mod schemas;

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

pub use man::page;

/// The five commands.
pub fn commands() -> [Command; 5] {
    [
        gpu_container::profile::Args::command(),
        gpu_container::plan::PlanArgs::command(),
        gpu_container::receipt::ReceiptArgs::command(),
        gpu_container::concentration::ConcentrationArgs::command(),
        gpu_container::watchdog::Args::command(),
    ]
}

/// Writes the man page of each command and of each of its subcommands.
pub fn write_man(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    for command in commands() {
        let mut command = command;
        // Gives subcommands their whole names and the flags that hold for all.
        command.build();
        write_page(&command, dir)?;
    }
    Ok(())
}

fn write_page(command: &Command, dir: &Path) -> anyhow::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let path = dir.join(format!("{name}.1"));
    fs::write(&path, page(command)?).with_context(|| path.display().to_string())?;
    for sub in command.get_subcommands() {
        if sub.get_name() != "help" {
            write_page(sub, dir)?;
        }
    }
    Ok(())
}

/// Writes each command's completions for bash, zsh and fish, in a folder for each shell.
pub fn write_completions(dir: &Path) -> anyhow::Result<()> {
    for (shell, folder) in [
        (Shell::Bash, "bash"),
        (Shell::Zsh, "zsh"),
        (Shell::Fish, "fish"),
    ] {
        let folder = dir.join(folder);
        fs::create_dir_all(&folder)?;
        for mut command in commands() {
            let name = command.get_name().to_owned();
            let path = clap_complete::generate_to(shell, &mut command, &name, &folder)?;
            if shell == Shell::Bash {
                // bash looks for a file named as the command.
                fs::rename(&path, folder.join(&name))?;
            }
        }
    }
    Ok(())
}

/// The folder that the workspace lies in.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}
