//! A GGUF file's key-value pairs: what is kept of them, and how they are asked for.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use super::error::HeaderError;
use super::input::Input;

/// How deep arrays may nest; real files do not nest them at all.
const DEPTH_LIMIT: usize = 8;
/// The longest array that is kept; per-layer arrays have at most some hundred entries.
const ARRAY_LIMIT: u64 = 16 << 10;
/// The longest text that is kept.
const TEXT_LIMIT: u64 = 64 << 10;

/// The elements of a kept array.
#[derive(Debug, Clone, PartialEq)]
pub enum Items {
    /// Whole numbers and booleans (0 and 1).
    Ints(Vec<i128>),
    /// Floating-point numbers.
    Floats(Vec<f64>),
    /// Texts.
    Texts(Vec<String>),
}

/// An array: always its length, and its elements where they are few.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayValue {
    /// Number of elements.
    pub len: u64,
    /// The elements; absent for vocabularies, nested and very long arrays.
    pub items: Option<Items>,
}

/// One value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number of any width.
    Int(i128),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A text; bytes that are no UTF-8 are replaced.
    Text(String),
    /// A text too long to keep, by its length in bytes.
    LongText(u64),
    /// An array.
    Array(ArrayValue),
}

/// All key-value pairs of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    map: BTreeMap<String, Value>,
}

impl Metadata {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key)
    }

    /// Keys and values in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.map.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// A non-negative whole number.
    pub fn u64(&self, key: &str) -> Option<u64> {
        match self.map.get(key)? {
            Value::Int(n) => u64::try_from(*n).ok(),
            Value::Bool(b) => Some(u64::from(*b)),
            _ => None,
        }
    }

    /// A number, whole or not.
    pub fn f64(&self, key: &str) -> Option<f64> {
        match self.map.get(key)? {
            Value::Int(n) => Some(*n as f64),
            Value::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// True or false.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.map.get(key)? {
            Value::Bool(b) => Some(*b),
            Value::Int(n) => Some(*n != 0),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.map.get(key)? {
            Value::Text(s) => Some(s),
            _ => None,
        }
    }

    /// An array's length.
    pub fn array_len(&self, key: &str) -> Option<u64> {
        match self.map.get(key)? {
            Value::Array(a) => Some(a.len),
            _ => None,
        }
    }

    /// The elements of a kept array of texts.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.map.get(key)? {
            Value::Array(ArrayValue {
                items: Some(Items::Texts(v)),
                ..
            }) => Some(v),
            _ => None,
        }
    }

    /// The elements of a kept array of non-negative whole numbers or booleans; a negative counts
    /// as 0, as llama.cpp's per-layer arrays mean it.
    pub fn u64s(&self, key: &str) -> Option<Vec<u64>> {
        match self.map.get(key)? {
            Value::Array(ArrayValue {
                items: Some(Items::Ints(v)),
                ..
            }) => Some(v.iter().map(|n| u64::try_from(*n).unwrap_or(0)).collect()),
            _ => None,
        }
    }

    /// Adds a pair; the key must be new.
    pub(super) fn insert(&mut self, key: String, value: Value) -> Result<(), HeaderError> {
        if self.map.contains_key(&key) {
            return Err(HeaderError::Duplicate { name: key });
        }
        self.map.insert(key, value);
        Ok(())
    }
}

impl FromIterator<(String, Value)> for Metadata {
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(iter: T) -> Self {
        Self {
            map: iter.into_iter().collect(),
        }
    }
}

const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Bytes of a scalar of this type.
const fn scalar_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn scalar<R: Read + Seek>(
    input: &mut Input<R>,
    kind: u32,
    key: &str,
) -> Result<Value, HeaderError> {
    Ok(match kind {
        0 => Value::Int(u8::from_le_bytes(input.array(key)?).into()),
        1 => Value::Int(i8::from_le_bytes(input.array(key)?).into()),
        2 => Value::Int(u16::from_le_bytes(input.array(key)?).into()),
        3 => Value::Int(i16::from_le_bytes(input.array(key)?).into()),
        4 => Value::Int(u32::from_le_bytes(input.array(key)?).into()),
        5 => Value::Int(i32::from_le_bytes(input.array(key)?).into()),
        6 => Value::Float(f32::from_le_bytes(input.array(key)?).into()),
        7 => Value::Bool(u8::from_le_bytes(input.array(key)?) != 0),
        10 => Value::Int(u64::from_le_bytes(input.array(key)?).into()),
        11 => Value::Int(i64::from_le_bytes(input.array(key)?).into()),
        12 => Value::Float(f64::from_le_bytes(input.array(key)?)),
        _ => {
            return Err(HeaderError::ValueType {
                key: key.to_owned(),
                kind,
            });
        }
    })
}

