//! `gpu-container-plan` on input that a lenient reader would have let pass, or crashed on.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use serde_json::{Value, json};
use support::{Run, Tool};

/// A 12 GB card in a machine with 64 GiB, 48 of them free.
fn profile() -> Value {
    json!({
        "schema_version": "0.1.0",
        "created": "2026-10-01",
        "hardware": {
            "gpu": {"name": "12 GB card", "vram_total_mib": 12282, "vram_free_mib": 11200},
            "platform": {"os": "linux", "in_container": false, "wsl2": false},
            "bandwidth": {},
            "memory": {
                "ram_total_gib": 64.0, "ram_available_gib": 48.0, "cpu_mem_bw_gbps": 52.5,
            },
        },
    })
}

/// The shape of Qwen3-30B-A3B, from its published config.json.
fn config() -> Value {
    json!({
        "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48,
        "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
        "vocab_size": 151936, "intermediate_size": 6144, "torch_dtype": "bfloat16",
        "tie_word_embeddings": false, "num_experts": 128, "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
    })
}

/// That profile with its model analysed in it.
fn profile_with_model() -> Value {
    let mut p = profile();
    p["model"] = json!({
        "name": "made-up", "architecture": "moe", "total_params": 30_531_911_680_u64,
        "n_layers": 48, "n_kv_heads": 4, "head_dim": 128, "dtype_bytes": 2.0,
        "quant": "gguf-q4_k_m",
        "expert": {
            "is_moe": true, "num_experts": 128, "experts_per_token": 8,
            "expert_params_each": 4_718_592,
        },
        "kv_bytes_per_token": 98304, "expert_params_total": 28_991_029_248_u64,
        "non_expert_params": 1_540_882_432, "n_moe_layers": 48,
    });
    p
}

/// `document` with the value at `path` (a JSON pointer) replaced.
fn set(mut document: Value, path: &str, value: impl Into<Value>) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap()[key] = value.into();
    document
}

/// `document` without the key at `path`.
fn without(mut document: Value, path: &str) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    parent.as_object_mut().unwrap().remove(key).unwrap();
    document
}

fn plan_text(profile: impl AsRef<[u8]>, config: impl AsRef<[u8]>, flags: &[&str]) -> Run {
    Tool::new("plan")
        .file("p.json", profile)
        .file("c.json", config)
        .args(["--profile", "p.json", "--model-config", "c.json"])
        .args(flags)
        .run()
}

fn plan(profile: &Value, config: &Value, flags: &[&str]) -> Run {
    plan_text(profile.to_string(), config.to_string(), flags)
}

/// The plan of the model in the profile.
fn plan_profile(profile: impl AsRef<[u8]>) -> Run {
    Tool::new("plan")
        .file("p.json", profile)
        .args(["--profile", "p.json"])
        .run()
}

#[track_caller]
fn bad_profile(p: &Value) {
    plan_profile(p.to_string()).expect_error("INPUT_BAD_PROFILE");
}

#[track_caller]
fn bad_config(c: &Value) {
    plan(&profile(), c, &[]).expect_error("INPUT_BAD_MODEL_CONFIG");
}

/// The plan with a store of `points`.
fn calibrated(points: &str) -> Run {
    Tool::new("plan")
        .file("p.json", profile().to_string())
        .file("c.json", config().to_string())
        .file("cal/x.json", points)
        .args([
            "--profile",
            "p.json",
            "--model-config",
            "c.json",
            "--calibration-dir",
            "cal",
        ])
        .run()
}

#[test]
fn the_fixtures_themselves_ship() {
    let from_config = plan(&profile(), &config(), &[]).expect_status(0).json();
    assert_eq!(from_config["verdict"], "ship");
    let from_profile = plan_profile(profile_with_model().to_string())
        .expect_status(0)
        .json();
    for key in ["n_cpu_moe", "vram_used_mib", "ceiling_decode_tok_s"] {
        assert_eq!(from_config[key], from_profile[key], "{key}");
    }
}

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
fn a_profile_that_lacks_what_it_must_have_is_refused() {
    for path in [
        "/schema_version",
        "/created",
        "/hardware",
        "/hardware/gpu",
        "/hardware/platform",
        "/model/name",
    ] {
        bad_profile(&without(profile_with_model(), path));
    }
    for p in [
        json!([]),
        json!("profile"),
        json!(5),
        json!(null),
        json!(true),
        json!({}),
    ] {
        bad_profile(&p);
    }
    for text in ["", "{", "{]", "profile"] {
        plan_profile(text).expect_error("INPUT_BAD_PROFILE");
    }
}

