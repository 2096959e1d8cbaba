//! What the driver says about its GPUs: NVML first, nvidia-smi where NVML cannot be loaded.
//!
//! A reading that is missing keeps the reason why; none is ever replaced by 0 or a guess.

mod askers;
mod cards;
pub mod cuda;
mod details;
mod live;
mod nvml;
mod nvml_details;
mod probe;
mod rows;
mod smi;

pub use details::{Details, Instance};
pub use probe::{Identity, Live, Probe, ProbeError, Processes, Reading, Watched};
