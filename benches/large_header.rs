//! What planning costs as a whole process when the weights file has a header as large as they come:
//! DeepSeek-V3's 1,086 tensors and a vocabulary of 150,000 tokens. Median wall time and largest
//! resident memory, beside `/bin/true` and beside reading the same bytes, in the same run.
//!
//! `cargo bench --bench large_header`; ends with 1 when a limit is passed.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sys::resource::{UsageWho, getrusage};

#[path = "../tests/support/headers.rs"]
mod headers;
use headers::{Shape, Value};

const RUNS: usize = 20;
const TOKENS: i32 = 150_000;
const MAX_PLAN: Duration = Duration::from_millis(25);
const MAX_FRONTIER: Duration = Duration::from_millis(200);
const MAX_RSS_KIB: i64 = 16 << 10;
const PLAN: &str = env!("CARGO_BIN_EXE_gpu-container-plan");
/// Names the file that this program is to write, in the process that writes it.
const WRITE: &str = "LARGE_HEADER_WRITE";
/// Asks for the peak of a plan of this file, from a process that has no other children.
const PEAK: &str = "LARGE_HEADER_PEAK";

fn main() -> anyhow::Result<ExitCode> {
    if let Some(path) = std::env::var_os(WRITE) {
        write(Path::new(&path));
        return Ok(ExitCode::SUCCESS);
    }
    let rig = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/rigs/rtx-3060-12gb.json"
    );
    if let Some(model) = std::env::var_os(PEAK) {
        let model = model.to_str().context("a path that is no text")?;
        wall(PLAN, &["--profile", rig, "--model", model])?;
        line(&getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss().to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("large.gguf");
    // Another process writes it: what this one once held would count as its children's peak.
    let status = Command::new(std::env::current_exe()?)
        .env(WRITE, &path)
        .status()?;
    ensure!(status.success(), "the header was not written");
    let model = path.to_str().context("a path that is no text")?;
    let plan = ["--profile", rig, "--model", model];
    let frontier = ["--profile", rig, "--model", model, "--frontier"];

    let (mut truth, mut plans, mut tables, mut reads) = (vec![], vec![], vec![], vec![]);
    for _ in 0..RUNS + 3 {
        truth.push(wall("/bin/true", &[])?);
        plans.push(wall(PLAN, &plan)?);
        tables.push(wall(PLAN, &frontier)?);
        reads.push(read(&path)?);
    }
    let [truth, plans, tables, reads] = [truth, plans, tables, reads].map(median);
    let bytes = header_bytes(&path)?;
    line(&format!(
        "header: 1086 tensors, {TOKENS} tokens, {:.1} MiB; read as it is in {reads:.2?}",
        bytes as f64 / 1048576.0
    ));
    line(&format!("/bin/true: median {truth:.2?} of {RUNS}"));
    let ratio = |d: Duration| d.as_secs_f64() / truth.as_secs_f64();
    line(&format!(
        "plan:      median {plans:.2?} of {RUNS}, {:.1} x /bin/true (limit {MAX_PLAN:.0?})",
        ratio(plans)
    ));
    line(&format!(
        "frontier:  median {tables:.2?} of {RUNS}, {:.1} x /bin/true (limit {MAX_FRONTIER:.0?})",
        ratio(tables)
    ));
    let kib = peak_kib(model)?;
    line(&format!(
        "plan:      peak {:.1} MiB (limit {:.0} MiB)",
        kib as f64 / 1024.0,
        MAX_RSS_KIB as f64 / 1024.0
    ));
    let good = plans <= MAX_PLAN && tables <= MAX_FRONTIER && kib <= MAX_RSS_KIB;
    line(if good { "PASS" } else { "FAIL" });
    Ok(ExitCode::from(u8::from(!good)))
}

fn wall(program: &str, args: &[&str]) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let status = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| program.to_owned())?;
    let wall = start.elapsed();
    // A refusal (3) is a plan too.
    ensure!(
        matches!(status.code(), Some(0 | 3)),
        "{program} ended with {status}"
    );
    Ok(wall)
}

/// The peak of one plan, KiB.
fn peak_kib(model: &str) -> anyhow::Result<i64> {
    let out = Command::new(std::env::current_exe()?)
        .env(PEAK, model)
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.trim().parse().with_context(|| format!("peak: {text}"))
}

/// Bytes before the weights, which are zeros that take no disk space.
fn header_bytes(path: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::metadata(path)?.blocks() * 512)
}

/// How long it takes to read as many bytes as the header has.
fn read(path: &Path) -> anyhow::Result<Duration> {
    let length = header_bytes(path)?;
    let start = Instant::now();
    let copied = std::io::copy(
        &mut std::fs::File::open(path)?.take(length),
        &mut std::io::sink(),
    )?;
    ensure!(copied == length, "the header is short");
    Ok(start.elapsed())
}

