//! Watchdogs beside stand-in GPUs.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]
#![allow(clippy::unwrap_used, reason = "tests only")]

use serde_json::Value;

use super::{Run, Tool, nvidia_smi};

/// A row of nvidia-smi that is near no limit.
pub const IDLE: &str = "120.00, 450.00, 55, 8000, 24564, 33";
/// One that is past the limit of temperature.
pub const HOT: &str = "120, 450, 90, 8000, 24564, 33";
/// Seconds; a test that waited for them would be noticed.
pub const LONG: &str = "100";

/// A watchdog for which host memory is no concern, beside GPUs that print these rows in turn.
pub fn monitor(rows: &[&str]) -> Tool {
    Tool::new("watchdog")
        .on_path("nvidia-smi", &nvidia_smi(rows))
        .args(["--host-mem-max", "1000", "--host-avail-min", "0"])
}

/// The same, looking as often as it can; `run` is still to be given.
pub fn supervisor(rows: &[&str]) -> Tool {
    monitor(rows).args(["--interval", "0.5"])
}

/// A watchdog over a shell script.
pub fn over(rows: &[&str], options: &[&str], script: &str) -> Tool {
    supervisor(rows)
        .arg("run")
        .args(options)
        .args(["--", "sh", "-c", script])
}

/// The same, beside a GPU that runs hot once the job has made the file `ready`.
pub fn over_until_ready(options: &[&str], script: &str) -> Tool {
    let smi = format!("#!/bin/sh\nif test -e ready; then echo '{HOT}'; else echo '{IDLE}'; fi\n");
    over(&[IDLE], options, script).on_path("nvidia-smi", &smi)
}

/// The report stream on standard output.
pub fn reports(run: &Run) -> Vec<Value> {
    let stream = serde_json::Deserializer::from_str(&run.stdout).into_iter();
    stream.map(Result::unwrap).collect()
}

/// The peaks file `p.json`.
pub fn peaks(run: &Run) -> Value {
    serde_json::from_slice(&std::fs::read(run.path("p.json")).unwrap()).unwrap()
}
