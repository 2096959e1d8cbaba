//! gpu-container-watchdog: what it leaves for others: events, metrics, rotated logs, signs of life.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod support;

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::Value;
use support::Run;
use support::watchdog::{HOT, IDLE, monitor, over, over_until_ready, peaks};

fn lines(run: &Run, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(run.path(name)).unwrap();
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

/// The names of the events, in order.
fn events(run: &Run) -> Vec<String> {
    let all = lines(run, "e.jsonl");
    for event in &all {
        assert!(
            event["t"].is_string() && event["elapsed_s"].is_number(),
            "{event}"
        );
        assert!(!event["reason"].as_str().unwrap().is_empty(), "{event}");
    }
    let names = all.iter().map(|e| e["event"].as_str().unwrap().to_owned());
    names.collect()
}

const EVENTS: [&str; 2] = ["--events", "e.jsonl"];

#[test]
fn each_decision_is_a_line_with_its_reason() {
    let job = "trap '' TERM; echo; touch ready; while :; do sleep 0.01; done";
    let options = [
        "--grace",
        "0.1",
        "--on-breach",
        "command:exit 3",
        "--events",
        "e.jsonl",
    ];
    let run = over_until_ready(&options, job).run().expect_status(7);
    assert_eq!(
        events(&run),
        [
            "started",
            "breach",
            "confirmed",
            "action_started",
            "action_failed",
            "term",
            "kill",
            "reaped",
            "exit"
        ]
    );
    let all = lines(&run, "e.jsonl");
    assert!(all[0]["pid"].is_i64());
    assert_eq!(all[1]["metric"], "gpu_temp_c");
    assert_eq!(
        (&all[1]["value"], &all[1]["threshold"]),
        (&90.0.into(), &87.0.into())
    );
    assert_eq!(all[3]["action"], "command:exit 3");
    assert_eq!(all[4]["reason"], "exit status 3");
    assert_eq!(all[8]["status"], 7);
}

#[test]
fn what_is_over_when_looked_at_again_is_said_so() {
    // Hot once; the second sample, the re-check, is not.
    let script = "while ! grep -q cleared e.jsonl; do sleep 0.01; done; exit 4";
    let options = [
        "--interval",
        "100",
        "--gpu-timeout",
        "100",
        "--events",
        "e.jsonl",
    ];
    let run = over(&[HOT, IDLE], &options, script).run().expect_status(4);
    let names = events(&run);
    assert_eq!(names[..3], ["started", "breach", "cleared"]);
    assert_eq!(names.last().unwrap(), "exit");
}

#[test]
fn power_that_stays_past_its_limit_is_a_warning_and_then_a_breach() {
    let at_cap = "449, 450, 55, 8000, 24564, 33";
    let options = [
        "--sustain",
        "0.4",
        "--interval",
        "0.1",
        "--events",
        "e.jsonl",
    ];
    let run = over(&[at_cap], &options, "sleep 100")
        .run()
        .expect_status(7);
    let all = lines(&run, "e.jsonl");
    let names = events(&run);
    assert_eq!(names[1..3], ["warning", "breach"]);
    assert_eq!(all[2]["metric"], "gpu_power_pct");
    let reason = all[2]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("it has been past its limit for 0."),
        "{reason}"
    );
}

#[test]
fn readings_are_kept_for_scrapers() {
    let run = monitor(&[IDLE])
        .args(["--metrics-file", "m.prom"])
        .run()
        .expect_status(0);
    let text = std::fs::read_to_string(run.path("m.prom")).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in [
        "gpuc_gpu_temp_c 55",
        "gpuc_watchdog_looks_total 1",
        "gpuc_watchdog_running 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    let run = over(&[HOT], &["--metrics-file", "m.prom"], "sleep 100")
        .run()
        .expect_status(7);
    let text = std::fs::read_to_string(run.path("m.prom")).unwrap();
    for line in ["gpuc_watchdog_aborted 1", "gpuc_watchdog_verdict 2"] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    assert!(text.contains("job=\"sh\""), "{text}");
    let left = std::fs::read_dir(run.dir.path()).unwrap();
    let left = left.filter(|e| {
        e.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains("tmp")
    });
    assert_eq!(left.count(), 0, "no part of a file is left");
}

#[test]
fn a_place_that_cannot_be_written_is_found_before_the_job_starts() {
    for flag in ["--events", "--metrics-file", "--log"] {
        let run = over(&[IDLE], &[flag, "no/such/folder"], "touch ran").run();
        let run = run.expect_error("IO_WRITE_FAILED");
        assert!(!run.path("ran").exists());
    }
}

#[test]
fn the_log_is_set_aside_when_it_is_full() {
    // 1 KiB: a line has several hundred bytes.
    let run = monitor(&[IDLE])
        .args(["--watch", "--max-polls", "12", "--interval", "0.05"])
        .args(["--log", "l.jsonl", "--log-size", "0.001"])
        .run()
        .expect_status(0);
    let mut looks = 0;
    for name in ["l.jsonl.3", "l.jsonl.2", "l.jsonl.1", "l.jsonl"] {
        let all = lines(&run, name);
        assert!(!all.is_empty());
        looks += all.len();
    }
    assert!(looks < 12 && !run.path("l.jsonl.4").exists());
}

#[test]
fn a_log_as_large_as_files_may_be_ends_neither_watch_nor_job() {
    // The limit is in blocks, of which none is larger than 1024 bytes; what the job inherits of
    // signals is its own.
    let job = "sleep 0.5; kill -XFSZ $$; touch done";
    let mut shell = std::process::Command::new("sh");
    let dir = tempfile::tempdir().unwrap();
    let run = shell
        .args(["-c", "ulimit -f 2; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_gpu-container-watchdog"))
        .args(["--host-mem-max", "1000", "--host-avail-min", "0"])
        .args(["run", "--interval", "0.05", "--log", "l", "--"])
        .args(["sh", "-c", job])
        .env("GPUC_NVML_LIB", "/nonexistent")
        .current_dir(&dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(said.contains("l cannot be written any more"), "{said}");
    assert_eq!(run.status.code(), Some(153), "{said}");
    assert!(!dir.path().join("done").exists());
}

#[test]
fn the_service_manager_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    let said = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut bytes = [0; 512];
        while !all.iter().any(|t: &String| t.starts_with("STOPPING=1")) {
            let n = manager.recv(&mut bytes).unwrap();
            all.push(String::from_utf8_lossy(&bytes[..n]).into_owned());
        }
        all
    });
    // The job is told of no manager; nor does it wait long enough for a look.
    let script = "test -z \"$NOTIFY_SOCKET$WATCHDOG_USEC\" || exit 9; sleep 0.3";
    over(&[IDLE], &["--interval", "100"], script)
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "100000")
        .run()
        .expect_status(0);
    let said = said.join().unwrap();
    assert!(
        said[0].starts_with("READY=1\nSTATUS=watching job "),
        "{said:?}"
    );
    assert!(
        said.iter().filter(|t| *t == "WATCHDOG=1").count() >= 2,
        "{said:?}"
    );
}

