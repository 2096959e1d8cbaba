//! A GGUF writer just large enough for tests: little-endian, version 3, 32-byte alignment.

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
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend(1u64.to_le_bytes());
    out.extend(text("general.type"));
    out.extend(8u32.to_le_bytes());
    out.extend(text("imatrix"));
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
