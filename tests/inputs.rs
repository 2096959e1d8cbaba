//! Each input file of each command: in any encoding, of any bytes. A verdict or a coded error, never
//! a panic.
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
use support::{Run, Tool, gguf, plans};

/// One input of one command.
struct Input {
    name: &'static str,
    /// A good one, to be damaged.
    good: Vec<u8>,
    run: fn(&[u8]) -> Run,
}

fn small_plan() -> String {
    json!({"fits": true, "verdict": "ship", "n_cpu_moe": 3, "n_moe_layers": 4, "floor_tok_s": 1.0,
        "ceiling_decode_tok_s": 2000.0, "predicted_decode_tok_s": 900.0,
        "predicted_band_low_tok_s": 700.0, "predicted_band_high_tok_s": 1100.0,
        "llama_flags": "-ngl 99 --n-cpu-moe 3 -c 4096 -fa on"})
    .to_string()
}

fn receipt(plan: &[u8], flags: &[&str], more: (&str, &[u8])) -> Run {
    Tool::new("receipt")
        .file("plan.json", plan)
        .file(more.0, more.1)
        .args(["--plan", "plan.json"])
        .args(flags)
        .run()
}

/// The command `name`, reading `file`.
fn reading(name: &str, args: &[&str], file: &str, bytes: &[u8]) -> Run {
    Tool::new(name).args(args).file(file, bytes).run()
}

fn nvidia_smi(tool: Tool, rows: &[u8]) -> Run {
    tool.file("rows", rows)
        .on_path("nvidia-smi", "#!/bin/sh\ncat \"${0%/*}/../rows\"\n")
        .run()
}

/// A baseline database with a measurement in it.
fn database() -> Vec<u8> {
    let run = emit("made.db", None).expect_status(0);
    std::fs::read(run.path("made.db")).unwrap()
}

fn emit(name: &str, bytes: Option<&[u8]>) -> Run {
    let mut tool = Tool::new("profile").file("p.json", plans::profile().to_string());
    if let Some(bytes) = bytes {
        tool = tool.file(name, bytes);
    }
    tool.args(["--from-profile", "p.json", "--emit-baseline"])
        .args(["--baseline-db", name, "--date", "2026-10-01"])
        .run()
}

fn inputs() -> Vec<Input> {
    let trace = json!({"model": "m", "num_experts": 4, "experts_per_token": 1, "n_tokens": 100,
        "layers": [{"layer_index": 0, "expert_counts": [97, 1, 1, 1]}], "gate_weighted": false});
    let peaks = json!({"samples": 12, "peak_gpu_temp_c": 61.0, "peak_gpu_power_pct": 80.5,
        "peak_host_mem_pct": 40.0, "min_host_avail_mib": 9000.0, "stayed_within_envelope": true});
    let point = json!([{"model": "m", "n_cpu_moe": 24, "n_moe_layers": 48, "ceiling_tok_s": 60.0,
        "measured_tok_s": 31.0, "quant": "q4_k_m", "created": "2026-10-01"}]);
    let text = |v: &Value| v.to_string().into_bytes();
    let input = |name, good, run| Input { name, good, run };
    vec![
        input("plan --profile", text(&plans::profile_with_model()), |b| {
            plans::plan_profile(b)
        }),
        input("plan --model-config", text(&plans::config()), |b| {
            plans::plan_text(plans::profile().to_string(), b, &[])
        }),
        input("plan --model", gguf::model(), |b| {
            Tool::new("plan")
                .file("p.json", plans::profile().to_string())
                .file("m.gguf", b)
                .args(["--profile", "p.json", "--model", "m.gguf"])
                .run()
        }),
        input("plan --calibration-dir", text(&point), |b| {
            plans::calibrated(b)
        }),
        input(
            "profile --from-profile",
            text(&plans::profile_with_model()),
            |b| reading("profile", &["--from-profile", "p.json"], "p.json", b),
        ),
        input("profile --model-config", text(&plans::config()), |b| {
            reading(
                "profile",
                &["--no-bench", "--model-config", "c.json"],
                "c.json",
                b,
            )
        }),
        input("profile --baseline-db", database(), |b| {
            emit("b.db", Some(b))
        }),
        input(
            "profile and nvidia-smi",
            b"Card, 560.35, 24564, 23110, 8.9, 4, 16\n".to_vec(),
            |b| nvidia_smi(Tool::new("profile").arg("--no-bench"), b),
        ),
        input("receipt --plan", small_plan().into_bytes(), |b| {
            receipt(b, &["--decode-tok-s", "5"], ("unused", b""))
        }),
        input(
            "receipt --bench",
            include_bytes!("data/bench/bench-sweep.jsonl").to_vec(),
            |b| receipt(small_plan().as_bytes(), &["--bench", "b.txt"], ("b.txt", b)),
        ),
        input("receipt --peaks", text(&peaks), |b| {
            let flags = ["--decode-tok-s", "5", "--peaks", "k.json"];
            receipt(small_plan().as_bytes(), &flags, ("k.json", b))
        }),
        input("receipt --trace", text(&trace), |b| {
            let flags = ["--decode-tok-s", "5", "--trace", "t.json"];
            receipt(small_plan().as_bytes(), &flags, ("t.json", b))
        }),
        input("concentration --trace", text(&trace), |b| {
            reading("concentration", &["--trace", "t.json"], "t.json", b)
        }),
        input(
            "concentration --imatrix",
            include_bytes!("data/imatrix-micro.gguf").to_vec(),
            |b| reading("concentration", &["--imatrix", "i.gguf"], "i.gguf", b),
        ),
        input(
            "watchdog --config",
            include_bytes!("../watchdog.example.json").to_vec(),
            |b| reading("watchdog", &["--json", "--config", "w.json"], "w.json", b),
        ),
        input(
            "watchdog and nvidia-smi",
            b"95.0, 170.0, 61, 1000, 12288, 42\n".to_vec(),
            |b| nvidia_smi(Tool::new("watchdog").arg("--json"), b),
        ),
    ]
}

