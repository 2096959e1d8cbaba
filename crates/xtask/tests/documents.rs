//! The committed schemas are those of the types, and every document there is validates: the
//! examples, and what the commands write.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use clap::Parser;
use gpu_container::{concentration, plan, profile, receipt};
use gpuc_core::safety::{Limit, Setting};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};
use xtask::{root, schemas};

struct Schemas(BTreeMap<String, Validator>);

impl Schemas {
    /// Those that are committed.
    fn read() -> Self {
        let folder = fs::read_dir(root().join(schemas::FOLDER)).unwrap();
        let files = folder.map(|entry| entry.unwrap().path());
        Self(
            files
                .map(|path| {
                    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                    let validator = jsonschema::draft202012::new(&read(&path)).unwrap();
                    (name, validator)
                })
                .collect(),
        )
    }

    fn holds(&self, name: &str, document: &Value) {
        let faults: Vec<String> = self.0[name]
            .iter_errors(document)
            .map(|e| format!("{e} at {}", e.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{name}: {faults:?}\n{document:#}");
    }

    fn holds_file(&self, name: &str, path: &Path) -> Value {
        let document = read(path);
        self.holds(name, &document);
        document
    }
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn examples(of: &str) -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("examples").join(of)).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

/// The arguments of a command as a shell would hand them over.
fn args<A: Parser>(words: &[&dyn AsRef<std::ffi::OsStr>]) -> A {
    let words = words.iter().map(|w| w.as_ref().to_owned());
    A::try_parse_from(std::iter::once("command".into()).chain(words)).unwrap()
}

#[test]
fn the_committed_schemas_are_those_of_the_types() {
    let mut names = Vec::new();
    for (name, schema) in schemas::all() {
        let path = root().join(schemas::FOLDER).join(format!("{name}.json"));
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == schemas::text(&schema).unwrap(),
            "{} is not what the types say: run `cargo run -p xtask -- schemas`",
            path.display()
        );
        names.push(name.to_owned());
    }
    names.sort();
    let there: Vec<String> = Schemas::read().0.into_keys().collect();
    assert_eq!(there, names, "a schema that nothing generates");
}

#[test]
fn a_document_that_is_another_is_refused() {
    let schemas = Schemas::read();
    let rig = read(&root().join("examples/rigs/rtx-3060-12gb.json"));
    schemas.holds("profile", &rig);
    for (path, value) in [
        ("/hardware/gpu/vram_total_mib", json!("12288")),
        ("/hardware/gpu/name", json!(null)),
        ("/hardware", json!([])),
        ("/schema_version", json!(1)),
    ] {
        let mut other = rig.clone();
        *other.pointer_mut(path).unwrap() = value;
        assert!(!schemas.0["profile"].is_valid(&other), "{path}");
    }
    assert!(!schemas.0["plan"].is_valid(&rig));
}

#[test]
fn the_examples_validate() {
    let schemas = Schemas::read();
    schemas.holds_file("watchdog-config", &root().join("watchdog.example.json"));
    for rig in examples("rigs") {
        schemas.holds_file("profile", &rig);
    }
}

/// Values of every kind, each side of every limit among them.
fn any_value() -> impl Strategy<Value = Value> {
    let numbers = [
        -1.0,
        -0.0,
        0.0,
        0.5,
        1.0,
        1.01,
        3.0,
        1000.0,
        1000.5,
        86400.0,
        86401.0,
        4294967295.0,
        4294967296.0,
        1099511627776.0,
        1099511627777.0,
        1e300,
    ];
    let bare = prop_oneof![
        prop::sample::select(numbers.to_vec()).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec!["", "auto", "off", "alert", "1"]).prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
    ];
    let of_object = |v: Value| json!({"value": v, "from": "file"});
    bare.prop_flat_map(move |v| {
        let printed = of_object(v.clone());
        let twice = of_object(printed.clone());
        prop::sample::select(vec![v.clone(), v, printed, twice])
    })
}

fn any_key() -> impl Strategy<Value = String> {
    let limits = Limit::ALL.into_iter().map(Limit::key);
    let settings = Setting::ALL.into_iter().map(Setting::key);
    let others = ["sustain_s", "limits", "_comment", "mode", "gpu_temp_max"];
    let keys: Vec<&str> = limits.chain(settings).chain(others).collect();
    prop::sample::select(keys).prop_map(str::to_owned)
}

fn any_object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(any_key(), any_value(), 0..4).prop_map(|map| json!(map))
}

static WATCHDOG_CONFIG: LazyLock<Validator> =
    LazyLock::new(|| Schemas::read().0.remove("watchdog-config").unwrap());

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    /// The reader of --config takes what its schema takes, and nothing else.
    #[test]
    fn the_schema_of_the_watchdogs_file_is_what_its_reader_takes(
        mut document in any_object(),
        limits in prop::option::of(any_object()),
        sustain in prop::option::of(any_object()),
    ) {
        for (key, value) in [("limits", limits), ("sustain_s", sustain)] {
            if let Some(value) = value {
                document[key] = value;
            }
        }
        let read = gpuc_core::safety::config(document.to_string().as_bytes());
        prop_assert_eq!(WATCHDOG_CONFIG.is_valid(&document), read.is_ok(), "{:?}", read);
    }
}

