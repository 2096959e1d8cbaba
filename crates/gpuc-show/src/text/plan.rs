//! The screen of a plan.

use gpuc_core::document::{Plan, Verdict};

use super::bar::memory_bar;
use super::canvas::{BAD, Canvas, FAINT, GOOD, PLAIN, Piece, STRONG, WARN, plain};
use super::scale::{about, scale};
use super::{Terminal, clean};
use crate::view::{Speed, memory_map, placement, reason};

/// A plan and what it does not tell itself.
#[derive(Debug, Clone, Copy)]
pub struct PlanScreen<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The command line that launches it.
    pub launch: Option<&'a str>,
}

/// Verdict, memory map, forecast, launch line, and what is assumed; on a refusal what would help.
pub fn plan(screen: &PlanScreen<'_>, terminal: &Terminal) -> String {
    let plan = screen.plan;
    let mut canvas = Canvas::new(terminal);
    let model = plan.model_name.as_deref().unwrap_or("no model");
    match plan.verdict {
        Verdict::Ship => {
            canvas.verdict(GOOD, "SHIP", &format!("{model}{}", decode(plan)));
            let about = [placement(plan), setting(plan)];
            let about: Vec<String> = about.into_iter().flatten().collect();
            canvas.wrap(plain("  "), PLAIN, &about.join(", "));
        }
        Verdict::Refuse => {
            canvas.verdict(BAD, "REFUSE", reason(plan).unwrap_or(model));
        }
    }
    let mut map = memory_map(plan);
    map.retain(|bar| bar.needed > 0);
    if !map.is_empty() {
        canvas.gap();
    }
    for bar in &map {
        memory_bar(&mut canvas, bar);
    }
    if plan.verdict == Verdict::Refuse {
        remedies(&mut canvas, plan);
    }
    let speed = Speed::of(plan);
    if plan.ceiling_decode_tok_s.is_some() {
        canvas.gap();
        scale(&mut canvas, &speed);
    }
    if let (Verdict::Ship, Some(launch)) = (plan.verdict, screen.launch) {
        canvas.heading("Launch");
        canvas.verbatim(launch);
        if *launch != clean(launch, terminal.unicode) {
            canvas.wrap(
                Piece(WARN, "  ! ".into()),
                PLAIN,
                "a character of it cannot be shown here: take it from --emit server",
            );
        }
    }
    rests_on(&mut canvas, plan);
    canvas.finish()
}

fn decode(plan: &Plan) -> String {
    match (plan.predicted_decode_tok_s, plan.ceiling_decode_tok_s) {
        (Some(f), ceiling) if ceiling != Some(f) => format!(": about {} tok/s", about(f)),
        (_, Some(c)) => format!(": never more than {} tok/s", about(c)),
        _ => String::new(),
    }
}

fn setting(plan: &Plan) -> Option<String> {
    let a = plan.assumptions.as_ref()?;
    let mut parts = Vec::new();
    if let Some(ctx) = a.ctx_len {
        parts.push(format!("context {ctx}"));
    }
    if let Some(kv) = &a.kv_dtype {
        parts.push(format!("KV cache {kv}"));
    }
    if let Some(batch) = a.batch.filter(|b| *b > 1) {
        parts.push(format!("{batch} sequences"));
    }
    if let Some(prefill) = plan.predicted_prefill_tok_s {
        parts.push(format!("prefill about {} tok/s", about(prefill)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn remedies(canvas: &mut Canvas, plan: &Plan) {
    if plan.remedies.is_empty() {
        return;
    }
    canvas.heading("What would help, cheapest first");
    for (n, remedy) in (1..).zip(&plan.remedies) {
        let change = if remedy.change.is_empty() {
            &remedy.kind
        } else {
            &remedy.change
        };
        let lead = format!("  {n}  ");
        let then = remedy
            .ceiling_decode_tok_s
            .map_or_else(String::new, |c| format!("at most {} tok/s", about(c)));
        let both = lead.len() + canvas.measure(change) + 2 + then.len();
        if both <= canvas.width() {
            canvas.spread(plain(format!("{lead}{change}")), Piece(FAINT, then));
        } else {
            canvas.wrap(plain(lead), PLAIN, &format!("{change}; {then}"));
        }
        if let Some(flags) = &remedy.flags {
            canvas.line([plain("     "), Piece(STRONG, flags.clone())]);
        }
    }
}

/// What the figures were taken from, and what was assumed for want of them.
fn rests_on(canvas: &mut Canvas, plan: &Plan) {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(basis) = &plan.throughput_basis {
        rows.push(("ceiling", basis.clone()));
    }
    if let Some(basis) = &plan.calibration_basis {
        rows.push(("forecast", basis.clone()));
    }
    let bpw = plan.assumptions.as_ref().and_then(|a| a.bytes_per_weight);
    match (plan.footprint_source.as_deref(), bpw) {
        (Some("closed-form"), Some(bpw)) => rows.push((
            "sizes",
            format!("the model's configuration, {bpw} bytes a weight"),
        )),
        (Some("closed-form"), None) | (None, _) => {}
        (Some(source), _) => rows.push(("sizes", format!("{source}: the weights file's own"))),
    }
    let notes = plan.assumptions.iter().flat_map(|a| &a.notes);
    rows.extend(notes.map(|n| ("note", n.clone())));
    if rows.is_empty() {
        return;
    }
    canvas.gap();
    for (what, text) in rows {
        canvas.wrap(Piece(FAINT, format!("  {what:<8}  ")), PLAIN, &text);
    }
}
