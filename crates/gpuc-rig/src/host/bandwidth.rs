//! How fast the processor reads RAM: all cores at once, each through a buffer of its own.
//!
//! Decoding with experts in RAM reads weights once a token and writes next to nothing, so reads
//! are what is timed. The buffers together are four times the last-level cache at least.

use std::collections::BTreeSet;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use gpuc_core::units::MIB;

/// The median is taken over this many passes, fewer on a machine that needs too long for them.
const PASSES: usize = 9;
const LEAST_PASSES: usize = 3;
const BUDGET: Duration = Duration::from_millis(2500);

/// Buffers together; enough to be far out of any cache that is not reported.
const LEAST_BYTES: u64 = 256 * MIB;
/// The share of available RAM that the buffers may take.
const SHARE: u64 = 4;
/// A multiple of the cache, so that next to nothing of a pass is left in it for the next.
const TIMES_CACHE: u64 = 4;

/// A pass reads the buffers as often as this takes, so that waking the threads does not count.
const LEAST_PASS: Duration = Duration::from_millis(20);

/// Elements that are summed side by side; more than any core can have in flight.
const LANES: usize = 32;

/// A measured rate with what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct RamBandwidth {
    /// Median of the passes, 10^9 bytes a second.
    pub gbps: f64,
    /// Slowest and fastest pass, 10^9 bytes a second.
    pub spread_gbps: (f64, f64),
    /// Passes.
    pub passes: usize,
    /// Threads, one for each core that this process may use.
    pub threads: usize,
    /// Bytes of the buffers together.
    pub bytes: u64,
    /// Last-level caches together, bytes, where the system reports them.
    pub cache_bytes: Option<u64>,
}

/// Measures it, or says why it cannot be measured. `available` is what may be allocated, in bytes.
pub fn ram_bandwidth(available: u64) -> Result<RamBandwidth, String> {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cache_bytes = last_level_cache(Path::new("/"));
    let wanted = (cache_bytes.unwrap_or(0).saturating_mul(TIMES_CACHE)).max(LEAST_BYTES);
    if wanted > available / SHARE {
        return Err(format!(
            "needs buffers of {} MiB to be out of cache, more than a {SHARE}th of the {} MiB \
             available",
            wanted / MIB,
            available / MIB
        ));
    }
    measure(threads, wanted, cache_bytes)
}

fn measure(threads: usize, bytes: u64, cache_bytes: Option<u64>) -> Result<RamBandwidth, String> {
    let words = usize::try_from(bytes / 8).map_err(|_| "the buffers exceed the address space")?;
    let each = words.div_ceil(threads).next_multiple_of(LANES);
    let (mut seconds, rounds) = time_passes(threads, each)?;
    seconds.sort_by(f64::total_cmp);
    let bytes = 8 * (each * threads) as u64;
    let read = bytes as f64 * f64::from(rounds);
    let rate = |at: usize| seconds.get(at).map_or(0.0, |s| read / s / 1e9);
    let passes = seconds.len();
    Ok(RamBandwidth {
        gbps: f64::midpoint(rate((passes - 1) / 2), rate(passes / 2)),
        spread_gbps: (rate(passes - 1), rate(0)),
        passes,
        threads,
        bytes,
        cache_bytes,
    })
}

