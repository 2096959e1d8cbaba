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

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStderr, Command, Stdio};

use support::watchdog::{IDLE, monitor, over, peaks};

/// A row of nvidia-smi near the limit of temperature.
const WARM: &str = "120, 450, 80, 8000, 24564, 33";
/// A plan that asks for little and runs anywhere.
const PLAN: &str = r#"{"fits": true, "verdict": "ship", "vram_used_mib": 4000, "ram_used_mib": 0}"#;

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

#[test]
fn limits_from_a_pipe_are_not_read_again() {
    // Opened again, it would wait for a writer for ever, and nobody would watch.
    let tool = monitor(&[WARM]).args(["--watch", "--config", "pipe", "--interval", "0.1"]);
    let pipe = tool.dir().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (mut child, _dir) = tool.spawn();
    std::fs::write(&pipe, r#"{"gpu_temp_c_max": 85}"#).unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    wait_for(&mut stderr, "warn");
    hang_up(child.id());
    assert_eq!(child.wait().unwrap().code(), Some(129));
    // Nor a file that has become one.
    let tool = monitor(&[WARM]).args(["--watch", "--config", "w.json", "--interval", "0.1"]);
    let (mut child, dir) = tool.file("w.json", r#"{"gpu_temp_c_max": 85}"#).spawn();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    wait_for(&mut stderr, "warn");
    std::fs::remove_file(dir.path().join("w.json")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("w.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    hang_up(child.id());
    wait_for(&mut stderr, "no regular file");
    wait_for(&mut stderr, "warn");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A shell that waits for a line of its input between these.
fn stages(of: &[&str]) -> Child {
    Command::new("sh")
        .args(["-c", &of.join("; read x; ")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn go_on(child: &mut Child) {
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
}

#[test]
fn a_process_that_runs_already_is_held_to_the_jobs_limits() {
    // What is watched is grown by a child of it, and hears of it by name.
    let hog = "(x=$(head -c 60000000 /dev/zero | tr '\\0' a)
                while kill -0 $$; do sleep 0.05; done; echo $x) 2> /dev/null & wait";
    let mut job = stages(&["echo", hog]);
    let pid = job.id().to_string();
    let action = format!("command:echo $GPUC_METRIC $GPUC_PID > told,kill:{pid}");
    let (mut child, dir) = monitor(&[IDLE])
        .args(["--watch", "--pid", &pid, "--job-rss", "40", "--events", "e"])
        .args(["--interval", "0.1", "--on-breach", &action])
        .spawn();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    wait_for(&mut stderr, "ok");
    go_on(&mut job);
    let mut all = String::new();
    stderr.read_to_string(&mut all).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7), "{all}");
    assert!(all.contains("job_rss_mib"), "{all}");
    assert!(!job.wait().unwrap().success());
    let told = std::fs::read_to_string(dir.path().join("told")).unwrap();
    assert_eq!(told, format!("job_rss_mib {pid}\n"));
    let events = std::fs::read_to_string(dir.path().join("e")).unwrap();
    assert!(events.contains(&format!("watching job {pid}")), "{events}");
}

#[test]
fn the_watch_of_a_process_ends_with_it_and_with_the_last_verdict() {
    for (row, status) in [(IDLE, 0), (WARM, 5)] {
        // Nobody reaps it meanwhile: its number is still taken.
        let mut job = stages(&["echo", "exit 3"]);
        let (mut child, _dir) = monitor(&[row])
            .args(["--watch", "--pid", &job.id().to_string()])
            .args(["--plan", "plan.json", "--interval", "1000"])
            .file("plan.json", PLAN)
            .spawn();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        wait_for(&mut stderr, "VRAM");
        go_on(&mut job);
        wait_for(&mut stderr, "the process has ended");
        assert_eq!(child.wait().unwrap().code(), Some(status));
        job.wait().unwrap();
    }
}

#[test]
fn one_look_at_a_process_and_what_its_plan_implies() {
    let mut job = stages(&["echo", "exit 3"]);
    let look = |limits: &[&str]| {
        monitor(&[IDLE])
            .file("plan.json", PLAN)
            .args(["--json", "--pid", &job.id().to_string()])
            .args(limits)
            .run()
    };
    let run = look(&["--plan", "plan.json"]).expect_status(0);
    assert!(run.json()["sample"]["job_rss_mib"].as_f64().unwrap() > 0.0);
    let run = look(&["--plan", "plan.json", "--job-rss", "0.1"]).expect_status(7);
    assert_eq!(run.json()["breaches"][0]["metric"], "job_rss_mib");
    go_on(&mut job);
    job.wait().unwrap();
}
