//! `gpu-container-plan --model`, from a file's header to llama.cpp's flags.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use support::headers::{self, Value as Key};
use support::{Run, Tool};

/// A rig with this much free VRAM, MiB, and RAM, GiB.
fn rig(vram: u64, ram: u64) -> String {
    json!({
        "schema_version": "0.1.0",
        "created": "2026-10-01",
        "hardware": {
            "gpu": {"name": "card", "vram_total_mib": vram, "vram_free_mib": vram},
            "platform": {"os": "linux"},
            "bandwidth": {"vram_gbps": 1000.0},
            "memory": {
                "ram_total_gib": ram, "ram_available_gib": ram, "cpu_mem_bw_gbps": 80.0,
            },
        },
    })
    .to_string()
}

fn plan_path(rig: &str, model: &Path, flags: &[&str]) -> Run {
    Tool::new("plan")
        .file("p.json", rig)
        .args(["--profile", "p.json", "--no-calibration", "--model"])
        .arg(model)
        .args(flags)
        .run()
}

/// Plans a committed header in a rig with 1 TiB of RAM.
fn plan(name: &str, vram: u64, flags: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let model = headers::model(dir.path(), name);
    plan_path(&rig(vram, 1024), &model, flags).json()
}

fn part(plan: &Value, host: bool, what: &str) -> u64 {
    let map = plan["memory_map"].as_array().unwrap();
    let of = |d: &&Value| (d["device"] == "host") == host;
    map.iter()
        .find(of)
        .map_or(0, |d| d[what].as_u64().unwrap() >> 20)
}

#[test]
fn the_memory_map_is_llama_cpps() {
    let csv = std::fs::read_to_string(headers::folder().join("llama-cpp-memory.csv")).unwrap();
    let mut by_model: BTreeMap<&str, Vec<Vec<&str>>> = BTreeMap::new();
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        by_model.entry(fields[0]).or_default().push(fields);
    }
    assert!(by_model.len() > 20);
    let dir = tempfile::tempdir().unwrap();
    for (name, rows) in by_model {
        let model = headers::model(dir.path(), name.trim_end_matches(".gguf"));
        // Three rows each: the library's own tests hold all of them.
        for row in rows.iter().step_by(rows.len().div_ceil(3)) {
            let flags = [
                "--n-gpu-layers",
                row[1],
                "--n-cpu-moe",
                row[2],
                "--ctx",
                row[3],
                "--cache-type-k",
                row[4],
                "--cache-type-v",
                row[4],
                "--ubatch-size",
                row[5],
                "--flash-attn",
                row[6],
            ];
            let plan = plan_path(&rig(10_000_000, 4096), &model, &flags).json();
            let n = |i: usize| row[i].parse::<u64>().unwrap();
            let weights = |host| part(&plan, host, "weights_bytes");
            let context = |host| part(&plan, host, "context_bytes");
            assert_eq!(weights(false), n(7), "{row:?}");
            assert!(context(false).abs_diff(n(8)) <= 1, "{row:?}");
            assert!(weights(true).abs_diff(n(10)) <= 1, "{row:?}");
            assert!(context(true).abs_diff(n(11)) <= 1, "{row:?}");
            let compute = part(&plan, false, "compute_bytes");
            assert!(
                compute.abs_diff(n(9)) <= (n(9) / 10).max(32),
                "{compute} {row:?}"
            );
        }
        std::fs::remove_file(model).unwrap();
    }
}

