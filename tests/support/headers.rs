//! Weights files of full size: the committed headers, extended with zeros that take no disk space.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]
#![allow(clippy::unwrap_used, reason = "tests only")]

use std::path::{Path, PathBuf};

/// The folder of the headers and of what llama.cpp says about them.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/memory-map")
}

/// `NAME.gguf` in `dir`, as long as any model is.
pub fn model(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(format!("{name}.gguf"));
    let bytes = std::fs::read(folder().join(format!("{name}.header"))).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    path
}

/// A model of 28,991,029,248 expert parameters in 8 bits and 1,540,882,432 others in 16, with what a
/// plan leaves out, as HuggingFace would publish it.
pub fn safetensors_model(folder: &Path, config: &serde_json::Value) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    std::fs::write(
        folder.join("model.safetensors.index.json"),
        r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#,
    )
    .unwrap();
    let experts = "model.layers.0.mlp.experts.0.gate_proj.weight";
    safetensors(
        &folder.join("one.safetensors"),
        &[(experts, 28_991_029_248 / 2)],
    );
    safetensors(
        &folder.join("two.safetensors"),
        &[
            ("model.embed_tokens.weight", 1_540_882_432),
            ("visual.patch", 512),
        ],
    );
}

/// A safetensors header over data that is never written: the file is only as long as it says.
fn safetensors(path: &Path, tensors: &[(&str, u64)]) {
    use std::io::Write as _;
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, elements) in tensors {
        let span = serde_json::json!([end, end + elements * 2]);
        header.insert(
            (*name).into(),
            serde_json::json!({"dtype": "BF16", "shape": [elements], "data_offsets": span}),
        );
        end += elements * 2;
    }
    let header = serde_json::Value::from(header).to_string();
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
}

/// A value of a key, as the writer below takes it.
pub enum Value {
    U16(u16),
    U32(u32),
    I32(i32),
    F32(f32),
    Text(String),
    Texts(Vec<String>),
    Floats(Vec<f32>),
    Ints(Vec<i32>),
}

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat()
}

fn value(v: &Value) -> Vec<u8> {
    let scalar = |kind: u32, bytes: &[u8]| [&kind.to_le_bytes(), bytes].concat();
    let list = |kind: u32, n: usize, bytes: Vec<u8>| {
        let mut out = 9u32.to_le_bytes().to_vec();
        out.extend(kind.to_le_bytes());
        out.extend((n as u64).to_le_bytes());
        out.extend(bytes);
        out
    };
    match v {
        Value::U16(n) => scalar(2, &n.to_le_bytes()),
        Value::U32(n) => scalar(4, &n.to_le_bytes()),
        Value::I32(n) => scalar(5, &n.to_le_bytes()),
        Value::F32(x) => scalar(6, &x.to_le_bytes()),
        Value::Text(s) => scalar(8, &text(s)),
        Value::Texts(all) => list(8, all.len(), all.iter().flat_map(|s| text(s)).collect()),
        Value::Floats(all) => {
            let bytes = all.iter().flat_map(|x| x.to_le_bytes()).collect();
            list(6, all.len(), bytes)
        }
        Value::Ints(all) => {
            let bytes = all.iter().flat_map(|x| x.to_le_bytes()).collect();
            list(5, all.len(), bytes)
        }
    }
}

/// A tensor of a header without weights: name, dimensions, ggml's type number, bytes it would take.
pub type Shape = (String, Vec<u64>, u32, u64);

/// Writes a GGUF of these keys and tensors, its weights being zeros that take no disk space.
pub fn write(path: &Path, keys: &[(String, Value)], tensors: &[Shape]) {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((keys.len() as u64).to_le_bytes());
    for (key, v) in keys {
        out.extend(text(key));
        out.extend(value(v));
    }
    let mut offset = 0u64;
    for (name, dims, kind, bytes) in tensors {
        out.extend(text(name));
        out.extend(u32::try_from(dims.len()).unwrap().to_le_bytes());
        out.extend(dims.iter().flat_map(|d| d.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += bytes.next_multiple_of(32);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    let length = out.len() as u64 + offset;
    std::fs::write(path, out).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}
