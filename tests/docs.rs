//! Every `sh` block of the documentation is run, in the order of its file and in a folder of its own.
//!
//! What it takes from outside is stood in for: the driver of a 12 GB card, llama.cpp's tools, a
//! model. docs/quickstart.md has a test of its own, `console` blocks are replayed by the test of the
//! README.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "tests only"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{gguf, nvml};

/// Where the documentation is; docs/quickstart.md is run by the test of that name.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs",
    "examples/README.md",
    "packaging/README.md",
];
/// Commands that no test runs, and why.
const NOT_RUN: [(&str, &str); 3] = [
    (
        "cargo run --release --bin",
        "the test of the README runs what it runs",
    ),
    ("cargo ", "it would be cargo in cargo"),
    ("docker ", "there is no container image to run"),
];

/// A llama-bench that places as it is told and always decodes at 20 tokens a second.
const LLAMA_BENCH: &str = r#"#!/bin/sh
ngl=-1 ncmoe=0 depth=0
while [ $# -gt 0 ]; do
    case $1 in
    -m) [ -f "$2" ] || exit 1 ;;
    -ngl) ngl=$2 ;;
    -ncmoe) ncmoe=$2 ;;
    -d) depth=$2 ;;
    esac
    shift
done
echo "[{\"n_prompt\": 0, \"n_gen\": 128, \"n_depth\": $depth, \"n_gpu_layers\": $ngl,
  \"n_cpu_moe\": $ncmoe, \"avg_ts\": 20.0, \"stddev_ts\": 0.1, \"backends\": \"CUDA\"}]"
"#;
const LLAMA_SERVER: &str = "#!/bin/sh\n[ \"$1\" = -m ] && [ -f \"$2\" ]\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let mut all = Vec::new();
    for name in DOCUMENTS {
        let path = root().join(name);
        if path.is_file() {
            all.push(path);
            continue;
        }
        let inside = fs::read_dir(path).unwrap().map(|e| e.unwrap().path());
        all.extend(inside.filter(|p| p.extension().is_some_and(|e| e == "md")));
    }
    all.retain(|p| !p.ends_with("quickstart.md"));
    all
}

/// The `sh` blocks of a text.
fn blocks(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut inside: Option<String> = None;
    for line in text.lines() {
        match (&mut inside, line) {
            (None, "```sh") => inside = Some(String::new()),
            (Some(_), "```") => all.extend(inside.take()),
            (Some(block), line) => *block += &format!("{line}\n"),
            (None, _) => {}
        }
    }
    all
}

fn executable(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What the blocks find: examples, a model, a log in three parts, and the tools on PATH.
struct Stage {
    folder: tempfile::TempDir,
    path: String,
    library: PathBuf,
}

impl Stage {
    fn set() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let library = nvml::stand_in(here, &[], "")?;
        let tools = here.join("tools");
        fs::create_dir(&tools).unwrap();
        executable(&tools.join("llama-bench"), LLAMA_BENCH);
        executable(&tools.join("llama-server"), LLAMA_SERVER);
        fs::write(here.join("model.gguf"), gguf::model()).unwrap();
        for name in ["examples", "watchdog.example.json"] {
            std::os::unix::fs::symlink(root().join(name), here.join(name)).unwrap();
        }
        fs::create_dir_all(here.join("docs/img")).unwrap();
        let built = Path::new(env!("CARGO_BIN_EXE_gpu-container-plan"));
        let stage = Self {
            path: format!(
                "{}:{}:/usr/bin:/bin",
                tools.display(),
                built.parent().unwrap().display()
            ),
            folder,
            library,
        };
        stage.run(
            "cp examples/rigs/rtx-3060-12gb.json profile.json\n\
             gpu-container-plan --profile profile.json \
             --model-config examples/models/qwen3-30b-a3b.json -o plan.json\n\
             gpu-container-watchdog run --log run.jsonl -- true\n\
             cp run.jsonl run.jsonl.1\ncp run.jsonl run.jsonl.2\n",
        );
        Some(stage)
    }

    fn run(&self, script: &str) {
        let mut command = Command::new("sh");
        command
            .args(["-euc", script])
            .current_dir(self.folder.path())
            .env("PATH", &self.path)
            .env("GPUC_NVML_LIB", &self.library)
            .env("GPUC_CUDA_LIB", "/nonexistent/libcuda.so.1")
            .env_remove("CUDA_VISIBLE_DEVICES");
        support::default_signals(&mut command);
        let done = command.output().unwrap();
        assert!(
            done.status.success(),
            "{script}{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    }
}

#[test]
fn every_block_runs() {
    let mut ran = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        // Anything else, but a picture of a screen, would be shown and never tried.
        for fence in text.lines().filter_map(|l| l.strip_prefix("```")) {
            assert!(
                ["", "sh", "console", "text"].contains(&fence),
                "{path:?}: {fence}"
            );
        }
        let blocks = blocks(&text);
        if blocks.is_empty() {
            continue;
        }
        let Some(stage) = Stage::set() else {
            return;
        };
        for block in blocks {
            let not = NOT_RUN.iter().find(|(start, _)| block.starts_with(start));
            if let Some((_, why)) = not {
                println!("not run: {why}: {block}");
                continue;
            }
            stage.run(&block);
            ran += 1;
        }
    }
    assert!(ran >= 7, "{ran}");
}
