//! The picture of a watch: each metric over time against its limits, and the breach.

use gpuc_core::document::{Safety, Thresholds};

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, LEFT, RIGHT};
use super::metric::METRICS;
use super::number::decimals;
use super::paint::{Fill, Line, Mark, Swatch};
use super::panel::Panel;
use super::picture::Picture;
use super::track::{Alarm, Decision, Track, said};

const STRIP: f64 = 16.0;
/// The width of the number of a decision.
const NUMBER: f64 = 16.0;

impl Track {
    /// The trajectory; without the limits in force, those that its breaches named.
    pub fn picture(&self, limits: Option<&Thresholds>) -> Picture {
        let mut canvas = Canvas::new("watch", &self.title());
        let words = self.words(limits.is_some());
        canvas.paragraph("dim", &words, 4);
        if self.is_empty() {
            return canvas.finish(&words);
        }
        let time = Axis::time(self.end(), 8.0);
        self.strip(&mut canvas, &time);
        self.decisions(&mut canvas, &time);
        let panels: Vec<Panel<'_>> = (0..METRICS.len())
            .filter_map(|i| Panel::of(self, i, limits, &time))
            .collect();
        for (i, panel) in panels.iter().enumerate() {
            panel.draw(&mut canvas, i + 1 == panels.len());
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
            (n, None) => {
                let n = decimals(n as f64, 0);
                format!("Watchdog: {n} looks over {over}, within the limits")
            }
            (_, Some(alarm)) => format!("Watchdog: {}", event(alarm)),
        }
    }

    fn words(&self, limits_known: bool) -> String {
        // The first one is in the title.
        let others = self.alarms.iter().skip(1);
        let mut words: Vec<String> = others.map(|alarm| event(alarm) + ".").collect();
        if self.runs > 1 {
            words.push(format!("The last of {} runs in the log.", self.runs));
        }
        if self.skipped > 0 {
            let skipped = decimals(self.skipped as f64, 0);
            words.push(format!(
                "Lines left out, since they are no looks: {skipped}."
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

    /// What was decided over time, numbered, and each in words.
    fn decisions(&self, canvas: &mut Canvas, time: &Axis) {
        if self.decisions.is_empty() {
            return;
        }
        canvas.y += 8.0;
        let top = canvas.y;
        canvas.text("tick", LEFT - 8.0, top + 12.0, Anchor::End, "decisions");
        let at = |d: &Decision| time.at(d.at, LEFT, RIGHT);
        let numbered: Vec<(usize, f64)> = (1..).zip(self.decisions.iter().map(at)).collect();
        // What is too near to be told apart is numbered together.
        for near in numbered.chunk_by(|a, b| b.1 - a.1 < NUMBER) {
            let (Some((first, x)), Some((last, _))) = (near.first(), near.last()) else {
                continue;
            };
            for (_, x) in near {
                canvas.stroke("edge", *x, top, *x, top + STRIP);
            }
            let words = if first == last {
                first.to_string()
            } else {
                format!("{first}–{last}")
            };
            let (x, anchor) = if *x > RIGHT - 2.0 * NUMBER {
                (x - 4.0, Anchor::End)
            } else {
                (near.last().map_or(*x, |(_, x)| *x) + 4.0, Anchor::Start)
            };
            canvas.text("tick", x, top + 12.0, anchor, &words);
        }
        canvas.y = top + STRIP + 2.0;
        let words = (1..).zip(&self.decisions).map(|(n, d)| {
            let what = said(d.what).unwrap_or_default();
            format!("{n}: {what} after {}", duration(d.at))
        });
        let mut words: Vec<String> = words.collect();
        if self.more_decisions > 0 {
            let more = decimals(self.more_decisions as f64, 0);
            words.push(format!("and {more} more"));
        }
        canvas.paragraph("dim", &(words.join("; ") + "."), 8);
    }
}

/// A first breach in words.
fn event(alarm: &Alarm) -> String {
    let after = duration(alarm.at);
    if alarm.metric == "gpu_blind_polls" {
        return format!("GPUs that no longer answered after {after}");
    }
    let known = METRICS.iter().find(|m| m.key() == alarm.metric);
    let name = known.map_or(alarm.metric.as_str(), |m| m.title);
    format!("{name} past its limit after {after}")
}

/// Seconds as a person says them.
pub(super) fn duration(seconds: f64) -> String {
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
    use gpuc_core::document::{Breach, Happening, Level, LogLine, Report, Sample};
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
        for (at, what) in [
            (2.0, Happening::ActionDone),
            (2.02, Happening::Term),
            (2.9, Happening::Kill),
            (3.0, Happening::Reaped),
        ] {
            track.decided(at, what);
        }
        let picture = track.picture(Some(&Thresholds::default()));
        insta::assert_snapshot!(without_style(&checked(&picture)));
    }

    prop_compose! {
        fn log_line()(
            t in hostile(),
            elapsed_s in prop_oneof![4 => 0.0..1e4f64, 1 => any::<f64>()],
            readings in prop::array::uniform10(maybe()),
            breaches in prop::collection::vec((hostile(), any::<bool>(), any::<bool>()), 0..3),
        ) -> LogLine {
            let [power, temp, vram, util, used, left, rss, group, swap, psi] = readings;
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
                    job_rss_mib: rss,
                    cgroup_mem_pct: group,
                    swap_pct: swap,
                    psi_full_avg10: psi,
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
            decisions in prop::collection::vec(0.0..2e4f64, 0..40),
            limits in any::<bool>(),
        ) {
            let mut track = Track::new();
            for line in &lines {
                // What is not finite is written as null, which is no time.
                track.line(&serde_json::to_vec(line).unwrap());
                track.line(&noise);
                track.event(&noise);
            }
            for at in decisions {
                track.decided(at, Happening::Reloaded);
            }
            let svg = checked(&track.picture(limits.then(Thresholds::default).as_ref()));
            prop_assert!(svg.len() < 1 << 20);
        }
    }
}
