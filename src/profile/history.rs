//! --baseline-history: how this rig's readings moved from one stored profile to the next.

use std::path::Path;

use gpuc_core::error::Fault;
use gpuc_core::units::round_to;
use gpuc_rig::baseline::{Stored, history};

use crate::deliver::deliver_text;

/// Prints what the database holds, card by card, oldest first.
pub(super) fn print(database: &Path) -> Result<(), Fault> {
    deliver_text(&render(&history(database)?))
}

/// A card in its surroundings: readings are compared within one only.
fn rig(row: &Stored) -> (String, String) {
    let file = row.source_file.rsplit('/').next().unwrap_or_default();
    let stem = file.strip_suffix(".json").unwrap_or(file);
    let card = stem
        .strip_prefix(row.date.replace(':', "-").as_str())
        .map_or(stem, |rest| rest.trim_start_matches('-'));
    (card.into(), row.context.clone())
}

fn render(rows: &[Stored]) -> String {
    if rows.is_empty() {
        return "no measurement is stored yet\n".into();
    }
    let mut rigs: Vec<(String, String)> = Vec::new();
    for row in rows {
        if !rigs.contains(&rig(row)) {
            rigs.push(rig(row));
        }
    }
    let mut text = String::new();
    for (card, context) in &rigs {
        if !text.is_empty() {
            text.push('\n');
        }
        text += &format!("{card} ({context})\n");
        let own: Vec<&Stored> = rows
            .iter()
            .filter(|row| rig(row) == (card.clone(), context.clone()))
            .collect();
        let mut metrics: Vec<&str> = Vec::new();
        for row in &own {
            if !metrics.contains(&row.metric.as_str()) {
                metrics.push(&row.metric);
            }
        }
        for metric in metrics {
            text += &format!("  {metric}\n");
            let mut readings = own.iter().filter(|row| row.metric == metric).peekable();
            let first = readings.peek().map_or(0.0, |row| row.value);
            let mut before = None;
            for row in readings {
                text += &format!("    {:10}  {:>12} {:5}", row.date, row.value, row.unit);
                if let Some(before) = before {
                    text += &format!("{}{}", change(before, row.value, ""), {
                        change(first, row.value, " since the first")
                    });
                }
                text = text.trim_end().to_owned() + "\n";
                before = Some(row.value);
            }
        }
    }
    text
}

fn change(from: f64, to: f64, since: &str) -> String {
    if from == 0.0 || !(from.is_finite() && to.is_finite()) {
        return String::new();
    }
    let percent = round_to((to - from) / from * 100.0, 1);
    // Rounding may leave a minus before a zero.
    let percent = if percent == 0.0 { 0.0 } else { percent };
    format!("  {percent:+.1} %{since}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(metric: &str, value: f64, date: &str, card: &str) -> Stored {
        Stored {
            metric: metric.into(),
            value,
            unit: "GB/s".into(),
            context: "host".into(),
            source_file: format!("baselines/{date}-{card}.json"),
            date: date.into(),
        }
    }

    #[test]
    fn each_reading_beside_the_one_before_it_and_the_first() {
        let rows = [
            row("pcie_h2d_gbps", 26.0, "2026-01-02", "card"),
            row("pcie_h2d_gbps", 13.0, "2026-02-02", "card"),
            row("pcie_h2d_gbps", 26.0, "2026-03-02", "card"),
            row("pcie_h2d_gbps", 50.0, "2026-03-02", "other"),
        ];
        insta::assert_snapshot!(render(&rows), @r"
        card (host)
          pcie_h2d_gbps
            2026-01-02            26 GB/s
            2026-02-02            13 GB/s   -50.0 %  -50.0 % since the first
            2026-03-02            26 GB/s   +100.0 %  +0.0 % since the first

        other (host)
          pcie_h2d_gbps
            2026-03-02            50 GB/s
        ");
        assert!(render(&[]).contains("no measurement"));
    }
}
