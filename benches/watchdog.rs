//! What the watchdog promises, measured on the real binary: how soon a breach stops a job, what of
//! 1,000 random process trees survives, what watching costs, and how soon a job's end is noticed.
//!
//! `cargo bench --bench watchdog [-- PART...]` with parts breach, trees, cost, end; ends with 1 when
//! a promise is broken. `breach` needs root: it lets the watchdog see another /proc/meminfo.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

const WATCHDOG: &str = env!("CARGO_BIN_EXE_gpu-container-watchdog");

fn main() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    if let Some(manner) = args.first().and_then(|a| a.strip_prefix("job-")) {
        return job(manner);
    }
    let wanted = |part: &str| args.is_empty() || args.iter().any(|a| a == part);
    let mut kept = true;
    if wanted("end") {
        kept &= end()?;
    }
    if wanted("breach") {
        kept &= breach()?;
    }
    if wanted("trees") {
        kept &= trees()?;
    }
    if wanted("cost") {
        kept &= cost()?;
    }
    Ok(ExitCode::from(u8::from(!kept)))
}

/// The supervised job of `breach`: says when it is ready and when it is asked to end.
fn job(manner: &str) -> anyhow::Result<ExitCode> {
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
            "{what}: p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?} over {n} runs"
        ))
    }
}

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

fn end() -> anyhow::Result<bool> {
    let time = |mut command: Command| -> anyhow::Result<Duration> {
        let began = Instant::now();
        command.status()?;
        Ok(began.elapsed())
    };
    let (mut with, mut without) = (Figures(Vec::new()), Figures(Vec::new()));
    for _ in 0..50 {
        let mut ours = watchdog();
        ours.args(CALM).args(["run", "--", "sleep", "0.1"]);
        with.0.push(time(ours)?);
        let mut bare = Command::new("sleep");
        bare.arg("0.1");
        without.0.push(time(bare)?);
    }
    without.line("a job of 0.1 s alone")?;
    with.line("a job of 0.1 s under the watchdog (the reference: 5.16 s)")?;
    Ok(with.at(50) <= without.at(50) + Duration::from_millis(20))
}

const INTERVAL: &str = "0.1";
const GRACE: Duration = Duration::from_millis(300);

