//! How far the hot fraction may be off for want of tokens, and how uneven use is as a Gini index.

use super::per_token::{PerToken, counted};
use super::report::{hot_fraction, median};

/// Samples drawn.
const SAMPLES: usize = 200;
/// Choices that are drawn at most, over all samples: beyond that, fewer samples are.
const MOST_DRAWN: u64 = 200_000_000;
/// Coverage of the interval.
const TAIL: f64 = 0.025;

/// A generator of numbers that are always the same (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize {
        let wide = u128::from(self.next()) * (n as u128);
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

/// The 95 % interval of the median hot fraction: tokens are drawn again, with replacement, the same
/// tokens in every layer. None for a trace without tokens.
///
/// A sample looks more concentrated than what it was drawn from, and what is drawn from the sample
/// looks so once more; the interval is therefore mirrored at the estimate (the basic bootstrap).
pub fn hot_fraction_interval(trace: &PerToken, coverage: f64) -> Option<(f64, f64)> {
    let tokens = usize::try_from(trace.tokens()).ok().filter(|n| *n > 0)?;
    let width = trace.experts() as usize;
    let affordable = MOST_DRAWN / trace.selections().max(1);
    let samples = SAMPLES
        .min(usize::try_from(affordable).unwrap_or(SAMPLES))
        .max(20);
    let hot = |counts: Vec<u64>| hot_fraction(&counts, coverage);
    let seen = trace.layers().map(|(_, layer)| layer.all());
    let estimate = median(seen.filter_map(|all| hot(counted(width, [all].into_iter()))));
    let mut dice = Dice(1);
    let mut found: Vec<f64> = (0..samples)
        .map(|_| {
            let drawn: Vec<usize> = (0..tokens).map(|_| dice.below(tokens)).collect();
            let layers = trace.layers().filter_map(|(_, layer)| {
                hot(counted(width, drawn.iter().filter_map(|i| layer.token(*i))))
            });
            median(layers)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    // Of 200, the sixth from either end.
    let tail = (found.len() as f64 * TAIL).round();
    let tail = usize::try_from(crate::units::floor_bytes(tail)).ok()?;
    let least = found.get(tail).copied()?;
    let most = found.iter().rev().nth(tail).copied()?;
    let mirrored = |x: f64| (2.0 * estimate - x).clamp(0.0, 1.0);
    Some((mirrored(most), mirrored(least)))
}

/// The Gini index of `counts`: 0 when all are equal, near 1 when one has everything.
pub(super) fn gini(counts: &[u64]) -> f64 {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let n = sorted.len() as f64;
    let total: f64 = sorted.iter().map(|c| *c as f64).sum();
    if total <= 0.0 {
        return 0.0;
    }
    let ranked: f64 = (1..)
        .zip(&sorted)
        .map(|(i, c): (u32, _)| f64::from(i) * *c as f64)
        .sum();
    (2.0 * ranked / (n * total) - (n + 1.0) / n).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gini_by_hand() {
        assert_eq!(gini(&[5, 5, 5, 5]), 0.0);
        assert!((gini(&[0, 0, 0, 8]) - 0.75).abs() < 1e-12);
        assert!((gini(&[1, 3]) - 0.25).abs() < 1e-12);
        assert_eq!(gini(&[0, 0]), 0.0);
    }

    /// Tokens that each choose a few of 64 experts in every one of six layers, by unequal odds.
    fn drawn(tokens: usize, seed: u64) -> PerToken {
        let mut dice = Dice(seed);
        let mut lines = String::new();
        for _ in 0..tokens {
            for layer in 0..6 {
                let mut chosen: Vec<usize> = Vec::new();
                while chosen.len() < 4 {
                    // Two throws, the lower counts: the first experts are likelier than the last.
                    let expert = dice.below(64).min(dice.below(64));
                    let expert = (expert * (2 * layer + 1)) % 64;
                    if !chosen.contains(&expert) {
                        chosen.push(expert);
                    }
                }
                lines += &format!("{{\"layer\": {layer}, \"experts\": {chosen:?}}}\n");
            }
        }
        PerToken::read(&lines)
            .unwrap()
            .unwrap()
            .with_experts(Some(64))
    }

    #[test]
    fn the_interval_holds_what_the_sample_was_drawn_from() {
        let all = drawn(12_000, 7).counts(None);
        let fractions = all
            .layers
            .iter()
            .map(|l| hot_fraction(&l.expert_counts, 0.9).unwrap());
        let truth = median(fractions);
        let of = |tokens, seed| hot_fraction_interval(&drawn(tokens, seed), 0.9).unwrap();
        let intervals: Vec<_> = (100..120).map(|seed| of(150, seed)).collect();
        let inside = |(low, high): &&(f64, f64)| *low <= truth && truth <= *high;
        let held = intervals.iter().filter(inside).count();
        assert!(held >= 17, "{held} of 20 hold {truth}: {intervals:?}");
        let (low, high) = of(800, 100);
        assert!(low <= truth && truth <= high, "{low} {truth} {high}");
        let width = intervals[0].1 - intervals[0].0;
        assert!(high - low < width, "more tokens narrow it: {low} {high}");
    }

    #[test]
    fn nothing_has_no_interval() {
        assert_eq!(hot_fraction_interval(&PerToken::default(), 0.9), None);
    }
}
