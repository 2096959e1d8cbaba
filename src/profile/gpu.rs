//! The GPUs of this machine as the document has them, with a note on what is missing.

use std::collections::BTreeMap;

use gpuc_core::document::Gpu;
use gpuc_core::error::Fault;
use gpuc_rig::nvidia::{Identity, Probe, Reading};
use serde_json::{Map, Value, json};

use super::choice::{Choice, choose};

/// All that is known of the GPUs.
pub(super) struct Gpus {
    /// The one that is profiled.
    pub(super) gpu: Gpu,
    /// All of them, for the document.
    pub(super) listed: Option<Value>,
    /// The chosen one as the driver describes it.
    pub(super) chosen: Option<Identity>,
}

fn none() -> Gpus {
    Gpus {
        gpu: Gpu {
            name: "unknown".into(),
            ..Gpu::default()
        },
        listed: None,
        chosen: None,
    }
}

/// Asks the driver, and chooses.
pub(super) fn read(asked: Option<&str>, notes: &mut Vec<String>) -> Result<Gpus, Fault> {
    let found = Probe::open().and_then(|mut probe| probe.identities());
    let identities = match found {
        Ok(identities) => identities,
        Err(e) => {
            // A GPU that was named must be there; why none answers is the cause.
            if let Some(asked) = asked {
                choose(&[], Some(asked), None).map_err(|fault| fault.with_cause(e.to_string()))?;
            }
            notes.push(format!(
                "No GPU was found, so nothing can be placed in VRAM: {e}."
            ));
            return Ok(none());
        }
    };
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let choice = choose(&identities, asked, visible.as_deref())?;
    if identities.is_empty() {
        notes.push("The driver lists no GPU, so nothing can be placed in VRAM.".into());
        return Ok(none());
    }
    let listed = identities
        .iter()
        .enumerate()
        .map(|(at, gpu)| list(at, gpu, &choice))
        .collect();
    let listed = Some(Value::Array(listed));
    let Some((at, mut gpu)) = choice
        .gpu
        .and_then(|at| Some((at, identities.get(at)?.clone())))
    else {
        notes
            .push("CUDA_VISIBLE_DEVICES hides every GPU, so nothing can be placed in VRAM.".into());
        return Ok(Gpus { listed, ..none() });
    };
    if identities.len() > 1 {
        notes.push(format!(
            "{} GPUs were found; number {at} is profiled, {}. The others are left out of a plan.",
            identities.len(),
            match (asked, &visible) {
                (Some(_), _) => "as --gpu says",
                (None, Some(_)) =>
                    "the one with most memory free among those in CUDA_VISIBLE_DEVICES",
                (None, None) => "the one with most memory free",
            }
        ));
        let numbered = visible
            .as_deref()
            .is_some_and(|v| v.contains(|c: char| c.is_ascii_digit()) && !v.contains('-'));
        let in_order = std::env::var("CUDA_DEVICE_ORDER").is_ok_and(|o| o == "PCI_BUS_ID");
        let alike = identities.windows(2).all(|w| match w {
            [a, b] => a.name == b.name,
            _ => true,
        });
        if numbered && !in_order && !alike {
            notes.push(
                "The numbers in CUDA_VISIBLE_DEVICES were read in the driver's order; CUDA itself \
                 puts the fastest card first unless CUDA_DEVICE_ORDER=PCI_BUS_ID."
                    .into(),
            );
        }
    }
    take_instance(&mut gpu, choice.instance, notes);
    Ok(Gpus {
        gpu: describe(&gpu, notes),
        listed,
        chosen: Some(gpu),
    })
}

/// A card that is split runs nothing as a whole: its memory is that of one instance.
fn take_instance(gpu: &mut Identity, named: Option<usize>, notes: &mut Vec<String>) {
    if gpu.details.mig != Ok(true) {
        return;
    }
    let free = |at: &usize| {
        let instance = gpu.details.instances.get(*at);
        instance.map_or(-1.0, |i| *i.vram_free_mib.as_ref().unwrap_or(&-1.0))
    };
    let best = named
        .or_else(|| (0..gpu.details.instances.len()).max_by(|a, b| free(a).total_cmp(&free(b))));
    let Some(instance) = best.and_then(|at| gpu.details.instances.get(at)) else {
        let why = "the card is split (MIG) but no instance of it could be read";
        gpu.vram_total_mib = Err(why.into());
        gpu.vram_free_mib = Err(why.into());
        gpu.vram_reserved_mib = Err(why.into());
        return;
    };
    notes.push(format!(
        "The card is split (MIG): VRAM is that of its instance {}, {}.",
        instance.name.as_deref().unwrap_or("unknown"),
        if named.is_some() {
            "as named"
        } else {
            "the one with most memory free"
        }
    ));
    gpu.vram_total_mib.clone_from(&instance.vram_total_mib);
    gpu.vram_free_mib.clone_from(&instance.vram_free_mib);
    gpu.vram_reserved_mib = Err("an instance does not tell".into());
}

