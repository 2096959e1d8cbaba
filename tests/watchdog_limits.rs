//! gpu-container-watchdog run: limits of the job's own, and limits that change while it runs.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{ChildStderr, Command};

use support::watchdog::{IDLE, monitor, over, peaks};

fn hang_up(pid: u32) {
    let sent = Command::new("kill")
        .args(["-HUP", &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Reads on until a line says this.
fn wait_for(stderr: &mut BufReader<ChildStderr>, said: &str) {
    let mut all = String::new();
    while !all.contains(said) {
        assert!(stderr.read_line(&mut all).unwrap() > 0, "{said}: {all}");
    }
}

#[test]
fn a_job_that_outgrows_its_memory_is_stopped() {
    // Some 60 MB in a child of a shell.
    let script = "(x=$(head -c 60000000 /dev/zero | tr '\\0' a); sleep 100; echo $x) & wait";
    let run = over(
        &[IDLE],
        &["--job-rss", "40", "--peaks-out", "p.json"],
        script,
    )
    .run()
    .expect_status(7);
    assert!(run.stderr.contains("job_rss_mib"), "{}", run.stderr);
    let p = peaks(&run);
    assert!(p["peak_job_rss_mib"].as_f64().unwrap() >= 40.0, "{p}");
    assert_eq!(
        (&p["aborted"], &p["thresholds"]["job_rss_mib_max"]),
        (&true.into(), &40.0.into())
    );
}

#[test]
fn a_hang_up_reads_the_limits_again() {
    let options = ["--config", "w.json", "--interval", "0.1"];
    // The hang-up is not for the job.
    let script = "trap 'exit 3' HUP; while :; do sleep 0.1; done";
    for tool in [
        monitor(&[IDLE]).arg("--watch").args(options),
        over(&[IDLE], &options, script),
    ] {
        // Near enough to be said, so that a test can tell when the watch has begun.
        let tool = tool.file("w.json", r#"{"gpu_temp_c_max": 60}"#);
        let (mut child, dir) = tool.spawn();
        let file = dir.path().join("w.json");
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        wait_for(&mut stderr, "warn");
        std::fs::write(&file, r#"{"gpu_temp_c_max": 9000}"#).unwrap();
        hang_up(child.id());
        wait_for(&mut stderr, "ERROR [INPUT_BAD_WATCHDOG_CONFIG]");
        wait_for(&mut stderr, "stay as they are");
        std::fs::write(&file, r#"{"gpu_temp_c_max": 40}"#).unwrap();
        hang_up(child.id());
        wait_for(&mut stderr, "limits read again");
        stderr.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }
}
