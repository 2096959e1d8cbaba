//! What all five commands keep: statuses, codes, hints, help, what they do when nobody can read.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic,
    reason = "tests only"
)]

mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::process::Command;

use serde_json::{Value, json};
use support::{Run, Tool, plans};

const COMMANDS: [&str; 5] = ["profile", "plan", "receipt", "concentration", "watchdog"];

/// A receipt of a plan whose floor is 1 tok/s.
fn receipt(rate: &str) -> Tool {
    let plan = json!({"fits": true, "verdict": "ship", "n_cpu_moe": 0, "n_moe_layers": 4,
        "floor_tok_s": 1.0, "ceiling_decode_tok_s": 50.0});
    Tool::new("receipt")
        .file("plan.json", plan.to_string())
        .args(["--plan", "plan.json", "--decode-tok-s", rate])
}

/// A look at a machine that has less memory left than is wanted, or more.
fn look(least_mib: &str) -> Tool {
    Tool::new("watchdog")
        .args(["--json", "--host-mem-max", "1000"])
        .args(["--host-avail-min", least_mib])
}

/// Each command with a document to print, and the status of its verdict: not 0 where it has one.
fn verdicts() -> Vec<(Tool, i32)> {
    let full = plans::set(plans::profile(), "/hardware/gpu/vram_free_mib", 0);
    let trace = json!({"model": "m", "num_experts": 4, "experts_per_token": 1, "n_tokens": 100,
        "layers": [{"layer_index": 0, "expert_counts": [97, 1, 1, 1]}]});
    vec![
        (Tool::new("profile").arg("--no-bench"), 0),
        (
            Tool::new("plan")
                .file("p.json", full.to_string())
                .file("c.json", plans::config().to_string())
                .args(["--profile", "p.json", "--model-config", "c.json"]),
            3,
        ),
        (receipt("0.5"), 3),
        (receipt("51"), 4),
        (
            Tool::new("concentration")
                .file("t.json", trace.to_string())
                .args(["--trace", "t.json"]),
            5,
        ),
        (look("1e12"), 7),
        (look("0"), 0),
    ]
}

#[test]
fn each_verdict_is_a_status_and_a_document() {
    for (tool, status) in verdicts() {
        assert!(tool.run().expect_status(status).json().is_object());
    }
}

#[test]
fn a_reader_that_is_gone_changes_no_verdict() {
    for (tool, status) in verdicts() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = tool.run_into(writer);
        assert_eq!(run.status, status, "{}", run.stderr);
        assert_eq!(run.code(), None, "{}", run.stderr);
    }
}

#[test]
fn a_full_disk_is_never_0() {
    for (tool, status) in verdicts() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let run = tool.run_into(full);
        // A breach outranks it: whoever waits for 7 must not miss it.
        let expected = if status == 7 { 7 } else { 2 };
        assert_eq!(run.status, expected, "{}", run.stderr);
        assert!(
            run.stderr.contains("IO_WRITE_FAILED") || status == 7,
            "{}",
            run.stderr
        );
    }
}

#[test]
fn help_has_examples_and_statuses_and_version_has_the_version() {
    let mut calls: Vec<(&str, Vec<&str>)> = COMMANDS
        .iter()
        .map(|name| (*name, vec!["--help"]))
        .collect();
    calls.push(("watchdog", vec!["run", "--help"]));
    for (name, args) in calls {
        let help = Tool::new(name).args(&args).run().expect_status(0).stdout;
        for part in ["Examples:", "Exit status", "Usage:", "  2"] {
            assert!(help.contains(part), "{name} {args:?}: {part}: {help}");
        }
        assert!(
            help.contains(&format!("  gpu-container-{name} ")),
            "an example calls {name} itself: {help}"
        );
    }
    for (name, statuses) in [
        ("profile", &[0, 2, 130][..]),
        ("plan", &[0, 2, 3]),
        ("receipt", &[0, 2, 3, 4]),
        ("concentration", &[0, 2, 5]),
        ("watchdog", &[0, 2, 5, 7, 130]),
    ] {
        let help = Tool::new(name).arg("--help").run().stdout;
        let told = help.split("Exit status").nth(1).unwrap();
        for status in statuses {
            assert!(told.contains(&format!("  {status} ")), "{status}: {help}");
        }
    }
    for name in COMMANDS {
        let version = Tool::new(name).arg("--version").run().expect_status(0);
        assert_eq!(
            version.stdout,
            format!("gpu-container-{name} {}\n", env!("CARGO_PKG_VERSION"))
        );
    }
}

