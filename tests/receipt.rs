//! gpu-container-receipt end to end: real llama-bench output, the verdicts, the calibration store.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Run, Tool};

const BENCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/bench");

/// A plan of 12 of 48 expert layers in RAM: ceiling 56.2, forecast 33.71, floor 1.
fn plan() -> Value {
    json!({
        "fits": true, "verdict": "ship", "runtime": "llama.cpp",
        "n_cpu_moe": 12, "n_moe_layers": 48,
        "llama_flags": "-ngl 99 --n-cpu-moe 12 -c 4096 -fa on",
        "predicted_decode_tok_s": 33.71, "ceiling_decode_tok_s": 56.2,
        "predicted_band_low_tok_s": 25.28, "predicted_band_high_tok_s": 42.14,
        "floor_tok_s": 1.0,
        "assumptions": {"cpu_mem_bw_gbps": 38.0, "vram_bw_gbps": 1790.0, "ctx_len": 4096,
                        "kv_dtype": "f16"}
    })
}

fn with(mut plan: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        plan[key] = value.clone();
    }
    plan
}

fn receipt(plan: &Value) -> Tool {
    Tool::new("receipt")
        .file("plan.json", plan.to_string())
        .args(["--plan", "plan.json"])
}

fn run(plan: &Value, args: &[&str]) -> Run {
    receipt(plan).args(args).run()
}

fn bench(rows: &Value) -> Run {
    receipt(&plan())
        .file("bench.json", rows.to_string())
        .args(["--bench", "bench.json"])
        .run()
}

