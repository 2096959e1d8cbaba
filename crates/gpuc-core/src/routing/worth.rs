//! What a cache would buy: a replayed trace held against a rig.

use super::bootstrap::hot_fraction_interval;
use super::per_token::PerToken;
use super::replay::{Policy, Replay, Served};
use crate::document::{CacheReplay, Concentration, Trace, Workload};
use crate::forecast::{Outlook, Work};
use crate::units::{MIB, round_to};

/// The routed experts of one layer of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertLayer {
    /// Bytes that a token reads of it.
    pub read: f64,
    /// Bytes of all of its experts.
    pub bytes: f64,
}

/// A model with all of its experts in RAM on a rig, and what those experts weigh.
#[derive(Debug)]
pub struct OnRig<'r> {
    /// The forecast.
    pub outlook: Outlook<'r>,
    /// The work of a token when every expert is read from RAM.
    pub work: Work,
    /// The layers with experts, the first first.
    pub layers: Vec<ExpertLayer>,
    /// Experts of a layer.
    pub experts: u64,
    /// What copies from RAM to VRAM get, bytes a second, where that was measured.
    pub copies: Option<f64>,
}

impl OnRig<'_> {
    /// Decode when so many bytes of experts are read from VRAM instead, and so many blocks need the
    /// processor no longer, tokens a second.
    fn decode(&self, moved: f64, relieved: f64) -> Option<f64> {
        let moved = moved.min(self.work.host_weight_bytes);
        let work = Work {
            device_weight_bytes: self.work.device_weight_bytes + moved,
            host_weight_bytes: self.work.host_weight_bytes - moved,
            host_blocks: (self.work.host_blocks - relieved).max(0.0),
            ..self.work
        };
        let rate = self.outlook.forecast(&work, self.outlook.ceiling(&work))?;
        Some(round_to(rate.centre, 2))
    }

    /// Decode with a cache that serves so much of each layer, tokens a second.
    ///
    /// What is missing is computed where it lies. A cache that replaces its experts copies it too,
    /// meanwhile, so that decode is no faster than the copies are.
    fn cached(&self, served: &[Served], policy: Policy) -> Option<f64> {
        let share = |part: u64, all: u64| part as f64 / all.max(1) as f64;
        let hits = |s: &Served| share(s.hits, s.choices);
        let whole = |s: &Served| share(s.whole, s.tokens);
        let all: f64 = self.layers.iter().map(|l| l.read).sum();
        let (moved, relieved) = if served.len() == self.layers.len() {
            let pairs = self.layers.iter().zip(served);
            let moved = pairs.map(|(layer, s)| layer.read * hits(s)).sum();
            (moved, served.iter().map(whole).sum())
        } else {
            // A trace of some layers speaks for the others.
            let mean = |of: &dyn Fn(&Served) -> f64| {
                served.iter().map(of).sum::<f64>() / served.len().max(1) as f64
            };
            (all * mean(&hits), self.layers.len() as f64 * mean(&whole))
        };
        let rate = self.decode(moved, relieved)?;
        let copied = match policy {
            Policy::StaticHottest => 0.0,
            Policy::Lru | Policy::LeastStale => all - moved,
        };
        let limit = self.copies.filter(|_| copied > 0.0);
        Some(limit.map_or(rate, |bytes_s| rate.min(round_to(bytes_s / copied, 2))))
    }

    /// Bytes of a cache with so many slots in each layer.
    fn cache_bytes(&self, slots: u64) -> f64 {
        let share = slots.min(self.experts) as f64 / self.experts.max(1) as f64;
        self.layers.iter().map(|l| l.bytes * share).sum()
    }

    /// Decode when `bytes` of VRAM hold all experts of as many layers as fit, the last ones first,
    /// as `--n-cpu-moe` leaves them there.
    fn whole_layers(&self, bytes: f64) -> Option<f64> {
        let (mut left, mut moved, mut relieved) = (bytes, 0.0, 0.0);
        for layer in self.layers.iter().rev() {
            if layer.bytes > left {
                break;
            }
            left -= layer.bytes;
            moved += layer.read;
            relieved += 1.0;
        }
        self.decode(moved, relieved)
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
    let replay = Replay::of(trace);
    let selections = replay.selections();
    report.uncached_decode_tok_s = rig.and_then(|r| r.decode(0.0, 0.0));
    if rig.is_some_and(|r| r.copies.is_none()) {
        report.notes.push(
            "the profile has no PCIe rate: what lru and least-stale copy into their caches is \
             taken as free"
                .into(),
        );
    }
    for slots in slots {
        for policy in Policy::ALL {
            let served: Vec<Served> = replay.served(*slots, policy).collect();
            let all = |of: fn(&Served) -> u64| served.iter().map(of).sum::<u64>();
            let (hits, whole, tokens) = (all(|s| s.hits), all(|s| s.whole), all(|s| s.tokens));
            let share = |part: u64, all: u64| part as f64 / all.max(1) as f64;
            report.replay.push(CacheReplay {
                slots: *slots,
                policy,
                hits,
                selections,
                hit_rate: share(hits, selections),
                whole_rate: share(whole, tokens),
                vram_mib: rig.map(|r| round_to(r.cache_bytes(*slots) / MIB as f64, 1)),
                predicted_decode_tok_s: rig.and_then(|r| r.cached(&served, policy)),
                whole_layers_decode_tok_s: rig.and_then(|r| r.whole_layers(r.cache_bytes(*slots))),
            });
        }
    }
}