#[test]
fn a_number_below_0_is_told_what_is_expected() {
    for (name, flag, expected) in [
        ("plan", "--ctx", "0 or more"),
        ("receipt", "--decode-tok-s", "0 or more"),
        ("concentration", "--coverage", "0 or more"),
        ("watchdog", "--interval", "from 0 to 86400"),
    ] {
        let run = Tool::new(name).args([flag, "-4"]).run();
        let run = run.expect_error("INPUT_USAGE");
        assert!(run.stderr.contains(expected), "{}", run.stderr);
    }
    // Those of a job are its own.
    let job = Tool::new("watchdog").args(["run", "--", "sh", "-c", "exit $1", "-", "3"]);
    job.run().expect_status(3);
}

fn tool(name: &str, args: &[&str]) -> Run {
    Tool::new(name).args(args).run()
}

#[test]
fn flags_are_written_out_and_the_last_one_counts() {
    for name in COMMANDS {
        tool(name, &["--deb"]).expect_error("INPUT_USAGE");
    }
    for (tool, status) in verdicts() {
        // The watchdog's stream goes on; its --json-out is another flag.
        if status == 7 || status == 0 {
            continue;
        }
        let run = tool.args(["-o", "a.json", "-o", "b.json"]).run();
        let run = run.expect_status(status);
        assert!(run.path("b.json").exists() && !run.path("a.json").exists());
    }
    let streams = ["--json-out", "a", "--json-out", "b"];
    let run = look("0").args(streams).run().expect_status(0);
    assert!(run.path("b").exists() && !run.path("a").exists());
}

#[test]
fn debug_keeps_the_status_and_shows_more() {
    for (name, args, code) in [
        (
            "profile",
            ["--model-config", "no"],
            "INPUT_BAD_MODEL_CONFIG",
        ),
        ("plan", ["--profile", "no"], "INPUT_BAD_PROFILE"),
        ("receipt", ["--plan", "no"], "IO_READ_FAILED"),
        ("concentration", ["--trace", "no"], "IO_TRACE_UNREADABLE"),
        ("watchdog", ["--config", "no"], "INPUT_BAD_WATCHDOG_CONFIG"),
    ] {
        let run = Tool::new(name).args(args).arg("--debug").run();
        let run = run.expect_error(code);
        assert!(run.stderr.contains("\n  debug: "), "{}", run.stderr);
    }
}