#[test]
fn what_plan_and_receipt_write_validates() {
    let schemas = Schemas::read();
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("points");
    let out = dir.path().join("out.json");
    let mut shipped = 0;
    for rig in examples("rigs") {
        for model in examples("models") {
            let run = |further: &[&dyn AsRef<std::ffi::OsStr>]| {
                let mut words: Vec<&dyn AsRef<std::ffi::OsStr>> =
                    vec![&"--profile", &rig, &"--model-config", &model, &"-o", &out];
                words.extend(further);
                plan::run(args(&words)).unwrap();
            };
            run(&[&"--frontier"]);
            schemas.holds_file("frontier", &out);
            run(&[]);
            let plan = schemas.holds_file("plan", &out);
            if plan["verdict"] != "ship" {
                continue;
            }
            shipped += 1;
            let rate = plan["predicted_decode_tok_s"].to_string();
            let measured = dir.path().join("receipt.json");
            receipt::run(args(&[
                &"--plan",
                &out,
                &"--decode-tok-s",
                &rate,
                &"--model-name",
                &"m",
                &"--calibration-dir",
                &store,
                &"-o",
                &measured,
            ]))
            .unwrap();
            schemas.holds_file("receipt", &measured);
        }
    }
    assert!(shipped >= 5);
    let points = fs::read_dir(&store).unwrap();
    let points: Vec<_> = points.map(|p| p.unwrap().path()).collect();
    assert!(!points.is_empty());
    for point in points {
        schemas.holds_file("calibration-point", &point);
    }
    receipt::run(args(&[&"--history", &store, &"-o", &out])).unwrap();
    schemas.holds_file("calibration-history", &out);
}

#[test]
fn what_profile_and_concentration_write_validates() {
    let schemas = Schemas::read();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.json");
    let model = root().join("examples/models/qwen3-30b-a3b.json");
    profile::run(&args(&[
        &"--what-if",
        &"RTX 4090",
        &"--ram",
        &"64GiB",
        &"--ram-bw",
        &"80",
        &"--model-config",
        &model,
        &"-o",
        &out,
    ]))
    .unwrap();
    schemas.holds_file("profile", &out);

    let trace = dir.path().join("trace.json");
    let counts = json!({
        "model": "m", "num_experts": 4, "experts_per_token": 2, "n_tokens": 50,
        "layers": [{"layer_index": 0, "expert_counts": [97, 1, 1, 1]}],
    });
    schemas.holds("trace", &counts);
    fs::write(&trace, counts.to_string()).unwrap();
    concentration::run(args(&[&"--trace", &trace, &"-o", &out])).unwrap();
    schemas.holds_file("concentration", &out);

    let line = |pos| json!({"pos": pos, "layer": 0, "experts": [pos % 3, 5]}).to_string();
    let per_token: Vec<String> = (0..32).map(line).collect();
    fs::write(&trace, per_token.join("\n")).unwrap();
    concentration::run(args(&[&"--trace", &trace, &"-o", &out])).unwrap();
    let report = schemas.holds_file("concentration", &out);
    assert!(report["replay"].is_array());
}

/// It takes over the signals of its process, so the command itself is run.
#[test]
fn what_the_watchdog_writes_validates() {
    let this = std::env::current_exe().unwrap();
    let watchdog = this
        .ancestors()
        .nth(2)
        .unwrap()
        .join("gpu-container-watchdog");
    if !watchdog.exists() {
        eprintln!("skipped: {} is not built", watchdog.display());
        return;
    }
    let schemas = Schemas::read();
    let dir = tempfile::tempdir().unwrap();
    let ended = Command::new(watchdog)
        .current_dir(dir.path())
        .env("GPUC_NVML_LIB", "/nonexistent/libnvidia-ml.so.1")
        .args([
            "--log",
            "log.jsonl",
            "--json-out",
            "reports.jsonl",
            "--on-breach",
            "alert",
        ])
        .args(["run", "--peaks-out", "peaks.json"])
        .args(["--events", "events.jsonl", "--", "true"])
        .output()
        .unwrap();
    assert!(ended.status.code().is_some(), "{ended:?}");
    schemas.holds_file("peaks", &dir.path().join("peaks.json"));
    for (name, file) in [
        ("watchdog-log-line", "log.jsonl"),
        ("watchdog-report", "reports.jsonl"),
        ("watchdog-event", "events.jsonl"),
    ] {
        let text = fs::read_to_string(dir.path().join(file)).unwrap();
        assert!(!text.is_empty(), "{file}");
        for line in text.lines() {
            schemas.holds(name, &serde_json::from_str(line).unwrap());
        }
    }
}

#[test]
fn every_command_has_its_page_and_its_completions() {
    let dir = tempfile::tempdir().unwrap();
    xtask::write_man(dir.path()).unwrap();
    xtask::write_completions(dir.path()).unwrap();
    for command in xtask::commands() {
        let name = command.get_name().to_owned();
        let page = fs::read_to_string(dir.path().join(format!("{name}.1"))).unwrap();
        assert!(
            page.contains(".SH EXAMPLES") && page.contains(".SH \"EXIT STATUS"),
            "{page}"
        );
        let completions = [
            format!("bash/{name}"),
            format!("zsh/_{name}"),
            format!("fish/{name}.fish"),
        ]
        .map(|file| fs::read_to_string(dir.path().join(file)).unwrap());
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            // roff writes a hyphen as \-.
            let roff = flag.replace('-', r"\-");
            assert!(page.contains(&roff), "{name}.1 lacks --{flag}");
            for text in &completions {
                assert!(text.contains(flag), "{name} lacks --{flag}");
            }
        }
    }
    assert!(dir.path().join("gpu-container-watchdog-run.1").exists());
}