/// `other` as one workload beside the `first`; `interval` is that of its hot fraction, where its
/// tokens are known singly.
pub fn beside(
    first: &Trace,
    other: &Trace,
    report: &Concentration,
    interval: Option<(f64, f64)>,
    name: String,
) -> Workload {
    Workload {
        name,
        n_tokens: other.n_tokens,
        hot_frac_for_coverage: report.hot_frac_for_coverage,
        hot_frac_low: interval.map(|(low, _)| low),
        hot_frac_high: interval.map(|(_, high)| high),
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

    const WORK: Work = Work {
        device_weight_bytes: 0.8e9,
        host_weight_bytes: 1.1e9,
        expert_blocks: 48.0,
        host_blocks: 2.0,
        cache_bytes: 0.0,
        dense_blocks: 0.0,
        state_blocks: 0.0,
    };

    fn outlook() -> Outlook<'static> {
        let given = |gbps| Stated {
            gbps,
            best_gbps: gbps,
            known: true,
        };
        Outlook::new("RTX 4090", None, given(1008.0), given(60.0), &[]).unwrap()
    }

    #[test]
    fn a_cache_that_serves_more_decodes_faster() {
        let rig = OnRig {
            outlook: outlook(),
            work: Work {
                host_blocks: 48.0,
                ..WORK
            },
            layers: vec![
                ExpertLayer {
                    read: 1.1e9 / 48.0,
                    bytes: 8.0 * 1.1e9 / 48.0,
                };
                48
            ],
            experts: 8,
            copies: None,
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
            assert!(row.whole_rate <= row.hit_rate, "{row:?}");
        }
        // A quarter of the experts takes the room of a quarter of the layers.
        let quarter = &r.replay[3];
        assert_eq!(
            quarter.vram_mib,
            Some(round_to(0.25 * 8.0 * 1.1e9 / MIB as f64, 1))
        );
        let layers = quarter.whole_layers_decode_tok_s.unwrap();
        assert!(layers > uncached, "{layers} {uncached}");
        // All experts in VRAM: nothing is left for the processor, whichever way it is looked at.
        let all = r.replay.last().unwrap();
        assert!(all.whole_rate > 0.5 && all.whole_layers_decode_tok_s.unwrap() > layers);
        assert!(r.hot_frac_low.unwrap() <= r.hot_frac_high.unwrap());
    }

    #[test]
    fn a_cache_of_every_expert_is_the_model_in_vram() {
        let rig = OnRig {
            outlook: outlook(),
            work: WORK,
            layers: vec![
                ExpertLayer {
                    read: 0.4e9,
                    bytes: 3.2e9,
                },
                ExpertLayer {
                    read: 0.7e9,
                    bytes: 5.6e9,
                },
            ],
            experts: 8,
            copies: None,
        };
        let served = |layer, hits| Served {
            layer,
            hits,
            choices: 80,
            whole: hits / 2,
            tokens: 40,
        };
        let of = |served: &[Served]| rig.cached(served, Policy::StaticHottest);
        let full = of(&[served(0, 80), served(1, 80)]);
        assert_eq!(full, rig.whole_layers(rig.cache_bytes(8)));
        assert_eq!(rig.cache_bytes(99), 8.8e9);
        // A hit in the heavier layer is worth more; one of a lone layer speaks for both.
        assert!(of(&[served(0, 0), served(1, 80)]) > of(&[served(0, 80), served(1, 0)]));
        assert_eq!(of(&[served(1, 80)]), full);
        assert_eq!(of(&[served(0, 0), served(1, 0)]), rig.decode(0.0, 0.0));
        // What is copied for every miss holds a cache back that replaces its experts.
        let slow = OnRig {
            copies: Some(0.55e9),
            outlook: outlook(),
            layers: rig.layers.clone(),
            ..rig
        };
        let half = [served(0, 40), served(1, 40)];
        assert_eq!(slow.cached(&half, Policy::Lru), Some(1.0));
        assert_eq!(slow.cached(&half, Policy::StaticHottest), of(&half));
        // The last layer fits 5.6 GB, the first one does not go with it.
        assert_eq!(rig.whole_layers(6e9), rig.decode(0.7e9, 1.0));
    }

    #[test]
    fn a_workload_is_carried_by_its_own_hot_experts() {
        let counts = trace().counts(None);
        let r = report(&counts, 0.9, 0.5);
        let own = beside(&counts, &counts, &r, None, "same".into());
        assert!(own.carried_by_first >= 0.9);
        let none = beside(&Trace::default(), &counts, &r, None, "other".into());
        assert_eq!(none.carried_by_first, 0.0);
    }
}
