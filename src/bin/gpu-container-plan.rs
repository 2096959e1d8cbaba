//! gpu-container-plan.
fn main() {}
