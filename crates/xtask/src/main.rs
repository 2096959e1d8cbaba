//! `cargo run -p xtask -- schemas`: writes anew what is generated from the types.

use std::fs;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use xtask::{root, schemas, write_completions, write_man};

/// Generates what comes from gpu-container's own types.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Write the JSON Schemas into schema/.
    Schemas,
    /// Write the man pages into a folder.
    Man {
        /// The folder.
        dir: PathBuf,
    },
    /// Write the completions of bash, zsh and fish into a folder.
    Completions {
        /// The folder.
        dir: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().task {
        Task::Schemas => {
            let folder = root().join(schemas::FOLDER);
            fs::create_dir_all(&folder)?;
            for (name, schema) in schemas::all() {
                fs::write(folder.join(format!("{name}.json")), schemas::text(&schema)?)?;
            }
            Ok(())
        }
        Task::Man { dir } => write_man(&dir),
        Task::Completions { dir } => write_completions(&dir),
    }
}
