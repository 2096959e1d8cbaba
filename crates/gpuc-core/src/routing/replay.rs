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

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::per_token::{PerToken, counted};

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

/// Choices that a cache of `slots` experts in each layer would have served.
pub fn hits(trace: &PerToken, slots: u64, policy: Policy) -> u64 {
    let width = trace.experts() as usize;
    let slots = usize::try_from(slots).unwrap_or(usize::MAX);
    let layer = |tokens: &[Vec<u32>]| match policy {
        Policy::StaticHottest => {
            let mut counts = counted(width, tokens.iter().map(Vec::as_slice));
            counts.sort_unstable_by(|a, b| b.cmp(a));
            counts.iter().take(slots).sum()
        }
        Policy::Lru => {
            let mut cache = Slots::new(width, slots);
            let choices = tokens.iter().flatten();
            choices
                .filter(|expert| cache.choose(&[**expert]) > 0)
                .count() as u64
        }
        Policy::LeastStale => {
            let mut cache = Slots::new(width, slots);
            tokens.iter().map(|token| cache.choose(token)).sum()
        }
    };
    trace.layers().map(layer).sum()
}

/// The slots of a layer.
struct Slots {
    most: usize,
    filled: usize,
    now: u64,
    /// When each expert was last used; 0 when it is in no slot.
    used: Vec<u64>,
    /// Uses in order; one that `used` no longer knows was followed by a later one.
    order: VecDeque<(u32, u64)>,
}

impl Slots {
    fn new(width: usize, most: usize) -> Self {
        Self {
            most,
            filled: 0,
            now: 0,
            used: vec![0; width],
            order: VecDeque::new(),
        }
    }

    /// Uses `chosen` together; how many of them were there already.
    fn choose(&mut self, chosen: &[u32]) -> u64 {
        let there =
            |used: &Vec<u64>, expert: u32| used.get(expert as usize).is_some_and(|t| *t > 0);
        let hits = chosen.iter().filter(|e| there(&self.used, **e)).count() as u64;
        for expert in chosen {
            self.now += 1;
            if let Some(used) = self.used.get_mut(*expert as usize) {
                self.filled += usize::from(*used == 0);
                *used = self.now;
                self.order.push_back((*expert, self.now));
            }
        }
        while self.filled > self.most {
            let Some((expert, when)) = self.order.pop_front() else {
                break;
            };
            if let Some(used) = self.used.get_mut(expert as usize)
                && *used == when
            {
                *used = 0;
                self.filled -= 1;
            }
        }
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by going through every slot at every choice.
    fn brute_force(tokens: &[Vec<u32>], slots: usize, policy: Policy) -> u64 {
        let mut cache: Vec<(u32, usize)> = Vec::new();
        let mut hits = 0;
        let mut now = 0;
        let use_it = |cache: &mut Vec<(u32, usize)>, expert: u32, now: usize| {
            cache.retain(|(e, _)| *e != expert);
            cache.push((expert, now));
        };
        let shrink = |cache: &mut Vec<(u32, usize)>| {
            while cache.len() > slots {
                let oldest = cache.iter().map(|(_, t)| *t).min().unwrap();
                cache.retain(|(_, t)| *t != oldest);
            }
        };
        match policy {
            Policy::StaticHottest => {
                let all: Vec<u32> = tokens.iter().flatten().copied().collect();
                let mut experts: Vec<u32> = (0..=64).collect();
                let count = |e: &u32| all.iter().filter(|x| *x == e).count();
                experts.sort_by_key(|e| std::cmp::Reverse(count(e)));
                experts.truncate(slots);
                hits = all.iter().filter(|e| experts.contains(e)).count() as u64;
            }
            Policy::Lru => {
                for expert in tokens.iter().flatten() {
                    now += 1;
                    hits += u64::from(cache.iter().any(|(e, _)| e == expert));
                    use_it(&mut cache, *expert, now);
                    shrink(&mut cache);
                }
            }
            Policy::LeastStale => {
                for token in tokens {
                    let there = token.iter().filter(|x| cache.iter().any(|(e, _)| e == *x));
                    hits += there.count() as u64;
                    for expert in token {
                        now += 1;
                        use_it(&mut cache, *expert, now);
                    }
                    shrink(&mut cache);
                }
            }
        }
        hits
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

    proptest! {
        #[test]
        fn a_replay_is_what_brute_force_counts(
            layers in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(0u32..20, 0..5), 1..40), 1..4),
            slots in 0usize..24,
        ) {
            let t = trace(&layers);
            for policy in Policy::ALL {
                let want: u64 = layers.iter().map(|l| brute_force(l, slots, policy)).sum();
                prop_assert_eq!(hits(&t, slots as u64, policy), want, "{:?}", policy);
            }
        }

        #[test]
        fn more_slots_never_hit_less(
            tokens in prop::collection::vec(prop::collection::vec(0u32..20, 1..5), 1..60),
        ) {
            let t = trace(&[tokens]);
            for policy in Policy::ALL {
                let rates: Vec<u64> = (0..20).map(|k| hits(&t, k, policy)).collect();
                prop_assert!(rates.windows(2).all(|w| w[0] <= w[1]), "{:?} {:?}", policy, rates);
            }
        }
    }
}
