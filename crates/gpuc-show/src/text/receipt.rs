//! The screen of a receipt.

use gpuc_core::document::Receipt;
use gpuc_core::exit::Exit;
use gpuc_core::receipt::curve_table;

use super::Terminal;
use super::canvas::{BAD, Canvas, FAINT, GOOD, PLAIN, Piece, plain};
use super::scale::{about, scale};
use crate::view::Speed;

/// A receipt beside the forecast of its plan, and its verdict.
pub fn receipt(receipt: &Receipt, forecast: &Speed, exit: Exit, terminal: &Terminal) -> String {
    let mut canvas = Canvas::new(terminal);
    let rate = receipt.measured_decode_tok_s;
    let measured = rate.map_or_else(|| "no rate".to_owned(), |r| format!("{} tok/s", about(r)));
    match exit {
        Exit::AboveCeiling => canvas.verdict(
            BAD,
            "ABOVE THE CEILING",
            &format!("{measured}: the plan's bandwidth is wrong"),
        ),
        Exit::Refused => canvas.verdict(BAD, "BELOW THE FLOOR", &measured),
        _ => canvas.verdict(GOOD, "CLEARED", &format!("{measured}{}", beside(receipt))),
    }
    canvas.gap();
    let speed = Speed {
        measured: rate,
        ceiling: receipt.ceiling_decode_tok_s.or(forecast.ceiling),
        ..*forecast
    };
    scale(&mut canvas, &speed);
    canvas.gap();
    for (what, text) in rows(receipt) {
        canvas.wrap(Piece(FAINT, format!("  {what:<8}  ")), PLAIN, &text);
    }
    for row in curve_table(&receipt.depth_curve).lines() {
        canvas.line([plain(format!("  {row}"))]);
    }
    for note in &receipt.notes {
        canvas.wrap(plain("  - "), PLAIN, note);
    }
    canvas.finish()
}

/// The rate beside its forecast.
fn beside(receipt: &Receipt) -> String {
    let off = receipt.decode_error_pct.map(|e| match e {
        e if e < 0.0 => format!("{:.0} % under the forecast", -e),
        e => format!("{e:.0} % over the forecast"),
    });
    let inside = receipt.within_band.map(|inside| {
        if inside {
            "inside its band"
        } else {
            "OUTSIDE its band"
        }
    });
    match (off, inside) {
        (Some(off), Some(inside)) => format!(": {off}, {inside}"),
        (Some(off), None) => format!(": {off}"),
        _ => String::new(),
    }
}

/// Everything else that was measured, a row for each thing of which anything is known.
fn rows(r: &Receipt) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let mut row = |what, parts: Vec<Option<String>>| {
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if !parts.is_empty() {
            rows.push((what, parts.join(", ")));
        }
    };
    row(
        "run",
        vec![
            r.bench_model.clone(),
            r.bench_build.as_ref().map(|b| format!("build {b}")),
            r.measured_depth
                .filter(|d| *d > 0)
                .map(|d| format!("at a depth of {d}")),
            r.measured_samples.map(|n| format!("{n} repetitions")),
            r.measured_stddev_tok_s.map(|s| format!("±{s:.2} tok/s")),
        ],
    );
    let prefill = r.measured_prefill_tok_s;
    row(
        "prefill",
        vec![prefill.map(|p| format!("{} tok/s", about(p)))],
    );
    row(
        "VRAM",
        vec![
            r.measured_vram_used_mib.map(|m| format!("{m:.0} MiB")),
            r.vram_error_pct
                .map(|e| format!("{e:+.1} % against the plan without its margin")),
        ],
    );
    let routing = match r.routing_cache_helps {
        Some(true) => Some("a per-expert cache could help".to_owned()),
        Some(false) => Some("a per-expert cache is not justified".to_owned()),
        None => None,
    };
    row("routing", vec![routing]);
    let envelope = match r.stayed_within_envelope {
        Some(true) => Some("no limit was breached".to_owned()),
        Some(false) => Some("A LIMIT WAS BREACHED".to_owned()),
        None => None,
    };
    row(
        "envelope",
        vec![
            envelope,
            r.peak_gpu_power_pct.map(|p| format!("power {p:.0} %")),
            r.peak_gpu_temp_c.map(|t| format!("{t:.0} °C")),
            r.peak_gpu_vram_used_mib.map(|m| format!("VRAM {m:.0} MiB")),
            r.peak_host_mem_pct.map(|p| format!("host {p:.0} % used")),
            r.min_host_avail_mib.map(|m| format!("{m:.0} MiB left")),
        ],
    );
    rows
}
