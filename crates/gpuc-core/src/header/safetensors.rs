//! The header of a safetensors file, and the list of files of a model in several.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{Read, Seek};

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::error::HeaderError;
use super::input::Input;

/// The longest header that is read; real ones have some hundred kilobytes.
const JSON_LIMIT: u64 = 16 << 20;
/// The most tensors of a file.
const TENSOR_LIMIT: usize = 200_000;

/// One tensor of a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafetensorsInfo {
    /// Its name.
    pub name: String,
    /// Its type as the file spells it ("BF16").
    pub dtype: String,
    /// Its dimensions, the row length last.
    pub shape: Vec<u64>,
    /// Bytes of its data.
    pub bytes: u64,
    /// Where its data begins, from the start of the data.
    pub offset: u64,
}

/// The header of one safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafetensorsHeader {
    /// The tensors in the order of their data.
    pub tensors: Vec<SafetensorsInfo>,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// Bits of an element, for the types that the format knows.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F64" | "I64" | "U64" | "C64" => 64,
        "F32" | "I32" | "U32" => 32,
        "F16" | "BF16" | "I16" | "U16" => 16,
        "I8" | "U8" | "BOOL" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "F8_E4M3FNUZ"
        | "F8_E5M2FNUZ" => 8,
        "F6_E2M3" | "F6_E3M2" => 6,
        "F4" => 4,
        _ => return None,
    })
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header's object, in order, each key once.
struct Table(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Table;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table, A::Error> {
                let mut seen = BTreeSet::new();
                let mut out = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(de::Error::custom(format!("{key:?} appears twice")));
                    }
                    if seen.len() > TENSOR_LIMIT {
                        return Err(de::Error::custom("more tensors than any model has"));
                    }
                    if key == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        out.push((key, map.next_value()?));
                    }
                }
                Ok(Table(out))
            }
        }
        d.deserialize_map(Entries)
    }
}

fn bad(why: impl Into<String>) -> HeaderError {
    HeaderError::Safetensors { why: why.into() }
}

/// Reads the header of one safetensors file; no weight is touched.
pub fn read_safetensors<R: Read + Seek>(file: R) -> Result<SafetensorsHeader, HeaderError> {
    let mut input = Input::new(file)?;
    let n = input.u64("the header's length")?;
    if n > JSON_LIMIT {
        return Err(bad(format!(
            "its header claims {n} bytes, at most {JSON_LIMIT} are read"
        )));
    }
    let json = input.bytes(n, "the header")?;
    let table: Table = serde_json::from_slice(&json).map_err(|e| bad(e.to_string()))?;
    drop(json);
    let mut tensors = Vec::with_capacity(table.0.len());
    for (name, e) in table.0 {
        let shape = |why: &str| HeaderError::Shape {
            tensor: name.clone(),
            why: why.to_owned(),
        };
        let (begin, end) = e.data_offsets;
        let bytes = end
            .checked_sub(begin)
            .ok_or_else(|| shape("ends before it begins"))?;
        if let Some(bits) = bits(&e.dtype) {
            let all = e
                .shape
                .iter()
                .try_fold(bits, |n: u64, d| n.checked_mul(*d))
                .filter(|n| n.is_multiple_of(8))
                .ok_or_else(|| shape("has no whole number of bytes"))?;
            if all / 8 != bytes {
                return Err(shape("has other bytes than its shape and type give"));
            }
        }
        tensors.push(SafetensorsInfo {
            name,
            dtype: e.dtype,
            shape: e.shape,
            bytes,
            offset: begin,
        });
    }
    tensors.sort_by_key(|t| (t.offset, t.bytes));
    let mut end = 0_u64;
    let mut before = "";
    for t in &tensors {
        if t.offset < end {
            return Err(HeaderError::Overlap {
                first: before.to_owned(),
                second: t.name.clone(),
            });
        }
        if t.offset > end {
            return Err(bad(format!("a hole of bytes before {:?}", t.name)));
        }
        end = t.offset.saturating_add(t.bytes);
        before = &t.name;
    }
    let needed = input.pos().saturating_add(end);
    if needed > input.file_len() {
        return Err(HeaderError::Truncated {
            tensor: before.to_owned(),
            missing: needed - input.file_len(),
        });
    }
    Ok(SafetensorsHeader {
        file_bytes: input.file_len(),
        tensors,
    })
}

