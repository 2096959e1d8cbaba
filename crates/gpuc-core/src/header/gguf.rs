//! The header of one GGUF file, versions 2 and 3: metadata and tensor table.

use std::io::{Read, Seek};

use super::error::HeaderError;
use super::ggml::GgmlType;
use super::input::Input;
use super::metadata::{self, Metadata};
use super::split::Split;

const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_DIMS: u32 = 4;
/// The smallest entry of the tensor table: name length, dimensions, type, offset.
const MIN_TENSOR_ENTRY: u64 = 24;
/// The smallest pair: key length, type, one byte of value.
const MIN_PAIR: u64 = 13;

/// One tensor of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its dimensions, the row length first; missing ones are 1.
    pub dims: [u64; 4],
    /// Its type.
    pub kind: GgmlType,
    /// Where its data begins, from the start of the file.
    pub offset: u64,
    /// Bytes of its data; for an unknown type the distance to the next tensor.
    pub bytes: u64,
    /// Whether `bytes` was computed from the type, not inferred from the layout.
    pub size_known: bool,
}

impl TensorInfo {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.dims.iter().fold(1, |n, d| n.saturating_mul(*d))
    }
}

/// The header of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufHeader {
    /// 2 or 3.
    pub version: u32,
    /// The key-value pairs.
    pub metadata: Metadata,
    /// The tensors in the file's order.
    pub tensors: Vec<TensorInfo>,
    /// Which part of a split model this is.
    pub split: Option<Split>,
    /// Bytes of the header.
    pub header_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// How many keys and tensor names were no UTF-8 and are shown with replacements.
    pub lossy_names: u64,
}

/// Reads the header of one GGUF file; no weight is touched.
pub fn read_gguf<R: Read + Seek>(file: R) -> Result<GgufHeader, HeaderError> {
    let mut input = Input::new(file)?;
    let magic = input.array::<4>("the magic")?;
    if &magic != b"GGUF" {
        return Err(HeaderError::NotGguf {
            found: magic.escape_ascii().to_string(),
        });
    }
    let version = input.u32("the version")?;
    if version.trailing_zeros() >= 16 && version != 0 {
        return Err(HeaderError::BigEndian);
    }
    if version != 2 && version != 3 {
        return Err(HeaderError::Version { version });
    }
    let n_tensors = input.u64("the number of tensors")?;
    let n_pairs = input.u64("the number of keys")?;
    let mut lossy_names = 0;

    input.need_entries(n_pairs, MIN_PAIR, "the metadata")?;
    let mut pairs = Metadata::default();
    for _ in 0..n_pairs {
        let (key, valid) = metadata::string(&mut input, "a key")?;
        lossy_names += u64::from(!valid);
        input.keep(size_of::<(String, metadata::Value)>() * 2, &key)?;
        let kind = input.u32(&key)?;
        let value = metadata::value(&mut input, kind, &key)?;
        pairs.insert(key, value)?;
    }
    let alignment = alignment(&pairs)?;

    input.need_entries(n_tensors, MIN_TENSOR_ENTRY, "the tensor table")?;
    let mut tensors = Vec::new();
    for _ in 0..n_tensors {
        let (tensor, valid) = tensor(&mut input, alignment)?;
        lossy_names += u64::from(!valid);
        tensors.push(tensor);
    }
    let header_bytes = input.pos();
    // A file without tensors (a vocabulary, the first of some splits) may end unpadded.
    let data = header_bytes.next_multiple_of(alignment);
    lay_out(&mut tensors, data, input.file_len())?;
    Ok(GgufHeader {
        version,
        split: Split::from_metadata(&pairs)?,
        metadata: pairs,
        tensors,
        header_bytes,
        file_bytes: input.file_len(),
        lossy_names,
    })
}

fn alignment(pairs: &Metadata) -> Result<u64, HeaderError> {
    match pairs.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(value) => match pairs.u64("general.alignment") {
            Some(n) if n.is_power_of_two() && (8..=1 << 30).contains(&n) => Ok(n),
            Some(n) => Err(HeaderError::Alignment {
                value: n.to_string(),
            }),
            None => Err(HeaderError::Alignment {
                value: format!("{value:?}").chars().take(80).collect(),
            }),
        },
    }
}