fn points(run: &Run) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(run.path("cal"))
        .map(|dir| {
            dir.map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

#[test]
fn every_format_yields_its_decode_row() {
    // (file, --n-cpu-moe of its plan, decode, prefill)
    let cases = [
        ("bench-tiny.json", 0, 797.36, 9133.92),
        ("bench-sweep.jsonl", 0, 1018.37, 10871.51),
        ("bench-sweep.jsonl", 3, 822.64, 11103.01),
        ("bench-noisy.txt", 0, 2286.98, 18716.13),
        ("bench.csv", 0, 959.09, 8948.45),
        ("bench.md", 0, 559.41, 6261.72),
        ("bench.sql", 0, 2115.63, 18131.45),
        ("server-completion.json", 0, 716.95, 268.2),
        ("server-metrics.txt", 0, 716.95, 277.07),
    ];
    for (file, n, decode, prefill) in cases {
        let plan = json!({"fits": true, "verdict": "ship", "n_cpu_moe": n, "n_moe_layers": 4});
        let r = run(&plan, &["--bench", &format!("{BENCH}/{file}")]).expect_status(0);
        let r = r.json();
        assert_eq!(r["measured_decode_tok_s"], decode, "{file} N={n}");
        assert_eq!(r["measured_prefill_tok_s"], prefill, "{file} N={n}");
    }
}

#[test]
fn a_placement_that_contradicts_the_plan_is_refused() {
    let file = format!("{BENCH}/bench-tiny.json");
    let r = run(&plan(), &["--bench", &file]).expect_error("INPUT_BENCH_MISMATCH");
    let hint = r.stderr.lines().find(|l| l.contains("hint:")).unwrap();
    assert!(
        hint.contains("--n-cpu-moe 12") && hint.contains("--n-cpu-moe 0"),
        "{hint}"
    );
    // A rate by hand does not make the run another one.
    run(&plan(), &["--bench", &file, "--decode-tok-s", "20"]).expect_error("INPUT_BENCH_MISMATCH");
    // A table shows the setting only when it is not the default: silence contradicts nothing.
    let table = format!("{BENCH}/bench.md");
    let r = run(
        &with(plan(), &json!({"ceiling_decode_tok_s": 1000})),
        &["--bench", &table],
    )
    .expect_status(0);
    assert!(
        r.json()["notes"]
            .to_string()
            .contains("does not say its --n-cpu-moe")
    );
    // Rows that go by `test` are taken whatever they say.
    bench(&json!([{"test": "tg128", "avg_ts": 30, "n_cpu_moe": 0}])).expect_status(0);
}

#[test]
fn a_depth_can_be_asked_for() {
    let plan = json!({"fits": true, "verdict": "ship", "n_cpu_moe": 3, "n_moe_layers": 4});
    let file = format!("{BENCH}/bench-sweep.jsonl");
    let at = |depth: &str| run(&plan, &["--bench", &file, "--depth", depth]).expect_status(0);
    let shallow = at("0").json();
    let deep = at("256").json();
    assert_eq!(
        (&shallow["measured_depth"], &deep["measured_depth"]),
        (&json!(0), &json!(256))
    );
    assert!(
        deep["measured_decode_tok_s"].as_f64() < shallow["measured_decode_tok_s"].as_f64(),
        "{deep}"
    );
    let near = at("5000").json();
    assert!(
        near["notes"]
            .to_string()
            .contains("no decode row at depth 5000"),
        "{near}"
    );
}

#[test]
fn what_holds_no_decode_rate_says_so() {
    let cases = [
        ("bench-pg.json", "INPUT_NO_DECODE_RATE"),
        ("server-props.json", "INPUT_NO_BENCH_ROWS"),
        ("README.md", "INPUT_NO_BENCH_ROWS"),
    ];
    for (file, code) in cases {
        run(&plan(), &["--bench", &format!("{BENCH}/{file}")]).expect_error(code);
    }
    run(&plan(), &[]).expect_error("INPUT_NO_DECODE_RATE");
    bench(&json!([])).expect_error("INPUT_NO_BENCH_ROWS");
    bench(&json!([{"test": "tg128", "avg_ts": null}])).expect_error("INPUT_NO_DECODE_RATE");
    bench(&json!([{"n_prompt": 512, "n_gen": 0, "avg_ts": 500, "n_cpu_moe": 3}]))
        .expect_error("INPUT_NO_DECODE_RATE");
}

#[test]
fn numbers_that_are_none_are_refused() {
    for bad in [json!("33.5"), json!(true), json!(-3), json!([30])] {
        bench(&json!([{"test": "tg128", "avg_ts": bad}])).expect_error("INPUT_NO_DECODE_RATE");
    }
    for flag in [
        "--decode-tok-s",
        "--prefill-tok-s",
        "--vram-used-mib",
        "--coverage",
        "--threshold",
    ] {
        for bad in [
            "nan", "inf", "-inf", "-5", "1_000", " 3", "fast", "1e999", "",
        ] {
            run(&plan(), &[&format!("{flag}={bad}")]).expect_error("INPUT_USAGE");
        }
    }
    run(&plan(), &["--depth", "-1"]).expect_error("INPUT_USAGE");
}

#[test]
fn brackets_in_log_lines_lose_nothing() {
    let rows = json!([{"n_prompt": 0, "n_gen": 128, "avg_ts": 30, "n_cpu_moe": 12}]);
    for text in [
        format!("[info] loading\n{rows}\n[done]\n"),
        format!("ggml: {{ \"devices\": [0, 1\n{rows}"),
        format!("a lone \" and [ {{\n\n{rows} trailing ]]"),
    ] {
        let r = receipt(&plan())
            .file("b.txt", &text)
            .args(["--bench", "b.txt"])
            .run();
        let r = r.expect_status(0).json();
        assert_eq!(r["measured_decode_tok_s"], 30.0, "{text}");
    }
}

#[test]
fn windows_encodings_are_read() {
    let utf16 = |text: &str| -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(units).collect()
    };
    let bom = |text: &str| [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let rows = fs::read_to_string(format!("{BENCH}/bench-tiny.json")).unwrap();
    let plan = json!({"fits": true, "verdict": "ship", "n_cpu_moe": 0}).to_string();
    for (plan, rows) in [(utf16(&plan), bom(&rows)), (bom(&plan), utf16(&rows))] {
        let r = Tool::new("receipt")
            .file("plan.json", plan)
            .file("bench.json", rows)
            .args(["--plan", "plan.json", "--bench", "bench.json"])
            .run();
        assert_eq!(r.expect_status(0).json()["measured_decode_tok_s"], 797.36);
    }
}

#[test]
fn the_three_verdicts() {
    let cases = [("1", 0), ("56.2", 0), ("0.999", 3), ("0", 3), ("56.201", 4)];
    for (rate, status) in cases {
        let r = run(&plan(), &["--decode-tok-s", rate]).expect_status(status);
        assert_eq!(r.json()["cleared_floor"], status != 3, "{rate}");
    }
    // Above the ceiling outranks the floor: the plan itself is wrong then.
    let steep = with(plan(), &json!({"floor_tok_s": 5000}));
    run(&steep, &["--decode-tok-s", "70.25"]).expect_status(4);
    run(&steep, &["--decode-tok-s", "50"]).expect_status(3);
}

#[test]
fn a_stalled_run_fails_the_gate_and_teaches_nothing() {
    let rows = json!([{"test": "tg128", "avg_ts": 0}]).to_string();
    let r = receipt(&plan())
        .file("bench.json", rows)
        .args([
            "--bench",
            "bench.json",
            "--calibration-dir",
            "cal",
            "--model-name",
            "M",
        ])
        .run()
        .expect_status(3);
    assert_eq!(r.json()["measured_decode_tok_s"], 0.0);
    assert_eq!(points(&r), [""; 0]);
}

#[test]
fn zero_prefill_and_vram_are_measured() {
    let args = [
        "--decode-tok-s",
        "25.5",
        "--prefill-tok-s",
        "0",
        "--vram-used-mib",
        "0",
    ];
    let r = run(&plan(), &args).expect_status(0).json();
    assert_eq!(
        (&r["measured_prefill_tok_s"], &r["measured_vram_used_mib"]),
        (&json!(0.0), &json!(0.0))
    );
}

#[test]
fn a_band_without_a_forecast_is_no_failure() {
    let plan = with(plan(), &json!({"predicted_decode_tok_s": null}));
    let r = run(&plan, &["--decode-tok-s", "24.5"])
        .expect_status(0)
        .json();
    assert_eq!(
        (&r["within_band"], &r["decode_error_pct"]),
        (&json!(false), &Value::Null)
    );
}

#[test]
fn plans_that_are_none_are_refused() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        "{\"fits\": true",
        r#"{"fits": true, "verdict": "ship", "ceiling_decode_tok_s": "40"}"#,
        r#"{"fits": true, "verdict": "ship", "ceiling_decode_tok_s": NaN}"#,
        r#"{"fits": true, "verdict": "ship", "n_cpu_moe": -1}"#,
        r#"{"fits": true, "verdict": "ship", "n_cpu_moe": 123456789012345678901234567890}"#,
        r#"{"fits": "yes", "verdict": "ship"}"#,
    ] {
        Tool::new("receipt")
            .file("plan.json", text)
            .args(["--plan", "plan.json", "--decode-tok-s", "3"])
            .run()
            .expect_error("INPUT_BAD_PLAN");
    }
    // The whole chain of causes is one more thing to read, not another status.
    let r = Tool::new("receipt")
        .file("plan.json", "[]")
        .args(["--debug", "--plan", "plan.json", "--decode-tok-s", "3"])
        .run()
        .expect_error("INPUT_BAD_PLAN");
    assert!(r.stderr.contains("cause:"), "{}", r.stderr);
    let deep = "[".repeat(100_000);
    Tool::new("receipt")
        .file("plan.json", deep)
        .args(["--plan", "plan.json", "--decode-tok-s", "3"])
        .run()
        .expect_error("INPUT_BAD_PLAN");
}

