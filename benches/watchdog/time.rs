//! What a job's time and its end are with the watchdog and without.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use super::{CALM, Figures, ms, print, promise, stand_in, watchdog};

/// The wall clock, for moments in two processes.
pub(super) fn now() -> anyhow::Result<Duration> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?)
}

pub(super) fn end(short: bool) -> anyhow::Result<bool> {
    let ourselves = std::env::current_exe()?;
    let mut alone = Command::new(&ourselves);
    alone.arg("job-brief").stdin(Stdio::null());
    let mut under = watchdog();
    under.args(CALM).args(["run", "--"]);
    under.arg(&ourselves).arg("job-brief");
    // The whole, and what of it comes after the job's last act.
    let time = |command: &mut Command| -> anyhow::Result<(Duration, Duration)> {
        let began = now()?;
        let said = command.output()?.stdout;
        let ended = now()?;
        let acted = Duration::from_nanos(String::from_utf8_lossy(&said).trim().parse()?);
        Ok((ended.saturating_sub(began), ended.saturating_sub(acted)))
    };
    let mut all: [Figures; 4] = std::array::from_fn(|_| Figures(Vec::new()));
    for _ in 0..if short { 20 } else { 200 } {
        let [whole, after, whole_under, after_under] = &mut all;
        let (bare, held) = (time(&mut alone)?, time(&mut under)?);
        whole.0.push(bare.0);
        after.0.push(bare.1);
        whole_under.0.push(held.0);
        after_under.0.push(held.1);
    }
    let [whole, after, whole_under, after_under] = &mut all;
    whole.line("a job of 0.1 s alone")?;
    whole_under.line("a job of 0.1 s under the watchdog (the reference: 5.16 s)")?;
    after.line("its last act to its end, alone")?;
    after_under.line("its last act to the watchdog's end")?;
    let more = whole_under.at(50).as_secs_f64() / whole.at(50).as_secs_f64();
    print(&format!("  the job takes {more:.3} of its time alone"))?;
    let later = after_under.at(99).saturating_sub(after.at(99));
    let longer = whole_under.at(50).saturating_sub(whole.at(50));
    Ok(
        promise("later than its own end (p99)", ms(later), 20.0, "ms")?
            & promise("longer in all (p50)", ms(longer), 20.0, "ms")?,
    )
}

/// A command of one number of nanoseconds: how long a job took by its own account.
fn own_account(command: &mut Command) -> anyhow::Result<f64> {
    let said = command.output()?.stdout;
    Ok(String::from_utf8_lossy(&said).trim().parse::<f64>()? / 1e9)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A job that reads memory as fast as it can, alone and watched ten times a second by turns.
pub(super) fn slow(short: bool) -> anyhow::Result<bool> {
    let dir = tempfile::tempdir()?;
    let Some(library) = stand_in(dir.path()) else {
        print("  skipped, no stand-in NVML")?;
        return Ok(true);
    };
    let ourselves = std::env::current_exe()?;
    let mut alone = Command::new(&ourselves);
    alone.arg("job-memory").stdin(Stdio::null());
    let mut under = watchdog();
    under.args(CALM).args(["--interval", "0.1", "run", "--"]);
    under.arg(&ourselves).arg("job-memory");
    under.env("GPUC_NVML_LIB", library);
    // The noise: the same job alone, twice in each turn.
    let (mut noise, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..if short { 5 } else { 30 } {
        let (first, held, second) = (
            own_account(&mut alone)?,
            own_account(&mut under)?,
            own_account(&mut alone)?,
        );
        noise.push(second / first);
        ratios.push(2.0 * held / (first + second));
    }
    let ratio = median(&mut ratios);
    let spread: Vec<f64> = noise.iter().map(|r| (r - 1.0).abs()).collect();
    let off = median(&mut spread.clone());
    print(&format!(
        "  a job that reads memory, watched 10 times a second: {ratio:.4} of its time alone (median of \
         {}); alone twice, it differs by {off:.4} (median)",
        ratios.len()
    ))?;
    let most = 100.0 * off.max(0.01);
    promise("slower than alone", 100.0 * (ratio - 1.0), most, "%")
}
