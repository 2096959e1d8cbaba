//! The GGUF reader against good, bad and hostile files.

use std::io::Cursor;
use std::path::PathBuf;

use proptest::prelude::*;

use super::sample::Sample;
use super::{GgmlType, HeaderError, Items, Value, read_gguf};
use crate::error::{Code, Coded};

fn good() -> Sample {
    Sample::new()
        .str("general.architecture", "llama")
        .u32("llama.block_count", 2)
        .u32s("llama.attention.head_count_kv", &[8, 0])
        .strings("imatrix.datasets", &["a.txt", "b.txt"])
        .strings("tokenizer.ggml.tokens", &["<s>", "a", "b"])
        .tensor("token_embd.weight", &[256, 3], 12)
        .tensor("blk.0.attn_q.weight", &[64, 2], 39)
        .tensor("blk.1.ffn_down_exps.weight", &[32, 2, 4], 8)
}

#[test]
fn a_good_file_is_read_in_full() {
    let h = read_gguf(Cursor::new(good().build())).unwrap();
    let m = &h.metadata;
    assert_eq!(m.text("general.architecture"), Some("llama"));
    assert_eq!(m.u64("llama.block_count"), Some(2));
    assert_eq!(m.u64s("llama.attention.head_count_kv"), Some(vec![8, 0]));
    assert_eq!(m.texts("imatrix.datasets").unwrap(), ["a.txt", "b.txt"]);
    assert_eq!(m.array_len("tokenizer.ggml.tokens"), Some(3));
    assert_eq!(m.texts("tokenizer.ggml.tokens"), None);
    let sizes: Vec<u64> = h.tensors.iter().map(|t| t.bytes).collect();
    assert_eq!(sizes, [3 * 144, 2 * 34, 8 * 34]);
    assert_eq!(h.tensors[2].dims, [32, 2, 4, 1]);
    assert_eq!(h.tensors[0].offset, h.header_bytes.next_multiple_of(32));
}

#[test]
fn every_prefix_says_what_is_missing() {
    let bytes = good().build();
    // The last tensor's padding may be missing from a file, its bytes may not.
    let h = read_gguf(Cursor::new(&bytes)).unwrap();
    let end = usize::try_from(h.tensors[2].offset + h.tensors[2].bytes).unwrap();
    for n in 0..end {
        let e = read_gguf(Cursor::new(&bytes[..n])).unwrap_err();
        assert_eq!(e.code(), Code::InputBadModelFile, "{n}: {e}");
        // Early cuts leave less than the counts claim.
        assert!(
            matches!(
                e,
                HeaderError::HeaderTruncated { .. }
                    | HeaderError::Truncated { .. }
                    | HeaderError::Count { .. }
            ),
            "{n}: {e}"
        );
    }
    let e = read_gguf(Cursor::new(&bytes[..end - 100])).unwrap_err();
    assert!(e.to_string().contains("needs 100 more bytes"), "{e}");
}

#[test]
fn an_unknown_type_is_sized_by_its_neighbour() {
    let h = read_gguf(Cursor::new({
        let mut b = Sample::new()
            .raw_tensor(b"a", &[999], 77, 0)
            .raw_tensor(b"b", &[8], 0, 96)
            .raw_tensor(b"c", &[8], 42, 128)
            .build();
        b.resize(b.len() + 200, 0);
        b
    }))
    .unwrap();
    let got: Vec<_> = h.tensors.iter().map(|t| (t.bytes, t.size_known)).collect();
    assert_eq!(got, [(96, false), (32, true), (72, false)]);
    assert_eq!(h.tensors[0].kind, GgmlType(77));
}

fn nested(depth: usize) -> Vec<u8> {
    let mut v = Vec::new();
    for _ in 0..depth {
        v.extend(9_u32.to_le_bytes());
        v.extend(1_u64.to_le_bytes());
    }
    v.extend(4_u32.to_le_bytes());
    v.extend(0_u64.to_le_bytes());
    v
}