/// One GPU as the document has it. What is missing becomes null here and keeps its reason in a note.
fn describe(gpu: &Identity, notes: &mut Vec<String>) -> Gpu {
    let source = gpu.source;
    let missing = |what: &str, why: &str| format!("{what} is unknown ({source}): {why}.");
    let mut mib = |what: &str, reading: &Reading<f64>, matters: &str| match reading {
        Ok(x) => Some(x.trunc()),
        Err(why) => {
            notes.push(format!("{}{matters}", missing(what, why)));
            None
        }
    };
    let total = mib("The GPU's memory", &gpu.vram_total_mib, " A plan needs it.");
    let free = mib(
        "The GPU's free memory",
        &gpu.vram_free_mib,
        " A plan takes all of it as free.",
    );
    let reserved = gpu.vram_reserved_mib.as_ref().ok().map(|x| x.trunc());
    if source == "nvml-v1" {
        notes.push(
            "This driver counts the memory that it reserves as used; how much that is, is unknown."
                .into(),
        );
    }
    let mut facts = Vec::new();
    let mut text = |what: &str, reading: &Reading<String>| match reading {
        Ok(text) => Some(text.clone()),
        Err(why) => {
            facts.push(missing(what, why));
            None
        }
    };
    let name = text("The GPU's name", &gpu.name);
    let driver_version = text("The driver's version", &gpu.driver_version);
    let compute_capability = text("The compute capability", &gpu.compute_capability);
    // nvidia-smi has no such column; that alone is not worth a note.
    let cuda_version = gpu.cuda_version.clone().ok();
    let mut link = |what: &str, reading: &Reading<u64>| match reading {
        Ok(n) => Some(*n),
        Err(why) => {
            facts.push(missing(what, why));
            None
        }
    };
    let pcie_gen = link("The PCIe generation", &gpu.pcie_gen);
    let pcie_width = link("The number of PCIe lanes", &gpu.pcie_width);
    notes.append(&mut facts);
    Gpu {
        name: name.unwrap_or_else(|| "unknown".into()),
        vram_total_mib: total,
        vram_free_mib: free,
        vram_reserved_mib: reserved,
        driver_version,
        cuda_version,
        compute_capability,
        pcie_gen,
        pcie_width,
        vram_source: total.map(|_| source.into()),
    }
}

/// Collects readings: values in one map, reasons in another.
#[derive(Default)]
struct Listing {
    values: Map<String, Value>,
    missing: BTreeMap<String, String>,
}

impl Listing {
    fn add<T: Clone + Into<Value>>(&mut self, key: &str, reading: &Reading<T>) {
        let value = match reading {
            Ok(value) => value.clone().into(),
            Err(why) => {
                self.missing.insert(key.into(), why.clone());
                Value::Null
            }
        };
        self.values.insert(key.into(), value);
    }

    fn whole_mib(&mut self, key: &str, reading: &Reading<f64>) {
        let whole = reading.clone().map(gpuc_core::units::floor_bytes);
        self.add(key, &whole);
    }
}

/// One GPU of the list, with every reading and why those that are missing are.
fn list(at: usize, gpu: &Identity, choice: &Choice) -> Value {
    let mut l = Listing::default();
    l.values.insert("index".into(), json!(at));
    l.values
        .insert("chosen".into(), json!(choice.gpu == Some(at)));
    l.values
        .insert("visible".into(), json!(choice.visible.get(at)));
    l.values.insert("source".into(), json!(gpu.source));
    let d = &gpu.details;
    l.add("name", &gpu.name);
    l.add("uuid", &d.uuid);
    l.add("pci_bus_id", &d.pci_bus_id);
    l.whole_mib("vram_total_mib", &gpu.vram_total_mib);
    l.whole_mib("vram_free_mib", &gpu.vram_free_mib);
    l.whole_mib("vram_reserved_mib", &gpu.vram_reserved_mib);
    l.add("driver_version", &gpu.driver_version);
    l.add("cuda_version", &gpu.cuda_version);
    l.add("compute_capability", &gpu.compute_capability);
    l.add("pcie_gen", &gpu.pcie_gen);
    l.add("pcie_width", &gpu.pcie_width);
    l.add("pcie_gen_now", &d.pcie_gen_now);
    l.add("pcie_width_now", &d.pcie_width_now);
    l.add("memory_bus_bits", &d.memory_bus_bits);
    l.add("memory_clock_mhz", &d.memory_clock_mhz);
    l.add("memory_clock_max_mhz", &d.memory_clock_max_mhz);
    l.add("graphics_clock_mhz", &d.graphics_clock_mhz);
    l.add("graphics_clock_max_mhz", &d.graphics_clock_max_mhz);
    l.add("power_w", &d.power_w);
    l.add("power_limit_w", &d.power_limit_w);
    l.add("temp_c", &d.temp_c);
    l.add("ecc", &d.ecc);
    l.add("mig", &d.mig);
    l.add("throttle_reasons", &d.throttle_reasons);
    if !d.instances.is_empty() {
        let instances = d.instances.iter().map(|i| {
            let mut l = Listing::default();
            l.add("name", &i.name);
            l.add("uuid", &i.uuid);
            l.whole_mib("vram_total_mib", &i.vram_total_mib);
            l.whole_mib("vram_free_mib", &i.vram_free_mib);
            Value::Object(l.values)
        });
        l.values.insert("mig_instances".into(), instances.collect());
    }
    let missing = json!(l.missing);
    l.values.insert("missing".into(), missing);
    Value::Object(l.values)
}
