//! A small writer of GGUF files for tests, able to write wrong ones.

/// A file in the making.
#[derive(Default)]
pub(crate) struct Sample {
    pairs: Vec<u8>,
    n_pairs: u64,
    table: Vec<u8>,
    n_tensors: u64,
    data: u64,
}

fn text(out: &mut Vec<u8>, s: &[u8]) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s);
}

impl Sample {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A pair with its value's bytes as given.
    pub(crate) fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        text(&mut self.pairs, key.as_bytes());
        self.pairs.extend(kind.to_le_bytes());
        self.pairs.extend(value);
        self.n_pairs += 1;
        self
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn str(self, key: &str, value: &str) -> Self {
        let mut v = Vec::new();
        text(&mut v, value.as_bytes());
        self.raw(key, 8, &v)
    }

    pub(crate) fn strings(self, key: &str, values: &[&str]) -> Self {
        let mut v = Vec::from(8_u32.to_le_bytes());
        v.extend((values.len() as u64).to_le_bytes());
        for s in values {
            text(&mut v, s.as_bytes());
        }
        self.raw(key, 9, &v)
    }

    pub(crate) fn u32s(self, key: &str, values: &[u32]) -> Self {
        let mut v = Vec::from(4_u32.to_le_bytes());
        v.extend((values.len() as u64).to_le_bytes());
        for n in values {
            v.extend(n.to_le_bytes());
        }
        self.raw(key, 9, &v)
    }

    /// A tensor with name and place as given.
    pub(crate) fn raw_tensor(mut self, name: &[u8], dims: &[u64], kind: u32, offset: u64) -> Self {
        text(&mut self.table, name);
        self.table
            .extend(u32::try_from(dims.len()).unwrap().to_le_bytes());
        for d in dims {
            self.table.extend(d.to_le_bytes());
        }
        self.table.extend(kind.to_le_bytes());
        self.table.extend(offset.to_le_bytes());
        self.n_tensors += 1;
        self
    }

    /// A tensor after the last one.
    pub(crate) fn tensor(mut self, name: &str, dims: &[u64], kind: u32) -> Self {
        let at = self.data;
        let rows: u64 = dims[1..].iter().product();
        let size = super::GgmlType(kind).row_bytes(dims[0]).unwrap() * rows;
        self.data = (at + size).next_multiple_of(32);
        self.raw_tensor(name.as_bytes(), dims, kind, at)
    }

    /// The header alone.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut out = Vec::from(*b"GGUF");
        out.extend(3_u32.to_le_bytes());
        out.extend(self.n_tensors.to_le_bytes());
        out.extend(self.n_pairs.to_le_bytes());
        out.extend(&self.pairs);
        out.extend(&self.table);
        out
    }

    /// The file: header, padding, zeros as data.
    pub(crate) fn build(self) -> Vec<u8> {
        let mut out = self.header();
        out.resize(out.len().next_multiple_of(32), 0);
        out.resize(out.len() + usize::try_from(self.data).unwrap(), 0);
        out
    }
}
