//! The footprint against what llama.cpp itself says it will allocate.

// Tests may panic.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use gpuc_core::footprint::{ExpertKind, Facts, Placed, Setting};
use gpuc_core::header::{GgmlType, join, read_gguf};

/// A header followed by as many zeros as any file has.
struct Extended {
    bytes: Vec<u8>,
    at: u64,
}

const LENGTH: u64 = 1 << 50;

impl Read for Extended {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(self.at).unwrap().min(self.bytes.len());
        let n = out.len().min(self.bytes.len() - from);
        out[..n].copy_from_slice(&self.bytes[from..from + n]);
        out[n..].fill(0);
        self.at += out.len() as u64;
        Ok(out.len())
    }
}

impl Seek for Extended {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(n) => n,
            SeekFrom::End(n) => LENGTH.checked_add_signed(n).unwrap(),
            SeekFrom::Current(n) => self.at.checked_add_signed(n).unwrap(),
        };
        Ok(self.at)
    }
}

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data/memory-map")
        .join(name)
}

fn facts(name: &str) -> Facts {
    let bytes = std::fs::read(data(&format!("{name}.header"))).unwrap();
    let header = read_gguf(Extended { bytes, at: 0 }).unwrap();
    Facts::from_gguf(&join(vec![header]).unwrap()).unwrap()
}

struct Row {
    name: String,
    setting: Setting,
    placed: Placed,
    device: [u64; 3],
    host: [u64; 3],
    text: String,
}

fn rows() -> Vec<Row> {
    let csv = std::fs::read_to_string(data("llama-cpp-memory.csv")).unwrap();
    csv.lines()
        .skip(1)
        .map(|line| {
            let f: Vec<&str> = line.split(',').collect();
            let n = |i: usize| f[i].parse::<u64>().unwrap();
            let kind = GgmlType::by_name(f[4]).unwrap();
            Row {
                name: f[0].trim_end_matches(".gguf").to_owned(),
                setting: Setting {
                    ctx: n(3),
                    type_k: kind,
                    type_v: kind,
                    ubatch: n(5),
                    flash_attn: f[6] == "on",
                    n_seq: 1,
                },
                placed: Placed {
                    gpu_layers: n(1),
                    n_cpu_moe: n(2),
                    ..Placed::default()
                },
                device: [n(7), n(8), n(9)],
                host: [n(10), n(11), n(12)],
                text: line.to_owned(),
            }
        })
        .collect()
}

#[test]
fn the_map_is_llama_cpps_own() {
    let rows = rows();
    let mut known: BTreeMap<String, Facts> = BTreeMap::new();
    let mib = |n: u64| n >> 20;
    let (mut close, mut exact) = (0, 0);
    for row in &rows {
        let facts = known
            .entry(row.name.clone())
            .or_insert_with(|| facts(&row.name));
        let map = facts.memory_map(&row.setting, &row.placed);
        assert_eq!(mib(map.device.weights), row.device[0], "{}", row.text);
        assert!(
            mib(map.device.context).abs_diff(row.device[1]) <= 1,
            "{}",
            row.text
        );
        assert!(
            mib(map.host.weights).abs_diff(row.host[0]) <= 1,
            "{}",
            row.text
        );
        assert!(
            mib(map.host.context).abs_diff(row.host[1]) <= 1,
            "{}",
            row.text
        );
        let (ours, theirs) = (mib(map.device.compute), row.device[2]);
        close += usize::from(ours.abs_diff(theirs) <= (theirs / 10).max(32));
        exact += usize::from(ours == theirs);
    }
    println!(
        "{} rows, compute close in {close}, the same MiB in {exact}",
        rows.len()
    );
    assert!(
        close * 1000 >= rows.len() * 995,
        "{close} of {}",
        rows.len()
    );
    assert!(exact * 100 >= rows.len() * 93, "{exact} of {}", rows.len());
}

#[test]
fn every_architecture_of_the_corpus_has_rules() {
    let names: std::collections::BTreeSet<String> = rows().into_iter().map(|r| r.name).collect();
    for name in names {
        assert_eq!(facts(&name).notes(), [""; 0], "{name}");
    }
}

#[test]
fn experts_one_by_one_are_n_cpu_moe() {
    let f = facts("qwen3-30b-a3b.Q4_K_M");
    let setting = Setting::default();
    let all = Placed {
        gpu_layers: 999,
        n_cpu_moe: 5,
        ..Placed::default()
    };
    let single = Placed {
        gpu_layers: 999,
        n_cpu_moe: 0,
        host_experts: f
            .experts()
            .iter()
            .filter(|e| e.block < 5)
            .map(|e| (e.block, e.kind))
            .collect(),
    };
    assert_eq!(
        f.memory_map(&setting, &all),
        f.memory_map(&setting, &single)
    );
    assert_eq!(
        f.reads(&setting, &all, 100),
        f.reads(&setting, &single, 100)
    );
    let kinds: Vec<ExpertKind> = f.experts().iter().take(3).map(|e| e.kind).collect();
    assert_eq!(kinds, [ExpertKind::Gate, ExpertKind::Up, ExpertKind::Down]);
    assert_eq!(f.moe_blocks().len(), 48);
    assert_eq!(f.quantisation(), Some("Q4_K_M"));
}

