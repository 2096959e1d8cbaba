//! --emit-baseline: the profile's measurements into the baseline database, the profile beside it.

use std::fs;
use std::path::{Path, PathBuf};

use gpuc_core::document::{Hardware, Platform, Profile};
use gpuc_core::error::{Code, Fault};
use gpuc_rig::baseline::{Measurement, Provenance, store};
use serde::Serialize;

use super::Args;
use crate::write_atomically;

/// Stores the measurements; none at all is a failure, for nothing could be compared later.
pub(super) fn emit<E: Serialize>(args: &Args, profile: &Profile<E>) -> Result<(), Fault> {
    let measurements = measurements(&profile.hardware);
    if measurements.is_empty() {
        return Err(failed("the profile holds no measurement to store")
            .with_hint("profile a machine with a GPU, or leave --emit-baseline out"));
    }
    let database = database(args)?;
    let date = args.given_date().unwrap_or(&profile.created);
    let stem = format!("{}-{}", clean(date), slug(&profile.hardware.gpu.name));
    let from = Provenance {
        context: args
            .baseline_context
            .clone()
            .unwrap_or_else(|| surroundings(profile.hardware.platform.as_ref())),
        source_file: format!("baselines/{stem}.json"),
        date: date.to_owned(),
    };
    let kept = database
        .with_file_name("baselines")
        .join(format!("{stem}.json"));
    store(&database, &measurements, &from, || keep(profile, &kept))?;
    Ok(())
}

/// The database that was named, else the user's own.
pub(super) fn database(args: &Args) -> Result<PathBuf, Fault> {
    match &args.baseline_db {
        Some(path) => Ok(path.clone()),
        None => default_database(),
    }
}

fn failed(message: impl Into<String>) -> Fault {
    Fault::new(Code::RuntimeEmitBaselineFailed, message)
}

fn keep<E: Serialize>(profile: &Profile<E>, path: &Path) -> Result<(), Fault> {
    let text = gpuc_core::json::write(profile)
        .map_err(|e| failed("the profile cannot be written as JSON").with_cause(e))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|e| failed(format!("{} cannot be made", folder.display())).with_cause(e))?;
    }
    write_atomically(path, text.as_bytes())
}

/// The order is the table's; what was not measured has no row.
fn measurements(hardware: &Hardware) -> Vec<Measurement> {
    let bandwidth = &hardware.bandwidth;
    let gpu = &hardware.gpu;
    // These two may be derived or assumed, which is no reading that could move.
    let vram = bandwidth
        .vram_gbps
        .filter(|_| begins(bandwidth.vram_method.as_ref(), "measured"));
    let memory = hardware.memory.as_ref();
    let ram = memory.and_then(|m| m.cpu_mem_bw_gbps).filter(|_| {
        begins(
            memory.and_then(|m| m.cpu_mem_bw_method.as_ref()),
            "reads by",
        )
    });
    [
        ("pcie_h2d_gbps", bandwidth.pcie_h2d_gbps, "GB/s"),
        ("pcie_d2h_gbps", bandwidth.pcie_d2h_gbps, "GB/s"),
        ("nvme_seq_read_gbps", bandwidth.nvme_seq_read_gbps, "GB/s"),
        (
            "nvme_rand_qd1_iops",
            bandwidth.nvme_rand_qd1_read_iops,
            "IOPS",
        ),
        (
            "nvme_rand_qd1_mbps",
            bandwidth.nvme_rand_qd1_read_mbps,
            "MB/s",
        ),
        ("vram_total", gpu.vram_total_mib, "MiB"),
        ("vram_free", gpu.vram_free_mib, "MiB"),
        ("vram_gbps", vram, "GB/s"),
        ("cpu_mem_bw_gbps", ram, "GB/s"),
    ]
    .into_iter()
    .filter_map(|(metric, value, unit)| {
        Some(Measurement {
            metric,
            value: value?,
            unit,
        })
    })
    .collect()
}

fn begins(method: Option<&String>, with: &str) -> bool {
    method.is_some_and(|m| m.starts_with(with))
}

fn surroundings(platform: Option<&Platform>) -> String {
    let inside = platform.is_some_and(|p| p.in_container);
    let mut words = if inside { "in-container" } else { "host" }.to_owned();
    if platform.is_some_and(|p| p.wsl2) {
        words += " wsl2";
    }
    words
}

/// A card's name as part of a file's: lower case, anything else than letters and digits a hyphen.
fn slug(name: &str) -> String {
    let words: Vec<String> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    if words.is_empty() {
        "unknown".into()
    } else {
        words.join("-")
    }
}

/// A date as part of a file's name, which leads nowhere else whatever it holds.
fn clean(date: &str) -> String {
    let kept = |c: char| {
        if c.is_ascii_alphanumeric() || "-_:+".contains(c) {
            c
        } else {
            '-'
        }
    };
    date.chars()
        .take(64)
        .map(kept)
        .collect::<String>()
        .replace(':', "-")
}

/// baseline.db in the user's data folder, which is made when missing.
fn default_database() -> Result<PathBuf, Fault> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let data = if cfg!(windows) {
        set("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        set("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        // A relative $XDG_DATA_HOME is to be ignored.
        set("XDG_DATA_HOME")
            .filter(|p| p.is_absolute())
            .or_else(|| set("HOME").map(|home| home.join(".local/share")))
    };
    let Some(data) = data else {
        return Err(failed("there is no data folder for the baseline database")
            .with_hint("name the database with --baseline-db"));
    };
    let folder = data.join("gpu-container");
    fs::create_dir_all(&folder)
        .map_err(|e| failed(format!("{} cannot be made", folder.display())).with_cause(e))?;
    Ok(folder.join("baseline.db"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for (name, want) in [
            ("NVIDIA GeForce RTX 4090", "nvidia-geforce-rtx-4090"),
            ("../../etc/passwd", "etc-passwd"),
            ("ü", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(slug(name), want);
        }
        assert_eq!(clean("2026-06-04"), "2026-06-04");
        assert_eq!(clean("../x/2026"), "---x-2026");
        assert_eq!(clean("2026-06-04T10:00"), "2026-06-04T10-00");
    }
}
