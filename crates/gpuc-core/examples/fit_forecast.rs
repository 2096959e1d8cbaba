//! Fits the forecast to the shipped measurements and says how well it holds.
//!
//! `cargo run --release -p gpuc-core --example fit_forecast` prints each measurement beside its
//! forecasts and a table; `-- --write` also writes `data/forecast.json`.
#![allow(clippy::print_stdout, reason = "a program for its output")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gpuc_core::calibration::{Regime, estimate, seed};
use gpuc_core::forecast::evidence::{Evidence, RECEIPTS, SHAPES, evidence};
use gpuc_core::forecast::fit::{Fit, LeaveOut, backend, out_of_sample};
use gpuc_core::forecast::prefill_fit::{
    FittedPrefill, PREFILL, PrefillEvidence, prefill, prefill_evidence, prefill_out_of_sample,
    table_bandwidth,
};
use gpuc_core::forecast::{Backend, BackendFit, Shipped};
use gpuc_core::units::nearest_bytes;

type Error = Box<dyn std::error::Error>;
/// One of the forecasts of a row, by what it is off.
type Off = fn(&Judged<'_>) -> f64;

/// One measurement and the logarithms of what each forecast is off by.
struct Judged<'e> {
    row: &'e Evidence,
    fitted: f64,
    no_card: f64,
    neither: f64,
    /// The reference's estimator, and whether the row lies in its band and above its ceiling.
    reference: f64,
    in_reference: bool,
    above_reference: bool,
    /// Half the width of the shipped band, as a logarithm.
    spread: f64,
}

fn judged<'e>(rows: &[&'e Evidence], shipped: &Shipped) -> Option<Vec<Judged<'e>>> {
    let kind = rows.first()?.card.backend;
    let known = shipped.of(kind)?;
    let fit = Fit::of(rows);
    let no_card = out_of_sample(rows, LeaveOut::Card);
    let neither = out_of_sample(rows, LeaveOut::CardAndModel);
    let points = seed();
    let judge = |((row, no_card), neither): ((&&'e Evidence, f64), f64)| {
        let on_host = nearest_bytes(row.work.host_blocks);
        let by_points = estimate(&points, Regime::of(on_host, row.moe_layers));
        let measured = 1.0 / row.seconds;
        let share = by_points.as_ref().map_or(1.0, |e| e.centre);
        let regime = if row.work.in_vram() {
            Some(known.in_vram)
        } else {
            known.offload
        };
        let (_, wider) = known.generation(row.card);
        Judged {
            row,
            fitted: fit.error(row),
            no_card,
            neither,
            reference: (measured / (row.closed_form_ceiling * share)).ln(),
            in_reference: by_points.as_ref().is_some_and(|e| {
                let at = measured / row.closed_form_ceiling;
                e.low <= at && at <= e.high
            }),
            above_reference: measured > row.closed_form_ceiling,
            spread: regime.map_or(0.0, |r| r.spread * wider),
        }
    };
    let both = rows.iter().zip(no_card).zip(neither);
    Some(both.map(judge).collect())
}

