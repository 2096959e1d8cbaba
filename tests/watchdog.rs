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
use support::Tool;
use support::watchdog::{HOT, IDLE, monitor, reports};

#[test]
fn one_look_gives_verdict_breaches_and_sample() {
    let run = monitor(&["410.00, 450.00, 55, 8000, 24564, 33"])
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
    monitor(&[IDLE]).run().expect_status(0);
    let run = monitor(&[HOT]).run().expect_status(7);
    assert!(
        run.stdout.is_empty() && run.stderr.contains("verdict: abort"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_reading_of_zero_is_a_reading() {
    let run = monitor(&["0.00, 450, 30, 0, 24564, 0"])
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
        let run = monitor(&[row]).arg("--json").run().expect_status(0);
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

/// What a number that is given may be.
#[derive(Clone, Copy)]
enum Numbers {
    /// From 0 up to here.
    UpTo(f64),
    /// The same without the 0.
    Above0UpTo(f64),
    /// Whole ones.
    Counts,
}

impl Numbers {
    fn good(self) -> Vec<String> {
        match self {
            Self::UpTo(most) => vec!["0".into(), "0.5".into(), most.to_string()],
            Self::Above0UpTo(most) => vec!["0.5".into(), most.to_string()],
            Self::Counts => vec!["0".into(), "3".into(), "99999999999".into()],
        }
    }

    fn bad(self) -> Vec<String> {
        let never = [
            "nan", "inf", "-inf", "-1", "-0.001", "1_0", "hot", "", " 4", "0x10", "1e999", "true",
        ];
        let mut all: Vec<String> = never.map(str::to_owned).to_vec();
        all.extend(match self {
            Self::UpTo(most) => vec![(most * 1.01).to_string(), "1e300".into()],
            Self::Above0UpTo(most) => vec!["0".into(), (most * 1.01).to_string()],
            Self::Counts => vec!["0.5".into(), "1e3".into(), "99999999999999999999".into()],
        });
        all
    }
}

const PCT: Numbers = Numbers::UpTo(1000.0);
const MIB: Numbers = Numbers::UpTo(1099511627776.0);
const SECONDS: Numbers = Numbers::UpTo(86400.0);
const SOME_SECONDS: Numbers = Numbers::Above0UpTo(86400.0);

#[test]
fn limits_that_are_no_limits_are_refused() {
    let flags = [
        ("--power-max", PCT),
        ("--temp-max", PCT),
        ("--vram-max", PCT),
        ("--host-mem-max", PCT),
        ("--host-avail-min", MIB),
        ("--swap-max", PCT),
        ("--psi-max", PCT),
        ("--cgroup-mem-max", PCT),
        ("--job-vram-max", MIB),
        ("--job-vram", MIB),
        ("--job-rss-max", MIB),
        ("--job-rss", MIB),
        ("--warn-fraction", Numbers::UpTo(1.0)),
        ("--interval", SECONDS),
        ("--sustain", SECONDS),
        ("--gpu-timeout", SOME_SECONDS),
        ("--action-timeout", SOME_SECONDS),
        ("--blind-polls", Numbers::Counts),
        ("--log-size", MIB),
        ("run --grace", SECONDS),
        ("run --memory-max", Numbers::Above0UpTo(1099511627776.0)),
        ("--watch --max-polls", Numbers::Counts),
    ];
    for (flag, numbers) in flags {
        let (place, flag) = flag.rsplit_once(' ').unwrap_or(("run", flag));
        let given = |value: &str| {
            let tool = monitor(&[IDLE]).args(["--dry-run", place, &format!("{flag}={value}")]);
            let job: &[&str] = if place == "run" { &["true"] } else { &[] };
            tool.args(job).run()
        };
        for value in numbers.bad() {
            let run = given(&value).expect_error("INPUT_USAGE");
            assert!(run.stderr.contains("expected a"), "{flag}: {}", run.stderr);
        }
        for value in numbers.good() {
            given(&value).expect_status(0);
        }
    }
}

#[test]
fn a_repeated_flag_counts_as_given_last_and_none_is_abbreviated() {
    monitor(&[IDLE])
        .args(["--temp-max", "50", "--temp-max", "99"])
        .run()
        .expect_status(0);
    monitor(&[IDLE])
        .args(["--temp", "50"])
        .run()
        .expect_error("INPUT_USAGE");
}

#[test]
fn a_thresholds_file_lies_under_the_flags() {
    let config = r#"{"_comment": "x", "gpu_temp_c_max": 50}"#;
    monitor(&[IDLE])
        .file("w.json", config)
        .args(["--config", "w.json"])
        .run()
        .expect_status(7);
    monitor(&[IDLE])
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
    monitor(&[IDLE])
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
        monitor(&[IDLE])
            .file("w.json", text)
            .args(["--json", "--config", "w.json"])
            .run()
            .expect_error("INPUT_BAD_WATCHDOG_CONFIG");
    }
    let missing = ["--config", "missing.json"];
    monitor(&[IDLE])
        .args(missing)
        .run()
        .expect_error("INPUT_BAD_WATCHDOG_CONFIG");
}

#[test]
fn only_known_keys_count_and_a_near_miss_is_said() {
    for key in ["to_dict", "__class__"] {
        let text = format!("{{\"{key}\": 1}}");
        let run = monitor(&[IDLE])
            .file("w.json", text)
            .args(["--config", "w.json"])
            .run();
        let run = run.expect_status(0);
        assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    }
    let text = r#"{"gpu_temp_max": 40}"#;
    let run = monitor(&[IDLE])
        .file("w.json", text)
        .args(["--config", "w.json"])
        .run();
    let run = run.expect_status(0);
    assert!(run.stderr.contains("gpu_temp_c_max"), "{}", run.stderr);
}

#[test]
fn the_example_names_every_key_with_its_default_under_run() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/watchdog.example.json");
    let text = std::fs::read(example).unwrap();
    let document: Value = serde_json::from_slice(&text).unwrap();
    let config = gpuc_core::safety::config(&text).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    for limit in gpuc_core::safety::Limit::ALL {
        assert!(config.limits.has(limit), "{limit:?}");
    }
    let printed = |args: &[&str]| {
        let tool = monitor(&[IDLE]).arg("--print-config").args(args);
        tool.run().expect_status(0).json()
    };
    let (with, without) = (printed(&["--config", example, "run"]), printed(&["run"]));
    for (key, limit) in without["limits"].as_object().unwrap() {
        assert_eq!(limit["value"], with["limits"][key]["value"], "{key}");
        if limit["from"] == "default" {
            assert_eq!(limit["value"], document[key], "{key}");
        }
    }
    let sustain = json!({"power_pct_max": {"value": 10.0, "from": "default"}});
    assert_eq!(
        (&with["sustain_s"], &without["sustain_s"]),
        (&sustain, &sustain)
    );
    // A monitor does not watch a job.
    let once = printed(&[]);
    assert_eq!(once["limits"]["cgroup_mem_pct_max"]["value"], Value::Null);
    assert_eq!(once["sustain_s"], json!({}));
}

#[test]
fn print_config_says_where_each_limit_comes_from() {
    let plan = r#"{"fits": true, "verdict": "ship", "vram_used_mib": 10000, "ram_used_mib": 0,
                   "llama_flags": "--no-mmap"}"#;
    let run = monitor(&[HOT])
        .file("plan.json", plan)
        .file(
            "w.json",
            r#"{"swap_pct_max": 50, "job_rss_mib_max": 9, "gpu_temp_c_max": 70}"#,
        )
        .args([
            "--swap-max",
            "60",
            "--print-config",
            "run",
            "--config",
            "w.json",
        ])
        .args(["--plan", "plan.json", "--temp-max", "60"])
        .run()
        .expect_status(0);
    let limits = &run.json()["limits"];
    for (key, value, from) in [
        ("gpu_temp_c_max", json!(60.0), "flag"),
        ("swap_pct_max", json!(60.0), "flag"),
        ("job_rss_mib_max", json!(9.0), "file"),
        ("job_vram_mib_max", json!(11500.0), "plan"),
        ("cgroup_mem_pct_max", json!(95.0), "default"),
        ("psi_full_avg10_max", Value::Null, "default"),
    ] {
        assert_eq!(limits[key]["value"], value, "{key}");
        assert_eq!(limits[key]["from"], from, "{key}");
    }
    assert!(run.stderr.is_empty(), "{}", run.stderr);
}

/// Everything of what `--print-config` prints but where it came from.
fn in_force(mut printed: Value) -> Value {
    let document = printed.as_object_mut().unwrap();
    for of in ["config", "plan", "pid"] {
        document.remove(of);
    }
    let bare = |value: &mut Value| *value = value["value"].take();
    for (key, value) in document {
        match key.as_str() {
            "mode" => {}
            "limits" | "sustain_s" => value.as_object_mut().unwrap().values_mut().for_each(bare),
            _ => bare(value),
        }
    }
    printed
}

#[test]
fn what_print_config_prints_can_be_read_and_is_the_same() {
    let flags = "--power-max 90 --temp-max 80 --vram-max 97 --swap-max 40 --psi-max 30 \
                 --cgroup-mem-max 85 --job-vram 7000 --job-rss 8000 --warn-fraction 0.8 \
                 --interval 0.01 --sustain 4 --gpu-timeout 2.5 --action-timeout 7 --blind-polls 5 \
                 --on-breach command:echo\u{a0}x,kill-job --log l --log-size 3 --events e \
                 --metrics-file m.prom --json-out j --grace 1.5 --cgroup auto --memory-max 4096 \
                 --peaks-out p --svg s.svg";
    let file = r#"{"sustain_s": {"psi_full_avg10_max": 9}, "job_rss_mib_max": 1, "grace_s": 99}"#;
    let printed = |tool: Tool, args: &str| {
        let run = tool
            .arg("--print-config")
            .args(args.split_whitespace())
            .run();
        let run = run.expect_status(0);
        assert!(run.stderr.is_empty(), "{}", run.stderr);
        run.json()
    };
    // The shell's words are parted by spaces, the command's by one that does not break.
    let flags = flags
        .split(' ')
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>();
    let tool = monitor(&[])
        .file("w.json", file)
        .args(["--print-config", "run", "--config", "w.json"])
        .args(flags);
    let all = tool.run().expect_status(0).json();
    for (key, value, from) in [
        ("interval_s", json!(0.05), "flag"),
        ("on_breach", json!("command:echo\u{a0}x,kill-job"), "flag"),
        ("memory_max_mib", json!(4096.0), "flag"),
        ("grace_s", json!(1.5), "flag"),
    ] {
        assert_eq!(
            (&all[key]["value"], &all[key]["from"]),
            (&value, &from.into()),
            "{key}"
        );
    }
    // Whatever there is, every key of the file is in it.
    for key in gpuc_core::safety::Setting::ALL.map(gpuc_core::safety::Setting::key) {
        assert!(key == "max_polls" || all[key].is_object(), "{key}: {all}");
    }
    let again = Tool::new("watchdog").file("all.json", all.to_string());
    let again = printed(again, "run --config all.json");
    for (key, entry) in again.as_object().unwrap() {
        assert!(entry.get("from").is_none_or(|from| from == "file"), "{key}");
    }
    assert_eq!(in_force(again), in_force(all));
    // Defaults too, and on standard input.
    for mode in ["run", "--watch", ""] {
        let first = printed(Tool::new("watchdog"), mode);
        let second = Tool::new("watchdog").stdin(first.to_string());
        let second = printed(second, &format!("--config - {mode}"));
        assert_eq!(in_force(first), in_force(second), "{mode}");
    }
}

#[test]
fn a_file_can_set_what_flags_set() {
    let file = r#"{"on_breach": "command:touch fired", "log": "l.jsonl", "interval_s": 0.1,
                   "max_polls": 2.0, "events": {"value": "e.jsonl"}, "metrics_file": "m.prom",
                   "json_out": "j.jsonl", "blind_polls": 1}"#;
    let tool = |rows: &[&str]| {
        monitor(rows)
            .file("w.json", file)
            .args(["--config", "w.json"])
    };
    let run = tool(&[IDLE]).arg("--watch").run().expect_status(0);
    for (name, looks) in [("l.jsonl", 2), ("j.jsonl", 2), ("e.jsonl", 2)] {
        let text = std::fs::read_to_string(run.path(name)).unwrap();
        assert_eq!(text.lines().count(), looks, "{name}: {text}");
    }
    assert!(run.path("m.prom").exists());
    let run = tool(&[HOT]).arg("--watch").run().expect_status(7);
    assert!(run.path("fired").exists());
    // One look only reports.
    let run = tool(&[HOT]).run().expect_status(7);
    assert!(!run.path("fired").exists());
    // A flag goes over it.
    let run = tool(&[HOT]).args(["--watch", "--on-breach", "alert"]).run();
    assert!(!run.expect_status(7).path("fired").exists());
    let run = monitor(&[HOT])
        .file(
            "w.json",
            r#"{"peaks_out": "p.json", "grace_s": 0, "cgroup": "off"}"#,
        )
        .args(["--config", "w.json", "run", "--", "sh", "-c"])
        .arg("trap '' TERM; while :; do sleep 0.1; done")
        .run()
        .expect_status(7);
    let peaks = std::fs::read_to_string(run.path("p.json")).unwrap();
    assert!(peaks.contains("killed after the grace period"), "{peaks}");
    for (file, code, said) in [
        (
            r#"{"on_breach": "kill-job"}"#,
            "INPUT_BAD_ACTION",
            "w.json: ",
        ),
        (
            r#"{"interval_s": "1"}"#,
            "INPUT_BAD_WATCHDOG_CONFIG",
            "from 0 to 86400",
        ),
        (r#"{"log": "no/folder/l"}"#, "IO_WRITE_FAILED", "no/folder"),
    ] {
        let run = monitor(&[HOT]).file("w.json", file);
        let run = run.args(["--watch", "--config", "w.json"]).run();
        let run = run.expect_error(code);
        assert!(run.stderr.contains(said), "{}", run.stderr);
    }
}

#[test]
fn a_plan_that_gives_no_limits_is_refused() {
    for (plan, said) in [
        ("{", "is no plan"),
        (r#"{"fits": false, "verdict": "refuse"}"#, "refusal"),
        (r#"{"fits": true, "verdict": "ship"}"#, "vram_used_mib"),
    ] {
        let tool = monitor(&[IDLE]).file("plan.json", plan);
        let run = tool.args(["--plan", "plan.json", "run", "true"]).run();
        let run = run.expect_error("INPUT_BAD_PLAN");
        assert!(
            run.stderr.contains("plan.json") && run.stderr.contains(said),
            "{}",
            run.stderr
        );
    }
    let missing = monitor(&[IDLE]).args(["--plan", "plan.json", "run", "true"]);
    missing.run().expect_error("INPUT_BAD_PLAN");
}

#[test]
fn limits_of_a_job_need_one() {
    for args in [
        ["--job-vram", "1"],
        ["--job-rss-max", "1"],
        ["--plan", "plan.json"],
    ] {
        let run = monitor(&[IDLE]).args(args).run();
        let run = run.expect_error("INPUT_USAGE");
        assert!(run.stderr.contains("--pid"), "{}", run.stderr);
    }
}

#[test]
fn a_process_that_cannot_be_watched_is_refused() {
    for pid in ["4194305", "0", "-1", "x", "99999999999", "1.5"] {
        for mode in ["--watch", "--dry-run", "--json"] {
            let run = monitor(&[IDLE]).args([mode, &format!("--pid={pid}")]).run();
            run.expect_error("INPUT_USAGE");
        }
    }
    let run = monitor(&[IDLE]).args(["--pid", "1", "run", "true"]).run();
    run.expect_error("INPUT_USAGE");
    let script = "exec \"$0\" --watch --pid $$";
    let ourselves = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_gpu-container-watchdog")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ourselves.stderr);
    assert!(
        said.contains("INPUT_USAGE") && said.contains("itself"),
        "{said}"
    );
}

#[test]
fn a_bad_limit_is_named_with_its_file() {
    for (text, said) in [
        (
            r#"{"gpu_temp_c_max": 2000}"#,
            "gpu_temp_c_max must be a number from 0 to 1000; it is 2000",
        ),
        (
            r#"{"warn_fraction": 1.5}"#,
            "warn_fraction must be a number from 0 to 1",
        ),
        (
            r#"{"swap_pct_max": "x"}"#,
            "swap_pct_max must be a number from 0 to 1000, or null",
        ),
        (
            r#"{"sustain_s": {"vram_pct_max": -1}}"#,
            "sustain_s.vram_pct_max",
        ),
    ] {
        let tool = monitor(&[IDLE]).file("w.json", text);
        let run = tool.args(["--config", "w.json"]).run();
        let run = run.expect_error("INPUT_BAD_WATCHDOG_CONFIG");
        assert!(
            run.stderr.contains("w.json: ") && run.stderr.contains(said),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn any_metric_can_be_given_a_duration() {
    let config = r#"{"gpu_temp_c_max": 80, "sustain_s": {"gpu_temp_c_max": 1000}}"#;
    let run = monitor(&[HOT])
        .file("w.json", config)
        .args(["--config", "w.json", "--json"])
        .run()
        .expect_status(5);
    assert_eq!(run.json()["breaches"][0]["level"], "warn");
}

#[test]
fn a_watch_ends_at_a_breach_or_after_its_looks() {
    let run = monitor(&[IDLE, HOT])
        .args(["--watch", "--json", "--interval", "0.5"])
        .run();
    assert_eq!(reports(&run.expect_status(7)).len(), 2);
    let two = ["--watch", "--json", "--interval", "0", "--max-polls", "2"];
    let run = monitor(&["120, 450, 80, 8000, 24564, 33", IDLE])
        .args(two)
        .run();
    assert_eq!(reports(&run.expect_status(0)).len(), 2);
}

#[test]
fn the_log_is_appended_to_and_checked_first() {
    let run = monitor(&[HOT])
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
        monitor(&[IDLE])
            .args(["--json", flag, "no/t.jsonl"])
            .run()
            .expect_error("IO_WRITE_FAILED");
    }
}

#[test]
fn a_full_disk_is_no_ok() {
    let full = ["--log", "/dev/full"];
    monitor(&[IDLE])
        .args(full)
        .run()
        .expect_error("IO_WRITE_FAILED");
    // A verdict that is bad already keeps its status.
    monitor(&[HOT]).args(full).run().expect_status(7);
}

#[test]
fn a_report_stream_in_a_file_is_one_report_a_line() {
    let run = monitor(&[IDLE])
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
fn nvml_is_asked_first() {
    let dir = tempfile::tempdir().unwrap();
    let readings = "POWER_MW=95000\nLIMIT_MW=170000\nTEMP_C=88\n";
    let Some(library) = support::nvml::stand_in(dir.path(), &[], readings) else {
        return;
    };
    let run = monitor(&[IDLE])
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
