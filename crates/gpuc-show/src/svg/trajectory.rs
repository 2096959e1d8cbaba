//! The picture of a watch: each metric over time against its limits, and the breach.

use gpuc_core::document::{Safety, Thresholds};

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, LEFT, RIGHT};
use super::metric::{Limit, METRICS, Metric};
use super::number::{Px, decimals};
use super::paint::{Fill, Line, Mark, Swatch};
use super::picture::Picture;
use super::track::{Alarm, Column, Lines, Track};

const STRIP: f64 = 16.0;
const PANEL: f64 = 92.0;

impl Track {
    /// The trajectory; without the limits in force, those that its breaches named.
    pub fn picture(&self, limits: Option<&Thresholds>) -> Picture {
        let mut canvas = Canvas::new("watch", &self.title());
        let words = self.words(limits.is_some());
        canvas.paragraph("dim", &words, 4);
        if self.is_empty() {
            return canvas.finish(&words);
        }
        let time = Axis::time(self.last.max(self.width), 8.0);
        self.strip(&mut canvas, &time);
        let read = |i: usize| move |c: &Column| c.ranges.get(i).copied().flatten();
        let drawn: Vec<usize> = (0..METRICS.len())
            .filter(|i| self.columns.iter().any(|c| read(*i)(c).is_some()))
            .collect();
        for (i, metric) in METRICS.iter().enumerate() {
            if !drawn.contains(&i) {
                continue;
            }
            let named = self.lines.get(i).copied().unwrap_or_default();
            let panel = Panel {
                metric,
                lines: limits.map_or(named, |t| lines(metric, t)),
                alarm: self.alarms.iter().find(|a| a.metric == metric.key),
                track: self,
                time: &time,
                is_last: drawn.last() == Some(&i),
            };
            panel.draw(&mut canvas, &read(i));
        }
        canvas.legend(&[
            (Swatch::Class("range"), "readings, least to most".into()),
            (Swatch::Line(Line::Limit), "limit".into()),
            (Swatch::Line(Line::Warn), "warning".into()),
            (Swatch::Mark(Mark::Cross), "first breach".into()),
        ]);
        canvas.finish(&format!("Each metric over time with its limits. {words}"))
    }

    fn title(&self) -> String {
        let over = duration(self.last);
        match (self.looks, self.alarms.first()) {
            (0, _) => "Watchdog: nothing was seen".to_owned(),
            (1, None) => "Watchdog: one look, within the limits".to_owned(),
            (n, None) => format!("Watchdog: {n} looks over {over}, within the limits"),
            (_, Some(alarm)) => format!(
                "Watchdog: {} breached after {}",
                name(&alarm.metric),
                duration(alarm.at)
            ),
        }
    }

    fn words(&self, limits_known: bool) -> String {
        let mut words = Vec::new();
        for alarm in &self.alarms {
            words.push(format!(
                "{} was past its limit first at {}.",
                name(&alarm.metric),
                duration(alarm.at)
            ));
        }
        if self.runs > 1 {
            words.push(format!("The last of {} runs in the log.", self.runs));
        }
        if self.skipped > 0 {
            words.push(format!(
                "{} lines of it are no looks and left out.",
                self.skipped
            ));
        }
        if !limits_known {
            words.push("The log does not name limits: shown are those that were crossed.".into());
        }
        words.join(" ")
    }

    /// The verdict over time.
    fn strip(&self, canvas: &mut Canvas, time: &Axis) {
        canvas.y += 12.0;
        let top = canvas.y;
        canvas.text("tick", LEFT - 8.0, top + 12.0, Anchor::End, "verdict");
        let x = |index: u64| time.at(index as f64 * self.width, LEFT, RIGHT);
        let mut columns = self.columns.iter().peekable();
        while let Some(first) = columns.next() {
            // What holds until the next look.
            let mut end = u64::MAX;
            while let Some(next) = columns.peek() {
                if next.worst != first.worst {
                    end = next.index;
                    break;
                }
                columns.next();
            }
            let from = x(first.index);
            let to = if end == u64::MAX { RIGHT } else { x(end) };
            let fill = match first.worst {
                Safety::Ok => Fill::Ok,
                Safety::Warn => Fill::Warn,
                Safety::Abort => Fill::Abort,
            };
            // A verdict is seen however short it held.
            let from = from.min(RIGHT - 3.0);
            canvas.area(fill, from, top, (to - from).max(3.0), STRIP);
        }
        canvas.y = top + STRIP + 4.0;
        canvas.legend(&[
            (Swatch::Fill(Fill::Ok), "ok".into()),
            (Swatch::Fill(Fill::Warn), "near a limit".into()),
            (Swatch::Fill(Fill::Abort), "past a limit".into()),
        ]);
    }
}

