//! `gpu-container-plan` on input that a lenient reader would have let pass, or crashed on.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use serde_json::{Value, json};
use support::plans::{
    bad_config, bad_profile, calibrated, config, plan, plan_profile, plan_text, profile,
    profile_with_model, set, without,
};

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
        calibrated(good.to_string()).json(),
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
            let p = calibrated(json!([point, point, point]).to_string()).json();
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
