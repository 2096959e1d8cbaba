//! gpu-container-watchdog as a monitor: verdicts, limits, outputs, and what it refuses.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod support;

use serde_json::{Value, json};
use support::{Run, Tool, nvidia_smi};

const IDLE: &str = "120.00, 450.00, 55, 8000, 24564, 33";
const HOT: &str = "120, 450, 90, 8000, 24564, 33";

/// A watchdog for which host memory is no concern, beside GPUs that print these rows in turn.
fn watchdog(rows: &[&str]) -> Tool {
    Tool::new("watchdog")
        .on_path("nvidia-smi", &nvidia_smi(rows))
        .args(["--host-mem-max", "1000", "--host-avail-min", "0"])
}

fn reports(run: &Run) -> Vec<Value> {
    let stream = serde_json::Deserializer::from_str(&run.stdout).into_iter();
    stream.map(Result::unwrap).collect()
}

#[test]
fn one_look_gives_verdict_breaches_and_sample() {
    let run = watchdog(&["410.00, 450.00, 55, 8000, 24564, 33"])
        .arg("--json")
        .run()
        .expect_status(5);
    let report = run.json();
    assert_eq!(report["verdict"], "warn");
    assert_eq!(
        report["breaches"],
        json!([{"metric": "gpu_power_pct", "value": 91.1, "threshold": 85.5, "level": "warn"}])
    );
    assert_eq!(report["sample"]["gpu_vram_pct"], 32.6);
    assert_eq!(report["action_taken"], Value::Null);
    watchdog(&[IDLE]).run().expect_status(0);
    let run = watchdog(&[HOT]).run().expect_status(7);
    assert!(
        run.stdout.is_empty() && run.stderr.contains("verdict: abort"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_reading_of_zero_is_a_reading() {
    let run = watchdog(&["0.00, 450, 30, 0, 24564, 0"])
        .arg("--json")
        .run()
        .expect_status(0);
    let s = &run.json()["sample"];
    assert_eq!(s["gpu_power_w"], 0.0);
    assert_eq!(s["gpu_power_pct"], 0.0);
    assert_eq!(s["gpu_vram_used_mib"], 0.0);
    assert_eq!(s["gpu_vram_pct"], 0.0);
}

#[test]
fn what_only_looks_like_a_number_is_missing_with_its_reason() {
    for row in [
        "1_20, 450, nan, 8000, 24564, 5",
        "120 W, 450 W, inf, 8000, 24564, 5",
    ] {
        let run = watchdog(&[row]).arg("--json").run().expect_status(0);
        let s = &run.json()["sample"];
        assert_eq!(
            (&s["gpu_power_pct"], &s["gpu_temp_c"]),
            (&Value::Null, &Value::Null),
            "{row}"
        );
        assert_eq!(s["gpu_vram_pct"], 32.6, "{row}");
        assert!(
            s["notes"].to_string().contains("temperature"),
            "{row}: {}",
            s["notes"]
        );
    }
}

#[test]
fn limits_that_are_no_limits_are_refused() {
    for flag in [
        "--power-max",
        "--temp-max",
        "--vram-max",
        "--host-mem-max",
        "--host-avail-min",
        "--warn-fraction",
        "--interval",
        "--gpu-timeout",
        "--blind-polls",
    ] {
        for value in ["nan", "inf", "-1", "1_0", "hot", "", "1e999"] {
            watchdog(&[IDLE])
                .arg(format!("{flag}={value}"))
                .run()
                .expect_error("INPUT_USAGE");
        }
    }
    watchdog(&[IDLE])
        .args(["--watch", "--max-polls=-1"])
        .run()
        .expect_error("INPUT_USAGE");
}

#[test]
fn a_repeated_flag_counts_as_given_last_and_none_is_abbreviated() {
    watchdog(&[IDLE])
        .args(["--temp-max", "50", "--temp-max", "99"])
        .run()
        .expect_status(0);
    watchdog(&[IDLE])
        .args(["--temp", "50"])
        .run()
        .expect_error("INPUT_USAGE");
}

#[test]
fn a_thresholds_file_lies_under_the_flags() {
    let config = r#"{"_comment": "x", "gpu_temp_c_max": 50}"#;
    watchdog(&[IDLE])
        .file("w.json", config)
        .args(["--config", "w.json"])
        .run()
        .expect_status(7);
    watchdog(&[IDLE])
        .file("w.json", config)
        .args(["--config", "w.json", "--temp-max", "60"])
        .run()
        .expect_status(5);
}

#[test]
fn a_thresholds_file_may_be_what_powershell_writes() {
    let utf16: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(r#"{"gpu_temp_c_max": 50}"#.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    watchdog(&[IDLE])
        .file("w.json", utf16)
        .args(["--config", "w.json"])
        .run()
        .expect_status(7);
}

#[test]
fn a_thresholds_file_that_is_none_is_bad_input() {
    let files = [
        "",
        "[]",
        "null",
        "{",
        r#"{"gpu_temp_c_max": null}"#,
        r#"{"gpu_temp_c_max": "hot"}"#,
        r#"{"gpu_temp_c_max": NaN}"#,
        r#"{"warn_fraction": -1}"#,
        r#"{"vram_pct_max": true}"#,
    ];
    for text in files {
        watchdog(&[IDLE])
            .file("w.json", text)
            .args(["--json", "--config", "w.json"])
            .run()
            .expect_error("INPUT_BAD_WATCHDOG_CONFIG");
    }
    let missing = ["--config", "missing.json"];
    watchdog(&[IDLE])
        .args(missing)
        .run()
        .expect_error("INPUT_BAD_WATCHDOG_CONFIG");
}

#[test]
fn only_the_six_keys_count_and_a_near_miss_is_said() {
    for key in ["to_dict", "__class__"] {
        let text = format!("{{\"{key}\": 1}}");
        let run = watchdog(&[IDLE])
            .file("w.json", text)
            .args(["--config", "w.json"])
            .run();
        let run = run.expect_status(0);
        assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    }
    let text = r#"{"gpu_temp_max": 40}"#;
    let run = watchdog(&[IDLE])
        .file("w.json", text)
        .args(["--config", "w.json"])
        .run();
    let run = run.expect_status(0);
    assert!(run.stderr.contains("gpu_temp_c_max"), "{}", run.stderr);
}

#[test]
fn the_example_names_every_key_with_its_default() {
    let text = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/watchdog.example.json"
    ))
    .unwrap();
    let (limits, warnings) = gpuc_core::safety::config(&text).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let defaults = gpuc_core::document::Thresholds::default();
    let far = gpuc_core::document::Thresholds {
        power_pct_max: 0.0,
        gpu_temp_c_max: 0.0,
        vram_pct_max: 0.0,
        host_mem_pct_max: 0.0,
        host_avail_mib_min: 0.0,
        warn_fraction: 0.0,
    };
    assert_eq!(limits.over(far), defaults);
}

#[test]
fn an_action_that_cannot_be_carried_out_is_refused_at_the_start() {
    let bad = [
        "frobnicate",
        "kill-job",
        "kill:-1",
        "kill:0",
        "kill:1",
        "kill:",
        "docker-stop:",
        "docker-stop:--all",
        "command:",
        "Alert",
    ];
    for action in bad {
        let run = watchdog(&[HOT])
            .args(["--json", "--watch", "--on-breach", action])
            .run();
        run.expect_error("INPUT_BAD_ACTION");
    }
    // Alone, one look carries nothing out, so it does not pretend to.
    let run = watchdog(&[HOT])
        .args(["--on-breach", "command:touch fired.txt"])
        .run();
    let run = run.expect_error("INPUT_BAD_ACTION");
    assert!(!run.path("fired.txt").exists());
    watchdog(&[HOT])
        .args(["--on-breach", "alert"])
        .run()
        .expect_status(7);
    watchdog(&[HOT])
        .args(["--watch", "--on-breach", ""])
        .run()
        .expect_status(7);
}

#[test]
fn a_process_that_is_not_there_cannot_be_guarded() {
    // Beyond what the kernel gives out.
    let run = watchdog(&[HOT])
        .args(["--watch", "--on-breach", "kill:4194305"])
        .run();
    run.expect_error("INPUT_BAD_ACTION");
}

#[test]
fn a_missing_tool_is_found_out_before_the_breach() {
    let run = watchdog(&[HOT]).env("PATH", "/nonexistent");
    run.args(["--watch", "--on-breach", "docker-stop:llama"])
        .run()
        .expect_error("DEP_MISSING");
}

#[test]
fn a_breach_carries_the_action_out() {
    let run = watchdog(&[HOT]).args([
        "--watch",
        "--json",
        "--on-breach",
        "command:echo x; touch f",
    ]);
    let run = run.run().expect_status(7);
    assert!(run.path("f").exists());
    assert_eq!(
        reports(&run).len(),
        1,
        "the action's output stays out of the report stream"
    );
}

#[test]
fn an_action_that_failed_is_not_reported_as_done() {
    let run = watchdog(&[HOT]).on_path("docker", "#!/bin/sh\nexit 1\n");
    let run = run
        .args(["--watch", "--on-breach", "docker-stop:llama"])
        .run()
        .expect_status(7);
    assert!(
        run.stderr.contains("docker-stop:llama FAILED"),
        "{}",
        run.stderr
    );
    let run = watchdog(&[HOT])
        .args(["--watch", "--on-breach", "command:exit 3"])
        .run();
    let run = run.expect_status(7);
    assert!(run.stderr.contains("FAILED"), "{}", run.stderr);
    let run = watchdog(&[HOT]).on_path("docker", "#!/bin/sh\necho \"$@\" > called\n");
    let run = run
        .args(["--watch", "--on-breach", "docker-stop:llama"])
        .run()
        .expect_status(7);
    assert_eq!(
        std::fs::read_to_string(run.path("called")).unwrap(),
        "stop llama\n"
    );
    assert!(
        run.stderr.contains("docker-stop:llama: done"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_named_process_is_stopped() {
    // One that ends when asked, and one that does not; both unreaped while the watchdog looks.
    for (script, word) in [
        ("exec sleep 100", "ended"),
        ("trap '' TERM; echo; read x", "killed"),
    ] {
        let mut victim = std::process::Command::new("sh")
            .args(["-c", &format!("echo; {script}")])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        if word == "killed" {
            // The second line comes when the trap is set.
            use std::io::Read as _;
            victim
                .stdout
                .as_mut()
                .unwrap()
                .read_exact(&mut [0; 2])
                .unwrap();
        }
        let action = format!("kill:{}", victim.id());
        let run = watchdog(&[HOT])
            .args(["--watch", "--on-breach", &action])
            .run();
        let run = run.expect_status(7);
        assert!(run.stderr.contains(word), "{}", run.stderr);
        assert!(!victim.wait().unwrap().success());
    }
}

#[test]
fn a_watch_ends_at_a_breach_or_after_its_looks() {
    let run = watchdog(&[IDLE, HOT])
        .args(["--watch", "--json", "--interval", "0.5"])
        .run();
    assert_eq!(reports(&run.expect_status(7)).len(), 2);
    let two = ["--watch", "--json", "--interval", "0", "--max-polls", "2"];
    let run = watchdog(&["120, 450, 80, 8000, 24564, 33", IDLE])
        .args(two)
        .run();
    assert_eq!(reports(&run.expect_status(0)).len(), 2);
}

#[test]
fn the_log_is_appended_to_and_checked_first() {
    let run = watchdog(&[HOT])
        .file("t.jsonl", "{\"old\": 1}\n")
        .args(["--log", "t.jsonl"])
        .run();
    let run = run.expect_status(7);
    let text = std::fs::read_to_string(run.path("t.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["verdict"], "abort");
    assert_eq!(lines[1]["breaches"][0]["metric"], "gpu_temp_c");
    let t = lines[1]["t"].as_str().unwrap();
    assert!(t.len() == 24 && t.ends_with('Z'), "{t}");
    for flag in ["--log", "--json-out"] {
        watchdog(&[IDLE])
            .args(["--json", flag, "no/t.jsonl"])
            .run()
            .expect_error("IO_WRITE_FAILED");
    }
}

#[test]
fn a_full_disk_is_no_ok() {
    let full = ["--log", "/dev/full"];
    watchdog(&[IDLE])
        .args(full)
        .run()
        .expect_error("IO_WRITE_FAILED");
    // A verdict that is bad already keeps its status.
    watchdog(&[HOT]).args(full).run().expect_status(7);
}

#[test]
fn a_report_stream_in_a_file_is_one_report_a_line() {
    let run = watchdog(&[IDLE])
        .args(["--json-out", "r.jsonl"])
        .run()
        .expect_status(0);
    assert!(run.stdout.is_empty());
    let text = std::fs::read_to_string(run.path("r.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap()["verdict"],
        "ok"
    );
}

#[test]
fn gpus_that_never_answered_are_a_note() {
    let silent = [
        Tool::new("watchdog").env("PATH", "/nonexistent"),
        watchdog(&["exit"]),
        watchdog(&[""]),
        watchdog(&["[N/A], [N/A], [N/A], [N/A], [N/A], [N/A]"]),
    ];
    for tool in silent {
        let polls = ["--watch", "--max-polls", "2", "--interval", "0.5", "--json"];
        let limits = [
            "--host-mem-max",
            "1000",
            "--host-avail-min",
            "0",
            "--blind-polls",
            "1",
        ];
        let run = tool.args(polls).args(limits).run().expect_status(0);
        for report in reports(&run) {
            assert_eq!(report["verdict"], "ok");
            assert!(
                !report["sample"]["notes"].as_array().unwrap().is_empty(),
                "{report}"
            );
        }
    }
}

#[test]
fn gpus_that_answered_and_then_fail_are_a_warning() {
    for gone in ["exit", "", "[N/A], [N/A], [N/A], [N/A], [N/A], [N/A]"] {
        let run = watchdog(&[IDLE, gone])
            .args(["--watch", "--max-polls", "5", "--interval", "0.5", "--json"])
            .run()
            .expect_status(5);
        let all = reports(&run);
        assert_eq!(all.len(), 5, "alone, an alert has nothing to abort");
        assert_eq!(all[1]["breaches"][0]["metric"], "gpu_blind_polls");
        assert_eq!(all[4]["breaches"][0]["value"], 4.0);
    }
}

#[test]
fn a_watch_that_guards_something_aborts_when_blind() {
    let run = watchdog(&[IDLE, "exit"])
        .args([
            "--watch",
            "--interval",
            "0.5",
            "--json",
            "--blind-polls",
            "2",
        ])
        .args(["--on-breach", "command:touch fired.txt"])
        .run()
        .expect_status(7);
    assert!(run.path("fired.txt").exists());
    assert_eq!(reports(&run).len(), 3);
}

#[test]
fn nvml_is_asked_first() {
    let dir = tempfile::tempdir().unwrap();
    let readings = "POWER_MW=95000\nLIMIT_MW=170000\nTEMP_C=88\n";
    let Some(library) = support::nvml::stand_in(dir.path(), &[], readings) else {
        return;
    };
    let run = watchdog(&[IDLE])
        .env("GPUC_NVML_LIB", library)
        .arg("--json")
        .run()
        .expect_status(7);
    let report = run.json();
    assert_eq!(report["sample"]["gpu_temp_c"], 88.0);
    assert_eq!(report["sample"]["gpu_power_pct"], 55.9);
}

#[test]
fn help_names_the_exit_statuses() {
    for args in [&["--help"][..], &["run", "--help"]] {
        let run = Tool::new("watchdog").args(args).run().expect_status(0);
        assert!(run.stdout.contains("Exit status") && run.stdout.contains("130"));
    }
    Tool::new("watchdog")
        .arg("walk")
        .run()
        .expect_error("INPUT_USAGE");
}