/// One entry of the tensor table; its offset still counts from the data's start.
fn tensor<R: Read + Seek>(
    input: &mut Input<R>,
    alignment: u64,
) -> Result<(TensorInfo, bool), HeaderError> {
    let (name, valid) = metadata::string(input, "a tensor's name")?;
    // Twice, since the table doubles as it grows.
    input.keep(size_of::<TensorInfo>() * 2, &name)?;
    let shape = |why: String| HeaderError::Shape {
        tensor: name.clone(),
        why,
    };
    let n_dims = input.u32(&name)?;
    if n_dims > MAX_DIMS {
        return Err(shape(format!(
            "has {n_dims} dimensions, at most {MAX_DIMS} are possible"
        )));
    }
    let mut dims = [1; 4];
    for d in dims.iter_mut().take(n_dims as usize) {
        *d = input.u64(&name)?;
        if *d == 0 {
            return Err(shape("has a dimension of 0".to_owned()));
        }
    }
    let kind = GgmlType(input.u32(&name)?);
    let offset = input.u64(&name)?;
    if !offset.is_multiple_of(alignment) {
        return Err(shape(format!(
            "begins at offset {offset}, which is no multiple of the alignment {alignment}"
        )));
    }
    let rows = dims
        .iter()
        .skip(1)
        .try_fold(1_u64, |n, d| n.checked_mul(*d));
    let size_known = kind.is_known();
    let bytes = match (kind.block(), rows) {
        (None, _) => Some(0),
        (Some((per_block, _)), Some(rows)) => {
            let [row, ..] = dims;
            if !row.is_multiple_of(per_block) {
                return Err(shape(format!(
                    "has rows of {row} elements, which is no multiple of {per_block}, the block of {}",
                    kind.name()
                )));
            }
            kind.row_bytes(row).and_then(|b| b.checked_mul(rows))
        }
        (Some(_), None) => None,
    }
    // ggml counts elements and bytes in signed 64 bits.
    .filter(|n| i64::try_from(*n).is_ok())
    .ok_or_else(|| shape("is larger than any file".to_owned()))?;
    Ok((
        TensorInfo {
            name,
            dims,
            kind,
            offset,
            bytes,
            size_known,
        },
        valid,
    ))
}

/// Makes offsets absolute, infers sizes of unknown types, and checks that the tensors lie in the
/// file, each on its own bytes and under its own name.
fn lay_out(tensors: &mut [TensorInfo], data: u64, file_len: u64) -> Result<(), HeaderError> {
    for t in tensors.iter_mut() {
        t.offset = t
            .offset
            .checked_add(data)
            .ok_or_else(|| HeaderError::Shape {
                tensor: t.name.clone(),
                why: "begins past any file's end".to_owned(),
            })?;
    }
    let mut order: Vec<&mut TensorInfo> = tensors.iter_mut().collect();
    order.sort_by_key(|t| t.offset);
    let starts: Vec<u64> = order.iter().map(|t| t.offset).collect();
    let ends = starts
        .iter()
        .skip(1)
        .copied()
        .chain(std::iter::once(u64::MAX));
    let mut last: Option<(&str, u64)> = None;
    let mut overlap = None;
    for (t, next) in order.iter_mut().zip(ends) {
        if !t.size_known {
            t.bytes = next.min(file_len.max(t.offset)) - t.offset;
        }
    }
    for pair in order.windows(2) {
        if let [a, b] = pair
            && a.offset.saturating_add(a.bytes) > b.offset
        {
            overlap = Some((a.name.clone(), b.name.clone()));
            break;
        }
    }
    for t in &order {
        let end = t.offset.saturating_add(t.bytes);
        if last.is_none_or(|(_, e)| end > e) {
            last = Some((&t.name, end));
        }
    }
    if let Some((first, second)) = overlap {
        return Err(HeaderError::Overlap { first, second });
    }
    if let Some((tensor, end)) = last
        && end > file_len
    {
        return Err(HeaderError::Truncated {
            tensor: tensor.to_owned(),
            missing: end - file_len,
        });
    }
    let mut names: Vec<&str> = order.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|w| w.first() == w.last()) {
        Some([name, _]) => Err(HeaderError::Duplicate {
            name: (*name).to_owned(),
        }),
        _ => Ok(()),
    }
}
