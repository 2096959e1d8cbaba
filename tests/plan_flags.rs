//! `gpu-container-plan`: its flags, quantisation tags among them, and its output.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use serde_json::{Value, json};
use support::Tool;
use support::plans::{config, plan, plan_profile, plan_text, profile, profile_with_model, set};

#[test]
fn a_quantisation_is_known_or_refused() {
    // (tag, least and most bytes a weight of the experts may take)
    let known = [
        ("iq1_s", 0.18, 0.28),
        ("iq2_xs", 0.26, 0.35),
        ("iq3_s", 0.40, 0.48),
        ("q4_k", 0.54, 0.62),
        ("Q4_K_M", 0.54, 0.66),
        ("UD-Q4_K_XL", 0.54, 0.66),
        ("UD-IQ2_M", 0.26, 0.40),
        ("mxfp4_moe", 0.50, 0.56),
        ("nvfp4", 0.50, 0.60),
        ("gptq", 0.50, 0.60),
        ("awq", 0.50, 0.60),
        ("int4", 0.50, 0.60),
        ("int8", 1.00, 1.10),
        ("fp8", 1.00, 1.10),
        ("tq1_0", 0.20, 0.25),
        ("bf16", 2.0, 2.0),
    ];
    for (tag, least, most) in known {
        let run = plan(&profile(), &config(), &["--quant", tag, "--floor", "0"]);
        assert_ne!(run.status, 2, "{tag}: {}", run.stderr);
        let bytes = run.json()["assumptions"]["bytes_per_weight"]
            .as_f64()
            .unwrap();
        assert!((least..=most).contains(&bytes), "{tag}: {bytes}");
    }
    for tag in ["garbage", "q4_k_x", "q9_0", "int3.5"] {
        let run = plan(&profile(), &config(), &["--quant", tag]);
        assert!(run.stderr.contains("hint:"), "{tag}: {}", run.stderr);
        run.expect_error("INPUT_UNKNOWN_QUANT");
    }
    let run = plan(&profile(), &config(), &["--quant", "q4_k_n"]);
    assert!(
        run.stderr.contains("q4_k_m"),
        "the nearest tags are named: {}",
        run.stderr
    );
    // The tag in a profile is held to the same.
    let p = set(profile_with_model(), "/model/quant", "garbage");
    plan_profile(p.to_string()).expect_error("INPUT_UNKNOWN_QUANT");
}

#[test]
fn the_bits_of_gptq_come_from_the_config_or_are_said_to_be_assumed() {
    let assumed = plan(&profile(), &config(), &["--quant", "gptq"]).json();
    let notes = assumed["assumptions"]["notes"].to_string();
    assert!(notes.contains("gptq") || notes.contains("GPTQ"), "{notes}");
    let eight = set(
        config(),
        "/quantization_config",
        json!({"quant_method": "gptq", "bits": 8, "group_size": 128}),
    );
    let stated = plan(&profile(), &eight, &["--quant", "gptq"]).json();
    let bytes = |v: &Value| v["assumptions"]["bytes_per_weight"].as_f64().unwrap();
    assert!(bytes(&stated) > 1.0 && bytes(&assumed) < 0.6, "{stated}");
}

#[test]
fn outputs_that_cannot_be_written_say_so() {
    plan(&profile(), &config(), &["-o", "no/such/plan.json"]).expect_error("IO_WRITE_FAILED");
    plan(&profile(), &config(), &["-o", "."]).expect_error("IO_WRITE_FAILED");
    let run = Tool::new("plan").args(["--profile", "nope.json"]).run();
    run.expect_error("INPUT_BAD_PROFILE");
    let missing = Tool::new("plan")
        .file("p.json", profile().to_string())
        .args(["--profile", "p.json", "--model-config", "nope.json"]);
    missing.run().expect_error("INPUT_BAD_MODEL_CONFIG");
    // A store that is not there is an empty one, and perhaps a slip of the pen.
    let early = plan(&profile(), &config(), &["--calibration-dir", "nope"]).expect_status(0);
    assert!(
        early.stderr.contains("no folder nope yet"),
        "{}",
        early.stderr
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_no_verdict() {
    let run = Tool::new("plan")
        .file("p.json", profile().to_string())
        .file("c.json", config().to_string())
        .args([
            "--profile",
            "p.json",
            "--model-config",
            "c.json",
            "-o",
            "/dev/full",
        ])
        .run();
    run.expect_error("IO_WRITE_FAILED");
}

#[test]
fn flags_take_finite_numbers_in_range_only() {
    let bad: [(&str, &[&str]); 9] = [
        (
            "--ctx",
            &[
                "-4096", "4096.0", "1e3", " 4096 ", "4_096", "٤٠٩٦", "0x1000", "x", "",
            ],
        ),
        ("--depth", &["-1", "1.5", "nan"]),
        ("--batch", &["-4", "0", "1.5", "nan"]),
        (
            "--cpu-bw",
            &[
                "nan", "inf", "-inf", "-40", "1_000", "1e999", "٤", " 40", "",
            ],
        ),
        ("--vram-bw", &["nan", "inf", "-1", "0"]),
        ("--non-expert-bpw", &["nan", "inf", "-1", "0", "0.0", "-0"]),
        ("--floor", &["nan", "inf", "-3"]),
        ("--margin-mib", &["nan", "-1"]),
        ("--n-cpu-moe", &["-1", "2.0", "x"]),
    ];
    for (flag, values) in bad {
        for value in values {
            let run = plan(&profile(), &config(), &[&format!("{flag}={value}")]);
            assert_eq!(
                run.code(),
                Some("INPUT_USAGE"),
                "{flag}={value}: {}",
                run.stderr
            );
            run.expect_error("INPUT_USAGE");
        }
    }
}

#[test]
fn flags_are_written_out_and_the_last_one_counts() {
    for flag in [
        "--no-cal",
        "--qua=q8_0",
        "--model-conf=c.json",
        "--prof=p.json",
    ] {
        plan(&profile(), &config(), &[flag]).expect_error("INPUT_USAGE");
    }
    let run = plan(
        &profile(),
        &config(),
        &["-o", "a.json", "-o", "b.json", "--ctx", "x", "--ctx", "512"],
    );
    // A value that is no value is refused even when a later one would win.
    run.expect_error("INPUT_USAGE");
    let run = plan(
        &profile(),
        &config(),
        &["-o", "a.json", "--out", "b.json", "--ctx=1", "--ctx=512"],
    );
    let run = run.expect_status(0);
    assert!(!run.path("a.json").exists());
    let written: Value =
        serde_json::from_slice(&std::fs::read(run.path("b.json")).unwrap()).unwrap();
    assert_eq!(written["assumptions"]["ctx_len"], 512);
}

#[test]
fn debug_keeps_the_status_and_shows_the_causes() {
    let run = plan_text("{", config().to_string(), &["--debug"]);
    assert!(run.stderr.contains("cause:"), "{}", run.stderr);
    run.expect_error("INPUT_BAD_PROFILE");
}
