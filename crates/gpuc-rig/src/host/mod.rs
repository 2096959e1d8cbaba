//! The machine around the GPU: memory and what limits it, platform, bandwidth, date.

mod bandwidth;
mod cgroup;
mod clock;
mod dmi;
mod kept;
mod layout;
mod memory;
mod platform;
mod pressure;

pub use bandwidth::{RamBandwidth, ram_bandwidth};
pub use cgroup::{Allowance, Groups, allowance};
pub use clock::{now, today};
pub use dmi::{Theoretical, theoretical_bandwidth};
pub use layout::{HugePages, Node, huge_pages, nodes, transparent_huge_pages};
pub use memory::{HostMemory, MemoryError};
pub use platform::platform;
pub use pressure::{HostPressure, nearest};