/// A string, lossily decoded; the flag says whether it was valid UTF-8.
pub(super) fn string<R: Read + Seek>(
    input: &mut Input<R>,
    within: &str,
) -> Result<(String, bool), HeaderError> {
    let n = input.u64(within)?;
    let bytes = input.bytes(n, within)?;
    Ok(match String::from_utf8(bytes) {
        Ok(s) => (s, true),
        Err(e) => {
            // A replacement character takes three bytes for one.
            input.keep(e.as_bytes().len() * 2, within)?;
            (String::from_utf8_lossy(e.as_bytes()).into_owned(), false)
        }
    })
}

/// Reads the value of `key`, whose type is `kind`.
pub(super) fn value<R: Read + Seek>(
    input: &mut Input<R>,
    kind: u32,
    key: &str,
) -> Result<Value, HeaderError> {
    match kind {
        STRING => {
            let n = input.u64(key)?;
            if n > TEXT_LIMIT {
                input.skip(n, key)?;
                return Ok(Value::LongText(n));
            }
            let bytes = input.bytes(n, key)?;
            input.keep(bytes.len() * 2, key)?;
            Ok(Value::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        ARRAY => array(input, key, 1).map(Value::Array),
        _ => scalar(input, kind, key),
    }
}

fn array<R: Read + Seek>(
    input: &mut Input<R>,
    key: &str,
    depth: usize,
) -> Result<ArrayValue, HeaderError> {
    if depth > DEPTH_LIMIT {
        return Err(HeaderError::TooDeep {
            key: key.to_owned(),
            limit: DEPTH_LIMIT,
        });
    }
    let kind = input.u32(key)?;
    let len = input.u64(key)?;
    // Vocabularies are counted, not kept; nested arrays are only passed over.
    let wanted = depth == 1 && len <= ARRAY_LIMIT && !key.starts_with("tokenizer.");
    match kind {
        STRING => {
            input.need_entries(len, 8, key)?;
            if !wanted {
                for _ in 0..len {
                    input.skip_string(key)?;
                }
                return Ok(ArrayValue { len, items: None });
            }
            let mut texts = Vec::new();
            for _ in 0..len {
                input.keep(size_of::<String>(), key)?;
                texts.push(string(input, key)?.0);
            }
            Ok(ArrayValue {
                len,
                items: Some(Items::Texts(texts)),
            })
        }
        ARRAY => {
            input.need_entries(len, 12, key)?;
            for _ in 0..len {
                array(input, key, depth + 1)?;
            }
            Ok(ArrayValue { len, items: None })
        }
        _ => {
            let each = scalar_bytes(kind).ok_or_else(|| HeaderError::ValueType {
                key: key.to_owned(),
                kind,
            })?;
            input.need_entries(len, each, key)?;
            if !wanted {
                // The product was checked above.
                input.skip(len.saturating_mul(each), key)?;
                return Ok(ArrayValue { len, items: None });
            }
            numbers(input, kind, len, key)
        }
    }
}

fn numbers<R: Read + Seek>(
    input: &mut Input<R>,
    kind: u32,
    len: u64,
    key: &str,
) -> Result<ArrayValue, HeaderError> {
    let mut ints = Vec::new();
    let mut floats = Vec::new();
    for _ in 0..len {
        input.keep(size_of::<i128>(), key)?;
        match scalar(input, kind, key)? {
            Value::Int(n) => ints.push(n),
            Value::Bool(b) => ints.push(b.into()),
            Value::Float(x) => floats.push(x),
            _ => {}
        }
    }
    let items = if kind == 6 || kind == 12 {
        Items::Floats(floats)
    } else {
        Items::Ints(ints)
    };
    Ok(ArrayValue {
        len,
        items: Some(items),
    })
}
