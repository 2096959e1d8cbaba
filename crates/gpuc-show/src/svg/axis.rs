//! Axes: where the ticks are, what they say, and where a value lies.

use super::canvas::{LEFT, RIGHT};
use super::number::decimals;
use super::text;

/// Beyond this nothing is measured; what is computed from it stays finite.
const LARGEST: f64 = 1e100;

/// A linear axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Values with their labels.
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to the first tick at or past `high`, with `most` steps at most or hardly more.
    pub(crate) fn from_zero(high: f64, most: f64) -> Self {
        let high = sane(high);
        let high = if high > 0.0 { high } else { 1.0 };
        let step = step(high / most);
        Self::stepped(0.0, (high / step - 1e-9).ceil() * step, step)
    }

    /// Over `low` to `high`, from tick to tick.
    pub(crate) fn around(low: f64, high: f64, most: f64) -> Self {
        let (low, high) = (sane(low).min(sane(high)), sane(low).max(sane(high)));
        let spread = (high - low).max(high.abs().max(low.abs()) * 1e-6).max(1e-6);
        let step = step(spread / most);
        let first = (low / step + 1e-9).floor() * step;
        let last = (high / step - 1e-9).ceil() * step;
        Self::stepped(first, last.max(first + step), step)
    }

    /// From 0 to `high` and no further, so that the last tick may lie before the end.
    pub(crate) fn up_to(high: f64, most: f64) -> Self {
        let high = sane(high);
        let high = if high > 0.0 { high } else { 1.0 };
        Self::stepped(0.0, high, step(high / most))
    }

    /// Whole numbers from 0 to `last` and no further.
    pub(crate) fn counts(last: u64, most: f64) -> Self {
        let high = sane(last.max(1) as f64);
        let step = step(high / most).max(1.0);
        let mut axis = Self::stepped(0.0, high, step);
        // The last one is a number that people know: how many there are. It is shown where it
        // keeps clear of the tick before it, even moved to the left of its place.
        let beyond = axis.ticks.last().map_or(0.0, |(tick, _)| high - tick);
        let label = decimals(high, 0);
        if beyond / high * (RIGHT - LEFT) > 1.5 * text::width(&label, 12.0) + 10.0 {
            axis.ticks.push((high, label));
        }
        axis
    }

    /// Seconds from 0 to `high` and no further, in the units that a clock has.
    pub(crate) fn time(high: f64, most: f64) -> Self {
        const STEPS: [(f64, f64, &str); 17] = [
            (1.0, 1.0, "s"),
            (2.0, 1.0, "s"),
            (5.0, 1.0, "s"),
            (10.0, 1.0, "s"),
            (20.0, 1.0, "s"),
            (30.0, 1.0, "s"),
            (60.0, 60.0, "min"),
            (120.0, 60.0, "min"),
            (300.0, 60.0, "min"),
            (600.0, 60.0, "min"),
            (1200.0, 60.0, "min"),
            (1800.0, 60.0, "min"),
            (3600.0, 3600.0, "h"),
            (7200.0, 3600.0, "h"),
            (21600.0, 3600.0, "h"),
            (43200.0, 3600.0, "h"),
            (86400.0, 86400.0, "d"),
        ];
        let high = sane(high);
        let high = if high > 0.0 { high } else { 1.0 };
        let least = high / most;
        let fits = STEPS.iter().find(|(step, ..)| *step >= least);
        let (step, unit, name) = match fits {
            Some(found) if least > 0.5 => *found,
            Some(_) => (step(least), 1.0, "s"),
            None => (step(least / 86400.0) * 86400.0, 86400.0, "d"),
        };
        let places = places(step / unit);
        let mut axis = Self::stepped(0.0, high, step);
        for (at, label) in &mut axis.ticks {
            *label = format!("{} {name}", decimals(*at / unit, places));
        }
        axis
    }

    /// Where `x` lies between `from` (the low end) and `to`; what is beyond an end lies at it.
    pub(crate) fn at(&self, x: f64, from: f64, to: f64) -> f64 {
        let share = (sane(x) - self.low) / (self.high - self.low);
        from + share.clamp(0.0, 1.0) * (to - from)
    }

    fn stepped(low: f64, high: f64, step: f64) -> Self {
        let places = places(step);
        let ticks = (0..64)
            .map(|i| low + f64::from(i) * step)
            .take_while(|tick| *tick <= high + step * 1e-6)
            .map(|tick| (tick, decimals(tick, places)))
            .collect();
        Self { low, high, ticks }
    }
}

fn sane(x: f64) -> f64 {
    if x.is_finite() {
        x.clamp(-LARGEST, LARGEST)
    } else {
        0.0
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `least`.
fn step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .iter()
        .map(|m| m * power)
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// Decimals that tell multiples of `step` apart.
fn places(step: f64) -> usize {
    (0..6usize)
        .find(|places| {
            let scaled = step * 10f64.powf(*places as f64);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0) && scaled >= 0.5
        })
        .unwrap_or(6)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_told_apart() {
        assert_eq!(
            labels(&Axis::from_zero(57.85, 6.0)),
            ["0", "10", "20", "30", "40", "50", "60"]
        );
        assert_eq!(labels(&Axis::from_zero(1.0, 4.0)), ["0.0", "0.5", "1.0"]);
        assert_eq!(
            labels(&Axis::up_to(11.33, 6.0)),
            ["0", "2", "4", "6", "8", "10"]
        );
        assert_eq!(labels(&Axis::counts(3, 10.0)), ["0", "1", "2", "3"]);
        assert_eq!(labels(&Axis::counts(0, 10.0)), ["0", "1"]);
        assert_eq!(
            labels(&Axis::counts(28, 6.0)),
            ["0", "5", "10", "15", "20", "25", "28"]
        );
        assert_eq!(
            labels(&Axis::counts(131_072, 12.0)).last(),
            Some(&"120,000")
        );
        assert_eq!(labels(&Axis::counts(1001, 6.0)).last(), Some(&"1,000"));
        assert_eq!(
            labels(&Axis::around(41.0, 87.0, 5.0)),
            ["40", "50", "60", "70", "80", "90"]
        );
        assert_eq!(
            labels(&Axis::from_zero(25_000.0, 3.0)),
            ["0", "10,000", "20,000", "30,000"]
        );
        assert_eq!(
            labels(&Axis::time(100.0, 6.0)),
            ["0 s", "20 s", "40 s", "60 s", "80 s", "100 s"]
        );
        assert_eq!(
            labels(&Axis::time(2.0, 5.0)),
            ["0.0 s", "0.5 s", "1.0 s", "1.5 s", "2.0 s"]
        );
        assert_eq!(
            labels(&Axis::time(1000.0, 4.0)),
            ["0 min", "5 min", "10 min", "15 min"]
        );
        assert_eq!(labels(&Axis::time(1e6, 4.0)), ["0 d", "5 d", "10 d"]);
    }

    proptest! {
        #[test]
        fn every_axis_holds_its_values(low in any::<f64>(), high in any::<f64>(), x in any::<f64>()) {
            let axes = [
                Axis::from_zero(high, 5.0),
                Axis::up_to(high, 5.0),
                Axis::around(low, high, 5.0),
                Axis::time(high, 5.0),
            ];
            for axis in axes {
                prop_assert!(axis.low < axis.high, "{:?}", axis);
                prop_assert!(!axis.ticks.is_empty() && axis.ticks.len() < 20, "{:?}", axis);
                let at = axis.at(x, 10.0, 20.0);
                prop_assert!((10.0..=20.0).contains(&at), "{:?} {}", axis, x);
            }
        }
    }
}
