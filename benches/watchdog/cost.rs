//! What watching takes of the machine.

use std::ffi::OsString;
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
    let watch = |outputs: Vec<OsString>| {
        watchdog()
            .args(CALM)
            .args(["--interval", "0.1"])
            .args(outputs)
            .args(["run", "--", "sleep", "100000"])
            .env("GPUC_NVML_LIB", &library)
            .spawn()
    };
    let mut all = [
        ("", watch(Vec::new())?),
        (
            ", with log, events and metrics",
            watch(vec![
                "--log-size".into(),
                "1".into(),
                "--log".into(),
                file("log"),
                "--events".into(),
                file("events"),
                "--metrics-file".into(),
                file("metrics"),
            ])?,
        ),
    ];
    let mut reading = Command::new(std::env::current_exe()?)
        .arg("job-reader")
        .stdin(Stdio::null())
        .spawn()?;
    sleep(Duration::from_secs(5));
    let cost = |child: &Child| Ok::<_, anyhow::Error>((time(child)?, resident(child)?));
    let least = time(&reading)?;
    let before = [cost(&all[0].1)?, cost(&all[1].1)?];
    sleep(Duration::from_secs(lasts));
    let least = time(&reading)?.saturating_sub(least);
    let after = [cost(&all[0].1)?, cost(&all[1].1)?];
    reading.kill()?;
    reading.wait()?;
    for (_, watching) in &mut all {
        kill(
            Pid::from_raw(i32::try_from(watching.id())?),
            Signal::SIGTERM,
        )?;
        watching.wait()?;
    }
    let share = |time: Duration| 100.0 * time.as_secs_f64() / lasts as f64;
    let mut kept = true;
    for (((with, _), (before, rss)), (after, rss_after)) in all.iter().zip(before).zip(after) {
        let took = after.saturating_sub(before);
        print(&format!(
            "  10 looks a second at 8 GPUs for {lasts} s{with}: {:.3} % of a core, {:.1} times what a \
             program takes that reads /proc/meminfo as often and does nothing else; RSS {rss} KiB after \
             5 s and {rss_after} KiB at the end",
            share(took),
            took.as_secs_f64() / least.as_secs_f64()
        ))?;
        // What goes to disk at each look is asked for, and costs what it costs.
        kept &= !with.is_empty() || promise("CPU", share(took), 0.5, "% of a core")?;
        kept &= promise("RSS", rss_after, 5120.0, "KiB")?;
        // A page or two come and go; what grew with each look would be far more.
        kept &= promise("growth", rss_after - rss, 64.0, "KiB")?;
    }
    print("  (the reference at 2 looks a second: 1.8 %, 17.3 MiB)")?;
    Ok(kept)
}
