//! `gpu-container-watchdog run --plan` without a command launches the plan.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use serde_json::{Value, json};
use support::{Run, Tool};

const FLAGS: &str =
    r#"-ngl 99 --n-cpu-moe 5 -c 4096 -fa on -ot "blk\.(7)\.ffn_(up|down)_exps=CPU""#;

fn plan(more: &Value) -> String {
    let mut plan = json!({
        "fits": true, "verdict": "ship", "llama_flags": FLAGS, "vram_used_mib": 1000.0,
        "ram_used_mib": 100000.0,
    });
    plan.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    plan.to_string()
}

/// Runs the watchdog with a stand-in llama-server that prints its arguments, one a line.
fn run(plan: &str, args: &[&str]) -> Run {
    Tool::new("watchdog")
        .on_path("llama-server", "#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
        .file("plan.json", plan)
        .file("my model.gguf", "x")
        .args(["--on-breach", "alert", "run", "--plan", "plan.json"])
        .args(args)
        .run()
}

fn launched(run: &Run) -> Vec<&str> {
    run.stdout.lines().collect()
}

#[test]
fn the_plan_is_launched_with_its_own_weights() {
    let run = run(&plan(&json!({"model_file": "my model.gguf"})), &[]).expect_status(0);
    let want = [
        "-m",
        "my model.gguf",
        "-ngl",
        "99",
        "--n-cpu-moe",
        "5",
        "-c",
        "4096",
        "-fa",
        "on",
        "-ot",
        r"blk\.(7)\.ffn_(up|down)_exps=CPU",
        "-np",
        "1",
        "-fit",
        "off",
    ];
    assert_eq!(launched(&run), want);
    let line = run
        .stderr
        .lines()
        .find(|l| l.starts_with("watchdog: launch: "));
    assert!(
        line.unwrap().contains("-m 'my model.gguf' -ngl 99"),
        "{}",
        run.stderr
    );
}

#[test]
fn weights_and_further_flags_can_be_given() {
    let elsewhere = plan(&json!({"model_file": "/moved/away.gguf"}));
    let args = ["--model", "my model.gguf", "--", "--port", "8081", "a b"];
    let given = run(&elsewhere, &args).expect_status(0);
    let words = launched(&given);
    assert_eq!(words[..2], ["-m", "my model.gguf"]);
    assert_eq!(words[words.len() - 3..], ["--port", "8081", "a b"]);

    let repo = run(&plan(&json!({"model_repo": "user/name:q4_k_m"})), &[]).expect_status(0);
    assert_eq!(launched(&repo)[..2], ["-hf", "user/name:q4_k_m"]);

    // A command of one's own is run as it stands, under the plan's limits.
    let own = run(&elsewhere, &["--", "echo", "own"]).expect_status(0);
    assert_eq!(own.stdout, "own\n");
}

#[test]
fn what_cannot_be_launched_is_found_before_anything_starts() {
    let moved = json!({"model_file": "/moved/away.gguf"});
    let here = json!({"model_file": "my model.gguf"});
    let mut foreign = here.clone();
    foreign["llama_flags"] = json!("-ngl 99 --tools all");
    let mut refused = here.clone();
    refused["verdict"] = json!("refuse");
    let cases: [(&Value, &[&str], &str); 5] = [
        (&json!({}), &[], "INPUT_USAGE"),
        (&moved, &[], "INPUT_BAD_MODEL_FILE"),
        (&foreign, &[], "INPUT_BAD_PLAN"),
        (&refused, &[], "INPUT_BAD_PLAN"),
        (
            &here,
            &["--model", "my model.gguf", "--", "echo"],
            "INPUT_USAGE",
        ),
    ];
    for (more, args, code) in cases {
        let run = run(&plan(more), args).expect_status(2);
        assert_eq!(
            (run.code(), run.stdout.as_str()),
            (Some(code), ""),
            "{more} {args:?}"
        );
        assert!(run.stderr.contains("hint: "), "{}", run.stderr);
    }
}

/// What is planned from a weights file is launched as it was planned, whatever its name.
#[test]
fn a_plan_that_was_just_made_is_launched() {
    let dir = tempfile::tempdir().unwrap();
    let model = support::headers::model(dir.path(), "qwen3-30b-a3b.Q4_K_M");
    let out = dir.path().join("plan.json");
    Tool::new("plan")
        .file("p.json", support::plans::profile().to_string())
        .args(["--profile", "p.json", "--no-calibration", "--model"])
        .arg(&model)
        .arg("-o")
        .arg(&out)
        .run()
        .expect_status(0);
    let text = std::fs::read_to_string(out).unwrap();
    let run = run(&text, &[]).expect_status(0);
    let plan: Value = serde_json::from_str(&text).unwrap();
    let flags = plan["llama_flags"].as_str().unwrap();
    let want = format!("-m {} {flags}", model.display());
    assert_eq!(launched(&run).join(" "), want);
}
