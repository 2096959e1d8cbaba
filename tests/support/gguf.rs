//! A GGUF writer just large enough for tests: little-endian, version 3, 32-byte alignment.

/// What a key can hold here.
pub enum Key<'a> {
    Text(&'a str),
    Number(u32),
}

/// One tensor: name, dimensions, ggml's type number, data.
pub struct Tensor {
    pub name: String,
    pub dims: Vec<u64>,
    pub ggml_type: u32,
    pub data: Vec<u8>,
}

impl Tensor {
    /// A vector of 32-bit floats.
    pub fn f32(name: impl Into<String>, values: &[f32]) -> Self {
        Self {
            name: name.into(),
            dims: vec![values.len() as u64],
            ggml_type: 0,
            data: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    /// The visits to the experts of block `layer`, as llama-imatrix names and shapes them.
    pub fn counts(layer: u64, values: &[f32]) -> Self {
        let mut t = Self::f32(format!("blk.{layer}.ffn_down_exps.weight.counts"), values);
        t.dims = vec![1, values.len() as u64];
        t
    }
}

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat()
}

/// A whole file: `general.type` says imatrix, then the tensors.
pub fn file(tensors: &[Tensor]) -> Vec<u8> {
    with_keys(&[("general.type", Key::Text("imatrix"))], tensors)
}

/// A mixture of experts of four blocks, 64 wide, its weights all 0.
pub fn model() -> Vec<u8> {
    let keys = [
        ("general.architecture", Key::Text("qwen3moe")),
        ("general.name", Key::Text("small")),
        ("qwen3moe.block_count", Key::Number(4)),
        ("qwen3moe.embedding_length", Key::Number(64)),
        ("qwen3moe.context_length", Key::Number(4096)),
        ("qwen3moe.attention.head_count", Key::Number(4)),
        ("qwen3moe.attention.head_count_kv", Key::Number(2)),
        ("qwen3moe.attention.key_length", Key::Number(16)),
        ("qwen3moe.attention.value_length", Key::Number(16)),
        ("qwen3moe.expert_count", Key::Number(4)),
        ("qwen3moe.expert_used_count", Key::Number(2)),
    ];
    let zeros = |name: String, dims: &[u64]| Tensor {
        name,
        dims: dims.to_vec(),
        ggml_type: 0,
        data: vec![0; 4 * usize::try_from(dims.iter().product::<u64>()).unwrap()],
    };
    let mut tensors = vec![
        zeros("token_embd.weight".into(), &[64, 128]),
        zeros("output_norm.weight".into(), &[64]),
        zeros("output.weight".into(), &[64, 128]),
    ];
    for block in 0..4 {
        for (part, dims) in [
            ("attn_norm", &[64][..]),
            ("attn_q", &[64, 64]),
            ("attn_k", &[64, 32]),
            ("attn_v", &[64, 32]),
            ("attn_output", &[64, 64]),
            ("ffn_norm", &[64]),
            ("ffn_gate_inp", &[64, 4]),
            ("ffn_gate_exps", &[64, 32, 4]),
            ("ffn_up_exps", &[64, 32, 4]),
            ("ffn_down_exps", &[32, 64, 4]),
        ] {
            tensors.push(zeros(format!("blk.{block}.{part}.weight"), dims));
        }
    }
    with_keys(&keys, &tensors)
}

/// A whole file of these keys and tensors.
pub fn with_keys(keys: &[(&str, Key)], tensors: &[Tensor]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((keys.len() as u64).to_le_bytes());
    for (key, value) in keys {
        out.extend(text(key));
        match value {
            Key::Text(value) => {
                out.extend(8u32.to_le_bytes());
                out.extend(text(value));
            }
            Key::Number(value) => {
                out.extend(4u32.to_le_bytes());
                out.extend(value.to_le_bytes());
            }
        }
    }
    let mut data = Vec::new();
    for t in tensors {
        out.extend(text(&t.name));
        out.extend(u32::try_from(t.dims.len()).unwrap().to_le_bytes());
        out.extend(t.dims.iter().flat_map(|d| d.to_le_bytes()));
        out.extend(t.ggml_type.to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        data.extend(&t.data);
        pad(&mut data);
    }
    pad(&mut out);
    out.extend(data);
    out
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(32), 0);
}
