//! gpu-container-watchdog: guards a GPU job.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    gpu_container::main_with(gpu_container::watchdog::run)
}

/// Process groups, descriptors for signals and for processes are Linux's own.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    use std::io::Write as _;
    let text = "ERROR [DEP_MISSING]: the watchdog runs on Linux (WSL2 included) only\n";
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(2)
}
