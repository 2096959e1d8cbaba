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
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn live_rows_are_read_in_order() {
        let gpus = live("120.50, 450.00, 55, 8000, 24564, 33\r\n\n10,400,88,99,100,0\n").unwrap();
        assert_eq!(gpus.len(), 2);
        assert_eq!(gpus[0].power_w, Ok(120.5));
        assert_eq!(gpus[0].vram_used_mib, Ok(8000.0));
        assert_eq!(gpus[1].temp_c, Ok(88.0));
        assert_eq!(gpus[1].util_pct, Ok(0.0));
    }

    #[test]
    fn what_is_no_number_is_missing_with_its_reason() {
        // (cell, what the reason quotes)
        let cells = [
            ("[N/A]", "[N/A]"),
            ("N/A", "N/A"),
            ("[Not Supported]", "[Not Supported]"),
            ("[Unknown Error]", "[Unknown Error]"),
            ("[GPU requires reset]", "[GPU requires reset]"),
            ("ERR!", "ERR!"),
            ("", "empty"),
            ("nan", "\"nan\""),
            ("inf", "\"inf\""),
            ("-inf", "\"-inf\""),
            ("1_20", "\"1_20\""),
            ("120 W", "\"120 W\""),
            ("１２０", "no number"),
        ];
        for (cell, quoted) in cells {
            let gpus = live(&format!("{cell}, 450, 55, 8000, 24564, 33\n")).unwrap();
            let why = gpus[0].power_w.clone().unwrap_err();
            assert!(why.contains(quoted), "{cell:?}: {why}");
            assert_eq!(gpus[0].power_limit_w, Ok(450.0), "{cell:?}");
        }
    }

    #[test]
    fn reasons_and_errors_follow_where_they_were_asked_for() {
        let gpus =
            live("1, 2, 3, 4, 5, 6, 0x0000000000000044, 7\n1, 2, 3, 4, 5, 6, [N/A], [N/A]\n");
        let gpus = gpus.unwrap();
        let reasons = ["sw-power-cap", "hw-thermal-slowdown"].map(String::from);
        assert_eq!(gpus[0].throttle_reasons, Ok(reasons.to_vec()));
        assert_eq!(gpus[0].ecc_errors, Ok(7));
        assert!(gpus[1].throttle_reasons.is_err() && gpus[1].ecc_errors.is_err());
        for cell in ["44", "0x", "0xg", "-0x1"] {
            let gpus = live(&format!("1, 2, 3, 4, 5, 6, {cell}, 7\n")).unwrap();
            assert!(gpus[0].throttle_reasons.is_err(), "{cell}");
        }
    }

    #[test]
    fn processes_are_listed_with_what_is_known_of_their_memory() {
        let rows = "GPU-1f, 12, 300\nGPU-2f, 12, 40\nGPU-1f, 13, [N/A]\n";
        let want = vec![(12, Some(300.0)), (12, Some(40.0)), (13, None)];
        assert_eq!(processes(rows), Ok(want));
        assert_eq!(processes(""), Ok(vec![]));
        assert!(processes("No running processes found").is_err());
    }

    #[test]
    fn an_answer_without_rows_says_why() {
        assert_eq!(live(" \n").unwrap_err(), "it listed no GPU");
        assert!(
            live("Failed to initialize NVML: Unknown Error\n")
                .unwrap_err()
                .contains("1 columns")
        );
        assert!(
            identities("Card, 555.1, 8192\n")
                .unwrap_err()
                .contains("3 columns")
        );
    }

    #[test]
    fn identity_rows() {
        // (row, name, driver, total, capability, lanes)
        let plain = "NVIDIA GeForce RTX 4070, 571.2, 12282, 11020, 8.9, 4, 16";
        let cases = [
            (
                plain,
                Ok("NVIDIA GeForce RTX 4070"),
                "571.2",
                Ok(12282.0),
                Some("8.9"),
                Some(16),
            ),
            (
                "Card, 571.2, 12282, 11020, 8.9",
                Ok("Card"),
                "571.2",
                Ok(12282.0),
                Some("8.9"),
                None,
            ),
            (
                "Card, 571.2, 1, 1, 8.9, 4, 16, 0, x",
                Ok("Card"),
                "571.2",
                Ok(1.0),
                Some("8.9"),
                Some(16),
            ),
            (
                "Ca, rd, 571.2, 12282, 1, 8.9, 4, 16",
                Ok("Ca, rd"),
                "571.2",
                Ok(12282.0),
                Some("8.9"),
                Some(16),
            ),
            (
                "A, 2, B, 571.2, [N/A], [N/A], 12.1, [N/A], 1",
                Ok("A, 2, B"),
                "571.2",
                Err("[N/A]"),
                Some("12.1"),
                Some(1),
            ),
            (
                "[N/A], 571.2, 8, 8, [Not Supported], 4, 16",
                Err("[N/A]"),
                "571.2",
                Ok(8.0),
                None,
                Some(16),
            ),
            (
                ", 571.2, -1, 8, 8.6, 4, 16",
                Err("empty"),
                "571.2",
                Ok(-1.0),
                Some("8.6"),
                Some(16),
            ),
        ];
        for (row, name, driver, total, capability, lanes) in cases {
            let gpu = identities(row).unwrap().remove(0);
            match name {
                Ok(name) => assert_eq!(gpu.name.as_deref(), Ok(name), "{row}"),
                Err(why) => assert!(gpu.name.unwrap_err().contains(why), "{row}"),
            }
            assert_eq!(gpu.driver_version.as_deref(), Ok(driver), "{row}");
            match total {
                Ok(total) => assert_eq!(gpu.vram_total_mib, Ok(total), "{row}"),
                Err(why) => assert!(gpu.vram_total_mib.unwrap_err().contains(why), "{row}"),
            }
            assert_eq!(gpu.compute_capability.as_deref().ok(), capability, "{row}");
            assert_eq!(gpu.pcie_width.ok(), lanes, "{row}");
        }
    }

    #[test]
    fn further_columns_are_taken_when_they_are_about_the_gpus() {
        let row = "GPU-1f, 00000000:01:00.0, 1, 16, 405, 10501, 210, 3105, 12.31, 450.00, 41, \
                   [N/A], Disabled";
        let found = details(row, 1).unwrap().remove(0);
        assert_eq!(found.uuid.as_deref(), Ok("GPU-1f"));
        assert_eq!(found.memory_clock_max_mhz, Ok(10501));
        assert_eq!(found.power_w, Ok(12.31));
        assert!(found.ecc.unwrap_err().contains("[N/A]"));
        assert_eq!(found.mig, Ok(false));
        for (output, gpus) in [(row, 2), ("NVIDIA, 1, 8, 8, 8.6, 4, 16", 1), ("", 1)] {
            assert_eq!(details(output, gpus), None, "{output}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_finite_numbers_or_reasons(output in any::<String>(), cells in "[-0-9., /NA\\[\\]nainf\n]*") {
            for output in [&output, &cells] {
                for gpu in live(output).unwrap_or_default() {
                    for x in [gpu.power_w, gpu.vram_total_mib, gpu.temp_c].into_iter().flatten() {
                        prop_assert!(x.is_finite());
                    }
                }
                let _ = (identities(output), details(output, 1), processes(output));
            }
        }
    }
}
