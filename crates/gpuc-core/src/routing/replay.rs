//! What a cache of a few experts per layer would have done on a per-token trace.
//!
//! Each layer has its own slots, empty at first. A choice is a hit when its expert is in a slot.
//! Three ways to fill them:
//! * static-hottest: the layer's most chosen experts of the whole trace, never replaced. Nobody
//!   knows them beforehand: it is what a perfect guess of the hot set would give;
//! * lru: one choice after the other; a miss takes the slot of the expert whose last use is longest
//!   ago;
//! * least-stale: a token's choices are known together when the router has spoken, so all are
//!   judged and all are kept before any slot is given up; then the expert that went unused for the
//!   most tokens leaves.
//!
//! All three keep with k + 1 slots whatever they keep with k, so one pass over the trace answers for
//! every k: it finds how many slots each choice would have needed (Mattson's stack distances).

use serde::{Deserialize, Serialize};

use super::per_token::{LayerChoices, PerToken, counted};

/// How slots are filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The most chosen experts, for good.
    StaticHottest,
    /// Least recently used leaves, choice by choice.
    Lru,
    /// Least recently used leaves, token by token.
    LeastStale,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::StaticHottest, Self::Lru, Self::LeastStale];
}

/// A replayed trace: what caches of any size would have served of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    layers: Vec<LayerReplay>,
}

/// What a cache would have served of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// The layer's number in the trace.
    pub layer: u64,
    /// Choices that found their expert in a slot.
    pub hits: u64,
    /// All choices.
    pub choices: u64,
    /// Tokens that found all of their experts there.
    pub whole: u64,
    /// All tokens.
    pub tokens: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LayerReplay {
    layer: u64,
    choices: u64,
    tokens: u64,
    /// In the order of [`Policy::ALL`].
    policies: [Needs; 3],
}

impl Replay {
    /// The replay of `trace` under every policy.
    pub fn of(trace: &PerToken) -> Self {
        let width = trace.experts() as usize;
        let layers = trace.layers().map(|(layer, choices)| LayerReplay {
            layer,
            choices: choices.all().len() as u64,
            tokens: choices.len() as u64,
            policies: needs(width, choices),
        });
        Self {
            layers: layers.collect(),
        }
    }

    /// What `slots` experts in each layer would have served, layer by layer.
    pub fn served(&self, slots: u64, policy: Policy) -> impl Iterator<Item = Served> {
        let [fixed, lru, least_stale] = [0, 1, 2];
        let policy = match policy {
            Policy::StaticHottest => fixed,
            Policy::Lru => lru,
            Policy::LeastStale => least_stale,
        };
        self.layers.iter().filter_map(move |l| {
            let needs = l.policies.get(policy)?;
            Some(Served {
                layer: l.layer,
                hits: upto(&needs.choices, slots),
                choices: l.choices,
                whole: upto(&needs.tokens, slots),
                tokens: l.tokens,
            })
        })
    }

    /// Choices that `slots` experts in each layer would have served.
    pub fn hits(&self, slots: u64, policy: Policy) -> u64 {
        self.served(slots, policy).map(|s| s.hits).sum()
    }

    /// All choices.
    pub fn selections(&self) -> u64 {
        self.layers.iter().map(|l| l.choices).sum()
    }
}

/// How many choices, and how many tokens with all of theirs, are served with so many slots; what is
/// served with none at all stands first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Needs {
    choices: Vec<u64>,
    tokens: Vec<u64>,
}

/// The number of those served with `slots`.
fn upto(served: &[u64], slots: u64) -> u64 {
    let slots = usize::try_from(slots).unwrap_or(usize::MAX);
    let at = served.get(slots).or(served.last());
    at.copied().unwrap_or(0)
}