#[test]
fn files_that_cannot_be_read_or_written_have_io_codes() {
    Tool::new("receipt")
        .args(["--plan", "nope.json", "--decode-tok-s", "3"])
        .run()
        .expect_error("IO_READ_FAILED");
    run(&plan(), &["--bench", "nope.json"]).expect_error("IO_READ_FAILED");
    run(&plan(), &["--bench", "."]).expect_error("IO_READ_FAILED");
    let args = [
        "--decode-tok-s",
        "20",
        "--calibration-dir",
        "plan.json",
        "--model-name",
        "M",
    ];
    run(&plan(), &args).expect_error("IO_WRITE_FAILED");
    // Without a receipt there is no point either: the next try would add it a second time.
    let args = [
        "--decode-tok-s",
        "20",
        "-o",
        "no/r.json",
        "--calibration-dir",
        "cal",
        "--model-name",
        "M",
    ];
    let r = run(&plan(), &args).expect_error("IO_WRITE_FAILED");
    assert_eq!(points(&r), [""; 0]);
}

#[test]
fn points_are_added_and_never_replaced() {
    let tool = |dir: &std::path::Path, rate: &str| {
        receipt(&plan())
            .args([
                "--decode-tok-s",
                rate,
                "--created",
                "2026-06-05",
                "--model-name",
                "M",
            ])
            .args(["--quant", "gguf-q4_k_m", "--rig", "R", "--source", "S"])
            .arg("--calibration-dir")
            .arg(dir)
    };
    let shared = tempfile::tempdir().unwrap();
    let cal = shared.path().join("a/b");
    for rate in ["20", "21", "22"] {
        tool(&cal, rate).run().expect_status(0);
    }
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(cal.join(name)).unwrap()).unwrap()
    };
    assert_eq!(
        read("2026-06-05_M_n12.json"),
        json!({"schema_version": 2, "model": "M", "n_cpu_moe": 12, "n_moe_layers": 48, "ceiling_tok_s": 56.2,
               "measured_tok_s": 20.0, "quant": "gguf-q4_k_m", "cpu_bw_gbps": 38.0,
               "vram_bw_gbps": 1790.0, "ctx_len": 4096, "created": "2026-06-05", "rig": "R",
               "source": "S"})
    );
    assert_eq!(read("2026-06-05_M_n12_2.json")["measured_tok_s"], 21.0);
    assert_eq!(read("2026-06-05_M_n12_3.json")["measured_tok_s"], 22.0);

    // What is written is what the planner reads.
    let file =
        gpuc_core::calibration::points_in(&fs::read(cal.join("2026-06-05_M_n12.json")).unwrap());
    assert_eq!(file.points[0].measured_tok_s, Some(20.0));

    // Several at once: each finds a name of its own.
    let children: Vec<_> = (0..8).map(|_| tool(&cal, "30").spawn()).collect();
    for (mut child, _dir) in children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    assert_eq!(fs::read_dir(&cal).unwrap().count(), 11);
}