/// Name of the file, its bytes, and what the reader says of it ("" where it reads it).
#[allow(clippy::too_many_lines)] // one table
fn abuse() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let huge = (1_u64 << 60).to_le_bytes();
    let array = |kind: u32, n: u64| {
        let mut v = Vec::from(kind.to_le_bytes());
        v.extend(n.to_le_bytes());
        v
    };
    let head = |version: u32, tensors: u64, pairs: u64| {
        let mut v = Vec::from(*b"GGUF");
        v.extend(version.to_le_bytes());
        v.extend(tensors.to_le_bytes());
        v.extend(pairs.to_le_bytes());
        v.resize(4096, 0);
        v
    };
    let one = || Sample::new().tensor("a", &[32], 0);
    let raw = |name: &[u8], dims: &[u64], kind: u32, offset: u64| {
        let mut b = Sample::new().raw_tensor(name, dims, kind, offset).build();
        b.resize(b.len() + 4096, 0);
        b
    };
    let two = |at: u64, second: &[u8]| {
        let mut b = Sample::new()
            .raw_tensor(b"a", &[32], 0, 0)
            .raw_tensor(second, &[32], 0, at)
            .build();
        b.resize(b.len() + 4096, 0);
        b
    };
    let mut cut = good().build();
    cut.truncate(cut.len() - 200);
    vec![
        ("empty", vec![], "it needs at least 4 more bytes"),
        (
            "not-gguf",
            b"PK\x03\x04zipped".to_vec(),
            "instead of \"GGUF\"",
        ),
        ("version-1", head(1, 0, 0), "version 1 is not supported"),
        ("version-9", head(9, 0, 0), "version 9 is not supported"),
        ("big-endian", head(3 << 24, 0, 0), "big-endian"),
        (
            "keys-2e40",
            head(3, 0, 1 << 40),
            "claims 1099511627776 entries",
        ),
        (
            "tensors-2e60",
            head(3, 1 << 60, 0),
            "claims 1152921504606846976 entries",
        ),
        (
            "text-2e60",
            one().raw("k", 8, &huge).build(),
            "it needs at least",
        ),
        (
            "tokens-2e60",
            one()
                .raw("tokenizer.ggml.tokens", 9, &array(8, 1 << 60))
                .build(),
            "claims",
        ),
        (
            "array-2e60",
            one().raw("k", 9, &array(12, 1 << 60)).build(),
            "claims",
        ),
        (
            "array-of-arrays-2e60",
            one().raw("k", 9, &array(9, 1 << 60)).build(),
            "claims",
        ),
        (
            "array-of-unknown",
            one().raw("k", 9, &array(13, 0)).build(),
            "unknown type 13",
        ),
        (
            "value-unknown",
            one().raw("k", 250, &[]).build(),
            "unknown type 250",
        ),
        (
            "nested-9",
            one().raw("k", 9, &nested(9)).build(),
            "nests arrays deeper than 8",
        ),
        ("nested-2", one().raw("k", 9, &nested(2)).build(), ""),
        (
            "key-twice",
            one().u32("k", 1).u32("k", 2).build(),
            "\"k\" appears twice",
        ),
        (
            "key-not-utf8",
            {
                let mut b = one().u32("kkk", 1).build();
                let at = b.windows(3).position(|w| w == b"kkk").unwrap();
                b[at] = 0xff;
                b
            },
            "",
        ),
        (
            "alignment-0",
            one().u32("general.alignment", 0).build(),
            "alignment 0 is not",
        ),
        (
            "alignment-3",
            one().u32("general.alignment", 3).build(),
            "alignment 3 is not",
        ),
        (
            "alignment-text",
            one().str("general.alignment", "32").build(),
            "is not a power of two",
        ),
        (
            "dims-5",
            raw(b"a", &[1, 1, 1, 1, 1], 0, 0),
            "has 5 dimensions",
        ),
        ("row-0", raw(b"a", &[0, 4], 0, 0), "has a dimension of 0"),
        ("row-31", raw(b"a", &[31], 2, 0), "no multiple of 32"),
        (
            "dims-overflow",
            raw(b"a", &[1 << 40, 1 << 40], 0, 0),
            "larger than any file",
        ),
        (
            "dims-overflow-unknown",
            raw(b"a", &[1 << 40, 1 << 40], 99, 0),
            "",
        ),
        (
            "offset-odd",
            raw(b"a", &[1], 0, 4),
            "no multiple of the alignment",
        ),
        ("offset-past-end", raw(b"a", &[1], 0, 1 << 50), "more bytes"),
        (
            "offset-2e64",
            raw(b"a", &[1], 0, u64::MAX - 31),
            "past any file's end",
        ),
        ("overlap", two(96, b"b"), "\"a\" and \"b\" overlap"),
        ("tensor-twice", two(128, b"a"), "\"a\" appears twice"),
        ("name-not-utf8", raw(b"\xff\xfe", &[1], 0, 0), ""),
        (
            "split-no-past-count",
            one().u32("split.count", 2).u32("split.no", 2).build(),
            "shard 2",
        ),
        ("cut", cut, "truncated download: needs"),
    ]
}

