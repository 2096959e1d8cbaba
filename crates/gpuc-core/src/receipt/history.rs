//! A store's points over time: forecast against measured, and where a rig has drifted.

use std::collections::BTreeMap;

use serde::Serialize;

use super::drift::{Kind, Level, noise, place};
use crate::document::Point;
use crate::units::round_to;

/// One run of the past.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HistoryRow {
    /// ISO date.
    pub created: Option<String>,
    /// The model.
    pub model: String,
    /// Its quantisation.
    pub quant: Option<String>,
    /// Its `--n-cpu-moe`.
    pub n_cpu_moe: Option<u64>,
    /// Context that was already filled.
    pub depth: Option<u64>,
    /// The rig, as its owner calls it.
    pub rig: Option<String>,
    /// The build of llama.cpp.
    pub build: Option<String>,
    /// The driver.
    pub driver: Option<String>,
    /// Hottest reading of the card, °C.
    pub gpu_temp_c: Option<f64>,
    /// What was measured, tokens a second.
    pub measured_tok_s: Option<f64>,
    /// What was forecast.
    pub predicted_tok_s: Option<f64>,
    /// 100 × (measured − forecast) / forecast.
    pub error_pct: Option<f64>,
    /// 100 × measured / ceiling.
    pub of_ceiling_pct: Option<f64>,
    /// What this run may differ by from those before it and still be no drift, %.
    pub noise_pct: Option<f64>,
    /// What changed against the runs of the same kind before it, in words.
    pub drift: Option<String>,
}

/// Runs over time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct History {
    /// By date, and as the files are named within one.
    pub rows: Vec<HistoryRow>,
    /// How many runs drifted.
    pub drifted: u64,
}

/// The history of `points`; a run is compared by its rate with the median of those of the same
/// kind since the last drift.
pub fn history(points: &[Point]) -> History {
    let mut sorted: Vec<&Point> = points.iter().collect();
    sorted.sort_by(|a, b| a.created.cmp(&b.created));
    let mut before: BTreeMap<Kind<'_>, Vec<Level<'_>>> = BTreeMap::new();
    let mut out = History::default();
    for p in sorted {
        let levels = before.entry(Kind::of(p)).or_default();
        let noise = noise(levels, p);
        let drift = noise.and_then(|noise| place(levels, p, noise));
        if noise.is_none() {
            levels.push(vec![p]);
        }
        out.drifted += u64::from(drift.is_some());
        out.rows.push(row(p, noise, drift));
    }
    out
}

fn row(p: &Point, noise: Option<f64>, drift: Option<String>) -> HistoryRow {
    let percent = |x: f64| round_to(100.0 * x, 1);
    let share = |of: Option<f64>| Some(p.measured_tok_s? / of.filter(|x| *x > 0.0)?);
    HistoryRow {
        created: p.created.clone(),
        model: p.model.clone(),
        quant: p.quant.clone(),
        n_cpu_moe: p.n_cpu_moe,
        depth: p.depth,
        rig: p.rig.clone(),
        build: p.build.clone(),
        driver: p.driver.clone(),
        gpu_temp_c: p.gpu_temp_c,
        measured_tok_s: p.measured_tok_s,
        predicted_tok_s: p.predicted_tok_s,
        error_pct: share(p.predicted_tok_s).map(|x| percent(x - 1.0)),
        of_ceiling_pct: share(p.ceiling_tok_s).map(percent),
        noise_pct: noise.map(percent),
        drift,
    }
}