#[test]
fn points_stay_in_their_folder() {
    let cases = [
        ("../escaped", "M", "---escaped_M_n12.json"),
        ("2026/06/05", "M", "2026-06-05_M_n12.json"),
        ("..\\..\\x", "../../y", "---..-x_------y_n12.json"),
        ("", "M", "nodate_M_n12.json"),
    ];
    for (created, model, want) in cases {
        let r = run(
            &plan(),
            &[
                "--decode-tok-s",
                "20",
                "--calibration-dir",
                "cal",
                "--model-name",
                model,
                "--created",
                created,
            ],
        )
        .expect_status(0);
        assert_eq!(points(&r), [want], "{created}");
        assert_eq!(
            fs::read_dir(r.dir.path()).unwrap().count(),
            2,
            "the plan and the store"
        );
    }
}

#[test]
fn a_refused_plan_has_a_receipt_and_leaves_no_point() {
    let refused = json!({"fits": false, "verdict": "refuse", "n_cpu_moe": 56, "n_moe_layers": 56});
    let args = [
        "--decode-tok-s",
        "20",
        "--calibration-dir",
        "cal",
        "--model-name",
        "M",
    ];
    let r = run(&refused, &args).expect_status(0);
    assert_eq!(r.json()["cleared_floor"], true);
    assert_eq!(points(&r), [""; 0]);
    let r = run(
        &plan(),
        &["--decode-tok-s", "20", "--calibration-dir", "cal"],
    )
    .expect_status(0);
    assert!(r.json()["notes"].to_string().contains("--model-name"));
}

