//! The last quarter of an hour of a watch, second by second, and the worst of all of it.

use std::collections::VecDeque;

use gpuc_core::document::Sample;
use gpuc_core::units::floor_bytes;

use crate::svg::metric::{METRICS, Metric};

/// Seconds that are kept.
const KEPT: usize = 900;

/// The worst of a second.
#[derive(Debug, Clone)]
struct Second {
    at: u64,
    worst: [Option<f64>; METRICS.len()],
}

/// Readings over time.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    seconds: VecDeque<Second>,
    peaks: [Option<f64>; METRICS.len()],
}

fn join(metric: usize, a: Option<f64>, b: Option<f64>) -> Option<f64> {
    let least = METRICS.get(metric).is_some_and(Metric::is_least);
    let worse = if least { f64::min } else { f64::max };
    a.into_iter().chain(b).reduce(worse)
}

impl History {
    /// Takes in a sample made so many seconds after the start.
    pub(super) fn look(&mut self, at: f64, sample: &Sample) {
        let now = METRICS.map(|m| m.read(sample).filter(|x| x.is_finite()));
        for (i, peak) in self.peaks.iter_mut().enumerate() {
            *peak = join(i, *peak, now.get(i).copied().flatten());
        }
        // Time never runs backwards in a watch; should it, the reading counts as of now.
        let newest = self.seconds.back().map_or(0, |s| s.at);
        let at = floor_bytes(at).max(newest);
        match self.seconds.back_mut() {
            Some(last) if last.at == at => {
                for (i, worst) in last.worst.iter_mut().enumerate() {
                    *worst = join(i, *worst, now.get(i).copied().flatten());
                }
            }
            _ => self.seconds.push_back(Second { at, worst: now }),
        }
        if self.seconds.len() > KEPT {
            self.seconds.pop_front();
        }
    }

    /// The worst of a metric so far.
    pub(super) fn peak(&self, metric: usize) -> Option<f64> {
        self.peaks.get(metric).copied().flatten()
    }

    /// A metric over the `window` seconds up to `now` in so many cells, the last one being now; the
    /// worst of each. A cell without a look shows the look before, if that is no older than
    /// `patience` seconds.
    pub(super) fn cells(
        &self,
        metric: usize,
        now: f64,
        window: f64,
        cells: usize,
        patience: f64,
    ) -> Vec<Option<f64>> {
        let mut out = vec![None; cells];
        if cells == 0 || window <= 0.0 {
            return out;
        }
        // Cells begin at whole multiples of their width: what is drawn moves on cell by cell and
        // does not flicker in between.
        let width = window / cells as f64;
        let cell = |at: f64| i64::try_from(floor_bytes(at / width)).unwrap_or(i64::MAX);
        let first = cell(now) + 1 - i64::try_from(cells).unwrap_or(i64::MAX);
        let mut seen = vec![false; cells];
        let mut before: Option<(f64, Option<f64>)> = None;
        for second in &self.seconds {
            let value = second.worst.get(metric).copied().flatten();
            let at = second.at as f64;
            let Ok(index) = usize::try_from(cell(at) - first) else {
                before = Some((at, value));
                continue;
            };
            let index = index.min(cells - 1);
            if let (Some(slot), Some(seen)) = (out.get_mut(index), seen.get_mut(index)) {
                *slot = join(metric, *slot, value);
                *seen = true;
            }
        }
        let last = before.map_or(f64::NEG_INFINITY, |(at, _)| at);
        let (mut last, mut value) = (last, before.and_then(|(_, value)| value));
        for (i, (slot, seen)) in out.iter_mut().zip(seen).enumerate() {
            let at = (first as f64 + i as f64) * width;
            if seen {
                (last, value) = (at + width, *slot);
            } else if at - last <= patience {
                *slot = value;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(temp: Option<f64>, avail: f64) -> Sample {
        Sample {
            gpu_temp_c: temp,
            host_avail_mib: Some(avail),
            ..Sample::default()
        }
    }

    fn index(key: &str) -> usize {
        METRICS.iter().position(|m| m.key() == key).unwrap()
    }

    #[test]
    fn cells_hold_the_worst_and_a_missing_reading_is_a_gap() {
        let (temp, avail) = (index("gpu_temp_c"), index("host_avail_mib"));
        let mut history = History::default();
        for (at, t, a) in [
            (0.2, Some(50.0), 900.0),
            (0.7, Some(60.0), 800.0),
            (1.0, Some(55.0), 700.0),
            (2.0, None, 600.0),
            (5.0, Some(70.0), 950.0),
        ] {
            history.look(at, &sample(t, a));
        }
        let temps = history.cells(temp, 5.9, 8.0, 8, 1.5);
        let want = [Some(60.0), Some(55.0), None, None, None, Some(70.0)];
        assert_eq!(temps, [&[None, None][..], &want].concat());
        let left = history.cells(avail, 5.9, 8.0, 4, 0.0);
        assert_eq!(left, [None, Some(700.0), Some(600.0), Some(950.0)]);
        assert_eq!(history.peak(avail), Some(600.0));
        assert_eq!(history.peak(temp), Some(70.0));
    }

    #[test]
    fn a_day_takes_no_more_memory_than_a_quarter_of_an_hour() {
        let mut history = History::default();
        for s in 0..86_400 {
            history.look(f64::from(s), &sample(Some(f64::from(s)), 1.0));
        }
        assert_eq!(history.seconds.len(), KEPT);
    }
}
