//! The machine around the GPU: memory and what limits it, platform, bandwidth, date.

mod cgroup;
mod clock;
mod memory;
mod platform;

pub use cgroup::{Allowance, allowance};
pub use clock::today;
pub use memory::{HostMemory, MemoryError};
pub use platform::platform;
