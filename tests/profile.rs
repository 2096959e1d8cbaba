//! gpu-container-profile end to end: arguments, models, earlier profiles, the baseline database.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests only"
)]

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};
use support::{Run, Tool};

const DENSE: &str = r#"{"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32,
 "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
 "intermediate_size": 14336, "torch_dtype": "bfloat16", "tie_word_embeddings": false}"#;

fn profile() -> Tool {
    Tool::new("profile").arg("--no-bench")
}

fn with_config(config: impl AsRef<[u8]>) -> Run {
    profile()
        .file("config.json", config)
        .args(["--model-config", "config.json"])
        .run()
}

fn saved() -> Value {
    json!({
        "schema_version": "0.1.0",
        "created": "2026-06-04",
        "hardware": {
            "gpu": {"name": "Some Card 16G", "vram_total_mib": 16376, "vram_free_mib": 15000},
            "platform": {"os": "linux", "in_container": true, "wsl2": false},
            "bandwidth": {"pcie_h2d_gbps": 24.5, "nvme_rand_qd1_read_iops": 12000},
            "memory": {"ram_total_gib": 64.0, "ram_available_gib": 48.5, "cpu_mem_bw_gbps": 55.0}
        },
        "model": {"name": "m", "expert": {"is_moe": true, "num_experts": 8}},
        "notes": ["from last summer"]
    })
}

fn with_saved(profile: &Value) -> Tool {
    Tool::new("profile")
        .file("in.json", profile.to_string())
        .args(["--from-profile", "in.json"])
}

// ---- arguments and outputs

