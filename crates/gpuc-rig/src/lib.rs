//! Where gpu-container touches the machine; it decides nothing.

pub mod host;
pub mod nvidia;
