//! Any bytes as a GGUF file: read, and where that succeeds, mapped. Seeds: `tests/data/abuse`.
#![no_main]

use std::io::Cursor;

use gpuc_core::footprint::{Facts, Placed, Setting};
use gpuc_core::header::{join, read_gguf};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = read_gguf(Cursor::new(bytes)) else { return };
    let Ok(model) = join(vec![header]) else { return };
    if let Ok(facts) = Facts::from_gguf(&model) {
        let _ = facts.memory_map(&Setting::default(), &Placed::default());
    }
});
