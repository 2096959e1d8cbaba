//! From a breach to SIGTERM and to the end of the job, with a driver that never answers.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::{Dice, Figures, WATCHDOG, ms, print, promise};

const INTERVAL: &str = "0.1";
const INTERVAL_MS: f64 = 100.0;
const GRACE: Duration = Duration::from_millis(300);

pub(super) fn breach(short: bool) -> anyhow::Result<bool> {
    let dir = tempfile::tempdir()?;
    let meminfo = dir.path().join("meminfo");
    let write = |avail_kib: u64| {
        let text = format!("MemTotal: 65536000 kB\nMemAvailable: {avail_kib:>12} kB\n");
        // In place: what is mounted over /proc/meminfo is this file, not its name.
        let mut how = fs::File::options();
        how.write(true).create(true).truncate(false);
        how.open(&meminfo)?.write_all(text.as_bytes())
    };
    // A driver that never answers.
    let smi = dir.path().join("nvidia-smi");
    fs::write(&smi, "#!/bin/sh\nexec sleep 1000\n")?;
    Command::new("chmod").arg("+x").arg(&smi).status()?;
    let path = format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", dir.path().display());
    let mut dice = Dice(88172645463325252);
    let (mut asked, mut obeyed, mut killed) = (
        Figures(Vec::new()),
        Figures(Vec::new()),
        Figures(Vec::new()),
    );
    for run in 0..if short { 20 } else { 200 } {
        let manner = if run % 2 == 0 { "job-obey" } else { "job-deaf" };
        write(60_000_000)?;
        let mut child = Command::new("unshare")
            .args(["-m", "sh", "-c"])
            .arg("mount --bind \"$0\" /proc/meminfo && exec \"$@\"")
            .arg(&meminfo)
            .arg(WATCHDOG)
            .args(["--interval", INTERVAL, "run", "--grace", "0.3", "--"])
            .arg(std::env::current_exe()?)
            .arg(manner)
            .env("PATH", &path)
            .env("GPUC_NVML_LIB", "/nonexistent")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = BufReader::new(child.stdout.take().context("a pipe")?);
        let mut line = String::new();
        out.read_line(&mut line)?;
        if line != "ready\n" {
            print("  skipped, no other /proc/meminfo can be mounted here")?;
            return Ok(true);
        }
        sleep(Duration::from_micros(150_000 + dice.below(100_000)));
        let began = Instant::now();
        // Past the limit, but not so far that the job would get no time to end.
        write(5_000_000)?;
        line.clear();
        out.read_line(&mut line)?;
        asked.0.push(began.elapsed());
        out.read_to_end(&mut Vec::new())?;
        let figures = if run % 2 == 0 {
            &mut obeyed
        } else {
            &mut killed
        };
        figures.0.push(began.elapsed());
        let status = child.wait()?.code();
        ensure!(status == Some(7), "run {run} ended with {status:?}");
    }
    asked.line("breach to SIGTERM, 0.1 s interval, the GPU probe hung (the reference at 0.5 s: median 0.36 s, max 0.49 s; hung: 10.18 s)")?;
    obeyed.line("breach to the end of a job that obeys")?;
    killed.line("breach to the end of a job that does not, grace 0.3 s (the reference: 5.45 s)")?;
    let of_it = ms(asked.at(99)) / INTERVAL_MS;
    print(&format!("  p99 is {of_it:.2} of the interval"))?;
    let all_gone = ms(GRACE) + 100.0;
    Ok(
        promise("breach to SIGTERM (p99)", ms(asked.at(99)), 150.0, "ms")?
            & promise(
                "breach to the end of all (max)",
                ms(killed.at(100)),
                all_gone,
                "ms",
            )?,
    )
}