#[test]
fn the_date() {
    assert_eq!(
        profile().args(["--date", "yesterday"]).run().json()["created"],
        "yesterday"
    );
    for args in [&[][..], &["--date", ""]] {
        let created = profile().args(args).run().json()["created"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(created.len(), 10, "{created}");
    }
}

#[test]
fn of_a_repeated_flag_the_last_counts_and_abbreviations_are_refused() {
    let run = profile()
        .args(["-o", "a.json", "--out", "b.json"])
        .run()
        .expect_status(0);
    assert!(
        run.stdout.is_empty() && run.stderr.contains("wrote b.json"),
        "{}",
        run.stderr
    );
    assert!(run.path("b.json").exists() && !run.path("a.json").exists());
    profile()
        .args(["--model-conf", "config.json"])
        .run()
        .expect_error("INPUT_USAGE");
    profile().arg("--nope").run().expect_error("INPUT_USAGE");
}

#[test]
fn an_output_that_cannot_be_written() {
    profile()
        .args(["-o", "no/p.json"])
        .run()
        .expect_error("IO_WRITE_FAILED");
    profile()
        .args(["-o", "."])
        .run()
        .expect_error("IO_WRITE_FAILED");
    // Nothing is stored either.
    let run = with_saved(&saved())
        .args([
            "--emit-baseline",
            "--baseline-db",
            "b.db",
            "-o",
            "no/p.json",
        ])
        .run()
        .expect_error("IO_WRITE_FAILED");
    assert!(!run.path("b.db").exists());
}

#[test]
fn debug_keeps_the_status() {
    for config in ["[]", "{", "{\"hidden_size\": 1.5}"] {
        let tool = profile()
            .file("c.json", config)
            .args(["--model-config", "c.json", "--debug"]);
        tool.run().expect_error("INPUT_BAD_MODEL_CONFIG");
    }
}

// ---- the model

#[test]
fn a_model_beside_the_rig() {
    let run = profile()
        .file("config.json", DENSE)
        .args([
            "--model-config",
            "config.json",
            "--model-name",
            "N",
            "--quant",
            "gguf-q8_0",
        ])
        .run();
    let model = run.expect_status(0).json()["model"].clone();
    assert_eq!(model["name"], "N");
    assert_eq!(model["quant"], "gguf-q8_0");
    assert_eq!(model["total_params"], 8029995008_u64);
    let run = profile().args(["--model-config", "-"]).stdin(DENSE).run();
    assert_eq!(run.expect_status(0).json()["model"]["name"], "llama");
    // Without a configuration there is no model to name.
    let run = profile()
        .args(["--model-name", "x", "--quant", "gguf-q8_0"])
        .run();
    assert_eq!(run.expect_status(0).json()["model"], Value::Null);
}

#[test]
fn configurations_that_windows_wrote() {
    let plain = with_config(DENSE).expect_status(0).json()["model"].clone();
    let bom = [b"\xef\xbb\xbf", DENSE.as_bytes()].concat();
    let little: Vec<u8> = "\u{feff}"
        .encode_utf16()
        .chain(DENSE.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let big: Vec<u8> = "\u{feff}"
        .encode_utf16()
        .chain(DENSE.encode_utf16())
        .flat_map(u16::to_be_bytes)
        .collect();
    for bytes in [bom, little, big] {
        assert_eq!(with_config(bytes).expect_status(0).json()["model"], plain);
    }
}

#[test]
fn configurations_that_cannot_be_used() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let with = |key: &str, value: &str| {
        DENSE
            .replacen('{', &format!("{{\"{key}\": {value}, "), 1)
            .replace(", }", "}")
    };
    let cases = [
        "null".into(),
        "\"s\"".into(),
        "[]".into(),
        "7".into(),
        "true".into(),
        String::new(),
        "nope".into(),
        "{\"hidden_size\": Infinity, \"num_hidden_layers\": 2}".into(),
        "{\"hidden_size\": NaN}".into(),
        "{\"hidden_size\": 1e999}".into(),
        "{\"model_type\": \"\\ud800\"}".into(),
        deep,
        DENSE.replace("4096", "-4096"),
        DENSE.replace("4096", "\"4096\""),
        DENSE.replace("4096", "4096.5"),
        DENSE.replace("4096", "true"),
        DENSE.replace("4096", "{}"),
        DENSE.replace("4096", "1".repeat(30).as_str()),
        DENSE.replace("\"vocab_size\": 128256", "\"vocab_size\": -1"),
        with("num_experts", "-8"),
        with("num_experts", "\"8\""),
        with("num_experts", "8.5"),
    ];
    for config in cases {
        let shown = config.get(..80).unwrap_or(&config).to_owned();
        let run = with_config(&config);
        assert_eq!(
            (run.status, run.code()),
            (2, Some("INPUT_BAD_MODEL_CONFIG")),
            "{shown}: {}",
            run.stderr
        );
    }
    profile()
        .args(["--model-config", "nope.json"])
        .run()
        .expect_error("INPUT_BAD_MODEL_CONFIG");
    profile()
        .args(["--model-config", "."])
        .run()
        .expect_error("INPUT_BAD_MODEL_CONFIG");
}

#[test]
fn whole_floats_are_dimensions_and_no_experts_is_dense() {
    let plain = with_config(DENSE).expect_status(0).json()["model"].clone();
    for config in [
        DENSE.replace("4096", "4096.0"),
        DENSE.replace("128256", "1.28256e5"),
    ] {
        let model = with_config(config).expect_status(0).json()["model"].clone();
        assert_eq!(model["total_params"], plain["total_params"]);
    }
    for key in ["num_local_experts", "num_experts", "n_routed_experts"] {
        let config = DENSE.replacen('{', &format!("{{\"{key}\": 0, "), 1);
        let model = with_config(config).expect_status(0).json()["model"].clone();
        assert_eq!(model["architecture"], "dense", "{key}");
        assert_eq!(model["total_params"], plain["total_params"], "{key}");
    }
}

#[test]
fn lists_with_a_value_for_each_layer() {
    let config = |top_k: &str| {
        format!(
            r#"{{"model_type": "m", "hidden_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "vocab_size": 100, "intermediate_size": 128,
            "moe_intermediate_size": 32, "num_experts": 8, "num_experts_per_tok": {top_k}}}"#
        )
    };
    let one = with_config(config("4")).expect_status(0).json()["model"]["expert"].clone();
    let many = with_config(config("[4, 4]")).expect_status(0).json()["model"]["expert"].clone();
    assert_eq!(many["experts_per_token"], one["experts_per_token"]);
    with_config(config("[\"4\"]")).expect_error("INPUT_BAD_MODEL_CONFIG");
}

#[test]
fn a_quantisation_nobody_knows() {
    let run = profile()
        .file("config.json", DENSE)
        .args(["--model-config", "config.json", "--quant", "q4_k_mm"])
        .run()
        .expect_error("INPUT_UNKNOWN_QUANT");
    assert!(run.stderr.contains("q4_k_m"), "{}", run.stderr);
}

// ---- an earlier profile

