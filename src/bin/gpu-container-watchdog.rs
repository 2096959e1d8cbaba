//! gpu-container-watchdog.
fn main() {}
