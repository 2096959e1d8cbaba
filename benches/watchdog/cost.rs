//! What watching takes of the machine.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{CALM, print, promise, stand_in, watchdog};

/// CPU time of all its threads.
fn time(child: &Child) -> anyhow::Result<Duration> {
    let mut ns = 0;
    for task in fs::read_dir(format!("/proc/{}/task", child.id()))? {
        let stat = fs::read_to_string(task?.path().join("schedstat"))?;
        let first = stat.split_ascii_whitespace().next().context("a time")?;
        ns += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(ns))
}

/// Resident KiB.
fn resident(child: &Child) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let rss = rss.context("VmRSS")?.trim().trim_end_matches(" kB");
    Ok(rss.parse()?)
}

/// `GPUC_BENCH_SECONDS` says how long, instead of 10 minutes, or of 20 s where it is to be short.
pub(super) fn cost(short: bool) -> anyhow::Result<bool> {
    let lasts = if short { 20 } else { 600 };
    let lasts: u64 = std::env::var("GPUC_BENCH_SECONDS").map_or(Ok(lasts), |s| s.parse())?;
    let dir = tempfile::tempdir()?;
    let Some(library) = stand_in(dir.path()) else {
        print("  skipped, no stand-in NVML")?;
        return Ok(true);
    };
    let file = |name: &str| dir.path().join(name).into_os_string();
    let mut watching = watchdog()
        .args(CALM)
        .args(["--interval", "0.1", "--log-size", "1", "--log"])
        .arg(file("log"))
        .args(["--events".into(), file("events")])
        .args(["--metrics-file".into(), file("metrics")])
        .args(["run", "--", "sleep", "100000"])
        .env("GPUC_NVML_LIB", library)
        .spawn()?;
    let mut reading = Command::new(std::env::current_exe()?)
        .arg("job-reader")
        .stdin(Stdio::null())
        .spawn()?;
    sleep(Duration::from_secs(5));
    let (before, least, rss) = (time(&watching)?, time(&reading)?, resident(&watching)?);
    sleep(Duration::from_secs(lasts));
    let took = time(&watching)?.saturating_sub(before);
    let least = time(&reading)?.saturating_sub(least);
    let rss_after = resident(&watching)?;
    reading.kill()?;
    reading.wait()?;
    kill(
        Pid::from_raw(i32::try_from(watching.id())?),
        Signal::SIGTERM,
    )?;
    watching.wait()?;
    let share = |time: Duration| 100.0 * time.as_secs_f64() / lasts as f64;
    print(&format!(
        "  10 looks a second at 8 GPUs for {lasts} s, with log, events and metrics: {:.3} % of a core, \
         {:.1} times what a program takes that reads /proc/meminfo as often and does nothing else; \
         RSS {rss} KiB after 5 s and {rss_after} KiB at the end (the reference at 2 a second: 1.8 %, \
         17.3 MiB)",
        share(took),
        took.as_secs_f64() / least.as_secs_f64()
    ))?;
    // A page or two come and go; what grew with each look would be far more.
    Ok(promise("CPU", share(took), 0.5, "% of a core")?
        & promise("RSS", rss_after, 5120.0, "KiB")?
        & promise("growth", rss_after - rss, 64.0, "KiB")?)
}