fn median(mut of: Vec<Duration>) -> Duration {
    // The first runs bring the files into the page cache.
    of.drain(..3);
    of.sort_unstable();
    of.get(of.len() / 2).copied().unwrap_or_default()
}

/// A header in the shapes of DeepSeek-V3, 4 or 5 bits a weight.
fn write(path: &Path) {
    let number = |key: &str, n: u32| (format!("deepseek2.{key}"), Value::U32(n));
    let tokens = || 0..TOKENS;
    let keys = vec![
        (
            "general.architecture".into(),
            Value::Text("deepseek2".into()),
        ),
        number("block_count", 61),
        number("context_length", 163_840),
        number("embedding_length", 7168),
        number("feed_forward_length", 18_432),
        number("attention.head_count", 128),
        number("attention.head_count_kv", 1),
        number("attention.key_length", 576),
        number("attention.value_length", 512),
        number("attention.key_length_mla", 192),
        number("attention.value_length_mla", 128),
        number("attention.q_lora_rank", 1536),
        number("attention.kv_lora_rank", 512),
        number("rope.dimension_count", 64),
        number("expert_count", 256),
        number("expert_used_count", 8),
        number("expert_shared_count", 1),
        number("expert_feed_forward_length", 2048),
        number("leading_dense_block_count", 3),
        (
            "deepseek2.attention.layer_norm_rms_epsilon".into(),
            Value::F32(1e-6),
        ),
        ("tokenizer.ggml.model".into(), Value::Text("gpt2".into())),
        (
            "tokenizer.ggml.tokens".into(),
            Value::Texts(tokens().map(|i| format!("token{i}")).collect()),
        ),
        (
            "tokenizer.ggml.scores".into(),
            Value::Floats(tokens().map(|i| -(i as f32)).collect()),
        ),
        (
            "tokenizer.ggml.token_type".into(),
            Value::Ints(tokens().map(|_| 1).collect()),
        ),
        (
            "tokenizer.ggml.merges".into(),
            Value::Texts(tokens().map(|i| format!("tok en{i}")).collect()),
        ),
    ];
    headers::write(path, &keys, &tensors());
}

fn tensors() -> Vec<Shape> {
    let vocabulary = u64::from(TOKENS.unsigned_abs());
    let mut all = vec![
        tensor("token_embd.weight", &[7168, vocabulary]),
        tensor("output_norm.weight", &[7168]),
        tensor("output.weight", &[7168, vocabulary]),
    ];
    for i in 0..61 {
        let mut put = |name: &str, dims: &[u64]| all.push(tensor(&format!("blk.{i}.{name}"), dims));
        put("attn_norm.weight", &[7168]);
        put("attn_q_a_norm.weight", &[1536]);
        put("attn_kv_a_norm.weight", &[512]);
        put("attn_q_a.weight", &[7168, 1536]);
        put("attn_q_b.weight", &[1536, 24_576]);
        put("attn_kv_a_mqa.weight", &[7168, 576]);
        put("attn_k_b.weight", &[128, 512, 128]);
        put("attn_v_b.weight", &[512, 128, 128]);
        put("attn_output.weight", &[16_384, 7168]);
        put("ffn_norm.weight", &[7168]);
        if i < 3 {
            put("ffn_gate.weight", &[7168, 18_432]);
            put("ffn_up.weight", &[7168, 18_432]);
            put("ffn_down.weight", &[18_432, 7168]);
            continue;
        }
        put("ffn_gate_inp.weight", &[7168, 256]);
        put("exp_probs_b.bias", &[256]);
        put("ffn_gate_exps.weight", &[7168, 2048, 256]);
        put("ffn_up_exps.weight", &[7168, 2048, 256]);
        put("ffn_down_exps.weight", &[2048, 7168, 256]);
        put("ffn_gate_shexp.weight", &[7168, 2048]);
        put("ffn_up_shexp.weight", &[7168, 2048]);
        put("ffn_down_shexp.weight", &[2048, 7168]);
    }
    all
}

/// Vectors are F32; rows are Q4_K where they divide, else Q5_0.
fn tensor(name: &str, dims: &[u64]) -> Shape {
    let elements: u64 = dims.iter().product();
    let row = dims.first().copied().unwrap_or(1);
    let (kind, bytes) = match dims.len() {
        1 => (0, elements * 4),
        _ if row.is_multiple_of(256) => (12, elements / 256 * 144),
        _ => (6, elements / 32 * 22),
    };
    (name.to_owned(), dims.to_vec(), kind, bytes)
}

fn line(text: &str) {
    // Nobody has to listen.
    let _ = writeln!(std::io::stdout(), "{text}");
}
