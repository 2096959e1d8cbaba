//! Fitting the law to measurements, and judging it on cards that it has not seen.
//!
//! All residuals are of logarithms. A row's residual may be its generation's doing, its rig's, or
//! its own: each has a scale that is known beforehand, so that a card with twenty rows does not
//! outvote twenty cards with one, and so that a generation of a single card stays near the others.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::Evidence;
use super::law::{Law, PARAMETERS};
use super::shipped::{BackendFit, GenerationFit, RegimeFit};
use super::solve::least_squares;

/// Standard deviation of a generation's factor.
const GENERATION: f64 = 0.3;
/// Standard deviation between rigs of one generation: in VRAM, and with experts in RAM.
const RIG: [f64; 2] = [0.15, 0.25];
/// Standard deviation of a run on one rig.
const RUN: f64 = 0.1;
/// Beyond this a residual counts by its size, no longer by its square.
const OUTLIER: f64 = 0.3;
/// The share of rows that a band is to hold.
const COVERAGE: f64 = 0.8;

/// For up to four cards a quantile says nothing yet: Student's factor for 80 % on the root of their
/// mean square.
const FEW: [f64; 4] = [3.078, 1.886, 1.638, 1.533];

/// A law, its generations, and what is left of each rig.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The law.
    pub law: Law,
    /// Factor on the blocks' fixed costs, by generation.
    pub generations: BTreeMap<&'static str, f64>,
    /// What is left, by card and whether experts were in RAM.
    rigs: BTreeMap<(String, bool), f64>,
}

fn offloaded(row: &Evidence) -> bool {
    !row.work.in_vram()
}

/// A residual that counts by its size beyond [`OUTLIER`].
pub(super) fn blunted(e: f64) -> f64 {
    if e.abs() <= OUTLIER {
        return e;
    }
    (2.0 * OUTLIER * e.abs() - OUTLIER * OUTLIER)
        .sqrt()
        .copysign(e)
}

impl Fit {
    /// Fits the law to `rows`, all of one backend.
    pub fn of(rows: &[&Evidence]) -> Self {
        let generations: BTreeSet<&'static str> = rows.iter().map(|r| r.card.generation).collect();
        let rigs: BTreeSet<(String, bool)> =
            rows.iter().map(|r| (r.gpu.clone(), offloaded(r))).collect();
        let unpack = |x: &[f64]| -> Self {
            let mut values = x.iter().copied();
            let logs = std::array::from_fn(|_| values.next().unwrap_or(0.0));
            Self {
                law: Law::from_logs(logs),
                generations: generations
                    .iter()
                    .copied()
                    .zip(values.by_ref().map(f64::exp))
                    .collect(),
                rigs: rigs.iter().cloned().zip(values).collect(),
            }
        };
        let prior = || {
            Law::PRIOR.iter().enumerate().map(|(i, (middle, sd))| {
                // The exponent is no logarithm.
                let at = if i == 6 { *middle } else { middle.ln() };
                (at, *sd)
            })
        };
        let mut start: Vec<f64> = prior().map(|(at, _)| at).collect();
        start.resize(PARAMETERS + generations.len() + rigs.len(), 0.0);
        let residuals = |x: &[f64]| -> Vec<f64> {
            let fit = unpack(x);
            let mut out: Vec<f64> = prior().zip(x).map(|((at, sd), v)| (v - at) / sd).collect();
            out.extend(fit.generations.values().map(|f| f.ln() / GENERATION));
            out.extend(fit.rigs.iter().map(|((_, offload), u)| {
                let [vram, ram] = RIG;
                u / if *offload { ram } else { vram }
            }));
            out.extend(rows.iter().map(|row| {
                let rig = fit.rigs.get(&(row.gpu.clone(), offloaded(row)));
                blunted(fit.error(row) + rig.copied().unwrap_or(0.0)) / RUN
            }));
            out
        };
        // The generations are ordered before the rigs, and both by name.
        unpack(&least_squares(&start, residuals))
    }

    /// Seconds that the law gives for a row, as for a rig that it has not seen.
    pub fn seconds(&self, row: &Evidence) -> f64 {
        let generation = self.generations.get(row.card.generation).copied();
        self.law
            .seconds(&row.work, row.rates, generation.unwrap_or(1.0))
    }

    /// The logarithm of what the law gives over what was measured.
    pub fn error(&self, row: &Evidence) -> f64 {
        (self.seconds(row) / row.seconds).ln()
    }
}

/// What a row's own group is, when it is to be forecast by the others alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaveOut {
    /// All rows of its card.
    Card,
    /// All rows of its card, and all rows of its model on any card.
    CardAndModel,
}

/// Each row's error under a law that was fitted without its group.
pub fn out_of_sample(rows: &[&Evidence], group: LeaveOut) -> Vec<f64> {
    let key = |row: &Evidence| match group {
        LeaveOut::Card => (row.gpu.clone(), String::new()),
        LeaveOut::CardAndModel => (row.gpu.clone(), row.model.clone()),
    };
    let groups: BTreeSet<(String, String)> = rows.iter().map(|r| key(r)).collect();
    let fits: BTreeMap<(String, String), Fit> = groups
        .into_iter()
        .map(|(gpu, model)| {
            let others = rows.iter().copied();
            let others: Vec<&Evidence> = others
                .filter(|r| r.gpu != gpu && r.model != model)
                .collect();
            let fit = Fit::of(&others);
            ((gpu, model), fit)
        })
        .collect();
    rows.iter()
        .map(|row| fits.get(&key(row)).map_or(0.0, |fit| fit.error(row)))
        .collect()
}

