//! gpu-container-watchdog run: the job is stopped whole, on every way out.
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
use std::process::{Child, ChildStdout, Command};

use serde_json::Value;
use support::Tool;
use support::pty::read_until;
use support::watchdog::{IDLE, LONG, over, over_until_ready, peaks};

/// Whether a process runs; a zombie does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// A started watchdog, its job having printed `lines` lines.
struct Started {
    child: Child,
    stdout: BufReader<ChildStdout>,
    lines: Vec<String>,
    dir: tempfile::TempDir,
}

fn start(tool: Tool, lines: usize) -> Started {
    let (mut child, dir) = tool.spawn();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let lines = (0..lines)
        .map(|_| {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line
        })
        .collect();
    Started {
        child,
        stdout,
        lines,
        dir,
    }
}

impl Started {
    /// The end of the job's output, which comes when the last process that holds it is gone.
    fn end(mut self) -> (i32, Option<i32>, tempfile::TempDir) {
        use std::os::unix::process::ExitStatusExt as _;
        self.stdout.read_to_end(&mut Vec::new()).unwrap();
        let status = self.child.wait().unwrap();
        (status.code().unwrap_or(-1), status.signal(), self.dir)
    }
}

#[test]
fn a_killed_guardian_leaves_nothing() {
    let script = "setsid sleep 100 & echo $!; echo $$; echo $PPID; sleep 100";
    let started = start(over(&[IDLE], &[], script), 3);
    let pids = started.lines.clone();
    signal(pids[2].trim().parse().unwrap(), "KILL");
    let (status, _, _dir) = started.end();
    // The job dies with it, by the kernel's hand; what left its session, by ours.
    assert_eq!(status, 137);
    assert!(pids.iter().all(|pid| !runs(pid)), "{pids:?}");
}

#[test]
fn a_breach_stops_the_whole_group() {
    // Nobody in this script waits for anybody; the reference left both sleeps behind.
    let script =
        "sleep 100 & echo $! > a; (sleep 100 & echo $! > b; touch ready; wait) & sleep 100";
    let run = over_until_ready(&["--peaks-out", "p.json"], script)
        .run()
        .expect_status(7);
    for file in ["a", "b"] {
        let pid = std::fs::read_to_string(run.path(file)).unwrap();
        assert!(!runs(&pid), "{file}: process {pid} goes on");
    }
    let p = peaks(&run);
    assert_eq!(
        (&p["breached"], &p["stayed_within_envelope"]),
        (&true.into(), &false.into())
    );
    assert_eq!(p["on_breach"], "kill-job");
    assert_eq!(p["peak_gpu_temp_c"], 90.0);
    assert_eq!(p["ended"], "aborted on a breach");
    // Had the job inherited our blocked signals, it would have had to be killed.
    assert_eq!(p["action_taken"], "kill-job: ended on SIGTERM (signal 15)");
}

#[test]
fn a_job_that_ignores_the_request_is_killed() {
    let options = ["--grace", "0.1", "--peaks-out", "p.json"];
    let script = "trap '' TERM; touch ready; while :; do sleep 0.1; done";
    let run = over_until_ready(&options, script).run().expect_status(7);
    assert_eq!(
        peaks(&run)["action_taken"],
        "kill-job: killed after the grace period (signal 9)"
    );
}

#[test]
fn a_paused_job_is_stopped_as_well() {
    let options = ["--grace", LONG, "--peaks-out", "p.json"];
    let run = over_until_ready(&options, "touch ready; kill -STOP $$")
        .run()
        .expect_status(7);
    assert_eq!(
        peaks(&run)["action_taken"],
        "kill-job: ended on SIGTERM (signal 15)"
    );
}

#[test]
fn a_signal_to_the_watchdog_stops_the_job_and_leaves_the_peaks() {
    for (name, status) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("QUIT", 131)] {
        let script = "sleep 100 & echo $!; sleep 100";
        let options = ["--interval", LONG, "--peaks-out", "p.json"];
        let started = start(over(&[IDLE], &options, script), 1);
        let pid = started.lines[0].clone();
        signal(started.child.id(), name);
        let (got, _, dir) = started.end();
        assert_eq!(got, status, "{name}");
        assert!(!runs(&pid), "{name}: process {pid} goes on");
        let p: Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("p.json")).unwrap()).unwrap();
        assert_eq!(p["ended"], format!("SIG{name} to the watchdog"));
        assert_eq!(p["samples"].as_u64().map(|n| n <= 1), Some(true));
    }
}

#[test]
fn a_second_signal_does_not_wait_for_the_grace_period() {
    let script = "trap '' TERM; echo; while :; do sleep 0.1; done";
    let mut started = start(over(&[IDLE], &["--grace", LONG], script), 1);
    let mut stderr = BufReader::new(started.child.stderr.take().unwrap());
    signal(started.child.id(), "TERM");
    let mut line = String::new();
    while !line.contains("SIGTERM received") {
        line.clear();
        assert!(
            stderr.read_line(&mut line).unwrap() > 0,
            "the watchdog said nothing"
        );
    }
    signal(started.child.id(), "TERM");
    assert_eq!(started.end().0, 143);
}

