//! What the README and docs/ show is what the commands do.
//!
//! Each `console` block of a file is run by a shell, in the order of the file and in a folder of its
//! own, and compared to the letter. `UPDATE_README=1 cargo test --test readme` writes them anew.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "tests only"
)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const README: &str = include_str!("../README.md");

/// The built commands on PATH, the repository's examples in the folder.
fn shell(folder: &Path, command: &str) -> String {
    let binaries = Path::new(env!("CARGO_BIN_EXE_gpu-container-plan"));
    let mut path = binaries.parent().unwrap().as_os_str().to_owned();
    path.push(":/usr/bin:/bin");
    let output = Command::new("sh")
        .args(["-c", &format!("{{ {command}\n}} 2>&1")])
        .current_dir(folder)
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .env_remove("COLUMNS")
        .env_remove("CLICOLOR_FORCE")
        .env("GPUC_NVML_LIB", "/nonexistent/libnvidia-ml.so.1")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let examples = Path::new(ROOT).join("examples");
    std::os::unix::fs::symlink(examples, folder.path().join("examples")).unwrap();
    folder
}

/// A text with each transcript as the commands make it now.
fn as_it_should_be(text: &str) -> String {
    let folder = folder();
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    let mut in_block = false;
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            in_block = line == "```console";
        }
        if !in_block || line.starts_with("```") {
            out += &format!("{line}\n");
            continue;
        }
        // What an earlier run printed is dropped, what this one prints put in its place.
        let Some(first) = line.strip_prefix("$ ") else {
            continue;
        };
        out += &format!("{line}\n");
        let mut command = first.to_owned();
        while command.ends_with('\\') {
            let more = lines.next().unwrap();
            out += &format!("{more}\n");
            command += &format!("\n{more}");
        }
        out += &shell(folder.path(), &command);
    }
    out
}

/// The README and every file of docs/.
fn documents() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(Path::new(ROOT).join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = docs
        .filter(|p| p.extension().is_some_and(|e| e == "md"))
        .collect();
    all.push(Path::new(ROOT).join("README.md"));
    all
}

#[test]
fn transcripts_are_what_the_commands_print() {
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        let now = as_it_should_be(&text);
        if std::env::var_os("UPDATE_README").is_some() {
            if now != text {
                std::fs::write(&path, now).unwrap();
                println!("{} is written anew", path.display());
            }
            continue;
        }
        for (n, (is, should)) in text.lines().zip(now.lines()).enumerate() {
            assert_eq!(
                is,
                should,
                "{} line {}: run UPDATE_README=1 cargo test --test readme",
                path.display(),
                n + 1
            );
        }
        assert_eq!(
            text.lines().count(),
            now.lines().count(),
            "{}",
            path.display()
        );
    }
}

/// The picture in it is the one that docs/pictures.md says how to draw.
#[test]
fn the_picture_is_what_the_command_draws() {
    let shown = Path::new(ROOT).join("docs/img/plan.svg");
    let folder = folder();
    let page = include_str!("../docs/pictures.md");
    let (_, rest) = page.split_once("```sh\ngpu-container-plan").unwrap();
    let (flags, _) = rest.split_once("```").unwrap();
    std::fs::create_dir_all(folder.path().join("docs/img")).unwrap();
    shell(folder.path(), &format!("gpu-container-plan{flags}"));
    let now = std::fs::read_to_string(folder.path().join("docs/img/plan.svg")).unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&shown, now).unwrap();
        println!("{} is written anew", shown.display());
        return;
    }
    let is = std::fs::read_to_string(&shown).unwrap();
    assert!(
        is == now,
        "docs/img/plan.svg is out of date: run UPDATE_README=1 cargo test --test readme"
    );
}

/// The command that a newcomer runs first names files that are there, and its plan is shown.
#[test]
fn the_first_command_plans_at_once() {
    let first = README.lines().find(|l| l.starts_with("cargo run")).unwrap();
    let (cargo, flags) = first.split_once(" -- ").unwrap();
    assert_eq!(cargo, "cargo run --release --bin gpu-container-plan");
    let words: Vec<_> = flags.split_whitespace().map(str::to_owned).collect();
    let run = support::Tool::new("plan")
        .args(words.iter().map(|w| {
            if w.starts_with("examples/") {
                format!("{ROOT}/{w}")
            } else {
                w.clone()
            }
        }))
        .run()
        .expect_status(0);
    assert!(
        README.contains(&run.stdout),
        "plan.json in the README is another: {}",
        run.stdout
    );
    for line in run.stderr.lines() {
        assert!(README.contains(line), "{line}");
    }
}

/// Every code that an error can bear.
fn codes() -> BTreeSet<&'static str> {
    let source = include_str!("../crates/gpuc-core/src/error.rs");
    let known: BTreeSet<&str> = source
        .lines()
        .filter_map(|l| l.trim().strip_prefix("Self::")?.split_once(" => \""))
        .map(|(_, code)| code.trim_end_matches("\","))
        .collect();
    assert!(known.len() > 15, "{known:?}");
    known
}

/// Each has its row in the README's table and its section in the troubleshooting, and no other has
/// one; its section shows it, but for faults of our own, which nobody knows how to provoke.
#[test]
fn every_error_code_is_explained_and_shown() {
    let rows: BTreeSet<&str> = README
        .lines()
        .filter_map(|l| l.strip_prefix("| `")?.split_once("` | "))
        .map(|(code, _)| code)
        .filter(|code| code.contains('_') && code.to_uppercase() == *code)
        .collect();
    assert_eq!(rows, codes());

    let text = include_str!("../docs/troubleshooting.md");
    let sections: Vec<(&str, &str)> = text
        .split("\n## ")
        .skip(1)
        .map(|section| section.split_once('\n').unwrap())
        .collect();
    let named: BTreeSet<&str> = sections.iter().map(|(code, _)| *code).collect();
    assert_eq!(named, codes());
    for (code, section) in sections {
        let shown = section.contains(&format!("\nERROR [{code}]"));
        assert_eq!(shown, code != "RUNTIME_UNEXPECTED", "{code}");
    }
}
