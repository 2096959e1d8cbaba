//! What is left of random process trees when the watchdog is told to end, or is killed.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{CALM, Dice, Figures, print, promise, watchdog};

/// Trees that grow and end side by side.
const ABREAST: u64 = 4;
/// A killed watchdog cannot be waited for with what follows it.
const PATIENCE: Duration = Duration::from_secs(10);
const MARK: &str = "GPUC_BENCH_TREE";

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

/// Processes by the mark that each of them holds in its environment.
fn marked(mark: &str) -> Vec<(i32, String)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    let numbers = names.filter_map(|name| name.parse().ok());
    numbers
        .filter_map(|pid: i32| {
            let environ = fs::read(Path::new("/proc").join(pid.to_string()).join("environ"));
            let environ = String::from_utf8_lossy(&environ.ok()?).into_owned();
            let found = environ.split('\0').find(|var| var.starts_with(mark));
            found.map(|var| (pid, var.to_owned()))
        })
        .collect()
}

/// One tree, and how its watchdog ends.
struct Trial {
    watchdog: Command,
    lives: Duration,
    end: Signal,
}

impl Trial {
    fn of(n: u64, dice: &mut Dice, mark: &str) -> anyhow::Result<Self> {
        let depth = dice.below(3);
        let cgroup = if n.is_multiple_of(2) { "auto" } else { "off" };
        let (name, value) = mark.split_once('=').context("a mark")?;
        let mut watchdog = watchdog();
        watchdog
            .args(CALM)
            .args(["run", "--cgroup", cgroup, "--grace", "0.05", "--"])
            .args(["bash", "-c", &tree(dice, depth)])
            .env(name, format!("{value}{n}-{cgroup}"))
            .stdout(Stdio::null());
        Ok(Self {
            watchdog,
            lives: Duration::from_micros(dice.below(120_000)),
            end: if n % 4 < 2 {
                Signal::SIGKILL
            } else {
                Signal::SIGTERM
            },
        })
    }

    /// When the watchdog had ended.
    fn run(mut self) -> anyhow::Result<Instant> {
        let mut child = self.watchdog.spawn()?;
        sleep(self.lives);
        kill(Pid::from_raw(i32::try_from(child.id())?), self.end)?;
        child.wait()?;
        Ok(Instant::now())
    }
}

pub(super) fn trees(short: bool) -> anyhow::Result<bool> {
    let trees: u64 = if short { 40 } else { 1000 };
    let mut dice = Dice(0x9E3779B97F4A7C15);
    let mut survivors = 0;
    let mut held = Figures(Vec::new());
    let began = Instant::now();
    for first in (0..trees).step_by(usize::try_from(ABREAST)?) {
        let mark = format!("{MARK}={}-", std::process::id());
        let trials = (first..trees.min(first + ABREAST)).map(|n| Trial::of(n, &mut dice, &mark));
        let trials: Vec<Trial> = trials.collect::<anyhow::Result<_>>()?;
        let ends: Vec<anyhow::Result<Instant>> = thread::scope(|scope| {
            let running: Vec<_> = trials
                .into_iter()
                .map(|t| scope.spawn(|| t.run()))
                .collect();
            let ended = running.into_iter().map(|t| {
                t.join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("a trial panicked")))
            });
            ended.collect()
        });
        let ends = ends.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let last = ends.into_iter().max().context("a trial")?;
        let mut left = marked(&mark);
        while !left.is_empty() && last.elapsed() < PATIENCE {
            sleep(Duration::from_millis(2));
            left = marked(&mark);
        }
        held.0.push(last.elapsed());
        for (pid, mark) in left {
            survivors += 1;
            print(&format!("  left: process {pid} of {mark}"))?;
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // What takes minutes should be seen to go on.
        let done = trees.min(first + ABREAST);
        if done.is_multiple_of(100) {
            let s = began.elapsed().as_secs_f64();
            writeln!(std::io::stderr(), "  {done} of {trees} trees, {s:.0} s")?;
        }
    }
    held.line(&format!(
        "the last end of {ABREAST} watchdogs, half of them by SIGKILL, to the end of all their trees"
    ))?;
    promise(
        &format!("processes left of {trees} random trees, half of them in a control group"),
        f64::from(survivors),
        0.0,
        "",
    )
}