#[test]
fn a_hang_up_does_not_shorten_the_grace_period() {
    // It ends as it likes, when it may.
    let script = "trap 'until test -e go; do sleep 0.01; done; touch done; exit 3' TERM
                  echo; while :; do sleep 0.1; done";
    let mut started = start(over(&[IDLE], &["--grace", LONG], script), 1);
    let mut stderr = BufReader::new(started.child.stderr.take().unwrap());
    signal(started.child.id(), "TERM");
    let mut said = String::new();
    while !said.contains("SIGTERM received") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    signal(started.child.id(), "HUP");
    std::fs::write(started.dir.path().join("go"), "").unwrap();
    let (status, _, dir) = started.end();
    assert_eq!(status, 143);
    assert!(dir.path().join("done").exists());
}

#[test]
fn what_our_parent_ignores_is_ignored() {
    // As nohup does it.
    let watchdog = env!("CARGO_BIN_EXE_gpu-container-watchdog");
    let script = format!("trap '' HUP; exec {watchdog} run -- sh -c 'echo; read x; exit 9'");
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .env("GPUC_NVML_LIB", "/nonexistent")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    signal(child.id(), "HUP");
    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn the_job_does_not_outlive_a_killed_watchdog() {
    let started = start(over(&[IDLE], &[], "echo; exec sleep 100"), 1);
    signal(started.child.id(), "KILL");
    // Its output would stay open as long as it runs.
    assert_eq!(started.end().1, Some(9));
}

#[test]
fn what_a_job_leaves_running_is_stopped_too() {
    let run = over(
        &[IDLE],
        &["--peaks-out", "p.json"],
        "sleep 100 & echo $!; exit 3",
    )
    .run();
    let run = run.expect_status(3);
    assert!(!runs(&run.stdout), "process {} goes on", run.stdout);
    assert!(run.stderr.contains("left 1 process"), "{}", run.stderr);
    assert_eq!(peaks(&run)["ended"], "exit 3");
}

#[test]
fn what_ends_by_itself_a_moment_later_is_let_be() {
    // As a `tee` that was started beside the job: it writes once it finds its input closed.
    let script = "mkfifo f; (cat f >/dev/null; echo all > log) & exec 3> f; exit 3";
    let run = over(&[IDLE], &[], script).run().expect_status(3);
    assert_eq!(std::fs::read_to_string(run.path("log")).unwrap(), "all\n");
}

#[test]
fn an_action_that_hangs_does_not_keep_the_job_alive() {
    // The command ends only when the job's group is gone.
    let action = "command:while kill -0 $(cat pid) 2>/dev/null; do sleep 0.05; done; touch f";
    let script = "echo $$ > pid; touch ready; exec sleep 100";
    let run = over_until_ready(&["--on-breach", action], script)
        .run()
        .expect_status(7);
    assert!(run.path("f").exists(), "{}", run.stderr);
}

/// Deaf to a hang-up, and one of it away from the terminal.
const DEAF: &str = "
    trap '' HUP; echo $$ > job
    setsid sh -c 'trap \"\" HUP; echo $$ > away; while :; do sleep 0.05; done' &
    until test -s away; do sleep 0.01; done
    echo ready; while :; do sleep 0.05; done
";

#[test]
fn a_terminal_that_closes_ends_the_watchdog_and_the_job() {
    let options = [
        "--grace",
        "0.5",
        "--peaks-out",
        "p.json",
        "--config",
        "w.json",
    ];
    // With a file of limits a hang-up asks for them to be read again, unless the terminal is gone.
    for options in [&options[..4], &options] {
        let tool = over(&[IDLE], options, DEAF).file("w.json", "{}");
        let (mut terminal, mut child, dir) = tool.lead();
        read_until(&mut terminal, "ready");
        if options.contains(&"--config") {
            signal(child.id(), "HUP");
            read_until(&mut terminal, "limits read again");
        }
        drop(terminal);
        assert_eq!(child.wait().unwrap().code(), Some(129), "{options:?}");
        for file in ["job", "away"] {
            let pid = std::fs::read_to_string(dir.path().join(file)).unwrap();
            assert!(!runs(&pid), "{options:?} {file}: process {pid} goes on");
        }
        let peaks = std::fs::read(dir.path().join("p.json")).unwrap();
        let peaks: Value = serde_json::from_slice(&peaks).unwrap();
        assert_eq!(peaks["ended"], "SIGHUP to the watchdog");
    }
}

#[test]
fn a_terminal_that_closes_over_a_shell_ends_the_job_and_with_it_the_watchdog() {
    // The kernel hangs up on the shell and on the job, which has the terminal, and not on us.
    let script = "echo $$ > job; ps -o ppid= -p $PPID > watchdog; echo ready; exec sleep 100";
    let tool = over(&[IDLE], &["--peaks-out", "p.json"], script).below_a_shell();
    let (mut terminal, mut child, dir) = tool.lead();
    read_until(&mut terminal, "ready");
    drop(terminal);
    assert!(!child.wait().unwrap().success());
    for file in ["job", "watchdog"] {
        let pid = std::fs::read_to_string(dir.path().join(file)).unwrap();
        while runs(&pid) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    let peaks = std::fs::read(dir.path().join("p.json")).unwrap();
    let peaks: Value = serde_json::from_slice(&peaks).unwrap();
    assert_eq!(peaks["ended"], "signal 1");
}