/// A run with other layers on the GPU is told apart and teaches nothing; `-ngl` means nothing in a
/// build for the CPU alone.
#[test]
fn a_run_with_other_layers_on_the_gpu_leaves_no_point() {
    let dense = |flags: &str| {
        with(
            plan(),
            &json!({"llama_flags": flags, "n_cpu_moe": null, "n_moe_layers": 0}),
        )
    };
    let ran = |flags: &str, ngl: i64, backends: &str| {
        let rows = json!([{"n_prompt": 0, "n_gen": 128, "avg_ts": 30.0, "n_gpu_layers": ngl,
                           "backends": backends}]);
        receipt(&dense(flags))
            .file("bench.json", rows.to_string())
            .args(["--bench", "bench.json", "--calibration-dir", "cal"])
            .args(["--model-name", "M", "--created", "2026-06-05"])
            .run()
            .expect_status(0)
    };
    for (flags, ngl, backends, said) in [
        ("-ngl 20", 20, "CUDA", None),
        (
            "-ngl 20",
            33,
            "CUDA",
            Some("ran with -ngl 33, the plan says -ngl 20"),
        ),
        ("-ngl 0", 99, "CPU", None),
        (
            "-ngl 99",
            99,
            "CPU",
            Some("for the CPU alone, the plan says -ngl all"),
        ),
    ] {
        let run = ran(flags, ngl, backends);
        let told = said.is_some_and(|words| run.stderr.contains(words));
        assert_eq!(told, said.is_some(), "{flags}: {}", run.stderr);
        assert_eq!(points(&run).is_empty(), told, "{flags}: {}", run.stderr);
    }
}

#[test]
fn a_point_is_of_the_model_that_the_plan_names_unless_told_otherwise() {
    let mut named = plan();
    named["model_name"] = "of/the plan".into();
    named["quant"] = "gguf-q4_k_m".into();
    let args = ["--decode-tok-s", "20", "--calibration-dir", "cal"];
    for (flags, file, model, quant) in [
        (
            &["--created", "x"][..],
            "x_of-the-plan_n",
            "of/the plan",
            "gguf-q4_k_m",
        ),
        (
            &["--created", "x", "--model-name", "mine", "--quant", "int4"],
            "x_mine_n",
            "mine",
            "int4",
        ),
    ] {
        let r = run(&named, &[&args, flags].concat()).expect_status(0);
        let written = points(&r);
        assert!(written[0].starts_with(file), "{written:?}");
        let text = std::fs::read(r.path("cal").join(&written[0])).unwrap();
        let point: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            (&point["model"], &point["quant"]),
            (&json!(model), &json!(quant))
        );
    }
}

#[test]
fn peaks_and_traces_that_cannot_be_used_are_left_out_with_a_warning() {
    for text in ["", "[1]", "\"x\"", "7", "null", "{\"samples\": NaN}", "{"] {
        let r = receipt(&plan())
            .file("k.json", text)
            .file("t.json", text)
            .args([
                "--decode-tok-s",
                "30",
                "--peaks",
                "k.json",
                "--trace",
                "t.json",
            ])
            .run()
            .expect_status(0);
        assert_eq!(r.json()["stayed_within_envelope"], Value::Null, "{text}");
        assert_eq!(r.json()["routing_cache_helps"], Value::Null, "{text}");
        assert_eq!(r.stderr.matches("WARN").count(), 2, "{text}: {}", r.stderr);
    }
    let r = run(
        &plan(),
        &["--decode-tok-s", "30", "--peaks", "nope", "--trace", "nope"],
    );
    assert_eq!(r.expect_status(0).stderr.matches("WARN").count(), 2);
}

