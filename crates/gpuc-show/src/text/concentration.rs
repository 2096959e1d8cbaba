//! The screen of a report on routing.

use gpuc_core::document::{CacheReplay, Concentration};
use gpuc_core::routing::Policy;

use super::Terminal;
use super::canvas::{Canvas, FAINT, GOOD, PLAIN, Piece, STRONG, plain};
use super::gauge::gauge;
use super::scale::{about, index};

/// Columns of what a bar or a row is about.
const LEAD: usize = 20;

/// The verdict, how many experts carry the routing, layer by layer too, and what caches would do.
pub fn concentration(report: &Concentration, terminal: &Terminal) -> String {
    let mut canvas = Canvas::new(terminal);
    let model = report.model.as_deref().unwrap_or("this model");
    if report.per_layer.is_empty() {
        canvas.verdict(
            PLAIN,
            "NOTHING TO JUDGE",
            &format!("{model}: no layer received a token"),
        );
    } else {
        let about = format!(
            "{model}: {} of the experts carry {} of the routing",
            percent(report.hot_frac_for_coverage),
            percent(report.coverage_target)
        );
        if report.cache_helps {
            canvas.verdict(GOOD, "CACHE COULD HELP", &about);
        } else {
            canvas.verdict(STRONG, "NO CACHE", &about);
        }
        canvas.gap();
        coverage(&mut canvas, report);
    }
    replays(&mut canvas, report);
    if !report.workloads.is_empty() {
        canvas.gap();
    }
    for other in &report.workloads {
        let text = format!(
            "{} of the experts carry it; the first trace's hot experts carry {}",
            percent(other.hot_frac_for_coverage),
            percent(other.carried_by_first)
        );
        canvas.wrap(
            Piece(STRONG, format!("  {}  ", canvas.cut(&other.name, 30))),
            PLAIN,
            &text,
        );
    }
    if !report.notes.is_empty() {
        canvas.gap();
    }
    for note in &report.notes {
        canvas.wrap(Piece(FAINT, "  note  ".into()), PLAIN, note);
    }
    canvas.finish()
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn coverage(canvas: &mut Canvas, report: &Concentration) {
    let cells = canvas.width().saturating_sub(LEAD + 28).max(8);
    let mut row = vec![plain(format!("  {:<18}", "experts needed"))];
    let limit = Some(report.threshold);
    row.extend(gauge(
        canvas,
        cells,
        report.hot_frac_for_coverage,
        limit,
        GOOD,
    ));
    row.push(plain(format!(
        "  {:>5}",
        percent(report.hot_frac_for_coverage)
    )));
    row.push(Piece(
        FAINT,
        format!("  helps under {}", percent(report.threshold)),
    ));
    canvas.line(row);

    let room = canvas.width().saturating_sub(LEAD).max(8);
    let layers: Vec<f64> = report
        .per_layer
        .iter()
        .map(|l| l.hot_frac_for_coverage)
        .collect();
    let (least, most) = (
        layers.iter().copied().fold(f64::INFINITY, f64::min),
        layers.iter().copied().fold(0.0, f64::max),
    );
    canvas.line([
        plain(format!("  {:<18}", "layer by layer")),
        plain(strip(&layers, room, canvas.unicode())),
    ]);
    let each = if layers.len() > room {
        "several layers to a column: the highest is shown; "
    } else {
        ""
    };
    canvas.wrap(
        plain(" ".repeat(LEAD)),
        FAINT,
        &format!(
            "{each}from {} to {}, full height being all experts",
            percent(least),
            percent(most)
        ),
    );
    let tokens = report
        .n_tokens
        .map_or_else(String::new, |n| format!(", about {n} tokens"));
    let even = format!(
        "{} layers of {} experts{tokens}; concentration {:.2}, Gini {:.2}, the hottest expert has {:.1} %",
        report.n_layers,
        report.num_experts,
        report.concentration_score,
        report.gini,
        100.0 * report.top1_share
    );
    canvas.wrap(plain(format!("  {:<18}", "routing")), PLAIN, &even);
    if let Some((low, high)) = report.hot_frac_low.zip(report.hot_frac_high) {
        let text = format!(
            "95 % interval of the share needed: {} to {}",
            percent(low),
            percent(high)
        );
        canvas.wrap(plain(" ".repeat(LEAD)), FAINT, &text);
    }
}

/// Shares as columns of one line.
fn strip(shares: &[f64], room: usize, unicode: bool) -> String {
    let signs: &[char] = if unicode {
        &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
    } else {
        &['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
    };
    let columns = shares.len().min(room);
    let mut heights = vec![0.0f64; columns];
    for (at, share) in shares.iter().enumerate() {
        if let Some(height) = heights.get_mut(at * columns / shares.len()) {
            *height = height.max(*share);
        }
    }
    let sign = |share: &f64| {
        signs
            .get(index(*share, signs.len()))
            .copied()
            .unwrap_or(' ')
    };
    heights.iter().map(sign).collect()
}

fn replays(canvas: &mut Canvas, report: &Concentration) {
    if report.replay.is_empty() {
        return;
    }
    canvas.gap();
    let priced = report
        .replay
        .iter()
        .any(|r| r.predicted_decode_tok_s.is_some());
    let cells = canvas.width().saturating_sub(66).clamp(8, 40);
    let blank = " ".repeat(cells);
    let money = if priced {
        "  VRAM MiB   tok/s  whole layers"
    } else {
        ""
    };
    canvas.line([Piece(
        STRONG,
        format!("  {:>5}  {:<14}  {blank}    hits{money}", "slots", "policy"),
    )]);
    for row in &report.replay {
        let mut pieces = vec![plain(format!("  {:>5}  {:<14}  ", row.slots, policy(row)))];
        pieces.extend(gauge(canvas, cells, row.hit_rate, None, GOOD));
        pieces.push(plain(format!("  {:>5.1}%", 100.0 * row.hit_rate)));
        if let Some((mib, rate)) = row.vram_mib.zip(row.predicted_decode_tok_s) {
            pieces.push(plain(format!("  {mib:>8.0}  {:>6}", about(rate))));
        }
        if let Some(rate) = row.whole_layers_decode_tok_s {
            pieces.push(Piece(FAINT, format!("  {:>12}", about(rate))));
        }
        canvas.line(pieces);
    }
    if let Some(rate) = report.uncached_decode_tok_s {
        let text = format!(
            "all experts in RAM without a cache: about {} tok/s",
            about(rate)
        );
        canvas.wrap(plain("  "), FAINT, &text);
    }
}

fn policy(row: &CacheReplay) -> &'static str {
    match row.policy {
        Policy::StaticHottest => "static-hottest",
        Policy::Lru => "lru",
        Policy::LeastStale => "least-stale",
    }
}
