//! The screen of a plan.

use gpuc_core::document::{Plan, Remedy, Verdict};
use gpuc_core::launch::bounded_prompt_cache_mib;

use super::bar::memory_bar;
use super::canvas::{BAD, Canvas, FAINT, GOOD, PLAIN, Piece, STRONG, WARN, plain};
use super::scale::{about, scale};
use super::{Terminal, clean};
use crate::view::{Speed, memory_map, placement, prompts, reason};

/// More remedies than these, beside the cheapest, would push the verdict off the screen.
const MOST_OTHERS: usize = 2;

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
            next_step(&mut canvas, plan);
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
        other_remedies(&mut canvas, plan);
    }
    // How fast it would be where it does not fit is nobody's question.
    let fits = map.iter().all(|bar| bar.short() == 0);
    if fits && plan.ceiling_decode_tok_s.is_some() {
        canvas.gap();
        scale(&mut canvas, &Speed::of(plan));
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
    rests_on(&mut canvas, plan, fits);
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
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The forecast of prefill, its band, and what it rests on.
fn prefill(plan: &Plan) -> Option<String> {
    let mut words = format!("about {} tok/s", about(plan.predicted_prefill_tok_s?));
    let band = plan
        .predicted_prefill_band_low_tok_s
        .zip(plan.predicted_prefill_band_high_tok_s);
    if let Some((low, high)) = band {
        words += &format!(" ({} to {})", about(low), about(high));
    }
    if let Some(basis) = &plan.prefill_basis {
        words += &format!(": {basis}");
    }
    Some(words)
}

/// The cheapest remedy, by the flags that ask for it where there are some.
fn next_step(canvas: &mut Canvas, plan: &Plan) {
    let Some(cheapest) = plan.remedies.first() else {
        return;
    };
    let (change, then) = told(cheapest);
    let words = [change, &then].join("; ");
    let words = words.trim_end_matches("; ");
    let lead = Piece(GOOD, "   try  ".into());
    match &cheapest.flags {
        Some(flags) if change.starts_with(flags) => canvas.wrap(lead, PLAIN, words),
        Some(flags) => {
            canvas.line([lead, Piece(STRONG, flags.clone())]);
            canvas.wrap(plain("        "), PLAIN, words);
        }
        None => canvas.wrap(Piece(GOOD, "  next  ".into()), PLAIN, words),
    }
}

/// The change that a remedy is, and how fast it then is at most.
fn told(remedy: &Remedy) -> (&str, String) {
    let change = if remedy.change.is_empty() {
        &remedy.kind
    } else {
        &remedy.change
    };
    let then = remedy
        .ceiling_decode_tok_s
        .map_or_else(String::new, |c| format!("at most {} tok/s", about(c)));
    (change, then)
}

/// A few more than the cheapest, and how many the document has beside them.
fn other_remedies(canvas: &mut Canvas, plan: &Plan) {
    let others = plan.remedies.get(1..).unwrap_or_default();
    if others.is_empty() {
        return;
    }
    canvas.heading("What else would help, cheapest first");
    for remedy in others.iter().take(MOST_OTHERS) {
        let (change, then) = told(remedy);
        let both = canvas.measure(change) + 4 + then.len();
        if both <= canvas.width() {
            canvas.spread(plain(format!("  {change}")), Piece(FAINT, then));
        } else {
            canvas.wrap(plain("  "), PLAIN, &format!("{change}; {then}"));
        }
        if let Some(flags) = remedy.flags.as_ref().filter(|f| !change.contains(*f)) {
            canvas.line([plain("    "), Piece(STRONG, flags.clone())]);
        }
    }
    let more = others.len().saturating_sub(MOST_OTHERS);
    if more > 0 {
        let words = format!("and {more} more, in plan.json under remedies (--format json)");
        canvas.wrap(plain("  "), FAINT, &words);
    }
}

/// What the figures were taken from, and what was assumed for want of them.
fn rests_on(canvas: &mut Canvas, plan: &Plan, with_speed: bool) {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if with_speed {
        let bases = [
            ("ceiling", plan.throughput_basis.clone()),
            ("forecast", plan.calibration_basis.clone()),
            ("prefill", prefill(plan)),
        ];
        rows.extend(
            bases
                .into_iter()
                .filter_map(|(what, basis)| Some((what, basis?))),
        );
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
    let bounded = bounded_prompt_cache_mib(plan).filter(|_| plan.verdict == Verdict::Ship);
    rows.extend(bounded.map(|mib| ("prompts", prompts(mib))));
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
