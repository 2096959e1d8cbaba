//! RAM as the document has it: how much, how fast, how laid out.

use std::path::Path;

use gpuc_core::document::Memory;
use gpuc_core::units::{MIB, gib, round_to};
use gpuc_rig::host::{self, HostMemory};
use serde_json::{Value, json};

/// Passes of one measurement differ by more than this only when something disturbs them.
const UNSTEADY: f64 = 0.75;

/// Reads how much there is.
pub(super) fn read(notes: &mut Vec<String>) -> Option<HostMemory> {
    let read = match HostMemory::read() {
        Ok(read) => read,
        Err(e) => {
            notes.push(format!(
                "RAM is unknown, so nothing can be placed in it: {e}."
            ));
            return None;
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
    Some(read)
}

/// Describes it, all but how fast it is.
pub(super) fn described(read: HostMemory) -> Memory {
    let root = Path::new("/");
    let (theoretical, method) = match host::theoretical_bandwidth(root) {
        Ok(t) => (
            Some(round_to(t.gbps, 1)),
            format!(
                "firmware's table (DMI): {} channels with {} modules at {} MT/s",
                t.channels, t.modules, t.mega_transfers
            ),
        ),
        Err(why) => (None, format!("unknown: {why}")),
    };
    Memory {
        ram_theoretical_gbps: theoretical,
        ram_theoretical_method: Some(method),
        details: Some(layout(root)),
        ram_total_gib: Some(round_to(gib(read.total), 2)),
        ram_available_gib: Some(round_to(gib(read.available), 2)),
        ..Memory::default()
    }
}

/// Measures how fast it is read.
pub(super) fn bandwidth(available: u64, memory: &mut Memory, notes: &mut Vec<String>) {
    match host::ram_bandwidth(available) {
        Ok(found) => {
            let (slowest, fastest) = found.spread_gbps;
            if let Some(details) = memory.details.as_mut().and_then(Value::as_object_mut) {
                let measured = json!({
                    "spread_gbps": [round_to(slowest, 1), round_to(fastest, 1)],
                    "passes": found.passes, "threads": found.threads,
                    "buffers_mib": found.bytes / MIB,
                    "last_level_cache_mib": found.cache_bytes.map(|b| b / MIB),
                });
                details.insert("cpu_mem_bw".into(), measured);
            }
            if slowest < UNSTEADY * fastest {
                notes.push(format!(
                    "RAM bandwidth was between {slowest:.1} and {fastest:.1} GB/s: other work shares \
                     the memory. Measure again when the machine is idle, or give the plan --cpu-bw."
                ));
            }
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
}

fn layout(root: &Path) -> Value {
    let nodes: Vec<Value> = host::nodes(root)
        .iter()
        .map(|n| {
            json!({"node": n.number, "cpus": n.cpus, "total_gib": round_to(gib(n.total), 2),
                   "free_gib": round_to(gib(n.free), 2)})
        })
        .collect();
    let pages: Vec<Value> = host::huge_pages(root)
        .iter()
        .map(|p| json!({"size_mib": p.size / MIB, "total": p.total, "free": p.free}))
        .collect();
    json!({"numa_nodes": nodes, "huge_pages": pages,
           "transparent_huge_pages": host::transparent_huge_pages(root)})
}
