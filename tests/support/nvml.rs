//! Builds the stand-in NVML (`nvml_stub.c`, which says what it can be told), so that no test needs
//! a GPU.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests only")]

use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("nvml_stub.c");

/// A stand-in built into `folder`, with `defines` such as `-DNO_MEMORY_V2` and with `readings`,
/// lines of `KEY=value`; nothing, with the reason printed, where there is no C compiler.
///
/// Point `GPUC_NVML_LIB` at it. `<library>.conf` may be rewritten while it is in use.
pub fn stand_in(folder: &Path, defines: &[&str], readings: &str) -> Option<PathBuf> {
    build(folder, "libnvidia-ml.so.1", SOURCE, defines, readings)
}

/// A library of this name out of `source`, with a `.conf` of these settings beside it.
pub fn build(
    folder: &Path,
    name: &str,
    source: &str,
    defines: &[&str],
    settings: &str,
) -> Option<PathBuf> {
    if !cfg!(target_os = "linux") {
        println!("skipped: stand-in libraries are built on Linux only");
        return None;
    }
    let library = folder.join(name);
    let code = folder.join(format!("{name}.c"));
    std::fs::write(&code, source).unwrap();
    let built = Command::new("cc")
        .args([
            "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o",
        ])
        .arg(&library)
        .args(defines)
        .arg(&code)
        .arg("-ldl")
        .output();
    let output = match built {
        Ok(output) => output,
        Err(e) => {
            println!("skipped: no C compiler for the stand-in libraries (cc: {e})");
            return None;
        }
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut conf = library.clone().into_os_string();
    conf.push(".conf");
    std::fs::write(conf, settings).unwrap();
    Some(library)
}