impl History {
    /// The table for a person.
    pub fn table(&self) -> String {
        let number = |x: Option<f64>| x.map_or_else(|| "-".into(), |x| format!("{x:.1}"));
        let mut text = format!(
            "{:10}  {:20}  {:>3}  {:>6}  {:>8}  {:>8}  {:>7}  {:>7}  {:>4}  {:10}  {:10}  drift\n",
            "date",
            "model",
            "N",
            "depth",
            "measured",
            "forecast",
            "error %",
            "noise %",
            "°C",
            "build",
            "driver"
        );
        let short = |s: Option<&str>, n: usize| -> String {
            let shown = s.unwrap_or("-").chars().filter(|c| !c.is_control());
            shown.take(n).collect()
        };
        for r in &self.rows {
            let line = format!(
                "{:10}  {:20}  {:>3}  {:>6}  {:>8}  {:>8}  {:>7}  {:>7}  {:>4}  {:10}  {:10}  {}",
                short(r.created.as_deref(), 10),
                short(Some(&r.model), 20),
                r.n_cpu_moe.unwrap_or(0),
                r.depth.map_or_else(|| "-".into(), |d| d.to_string()),
                number(r.measured_tok_s),
                number(r.predicted_tok_s),
                number(r.error_pct),
                number(r.noise_pct),
                r.gpu_temp_c
                    .map_or_else(|| "-".into(), |t| format!("{t:.0}")),
                short(r.build.as_deref(), 10),
                short(r.driver.as_deref(), 10),
                r.drift.as_deref().unwrap_or("")
            );
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(created: &str, measured: f64, build: &str) -> Point {
        Point {
            model: "m".into(),
            n_cpu_moe: Some(0),
            ceiling_tok_s: Some(100.0),
            measured_tok_s: Some(measured),
            predicted_tok_s: Some(50.0),
            created: Some(created.into()),
            build: Some(build.into()),
            driver: Some("550.54".into()),
            gpu_temp_c: Some(65.0),
            ..Point::default()
        }
    }

    fn drifts(points: &[Point]) -> Vec<Option<String>> {
        history(points).rows.into_iter().map(|r| r.drift).collect()
    }

    /// Five runs that differ by a percent, and one more.
    fn after_five(last: Point) -> Option<String> {
        let mut points: Vec<Point> = [50.0, 50.5, 49.5, 50.2, 49.8]
            .iter()
            .zip(1..)
            .map(|(rate, day)| run(&format!("2026-01-0{day}"), *rate, "b1"))
            .collect();
        points.push(last);
        drifts(&points).pop().unwrap()
    }

    #[test]
    fn a_change_is_named_once_with_what_changed() {
        let points = [
            run("2026-03-01", 51.0, "b2"),
            run("2026-01-01", 50.0, "b1"),
            run("2026-05-01", 59.0, "b3"),
            run("2026-04-01", 60.0, "b3"),
        ];
        let h = history(&points);
        let dates: Vec<_> = h
            .rows
            .iter()
            .map(|r| r.created.as_deref().unwrap())
            .collect();
        assert_eq!(
            dates,
            ["2026-01-01", "2026-03-01", "2026-04-01", "2026-05-01"]
        );
        let drift = drifts(&points);
        let named = drift[2].as_deref().unwrap();
        assert_eq!(
            named,
            "+19 % against 2 run(s) before: llama.cpp went from b2 to b3"
        );
        assert_eq!([&drift[0], &drift[1], &drift[3]], [&None, &None, &None]);
        assert_eq!((h.drifted, h.rows[0].error_pct), (1, Some(0.0)));
        assert_eq!(h.table().lines().count(), 5);
    }

    #[test]
    fn a_rate_that_comes_back_is_known_again() {
        let hot = Point {
            gpu_temp_c: Some(84.0),
            ..run("2026-01-04", 42.0, "b1")
        };
        let new = Point {
            driver: Some("580.82".into()),
            ..run("2026-01-06", 54.0, "b1")
        };
        let points = [
            run("2026-01-01", 50.0, "b1"),
            run("2026-01-02", 50.5, "b1"),
            run("2026-01-03", 49.8, "b1"),
            hot,
            run("2026-01-05", 50.2, "b1"),
            new,
        ];
        let drift = drifts(&points);
        assert_eq!([&drift[0], &drift[1], &drift[2]], [&None, &None, &None]);
        assert!(
            drift[3]
                .as_deref()
                .unwrap()
                .ends_with("at 84 °C instead of 65")
        );
        assert_eq!(
            drift[4].as_deref().unwrap(),
            "+20 % against 1 run(s) before: back at the rate of the 3 run(s) until 2026-01-03"
        );
        // What was learnt of the noise is not forgotten: 8 % is much on this rig.
        assert_eq!(
            drift[5].as_deref().unwrap(),
            "+8 % against 4 run(s) before: the driver went from 550.54 to 580.82"
        );
    }

    #[test]
    fn what_lies_within_the_noise_is_no_drift_whatever_changed() {
        let driver = |rate| Point {
            driver: Some("580.82".into()),
            gpu_temp_c: Some(80.0),
            ..run("2026-02-01", rate, "b2")
        };
        assert_eq!(after_five(driver(49.0)), None);
        let named = after_five(driver(47.0)).unwrap();
        assert_eq!(
            named,
            "-6 % against 5 run(s) before: llama.cpp went from b1 to b2; the driver went from \
             550.54 to 580.82; the card was at 80 °C instead of 65"
        );
        // The same rate, its repeats wide apart.
        let wide = Point {
            stddev_tok_s: Some(3.0),
            samples: Some(5),
            ..driver(47.0)
        };
        assert_eq!(after_five(wide), None);
        // Two runs do not tell what is usual: a tenth is then no drift yet.
        let two = [run("2026-01-01", 50.0, "b1"), run("2026-01-02", 45.5, "b2")];
        assert_eq!(drifts(&two), [None, None]);
    }

    #[test]
    fn heat_is_a_reason_to_be_slower_and_not_to_be_faster() {
        let hot = |rate| Point {
            gpu_temp_c: Some(84.0),
            ..run("2026-02-01", rate, "b1")
        };
        assert!(
            after_five(hot(40.0))
                .unwrap()
                .ends_with("the card was at 84 °C instead of 65")
        );
        let faster = after_five(hot(60.0)).unwrap();
        assert!(
            faster.contains("same build, driver and temperature"),
            "{faster}"
        );
        let capped = Point {
            gpu_power_pct: Some(99.5),
            ..run("2026-02-01", 40.0, "b1")
        };
        assert!(
            after_five(capped)
                .unwrap()
                .ends_with("into its power limit")
        );
        let silent = Point {
            driver: None,
            gpu_temp_c: None,
            ..run("2026-02-01", 40.0, "b1")
        };
        let text = after_five(silent).unwrap();
        assert!(
            text.ends_with("unknown: the driver, the temperature"),
            "{text}"
        );
    }

    #[test]
    fn other_placements_depths_and_cards_are_no_drift() {
        let first = run("2026-01-01", 50.0, "b1");
        let others = [
            Point {
                n_cpu_moe: Some(8),
                ..first.clone()
            },
            Point {
                depth: Some(32768),
                ..first.clone()
            },
            Point {
                gpu: Some("RTX 3060".into()),
                ..first.clone()
            },
            Point {
                cache_type_k: Some("q8_0".into()),
                ..first.clone()
            },
        ];
        for other in others {
            let other = Point {
                measured_tok_s: Some(10.0),
                ..other
            };
            assert_eq!(history(&[first.clone(), other]).drifted, 0);
        }
        assert_eq!(history(&[]), History::default());
    }

    proptest! {
        #[test]
        fn equal_runs_never_drift(
            rate in 0.1..1e4_f64,
            noise in prop::collection::vec(0.986..1.014_f64, 1..12),
        ) {
            let points: Vec<Point> = noise.iter().map(|n| run("2026-01-01", rate * n, "b")).collect();
            prop_assert_eq!(history(&points).drifted, 0);
        }
    }
}
