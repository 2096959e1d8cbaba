//! What a cache would buy: a replayed trace held against a rig.

use super::bootstrap::hot_fraction_interval;
use super::per_token::PerToken;
use super::replay::{Policy, hits};
use crate::document::{CacheReplay, Concentration, Trace, Workload};
use crate::forecast::{Outlook, Work};
use crate::units::{MIB, round_to};

/// Visits that each expert should have had before the hot ones can be told from the lucky ones.
const ENOUGH_VISITS: f64 = 30.0;

/// A model with all of its experts in RAM on a rig, and what a cached expert weighs.
#[derive(Debug)]
pub struct OnRig<'r> {
    /// The forecast.
    pub outlook: Outlook<'r>,
    /// The work of a token when every expert is read from RAM.
    pub work: Work,
    /// Bytes of one expert, over all layers.
    pub expert_bytes: f64,
}

impl OnRig<'_> {
    /// Decode when this share of the experts' bytes is read from VRAM instead, tokens a second.
    ///
    /// Each block is still handed to the processor, since some of its experts are missing for
    /// nearly every token; what a miss would cost to copy into the cache is not counted.
    fn decode(&self, hit_rate: f64) -> Option<f64> {
        let moved = self.work.host_weight_bytes * hit_rate;
        let work = Work {
            device_weight_bytes: self.work.device_weight_bytes + moved,
            host_weight_bytes: self.work.host_weight_bytes - moved,
            ..self.work
        };
        let rate = self.outlook.forecast(&work, self.outlook.ceiling(&work))?;
        Some(round_to(rate.centre, 2))
    }
}

/// Adds to `report` what only a per-token trace tells: the interval of the hot fraction, whether
/// there are enough tokens, and what caches of `slots` experts would have served.
pub fn replay(
    report: &mut Concentration,
    trace: &PerToken,
    slots: &[u64],
    rig: Option<&OnRig<'_>>,
) {
    let selections = trace.selections();
    if let Some((low, high)) = hot_fraction_interval(trace, report.coverage_target) {
        report.hot_frac_low = Some(low);
        report.hot_frac_high = Some(high);
        if low < report.threshold && report.threshold <= high {
            report.notes.push(format!(
                "the limit lies inside the interval {low:.2} to {high:.2}: more tokens could turn \
                 the verdict"
            ));
        }
    }
    let layers = trace.layers().count().max(1) as f64;
    let visits = selections as f64 / layers / f64::from(trace.experts().max(1));
    if visits < ENOUGH_VISITS {
        report.notes.push(format!(
            "an expert was visited {visits:.0} times on average, {ENOUGH_VISITS:.0} would be \
             enough: a small sample looks more concentrated than the workload is"
        ));
    }
    report.uncached_decode_tok_s = rig.and_then(|r| r.decode(0.0));
    for slots in slots {
        for policy in Policy::ALL {
            let hits = hits(trace, *slots, policy);
            let hit_rate = if selections == 0 {
                0.0
            } else {
                hits as f64 / selections as f64
            };
            report.replay.push(CacheReplay {
                slots: *slots,
                policy,
                hits,
                selections,
                hit_rate,
                vram_mib: rig.map(|r| round_to(*slots as f64 * r.expert_bytes / MIB as f64, 1)),
                predicted_decode_tok_s: rig.and_then(|r| r.decode(hit_rate)),
            });
        }
    }
}

/// `other` as one workload beside the `first`.
pub fn beside(first: &Trace, other: &Trace, report: &Concentration, name: String) -> Workload {
    Workload {
        name,
        n_tokens: other.n_tokens,
        hot_frac_for_coverage: report.hot_frac_for_coverage,
        concentration_score: report.concentration_score,
        gini: report.gini,
        carried_by_first: carried(first, other, report.coverage_target),
    }
}

/// The share of `other`'s visits that go to the experts that carry `coverage` of `first`.
fn carried(first: &Trace, other: &Trace, coverage: f64) -> f64 {
    let (mut inside, mut all) = (0u64, 0u64);
    for layer in &other.layers {
        all = all.saturating_add(layer.total());
        let same = first
            .layers
            .iter()
            .find(|l| l.layer_index == layer.layer_index);
        let Some(hot) = same else { continue };
        let mut order: Vec<(u64, usize)> = hot.expert_counts.iter().copied().zip(0..).collect();
        order.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let target = coverage * hot.total() as f64;
        let mut so_far = 0u64;
        for (count, expert) in order {
            if so_far as f64 >= target {
                break;
            }
            so_far = so_far.saturating_add(count);
            let visits = layer.expert_counts.get(expert).copied().unwrap_or(0);
            inside = inside.saturating_add(visits);
        }
    }
    if all == 0 {
        return 0.0;
    }
    inside as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::Stated;
    use crate::routing::report;

    fn trace() -> PerToken {
        let lines: Vec<String> = (0..40)
            .map(|i| {
                format!(
                    "{{\"layer\": {}, \"experts\": [{}, {}]}}\n",
                    i % 2,
                    i % 3,
                    3 + i % 5
                )
            })
            .collect();
        PerToken::read(&lines.concat()).unwrap().unwrap()
    }

    #[test]
    fn a_cache_that_serves_more_decodes_faster() {
        let given = |gbps| Stated {
            gbps,
            best_gbps: gbps,
            known: true,
        };
        let rig = OnRig {
            outlook: Outlook::new("RTX 4090", None, given(1008.0), given(60.0), &[]).unwrap(),
            work: Work {
                device_weight_bytes: 0.8e9,
                host_weight_bytes: 1.1e9,
                expert_blocks: 48.0,
                host_blocks: 48.0,
                ..Work::default()
            },
            expert_bytes: 48.0 * 2.8e6,
        };
        let t = trace();
        let mut r = report(&t.counts(None), 0.9, 0.5);
        replay(&mut r, &t, &[0, 2, 8], Some(&rig));
        assert_eq!(r.replay.len(), 9);
        let uncached = r.uncached_decode_tok_s.unwrap();
        for row in &r.replay {
            let rate = row.predicted_decode_tok_s.unwrap();
            assert_eq!(row.hits == 0, (rate - uncached).abs() < 1e-9, "{row:?}");
            assert_eq!(row.selections, 80);
        }
        assert!(r.hot_frac_low.unwrap() <= r.hot_frac_high.unwrap());
        assert!(
            r.notes.iter().any(|n| n.contains("small sample")),
            "{:?}",
            r.notes
        );
    }

    #[test]
    fn a_workload_is_carried_by_its_own_hot_experts() {
        let counts = trace().counts(None);
        let r = report(&counts, 0.9, 0.5);
        let own = beside(&counts, &counts, &r, "same".into());
        assert!(own.carried_by_first >= 0.9);
        let none = beside(&Trace::default(), &counts, &r, "other".into());
        assert_eq!(none.carried_by_first, 0.0);
    }
}