#[test]
fn a_manager_that_is_not_there_is_no_reason_to_fail() {
    for name in ["/nonexistent/notify", "@gpuc-nobody-listens-here", ""] {
        over(&[IDLE], &[], "exit 3")
            .env("NOTIFY_SOCKET", name)
            .run()
            .expect_status(3);
    }
}

#[test]
fn the_job_has_the_score_for_full_memory_that_we_were_given() {
    let ours = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let script = "cat /proc/self/oom_score_adj; cat /proc/$PPID/oom_score_adj";
    let run = over(&[IDLE], &EVENTS, script).run().expect_status(0);
    let mut scores = run.stdout.lines();
    assert_eq!(scores.next(), Some(ours.trim()));
    let reason = lines(&run, "e.jsonl")[0]["reason"].to_string();
    let guardian = if reason.contains("not spared") {
        ours.trim()
    } else {
        "-900"
    };
    assert_eq!(scores.next(), Some(guardian));
}

#[test]
fn what_we_ask_and_what_we_start_has_that_score_too() {
    let ours = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let smi = format!("#!/bin/sh\ncat /proc/self/oom_score_adj > smi\necho '{HOT}'\n");
    let docker = "#!/bin/sh\ncat /proc/self/oom_score_adj > docker\n";
    let actions = "command:cat /proc/self/oom_score_adj > sh,docker-stop:x";
    let over_job = over(&[], &["--on-breach", actions], "exec sleep 100");
    let watch = monitor(&[]).args(["--watch", "--on-breach", actions]);
    for tool in [over_job, watch] {
        let run = tool
            .on_path("nvidia-smi", &smi)
            .on_path("docker", docker)
            .run()
            .expect_status(7);
        for started in ["smi", "docker", "sh"] {
            let score = std::fs::read_to_string(run.path(started)).unwrap();
            assert_eq!(score, ours, "{started}");
        }
    }
}

#[test]
fn the_systemd_units_are_ones() {
    let units = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/systemd");
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for name in [
        "gpu-container-watchdog.service",
        "gpu-container-job@.service",
    ] {
        let text = std::fs::read_to_string(format!("{units}/{name}")).unwrap();
        // Where the package would be installed, and an instance of the template.
        let text = text.replace(
            "/usr/bin/gpu-container-watchdog",
            env!("CARGO_BIN_EXE_gpu-container-watchdog"),
        );
        let path = dir.path().join(name.replace('@', "@x"));
        std::fs::write(&path, text).unwrap();
        files.push(path);
    }
    let verify = std::process::Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&files)
        .output();
    let Ok(verify) = verify else {
        println!("skipped: no systemd-analyze");
        return;
    };
    let said = String::from_utf8_lossy(&verify.stderr).into_owned();
    let about_ours: Vec<_> = said
        .lines()
        .filter(|l| l.contains("gpu-container"))
        .collect();
    assert!(about_ours.is_empty(), "{said}");
}

#[test]
fn the_peaks_are_there_after_every_end() {
    let run = over(&[IDLE], &["--peaks-out", "p.json"], "kill -9 $$").run();
    assert_eq!(peaks(&run.expect_status(137))["ended"], "signal 9");
    let script = "kill -INT $(ps -o ppid= -p $PPID); sleep 100";
    let run = over(&[IDLE], &["--peaks-out", "p.json"], script).run();
    let run = run.expect_status(130);
    assert_eq!(peaks(&run)["ended"], "SIGINT to the watchdog");
}
