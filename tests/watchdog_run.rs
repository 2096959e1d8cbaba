//! gpu-container-watchdog run: a job is watched, and stopped whole on every way out.
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
use support::{Run, Tool, nvidia_smi};

const IDLE: &str = "120.00, 450.00, 55, 8000, 24564, 33";
const HOT: &str = "120, 450, 90, 8000, 24564, 33";
/// Enough that a test which waited for it would be noticed.
const LONG: &str = "100";

fn watchdog(rows: &[&str]) -> Tool {
    Tool::new("watchdog")
        .on_path("nvidia-smi", &nvidia_smi(rows))
        .args([
            "--host-mem-max",
            "1000",
            "--host-avail-min",
            "0",
            "--interval",
            "0.5",
        ])
}

/// A watchdog over a shell script.
fn over(rows: &[&str], options: &[&str], script: &str) -> Tool {
    watchdog(rows)
        .arg("run")
        .args(options)
        .args(["--", "sh", "-c", script])
}

fn peaks(run: &Run) -> Value {
    serde_json::from_slice(&std::fs::read(run.path("p.json")).unwrap()).unwrap()
}

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
fn each_status_of_a_job_is_passed_on() {
    for status in 0..=255 {
        let run = Tool::new("watchdog")
            .args(["run", "sh", "-c", &format!("exit {status}")])
            .run();
        run.expect_status(status);
    }
}

#[test]
fn a_job_killed_by_a_signal_gives_128_and_its_number() {
    for number in [1, 2, 9, 11, 15, 34] {
        let script = format!("kill -{number} $$");
        let run = over(&[IDLE], &["--peaks-out", "p.json"], &script).run();
        let run = run.expect_status(128 + number);
        assert_eq!(peaks(&run)["ended"], format!("signal {number}"));
    }
}

#[test]
fn the_end_of_a_job_is_noticed_at_once() {
    // A watchdog that looked only at its interval would take an hour.
    over(&[IDLE], &["--interval", LONG], "exit 4")
        .run()
        .expect_status(4);
    // So would one that waited for GPUs that do not answer.
    Tool::new("watchdog")
        .on_path("nvidia-smi", "#!/bin/sh\nexec sleep 100\n")
        .args(["run", "--gpu-timeout", LONG, "--", "sh", "-c", "exit 5"])
        .run()
        .expect_status(5);
}

#[test]
fn standard_input_and_output_are_the_jobs_own() {
    let run = over(&[IDLE], &[], "cat; printf 'a\\0b'")
        .stdin("in\n")
        .run()
        .expect_status(0);
    assert_eq!(run.stdout, "in\na\0b");
    let run = over(&[IDLE], &["--json-out", "r.jsonl"], "echo out")
        .run()
        .expect_status(0);
    assert_eq!(run.stdout, "out\n");
    let stream = std::fs::read_to_string(run.path("r.jsonl")).unwrap();
    assert!(serde_json::from_str::<Value>(stream.lines().next().unwrap()).is_ok());
}

