//! A store's points over time: forecast against measured, and where a rig has drifted.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::document::Point;
use crate::units::round_to;

/// A run this far off the ones before it, relative, is a drift and no longer noise.
const DRIFT: f64 = 0.10;

/// One run of the past.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// The rig, as its owner calls it.
    pub rig: Option<String>,
    /// The build of llama.cpp.
    pub build: Option<String>,
    /// What was measured, tokens a second.
    pub measured_tok_s: Option<f64>,
    /// What was forecast.
    pub predicted_tok_s: Option<f64>,
    /// 100 × (measured − forecast) / forecast.
    pub error_pct: Option<f64>,
    /// 100 × measured / ceiling.
    pub of_ceiling_pct: Option<f64>,
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

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The history of `points`; a run is compared by its share of the ceiling with the median of
/// those of the same model, quantisation and placement before it.
pub fn history(points: &[Point]) -> History {
    let mut sorted: Vec<&Point> = points.iter().collect();
    sorted.sort_by(|a, b| a.created.cmp(&b.created));
    let mut before: BTreeMap<_, Vec<(f64, Option<&str>)>> = BTreeMap::new();
    let mut out = History::default();
    for p in sorted {
        let share = p
            .measured_tok_s
            .zip(p.ceiling_tok_s.filter(|c| *c > 0.0))
            .map(|(m, c)| m / c);
        let kind = (&p.model, &p.quant, p.n_cpu_moe, &p.rig);
        let earlier = before.entry(kind).or_default();
        let usual = median(earlier.iter().map(|(share, _)| *share).collect());
        let drift = usual.zip(share).and_then(|(usual, share)| {
            let off = share / usual - 1.0;
            (off.is_finite() && off.abs() > DRIFT).then(|| {
                let last = earlier.last().and_then(|(_, build)| *build);
                let cause = match (last, p.build.as_deref()) {
                    (Some(a), Some(b)) if a != b => format!("llama.cpp went from {a} to {b}"),
                    (Some(_), Some(_)) => "same build: a driver, heat, or another job?".into(),
                    _ => "builds not recorded".into(),
                };
                let share = 100.0 * off;
                format!(
                    "{share:+.0} % against {} run(s) before: {cause}",
                    earlier.len()
                )
            })
        });
        if let Some(share) = share {
            earlier.push((share, p.build.as_deref()));
        }
        out.drifted += u64::from(drift.is_some());
        let percent = |x: f64| round_to(100.0 * x, 1);
        out.rows.push(HistoryRow {
            created: p.created.clone(),
            model: p.model.clone(),
            quant: p.quant.clone(),
            n_cpu_moe: p.n_cpu_moe,
            rig: p.rig.clone(),
            build: p.build.clone(),
            measured_tok_s: p.measured_tok_s,
            predicted_tok_s: p.predicted_tok_s,
            error_pct: p
                .measured_tok_s
                .zip(p.predicted_tok_s.filter(|f| *f > 0.0))
                .map(|(m, f)| percent(m / f - 1.0)),
            of_ceiling_pct: share.map(percent),
            drift,
        });
    }
    out
}

impl History {
    /// The table for a person.
    pub fn table(&self) -> String {
        let number = |x: Option<f64>| x.map_or_else(|| "-".into(), |x| format!("{x:.1}"));
        let mut text = format!(
            "{:10}  {:24}  {:>4}  {:>9}  {:>9}  {:>7}  {:>9}  drift\n",
            "date", "model", "N", "measured", "forecast", "error %", "ceiling %"
        );
        for r in &self.rows {
            let short = |s: &str, n: usize| s.chars().take(n).collect::<String>();
            text += &format!(
                "{:10}  {:24}  {:>4}  {:>9}  {:>9}  {:>7}  {:>9}  {}\n",
                short(r.created.as_deref().unwrap_or("-"), 10),
                short(&r.model, 24),
                r.n_cpu_moe.unwrap_or(0),
                number(r.measured_tok_s),
                number(r.predicted_tok_s),
                number(r.error_pct),
                number(r.of_ceiling_pct),
                r.drift.as_deref().unwrap_or("")
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(created: &str, measured: f64, build: &str) -> Point {
        Point {
            model: "m".into(),
            n_cpu_moe: Some(0),
            ceiling_tok_s: Some(100.0),
            measured_tok_s: Some(measured),
            predicted_tok_s: Some(50.0),
            created: Some(created.into()),
            build: Some(build.into()),
            ..Point::default()
        }
    }

    #[test]
    fn drift_is_named_with_what_changed() {
        let points = [
            run("2026-03-01", 51.0, "b2"),
            run("2026-01-01", 50.0, "b1"),
            run("2026-05-01", 40.0, "b2"),
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
        let drift: Vec<_> = h.rows.iter().map(|r| r.drift.as_deref()).collect();
        assert_eq!(drift[..2], [None, None]);
        assert!(drift[2].unwrap().contains("from b2 to b3"), "{drift:?}");
        assert!(drift[3].unwrap().starts_with("-22 %"), "{drift:?}");
        assert_eq!((h.drifted, h.rows[0].error_pct), (2, Some(0.0)));
        assert_eq!(h.table().lines().count(), 5);
    }

    #[test]
    fn other_placements_are_no_drift() {
        let other = Point {
            n_cpu_moe: Some(8),
            ..run("2026-02-01", 10.0, "b1")
        };
        assert_eq!(history(&[run("2026-01-01", 50.0, "b1"), other]).drifted, 0);
        assert_eq!(history(&[]), History::default());
    }
}
