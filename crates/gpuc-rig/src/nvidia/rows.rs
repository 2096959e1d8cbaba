//! Rows of `nvidia-smi --query-gpu=… --format=csv,noheader,nounits`, as text in and readings out.
//!
//! Rows are read strictly: what is no finite number is missing, and says so.

use super::details::Details;
use super::nvml_details::words;
use super::probe::{Identity, Live, Processes, Reading};

/// The columns asked for in a live query; [`live`] reads them in this order.
pub(super) const LIVE: &str =
    "power.draw,power.limit,temperature.gpu,memory.used,memory.total,utilization.gpu";
/// What is asked for behind those, under its name of today and of drivers before R535; a build
/// that lacks one of them refuses the whole question.
pub(super) const FURTHER: [&str; 2] = [
    "clocks_event_reasons.active,ecc.errors.uncorrected.volatile.total",
    "clocks_throttle_reasons.active,ecc.errors.uncorrected.volatile.total",
];
/// What a build says of a column that it does not know.
pub(super) const REFUSED: &str = "not a valid field";
/// The columns of the question about processes, which [`processes`] reads in this order.
pub(super) const PROCESSES: &str = "gpu_uuid,pid,used_memory";
/// The columns asked for once; [`identities`] reads them in this order.
pub(super) const IDENTITY: &str = "name,driver_version,memory.total,memory.free,compute_cap,\
                                   pcie.link.gen.max,pcie.link.width.max";

/// Columns that a row must have to be about a GPU at all. Older builds lack the ones behind.
const IDENTITY_LEAST: usize = 4;
const IDENTITY_ALL: usize = 7;
const LIVE_ALL: usize = 6;

/// The columns of the second question about what a GPU is, which [`details`] reads in this order.
/// They are asked for apart: a build that lacks one of them refuses the whole question.
pub(super) const DETAILS: &str = "uuid,pci.bus_id,pcie.link.gen.current,pcie.link.width.current,\
                                  clocks.mem,clocks.max.mem,clocks.gr,clocks.max.gr,power.draw,\
                                  power.limit,temperature.gpu,ecc.mode.current,mig.mode.current";
const DETAILS_ALL: usize = 13;

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|l| !l.trim().is_empty())
        .map(|l| l.split(',').map(str::trim).collect())
}

fn text(cell: Option<&&str>) -> Reading<String> {
    match cell.copied() {
        None => Err("nvidia-smi did not print this column".into()),
        Some("") => Err("nvidia-smi left it empty".into()),
        Some(gap) if is_gap(gap) => Err(format!("nvidia-smi says {gap}")),
        Some(cell) => Ok(cell.into()),
    }
}

/// The driver's words for a value it does not have: `[N/A]`, `[Not Supported]`, `N/A`,
/// `[Unknown Error]`, `[GPU is lost]`, …
fn is_gap(cell: &str) -> bool {
    cell.starts_with('[') || matches!(cell, "N/A" | "Not Supported" | "Unknown Error" | "ERR!")
}

fn number(cell: Option<&&str>) -> Reading<f64> {
    let cell = text(cell)?;
    match cell.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(x),
        _ => Err(format!("nvidia-smi printed {cell:?}, which is no number")),
    }
}

fn count(cell: Option<&&str>) -> Reading<u64> {
    match number(cell)? {
        x if x >= 0.0 && x.fract() == 0.0 => Ok(gpuc_core::units::floor_bytes(x)),
        x => Err(format!("nvidia-smi printed {x}, which is no whole number")),
    }
}

/// Reasons as nvidia-smi prints them: "0x0000000000000004".
fn bits(cell: Option<&&str>) -> Reading<Vec<String>> {
    let cell = text(cell)?;
    let hex = cell.strip_prefix("0x").unwrap_or_default();
    match u64::from_str_radix(hex, 16) {
        Ok(bits) => Ok(words(bits)),
        Err(_) => Err(format!("nvidia-smi printed {cell:?}, which is no mask")),
    }
}

/// The processes of all GPUs together: which GPU is theirs does not matter to a sum.
pub(super) fn processes(output: &str) -> Reading<Processes> {
    let mut all = Processes::new();
    for row in lines(output) {
        let pid = row.get(1).and_then(|pid| pid.parse().ok());
        let pid = pid.ok_or("nvidia-smi listed a process without a number")?;
        all.push((pid, number(row.get(2)).ok()));
    }
    Ok(all)
}