#[derive(Deserialize)]
struct Index {
    weight_map: Weights,
}

/// The files named by the map, each once, in order.
struct Weights(BTreeSet<String>);

impl<'de> Deserialize<'de> for Weights {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Files;
        impl<'de> Visitor<'de> for Files {
            type Value = Weights;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of file names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Weights, A::Error> {
                let mut files = BTreeSet::new();
                while map.next_key::<IgnoredAny>()?.is_some() {
                    files.insert(map.next_value::<String>()?);
                }
                Ok(Weights(files))
            }
        }
        d.deserialize_map(Files)
    }
}

/// The files of a model, from its `model.safetensors.index.json`; names that lead out of the
/// folder are refused.
pub fn shard_files(index: &[u8]) -> Result<Vec<String>, HeaderError> {
    let index: Index = serde_json::from_slice(index)
        .map_err(|e| bad(format!("model.safetensors.index.json: {e}")))?;
    let plain = |f: &String| !f.is_empty() && !f.contains(['/', '\\']) && f != "..";
    if let Some(f) = index.weight_map.0.iter().find(|f| !plain(f)) {
        return Err(bad(format!(
            "model.safetensors.index.json names {f:?}, which is no file beside it"
        )));
    }
    Ok(index.weight_map.0.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn file(json: &str, data: usize) -> Vec<u8> {
        let mut out = Vec::from((json.len() as u64).to_le_bytes());
        out.extend(json.as_bytes());
        out.resize(out.len() + data, 0);
        out
    }

    const GOOD: &str = r#"{"__metadata__":{"format":"pt"},
        "b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},
        "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "c":{"dtype":"NEW","shape":[7],"data_offsets":[20,23]}}"#;

    #[test]
    fn a_good_file_is_read() {
        let h = read_safetensors(Cursor::new(file(GOOD, 23))).unwrap();
        let got: Vec<_> = h
            .tensors
            .iter()
            .map(|t| (t.name.as_str(), t.bytes))
            .collect();
        assert_eq!(got, [("a", 8), ("b", 12), ("c", 3)]);
    }

    #[test]
    fn bad_files_say_why() {
        let one = |e: &str| file(&format!(r#"{{"a":{e}}}"#), 8);
        let f32s = |shape: &str, at: &str| {
            one(&format!(
                r#"{{"dtype":"F32","shape":{shape},"data_offsets":{at}}}"#
            ))
        };
        let cases = [
            (vec![], "it needs at least 8 more bytes"),
            (vec![0xff; 8], "claims 18446744073709551615 bytes"),
            (file("[]", 0), "an object of tensors"),
            (file("{", 0), "EOF"),
            (file(GOOD, 20), "needs 3 more bytes"),
            (f32s("[2]", "[8,0]"), "ends before it begins"),
            (f32s("[3]", "[0,8]"), "other bytes than its shape"),
            (
                f32s("[4294967296,4294967296]", "[0,8]"),
                "no whole number of bytes",
            ),
            (f32s("[1]", "[4,8]"), "a hole of bytes before \"a\""),
            (
                file(
                    r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                        "b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
                    8,
                ),
                "\"a\" and \"b\" overlap",
            ),
            (
                file(
                    r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                        "a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#,
                    16,
                ),
                "\"a\" appears twice",
            ),
        ];
        for (bytes, want) in cases {
            let e = read_safetensors(Cursor::new(bytes)).unwrap_err();
            assert!(e.to_string().contains(want), "{want}: {e}");
        }
    }

    #[test]
    fn an_index_names_files_beside_it() {
        let files = shard_files(
            br#"{"metadata":{},"weight_map":{"x":"m-2.safetensors","y":"m-1.safetensors","z":"m-2.safetensors"}}"#,
        );
        assert_eq!(files.unwrap(), ["m-1.safetensors", "m-2.safetensors"]);
        for name in ["../x", "/etc/x", "", ".."] {
            let json = format!(r#"{{"weight_map":{{"x":"{name}"}}}}"#);
            assert!(shard_files(json.as_bytes()).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn random_and_changed_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            at in any::<prop::sample::Index>(),
            v in any::<u8>(),
        ) {
            let _ = read_safetensors(Cursor::new(&bytes));
            let _ = shard_files(&bytes);
            let mut b = file(GOOD, 23);
            let i = at.index(b.len());
            b[i] = v;
            let _ = read_safetensors(Cursor::new(&b));
        }
    }
}
