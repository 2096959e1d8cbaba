//! gpu-container-receipt.
fn main() {}
