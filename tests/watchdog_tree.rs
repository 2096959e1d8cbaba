//! gpu-container-watchdog run: nothing of the job gets away, and its status and signals pass.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use support::watchdog::{IDLE, over, over_until_ready, peaks};

const WATCHDOG: &str = env!("CARGO_BIN_EXE_gpu-container-watchdog");

/// The watchdog over a script, without GPUs.
fn plain(options: &[&str], script: &str) -> Command {
    let mut command = Command::new(WATCHDOG);
    support::default_signals(&mut command);
    command
        .args(["--host-mem-max", "1000", "--host-avail-min", "0", "run"])
        .args(options)
        .args(["--", "bash", "-c", script])
        .env("GPUC_NVML_LIB", "/nonexistent")
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Whether a process runs; a zombie does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Waits until a process is gone; the test's own time limit is what ends a bad run.
fn wait_until_gone(pid: &str) {
    while runs(pid) {
        std::thread::yield_now();
    }
}

/// Away from the group, the session and the parent, and deaf.
const RUNAWAYS: &str = "
    setsid sh -c 'trap \"\" TERM HUP INT; echo $$ > a; while :; do sleep 1; done' &
    (setsid sh -c 'sleep 100 & echo $! > b; wait' &)
    setsid setsid sh -c 'echo $$ > c; kill -STOP $$' &
    until test -s a && test -s b && test -s c; do sleep 0.01; done
";

#[test]
fn what_left_the_group_and_the_session_is_stopped_too() {
    for cgroup in ["auto", "off"] {
        let options = [
            "--cgroup",
            cgroup,
            "--grace",
            "0.2",
            "--peaks-out",
            "p.json",
        ];
        let script = format!("{RUNAWAYS} touch ready; sleep 100");
        let run = over_until_ready(&options, &script).run().expect_status(7);
        for file in ["a", "b", "c"] {
            let pid = std::fs::read_to_string(run.path(file)).unwrap();
            assert!(!runs(&pid), "{cgroup} {file}: process {pid} goes on");
        }
        assert_eq!(peaks(&run)["aborted"], true);
    }
}

#[test]
fn a_jobs_own_seven_is_no_abort() {
    let run = over(&[IDLE], &["--peaks-out", "p.json"], "exit 7")
        .run()
        .expect_status(7);
    assert_eq!(peaks(&run)["aborted"], false);
}

#[test]
fn a_killed_watchdog_takes_everything_with_it() {
    for cgroup in ["auto", "off"] {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("{RUNAWAYS} echo; sleep 100");
        let mut child = plain(&["--cgroup", cgroup], &script)
            .current_dir(dir.path())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // Its output is open as long as any of them runs.
        stdout.read_to_end(&mut Vec::new()).unwrap();
        for file in ["a", "b", "c"] {
            wait_until_gone(&std::fs::read_to_string(dir.path().join(file)).unwrap());
        }
    }
}

#[test]
fn each_of_256_statuses_passes() {
    for status in 0..256 {
        let got = plain(&["--cgroup", "off"], &format!("exit {status}")).status();
        assert_eq!(got.unwrap().code(), Some(status));
    }
}

#[test]
fn each_signal_that_ends_a_job_gives_128_and_its_number() {
    // The rest are ignored, stop a process, or let it go on. Real-time signals have no names.
    let ending = (1..=16).chain([24, 25, 26, 27, 29, 30, 31]).chain(34..=64);
    // What was ignored when we were started, as a script's `&` does with 2 and 3, stays so.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = own.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    let is_ignored = |signal: &i32| signal != &13 && ignored & (1 << (signal - 1)) != 0;
    for signal in ending.filter(|signal| !is_ignored(signal)) {
        // Bash would ignore some of them.
        let script = format!("exec sh -c 'ulimit -c 0; kill -{signal} $$; exit 0'");
        let got = plain(&["--cgroup", "off"], &script).status().unwrap();
        assert_eq!(
            (got.code(), got.signal()),
            (Some(128 + signal), None),
            "{signal}"
        );
    }
}

#[test]
fn signals_are_handed_on_to_the_job() {
    // Those that ask us to end reach the job as themselves; the others leave us as we are.
    let stopping = [("HUP", 129), ("INT", 130), ("QUIT", 131), ("TERM", 143)];
    let passing = [
        "USR1", "USR2", "WINCH", "ALRM", "VTALRM", "PROF", "IO", "PWR", "URG", "XCPU", "STKFLT",
        "CONT",
    ];
    let all = stopping
        .into_iter()
        .chain(passing.into_iter().map(|name| (name, 9)));
    for (name, status) in all {
        // A pipe that nobody writes to. It is opened before the loop: bash loses a trap that comes
        // while it reads a substitution.
        let script = format!(
            "exec 3<> <(:); trap 'echo got; exit 9' {name}; echo ready
             while :; do read -t 0.01 -u 3; done"
        );
        let mut child = plain(&["--cgroup", "off"], &script).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        line.clear();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "got\n", "{name}");
        assert_eq!(child.wait().unwrap().code(), Some(status), "{name}");
    }
}
