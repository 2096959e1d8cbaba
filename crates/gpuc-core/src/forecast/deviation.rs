//! What the owner's receipts make of a law: its offset on their rig, and a narrower band.

/// Half the width of a band that holds 80 % of a normal distribution, in standard deviations.
const QUANTILE: f64 = 1.2816;
/// How many runs the shipped spread between runs counts for beside the owner's own.
const RUNS_BEFOREHAND: f64 = 4.0;

/// By how much a receipt is off the law.
pub(super) struct Deviation {
    /// As a logarithm.
    pub(super) off: f64,
    /// How much it counts beside a run that is fully known.
    pub(super) weight: f64,
    /// Which part of a run it is: depths of one run have its luck in common, so that together they
    /// count as one.
    pub(super) runs: f64,
}

/// How many runs these are.
pub(super) fn runs(receipts: &[Deviation]) -> f64 {
    receipts.iter().map(|d| d.runs).sum()
}

/// The offset of the rig and the half-width of the band, from receipts that are off the law.
pub(super) fn update(spread: f64, within: f64, receipts: &[Deviation]) -> Option<(f64, f64)> {
    if receipts.is_empty() {
        return None;
    }
    let all: f64 = receipts.iter().map(|d| d.weight).sum();
    let mean = receipts.iter().map(|d| d.off * d.weight).sum::<f64>() / all;
    let squares: f64 = receipts
        .iter()
        .map(|d| (d.off - mean).powi(2) * d.weight)
        .sum();
    let freedoms = (runs(receipts) - 1.0).max(0.0);
    let run = (RUNS_BEFOREHAND * within * within + squares) / (RUNS_BEFOREHAND + freedoms);
    let rig = (spread / QUANTILE).powi(2);
    let certainty = 1.0 / rig + all / run;
    let offset = mean * (all / run) / certainty;
    Some((offset, QUANTILE * (1.0 / certainty + run).sqrt()))
}