#[test]
fn an_earlier_profile_is_passed_on() {
    let document = with_saved(&saved()).run().expect_status(0).json();
    assert_eq!(document["created"], "2026-06-04");
    assert_eq!(document["hardware"]["memory"]["cpu_mem_bw_gbps"], 55.0);
    assert_eq!(document["hardware"]["gpu"]["pcie_gen"], Value::Null);
    assert_eq!(document["model"]["expert"]["num_experts"], 8);
    assert_eq!(document["notes"], json!(["from last summer"]));
    // What it does not know of the experts it goes on not knowing.
    let mut unknown = saved();
    unknown["model"]["expert"] = Value::Null;
    let document = with_saved(&unknown).run().expect_status(0).json();
    assert_eq!(document["model"]["expert"], Value::Null);
}

#[test]
fn another_model_on_an_earlier_rig() {
    let run = with_saved(&saved())
        .file("config.json", DENSE)
        .args(["--model-config", "config.json", "--quant", "f16"])
        .run();
    let document = run.expect_status(0).json();
    assert_eq!(document["model"]["name"], "llama");
    assert_eq!(document["model"]["quant"], "f16");
    assert_eq!(document["hardware"]["gpu"]["name"], "Some Card 16G");
    assert_eq!(document["notes"][0], "from last summer");
    with_saved(&saved())
        .args(["--model-config", "nope.json"])
        .run()
        .expect_error("INPUT_BAD_MODEL_CONFIG");
}

#[test]
fn profiles_that_cannot_be_used() {
    let mut bad = vec![
        String::new(),
        "{".into(),
        "[]".into(),
        "null".into(),
        "3".into(),
    ];
    let texts = [
        ("/hardware", Value::Null),
        ("/hardware/gpu", Value::Null),
        ("/hardware/gpu", json!([])),
        ("/hardware/gpu/vram_total_mib", json!("16376")),
        ("/hardware/gpu/vram_total_mib", json!(-1)),
        ("/hardware/gpu/vram_total_mib", json!(true)),
        ("/hardware/memory/ram_total_gib", json!({})),
        ("/model", json!([])),
        ("/model/name", json!(7)),
        ("/created", json!(7)),
        ("/notes", json!("a note")),
    ];
    for (path, value) in texts {
        let mut document = saved();
        *document.pointer_mut(path).unwrap() = value;
        bad.push(document.to_string());
    }
    for key in ["schema_version", "created", "hardware"] {
        let mut document = saved();
        document.as_object_mut().unwrap().remove(key);
        bad.push(document.to_string());
    }
    bad.push(saved().to_string().replace("16376", "NaN"));
    bad.push(saved().to_string().replace("16376", "1e999"));
    bad.push("[".repeat(100_000));
    for text in bad {
        let run = Tool::new("profile")
            .file("in.json", &text)
            .args(["--from-profile", "in.json"])
            .run();
        let shown = text.get(..200).unwrap_or(&text).to_owned();
        assert_eq!(
            (run.status, run.code()),
            (2, Some("INPUT_BAD_PROFILE")),
            "{shown}: {}",
            run.stderr
        );
        assert!(run.stdout.is_empty());
    }
    let missing = Tool::new("profile")
        .args(["--from-profile", "nope.json"])
        .run();
    missing.expect_error("INPUT_BAD_PROFILE");
}

// ---- the baseline

#[test]
fn measurements_go_into_the_database_and_the_profile_beside_it() {
    let emit = [
        "--emit-baseline",
        "--baseline-db",
        "b.db",
        "--date",
        "2026-03-04",
    ];
    let run = with_saved(&saved()).args(emit).run().expect_status(0);
    let kept = run.path("baselines/2026-03-04-some-card-16g.json");
    let kept: Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    assert_eq!(kept, run.json());
    let head = std::fs::read(run.path("b.db")).unwrap();
    assert!(head.starts_with(b"SQLite format 3\0"));
}

#[test]
fn a_baseline_that_cannot_be_stored() {
    let emit = |database: &str| {
        [
            "--emit-baseline".to_owned(),
            "--baseline-db".into(),
            database.into(),
        ]
    };
    let mut nothing = saved();
    nothing["hardware"]["bandwidth"] = json!({});
    nothing["hardware"]["gpu"] = json!({"name": "x"});
    let run = with_saved(&nothing).args(emit("b.db")).run();
    let run = run.expect_error("RUNTIME_EMIT_BASELINE_FAILED");
    assert!(!run.path("b.db").exists() && !run.path("baselines").exists());

    let text =
        "a text file that is long enough to be looked at as a database, or so one would think";
    let run = with_saved(&saved())
        .file("b.db", text.repeat(20))
        .args(emit("b.db"))
        .run();
    let run = run.expect_error("RUNTIME_EMIT_BASELINE_FAILED");
    assert_eq!(
        std::fs::read_to_string(run.path("b.db")).unwrap(),
        text.repeat(20)
    );
    assert!(!run.path("baselines").exists());

    with_saved(&saved())
        .args(emit("no/b.db"))
        .run()
        .expect_error("RUNTIME_EMIT_BASELINE_FAILED");
    with_saved(&saved())
        .args(emit("."))
        .run()
        .expect_error("RUNTIME_EMIT_BASELINE_FAILED");
}

