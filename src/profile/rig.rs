//! This machine as `document::Hardware`, with a note on each thing that is missing.

use std::path::Path;

use gpuc_core::document::{Bandwidth, Gpu, Hardware, Memory};
use gpuc_core::units::{gib, round_to};
use gpuc_rig::host::{self, HostMemory};
use gpuc_rig::nvidia::{Identity, Probe, Reading};

use super::Args;

/// Reads and, unless that is not wanted, measures this machine.
pub(super) fn measure(args: &Args) -> (Hardware, Vec<String>) {
    let mut notes = Vec::new();
    let gpu = gpu(&mut notes);
    let platform = host::platform(Path::new("/"));
    if platform.wsl2 || platform.os == "windows" {
        notes.push(
            "Windows and WSL2 cannot oversubscribe GPU memory: what does not fit in VRAM has to be \
             placed in RAM by name. Under WSL2 the RAM figures are the virtual machine's."
                .into(),
        );
    }
    let memory = memory(args.no_bench, &mut notes);
    let bandwidth = Bandwidth {
        method: Some(if args.no_bench {
            "not measured: --no-bench".into()
        } else {
            "PCIe and VRAM: not measured, this version has no GPU benchmark; NVMe: not measured, \
             this version does not run fio"
                .into()
        }),
        ..Bandwidth::default()
    };
    notes.push(if args.no_bench {
        "No bandwidth was measured (--no-bench): a plan assumes RAM and VRAM rates and says so. Run \
         without --no-bench, or give the plan --cpu-bw."
            .into()
    } else {
        "PCIe and NVMe rates are unknown: nothing that streams weights over either can be forecast."
            .into()
    });
    (
        Hardware {
            gpu,
            platform: Some(platform),
            bandwidth,
            memory: Some(memory),
        },
        notes,
    )
}

fn gpu(notes: &mut Vec<String>) -> Gpu {
    let found = Probe::open().and_then(|mut probe| probe.identities());
    let mut identities = match found {
        Ok(identities) => identities,
        Err(e) => {
            notes.push(format!(
                "No GPU was found, so nothing can be placed in VRAM: {e}."
            ));
            return Gpu {
                name: "unknown".into(),
                ..Gpu::default()
            };
        }
    };
    if identities.is_empty() {
        notes.push("The driver lists no GPU, so nothing can be placed in VRAM.".into());
        return Gpu {
            name: "unknown".into(),
            ..Gpu::default()
        };
    }
    if identities.len() > 1 {
        notes.push(format!(
            "{} GPUs were found; the first is profiled and the others are left out of a plan.",
            identities.len()
        ));
    }
    describe(identities.swap_remove(0), notes)
}

/// One GPU as the document has it. What is missing becomes null here and keeps its reason in a note.
fn describe(gpu: Identity, notes: &mut Vec<String>) -> Gpu {
    let source = gpu.source;
    let missing = |what: &str, why: &str| format!("{what} is unknown ({source}): {why}.");
    let mut mib = |what: &str, reading: Reading<f64>, matters: &str| match reading {
        Ok(x) => Some(x.trunc()),
        Err(why) => {
            notes.push(format!("{}{matters}", missing(what, &why)));
            None
        }
    };
    let total = mib("The GPU's memory", gpu.vram_total_mib, " A plan needs it.");
    let free = mib(
        "The GPU's free memory",
        gpu.vram_free_mib,
        " A plan takes all of it as free.",
    );
    let reserved = gpu.vram_reserved_mib.ok().map(f64::trunc);
    if source == "nvml-v1" {
        notes.push(
            "This driver counts the memory that it reserves as used; how much that is, is unknown."
                .into(),
        );
    }
    let mut facts = Vec::new();
    let mut text = |what: &str, reading: Reading<String>| {
        reading.map_err(|why| facts.push(missing(what, &why))).ok()
    };
    let name = text("The GPU's name", gpu.name);
    let driver_version = text("The driver's version", gpu.driver_version);
    let compute_capability = text("The compute capability", gpu.compute_capability);
    // nvidia-smi has no such column; that alone is not worth a note.
    let cuda_version = gpu.cuda_version.ok();
    let mut link = |what: &str, reading: Reading<u64>| {
        reading.map_err(|why| facts.push(missing(what, &why))).ok()
    };
    let pcie_gen = link("The PCIe generation", gpu.pcie_gen);
    let pcie_width = link("The number of PCIe lanes", gpu.pcie_width);
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

fn memory(no_bench: bool, notes: &mut Vec<String>) -> Memory {
    let read = match HostMemory::read() {
        Ok(read) => read,
        Err(e) => {
            notes.push(format!(
                "RAM is unknown, so nothing can be placed in it: {e}."
            ));
            return Memory::default();
        }
    };
    if let Some(group) = read.cgroup {
        notes.push(format!(
            "A control group limits this process to {:.1} GiB of RAM, of which {:.1} GiB are left; \
             the page cache is not counted as used.",
            gib(group.limit),
            gib(group.left)
        ));
    }
    let mut memory = Memory {
        ram_total_gib: Some(round_to(gib(read.total), 2)),
        ram_available_gib: Some(round_to(gib(read.available), 2)),
        ..Memory::default()
    };
    if no_bench {
        return memory;
    }
    match host::ram_bandwidth(read.available) {
        Ok(found) => {
            let (slowest, fastest) = found.spread_gbps;
            memory.cpu_mem_bw_gbps = Some(round_to(found.gbps, 1));
            memory.cpu_mem_bw_method = Some(format!(
                "reads by {} threads, each through a buffer of its own, {:.0} MiB together ({}); \
                 median of {} passes, which gave {slowest:.1} to {fastest:.1} GB/s",
                found.threads,
                found.bytes as f64 / f64::from(1 << 20),
                match found.cache_bytes {
                    Some(cache) => format!(
                        "last-level cache {:.0} MiB",
                        cache as f64 / f64::from(1 << 20)
                    ),
                    None => "the cache's size is not reported".into(),
                },
                found.passes,
            ));
        }
        Err(why) => {
            memory.cpu_mem_bw_method = Some(format!("not measured: {why}"));
            notes.push(format!(
                "RAM bandwidth was not measured, so a plan assumes one and says so: {why}."
            ));
        }
    }
    memory
}
