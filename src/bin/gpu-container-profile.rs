//! gpu-container-profile.
fn main() {}
