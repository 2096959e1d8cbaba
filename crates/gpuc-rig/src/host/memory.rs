//! RAM: how much there is and how much of it this process may still use.

use std::path::Path;

use gpuc_core::error::{Code, Coded};
use sysinfo::{MemoryRefreshKind, System};

use super::cgroup::{Allowance, allowance};

/// RAM of the machine, as this process may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostMemory {
    /// RAM of the machine, bytes.
    pub total: u64,
    /// What can be had without swapping, bytes; never more than the control groups allow.
    pub available: u64,
    /// The tightest limit of a control group, where there is one.
    pub cgroup: Option<Allowance>,
}

/// RAM could not be read.
#[derive(Debug, thiserror::Error)]
#[error("host memory cannot be read: {0}")]
pub struct MemoryError(String);

impl Coded for MemoryError {
    fn code(&self) -> Code {
        Code::IoReadFailed
    }
}

impl HostMemory {
    /// Reads it now.
    pub fn read() -> Result<Self, MemoryError> {
        let mut system = System::new().map_err(|e| MemoryError(format!("{e:?}")))?;
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let total = system.total_memory();
        if total == 0 {
            return Err(MemoryError("the system reports none".into()));
        }
        let cgroup = if cfg!(target_os = "linux") {
            allowance(Path::new("/"))
        } else {
            None
        };
        Ok(Self::of(total, system.available_memory(), cgroup))
    }

    fn of(total: u64, available: u64, cgroup: Option<Allowance>) -> Self {
        let left = cgroup.map_or(u64::MAX, |c| c.left);
        // A limit above what the machine has limits nothing.
        let cgroup = cgroup.filter(|c| c.limit < total || c.left < available);
        Self {
            total,
            available: available.min(left),
            cgroup,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_can_only_take_away() {
        let tight = Allowance {
            limit: 100,
            left: 30,
        };
        let memory = HostMemory::of(1000, 400, Some(tight));
        assert_eq!((memory.available, memory.cgroup), (30, Some(tight)));
        let loose = Allowance {
            limit: 4000,
            left: 3000,
        };
        let memory = HostMemory::of(1000, 400, Some(loose));
        assert_eq!((memory.available, memory.cgroup), (400, None));
    }

    #[test]
    fn this_machine_has_memory() {
        let memory = HostMemory::read().unwrap();
        assert!(memory.total > 0 && memory.available <= memory.total);
    }
}
