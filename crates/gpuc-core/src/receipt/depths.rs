//! The repeats of a run at several depths.

use std::collections::BTreeMap;

use super::choose::{average, placed, settle};
use super::row::Row;
use super::wanted::Wanted;

/// What a run measured at one depth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AtDepth {
    /// Context already filled.
    pub depth: u64,
    /// Decode, tokens a second.
    pub decode: f64,
    /// Its standard deviation.
    pub stddev: Option<f64>,
    /// Repetitions behind it.
    pub samples: Option<u64>,
    /// Prefill on top of that context, tokens a second.
    pub prefill: Option<f64>,
}

/// What the chosen run measured at each depth; nothing where that is but one.
pub(super) fn curve(
    rows: &[&Row],
    prefill: &[&Row],
    chosen: &[&Row],
    wanted: &Wanted,
) -> Vec<AtDepth> {
    let Some(first) = chosen.first() else {
        return Vec::new();
    };
    let mut by_depth: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        if let Some(depth) = row.depth
            && row.setting == first.setting
            && row.tokens == first.tokens
        {
            by_depth.entry(depth).or_default().push(row);
        }
    }
    if by_depth.len() < 2 {
        return Vec::new();
    }
    let prefill_at = |depth| {
        let at = prefill.iter().filter(|r| r.depth == Some(depth));
        let at: Vec<&Row> = at.copied().collect();
        let chosen = settle(&placed(&at, wanted).ok()?, wanted, 512, &mut Vec::new());
        average(&chosen).map(|a| a.rate)
    };
    by_depth
        .iter()
        .filter_map(|(depth, rows)| {
            let average = average(rows)?;
            Some(AtDepth {
                depth: *depth,
                decode: average.rate,
                stddev: average.stddev,
                samples: average.samples,
                prefill: prefill_at(*depth),
            })
        })
        .collect()
}
