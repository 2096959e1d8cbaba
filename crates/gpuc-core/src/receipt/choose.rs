//! Which rows of a benchmark are the plan's run: its placement first, then the nearest settings.

use super::row::Row;
use super::wanted::Wanted;
use crate::error::{Code, Coded};

/// Why a benchmark gives no measurement of the plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BenchError {
    /// No row of any known format.
    #[error("the benchmark holds no row that can be read")]
    NoRows,
    /// Rows, but no decode rate.
    #[error("there is no measured decode rate{}", rows_of(*.rows))]
    NoDecode {
        /// The rows that were read.
        rows: usize,
    },
    /// Every decode row ran with another placement.
    #[error("the benchmark ran with --n-cpu-moe {}, the plan says {plan}", list(.bench))]
    Mismatch {
        /// The plan's value.
        plan: u64,
        /// The values in the benchmark, smallest first.
        bench: Vec<u64>,
    },
}

fn rows_of(rows: usize) -> String {
    match rows {
        0 => String::new(),
        1 => ": the benchmark's one row is no decode (tg) row with a rate".into(),
        n => format!(": none of the benchmark's {n} rows is a decode (tg) row with a rate"),
    }
}

fn list(values: &[u64]) -> String {
    let shown: Vec<String> = values.iter().take(12).map(u64::to_string).collect();
    let more = if values.len() > 12 { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

impl Coded for BenchError {
    fn code(&self) -> Code {
        match self {
            Self::NoRows => Code::InputNoBenchRows,
            Self::NoDecode { .. } => Code::InputNoDecodeRate,
            Self::Mismatch { .. } => Code::InputBenchMismatch,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoRows => "pass the output of llama-bench (json, jsonl, csv, md or sql), or a \
                              llama-server answer with its timings"
                .into(),
            Self::NoDecode { rows: 0 } => "give the output of llama-bench with --bench, what \
                                           llama-server says with --server, or the rate with \
                                           --decode-tok-s"
                .into(),
            Self::NoDecode { .. } => {
                "run llama-bench with -n 128 or so, or give the rate with --decode-tok-s".into()
            }
            Self::Mismatch { plan, bench } => format!(
                "plan --n-cpu-moe {plan}, benchmark --n-cpu-moe {}: run llama-bench with -ncmoe \
                 {plan}, or plan with --n-cpu-moe {}",
                list(bench),
                bench.first().copied().unwrap_or_default()
            ),
        })
    }
}

/// The rows of the plan's placement, else those that do not say theirs.
pub(super) fn placed<'r>(rows: &[&'r Row], wanted: &Wanted) -> Result<Vec<&'r Row>, BenchError> {
    let own = |r: &&&Row| {
        r.setting
            .n_cpu_moe
            .is_some_and(|n| wanted.same_placement(n))
    };
    let silent = |r: &&&Row| r.setting.n_cpu_moe.is_none();
    let mut picked: Vec<&Row> = rows.iter().filter(own).copied().collect();
    if picked.is_empty() {
        picked = rows.iter().filter(silent).copied().collect();
    }
    if picked.is_empty() && !rows.is_empty() {
        let mut bench: Vec<u64> = rows.iter().filter_map(|r| r.setting.n_cpu_moe).collect();
        bench.sort_unstable();
        bench.dedup();
        return Err(BenchError::Mismatch {
            plan: wanted.n_cpu_moe.unwrap_or_default(),
            bench,
        });
    }
    Ok(picked)
}

/// Narrows rows down to the repeats of one run, the nearest to the wanted one.
pub(super) fn settle<'r>(
    rows: &[&'r Row],
    wanted: &Wanted,
    usual_tokens: u64,
    notes: &mut Vec<String>,
) -> Vec<&'r Row> {
    let mut left = rows.to_vec();
    nearest(&mut left, |r| wanted.layers_off(r));
    nearest(&mut left, |r| wanted.caches_off(r));
    nearest(&mut left, |r| match wanted.depth {
        Some(depth) => r.depth.unwrap_or(0).abs_diff(depth),
        None => r.depth.unwrap_or(0),
    });
    nearest(&mut left, |r| {
        u64::from(
            wanted
                .flash_attn
                .is_some_and(|on| r.setting.flash_attn == Some(!on)),
        )
    });
    // llama-bench's usual length when it is there, else the longest.
    nearest(&mut left, |r| match r.tokens {
        Some(n) if n == usual_tokens => 0,
        Some(n) => u64::MAX - n,
        None => u64::MAX,
    });
    let same_layout = left.len();
    if let Some(first) = left.first().copied() {
        left.retain(|r| r.setting == first.setting);
    }
    if left.len() < same_layout {
        notes.push(others(rows, same_layout - left.len()));
    }
    left
}

/// What the rows that were left aside differ in.
fn others(rows: &[&Row], aside: usize) -> String {
    let distinct = |of: fn(&Row) -> Option<&String>| {
        let mut names: Vec<&String> = rows.iter().filter_map(|r| of(r)).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    };
    let models = distinct(|r| r.setting.model.as_ref());
    let builds = distinct(|r| r.setting.build.as_ref());
    let mut what = Vec::new();
    if models > 1 {
        what.push(format!("{models} models"));
    }
    if builds > 1 {
        what.push(format!("{builds} builds"));
    }
    let of = if what.is_empty() {
        "several settings".to_owned()
    } else {
        what.join(" and ")
    };
    format!(
        "the benchmark holds {of}: the first one counts, {aside} decode rows of others are left out"
    )
}

fn nearest(rows: &mut Vec<&Row>, distance: impl Fn(&Row) -> u64) {
    if let Some(best) = rows.iter().map(|r| distance(r)).min() {
        rows.retain(|r| distance(r) == best);
    }
}

/// What repeats measured together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Average {
    pub(super) rate: f64,
    pub(super) stddev: Option<f64>,
    pub(super) samples: Option<u64>,
}

/// Mean and deviation over repeats, each weighted by its samples (1 where it does not say).
pub(super) fn average(rows: &[&Row]) -> Option<Average> {
    let samples = rows
        .iter()
        .filter_map(|r| r.samples)
        .reduce(u64::saturating_add);
    if let [row] = rows {
        return Some(Average {
            rate: row.rate?,
            stddev: row.stddev,
            samples,
        });
    }
    let weight = |r: &Row| r.samples.unwrap_or(1).max(1) as f64;
    let all: f64 = rows.iter().map(|r| weight(r)).sum();
    let mean =
        |of: &dyn Fn(&Row) -> f64| -> f64 { rows.iter().map(|r| of(r) * (weight(r) / all)).sum() };
    let rate = mean(&|r| r.rate.unwrap_or(0.0));
    let variance =
        mean(&|r| r.stddev.unwrap_or(0.0).powi(2) + (r.rate.unwrap_or(0.0) - rate).powi(2));
    (!rows.is_empty() && rate.is_finite()).then_some(Average {
        rate,
        stddev: Some(variance.sqrt()).filter(|s| s.is_finite()),
        samples,
    })
}