#[test]
fn layers_put_as_few_blocks_on_the_host_as_possible() {
    let p = plan("qwen3-30b-a3b.Q4_K_M", 12_000, &["--margin-mib", "0"]);
    assert_eq!(p["verdict"], "ship");
    assert_eq!(p["footprint_source"], "gguf");
    let n = p["n_cpu_moe"].as_u64().unwrap();
    assert!(n > 0);
    let forced = |n: u64| {
        let n = n.to_string();
        plan(
            "qwen3-30b-a3b.Q4_K_M",
            12_000,
            &["--margin-mib", "0", "--n-cpu-moe", &n],
        )
    };
    assert_eq!(forced(n)["verdict"], "ship");
    assert_eq!(forced(n - 1)["verdict"], "refuse");
    let flags = p["llama_flags"].as_str().unwrap();
    let want =
        format!("-ngl 99 --n-cpu-moe {n} -c 4096 -fa on -ub 512 -ctk f16 -ctv f16 -np 1 -fit off");
    assert_eq!(flags, want);
}

#[test]
fn dense_blocks_in_front_count_in_n_cpu_moe() {
    // The first three of DeepSeek-V3's blocks have no experts: one block on the host is N = 4.
    let p = plan("deepseek3", 1_000_000, &["--n-cpu-moe", "3"]);
    let none = plan("deepseek3", 1_000_000, &["--n-cpu-moe", "0"]);
    assert_eq!(p["memory_map"], none["memory_map"]);
    let one = plan("deepseek3", 1_000_000, &["--n-cpu-moe", "4"]);
    assert!(part(&one, true, "weights_bytes") > part(&none, true, "weights_bytes"));
}

/// The tensors of a header that these flags would leave on the host, by this test's own reading.
fn expert_rules(flags: &str) -> BTreeSet<(u64, String)> {
    let words: Vec<&str> = flags.split(' ').collect();
    let after = |flag: &str| words.iter().position(|w| *w == flag).map(|i| words[i + 1]);
    let mut host = BTreeSet::new();
    let n: u64 = after("--n-cpu-moe").unwrap().parse().unwrap();
    for block in 0..n {
        for kind in ["gate", "up", "down"] {
            host.insert((block, kind.to_owned()));
        }
    }
    let rules = after("-ot").map_or("", |r| r.trim_matches('"'));
    for rule in rules.split(',').filter(|r| !r.is_empty()) {
        let pattern = rule.strip_suffix("=CPU").unwrap();
        let pattern = pattern.strip_prefix(r"blk\.(").unwrap();
        let (blocks, kinds) = pattern.split_once(r")\.ffn_(").unwrap();
        let kinds = kinds.strip_suffix(")_exps").unwrap();
        for block in blocks.split('|') {
            for kind in kinds.split('|') {
                let new = host.insert((block.parse().unwrap(), kind.to_owned()));
                assert!(new, "named twice: {block} {kind} in {flags}");
            }
        }
    }
    host
}

#[test]
fn override_rules_name_what_the_map_counts() {
    let everything = plan("mixtral-8x7b.Q4_K_M", 1_000_000, &[]);
    let base = part(&everything, true, "weights_bytes");
    for vram in [9_000, 12_000, 15_000, 18_000] {
        let p = plan("mixtral-8x7b.Q4_K_M", vram, &["--placement", "tensors"]);
        let flags = p["llama_flags"].as_str().unwrap();
        // Q4_K_M's gate and up tensors take 252 MiB a block; a down tensor that, or 367.5 as Q6_K.
        let host = expert_rules(flags);
        let mib = part(&p, true, "weights_bytes") - base;
        let least = host.len() as u64 * 252;
        assert!(
            (least..=least + host.len() as u64 * 116).contains(&mib),
            "{mib} {flags}"
        );
        assert!(flags.ends_with(" -fit off"), "{flags}");
    }
}

