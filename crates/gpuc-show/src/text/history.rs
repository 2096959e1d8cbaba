//! The screen of a calibration folder's runs over time.

use gpuc_core::receipt::{History, HistoryRow};

use super::Terminal;
use super::canvas::{Canvas, FAINT, GOOD, PLAIN, Piece, STRONG, WARN, plain};

/// Whether the rig drifted, and each run beside its forecast and its ceiling.
pub fn history(history: &History, terminal: &Terminal) -> String {
    let mut canvas = Canvas::new(terminal);
    let runs = format!("{} runs", history.rows.len());
    match (history.rows.is_empty(), history.drifted) {
        (true, _) => canvas.verdict(PLAIN, "NO RUNS", "no calibration point is here"),
        (_, 0) => canvas.verdict(GOOD, "STEADY", &runs),
        (_, n) => canvas.verdict(WARN, "DRIFT", &format!("{n} of {runs}")),
    }
    canvas.gap();
    let room = canvas.width().saturating_sub(60).clamp(12, 40);
    let head = ["N", "measured", "forecast", "error", "of ceiling"].map(str::to_owned);
    line(&mut canvas, room, ("date", "model"), &head, STRONG);
    for row in &history.rows {
        let created = row.created.as_deref().unwrap_or("-");
        let date: String = created.chars().take(10).collect();
        line(&mut canvas, room, (&date, &row.model), &cells(row), PLAIN);
        if let Some(drift) = &row.drift {
            canvas.wrap(plain("      "), WARN, drift);
        }
    }
    if !history.rows.is_empty() {
        canvas.wrap(plain("  "), FAINT, "rates of decode in tokens a second");
    }
    canvas.finish()
}

fn cells(row: &HistoryRow) -> [String; 5] {
    let number = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), |x| format!("{x:.2}"));
    let percent = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), |x| format!("{x:+.0} %"));
    let share = row.of_ceiling_pct;
    [
        row.n_cpu_moe
            .map_or_else(|| "-".to_owned(), |n| n.to_string()),
        number(row.measured_tok_s),
        number(row.predicted_tok_s),
        percent(row.error_pct),
        share.map_or_else(|| "-".to_owned(), |x| format!("{x:.0} %")),
    ]
}

fn line(
    canvas: &mut Canvas,
    room: usize,
    (date, model): (&str, &str),
    [n, measured, forecast, error, share]: &[String; 5],
    style: anstyle::Style,
) {
    let model = canvas.cut(model, room);
    // Padding counts letters; a name may be wider than it has letters.
    let pad = " ".repeat(room.saturating_sub(canvas.measure(&model)));
    let text = format!(
        "  {date:<10}  {model}{pad}  {n:>3}  {measured:>8}  {forecast:>8}  {error:>6}  {share:>10}"
    );
    canvas.line([Piece(style, text)]);
}
