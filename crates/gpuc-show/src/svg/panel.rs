//! One metric of a watch over time, with its limit and its first breach.

use gpuc_core::document::Thresholds;

use super::axis::Axis;
use super::canvas::{Canvas, LEFT, RIGHT};
use super::metric::{METRICS, Metric, Unit};
use super::number::Px;
use super::paint::{Line, Mark};
use super::track::{Alarm, Column, Lines, Track};
use super::trajectory::duration;

const HEIGHT: f64 = 92.0;
/// Of a share of a whole, a limit beyond this many percent is none: that is how it is switched off.
const OFF_PCT: f64 = 200.0;

/// A metric's own plot.
pub(super) struct Panel<'a> {
    index: usize,
    metric: &'a Metric,
    lines: Lines,
    alarm: Option<&'a Alarm>,
    track: &'a Track,
    time: &'a Axis,
    low: f64,
    high: f64,
}

impl<'a> Panel<'a> {
    /// That of the metric of this index; none where there is nothing to see.
    pub(super) fn of(
        track: &'a Track,
        index: usize,
        limits: Option<&Thresholds>,
        time: &'a Axis,
    ) -> Option<Self> {
        let metric = METRICS.get(index)?;
        let named = track.lines.get(index).copied().unwrap_or_default();
        let lines = limits.map_or(named, |t| {
            let (limit, warn) = metric.lines(t);
            Lines { limit, warn }
        });
        let ranges = || track.columns.iter().filter_map(|c| range(c, index));
        let low = ranges().map(|r| r.0).reduce(f64::min)?;
        let high = ranges().map(|r| r.1).reduce(f64::max)?;
        // Swap that is never used and that nothing limits is no news.
        let is_optional = metric
            .limit
            .is_some_and(gpuc_core::safety::Limit::is_optional);
        let is_news = high > 0.0 || lines.limit.is_some() || !is_optional;
        is_news.then_some(Self {
            index,
            metric,
            lines,
            alarm: track.alarms.iter().find(|a| a.metric == metric.key()),
            track,
            time,
            low,
            high,
        })
    }

    /// Below what is there; the last of several has the axis of time.
    pub(super) fn draw(&self, canvas: &mut Canvas, is_last: bool) {
        canvas.heading(&self.heading());
        let axis = self.axis();
        let (top, bottom) = (canvas.y + 8.0, canvas.y + 8.0 + HEIGHT);
        canvas.left_axis(&axis, top, bottom);
        if is_last {
            canvas.bottom_axis(self.time, bottom, HEIGHT, "time since the watch began");
        } else {
            for (at, _) in &self.time.ticks {
                let x = self.time.at(*at, LEFT, RIGHT);
                canvas.stroke("grid", x, top, x, bottom);
            }
            canvas.stroke("axis", LEFT, bottom, RIGHT, bottom);
        }
        let scale = self.metric.unit.scale();
        let y = |value: f64| axis.at(value * scale, bottom, top);
        canvas.path("range", &self.envelope(&y));
        let mut taken = Vec::new();
        for (line, value) in [
            (Line::Warn, self.lines.warn),
            (Line::Limit, self.lines.limit),
        ] {
            if let Some(value) = value.filter(|v| v * scale <= axis.high) {
                canvas.line(line, LEFT, y(value), RIGHT, y(value));
                taken.push([(LEFT, y(value)), (RIGHT, y(value))]);
            }
        }
        for decision in &self.track.decisions {
            let x = self.time.at(decision.at, LEFT, RIGHT);
            canvas.stroke("faint", x, top, x, bottom);
        }
        if let Some(alarm) = self.alarm {
            let (x, y) = (self.time.at(alarm.at, LEFT, RIGHT), y(alarm.value));
            canvas.stroke("edge", x, top, x, bottom);
            canvas.mark(Mark::Cross, x, y);
            let value = self.metric.unit.words(alarm.value);
            let words = format!("{value} after {}", duration(alarm.at));
            let taken: Vec<&[(f64, f64)]> = taken.iter().map(<[_; 2]>::as_slice).collect();
            canvas.beside((x, y), (top, bottom), &words, &taken);
        }
        canvas.y = if is_last { bottom + 40.0 } else { bottom };
    }

    fn axis(&self) -> Axis {
        let unit = self.metric.unit;
        let (low, high) = (self.low * unit.scale(), self.high * unit.scale());
        let limit = self.lines.limit.map(|l| l * unit.scale());
        let above = limit.unwrap_or(high).max(high);
        match unit {
            Unit::Percent if limit.is_some_and(|l| l > OFF_PCT) => {
                Axis::from_zero(high.max(100.0), 4.0)
            }
            Unit::Percent => Axis::from_zero(above.max(100.0), 4.0),
            Unit::Celsius => Axis::around(low, above, 4.0),
            Unit::PercentOfTime | Unit::Gib => Axis::from_zero(above, 4.0),
        }
    }

    fn heading(&self) -> String {
        let (title, unit) = (self.metric.title, self.metric.unit);
        let seen = if self.metric.is_least() {
            format!("at least {}", unit.words(self.low))
        } else {
            format!("at most {}", unit.words(self.high))
        };
        match self.lines.limit {
            Some(limit) => format!("{title}: {seen}, limit {}", unit.words(limit)),
            None => format!("{title}: {seen}"),
        }
    }

    /// From the most of each column to the least of it and back, one outline for each stretch
    /// without a missing reading.
    fn envelope(&self, y: &dyn Fn(f64) -> f64) -> String {
        let mut d = String::new();
        let mut stretch: Vec<(f64, f64, f64)> = Vec::new();
        for column in &self.track.columns {
            let Some((low, high)) = range(column, self.index) else {
                outline(&mut d, &mut stretch);
                continue;
            };
            let at = column.index as f64 * self.track.width;
            stretch.push((self.time.at(at, LEFT, RIGHT), y(low), y(high)));
        }
        outline(&mut d, &mut stretch);
        d
    }
}

fn range(column: &Column, index: usize) -> Option<(f64, f64)> {
    column.ranges.get(index).copied().flatten()
}

fn outline(d: &mut String, stretch: &mut Vec<(f64, f64, f64)>) {
    if let [(x, low, high)] = stretch.as_slice() {
        // A single look is a dash.
        let (x, low, high) = (*x, *low, *high);
        *stretch = vec![(x - 2.0, low, high), (x + 2.0, low, high)];
    }
    let there = stretch.iter().map(|(x, _, high)| (*x, *high));
    let back = stretch.iter().rev().map(|(x, low, _)| (*x, *low));
    for (i, (x, y)) in there.chain(back).enumerate() {
        d.push(if i == 0 { 'M' } else { 'L' });
        *d += &format!("{} {}", Px(x), Px(y));
    }
    if !stretch.is_empty() {
        d.push('z');
    }
    stretch.clear();
}