#[test]
fn single_tensors_are_never_worse_and_nothing_passes_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "qwen3-30b-a3b.Q4_K_M",
        "mixtral-8x7b.Q4_K_M",
        "deepseek-v2-lite.Q4_K_M",
        "gpt-oss-20b.MXFP4_MOE",
        "llama-4-scout.Q4_K_M",
        "qwen3-next-80b-a3b.Q4_K_M",
        "llama-3.1-8b.Q4_K_M",
        "gemma-3-27b.Q4_K_M",
        "glm45air",
        "deepseek3",
    ] {
        let model = headers::model(dir.path(), name);
        let mut before: Option<(u64, f64)> = None;
        for vram in [1_500, 3_000, 5_000, 8_000, 13_000, 21_000, 34_000, 80_000] {
            let one = |how: &str| {
                let flags = ["--placement", how, "--margin-mib", "300", "--floor", "0"];
                let p = plan_path(&rig(vram, 1024), &model, &flags).json();
                assert_eq!(
                    p["verdict"], "ship",
                    "{name} {vram} {how}: {}",
                    p["message"]
                );
                assert!(
                    p["vram_used_mib"].as_f64().unwrap() <= vram as f64,
                    "{name} {vram} {how}"
                );
                p
            };
            let (layers, tensors) = (one("layers"), one("tensors"));
            let ceiling = |p: &Value| p["ceiling_decode_tok_s"].as_f64().unwrap();
            assert!(ceiling(&tensors) >= ceiling(&layers), "{name} {vram}");
            // More VRAM: no more blocks on the host, and no lower ceiling.
            // A dense model has none.
            let n = layers["n_cpu_moe"].as_u64().unwrap_or(0);
            if let Some((fewer, slower)) = before {
                assert!(n <= fewer, "{name} {vram}: {n} after {fewer}");
                assert!(ceiling(&layers) >= slower, "{name} {vram}");
            }
            before = Some((n, ceiling(&layers)));
        }
        std::fs::remove_file(model).unwrap();
    }
}

#[test]
fn a_dense_model_gets_as_many_blocks_as_fit() {
    let p = plan("llama-3.1-8b.Q4_K_M", 4_000, &["--margin-mib", "0"]);
    assert_eq!(p["verdict"], "ship");
    let k = p["n_gpu_layers"].as_u64().unwrap();
    assert!((1..33).contains(&k));
    let flags = p["llama_flags"].as_str().unwrap();
    assert!(flags.starts_with(&format!("-ngl {k} -c 4096 ")), "{flags}");
    let more = (k + 1).to_string();
    let over = plan(
        "llama-3.1-8b.Q4_K_M",
        4_000,
        &["--margin-mib", "0", "--n-gpu-layers", &more],
    );
    assert_eq!(over["verdict"], "refuse");
    // All of it, where all of it fits.
    let all = plan("llama-3.1-8b.Q4_K_M", 24_000, &[]);
    assert!(all["llama_flags"].as_str().unwrap().starts_with("-ngl 99 "));
}

#[test]
fn without_a_gpu_all_is_in_ram() {
    let dir = tempfile::tempdir().unwrap();
    let model = headers::model(dir.path(), "qwen3-30b-a3b.Q4_K_M");
    let mut no_gpu: Value = serde_json::from_str(&rig(1, 64)).unwrap();
    no_gpu["hardware"]["gpu"] = json!({"name": "none"});
    let unknown = plan_path(&no_gpu.to_string(), &model, &[]).expect_status(3);
    assert!(
        unknown.json()["message"]
            .as_str()
            .unwrap()
            .contains("--cpu-only"),
        "{}",
        unknown.stdout
    );
    let p = plan_path(&no_gpu.to_string(), &model, &["--cpu-only"])
        .expect_status(0)
        .json();
    assert_eq!(p["vram_used_mib"], 0.0);
    assert!(p["llama_flags"].as_str().unwrap().starts_with("-ngl 0 "));
    assert!(part(&p, true, "weights_bytes") > 17_000);
    let slow = plan_path(
        &no_gpu.to_string(),
        &model,
        &["--cpu-only", "--floor", "1000"],
    );
    slow.expect_status(3);
}