#[test]
fn null_where_an_object_must_be_is_refused() {
    for path in [
        "/hardware",
        "/hardware/gpu",
        "/hardware/memory",
        "/model/expert",
    ] {
        bad_profile(&set(profile_with_model(), path, Value::Null));
    }
    let no_model = set(profile(), "/model", Value::Null);
    let run = plan_profile(no_model.to_string()).expect_status(3);
    assert_eq!(run.json()["verdict"], "refuse");
}

#[test]
fn files_from_powershell_are_read() {
    let bom = |text: &str| ["\u{feff}".as_bytes(), text.as_bytes()].concat();
    let utf16 = |text: &str| -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(units).collect()
    };
    let (p, c) = (profile().to_string(), config().to_string());
    let plain = plan_text(&p, &c, &[]).expect_status(0).stdout;
    assert_eq!(plan_text(bom(&p), bom(&c), &[]).stdout, plain);
    assert_eq!(plan_text(utf16(&p), utf16(&c), &[]).stdout, plain);
}

#[test]
fn odd_calibration_points_are_left_out() {
    let plain = plan(&profile(), &config(), &[]).expect_status(0).json();
    let good = json!({
        "model": "other", "n_cpu_moe": 24, "n_moe_layers": 48, "ceiling_tok_s": 100.0,
        "measured_tok_s": 20.0,
    });
    assert_ne!(
        calibrated(&good.to_string()).json(),
        plain,
        "a good point counts"
    );
    let odd = [
        set(good.clone(), "/n_cpu_moe", "24"),
        set(good.clone(), "/n_cpu_moe", Value::Null),
        set(good.clone(), "/n_cpu_moe", -24),
        set(good.clone(), "/n_cpu_moe", true),
        set(good.clone(), "/n_moe_layers", "48"),
        set(good.clone(), "/ceiling_tok_s", "100.0"),
        set(good.clone(), "/ceiling_tok_s", Value::Null),
        set(good.clone(), "/ceiling_tok_s", 0),
        set(good.clone(), "/measured_tok_s", Value::Null),
        set(good.clone(), "/measured_tok_s", -5.0),
        set(good.clone(), "/measured_tok_s", json!([20.0])),
        json!(5),
        json!(null),
        json!([[]]),
    ];
    for point in odd {
        for store in [point.to_string(), json!([point]).to_string()] {
            let run = calibrated(&store).expect_status(0).json();
            for key in ["predicted_decode_tok_s", "predicted_band_low_tok_s"] {
                assert_eq!(run[key], plain[key], "{store}");
            }
        }
    }
    for text in ["", "{", "[{\"measured_tok_s\": NaN}]", "\u{0}"] {
        assert_eq!(calibrated(text).expect_status(0).json(), plain, "{text:?}");
    }
    let infinite = good.to_string().replace("20.0", "1e999");
    assert_eq!(calibrated(&infinite).expect_status(0).json(), plain);
}

#[test]
fn a_forecast_never_passes_its_ceiling() {
    for measured in [150.0, 260.0, 1e6] {
        for n in [0, 24, 48] {
            let point = json!({
                "model": "other", "n_cpu_moe": n, "n_moe_layers": 48, "ceiling_tok_s": 100.0,
                "measured_tok_s": measured,
            });
            let p = calibrated(&json!([point, point, point]).to_string()).json();
            let x = |key: &str| p[key].as_f64().unwrap();
            let forecast = x("predicted_decode_tok_s");
            assert!(x("predicted_band_low_tok_s") <= forecast, "{p}");
            assert!(forecast <= x("predicted_band_high_tok_s"), "{p}");
            assert!(
                x("predicted_band_high_tok_s") <= x("ceiling_decode_tok_s"),
                "{p}"
            );
        }
    }
}