/// A status of the contract; with 2 a coded error that is not ours, else a document.
fn judged(name: &str, bytes: &[u8], run: &Run) {
    let what = || {
        let start: Vec<u8> = bytes.iter().take(400).copied().collect();
        format!(
            "{name}: {:?}: {}",
            String::from_utf8_lossy(&start),
            run.stderr
        )
    };
    match run.status {
        0 | 3 | 4 | 5 | 7 => assert!(run.json().is_object(), "{}", what()),
        2 => {
            let code = run.code().unwrap_or_else(|| panic!("no code: {}", what()));
            assert!(code != "RUNTIME_UNEXPECTED", "{}", what());
            assert!(run.stderr.contains("\n  hint: "), "no hint: {}", what());
        }
        status => panic!("status {status}: {}", what()),
    }
}

/// The good input with bytes changed, a part of it doubled, and its end cut off.
fn damaged(good: &[u8], edits: &[(prop::sample::Index, u8)], cut: prop::sample::Index) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for (at, with) in edits {
        // What is read of a large file lies at its start.
        let at = at.index(bytes.len().min(6000));
        bytes[at] = *with;
    }
    // Half of them keep their end.
    let end = cut.index(2 * good.len());
    bytes.truncate(end.max(1));
    bytes
}

/// Bytes that mean something to one reader or another.
fn telling() -> impl Strategy<Value = u8> {
    prop_oneof![
        any::<u8>(),
        prop::sample::select(b"0123456789-+.eE,:;|\"'[]{}()\\ \n\0\xff".to_vec()),
    ]
}

#[test]
fn the_good_inputs_are_good() {
    for input in inputs() {
        let run = (input.run)(&input.good);
        assert!(run.status != 2, "{}: {}", input.name, run.stderr);
    }
}

/// PowerShell writes UTF-16, editors write a byte-order mark.
#[test]
fn text_may_come_from_windows() {
    for input in inputs() {
        // A database, weights and what a tool prints are no text files; a calibration store is
        // written by a receipt, and what is written otherwise does not count there.
        let Ok(text) = String::from_utf8(input.good.clone()) else {
            continue;
        };
        let others = [
            "nvidia-smi",
            "--calibration-dir",
            "--baseline-db",
            "--model",
        ];
        if others.iter().any(|name| input.name.ends_with(name)) {
            continue;
        }
        let expected = (input.run)(&input.good);
        let utf16 = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let units = text.encode_utf16().flat_map(bytes);
            mark.into_iter().chain(units).collect()
        };
        for bytes in [
            ["\u{feff}".as_bytes(), text.as_bytes()].concat(),
            utf16([0xff, 0xfe], u16::to_le_bytes),
            utf16([0xfe, 0xff], u16::to_be_bytes),
        ] {
            let run = (input.run)(&bytes);
            assert_eq!(
                run.status, expected.status,
                "{}: {}",
                input.name, run.stderr
            );
            if !input.name.starts_with("watchdog") {
                assert_eq!(run.stdout, expected.stdout, "{}", input.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(telling(), 0..300)) {
        for input in inputs() {
            judged(input.name, &bytes, &(input.run)(&bytes));
        }
    }

    #[test]
    fn damaged_files_are_judged(
        edits in prop::collection::vec((any::<prop::sample::Index>(), telling()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        for input in inputs() {
            let bytes = damaged(&input.good, &edits, cut);
            judged(input.name, &bytes, &(input.run)(&bytes));
        }
    }
}