/// The value that `share` of the weights lie at or below.
fn quantile(mut weighted: Vec<(f64, f64)>, share: f64) -> f64 {
    weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: f64 = weighted.iter().map(|(_, w)| w).sum();
    let mut so_far = 0.0;
    for (value, weight) in &weighted {
        so_far += weight;
        if so_far >= share * all {
            return *value;
        }
    }
    0.0
}

/// What a measurement is off by, as logarithms.
pub(super) struct RegimeErrors<'r> {
    pub(super) card: &'r str,
    /// Under a law that was fitted without its card.
    pub(super) out_of_sample: f64,
    /// Under the law that was fitted with it.
    pub(super) fitted: f64,
}

/// How well a regime is known: the spread is the quantile of the errors on cards that were left
/// out, each card counting as one, with a card's worth of doubt added.
pub(super) fn regime(rows: &[RegimeErrors<'_>]) -> Option<RegimeFit> {
    let mut by_card: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows {
        let errors = by_card.entry(row.card).or_default();
        errors.push((row.out_of_sample, row.fitted));
    }
    let cards = by_card.len() as f64;
    let (mut squares, mut freedoms) = (0.0, 0.0);
    let mut weighted = Vec::new();
    for errors in by_card.values() {
        let n = errors.len() as f64;
        let mean = errors.iter().map(|(_, e)| e).sum::<f64>() / n;
        squares += errors.iter().map(|(_, e)| (e - mean).powi(2)).sum::<f64>();
        freedoms += n - 1.0;
        weighted.extend(errors.iter().map(|(e, _)| (e.abs(), 1.0 / n)));
    }
    if by_card.is_empty() {
        return None;
    }
    let spread = match FEW.get(by_card.len() - 1) {
        Some(t) => {
            let squares = by_card
                .values()
                .map(|errors| errors.iter().map(|(e, _)| e * e).sum::<f64>() / errors.len() as f64);
            t * (squares.sum::<f64>() / cards).sqrt()
        }
        None => quantile(weighted, (COVERAGE * (cards + 1.0) / cards).min(1.0)),
    };
    let within = if freedoms >= 3.0 {
        (squares / freedoms).sqrt()
    } else {
        RUN
    };
    Some(RegimeFit {
        rows: rows.len() as u64,
        cards: by_card.len() as u64,
        spread: rounded(spread),
        within: rounded(within),
    })
}

/// Four significant figures: what a fit is good for, and the same on every machine.
pub(super) fn rounded(x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let scale = 10f64.powf(3.0 - x.abs().log10().floor());
    (x * scale).round() / scale
}

/// Fits one backend and judges it.
pub fn backend(rows: &[&Evidence]) -> Option<BackendFit> {
    let fit = Fit::of(rows);
    let out_of_sample = out_of_sample(rows, LeaveOut::Card);
    let judged: Vec<(&Evidence, f64)> = rows.iter().copied().zip(out_of_sample).collect();
    let of = |offload: bool| -> Vec<RegimeErrors<'_>> {
        let mine = judged.iter().filter(|(r, _)| offloaded(r) == offload);
        mine.map(|(row, out_of_sample)| RegimeErrors {
            card: &row.gpu,
            out_of_sample: *out_of_sample,
            fitted: fit.error(row),
        })
        .collect()
    };
    let generations = fit.generations.iter().map(|(name, factor)| {
        let cards: BTreeSet<&str> = rows
            .iter()
            .filter(|r| r.card.generation == *name && !offloaded(r))
            .map(|r| r.gpu.as_str())
            .collect();
        let known = GenerationFit {
            factor: rounded(*factor),
            cards: cards.len() as u64,
        };
        ((*name).to_owned(), known)
    });
    let law = fit.law;
    Some(BackendFit {
        law: Law {
            weight_share: rounded(law.weight_share),
            cache_share: rounded(law.cache_share),
            expert_block_us: rounded(law.expert_block_us),
            dense_block_us: rounded(law.dense_block_us),
            state_block_us: rounded(law.state_block_us),
            ram_gbps_at_40: rounded(law.ram_gbps_at_40),
            ram_exponent: rounded(law.ram_exponent),
            host_block_us: rounded(law.host_block_us),
        },
        generations: generations.collect(),
        in_vram: regime(&of(false))?,
        offload: regime(&of(true)),
        prefill: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::evidence::{RECEIPTS, SHAPES, evidence};
    use super::super::{Backend, Shipped};
    use super::*;

    #[test]
    fn the_shipped_parameters_are_what_the_shipped_measurements_give() {
        let all = evidence(RECEIPTS, SHAPES);
        let shipped = Shipped::load().unwrap();
        for kind in Backend::ALL {
            let rows: Vec<&Evidence> = all.iter().filter(|r| r.card.backend == kind).collect();
            let fit = Fit::of(&rows);
            let want = shipped.of(kind).unwrap();
            let close = |a: f64, b: f64| (a / b - 1.0).abs() < 2e-3;
            assert!(
                close(fit.law.weight_share, want.law.weight_share),
                "{kind:?}"
            );
            assert!(
                close(fit.law.expert_block_us, want.law.expert_block_us),
                "{kind:?}"
            );
            assert!(
                close(fit.law.ram_gbps_at_40, want.law.ram_gbps_at_40),
                "{kind:?}"
            );
            for (name, factor) in &fit.generations {
                assert!(
                    close(*factor, want.generations[*name].factor),
                    "{kind:?} {name}"
                );
            }
        }
    }

    #[test]
    fn a_quantile_counts_weights() {
        let values = vec![(1.0, 1.0), (2.0, 1.0), (3.0, 2.0)];
        assert_eq!(quantile(values.clone(), 0.5), 2.0);
        assert_eq!(quantile(values, 1.0), 3.0);
    }
}