#[test]
fn what_is_read_grows_with_the_depth_as_it_says() {
    let names: std::collections::BTreeSet<String> = rows().into_iter().map(|r| r.name).collect();
    let setting = Setting::default();
    for name in names {
        let f = facts(&name);
        for gpu_layers in [999, f.blocks() / 2, 0] {
            let placed = Placed {
                gpu_layers,
                ..Placed::default()
            };
            let growth = f.cache_growth(&setting, &placed);
            let empty = f.reads(&setting, &placed, 0);
            for depth in [1, 500, 5000, 200_000] {
                let mut want = empty;
                for part in &growth {
                    let tier = if part.on_host {
                        &mut want.1
                    } else {
                        &mut want.0
                    };
                    *tier += part.bytes_per_token * depth.min(part.window.unwrap_or(depth)) as f64;
                }
                let got = f.reads(&setting, &placed, depth);
                let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * (a.abs() + 1.0);
                assert!(
                    close(got.0, want.0) && close(got.1, want.1),
                    "{name} -ngl {gpu_layers} at {depth}: {got:?}, {want:?}"
                );
            }
        }
    }
}

#[test]
fn the_work_of_prefill_is_the_models_active_weights() {
    // Active weights without the embedding and the output layer, in billions.
    for (name, always, routed) in [
        ("qwen3-30b-a3b.Q4_K_M", 0.919, 1.812),
        ("gpt-oss-20b.MXFP4_MOE", 0.639, 2.389),
        ("llama-3.1-8b.Q4_K_M", 6.979, 0.0),
    ] {
        let work = facts(name).prefill_work();
        let close = |a: f64, b: f64| (a / 1e9 - b).abs() < 0.005 + 0.005 * b;
        assert!(close(work.always, always), "{name}: {work:?}");
        assert!(close(work.routed, routed), "{name}: {work:?}");
    }
}

#[test]
fn what_llama_cpp_refuses_is_refused() {
    let q8 = GgmlType::by_name("q8_0").unwrap();
    let q4 = GgmlType::by_name("q4_0").unwrap();
    let with = |k, v, fa| Setting {
        type_k: k,
        type_v: v,
        flash_attn: fa,
        ..Setting::default()
    };
    let llama = facts("llama-3.1-8b.Q4_K_M");
    let latent = facts("deepseek-v2-lite.Q4_K_M");
    let f16 = GgmlType::F16;
    assert!(llama.check(&with(q8, q4, true)).is_ok());
    assert!(llama.check(&with(q8, f16, false)).is_ok());
    let e = llama.check(&with(f16, q8, false)).unwrap_err();
    assert_eq!(
        e.to_string(),
        "a value cache of type Q8_0 needs flash attention"
    );
    let e = latent.check(&with(q8, f16, true)).unwrap_err();
    assert!(e.to_string().contains("types must be equal"), "{e}");
    let q4_k = GgmlType::by_name("q4_k").unwrap();
    let e = llama.check(&with(q4_k, q4_k, true)).unwrap_err();
    assert_eq!(e.to_string(), "no cache can have the type Q4_K");
}

/// Reads a damaged copy of a real header, and maps what can still be read.
fn damaged(base: &[u8], seed: &mut u64) {
    let mut next = || {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    };
    let mut bytes = base.to_vec();
    let place = |n: u64, len: usize| usize::try_from(n % len as u64).unwrap();
    for _ in 0..=next() % 4 {
        // Most keys and shapes stand near the front; high bytes make large numbers.
        let reach = if next() % 2 == 0 { 1500 } else { bytes.len() };
        let at = place(next(), reach.min(bytes.len()));
        bytes[at] = u8::try_from(next() % 256).unwrap();
    }
    if next() % 8 == 0 {
        bytes.truncate(place(next(), base.len()));
    }
    let Ok(header) = read_gguf(Extended { bytes, at: 0 }) else {
        return;
    };
    let Ok(facts) = join(vec![header])
        .map_err(|_| ())
        .and_then(|m| Facts::from_gguf(&m).map_err(|_| ()))
    else {
        return;
    };
    let setting = Setting {
        ctx: next(),
        ubatch: next(),
        n_seq: next() % 9,
        flash_attn: next() % 2 == 0,
        ..Setting::default()
    };
    let placed = Placed {
        gpu_layers: next() % 60,
        n_cpu_moe: next() % 60,
        ..Placed::default()
    };
    let _ = facts.memory_map(&setting, &placed);
    let _ = facts.reads(&setting, &placed, setting.ctx);
    let _ = facts.check(&setting);
}

fn damage(times: u64, seed: u64) {
    let names = ["phi3", "lfm2moe", "nemotronh", "deepseek-v2-lite.Q4_K_M"];
    let bases: Vec<Vec<u8>> = names
        .iter()
        .map(|n| std::fs::read(data(&format!("{n}.header"))).unwrap())
        .collect();
    let mut seed = seed;
    for i in 0..times {
        damaged(
            &bases[usize::try_from(i % bases.len() as u64).unwrap()],
            &mut seed,
        );
    }
}

#[test]
fn damaged_headers_never_panic() {
    damage(2_000, 0x9e37_79b9_7f4a_7c15);
}

/// `cargo test --release -p gpuc-core --test recorded_memory -- --ignored a_million`
#[test]
#[ignore = "takes minutes"]
fn a_million_damaged_headers() {
    damage(1_000_000, 0x2545_f491_4f6c_dd1d);
}
