//! Any bytes as a safetensors file and as an index of several.
#![no_main]

use std::io::Cursor;

use gpuc_core::header::{read_safetensors, shard_files};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = read_safetensors(Cursor::new(bytes));
    let _ = shard_files(bytes);
});
