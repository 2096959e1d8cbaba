//! gpu-container-concentration.
fn main() {}