impl Needs {
    /// Takes the slots that the choices of a token need; one that no number serves needs none.
    fn add(&mut self, token: impl Iterator<Item = Option<usize>>) {
        let mut whole = Some(0);
        for needed in token {
            if let Some(n) = needed {
                count(&mut self.choices, n);
            }
            whole = whole.zip(needed).map(|(a, b)| a.max(b));
        }
        if let Some(n) = whole {
            count(&mut self.tokens, n);
        }
    }

    /// From how many need exactly so many slots to how many are content with them.
    fn summed(mut self) -> Self {
        for counts in [&mut self.choices, &mut self.tokens] {
            let mut sum = 0;
            for n in counts {
                sum += *n;
                *n = sum;
            }
        }
        self
    }
}

fn count(counts: &mut Vec<u64>, at: usize) {
    if counts.len() <= at {
        counts.resize(at + 1, 0);
    }
    if let Some(n) = counts.get_mut(at) {
        *n += 1;
    }
}

/// What each policy needs for the choices of a layer of `width` experts.
fn needs(width: usize, layer: &LayerChoices) -> [Needs; 3] {
    let [mut fixed, mut lru, mut least_stale] = <[Needs; 3]>::default();
    let ranks = ranks(&counted(width, [layer.all()].into_iter()));
    let mut recent = Recency::new(width, layer.all().len());
    for token in layer.tokens() {
        fixed.add(token.iter().map(|e| ranks.get(*e as usize).copied()));
        least_stale.add(token.iter().map(|e| recent.slots_for(*e)));
        lru.add(token.iter().map(|e| {
            let needed = recent.slots_for(*e);
            recent.use_it(*e);
            needed
        }));
    }
    [fixed.summed(), lru.summed(), least_stale.summed()]
}

/// Each expert's place when the most chosen one is the first.
fn ranks(counts: &[u64]) -> Vec<usize> {
    let mut hottest_first: Vec<usize> = (0..counts.len()).collect();
    hottest_first.sort_by_key(|e| std::cmp::Reverse(counts.get(*e).copied()));
    let mut ranks = vec![0; counts.len()];
    for (place, expert) in (1..).zip(hottest_first) {
        if let Some(rank) = ranks.get_mut(expert) {
            *rank = place;
        }
    }
    ranks
}

/// In which order experts were last used.
struct Recency {
    /// When each expert was last used, from 1; 0 is never.
    last: Vec<usize>,
    /// A Fenwick tree over the uses: 1 where a use is its expert's last.
    tree: Vec<u32>,
    now: usize,
    used: u32,
}

impl Recency {
    fn new(width: usize, uses: usize) -> Self {
        Self {
            last: vec![0; width],
            tree: vec![0; uses + 1],
            now: 0,
            used: 0,
        }
    }

    /// The least slots that would still hold `expert`; none when it was never used.
    fn slots_for(&self, expert: u32) -> Option<usize> {
        let last = self.last.get(expert as usize).copied().filter(|t| *t > 0)?;
        // All that were used since, and itself.
        let mut at = last - 1;
        let mut before = 0;
        while at > 0 {
            before += self.tree.get(at)?;
            at &= at - 1;
        }
        usize::try_from(self.used - before).ok()
    }

    fn use_it(&mut self, expert: u32) {
        let Some(last) = self.last.get_mut(expert as usize) else {
            return;
        };
        self.now += 1;
        let before = std::mem::replace(last, self.now);
        if before == 0 {
            self.used += 1;
        } else {
            self.change(before, |n| n - 1);
        }
        self.change(self.now, |n| n + 1);
    }