#[test]
fn the_default_database_is_in_the_users_data_folder() {
    let tool = with_saved(&saved());
    let data = tool.dir().join("data");
    let home = tool.dir().join("home");
    let run = tool
        .arg("--emit-baseline")
        .env("XDG_DATA_HOME", data)
        .run()
        .expect_status(0);
    if cfg!(target_os = "linux") {
        assert!(run.path("data/gpu-container/baseline.db").exists());
    }
    let run = with_saved(&saved())
        .arg("--emit-baseline")
        .env("XDG_DATA_HOME", "")
        .env("HOME", home)
        .run()
        .expect_status(0);
    drop(run);
    let none = with_saved(&saved())
        .arg("--emit-baseline")
        .env("XDG_DATA_HOME", "")
        .env("HOME", "");
    none.run().expect_error("RUNTIME_EMIT_BASELINE_FAILED");
}

#[test]
fn a_date_or_a_name_leads_nowhere_else() {
    let mut odd = saved();
    odd["hardware"]["gpu"]["name"] = json!("../../Card");
    let run = with_saved(&odd)
        .args([
            "--emit-baseline",
            "--baseline-db",
            "d/b.db",
            "--date",
            "../../x",
        ])
        .file("d/.keep", "")
        .run()
        .expect_status(0);
    let names: Vec<_> = std::fs::read_dir(run.path("d/baselines"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["------x-card.json"]);
}

// ---- hostile input

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes, and any damage to good ones, end in a document or in a coded error.
    #[test]
    fn any_bytes_are_refused_or_read(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let damaged = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let n = bytes.len();
            bytes[at.index(n)] = byte;
            let (from, to) = (cut.index(n), at.index(n));
            if from < to { bytes.drain(from..to.min(from + 7)); }
            bytes
        };
        for (flag, bytes, code) in [
            ("--model-config", noise.clone(), "INPUT_BAD_MODEL_CONFIG"),
            ("--model-config", damaged(DENSE), "INPUT_BAD_MODEL_CONFIG"),
            ("--from-profile", noise, "INPUT_BAD_PROFILE"),
            ("--from-profile", damaged(&saved().to_string()), "INPUT_BAD_PROFILE"),
        ] {
            let run = profile().file("in", &bytes).args([flag, "in"]).run();
            match run.status {
                0 => { run.json(); }
                2 => prop_assert!(run.code() == Some(code), "{}", run.stderr),
                other => prop_assert!(false, "status {other}: {}", run.stderr),
            }
        }
    }
}

#[test]
fn the_history_of_a_rig() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("b.db");
    let emit = |date: &str, rate: f64| {
        let mut profile = saved();
        profile["hardware"]["bandwidth"]["pcie_h2d_gbps"] = json!(rate);
        with_saved(&profile)
            .args(["--emit-baseline", "--date", date, "--baseline-db"])
            .arg(&database)
            .run()
            .expect_status(0);
    };
    emit("2026-02-01", 12.25);
    emit("2026-01-01", 24.5);
    let history = |database: &std::path::Path| {
        Tool::new("profile")
            .args(["--baseline-history", "--baseline-db"])
            .arg(database)
            .run()
    };
    let run = history(&database).expect_status(0);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], "some-card-16g (in-container)", "{}", run.stdout);
    assert_eq!(lines[1].trim(), "pcie_h2d_gbps");
    assert!(
        lines[2].contains("2026-01-01") && lines[2].contains("24.5"),
        "{}",
        run.stdout
    );
    assert!(
        lines[3].contains("2026-02-01") && lines[3].contains("-50.0 %"),
        "{}",
        run.stdout
    );
    // None is made by looking for one.
    let none = folder.path().join("none.db");
    history(&none).expect_error("IO_READ_FAILED");
    assert!(!none.exists());
    std::fs::write(
        &none,
        "a text file, quite long enough to be looked at as a database",
    )
    .unwrap();
    history(&none).expect_error("RUNTIME_EMIT_BASELINE_FAILED");
}
