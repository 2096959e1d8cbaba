//! --list-gpus and --what-if: rigs from the table of GPUs instead of from this machine.

use gpuc_core::document::{Bandwidth, Gpu, Hardware, Memory, Platform};
use gpuc_core::error::Fault;
use gpuc_core::gpus::{Card, cards, named};
use gpuc_core::units::{gib, round_to};

use crate::deliver::deliver_text;

/// What idle cards were seen to keep for themselves, MiB: 474 (RTX 4090) to 513 (A100).
const IDLE_MIB: f64 = 512.0;
/// The share of RAM that a system leaves to a model.
const RAM_LEFT: f64 = 0.9;

/// Prints the table, one line a card.
pub(super) fn list() -> Result<(), Fault> {
    let head = [
        "card",
        "driver's name",
        "GiB",
        "memory",
        "GB/s",
        "bus",
        "PCIe",
        "compute",
        "formats",
        "W",
        "source",
    ]
    .map(String::from);
    let rows: Vec<[String; 11]> = std::iter::once(head)
        .chain(cards().map(|c| row(&c)))
        .collect();
    let mut widths = [0; 11];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text += cells.join("  ").trim_end();
        text += "\n";
    }
    deliver_text(&text)
}

fn row(c: &Card) -> [String; 11] {
    [
        c.label.into(),
        c.name.into(),
        c.vram_gib.to_string(),
        c.memory.into(),
        c.bandwidth_gbps.to_string(),
        c.bus_bits.to_string(),
        format!("{}.0 x{}", c.pcie_gen, c.pcie_lanes),
        c.compute_capability.into(),
        c.fast_formats(),
        c.tdp_w.map_or_else(|| "?".into(), |w| w.to_string()),
        c.source.into(),
    ]
}

/// A rig with `asked` for a GPU and so many bytes of RAM, every figure of it an assumption.
pub(super) fn rig(
    asked: &str,
    ram: u64,
    ram_gbps: Option<f64>,
) -> Result<(Hardware, Vec<String>), Fault> {
    let found = named(asked)?;
    let card = &found.card;
    let mut notes = vec![format!(
        "Nothing here was measured: this is a rig that somebody may have, with a {} and {} GiB of \
         RAM. Every number is assumed.",
        card.label,
        gib(ram)
    )];
    if !found.others.is_empty() {
        notes.push(format!(
            "assumed: {asked} means the {found}; the same name may mean {}.",
            found.others.join(", ")
        ));
    }
    let total = card.vram_mib();
    notes.push(format!(
        "assumed: VRAM {total} MiB ({}), of which all but {IDLE_MIB} MiB are free, as on an idle \
         card without a display.",
        if card.reported_mib.is_some() {
            "as a driver was seen to report it"
        } else {
            "as the card is sold; drivers report up to 10 % less"
        }
    ));
    notes.push(format!(
        "assumed: VRAM bandwidth {} GB/s, compute capability {}, PCIe {}.0 x{}: {}{}{}.",
        card.bandwidth_gbps,
        card.compute_capability,
        card.pcie_gen,
        card.pcie_lanes,
        card.source,
        if card.cross_check == "differs" {
            "; a second source says otherwise"
        } else {
            ""
        },
        if card.note.is_empty() {
            String::new()
        } else {
            format!("; {}", card.note)
        },
    ));
    notes.push(format!(
        "assumed: {:.0} % of RAM is available to a model.",
        RAM_LEFT * 100.0
    ));
    notes.push(match ram_gbps {
        Some(rate) => format!("assumed: RAM bandwidth {rate} GB/s, as given by --ram-bw."),
        None => {
            "RAM bandwidth is unknown, so a plan assumes one and says so: give --ram-bw.".into()
        }
    });
    let hardware = Hardware {
        gpu: Gpu {
            name: card.name.into(),
            vram_total_mib: Some(total),
            vram_free_mib: Some((total - IDLE_MIB).max(0.0)),
            compute_capability: Some(card.compute_capability.into()),
            pcie_gen: Some(card.pcie_gen),
            pcie_width: Some(card.pcie_lanes),
            vram_source: Some("assumed: table of GPUs".into()),
            ..Gpu::default()
        },
        gpus: None,
        platform: Some(Platform {
            os: "linux".into(),
            ..Platform::default()
        }),
        bandwidth: Bandwidth {
            vram_gbps: Some(card.bandwidth_gbps),
            vram_method: Some(format!("assumed: table of GPUs ({})", card.source)),
            method: Some("assumed: nothing was measured (--what-if)".into()),
            ..Bandwidth::default()
        },
        memory: Some(Memory {
            ram_total_gib: Some(round_to(gib(ram), 2)),
            ram_available_gib: Some(round_to(gib(ram) * RAM_LEFT, 2)),
            cpu_mem_bw_gbps: ram_gbps,
            cpu_mem_bw_method: ram_gbps.map(|_| "assumed: given by --ram-bw".into()),
            ..Memory::default()
        }),
    };
    Ok((hardware, notes))
}
