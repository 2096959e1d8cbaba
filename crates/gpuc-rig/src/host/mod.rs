//! The machine around the GPU: memory and what limits it, platform, bandwidth, date.

mod bandwidth;
mod cgroup;
mod clock;
mod memory;
mod platform;

pub use bandwidth::{RamBandwidth, ram_bandwidth};
pub use cgroup::{Allowance, allowance};
pub use clock::today;
pub use memory::{HostMemory, MemoryError};
pub use platform::platform;