/// Seconds that each pass took, from the first thread's start to the last one's end, and how often
/// a pass read the buffers.
fn time_passes(threads: usize, each: usize) -> Result<(Vec<f64>, u32), String> {
    thread::scope(|scope| {
        let (done, finished) = mpsc::channel();
        let mut starts = Vec::with_capacity(threads);
        for _ in 0..threads {
            let (start, go) = mpsc::channel::<u32>();
            let done = done.clone();
            thread::Builder::new()
                .spawn_scoped(scope, move || {
                    // Allocated and first touched where it is read, which decides its memory node.
                    let mut buffer: Vec<u64> = Vec::new();
                    let ready = buffer.try_reserve_exact(each).is_ok();
                    if ready {
                        buffer.resize(each, 1);
                    }
                    let mut said = done.send(ready);
                    while let (Ok(()), Ok(rounds)) = (said, go.recv()) {
                        for _ in 0..rounds {
                            black_box(sum(black_box(&buffer)));
                        }
                        said = done.send(true);
                    }
                })
                .map_err(|e| format!("a thread could not be started: {e}"))?;
            starts.push(start);
        }
        drop(done);
        let all = || (0..threads).all(|_| finished.recv().unwrap_or(false));
        if !all() {
            return Err("the buffers could not be allocated".into());
        }
        let pass = |rounds: u32| {
            let begun = Instant::now();
            for start in &starts {
                let _ = start.send(rounds);
            }
            if all() {
                Ok(begun.elapsed())
            } else {
                Err("a thread ended early")
            }
        };
        let begun = Instant::now();
        // The first brings the clocks up, the second tells how long a round takes.
        pass(1)?;
        let rounds = rounds(pass(1)?);
        let mut seconds = Vec::with_capacity(PASSES);
        while seconds.len() < PASSES && (seconds.len() < LEAST_PASSES || begun.elapsed() < BUDGET) {
            seconds.push(pass(rounds)?.as_secs_f64().max(f64::EPSILON));
        }
        Ok((seconds, rounds))
    })
}

fn rounds(one: Duration) -> u32 {
    let least = LEAST_PASS.as_micros();
    u32::try_from(least.div_ceil(one.as_micros().max(1)))
        .unwrap_or(1)
        .clamp(1, 100)
}

fn sum(buffer: &[u64]) -> u64 {
    let mut lanes = [0_u64; LANES];
    let (chunks, _) = buffer.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_add(*x);
        }
    }
    lanes.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// The last level's caches together, bytes: one for each set of cores that shares one.
fn last_level_cache(root: &Path) -> Option<u64> {
    let mut level_found = 0;
    let mut caches = BTreeSet::new();
    for cpu in fs::read_dir(root.join("sys/devices/system/cpu"))
        .ok()?
        .flatten()
    {
        let Ok(indices) = fs::read_dir(cpu.path().join("cache")) else {
            continue;
        };
        for index in indices.flatten() {
            let text = |file| fs::read_to_string(index.path().join(file)).unwrap_or_default();
            let (Ok(level), Some(size)) = (text("level").trim().parse::<u32>(), kib(&text("size")))
            else {
                continue;
            };
            if level > level_found {
                level_found = level;
                caches.clear();
            }
            if level == level_found {
                caches.insert((text("shared_cpu_list"), size));
            }
        }
    }
    let total = caches
        .iter()
        .fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
    (total > 0).then_some(total)
}

/// "32768K" or "32M" as bytes.
fn kib(size: &str) -> Option<u64> {
    let size = size.trim();
    let (digits, unit) = match size.strip_suffix('K') {
        Some(digits) => (digits, 1 << 10),
        None => (size.strip_suffix('M')?, MIB),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_measurement_is_consistent() {
        let found = measure(2, MIB, None).unwrap();
        assert_eq!((found.threads, found.bytes), (2, MIB));
        let (slowest, fastest) = found.spread_gbps;
        assert!(
            slowest > 0.0 && slowest <= found.gbps && found.gbps <= fastest,
            "{found:?}"
        );
        assert!((LEAST_PASSES..=PASSES).contains(&found.passes));
    }

    #[test]
    fn too_little_memory_is_said() {
        assert!(ram_bandwidth(0).unwrap_err().contains("available"));
    }

    #[test]
    fn sums_are_sums() {
        assert_eq!(sum(&vec![3; 4 * LANES]), 12 * LANES as u64);
    }

    #[test]
    fn shared_caches_count_once() {
        let root = tempfile::tempdir().unwrap();
        for (cpu, level, size, shared) in [
            (0, 1, "32K", "0"),
            (0, 3, "32768K", "0-3"),
            (1, 3, "32768K", "0-3"),
            (4, 3, "16M", "4-7"),
        ] {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}/cache/index{level}");
            let folder = root.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in [
                ("level", &*level.to_string()),
                ("size", size),
                ("shared_cpu_list", shared),
            ] {
                fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
        }
        assert_eq!(last_level_cache(root.path()), Some(48 * MIB));
        assert_eq!(last_level_cache(&root.path().join("none")), None);
    }
}