fn breach() -> anyhow::Result<bool> {
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
    for run in 0..200 {
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
            print("breach: skipped, no other /proc/meminfo can be mounted here")?;
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
    Ok(asked.at(99) <= Duration::from_millis(150)
        && killed.at(100) <= GRACE + Duration::from_millis(150 + 100))
}

/// A random tree in the words of a shell; it holds its environment's mark.
fn tree(dice: &mut Dice, depth: u64) -> String {
    let branches = 1 + dice.below(3);
    let mut script = String::new();
    for _ in 0..branches {
        let inner = if depth == 0 {
            "sleep 100".to_owned()
        } else {
            tree(dice, depth - 1)
        };
        script += &match dice.below(7) {
            0 => format!("(setsid bash -c '({}) & sleep 100' &) ;", plain(&inner)),
            1 => format!("(({inner}) &) ;"),
            2 => format!("(trap '' TERM HUP INT; {inner}) &\n"),
            3 => "(for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; wait) &\n".to_owned(),
            // A storm: as fast as a shell forks, each gone or away at once.
            4 => {
                "(trap '' TERM; for i in $(seq 400); do (setsid sleep 100 &) ; done) &\n".to_owned()
            }
            5 => format!("({inner}; kill -STOP $BASHPID) &\n"),
            _ => format!("({inner}) &\n"),
        };
    }
    script + "sleep 100"
}

/// What can stand within single quotes.
fn plain(script: &str) -> String {
    script.replace('\'', "\"").replace("$BASHPID", "$$")
}

/// The processes that hold a mark in their environment.
fn marked(mark: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    names
        .filter(|pid| {
            let environ = fs::read(Path::new("/proc").join(pid).join("environ"));
            environ.is_ok_and(|text| text.split(|b| *b == 0).any(|var| var == mark.as_bytes()))
        })
        .collect()
}

fn trees() -> anyhow::Result<bool> {
    const TREES: u64 = 1000;
    let mut dice = Dice(0x9E3779B97F4A7C15);
    let mut survivors = 0;
    let mut held = Figures(Vec::new());
    for n in 0..TREES {
        let mark = format!("GPUC_BENCH_TREE={}-{n}", std::process::id());
        let (name, value) = mark.split_once('=').context("a mark")?;
        let depth = dice.below(3);
        let cgroup = if n % 2 == 0 { "auto" } else { "off" };
        let mut child: Child = watchdog()
            .args(CALM)
            .args(["run", "--cgroup", cgroup, "--grace", "0.05", "--"])
            .args(["bash", "-c", &tree(&mut dice, depth)])
            .env(name, value)
            .stdout(Stdio::null())
            .spawn()?;
        sleep(Duration::from_micros(dice.below(120_000)));
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let is_murder = n % 4 < 2;
        kill(
            pid,
            if is_murder {
                Signal::SIGKILL
            } else {
                Signal::SIGTERM
            },
        )?;
        child.wait()?;
        let ended = Instant::now();
        // A killed watchdog cannot be waited for with what follows it.
        let patience = Duration::from_secs(if is_murder { 10 } else { 0 });
        let mut left = marked(&mark);
        while !left.is_empty() && ended.elapsed() < patience {
            sleep(Duration::from_millis(2));
            left = marked(&mark);
        }
        if is_murder {
            held.0.push(ended.elapsed());
        }
        if !left.is_empty() {
            survivors += left.len();
            print(&format!(
                "tree {n}: {} left ({cgroup}, {is_murder})",
                left.len()
            ))?;
            for pid in left {
                let _ = kill(Pid::from_raw(pid.parse()?), Signal::SIGKILL);
            }
        }
    }
    print(&format!(
        "survivors of {TREES} random trees, half of them with a cgroup, half with the watchdog \
         killed by SIGKILL: {survivors}"
    ))?;
    held.line("SIGKILL of the watchdog to the end of the tree")?;
    Ok(survivors == 0)
}

/// CPU ticks and resident KiB of a process.
fn usage(pid: u32) -> anyhow::Result<(u64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("a stat line")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok());
    let ticks = number(11).context("utime")? + number(12).context("stime")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let rss = rss
        .context("VmRSS")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok((ticks, rss))
}

/// `GPUC_BENCH_NVML` names a library to watch 8 GPUs through; `GPUC_BENCH_SECONDS` how long.
fn cost() -> anyhow::Result<bool> {
    let lasts: u64 = std::env::var("GPUC_BENCH_SECONDS").map_or(Ok(180), |s| s.parse())?;
    let Some(library) = std::env::var_os("GPUC_BENCH_NVML") else {
        print("cost: skipped, GPUC_BENCH_NVML names no stand-in NVML")?;
        return Ok(true);
    };
    let mut child = watchdog()
        .args(CALM)
        .args(["--interval", "0.1", "run", "--", "sleep", "100000"])
        .env("GPUC_NVML_LIB", library)
        .spawn()?;
    sleep(Duration::from_secs(5));
    let (ticks, rss) = usage(child.id())?;
    sleep(Duration::from_secs(lasts));
    let (ticks_after, rss_after) = usage(child.id())?;
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
    child.wait()?;
    // A tick is 10 ms.
    let share = (ticks_after - ticks) as f64 / lasts as f64;
    print(&format!(
        "10 looks a second for {lasts} s: {share:.2} % of a core, RSS {rss} KiB after 5 s and \
         {rss_after} KiB at the end (the reference at 2 a second: 1.8 %, 17.3 MiB)"
    ))?;
    Ok(share <= 0.5 && rss_after <= 5 << 10)
}