/// One reading a GPU for each row of a live query, or why there is none.
pub(super) fn live(output: &str) -> Result<Vec<Live>, String> {
    let mut short = None;
    let mut gpus = Vec::new();
    for row in lines(output) {
        if row.len() < LIVE_ALL {
            short = Some(row.len());
            continue;
        }
        gpus.push(Live {
            power_w: number(row.first()),
            power_limit_w: number(row.get(1)),
            temp_c: number(row.get(2)),
            vram_used_mib: number(row.get(3)),
            vram_total_mib: number(row.get(4)),
            util_pct: number(row.get(5)),
            throttle_reasons: bits(row.get(6)),
            ecc_errors: count(row.get(7)),
            ..Live::missing("nvidia-smi was not asked for it")
        });
    }
    some(gpus, short, LIVE_ALL)
}

fn some<T>(gpus: Vec<T>, short: Option<usize>, wanted: usize) -> Result<Vec<T>, String> {
    match short {
        _ if !gpus.is_empty() => Ok(gpus),
        Some(n) => Err(format!(
            "it printed {n} columns where {wanted} were asked for"
        )),
        None => Err("it listed no GPU".into()),
    }
}

/// One identity a GPU for each row, or why there is none.
pub(super) fn identities(output: &str) -> Result<Vec<Identity>, String> {
    let mut short = None;
    let mut gpus = Vec::new();
    for row in lines(output) {
        if row.len() < IDENTITY_LEAST {
            short = Some(row.len());
            continue;
        }
        let (name, rest) = row.split_at_checked(name_cells(&row)).unwrap_or_default();
        let name = name.join(", ");
        gpus.push(Identity {
            name: text(Some(&name.as_str())),
            driver_version: text(rest.first()),
            vram_total_mib: number(rest.get(1)),
            vram_free_mib: number(rest.get(2)),
            compute_capability: text(rest.get(3)),
            pcie_gen: count(rest.get(4)),
            pcie_width: count(rest.get(5)),
            vram_reserved_mib: Err("nvidia-smi was not asked for it".into()),
            cuda_version: Err("nvidia-smi has no such column".into()),
            source: super::smi::TOOL,
            details: Details::missing("nvidia-smi was not asked for it"),
        });
    }
    some(gpus, short, IDENTITY_ALL)
}

/// The further readings, for as many GPUs as there are; nothing when the answer is not about them.
pub(super) fn details(output: &str, gpus: usize) -> Option<Vec<Details>> {
    let rows: Vec<Vec<&str>> = lines(output).collect();
    let told = |row: &Vec<&str>| {
        row.len() == DETAILS_ALL && row.first().is_some_and(|uuid| uuid.starts_with("GPU-"))
    };
    if rows.len() != gpus || !rows.iter().all(told) {
        return None;
    }
    let unasked = "nvidia-smi has no such column";
    Some(
        rows.iter()
            .map(|row| Details {
                uuid: text(row.first()),
                pci_bus_id: text(row.get(1)),
                pcie_gen_now: count(row.get(2)),
                pcie_width_now: count(row.get(3)),
                memory_clock_mhz: count(row.get(4)),
                memory_clock_max_mhz: count(row.get(5)),
                graphics_clock_mhz: count(row.get(6)),
                graphics_clock_max_mhz: count(row.get(7)),
                power_w: number(row.get(8)),
                power_limit_w: number(row.get(9)),
                temp_c: number(row.get(10)),
                ecc: enabled(row.get(11)),
                mig: enabled(row.get(12)),
                ..Details::missing(unasked)
            })
            .collect(),
    )
}

fn enabled(cell: Option<&&str>) -> Reading<bool> {
    match text(cell)?.as_str() {
        "Enabled" => Ok(true),
        "Disabled" => Ok(false),
        other => Err(format!("nvidia-smi printed {other:?}")),
    }
}

/// How many cells the card's name takes: a comma in it makes more cells than columns. The other
/// columns are then counted from the right, unless that makes nonsense of them, as it does where
/// a newer build prints columns of its own behind ours.
fn name_cells(row: &[&str]) -> usize {
    let most = row.len().saturating_sub(IDENTITY_ALL - 1).max(1);
    (1..=most)
        .rev()
        .find(|&cells| row.get(cells..).is_some_and(plausible))
        .unwrap_or(most)
}

fn plausible(rest: &[&str]) -> bool {
    let fits = |at: usize, ok: fn(&str) -> bool| {
        rest.get(at)
            .is_none_or(|cell| cell.is_empty() || is_gap(cell) || ok(cell))
    };
    let numeric = |cell: &str| cell.parse::<f64>().is_ok();
    fits(0, |c| c.starts_with(|c: char| c.is_ascii_digit()))
        && fits(1, numeric)
        && fits(2, numeric)
        && fits(3, |c| c.contains('.'))
        && fits(4, numeric)
        && fits(5, numeric)
}

#[cfg(test)]
mod tests;
