//! Where gpu-container touches the machine; it decides nothing.

pub mod baseline;
pub mod host;
pub mod nvidia;
pub mod path;
pub mod storage;
#[cfg(target_os = "linux")]
pub mod supervise;
