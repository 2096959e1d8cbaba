//! How long a metric must stay past its limit before that is a breach.

use std::time::Duration;

use super::limit::Limit;
use crate::document::{Breach, Level, Sample};

/// The durations that were given; a metric without one breaches at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Durations(Vec<(Limit, Duration)>);

impl Durations {
    /// Gives `limit` a duration, in the place of one that it may have.
    pub fn give(&mut self, limit: Limit, lasts: Duration) {
        self.0.retain(|(l, _)| *l != limit);
        self.0.push((limit, lasts));
    }

    /// `base` with what was given in its place.
    #[must_use]
    pub fn over(&self, mut base: Self) -> Self {
        for (limit, lasts) in &self.0 {
            base.give(*limit, *lasts);
        }
        base
    }

    /// How long `limit` must be passed, where that was given.
    pub fn get(&self, limit: Limit) -> Option<Duration> {
        let found = self.0.iter().find(|(l, _)| *l == limit);
        found.map(|(_, lasts)| *lasts)
    }
}

/// Since when each metric has been past its limit.
#[derive(Debug, Clone, Default)]
pub(super) struct Hold {
    durations: Durations,
    since: Vec<(Limit, Duration)>,
}

impl Hold {
    pub(super) fn new(durations: Durations) -> Self {
        Self {
            durations,
            since: Vec::new(),
        }
    }

    /// From now on by these durations; what is past its limit already has been so all along.
    pub(super) fn reload(&mut self, durations: Durations) {
        self.durations = durations;
    }

    /// Whether a breach seen `at` is one that has held long enough.
    pub(super) fn is_over(&self, at: Duration, breach: &Breach) -> bool {
        let Some(limit) = Limit::of_metric(&breach.metric) else {
            return true;
        };
        let lasts = self.durations.get(limit).unwrap_or_default();
        let since = self.since.iter().find(|(l, _)| *l == limit);
        at.saturating_sub(since.map_or(at, |(_, since)| *since)) >= lasts
    }

    /// Takes note of what is past its limit; what is so for a moment only is worth a warning.
    pub(super) fn soften(&mut self, at: Duration, sample: &Sample, breaches: &mut [Breach]) {
        let mut past = Vec::new();
        for b in breaches.iter().filter(|b| b.level == Level::Abort) {
            past.extend(Limit::of_metric(&b.metric));
        }
        // What was not read says nothing about how long it has been so.
        self.since
            .retain(|(l, _)| past.contains(l) || l.value(sample).is_none());
        for limit in past {
            if !self.since.iter().any(|(l, _)| *l == limit) {
                self.since.push((limit, at));
            }
        }
        for b in breaches {
            if b.level == Level::Abort && !self.is_over(at, b) {
                b.level = Level::Warn;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hot(value: f64) -> (Sample, Vec<Breach>) {
        let sample = Sample {
            gpu_temp_c: Some(value),
            ..Sample::default()
        };
        let breach = Breach {
            metric: "gpu_temp_c".to_owned(),
            value,
            threshold: 87.0,
            level: Level::Abort,
        };
        (
            sample,
            (value >= 87.0).then_some(breach).into_iter().collect(),
        )
    }

    #[test]
    fn later_layers_replace_earlier_ones() {
        let s = Duration::from_secs;
        let (mut base, mut over) = (Durations::default(), Durations::default());
        base.give(Limit::Power, s(10));
        base.give(Limit::Swap, s(3));
        over.give(Limit::Power, s(1));
        over.give(Limit::Power, s(2));
        let all = over.over(base);
        assert_eq!(all.get(Limit::Power), Some(s(2)));
        assert_eq!(all.get(Limit::Swap), Some(s(3)));
        assert_eq!(all.get(Limit::Vram), None);
    }

    proptest! {
        /// However readings come and go, a breach is one exactly when every reading since a
        /// duration ago was past the limit.
        #[test]
        fn only_what_holds_is_a_breach(
            steps in proptest::collection::vec((1_u64..4, proptest::option::of(any::<bool>())), 1..40),
            lasts in 0_u64..8,
        ) {
            let mut durations = Durations::default();
            durations.give(Limit::Temperature, Duration::from_secs(lasts));
            let mut hold = Hold::new(durations);
            let mut at = 0;
            let mut since = None;
            for (gap, past) in steps {
                at += gap;
                let now = Duration::from_secs(at);
                let Some(past) = past else {
                    hold.soften(now, &Sample::default(), &mut []);
                    continue;
                };
                let (sample, mut breaches) = hot(if past { 90.0 } else { 50.0 });
                hold.soften(now, &sample, &mut breaches);
                since = past.then(|| since.unwrap_or(at));
                let want = since.map(|s| if at - s >= lasts { Level::Abort } else { Level::Warn });
                prop_assert_eq!(breaches.first().map(|b| b.level), want);
            }
        }
    }
}