#[test]
fn with_json_standard_output_is_the_report_stream_alone() {
    let run = over(&[IDLE], &["--json"], "echo out; exit 3")
        .run()
        .expect_status(3);
    let first: Value = serde_json::from_str(run.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(first["verdict"], "ok");
    assert!(
        run.stderr.contains("out\n") && !run.stdout.contains("out\n"),
        "{}",
        run.stderr
    );
}

#[test]
fn arguments_of_the_job_are_its_own() {
    let script = "test \"$1\" = 'a b' && test \"$2\" = --json";
    let run = over(&[IDLE], &[], script)
        .args(["x", "a b", "--json"])
        .run()
        .expect_status(0);
    assert!(run.stdout.is_empty());
    watchdog(&[IDLE])
        .args(["run", "sh", "-c", "exit 6", "--json"])
        .run()
        .expect_status(6);
}

#[test]
fn a_breach_stops_the_whole_group() {
    // Nobody in this script waits for anybody; the reference left both sleeps behind.
    let script = "sleep 100 & echo $! > a; (sleep 100 & echo $! > b; wait) & sleep 100";
    let run = over(&[IDLE, HOT], &["--peaks-out", "p.json"], script)
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
    let script = "trap '' TERM; while :; do sleep 0.1; done";
    let run = over(&[IDLE, HOT], &options, script).run().expect_status(7);
    assert_eq!(
        peaks(&run)["action_taken"],
        "kill-job: killed after the grace period (signal 9)"
    );
}

#[test]
fn a_paused_job_is_stopped_as_well() {
    let options = ["--grace", LONG, "--peaks-out", "p.json"];
    let run = over(&[IDLE, HOT], &options, "kill -STOP $$")
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
fn limits_before_run_are_enforced() {
    let config = r#"{"gpu_temp_c_max": 40}"#;
    watchdog(&[IDLE])
        .file("w.json", config)
        .args(["--config", "w.json", "run", "--", "sleep", LONG])
        .run()
        .expect_status(7);
    watchdog(&[IDLE])
        .args(["--temp-max", "40", "run", "sleep", LONG])
        .run()
        .expect_status(7);
    // Given twice, the later one counts.
    watchdog(&[HOT])
        .args([
            "--temp-max",
            "40",
            "run",
            "--temp-max",
            "99",
            "--",
            "sh",
            "-c",
            "exit 3",
        ])
        .run()
        .expect_status(3);
    for flag in [&["--watch"][..], &["--max-polls", "3"]] {
        watchdog(&[IDLE])
            .args(flag)
            .args(["run", "true"])
            .run()
            .expect_error("INPUT_USAGE");
    }
}

#[test]
fn what_is_wrong_is_found_before_the_job_starts() {
    let cases: [(&[&str], &str); 9] = [
        (&["--on-breach", "kil-job"], "INPUT_BAD_ACTION"),
        (&["--on-breach", "kill:-1"], "INPUT_BAD_ACTION"),
        (&["--temp-max", "nan"], "INPUT_USAGE"),
        (&["--config", "missing.json"], "INPUT_BAD_WATCHDOG_CONFIG"),
        (&["--log", "no/t.jsonl"], "IO_WRITE_FAILED"),
        (&["--json-out", "no/r.jsonl"], "IO_WRITE_FAILED"),
        (&["--peaks-out", "no/p.json"], "IO_WRITE_FAILED"),
        (&["--peaks-out", "/"], "IO_WRITE_FAILED"),
        (&["--grace=-1"], "INPUT_USAGE"),
    ];
    for (options, code) in cases {
        let run = over(&[IDLE], options, "touch started")
            .run()
            .expect_error(code);
        assert!(!run.path("started").exists(), "{options:?}");
    }
}

#[test]
fn a_job_that_cannot_be_started() {
    watchdog(&[IDLE])
        .args(["run", "no-such-command"])
        .run()
        .expect_error("IO_COMMAND_NOT_FOUND");
    watchdog(&[IDLE])
        .args(["run", "/dev/null"])
        .run()
        .expect_error("IO_COMMAND_NOT_EXECUTABLE");
    watchdog(&[IDLE])
        .arg("run")
        .run()
        .expect_error("INPUT_USAGE");
    watchdog(&[IDLE])
        .args(["run", "--"])
        .run()
        .expect_error("INPUT_USAGE");
    watchdog(&[IDLE])
        .args(["run", ""])
        .run()
        .expect_error("INPUT_USAGE");
}

#[test]
fn an_alert_never_kills() {
    // The job ends itself once a second look after the breach has been logged.
    let script = "until test $(wc -l < t.jsonl) -ge 3; do sleep 0.05; done; exit 3";
    let options = [
        "--on-breach",
        "alert",
        "--log",
        "t.jsonl",
        "--peaks-out",
        "p.json",
    ];
    let run = over(&[IDLE, HOT], &options, script).run().expect_status(3);
    assert_eq!(peaks(&run)["breached"], true);
    assert!(run.stderr.contains("gpu_temp_c 90"), "{}", run.stderr);
}

#[test]
fn another_action_is_carried_out_and_the_job_stopped() {
    let options = [
        "--on-breach",
        "command:echo x; touch f",
        "--peaks-out",
        "p.json",
    ];
    let run = over(&[HOT], &options, "exec sleep 100")
        .run()
        .expect_status(7);
    assert!(run.path("f").exists() && run.stdout.is_empty());
    let taken = peaks(&run)["action_taken"].as_str().unwrap().to_owned();
    assert!(
        taken.contains("done") && taken.contains("SIGTERM"),
        "{taken}"
    );
    let options = ["--on-breach", "docker-stop:llama", "--peaks-out", "p.json"];
    let tool = over(&[HOT], &options, "exec sleep 100");
    let run = tool
        .on_path("docker", "#!/bin/sh\nexit 1\n")
        .run()
        .expect_status(7);
    let taken = peaks(&run)["action_taken"].as_str().unwrap().to_owned();
    assert!(
        taken.contains("FAILED") && taken.contains("SIGTERM"),
        "{taken}"
    );
}

#[test]
fn an_action_that_hangs_does_not_keep_the_job_alive() {
    // The command ends only when the job's group is gone.
    let action = "command:while kill -0 $(cat pid) 2>/dev/null; do sleep 0.05; done; touch f";
    let script = "echo $$ > pid; exec sleep 100";
    let run = over(&[IDLE, HOT], &["--on-breach", action], script)
        .run()
        .expect_status(7);
    assert!(run.path("f").exists(), "{}", run.stderr);
}

#[test]
fn host_memory_is_watched_while_the_gpus_hang() {
    let run = Tool::new("watchdog")
        .on_path("nvidia-smi", "#!/bin/sh\nexec sleep 100\n")
        .args([
            "run",
            "--json",
            "--host-avail-min",
            "1e12",
            "--gpu-timeout",
            LONG,
        ])
        .args(["--", "sleep", LONG])
        .run()
        .expect_status(7);
    let report: Value = serde_json::from_str(run.stdout.lines().next().unwrap()).unwrap();
    assert!(
        report["sample"]["notes"]
            .to_string()
            .contains("not waited for"),
        "{report}"
    );
    assert!(
        report["breaches"].to_string().contains("host_avail_mib"),
        "{report}"
    );
}

#[test]
fn gpus_that_stop_answering_abort_the_job() {
    for gone in ["exit", "", "[N/A], [N/A], [N/A], [N/A], [N/A], [N/A]"] {
        let options = ["--blind-polls", "2", "--peaks-out", "p.json"];
        let run = over(&[IDLE, gone], &options, "exec sleep 100")
            .run()
            .expect_status(7);
        let p = peaks(&run);
        assert_eq!(
            (&p["blind_polls"], &p["breached"]),
            (&2.into(), &true.into()),
            "{gone:?}"
        );
    }
    let options = ["--gpu-timeout", "0.2", "--blind-polls", "1"];
    let hangs = nvidia_smi(&[IDLE, "x"]).replace("printf '%s\\n' 'x'", "exec sleep 100");
    let tool = over(&[IDLE], &options, "exec sleep 100").on_path("nvidia-smi", &hangs);
    tool.run().expect_status(7);
}

#[test]
fn gpus_that_never_answered_abort_nothing() {
    let script = "until test $(wc -l < t.jsonl) -ge 4; do sleep 0.05; done";
    let options = [
        "--blind-polls",
        "1",
        "--log",
        "t.jsonl",
        "--peaks-out",
        "p.json",
    ];
    let run = over(&["exit"], &options, script).run().expect_status(0);
    assert!(
        run.stderr.contains("GPU limits are not enforced"),
        "{}",
        run.stderr
    );
    assert_eq!(peaks(&run)["blind_polls"], 0);
}

#[test]
fn a_gpu_that_is_lost_through_nvml_aborts_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = support::nvml::stand_in(dir.path(), &[], "TEMP_C=50\nGPUS=2\n") else {
        return;
    };
    // The job itself breaks the second card.
    let lost = "1_FAIL_POWER_MW=15\n1_FAIL_TEMP_C=15\n1_FAIL_MEMORY=15\n";
    let conf = format!("{}.conf", library.display());
    std::fs::write(
        dir.path().join("lost"),
        format!("TEMP_C=50\nGPUS=2\n{lost}"),
    )
    .unwrap();
    let script = format!(
        "until test -s t.jsonl; do sleep 0.05; done; mv {}/lost {conf}; exec sleep 100",
        dir.path().display()
    );
    let options = ["--log", "t.jsonl", "--blind-polls", "2"];
    let tool = over(&[IDLE], &options, &script).env("GPUC_NVML_LIB", &library);
    let run = tool.run().expect_status(7);
    assert!(run.stderr.contains("answered before"), "{}", run.stderr);
}

#[test]
fn a_full_disk_turns_no_job_into_a_success() {
    over(&[IDLE], &["--log", "/dev/full"], "exit 0")
        .run()
        .expect_error("IO_WRITE_FAILED");
    over(&[IDLE], &["--log", "/dev/full"], "exit 3")
        .run()
        .expect_status(3);
}
