//! What the watchdog promises, measured on the real binary: how soon a breach stops a job, what of
//! 1,000 random process trees survives, what watching costs, and how soon a job's end is noticed.
//!
//! `cargo bench --bench watchdog [-- [short] PART...]` with parts end, breach, slow, trees, cost; all
//! where none is named, and `short` for fewer runs. Each figure stands beside one of the same run
//! that has nothing of the watchdog in it, and each promise is said to be kept (PASS) or not (FAIL);
//! it ends with 1 when one is not. `breach` needs root: it lets the watchdog see another
//! /proc/meminfo. `cost` and `slow` watch 8 stand-in GPUs, which need a C compiler;
//! `GPUC_BENCH_NVML` names another library to watch through.

mod breach;
mod cost;
mod jobs;
mod time;
mod trees;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

#[path = "../../tests/support/nvml.rs"]
mod nvml;

use anyhow::{Context as _, ensure};

const WATCHDOG: &str = env!("CARGO_BIN_EXE_gpu-container-watchdog");

/// Measures, in fewer runs where it is to be short; whether all that is promised is kept.
type Part = fn(bool) -> anyhow::Result<bool>;

fn main() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    if let Some(manner) = args.first().and_then(|a| a.strip_prefix("job-")) {
        return jobs::job(manner);
    }
    let short = args.iter().any(|a| a == "short");
    let wanted: Vec<&String> = args.iter().filter(|a| *a != "short").collect();
    let parts: [(&str, Part); 5] = [
        ("end", time::end),
        ("breach", breach::breach),
        ("slow", time::slow),
        ("trees", trees::trees),
        ("cost", cost::cost),
    ];
    for part in &wanted {
        let known = parts.iter().any(|(name, _)| name == part);
        ensure!(known, "there is no part {part}");
    }
    let mut kept = true;
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|w| *w == name) {
            print(name)?;
            kept &= part(short)?;
        }
    }
    Ok(ExitCode::from(u8::from(!kept)))
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

struct Figures(Vec<Duration>);

impl Figures {
    fn at(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        let i = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(i).copied().unwrap_or_default()
    }

    fn line(&mut self, what: &str) -> anyhow::Result<()> {
        let (p50, p99, max) = (self.at(50), self.at(99), self.at(100));
        let n = self.0.len();
        print(&format!(
            "  {what}: p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?} over {n} runs"
        ))
    }
}

/// A line of the report.
fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("standard output")
}

/// A watchdog that no reading of the machine's own can alarm.
fn watchdog() -> Command {
    let mut command = Command::new(WATCHDOG);
    command
        .env("GPUC_NVML_LIB", "/nonexistent")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

const CALM: [&str; 4] = ["--host-mem-max", "1000", "--host-avail-min", "0"];

/// Says whether what was measured is at most what is promised.
fn promise(what: &str, measured: f64, most: f64, unit: &str) -> anyhow::Result<bool> {
    let kept = measured <= most;
    let word = if kept { "PASS" } else { "FAIL" };
    print(&format!(
        "  {word} {what}: {measured:.2} {unit}, promised {most} {unit} at most"
    ))?;
    Ok(kept)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// 8 GPUs that answer at once, or the library that is named.
fn stand_in(folder: &Path) -> Option<PathBuf> {
    match std::env::var_os("GPUC_BENCH_NVML") {
        Some(library) => Some(library.into()),
        None => nvml::stand_in(folder, &["-DFIXED"], ""),
    }
}
