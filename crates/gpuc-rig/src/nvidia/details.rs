//! What else a driver says about a GPU, beside what a plan needs.

use super::probe::Reading;

/// Further readings of one GPU, each a value or why it is missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Details {
    /// Unique identifier, such as "GPU-b5e386b4-…".
    pub uuid: Reading<String>,
    /// Address on the PCI bus, such as "00000000:01:00.0".
    pub pci_bus_id: Reading<String>,
    /// PCIe generation that the link runs at now; an idle card slows it down.
    pub pcie_gen_now: Reading<u64>,
    /// PCIe lanes in use now.
    pub pcie_width_now: Reading<u64>,
    /// Width of the memory bus, bits.
    pub memory_bus_bits: Reading<u64>,
    /// Clock of the memory now, MHz.
    pub memory_clock_mhz: Reading<u64>,
    /// Highest clock of the memory, MHz.
    pub memory_clock_max_mhz: Reading<u64>,
    /// Clock of the shaders now, MHz.
    pub graphics_clock_mhz: Reading<u64>,
    /// Highest clock of the shaders, MHz.
    pub graphics_clock_max_mhz: Reading<u64>,
    /// Power drawn, W.
    pub power_w: Reading<f64>,
    /// Power limit in force, W.
    pub power_limit_w: Reading<f64>,
    /// Temperature of the chip, °C.
    pub temp_c: Reading<f64>,
    /// Whether memory corrects errors.
    pub ecc: Reading<bool>,
    /// Whether the card is split into instances (MIG).
    pub mig: Reading<bool>,
    /// The instances, where it is.
    pub instances: Vec<Instance>,
    /// What holds the clocks down now, in the driver's words.
    pub throttle_reasons: Reading<Vec<String>>,
}

/// One instance of a card that is split.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Its name, such as "NVIDIA A100-SXM4-80GB MIG 2g.20gb".
    pub name: Reading<String>,
    /// Its identifier, such as "MIG-…".
    pub uuid: Reading<String>,
    /// Memory in all, MiB.
    pub vram_total_mib: Reading<f64>,
    /// Memory free, MiB.
    pub vram_free_mib: Reading<f64>,
}

impl Details {
    /// Nothing is known, for one reason.
    pub fn missing(why: &str) -> Self {
        Self {
            uuid: Err(why.into()),
            pci_bus_id: Err(why.into()),
            pcie_gen_now: Err(why.into()),
            pcie_width_now: Err(why.into()),
            memory_bus_bits: Err(why.into()),
            memory_clock_mhz: Err(why.into()),
            memory_clock_max_mhz: Err(why.into()),
            graphics_clock_mhz: Err(why.into()),
            graphics_clock_max_mhz: Err(why.into()),
            power_w: Err(why.into()),
            power_limit_w: Err(why.into()),
            temp_c: Err(why.into()),
            ecc: Err(why.into()),
            mig: Err(why.into()),
            instances: Vec::new(),
            throttle_reasons: Err(why.into()),
        }
    }
}
