//! The picture of a plan.

use gpuc_core::document::{Plan, Verdict};
use gpuc_core::plan::Frontier;

use super::canvas::Canvas;
use super::picture::Picture;
use super::{frontier, memory};

/// A plan's memory map and, where it is given, the curve that it chose from.
pub fn plan(plan: &Plan, curve: Option<&Frontier>) -> Picture {
    let model = plan.model_name.as_deref();
    let title = format!(
        "Plan{}: {}",
        model.map_or_else(String::new, |name| format!(" for {name}")),
        match plan.verdict {
            Verdict::Ship => "ships",
            Verdict::Refuse => "refused",
        }
    );
    let mut canvas = Canvas::new("plan", &title);
    let message = plan.message.as_deref().unwrap_or_default();
    canvas.paragraph("dim", message, 4);
    if let (Verdict::Ship, Some(flags)) = (plan.verdict, &plan.llama_flags) {
        canvas.paragraph("code", flags, 3);
    }
    memory::draw(&mut canvas, plan);
    if let Some(curve) = curve {
        canvas.y += 6.0;
        frontier::draw(&mut canvas, plan, curve);
    }
    let what = if curve.is_some() {
        "Bars: the memory of each device by use. Curves: decode rate and VRAM by layers in RAM. "
    } else {
        "Bars: the memory of each device by use. "
    };
    canvas.finish(&format!("{what}{message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::svg::tests::{checked, without_style};

    #[test]
    fn a_small_plan() {
        let plan: Plan = gpuc_core::json::read(
            br#"{"fits": true, "verdict": "ship", "message": "ships: m & n", "vram_budget_mib": 8192,
                "llama_flags": "-ngl 99", "memory_map": [
                {"device": "GPU <0>", "weights_bytes": 4294967296, "context_bytes": 1073741824,
                 "compute_bytes": 268435456, "margin_bytes": 536870912},
                {"device": "host", "weights_bytes": 1048576}]}"#,
        )
        .unwrap();
        insta::assert_snapshot!(without_style(&checked(&super::plan(&plan, None))));
    }
}
