//! The programs that the watchdog is put over, or beside: this one, told to be one of them.

use std::io::Write as _;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

use super::print;
use super::time::now;

/// The jobs: of `end`, which says when it ends; of `slow`, which says how long it took;
/// of `breach`, which says when it is ready and when it is asked to end; and what `cost` is
/// compared with.
pub(super) fn job(manner: &str) -> anyhow::Result<ExitCode> {
    if manner == "brief" {
        sleep(Duration::from_millis(100));
        print(&now()?.as_nanos().to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    if manner == "reader" {
        // What nobody can watch memory without.
        loop {
            std::hint::black_box(std::fs::read_to_string("/proc/meminfo")?);
            sleep(Duration::from_millis(100));
        }
    }
    if manner == "memory" {
        // Far more than any cache holds, read from end to end.
        let numbers = vec![1_u64; 32 << 20];
        let began = Instant::now();
        let sum = (0..12).fold(0_u64, |sum, _| {
            sum.wrapping_add(std::hint::black_box(&numbers).iter().sum::<u64>())
        });
        std::hint::black_box(sum);
        print(&began.elapsed().as_nanos().to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.thread_block()?;
    let mut out = std::io::stdout();
    out.write_all(b"ready\n")?;
    out.flush()?;
    set.wait()?;
    out.write_all(b"asked\n")?;
    out.flush()?;
    if manner == "obey" {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        set.wait()?;
    }
}
