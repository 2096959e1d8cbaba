//! The further readings of a GPU, by NVML.

use gpuc_core::units::mib;
use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};

use super::details::Instance;
use super::nvml::{Slot, memory, reading, watts};
use super::probe::Identity;

/// Bits of the mask of reasons, by NVML's header, and what to call them. "gpu-idle" is one of
/// them: an idle card holds its clocks down too.
const THROTTLE: [(u64, &str); 9] = [
    (0x1, "gpu-idle"),
    (0x2, "applications-clocks-setting"),
    (0x4, "sw-power-cap"),
    (0x8, "hw-slowdown"),
    (0x10, "sync-boost"),
    (0x20, "sw-thermal-slowdown"),
    (0x40, "hw-thermal-slowdown"),
    (0x80, "hw-power-brake-slowdown"),
    (0x100, "display-clock-setting"),
];

/// Asks for one after the other, so that one call that hangs leaves the readings before it.
pub(super) fn fill(device: &Device<'_>, slot: &Slot<'_, Identity>) {
    macro_rules! read {
        ($field:ident, $value:expr) => {
            let value = $value;
            slot.set(|i| i.details.$field = value);
        };
    }
    let whole = |value| reading(value).map(u64::from);
    read!(uuid, reading(device.uuid()));
    read!(pci_bus_id, reading(device.pci_info().map(|p| p.bus_id)));
    read!(memory_bus_bits, whole(device.memory_bus_width()));
    read!(
        memory_clock_max_mhz,
        whole(device.max_clock_info(Clock::Memory))
    );
    read!(memory_clock_mhz, whole(device.clock_info(Clock::Memory)));
    read!(
        graphics_clock_max_mhz,
        whole(device.max_clock_info(Clock::Graphics))
    );
    read!(
        graphics_clock_mhz,
        whole(device.clock_info(Clock::Graphics))
    );
    read!(pcie_gen_now, whole(device.current_pcie_link_gen()));
    read!(pcie_width_now, whole(device.current_pcie_link_width()));
    read!(power_w, watts(device.power_usage()));
    read!(
        power_limit_w,
        watts(
            device
                .enforced_power_limit()
                .or_else(|_| device.power_management_limit())
        )
    );
    read!(
        temp_c,
        reading(device.temperature(TemperatureSensor::Gpu)).map(f64::from)
    );
    read!(
        ecc,
        reading(device.is_ecc_enabled()).map(|mode| mode.currently_enabled)
    );
    read!(
        throttle_reasons,
        reading(device.current_throttle_reasons()).map(|reasons| words(reasons.bits()))
    );
    let mig = reading(device.mig_mode()).map(|mode| mode.current != 0);
    let split = mig == Ok(true);
    slot.set(|i| i.details.mig = mig);
    if split {
        let most = device.mig_device_count().unwrap_or(0).min(64);
        for index in 0..most {
            // Numbers without an instance are gaps, not faults.
            if let Ok(instance) = device.mig_device_by_index(index) {
                let found = describe(&instance);
                slot.set(|i| i.details.instances.push(found));
            }
        }
    }
}

pub(super) fn words(bits: u64) -> Vec<String> {
    let known = THROTTLE.iter().fold(0, |all, (bit, _)| all | bit);
    let mut words: Vec<String> = THROTTLE
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, word)| (*word).into())
        .collect();
    if bits & !known != 0 {
        words.push(format!("unknown-{:#x}", bits & !known));
    }
    words
}

fn describe(instance: &Device<'_>) -> Instance {
    let memory = memory(instance);
    Instance {
        name: reading(instance.name()),
        uuid: reading(instance.uuid()),
        vram_total_mib: memory.as_ref().map(|m| mib(m.total)).map_err(Clone::clone),
        vram_free_mib: memory.map(|m| mib(m.free)),
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn reasons_in_words() {
        assert!(words(0).is_empty());
        assert_eq!(words(0x44), ["sw-power-cap", "hw-thermal-slowdown"]);
        assert_eq!(words(0x1001), ["gpu-idle", "unknown-0x1000"]);
    }
}
