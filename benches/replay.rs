//! What replaying 500,000 choices of experts costs, for caches of every size under all three
//! policies, beside one plain pass over the same choices in the same run.
//!
//! `cargo bench --bench replay`; ends with 1 when the limit is passed. `cargo bench --bench replay --
//! TRACE.jsonl ...` replays those traces instead, together, and holds every hit against a simulation
//! that goes through the slots one by one.

use std::hint::black_box;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use gpuc_core::routing::{PerToken, Policy, Replay, hot_fraction_interval};

const RUNS: usize = 20;
const SELECTIONS: u64 = 500_000;
const MAX_REPLAY: Duration = Duration::from_millis(100);

fn main() -> anyhow::Result<ExitCode> {
    // Cargo itself hands a bench `--bench`.
    let files: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let mut traces = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).with_context(|| file.clone())?;
        traces.push(read(&text).with_context(|| file.clone())?);
    }
    if traces.is_empty() {
        let text = made_up();
        let (trace, wall) = timed(|| read(&text));
        line(&format!(
            "reading {} MiB of JSON lines: {wall:.2?}",
            text.len() >> 20
        ));
        traces.push(trace?);
    } else {
        let (mut compared, mut worst) = (0, 0.0_f64);
        for trace in &traces {
            let (n, off) = against_simulation(trace);
            compared += n;
            worst = worst.max(off);
        }
        line(&format!(
            "{} traces: {compared} hit rates, at most {worst:.1e} off a simulation",
            traces.len()
        ));
        ensure!(worst <= 1e-12, "a hit rate is wrong");
    }
    let selections: u64 = traces.iter().map(PerToken::selections).sum();
    let (mut passes, mut replays) = (vec![], vec![]);
    for _ in 0..RUNS {
        passes.push(timed(|| traces.iter().map(pass).sum::<u64>()).1);
        replays.push(timed(|| traces.iter().map(Replay::of).collect::<Vec<_>>()).1);
    }
    let (plain, ours) = (median(passes), median(replays));
    line(&format!("{selections} choices, median of {RUNS} runs:"));
    line(&format!(
        "  one plain pass:                        {plain:.2?}"
    ));
    line(&format!(
        "  replay, three policies, every size:    {ours:.2?}, {:.0} x the pass, {:.0} ns a choice \
         (limit {MAX_REPLAY:.0?} for {SELECTIONS})",
        ours.as_secs_f64() / plain.as_secs_f64(),
        1e9 * ours.as_secs_f64() / selections as f64
    ));
    let intervals = || {
        let of = |t| hot_fraction_interval(t, 0.9);
        traces.iter().map(of).collect::<Vec<_>>()
    };
    let (_, interval) = timed(intervals);
    line(&format!(
        "  interval of the hot fraction, once:    {interval:.2?}"
    ));
    let allowed = MAX_REPLAY.mul_f64((selections as f64 / SELECTIONS as f64).max(1.0));
    let good = ours <= allowed;
    line(if good { "PASS" } else { "FAIL" });
    Ok(ExitCode::from(u8::from(!good)))
}

fn read(text: &str) -> anyhow::Result<PerToken> {
    Ok(PerToken::read(text).context("no per-token trace")??)
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = black_box(work());
    (done, start.elapsed())
}

/// Reads every choice once, token by token.
fn pass(trace: &PerToken) -> u64 {
    let tokens = trace.layers().flat_map(|(_, layer)| layer.tokens());
    tokens.flatten().map(|e| u64::from(*e)).sum()
}

/// Traffic like that of a model with 48 layers of 128 experts, 8 for each token: some experts are
/// liked better, and a token often keeps to those of the token before.
fn made_up() -> String {
    let (layers, experts, chosen) = (48, 128, 8);
    let mut state = 1u64;
    let mut below = |n: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut before: Vec<Vec<u64>> = vec![Vec::new(); layers];
    let mut text = String::new();
    for pos in 0..SELECTIONS.div_ceil(48 * chosen) {
        for (layer, kept) in before.iter_mut().enumerate() {
            kept.retain(|_| below(3) == 0);
            while kept.len() < 8 {
                let liked = below(experts).min(below(experts));
                let expert = (liked + 7 * layer as u64) % experts;
                if !kept.contains(&expert) {
                    kept.push(expert);
                }
            }
            text += &format!("{{\"pos\": {pos}, \"layer\": {layer}, \"experts\": {kept:?}}}\n");
        }
    }
    text
}

/// Compares the hit rates of some sizes with a simulation: how many, and the largest difference.
fn against_simulation(trace: &PerToken) -> (u64, f64) {
    let replay = Replay::of(trace);
    let all = trace.selections().max(1) as f64;
    let (mut compared, mut worst) = (0, 0.0_f64);
    for slots in [1, 2, 4, 8, 16, 32, 64, 96, 128] {
        for policy in Policy::ALL {
            let simulated: u64 = trace
                .layers()
                .map(|(_, layer)| simulate(layer.tokens(), slots, policy))
                .sum();
            let hits = replay.hits(slots as u64, policy);
            worst = worst.max((hits as f64 / all - simulated as f64 / all).abs());
            compared += 1;
        }
    }
    (compared, worst)
}

/// Hits of one layer, the slots held as a list with the last used expert first.
fn simulate<'t>(
    tokens: impl Iterator<Item = &'t [u32]> + Clone,
    slots: usize,
    policy: Policy,
) -> u64 {
    let mut counts = std::collections::BTreeMap::new();
    for expert in tokens.clone().flatten() {
        *counts.entry(*expert).or_insert(0_u64) += 1;
    }
    let mut hottest: Vec<(u64, u32)> = counts.into_iter().map(|(e, n)| (n, e)).collect();
    hottest.sort_unstable();
    hottest.reverse();
    hottest.truncate(slots);
    let mut cache: Vec<u32> = Vec::new();
    let mut hits = 0;
    for token in tokens {
        let kept = cache.clone();
        for expert in token {
            hits += u64::from(match policy {
                Policy::StaticHottest => hottest.iter().any(|(_, e)| e == expert),
                Policy::Lru => cache.contains(expert),
                Policy::LeastStale => kept.contains(expert),
            });
            cache.retain(|e| e != expert);
            cache.insert(0, *expert);
            if policy == Policy::Lru {
                cache.truncate(slots);
            }
        }
        cache.truncate(slots);
    }
    hits
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
