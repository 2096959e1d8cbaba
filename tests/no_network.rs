//! Nothing goes over the network: no command opens a socket that could (SECURITY.md).
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::Command;

/// The sockets that a shell line, with the built commands on PATH, opens; none where they cannot
/// be watched.
fn sockets(folder: &Path, line: &str) -> Option<String> {
    let trace = folder.join("trace");
    let built = Path::new(env!("CARGO_BIN_EXE_gpu-container-plan"));
    let mut path = built.parent().unwrap().as_os_str().to_owned();
    path.push(":/usr/bin:/bin");
    let ended = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=socket,connect", "-o"])
        .arg(&trace)
        .args(["sh", "-c", line])
        .current_dir(folder)
        .env("PATH", path)
        .output()
        .ok()?;
    // A tracer that may not trace ends before the shell has begun.
    if !folder.join("begun").exists() {
        println!("skipped: {}", String::from_utf8_lossy(&ended.stderr));
        return None;
    }
    Some(std::fs::read_to_string(trace).unwrap())
}

#[test]
fn no_command_opens_a_socket_to_a_network() {
    let folder = tempfile::tempdir().unwrap();
    let root = env!("CARGO_MANIFEST_DIR");
    let line = format!(
        "touch begun
        gpu-container-profile --no-bench -o profile.json
        gpu-container-plan --profile {root}/examples/rigs/rtx-3060-12gb.json \
            --model-config {root}/examples/models/qwen3-30b-a3b.json --hf user/name:q4_k_m -o plan.json
        gpu-container-receipt --plan plan.json --decode-tok-s 31 --calibration-dir points \
            --model-name m -o receipt.json
        gpu-container-concentration --imatrix {root}/tests/data/imatrix-micro.gguf -o report.json
        gpu-container-watchdog run --peaks-out peaks.json --on-breach alert -- true"
    );
    let Some(trace) = sockets(folder.path(), &line) else {
        return;
    };
    for written in ["profile", "plan", "receipt", "report", "peaks"] {
        let file = folder.path().join(format!("{written}.json"));
        assert!(file.exists(), "{written}.json was not written");
    }
    assert!(!trace.contains("AF_INET"), "{trace}");
}