#[test]
fn zero_is_not_taken_for_unknown() {
    let full = set(profile(), "/hardware/gpu/vram_free_mib", 0);
    let run = plan(&full, &config(), &[]).expect_status(3).json();
    assert_eq!(
        (&run["verdict"], &run["fits"]),
        (&json!("refuse"), &json!(false))
    );
    assert_eq!(run["vram_budget_mib"].as_f64(), Some(0.0));

    let no_ram = set(profile(), "/hardware/memory/ram_available_gib", 0);
    let run = plan(&no_ram, &config(), &[]).expect_status(3).json();
    assert_eq!(
        run["verdict"], "refuse",
        "experts in RAM where there is none: {run}"
    );

    plan(&profile(), &config(), &["--cpu-bw", "0"]).expect_error("INPUT_USAGE");
    plan(&profile(), &config(), &["--vram-bw", "0"]).expect_error("INPUT_USAGE");
    let still = set(profile(), "/hardware/memory/cpu_mem_bw_gbps", 0);
    let run = plan(&still, &config(), &[]);
    let silent = run.status == 0 && run.json()["assumptions"]["cpu_mem_bw_gbps"] == 80.0;
    assert!(!silent, "0 GB/s became the default: {}", run.stdout);
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
    // A store that is not there is an empty one.
    plan(&profile(), &config(), &["--calibration-dir", "nope"]).expect_status(0);
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
fn lists_of_one_value_a_layer_are_that_value() {
    let lists = json!({
        "model_type": "hunyuan_v1_moe", "hidden_size": 1024, "num_hidden_layers": 6,
        "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 32000,
        "intermediate_size": 768, "torch_dtype": "bfloat16", "tie_word_embeddings": true,
        "num_experts": 16, "moe_topk": vec![4; 6], "num_shared_expert": vec![1; 6],
        "moe_intermediate_size": vec![768; 6],
    });
    let scalars = set(lists.clone(), "/moe_topk", 4);
    let scalars = set(scalars, "/num_shared_expert", 1);
    let scalars = set(scalars, "/moe_intermediate_size", 768);
    let want = plan(&profile(), &scalars, &[]).expect_status(0).json();
    let got = plan(&profile(), &lists, &[]).expect_status(0).json();
    for key in ["vram_used_mib", "ceiling_decode_tok_s", "n_cpu_moe"] {
        assert_eq!(got[key], want[key], "{key}");
    }
    for odd in [json!([]), json!([4, "x"]), json!([null]), json!([[4]])] {
        bad_config(&set(lists.clone(), "/moe_topk", odd));
    }
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
fn no_infinity_or_nan_is_read_or_printed() {
    for number in ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"] {
        let p = profile_with_model().to_string();
        for field in ["11200", "48.0", "52.5", "98304"] {
            let odd = p.replace(field, number);
            assert_ne!(odd, p);
            plan_profile(&odd).expect_error("INPUT_BAD_PROFILE");
        }
        let c = config().to_string().replace("2048", number);
        plan_text(profile().to_string(), c, &[]).expect_error("INPUT_BAD_MODEL_CONFIG");
    }
    // Numbers that are finite, but whose products are not.
    for x in ["1e-300", "1e300"] {
        let flags = [
            ["--cpu-bw", x],
            ["--vram-bw", x],
            ["--non-expert-bpw", x],
            ["--floor", x],
        ];
        for pair in flags {
            let run = plan(&profile(), &config(), &pair);
            for word in ["NaN", "inf", "Infinity"] {
                assert!(!run.stdout.contains(word), "{pair:?}: {}", run.stdout);
            }
            assert!([0, 2, 3].contains(&run.status), "{pair:?}: {}", run.stderr);
            assert_ne!(
                run.code(),
                Some("RUNTIME_UNEXPECTED"),
                "{pair:?}: {}",
                run.stderr
            );
        }
    }
}

#[test]
fn negative_readings_and_dimensions_are_refused() {
    for path in [
        "/hardware/gpu/vram_total_mib",
        "/hardware/gpu/vram_free_mib",
        "/hardware/memory/ram_total_gib",
        "/hardware/memory/ram_available_gib",
        "/hardware/memory/cpu_mem_bw_gbps",
        "/model/n_layers",
        "/model/n_moe_layers",
        "/model/expert_params_total",
        "/model/non_expert_params",
        "/model/kv_bytes_per_token",
        "/model/dtype_bytes",
        "/model/expert/experts_per_token",
        "/model/expert/expert_params_each",
    ] {
        bad_profile(&set(profile_with_model(), path, -5));
    }
    for key in [
        "/hidden_size",
        "/num_hidden_layers",
        "/num_attention_heads",
        "/num_key_value_heads",
        "/head_dim",
        "/vocab_size",
        "/num_experts",
        "/num_experts_per_tok",
        "/moe_intermediate_size",
    ] {
        bad_config(&set(config(), key, -8));
    }
}

#[test]
fn whole_floats_are_dimensions_and_fractions_are_not() {
    let want = plan(&profile(), &config(), &[]).expect_status(0).json();
    let keys = [
        "/hidden_size",
        "/num_hidden_layers",
        "/num_experts",
        "/moe_intermediate_size",
    ];
    for key in keys {
        let n = config().pointer(key).unwrap().as_f64().unwrap();
        let got = plan(&profile(), &set(config(), key, n), &[])
            .expect_status(0)
            .json();
        assert_eq!(got, want, "{key}");
        bad_config(&set(config(), key, n + 0.5));
    }
    let n = "/model/n_moe_layers";
    let whole = set(profile_with_model(), n, 48.0);
    plan_profile(whole.to_string()).expect_status(0);
    bad_profile(&set(profile_with_model(), n, 47.5));
}

#[test]
fn a_config_is_an_object() {
    for c in [
        json!([]),
        json!(null),
        json!(3),
        json!("x"),
        json!(true),
        json!([{}]),
    ] {
        bad_config(&c);
    }
    for text in ["", "{", "not json", "{} {}"] {
        plan_text(profile().to_string(), text, &[]).expect_error("INPUT_BAD_MODEL_CONFIG");
    }
}

#[test]
fn numbers_are_numbers() {
    for value in [
        json!("2048"),
        json!(true),
        json!([]),
        json!({"n": 2048}),
        json!("2_048"),
    ] {
        bad_config(&set(config(), "/hidden_size", value.clone()));
        bad_config(&set(config(), "/num_hidden_layers", value));
    }
    for value in [json!("23000"), json!(true), json!([1]), json!({})] {
        bad_profile(&set(
            profile(),
            "/hardware/gpu/vram_free_mib",
            value.clone(),
        ));
        bad_profile(&set(
            profile(),
            "/hardware/memory/cpu_mem_bw_gbps",
            value.clone(),
        ));
        bad_profile(&set(
            profile_with_model(),
            "/model/expert_params_total",
            value,
        ));
    }
    bad_profile(&set(profile(), "/model", json!([])));
    bad_profile(&set(profile(), "/model", "qwen"));
    bad_profile(&set(profile(), "/hardware/gpu", json!([])));
    bad_profile(&set(profile(), "/hardware/gpu/name", 5));
}

#[test]
fn numbers_beyond_64_bits_are_refused() {
    let big = |text: String, from: &str| text.replace(from, "123456789012345678901234567890");
    let c = big(config().to_string(), "151936");
    plan_text(profile().to_string(), c, &[]).expect_error("INPUT_BAD_MODEL_CONFIG");
    let p = big(profile_with_model().to_string(), "28991029248");
    plan_profile(p).expect_error("INPUT_BAD_PROFILE");
    // Within 64 bits, but not their product.
    let huge = set(config(), "/hidden_size", 1_u64 << 62);
    let run = plan(&profile(), &huge, &[]);
    assert!(run.status == 2 || run.status == 3, "{}", run.stderr);
    assert_ne!(run.code(), Some("RUNTIME_UNEXPECTED"), "{}", run.stderr);
}

#[test]
fn json_that_only_python_reads_is_refused() {
    let deep = "[".repeat(6000);
    plan_profile(&deep).expect_error("INPUT_BAD_PROFILE");
    plan_profile(format!("{{\"a\":{deep}")).expect_error("INPUT_BAD_PROFILE");
    plan_text(profile().to_string(), &deep, &[]).expect_error("INPUT_BAD_MODEL_CONFIG");
    let surrogate = profile_with_model()
        .to_string()
        .replace("made-up", "\\ud800");
    plan_profile(surrogate).expect_error("INPUT_BAD_PROFILE");
}

#[test]
fn no_experts_is_dense_whichever_key_says_so() {
    for key in ["num_experts", "num_local_experts", "n_routed_experts"] {
        let c = set(without(config(), "/num_experts"), &format!("/{key}"), 0);
        let run = plan(&profile(), &c, &[]);
        assert_ne!(run.status, 2, "{key}: {}", run.stderr);
        let text = run.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(run.status == 0 || text.contains("dense"), "{key}: {text}");
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