fn corpus() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/data/abuse"
    ))
}

/// Writes the corpus anew: `cargo test -p gpuc-core -- --ignored write_the_abuse_corpus`.
#[test]
#[ignore = "writes tests/data/abuse"]
fn write_the_abuse_corpus() {
    std::fs::create_dir_all(corpus()).unwrap();
    for (name, bytes, _) in abuse() {
        std::fs::write(corpus().join(format!("{name}.gguf")), bytes).unwrap();
    }
}

#[test]
fn the_abuse_corpus_is_refused_with_reasons() {
    for (name, bytes, want) in abuse() {
        let file = corpus().join(format!("{name}.gguf"));
        assert_eq!(
            std::fs::read(&file).unwrap(),
            bytes,
            "{name}: the file differs"
        );
        match read_gguf(Cursor::new(bytes)) {
            Ok(h) => {
                assert_eq!(want, "", "{name} was accepted");
                assert!(name != "name-not-utf8" || h.lossy_names == 1);
            }
            Err(e) => assert!(
                !want.is_empty() && e.to_string().contains(want),
                "{name}: {e}"
            ),
        }
    }
}

#[test]
fn arrays_a_hundred_thousand_deep_do_not_recurse() {
    let b = Sample::new().raw("k", 9, &nested(100_000)).build();
    let e = read_gguf(Cursor::new(b)).unwrap_err();
    assert!(matches!(e, HeaderError::TooDeep { .. }), "{e}");
}

#[test]
fn what_is_kept_is_bounded() {
    // A million tensors, each an honest entry of its own.
    let mut b = Vec::from(*b"GGUF");
    b.extend(3_u32.to_le_bytes());
    b.extend(1_000_000_u64.to_le_bytes());
    b.extend(0_u64.to_le_bytes());
    for i in 0..1_000_000_u64 {
        b.extend(0_u64.to_le_bytes());
        b.extend(0_u32.to_le_bytes());
        b.extend(0_u32.to_le_bytes());
        b.extend((i * 32).to_le_bytes());
    }
    let e = read_gguf(Cursor::new(b)).unwrap_err();
    assert!(matches!(e, HeaderError::TooMuch { .. }), "{e}");
}

#[test]
fn a_long_text_is_measured_not_kept() {
    let b = Sample::new().str("k", &"x".repeat(70_000)).build();
    let h = read_gguf(Cursor::new(b)).unwrap();
    assert_eq!(h.metadata.get("k"), Some(&Value::LongText(70_000)));
    let b = Sample::new().u32s("k", &[7; 100]).build();
    let h = read_gguf(Cursor::new(b)).unwrap();
    assert!(
        matches!(h.metadata.get("k"), Some(Value::Array(a)) if a.items == Some(Items::Ints(vec![7; 100])))
    );
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = read_gguf(Cursor::new(&bytes));
        let mut b = Vec::from(*b"GGUF\x03\0\0\0");
        b.extend(bytes);
        let _ = read_gguf(Cursor::new(b));
    }

    #[test]
    fn mutated_headers_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut b = good().build();
        for (at, v) in changes {
            let i = at.index(b.len());
            b[i] = v;
        }
        let n = cut.index(b.len()) + 1;
        let _ = read_gguf(Cursor::new(&b[..n]));
        if let Ok(h) = read_gguf(Cursor::new(&b)) {
            for t in &h.tensors {
                prop_assert!(t.offset + t.bytes <= h.file_bytes);
            }
        }
    }
}