/// A metric's own plot.
struct Panel<'a> {
    metric: &'a Metric,
    lines: Lines,
    alarm: Option<&'a Alarm>,
    track: &'a Track,
    time: &'a Axis,
    is_last: bool,
}

impl Panel<'_> {
    fn draw(&self, canvas: &mut Canvas, read: &dyn Fn(&Column) -> Option<(f64, f64)>) {
        let (metric, scale) = (self.metric, self.metric.scale);
        let ranges = || self.track.columns.iter().filter_map(read);
        let low = ranges().map(|r| r.0).fold(f64::INFINITY, f64::min) * scale;
        let high = ranges().map(|r| r.1).fold(f64::NEG_INFINITY, f64::max) * scale;
        let limit = self.lines.limit.map(|l| l * scale);
        canvas.heading(&self.heading(low, high));
        let above = limit.unwrap_or(high).max(high);
        let axis = match metric.unit {
            "%" => Axis::from_zero(above.max(100.0), 4.0),
            "°C" => Axis::around(low, above, 4.0),
            _ => Axis::from_zero(above, 4.0),
        };
        let (top, bottom) = (canvas.y + 8.0, canvas.y + 8.0 + PANEL);
        canvas.left_axis(&axis, top, bottom);
        if self.is_last {
            canvas.bottom_axis(self.time, bottom, PANEL, "time since the watch began");
        } else {
            for (at, _) in &self.time.ticks {
                let x = self.time.at(*at, LEFT, RIGHT);
                canvas.stroke("grid", x, top, x, bottom);
            }
            canvas.stroke("axis", LEFT, bottom, RIGHT, bottom);
        }
        let y = |value: f64| axis.at(value * scale, bottom, top);
        let d = self.envelope(read, &y);
        canvas.path("range", &d);
        if let Some(warn) = self.lines.warn {
            canvas.line(Line::Warn, LEFT, y(warn), RIGHT, y(warn));
        }
        if let Some(limit) = self.lines.limit {
            canvas.line(Line::Limit, LEFT, y(limit), RIGHT, y(limit));
        }
        if let Some(alarm) = self.alarm {
            let x = self.time.at(alarm.at, LEFT, RIGHT);
            canvas.stroke("edge", x, top, x, bottom);
            canvas.mark(Mark::Cross, x, y(alarm.value));
            let words = format!(
                "{} after {}",
                self.value(alarm.value * scale),
                duration(alarm.at)
            );
            let lines = [self.lines.warn, self.lines.limit]
                .map(|l| l.map_or_else(Vec::new, |l| vec![(LEFT, y(l)), (RIGHT, y(l))]));
            let [warn, limit] = &lines;
            canvas.beside((x, y(alarm.value)), (top, bottom), &words, &[warn, limit]);
        }
        canvas.y = if self.is_last { bottom + 40.0 } else { bottom };
    }

    fn value(&self, x: f64) -> String {
        format!("{} {}", decimals(x, self.metric.places), self.metric.unit)
    }

    fn heading(&self, low: f64, high: f64) -> String {
        let scale = self.metric.scale;
        let seen = match self.metric.limit {
            Limit::Least(_) => format!("at least {}", self.value(low)),
            _ => format!("at most {}", self.value(high)),
        };
        let title = self.metric.title;
        match self.lines.limit {
            Some(limit) => format!("{title}: {seen}, limit {}", self.value(limit * scale)),
            None => format!("{title}: {seen}"),
        }
    }

    /// From the most of each column to the least of it and back, one outline for each stretch
    /// without a missing reading.
    fn envelope(
        &self,
        read: &dyn Fn(&Column) -> Option<(f64, f64)>,
        y: &dyn Fn(f64) -> f64,
    ) -> String {
        let mut d = String::new();
        let mut stretch: Vec<(f64, f64, f64)> = Vec::new();
        for column in &self.track.columns {
            let Some((low, high)) = read(column) else {
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

/// Both lines of a metric under these thresholds.
fn lines(metric: &Metric, t: &Thresholds) -> Lines {
    let (limit, warn) = match metric.limit {
        Limit::Most(limit) => (limit(t), limit(t) * t.warn_fraction),
        Limit::Least(limit) => (limit(t), limit(t) / t.warn_fraction),
        Limit::None => return Lines::default(),
    };
    Lines {
        limit: Some(limit),
        warn: Some(warn).filter(|w| w.is_finite()),
    }
}

/// A metric in words.
fn name(key: &str) -> &str {
    let known = METRICS.iter().find(|m| m.key == key);
    known.map_or(key, |m| m.title)
}

/// Seconds as a person says them.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{} s", decimals(s, 1)),
        s if s < 120.0 => format!("{} s", decimals(s, 0)),
        s if s < 7200.0 => format!("{} min", decimals(s / 60.0, 1)),
        s if s < 172_800.0 => format!("{} h", decimals(s / 3600.0, 1)),
        s => format!("{} days", decimals(s / 86400.0, 1)),
    }
}

#[cfg(test)]
mod tests {
    use gpuc_core::document::{Breach, Level, LogLine, Report, Sample};
    use proptest::prelude::*;

    use super::*;
    use crate::svg::tests::{checked, hostile, maybe, without_style};

    #[test]
    fn a_short_run() {
        let mut track = Track::new();
        // The second look finds no GPU, the third a hot one.
        for (at, temp) in [
            (0.0, Some(50.0)),
            (1.0, None),
            (2.0, Some(90.0)),
            (3.0, Some(88.0)),
        ] {
            let hot = temp.filter(|t| *t >= 87.0).map(|value| Breach {
                metric: "gpu_temp_c".into(),
                value,
                threshold: 87.0,
                level: Level::Abort,
            });
            let report = Report {
                verdict: if hot.is_some() {
                    Safety::Abort
                } else {
                    Safety::Ok
                },
                breaches: hot.into_iter().collect(),
                sample: Sample {
                    gpu_temp_c: temp,
                    host_mem_pct: Some(40.0),
                    ..Sample::default()
                },
                action_taken: None,
            };
            track.look(at, &report);
        }
        let picture = track.picture(Some(&Thresholds::default()));
        insta::assert_snapshot!(without_style(&checked(&picture)));
    }

    prop_compose! {
        fn log_line()(
            t in hostile(),
            elapsed_s in prop_oneof![4 => 0.0..1e4f64, 1 => any::<f64>()],
            readings in prop::array::uniform6(maybe()),
            breaches in prop::collection::vec((hostile(), any::<bool>(), any::<bool>()), 0..3),
        ) -> LogLine {
            let [power, temp, vram, util, used, left] = readings;
            let breach = |(metric, known, abort): (String, bool, bool)| Breach {
                metric: if known { "gpu_temp_c".into() } else { metric },
                value: 91.0,
                threshold: 87.0,
                level: if abort { Level::Abort } else { Level::Warn },
            };
            LogLine {
                t,
                elapsed_s,
                verdict: if breaches.is_empty() { Safety::Ok } else { Safety::Abort },
                sample: Sample {
                    gpu_power_pct: power,
                    gpu_temp_c: temp,
                    gpu_vram_pct: vram,
                    gpu_util_pct: util,
                    host_mem_pct: used,
                    host_avail_mib: left,
                    ..Sample::default()
                },
                breaches: breaches.into_iter().map(breach).collect(),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_log_is_drawn(
            lines in prop::collection::vec(log_line(), 0..40),
            noise in prop::collection::vec(any::<u8>(), 0..60),
            limits in any::<bool>(),
        ) {
            let mut track = Track::new();
            for line in &lines {
                // What is not finite is written as null, which is no time.
                track.line(&serde_json::to_vec(line).unwrap());
                track.line(&noise);
            }
            let svg = checked(&track.picture(limits.then(Thresholds::default).as_ref()));
            prop_assert!(svg.len() < 1 << 20);
        }
    }
}