    fn change(&mut self, mut at: usize, by: impl Fn(u32) -> u32) {
        while let Some(n) = self.tree.get_mut(at) {
            *n = by(*n);
            at += at & at.wrapping_neg();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by going through every slot at every choice: hits, and tokens served whole.
    fn brute_force(tokens: &[Vec<u32>], slots: usize, policy: Policy) -> (u64, u64) {
        let hottest = {
            let all: Vec<u32> = tokens.iter().flatten().copied().collect();
            let mut experts: Vec<u32> = (0..=64).collect();
            let count = |e: &u32| all.iter().filter(|x| *x == e).count();
            experts.sort_by_cached_key(|e| std::cmp::Reverse(count(e)));
            experts.truncate(slots);
            experts
        };
        let mut cache: Vec<u32> = Vec::new();
        let (mut hits, mut whole) = (0, 0);
        for token in tokens {
            let kept = cache.clone();
            let mut there = 0;
            for expert in token {
                there += usize::from(match policy {
                    Policy::StaticHottest => hottest.contains(expert),
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
            hits += there as u64;
            whole += u64::from(there == token.len());
        }
        (hits, whole)
    }

    fn trace(layers: &[Vec<Vec<u32>>]) -> PerToken {
        let lines: Vec<String> = (0..)
            .zip(layers)
            .flat_map(|(layer, tokens): (u32, _)| {
                tokens
                    .iter()
                    .map(move |t| format!("{{\"layer\": {layer}, \"experts\": {t:?}}}"))
            })
            .collect();
        PerToken::read(&lines.join("\n")).unwrap().unwrap()
    }

    /// Tokens of one workload: each layer likes other experts, and a token often keeps to those of
    /// the token before.
    fn workload(seed: u64) -> Vec<Vec<Vec<u32>>> {
        let mut state = seed;
        let mut below = |n: u32| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            u32::try_from(state >> 33).unwrap() % n
        };
        let mut layer = |shift: u32| {
            let mut kept: Vec<u32> = Vec::new();
            let mut token = || {
                kept.retain(|_| below(3) == 0);
                while kept.len() < 8 {
                    let expert = (below(64).min(below(64)) + shift) % 64;
                    if !kept.contains(&expert) {
                        kept.push(expert);
                    }
                }
                kept.clone()
            };
            (0..60).map(|_| token()).collect()
        };
        (0..3).map(|i| layer(11 * i)).collect()
    }

    #[test]
    fn ten_workloads_hit_as_often_as_in_a_simulation() {
        for seed in 1..=10 {
            let layers = workload(seed);
            let trace = trace(&layers);
            let (replay, all) = (Replay::of(&trace), trace.selections() as f64);
            for slots in [8, 24, 64] {
                for policy in Policy::ALL {
                    let simulated = layers.iter().map(|l| brute_force(l, slots, policy).0);
                    let want = simulated.sum::<u64>() as f64 / all;
                    let rate = replay.hits(slots as u64, policy) as f64 / all;
                    assert!((rate - want).abs() <= 1e-12, "{seed} {slots} {policy:?}");
                    assert!(rate > 0.1 && rate < 1.0 || slots == 64, "{rate}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_replay_is_what_brute_force_counts(
            layers in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(0u32..20, 0..5), 1..40), 1..4),
            slots in 0usize..24,
        ) {
            let replay = Replay::of(&trace(&layers));
            for policy in Policy::ALL {
                let served: Vec<_> = replay.served(slots as u64, policy).collect();
                prop_assert_eq!(served.len(), layers.len());
                for (got, tokens) in served.iter().zip(&layers) {
                    let want = brute_force(tokens, slots, policy);
                    prop_assert_eq!((got.hits, got.whole), want, "{:?}", policy);
                    prop_assert_eq!(got.tokens, tokens.len() as u64);
                }
            }
        }

        #[test]
        fn more_slots_never_hit_less(
            tokens in prop::collection::vec(prop::collection::vec(0u32..20, 1..5), 1..60),
        ) {
            let replay = Replay::of(&trace(&[tokens]));
            for policy in Policy::ALL {
                let rates: Vec<u64> = (0..20).map(|k| replay.hits(k, policy)).collect();
                prop_assert!(rates.windows(2).all(|w| w[0] <= w[1]), "{:?} {:?}", policy, rates);
                prop_assert_eq!(rates[0], 0);
            }
        }
    }
}