/// One way to each code that an input can meet.
fn mistakes_of_input() -> Vec<(&'static str, Run)> {
    let plan = |flags: &[&str]| plans::plan(&plans::profile(), &plans::config(), flags);
    let bench = |rows: &Value| {
        receipt("1")
            .file("b.json", rows.to_string())
            .args(["--bench", "b.json"])
            .run()
    };
    let other = json!([{"n_gen": 16, "n_prompt": 0, "avg_ts": 9.0, "n_cpu_moe": 3}]);
    let prefill = json!([{"n_gen": 0, "n_prompt": 16, "avg_ts": 9.0}]).to_string();
    let no_decode = Tool::new("receipt")
        .file("plan.json", r#"{"fits": true, "verdict": "ship"}"#)
        .file("b.json", prefill)
        .args(["--plan", "plan.json", "--bench", "b.json"]);
    let no_rows = Tool::new("receipt")
        .file("plan.json", r#"{"fits": true, "verdict": "ship"}"#)
        .file("b.json", "llama-bench: error: no model")
        .args(["--plan", "plan.json", "--bench", "b.json"]);
    vec![
        ("INPUT_USAGE", tool("plan", &["--frobnicate"])),
        ("INPUT_BAD_PROFILE", tool("plan", &["--profile", "no"])),
        (
            "INPUT_BAD_MODEL_CONFIG",
            tool("profile", &["--model-config", "no"]),
        ),
        (
            "INPUT_BAD_MODEL_FILE",
            Tool::new("plan")
                .file("p.json", plans::profile().to_string())
                .args(["--profile", "p.json", "--model", "no.gguf"])
                .run(),
        ),
        (
            "INPUT_UNKNOWN_GPU",
            tool(
                "profile",
                &["--what-if", "Voodoo 2", "--ram", "64GiB", "--ram-bw", "80"],
            ),
        ),
        ("INPUT_UNKNOWN_QUANT", plan(&["--quant", "q4_k_x"])),
        (
            "INPUT_BAD_PLAN",
            Tool::new("receipt")
                .args(["--plan", "-", "--decode-tok-s", "1"])
                .run(),
        ),
        ("INPUT_NO_BENCH_ROWS", no_rows.run()),
        ("INPUT_NO_DECODE_RATE", no_decode.run()),
        ("INPUT_BENCH_MISMATCH", bench(&other)),
        (
            "INPUT_BAD_IMATRIX",
            tool("concentration", &["--imatrix", "no"]),
        ),
    ]
}

/// One way to each code that the rig or a job can meet.
fn mistakes_of_the_rig() -> Vec<(&'static str, Run)> {
    vec![
        (
            "INPUT_BAD_WATCHDOG_CONFIG",
            tool("watchdog", &["--config", "no"]),
        ),
        (
            "INPUT_BAD_ACTION",
            tool("watchdog", &["--watch", "--on-breach", "explode"]),
        ),
        (
            "IO_TRACE_UNREADABLE",
            tool("concentration", &["--trace", "no"]),
        ),
        (
            "IO_READ_FAILED",
            tool("receipt", &["--plan", "no", "--decode-tok-s", "1"]),
        ),
        (
            "IO_WRITE_FAILED",
            receipt("1").args(["-o", "no/such/folder.json"]).run(),
        ),
        (
            "IO_COMMAND_NOT_FOUND",
            tool("watchdog", &["run", "--", "./no"]),
        ),
        (
            "IO_COMMAND_NOT_EXECUTABLE",
            Tool::new("watchdog")
                .file("plain", "")
                .args(["run", "--", "./plain"])
                .run(),
        ),
        (
            "DEP_MISSING",
            Tool::new("watchdog")
                .env("PATH", "/nonexistent")
                .args(["--watch", "--on-breach", "docker-stop:llama"])
                .run(),
        ),
        (
            "RUNTIME_EMIT_BASELINE_FAILED",
            Tool::new("profile")
                .file("p.json", plans::profile().to_string())
                .file("b.db", "no database")
                .args(["--from-profile", "p.json", "--emit-baseline"])
                .args(["--baseline-db", "b.db"])
                .run(),
        ),
    ]
}

#[test]
fn each_mistake_has_its_code_and_a_hint() {
    let mut shown = BTreeSet::new();
    for (code, run) in mistakes_of_input().into_iter().chain(mistakes_of_the_rig()) {
        // The shell's own statuses, since a job that is never started has none.
        let status = match code {
            "IO_COMMAND_NOT_FOUND" => 127,
            "IO_COMMAND_NOT_EXECUTABLE" => 126,
            _ => 2,
        };
        assert_eq!(
            (run.status, run.code()),
            (status, Some(code)),
            "{}",
            run.stderr
        );
        assert!(run.stdout.is_empty(), "{}", run.stdout);
        assert!(run.stderr.contains("\n  hint: "), "{}", run.stderr);
        shown.insert(code);
    }
    // No code of the README's table is beyond reach, but for a fault of our own.
    let table = include_str!("../README.md")
        .lines()
        .filter_map(|l| l.strip_prefix("| `")?.split_once("` | "))
        .map(|(code, _)| code)
        .filter(|code| code.contains('_') && code.to_uppercase() == *code);
    for code in table {
        assert!(
            shown.contains(code) || code == "RUNTIME_UNEXPECTED",
            "{code}"
        );
    }
}

#[test]
fn a_folder_that_is_not_there_is_no_place_for_an_output() {
    for (tool, status) in verdicts() {
        if status != 7 && status != 0 {
            tool.args(["-o", "no/such/x.json"])
                .run()
                .expect_error("IO_WRITE_FAILED");
        }
    }
    for args in [["--no-bench", "-o", "no/x"], ["--debug", "-o", "no/x"]] {
        let run = Tool::new("profile").args(args).run();
        run.expect_error("IO_WRITE_FAILED");
    }
    for flag in ["--json-out", "--log"] {
        let run = Tool::new("watchdog").args([flag, "no/x"]).run();
        run.expect_error("IO_WRITE_FAILED");
    }
}

#[test]
fn the_binaries_link_nothing_but_libc() {
    for path in [
        env!("CARGO_BIN_EXE_gpu-container-profile"),
        env!("CARGO_BIN_EXE_gpu-container-plan"),
        env!("CARGO_BIN_EXE_gpu-container-receipt"),
        env!("CARGO_BIN_EXE_gpu-container-concentration"),
        env!("CARGO_BIN_EXE_gpu-container-watchdog"),
    ] {
        let Ok(ldd) = Command::new("ldd").arg(path).output() else {
            println!("skipped: there is no ldd");
            return;
        };
        let linked = String::from_utf8(ldd.stdout).unwrap();
        for line in linked.lines() {
            let name = line.trim();
            let known = ["linux-vdso", "libc.so", "libm.so", "libgcc_s.so"];
            assert!(
                known.iter().any(|k| name.starts_with(k)) || name.contains("ld-linux"),
                "{path}: {name}"
            );
        }
    }
}
