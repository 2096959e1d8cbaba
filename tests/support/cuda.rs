//! Builds the stand-in CUDA driver library (`cuda_stub.c`, which says what it can be told).
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]
#![allow(clippy::unwrap_used, reason = "tests only")]

use std::path::{Path, PathBuf};

use super::nvml;

/// A stand-in built into `folder`, with `defines` such as `-DNO_EVENTS` and with `settings`, lines
/// of `KEY=value`; nothing, with the reason printed, where there is no C compiler.
///
/// Point `GPUC_CUDA_LIB` at it.
pub fn stand_in(folder: &Path, defines: &[&str], settings: &str) -> Option<PathBuf> {
    nvml::build(
        folder,
        "libcuda.so.1",
        include_str!("cuda_stub.c"),
        defines,
        settings,
    )
}