#[test]
fn peaks_and_traces_are_folded_in() {
    let trace = json!({"model": "m", "num_experts": 4, "experts_per_token": 2, "n_tokens": 10,
                       "layers": [{"layer_index": 0, "expert_counts": [900, 50, 25, 25]}]});
    let peaks = json!({"samples": 12, "peak_gpu_temp_c": 61, "peak_host_mem_pct": "high",
                       "stayed_within_envelope": false});
    let r = receipt(&plan())
        .file("k.json", peaks.to_string())
        .file("t.json", trace.to_string())
        .args([
            "--decode-tok-s",
            "30",
            "--peaks",
            "k.json",
            "--trace",
            "t.json",
        ])
        .run()
        .expect_status(0);
    let doc = r.json();
    assert_eq!(doc["routing_cache_helps"], true);
    assert_eq!(doc["routing_hot_frac_for_coverage"], 0.25);
    assert_eq!(doc["routing_concentration"], 0.691);
    assert_eq!(doc["peak_gpu_temp_c"], 61.0);
    assert_eq!(doc["peak_host_mem_pct"], Value::Null);
    assert_eq!(
        (&doc["safety_samples"], &doc["stayed_within_envelope"]),
        (&json!(12), &json!(false))
    );
    assert_eq!(r.stderr.matches("WARN").count(), 1, "{}", r.stderr);
}

#[test]
fn standard_input_serves_one_of_the_two() {
    let rows = json!([{"test": "tg128", "avg_ts": 30}]).to_string();
    let r = receipt(&plan())
        .args(["--bench", "-"])
        .stdin(rows.clone())
        .run();
    assert_eq!(r.expect_status(0).json()["measured_decode_tok_s"], 30.0);
    let r = Tool::new("receipt")
        .file("bench.json", rows)
        .args(["--plan", "-", "--bench", "bench.json"])
        .stdin(plan().to_string())
        .run();
    assert_eq!(r.expect_status(0).json()["measured_decode_tok_s"], 30.0);
    Tool::new("receipt")
        .args(["--plan", "-", "--bench", "-"])
        .stdin(plan().to_string())
        .run()
        .expect_error("INPUT_NO_BENCH_ROWS");
}

#[test]
fn flags_are_written_out_and_the_last_one_wins() {
    run(&plan(), &["--decode", "20"]).expect_error("INPUT_USAGE");
    let r = run(
        &plan(),
        &[
            "--decode-tok-s",
            "20",
            "--decode-tok-s",
            "30",
            "-o",
            "r.json",
        ],
    );
    let r = r.expect_status(0);
    let doc: Value = serde_json::from_slice(&fs::read(r.path("r.json")).unwrap()).unwrap();
    assert_eq!(doc["measured_decode_tok_s"], 30.0);
    assert!(r.stdout.is_empty());
}

#[test]
fn a_server_speaks_for_itself() {
    let plan = json!({"fits": true, "verdict": "ship", "n_cpu_moe": 0, "n_moe_layers": 4});
    for file in ["server-completion.json", "server-metrics.txt"] {
        let r = run(&plan, &["--server", &format!("{BENCH}/{file}")])
            .expect_status(0)
            .json();
        assert_eq!(r["measured_decode_tok_s"], 716.95, "{file}");
    }
    let answer = run(
        &plan,
        &["--server", &format!("{BENCH}/server-completion.json")],
    )
    .json();
    assert_eq!(answer["measured_depth"], 4, "its prompt had four tokens");
    run(&plan, &["--server", &format!("{BENCH}/bench-tiny.json")])
        .expect_error("INPUT_NO_BENCH_ROWS");
    run(&plan, &["--server", &format!("{BENCH}/server-props.json")])
        .expect_error("INPUT_NO_BENCH_ROWS");
    run(&plan, &["--server", "a", "--bench", "b"]).expect_error("INPUT_USAGE");
}
