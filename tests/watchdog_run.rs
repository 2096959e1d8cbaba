//! gpu-container-watchdog run: what passes through, what is refused, what aborts the job.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod support;

use serde_json::Value;
use support::watchdog::{HOT, IDLE, LONG, over, peaks, supervisor};
use support::{Tool, nvidia_smi};

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
    supervisor(&[IDLE])
        .args(["run", "sh", "-c", "exit 6", "--json"])
        .run()
        .expect_status(6);
}

#[test]
fn limits_before_run_are_enforced() {
    let config = r#"{"gpu_temp_c_max": 40}"#;
    supervisor(&[IDLE])
        .file("w.json", config)
        .args(["--config", "w.json", "run", "--", "sleep", LONG])
        .run()
        .expect_status(7);
    supervisor(&[IDLE])
        .args(["--temp-max", "40", "run", "sleep", LONG])
        .run()
        .expect_status(7);
    // Given twice, the later one counts.
    supervisor(&[HOT])
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
        supervisor(&[IDLE])
            .args(flag)
            .args(["run", "true"])
            .run()
            .expect_error("INPUT_USAGE");
    }
}

#[test]
fn what_is_wrong_is_found_before_the_job_starts() {
    let cases: [(&[&str], &str); 10] = [
        (&["--config", "-"], "INPUT_USAGE"),
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
    for (program, status, code) in [
        ("no-such-command", 127, "IO_COMMAND_NOT_FOUND"),
        ("/dev/null", 126, "IO_COMMAND_NOT_EXECUTABLE"),
    ] {
        let run = supervisor(&[IDLE]).args(["run", program]).run();
        let run = run.expect_status(status);
        let error = format!("ERROR [{code}]");
        assert!(run.stderr.contains(&error), "{}", run.stderr);
    }
    supervisor(&[IDLE])
        .arg("run")
        .run()
        .expect_error("INPUT_USAGE");
    supervisor(&[IDLE])
        .args(["run", "--"])
        .run()
        .expect_error("INPUT_USAGE");
    supervisor(&[IDLE])
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
    let options = ["--gpu-timeout", "2", "--blind-polls", "1"];
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