/// How far a forecast is off in percent of what was measured.
fn percent(log: f64) -> f64 {
    100.0 * ((-log).exp() - 1.0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    let n = values.len();
    f64::midpoint(at(n / 2), at(n.saturating_sub(1) / 2))
}

/// The median over cards of each card's median.
fn by_card(rows: &[&Judged<'_>], error: Off) -> f64 {
    let mut cards: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for j in rows {
        let off = percent(error(j)).abs();
        cards.entry(&j.row.gpu).or_default().push(off);
    }
    median(cards.into_values().map(median).collect())
}

fn summary(name: &str, rows: &[&Judged<'_>]) {
    if rows.is_empty() {
        return;
    }
    let cards: BTreeSet<&str> = rows.iter().map(|j| j.row.gpu.as_str()).collect();
    println!("{name}: {} rows on {} cards", rows.len(), cards.len());
    let share = |n: usize| 100.0 * n as f64 / rows.len() as f64;
    let forecasts: [(&str, Off); 3] = [
        ("fitted", |j| j.fitted),
        ("card left out", |j| j.no_card),
        ("card and model left out", |j| j.neither),
    ];
    for (name, error) in forecasts {
        let inside = rows.iter().filter(|j| error(j).abs() <= j.spread).count();
        println!(
            "  {name:24} median error {:5.1} %, a card counting once {:5.1} %, inside {:3.0} %",
            median(rows.iter().map(|j| percent(error(j)).abs()).collect()),
            by_card(rows, error),
            share(inside)
        );
    }
    println!(
        "  {:24} median error {:5.1} %, {:37} inside {:3.0} %, {} above its ceiling",
        "the reference's estimator",
        median(rows.iter().map(|j| percent(j.reference).abs()).collect()),
        "",
        share(rows.iter().filter(|j| j.in_reference).count()),
        rows.iter().filter(|j| j.above_reference).count()
    );
}

/// Each measurement of prefill beside its forecasts.
fn tell_prefill(rows: &[&PrefillEvidence], decode: &BackendFit) {
    let Some(known) = decode.prefill.as_ref().map(|fit| fit.known) else {
        return;
    };
    let fit = FittedPrefill::of(rows, decode);
    let fitted: Vec<f64> = rows.iter().map(|row| fit.error(row)).collect();
    let no_card = prefill_out_of_sample(rows, decode, LeaveOut::Card);
    let neither = prefill_out_of_sample(rows, decode, LeaveOut::CardAndModel);
    for (((row, fitted), no_card), neither) in rows.iter().zip(&fitted).zip(&no_card).zip(&neither)
    {
        println!(
            "{:22} {:52} ubatch {:4} before {:6} prefill {:8.2} tok/s  fitted {:+6.1} %  \
             card out {:+6.1} %  both out {:+6.1} %",
            row.model,
            row.gpu,
            row.setting.ubatch,
            row.setting.before,
            1.0 / row.seconds,
            percent(*fitted),
            percent(*no_card),
            percent(*neither),
        );
    }
    println!("prefill: {} rows on {} cards", known.rows, known.cards);
    for (name, errors) in [
        ("fitted", &fitted),
        ("card left out", &no_card),
        ("card and model left out", &neither),
    ] {
        let mut cards: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (row, e) in rows.iter().zip(errors) {
            cards.entry(&row.gpu).or_default().push(percent(*e).abs());
        }
        let inside = errors.iter().filter(|e| e.abs() <= known.spread).count();
        println!(
            "  {name:24} median error {:5.1} %, a card counting once {:5.1} %, inside {:3.0} %",
            median(errors.iter().map(|e| percent(*e).abs()).collect()),
            median(cards.into_values().map(median).collect()),
            100.0 * inside as f64 / rows.len() as f64,
        );
    }
}

fn main() -> Result<(), Error> {
    let all = evidence(RECEIPTS, SHAPES);
    let of = |kind: Backend| -> Vec<&Evidence> {
        all.iter().filter(|r| r.card.backend == kind).collect()
    };
    let prompts = prefill_evidence(PREFILL, SHAPES, table_bandwidth);
    let prompts_of = |kind: Backend| -> Vec<&PrefillEvidence> {
        prompts.iter().filter(|r| r.card.backend == kind).collect()
    };
    let fits = Backend::ALL.into_iter().filter_map(|kind| {
        let mut fit = backend(&of(kind))?;
        fit.prefill = prefill(&prompts_of(kind), &fit);
        Some((kind.key().to_owned(), fit))
    });
    let shipped = Shipped {
        about: "Parameters of the decode forecast, fitted to receipts.csv and shapes.csv by \
                `cargo run --release -p gpuc-core --example fit_forecast -- --write`"
            .into(),
        backends: fits.collect(),
    };
    for kind in Backend::ALL {
        let rows = judged(&of(kind), &shipped).unwrap_or_default();
        println!("\n{}", kind.key());
        for j in &rows {
            println!(
                "{:22} {:34} N {:2} depth {:5} {:7.2} tok/s  fitted {:+6.1} %  card out {:+6.1} %  \
                 both out {:+6.1} %  reference {:+7.1} %",
                j.row.model,
                j.row.gpu,
                j.row.n_cpu_moe,
                j.row.depth,
                1.0 / j.row.seconds,
                percent(j.fitted),
                percent(j.no_card),
                percent(j.neither),
                percent(j.reference),
            );
        }
        let (inside, offloaded): (Vec<_>, Vec<_>) = rows.iter().partition(|j| j.row.work.in_vram());
        summary("in VRAM", &inside);
        summary("offloaded", &offloaded);
        if let Some(fit) = shipped.of(kind) {
            tell_prefill(&prompts_of(kind), fit);
        }
    }
    if std::env::args().any(|a| a == "--write") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/forecast.json");
        std::fs::write(path, serde_json::to_string_pretty(&shipped)? + "\n")?;
    }
    Ok(())
}
