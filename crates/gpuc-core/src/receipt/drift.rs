//! Where a rig has drifted.
//!
//! A run drifts when it differs from those of the same kind before it by more than such runs differ
//! anyway. What changed with it is named, as far as the points tell; later runs are then held
//! against those since, so that a change is named once, and a hot day is over when it is over.

use crate::document::Point;

/// What runs of one rig may differ by while nothing is known of their spread, relative.
const USUAL: f64 = 0.10;
/// The least that is held to be a difference between runs, relative.
const LEAST: f64 = 0.03;
/// So many runs beyond the first of their level tell how much runs differ.
const ENOUGH: usize = 2;
/// Standard deviations that a drift is beyond.
const BEYOND: f64 = 2.5;
/// A card this much hotter than before may be the reason that it is slower, °C.
const HOTTER: f64 = 5.0;
/// A card that draws this much of its limit is held back by it, %.
const AT_THE_LIMIT: f64 = 98.0;

/// What must be the same for two runs to be of one kind.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind<'p> {
    model: &'p str,
    quant: Option<&'p str>,
    rig: Option<&'p str>,
    gpu: Option<&'p str>,
    n_cpu_moe: Option<u64>,
    moe_layers_on_host: Option<u64>,
    /// In units of 1e-4.
    offload: Option<u64>,
    depth: Option<u64>,
    caches: [Option<&'p str>; 2],
}

impl<'p> Kind<'p> {
    pub(super) fn of(p: &'p Point) -> Self {
        Self {
            model: &p.model,
            quant: p.quant.as_deref(),
            rig: p.rig.as_deref(),
            gpu: p.gpu.as_deref(),
            n_cpu_moe: p.n_cpu_moe,
            moe_layers_on_host: p.moe_layers_on_host,
            offload: p
                .offload_fraction
                .map(|f| crate::units::floor_bytes((1e4 * f).round())),
            depth: p.depth,
            caches: [p.cache_type_k.as_deref(), p.cache_type_v.as_deref()],
        }
    }
}

/// Runs of one kind between two drifts.
pub(super) type Level<'p> = Vec<&'p Point>;

/// Puts the run into its level, the last one, and says how it drifted if it opens or returns to one.
pub(super) fn place<'p>(levels: &mut Vec<Level<'p>>, p: &'p Point, noise: f64) -> Option<String> {
    let like = |level: &Level<'_>| off(level, p).is_some_and(|off| off.abs() <= noise);
    let current = levels.last_mut()?;
    let Some(off) = off(current, p).filter(|off| off.abs() > noise) else {
        current.push(p);
        return None;
    };
    let against = format!(
        "{:+.0} % against {} run(s) before: ",
        100.0 * off,
        current.len()
    );
    let why = changes(current, p, off < 0.0);
    let Some(back) = levels.iter().rposition(like) else {
        levels.push(vec![p]);
        return Some(against + &why);
    };
    let mut level = levels.remove(back);
    let until = level.last().and_then(|p| p.created.as_deref());
    let until = until.map_or_else(String::new, |date| format!(" until {date}"));
    let back = format!("back at the rate of the {} run(s){until}", level.len());
    level.push(p);
    levels.push(level);
    Some(against + &back)
}

fn rates(runs: &[&Point]) -> Vec<f64> {
    let mut rates: Vec<f64> = runs.iter().filter_map(|p| p.measured_tok_s).collect();
    rates.sort_by(f64::total_cmp);
    rates
}

fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*sorted.get(sorted.len() / 2 - 1)?, upper))
}

/// How far a run is off the median of a level, relative.
fn off(level: &Level<'_>, p: &Point) -> Option<f64> {
    let usual = median(&rates(level)).filter(|m| *m > 0.0)?;
    Some(p.measured_tok_s? / usual - 1.0).filter(|off| off.is_finite())
}

/// What a run may differ by from the last level, relative: by how much runs differ within their
/// levels, and by how much the repeats within this run do. None without any before it.
pub(super) fn noise(levels: &[Level<'_>], p: &Point) -> Option<f64> {
    let current = rates(levels.last()?);
    let usual = median(&current).filter(|m| *m > 0.0)?;
    let (mut squares, mut beyond_first) = (0.0, 0);
    for level in levels {
        let offs = level.iter().filter_map(|p| off(level, p));
        squares += offs.map(|off| off * off).sum::<f64>();
        beyond_first += level.len().saturating_sub(1);
    }
    let between = if beyond_first < ENOUGH {
        USUAL
    } else {
        let variance = squares / beyond_first as f64;
        BEYOND * (variance * (1.0 + 1.0 / current.len().max(1) as f64)).sqrt()
    };
    let within = match (p.stddev_tok_s, p.samples) {
        (Some(stddev), Some(n)) if n > 1 => BEYOND * stddev / (n as f64).sqrt() / usual,
        (Some(stddev), None) => BEYOND * stddev / usual,
        _ => 0.0,
    };
    Some(between.max(within).max(LEAST)).filter(|x| x.is_finite())
}

/// What changed with a run that drifted.
fn changes(earlier: &[&Point], p: &Point, slower: bool) -> String {
    let last = |of: fn(&Point) -> Option<&str>| earlier.iter().rev().find_map(|p| of(p));
    let mut named = Vec::new();
    let mut unknown = Vec::new();
    let mut compare = |what: &str, was: Option<&str>, is: Option<&str>| match (was, is) {
        (Some(was), Some(is)) if was != is => {
            named.push(format!("{what} went from {was} to {is}"));
        }
        (Some(_), Some(_)) => {}
        _ => unknown.push(what.to_owned()),
    };
    compare(
        "llama.cpp",
        last(|p| p.build.as_deref()),
        p.build.as_deref(),
    );
    compare(
        "the driver",
        last(|p| p.driver.as_deref()),
        p.driver.as_deref(),
    );
    let mut temperatures: Vec<f64> = earlier.iter().filter_map(|p| p.gpu_temp_c).collect();
    temperatures.sort_by(f64::total_cmp);
    match (median(&temperatures), p.gpu_temp_c) {
        (Some(was), Some(is)) if slower && is >= was + HOTTER => {
            named.push(format!("the card was at {is:.0} °C instead of {was:.0}"));
        }
        (Some(_), Some(_)) => {}
        _ => unknown.push("the temperature".into()),
    }
    let held_back = |p: &Point| p.gpu_power_pct.is_some_and(|x| x >= AT_THE_LIMIT);
    if slower && held_back(p) && !earlier.iter().any(|p| held_back(p)) {
        named.push("the card ran into its power limit".into());
    }
    match (named.is_empty(), unknown.is_empty()) {
        (false, _) => named.join("; "),
        (true, true) => "same build, driver and temperature: another job beside it?".into(),
        (true, false) => format!("nothing that is recorded; unknown: {}", unknown.join(", ")),
    }
}