#[test]
fn host_ram_must_hold_what_is_put_there() {
    let dir = tempfile::tempdir().unwrap();
    let model = headers::model(dir.path(), "qwen3-30b-a3b.Q4_K_M");
    let run = plan_path(&rig(6_000, 8), &model, &[]).expect_status(3);
    let p = run.json();
    let kinds: Vec<&str> = p["remedies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["kind"].as_str().unwrap())
        .collect();
    assert!(kinds.contains(&"ram"), "{kinds:?} {}", p["message"]);
    // The message says the cheapest one.
    let best = p["remedies"][0]["change"].as_str().unwrap();
    assert!(
        p["message"].as_str().unwrap().contains(best),
        "{}",
        p["message"]
    );
}

#[test]
fn remedies_that_are_flags_or_vram_really_ship() {
    let dir = tempfile::tempdir().unwrap();
    let model = headers::model(dir.path(), "llama-3.1-8b.Q4_K_M");
    let flags = ["--ctx", "131072", "--floor", "30"];
    let p = plan_path(&rig(6_000, 64), &model, &flags)
        .expect_status(3)
        .json();
    let remedies = p["remedies"].as_array().unwrap();
    assert!(!remedies.is_empty(), "{}", p["message"]);
    for remedy in remedies {
        let Some(text) = remedy["flags"].as_str() else {
            continue;
        };
        let mut all: Vec<&str> = flags.to_vec();
        all.extend(text.split(' '));
        let cured = plan_path(&rig(6_000, 64), &model, &all).json();
        assert_eq!(cured["verdict"], "ship", "{text}: {}", cured["message"]);
    }
}

#[test]
fn the_frontier_is_the_whole_trade() {
    let dir = tempfile::tempdir().unwrap();
    let model = headers::model(dir.path(), "gpt-oss-20b.MXFP4_MOE");
    let run = plan_path(&rig(8_000, 64), &model, &["--frontier"]).expect_status(0);
    let table = run.json();
    let rows = table["rows"].as_array().unwrap();
    let contexts: BTreeSet<u64> = rows.iter().map(|r| r["ctx"].as_u64().unwrap()).collect();
    assert_eq!(contexts.first(), Some(&4096));
    assert_eq!(contexts.last(), Some(&131_072));
    let types: BTreeSet<&str> = rows
        .iter()
        .map(|r| r["cache_type"].as_str().unwrap())
        .collect();
    assert!(types.contains("f16") && types.contains("q8_0"), "{types:?}");
    for row in rows {
        let fits = row["vram_mib"].as_f64().unwrap() <= 8_000.0;
        assert!(fits || row["fits"] == false, "{row}");
    }
    assert!(run.stderr.contains("context"), "{}", run.stderr);
}

/// A small dense model, its blocks given to these many files in turn.
fn write_shards(dir: &Path, files: u16) {
    let (blocks, width, vocabulary) = (4u64, 256u64, 1024u64);
    let named = |k: &str, v| (format!("llama.{k}"), v);
    let mut tensors: Vec<headers::Shape> = vec![
        (
            "token_embd.weight".into(),
            vec![width, vocabulary],
            1,
            width * vocabulary * 2,
        ),
        ("output_norm.weight".into(), vec![width], 0, width * 4),
    ];
    for i in 0..blocks {
        for (name, rows) in [
            ("attn_q", width),
            ("attn_k", width),
            ("attn_v", width),
            ("attn_output", width),
            ("ffn_gate", 2 * width),
            ("ffn_up", 2 * width),
        ] {
            let bytes = width * rows * 2;
            tensors.push((
                format!("blk.{i}.{name}.weight"),
                vec![width, rows],
                1,
                bytes,
            ));
        }
        let down = format!("blk.{i}.ffn_down.weight");
        tensors.push((down, vec![2 * width, width], 1, 4 * width * width));
        for name in ["attn_norm", "ffn_norm"] {
            tensors.push((format!("blk.{i}.{name}.weight"), vec![width], 0, width * 4));
        }
    }
    let total = i32::try_from(tensors.len()).unwrap();
    for no in 0..files {
        let mut keys = vec![
            ("split.no".to_owned(), Key::U16(no)),
            ("split.count".to_owned(), Key::U16(files)),
            ("split.tensors.count".to_owned(), Key::I32(total)),
        ];
        if no == 0 {
            keys.extend([
                ("general.architecture".to_owned(), Key::Text("llama".into())),
                named("block_count", Key::U32(4)),
                named("embedding_length", Key::U32(256)),
                named("feed_forward_length", Key::U32(512)),
                named("context_length", Key::U32(4096)),
                named("attention.head_count", Key::U32(4)),
                named("attention.head_count_kv", Key::U32(4)),
                named("attention.layer_norm_rms_epsilon", Key::F32(1e-5)),
                named("vocab_size", Key::U32(1024)),
            ]);
        }
        let own: Vec<headers::Shape> = tensors
            .iter()
            .enumerate()
            .filter(|(i, _)| i % usize::from(files) == usize::from(no))
            .map(|(_, t)| t.clone())
            .collect();
        let name = if files == 1 {
            "whole.gguf".to_owned()
        } else {
            format!("m-{:05}-of-{files:05}.gguf", no + 1)
        };
        headers::write(&dir.join(name), &keys, &own);
    }
}

#[test]
fn a_split_model_is_planned_as_the_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    write_shards(dir.path(), 1);
    write_shards(dir.path(), 3);
    let whole = plan_path(&rig(8_000, 16), &dir.path().join("whole.gguf"), &[])
        .expect_status(0)
        .json();
    let first = dir.path().join("m-00001-of-00003.gguf");
    let second = dir.path().join("m-00002-of-00003.gguf");
    for path in [&first, &second] {
        let split = plan_path(&rig(8_000, 16), path, &[])
            .expect_status(0)
            .json();
        assert_eq!(split["memory_map"], whole["memory_map"]);
    }
    // A folder with one model in it stands for the model.
    std::fs::remove_file(dir.path().join("whole.gguf")).unwrap();
    let folder = plan_path(&rig(8_000, 16), dir.path(), &[]).expect_status(0);
    assert_eq!(folder.json()["memory_map"], whole["memory_map"]);

    std::fs::remove_file(&second).unwrap();
    let run = plan_path(&rig(8_000, 16), &first, &[]).expect_error("INPUT_BAD_MODEL_FILE");
    assert!(
        run.stderr.contains("m-00002-of-00003.gguf"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_download_that_was_cut_off_says_how_much_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    write_shards(dir.path(), 1);
    let path = dir.path().join("whole.gguf");
    let length = std::fs::metadata(&path).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(length - 12_345).unwrap();
    let run = plan_path(&rig(8_000, 16), &path, &[]).expect_error("INPUT_BAD_MODEL_FILE");
    let said = run.stderr.split("needs ").nth(1).unwrap_or_default();
    let bytes: u64 = said.split(' ').next().unwrap_or_default().parse().unwrap();
    // The end of the file is padding, of 31 bytes at most, which may be missing.
    assert!((12_345 - 31..=12_345).contains(&bytes), "{}", run.stderr);
    file.set_len(100).unwrap();
    plan_path(&rig(8_000, 16), &path, &[]).expect_error("INPUT_BAD_MODEL_FILE");
    plan_path(&rig(8_000, 16), &dir.path().join("no.gguf"), &[])
        .expect_error("INPUT_BAD_MODEL_FILE");
}

#[test]
fn flags_say_what_was_planned() {
    let p = plan(
        "gemma-3-27b.Q4_K_M",
        40_000,
        &[
            "--ctx",
            "10000",
            "--cache-type-k",
            "q8_0",
            "--cache-type-v",
            "q4_0",
            "--ubatch-size",
            "256",
            "--parallel",
            "2",
        ],
    );
    let flags = p["llama_flags"].as_str().unwrap();
    assert_eq!(
        flags,
        "-ngl 99 -c 10000 -fa on -ub 256 -ctk q8_0 -ctv q4_0 -np 2 -fit off"
    );
    // What llama.cpp would not start with is refused as it does.
    let dir = tempfile::tempdir().unwrap();
    let model = headers::model(dir.path(), "gemma-3-27b.Q4_K_M");
    let flags = ["--flash-attn", "off", "--cache-type-v", "q8_0"];
    plan_path(&rig(60_000, 64), &model, &flags).expect_error("INPUT_USAGE");
}

#[test]
fn profile_describes_a_weights_file() {
    let describe = |name: &str, flags: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let model = headers::model(dir.path(), name);
        Tool::new("profile")
            .file("rig.json", rig(8_000, 64))
            .args(["--from-profile", "rig.json", "--model"])
            .arg(model)
            .args(flags)
            .run()
    };
    let profile = describe("qwen3-30b-a3b.Q4_K_M", &[])
        .expect_status(0)
        .json();
    let m = &profile["model"];
    assert_eq!(m["name"], "Qwen3 30B A3B");
    assert_eq!(m["architecture"], "moe");
    assert_eq!(m["total_params"], 30_532_122_624_u64);
    assert_eq!(m["expert_params_total"], 28_991_029_248_u64);
    assert_eq!(
        m["non_expert_params"],
        30_532_122_624_u64 - 28_991_029_248_u64
    );
    assert_eq!(m["kv_bytes_per_token"], 98_304);
    assert_eq!(m["quant"], "gguf-q4_k_m");
    assert_eq!(m["expert"]["experts_per_token"], 8);
    assert_eq!(m["expert"]["expert_params_each"], 4_718_592);
    // What it says can be planned.
    let plan = Tool::new("plan")
        .file("p.json", profile.to_string())
        .args(["--profile", "p.json"])
        .run()
        .expect_status(0)
        .json();
    assert_eq!(plan["footprint_source"], "closed-form");

    let dense = describe("gemma-3-27b.Q4_K_M", &["--model-name", "mine"]).json();
    assert_eq!(dense["model"]["name"], "mine");
    assert_eq!(dense["model"]["architecture"], "dense");
    let groups = dense["model"]["kv_groups"].as_array().unwrap();
    let windows: Vec<&Value> = groups.iter().map(|g| &g["window"]).collect();
    assert_eq!(windows, [&json!(1024), &Value::Null]);
    // Dense blocks in front, and one block for predicting further tokens.
    let glm = describe("glm45air", &[]).json();
    assert_eq!(glm["model"]["n_nextn_layers"], 1);
    assert_eq!(glm["model"]["moe_blocks"][0]["first"], 1);

    describe("glm45air", &["--quant", "q99"]).expect_status(2);
    describe("glm45air", &["--model-config", "c.json"]).expect_error("INPUT_USAGE");
}

#[test]
fn profile_describes_a_folder_of_safetensors() {
    let config: Value =
        serde_json::from_str(include_str!("../examples/models/qwen3-30b-a3b.json")).unwrap();
    let describe = |flags: &[&str]| {
        let tool = Tool::new("profile").file("rig.json", rig(8_000, 64));
        headers::safetensors_model(&tool.dir().join("m"), &config);
        tool.args(["--from-profile", "rig.json", "--model", "m"])
            .args(flags)
            .run()
    };
    let profile = describe(&["--model-name", "mine"]).expect_status(0).json();
    assert_eq!(profile["model"]["name"], "mine");
    assert_eq!(profile["model"]["expert_params_total"], 28_991_029_248_u64);
    let notes = profile["notes"].to_string();
    for said in ["takes the widths that its files have", "are not counted"] {
        assert!(notes.contains(said), "{notes}");
    }
    assert!(!notes.contains("llama.cpp runs GGUF"), "{notes}");
    let tagged = describe(&["--quant", "gguf-q8_0"]).expect_status(0).json();
    assert_eq!(tagged["model"]["quant"], "gguf-q8_0");
}
