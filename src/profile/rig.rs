//! This machine as `document::Hardware`, with a note on each thing that is missing.

use std::path::Path;

use gpuc_core::document::{Hardware, Memory};
use gpuc_core::error::Fault;
use gpuc_core::exit::Exit;
use gpuc_core::gpus;
use gpuc_core::units::round_to;
use gpuc_rig::host;
use gpuc_rig::nvidia::Identity;

use super::attention::Attention;
use super::bench::Bench;
use super::{Args, gpu, memory};

/// Reads and, unless that is not wanted, measures this machine.
///
/// The inner error is the status to end with when that was asked for.
pub(super) fn measure(args: &Args) -> Result<Result<(Hardware, Vec<String>), Exit>, Fault> {
    let mut notes = Vec::new();
    let attention = (!args.no_bench).then(Attention::begin);
    let found = gpu::read(args.gpu.as_deref(), &mut notes)?;
    let platform = host::platform(Path::new("/"));
    if platform.wsl2 || platform.os == "windows" {
        notes.push(
            "Windows and WSL2 cannot oversubscribe GPU memory: what does not fit in VRAM has to be \
             placed in RAM by name. Under WSL2 the RAM figures are the virtual machine's."
                .into(),
        );
    }
    let read = memory::read(&mut notes);
    let mut memory = read.map_or_else(Memory::default, memory::described);
    let mut bench = Bench::default();
    match &attention {
        None => {
            bench.bandwidth.method = Some("not measured: --no-bench".into());
            notes.push(
                "No bandwidth was measured (--no-bench): a plan assumes RAM and VRAM rates and says \
                 so. Run without --no-bench, or give the plan --cpu-bw."
                    .into(),
            );
        }
        Some(attention) => {
            let available = read.map_or(0, |read| read.available);
            if read.is_some() {
                attention.say("RAM: reads by all cores");
                memory::bandwidth(available, &mut memory, &mut notes);
            }
            let gpu = found.chosen.as_ref();
            bench.gpu(gpu, available, &mut memory, attention, &mut notes);
            bench.nvme(args, attention, &mut notes);
            if let Some(exit) = attention.exit() {
                return Ok(Err(exit));
            }
        }
    }
    let mut bandwidth = bench.finish();
    if bandwidth.vram_gbps.is_none() {
        let other = found.chosen.as_ref().and_then(vram_by_its_bus);
        bandwidth.vram_gbps = other.as_ref().map(|(gbps, _)| *gbps);
        bandwidth.vram_method = other.map(|(_, method)| method);
    }
    Ok(Ok((
        Hardware {
            gpu: found.gpu,
            gpus: found.listed,
            platform: Some(platform),
            bandwidth,
            memory: Some(memory),
        },
        notes,
    )))
}

/// VRAM bandwidth where it was not measured: what its bus can carry, else what the table says.
fn vram_by_its_bus(gpu: &Identity) -> Option<(f64, String)> {
    let details = &gpu.details;
    if let (Ok(bits), Ok(mhz)) = (&details.memory_bus_bits, &details.memory_clock_max_mhz) {
        // Drivers give the clock so that every kind of memory moves two bits a line and cycle:
        // 384 bits at 10501 MHz are 1008 GB/s.
        let gbps = *bits as f64 / 8.0 * *mhz as f64 * 2.0 / 1000.0;
        if gbps > 0.0 {
            let method = format!(
                "derived: {bits}-bit bus, 2 transfers a cycle at {mhz} MHz; never reached in full"
            );
            return Some((round_to(gbps, 1), method));
        }
    }
    let name = gpu.name.as_deref().ok()?;
    let card = gpus::identify(name, gpu.vram_total_mib.clone().ok()).ok()?;
    let method = format!("assumed: table of GPUs ({})", card.source);
    Some((card.bandwidth_gbps, method))
}
