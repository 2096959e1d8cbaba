//! What `gpu-container-plan` costs as a whole process, held against `/bin/true` in the same run:
//! median wall time, largest resident memory, and how large each binary is and what it links.
//!
//! `cargo bench --bench startup`; ends with 1 when a limit is passed.

use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sys::resource::{UsageWho, getrusage};

const RUNS: usize = 20;
const MAX_WALL: Duration = Duration::from_millis(15);
const MAX_RSS_KIB: i64 = 12 << 10;

const RIG: &str = "examples/rigs/rtx-3060-12gb.json";
const MODEL: &str = "examples/models/qwen3-30b-a3b.json";

const BINARIES: [(&str, &str); 5] = [
    ("profile", env!("CARGO_BIN_EXE_gpu-container-profile")),
    ("plan", env!("CARGO_BIN_EXE_gpu-container-plan")),
    ("receipt", env!("CARGO_BIN_EXE_gpu-container-receipt")),
    (
        "concentration",
        env!("CARGO_BIN_EXE_gpu-container-concentration"),
    ),
    ("watchdog", env!("CARGO_BIN_EXE_gpu-container-watchdog")),
];
const MAY_LINK: [&str; 5] = ["linux-vdso", "ld-linux", "libc", "libm", "libgcc_s"];

fn main() -> anyhow::Result<ExitCode> {
    let plan = ["--profile", RIG, "--model-config", MODEL];

    // The first runs bring the files into the page cache.
    let mut truth = Vec::new();
    let mut ours = Vec::new();
    for run in 0..RUNS + 3 {
        let t = wall("/bin/true", &[])?;
        // What a child's peak holds of this process, from before it became another program.
        let floor = peak_kib()?;
        let p = wall(env!("CARGO_BIN_EXE_gpu-container-plan"), &plan)?;
        if run == 0 {
            line(&format!(
                "/bin/true: peak {:.1} MiB, this process's own share in it",
                mib(floor)
            ));
        }
        if run >= 3 {
            truth.push(t);
            ours.push(p);
        }
    }
    let (truth, ours, rss) = (median(truth), median(ours), peak_kib()?);
    line(&format!("/bin/true: median {truth:.2?} of {RUNS}"));
    line(&format!(
        "plan:      median {ours:.2?} of {RUNS}, {:.1} x /bin/true (limit {MAX_WALL:.0?})",
        ours.as_secs_f64() / truth.as_secs_f64()
    ));
    line(&format!(
        "plan:      peak {:.1} MiB (limit {:.0} MiB)",
        mib(rss),
        mib(MAX_RSS_KIB)
    ));
    sizes()?;
    let foreign = links();
    let good = ours <= MAX_WALL && rss <= MAX_RSS_KIB && foreign.is_empty();
    line(if good { "PASS" } else { "FAIL" });
    Ok(ExitCode::from(u8::from(!good)))
}

fn wall(program: &str, args: &[&str]) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let status = Command::new(program)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| program.to_owned())?;
    let wall = start.elapsed();
    ensure!(status.success(), "{program} ended with {status}");
    Ok(wall)
}

/// The largest peak of any child so far, KiB.
fn peak_kib() -> anyhow::Result<i64> {
    Ok(getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss())
}

fn mib(kib: i64) -> f64 {
    kib as f64 / 1024.0
}

fn median(mut of: Vec<Duration>) -> Duration {
    of.sort_unstable();
    of.get(of.len() / 2).copied().unwrap_or_default()
}

/// How large the binaries are.
fn sizes() -> anyhow::Result<()> {
    for (name, path) in BINARIES {
        let bytes = std::fs::metadata(path)?.len();
        line(&format!("size: {name}: {:.2} MB", bytes as f64 / 1e6));
    }
    Ok(())
}

/// Libraries that a binary links and should not, each with the binary's name.
fn links() -> Vec<String> {
    let mut foreign = Vec::new();
    for (name, path) in BINARIES {
        let Ok(out) = Command::new("ldd").arg(path).output() else {
            line("links: ldd is not here, so not checked");
            return foreign;
        };
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let linked: Vec<&str> = text
            .lines()
            .filter_map(|l| l.split_whitespace().next())
            .map(|l| l.rsplit('/').next().unwrap_or(l))
            .collect();
        line(&format!("links: {name}: {}", linked.join(" ")));
        let known = |l: &str| {
            let stem = l.split(['.', '-']).next().unwrap_or(l);
            MAY_LINK
                .iter()
                .any(|m| *m == stem || (m.contains('-') && l.starts_with(m)))
        };
        foreign.extend(
            linked
                .iter()
                .filter(|l| !known(l))
                .map(|l| format!("{name}: {l}")),
        );
    }
    for extra in &foreign {
        line(&format!("links: not expected: {extra}"));
    }
    foreign
}

fn line(text: &str) {
    // Nobody has to listen.
    let _ = writeln!(std::io::stdout(), "{text}");
}
