//! What each device holds, as bars against what may be used of it.

use gpuc_core::document::Plan;
use gpuc_core::units::GIB;

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, MARGIN, RIGHT};
use super::number::{bytes, percent};
use super::paint::{Fill, Swatch};
use super::text;
use crate::view::{Bar, Part, memory_map};

/// A plan names a GPU and the host; a document of another's may name many more.
const MOST_DEVICES: usize = 16;
const BAR: f64 = 34.0;

/// One bar for each device of the plan.
pub(super) fn draw(canvas: &mut Canvas, plan: &Plan) {
    for device in memory_map(plan).iter().take(MOST_DEVICES) {
        bar(canvas, device);
    }
}

fn fill(part: Part) -> Fill {
    match part {
        Part::Weights => Fill::Weights,
        Part::Cache => Fill::Context,
        Part::Compute => Fill::Compute,
        Part::Margin => Fill::Margin,
        Part::Free => Fill::Free,
    }
}

fn heading(device: &Bar) -> String {
    let (name, kind) = if device.is_host {
        ("Host".to_owned(), "RAM")
    } else {
        (text::fit(&device.device, 15.0, 500.0), "VRAM")
    };
    let needed = bytes(device.needed as f64);
    match device.budget.map(|b| bytes(b as f64)) {
        Some(budget) if device.short() > 0 => {
            format!("{name}: {needed} needed, {budget} of {kind} may be used")
        }
        Some(budget) => format!("{name}: {needed} of {budget} {kind} that may be used"),
        None => format!("{name}: {needed} of {kind}"),
    }
}

fn bar(canvas: &mut Canvas, device: &Bar) {
    canvas.heading(&heading(device));
    let axis = Axis::up_to(device.length() as f64 / GIB as f64, 8.0);
    let at = |n: f64| axis.at(n / GIB as f64, MARGIN, RIGHT);
    let top = canvas.y + 6.0;
    canvas.area(Fill::Free, MARGIN, top, RIGHT - MARGIN, BAR);
    let mut legend = Vec::new();
    let mut from = 0.0;
    for segment in &device.segments {
        let n = segment.bytes as f64;
        let mut words = format!("{} {}", segment.part.name(), bytes(n));
        if segment.part == Part::Free {
            let share = n / device.length() as f64;
            words += &format!(" ({})", percent(share));
        } else {
            let (left, right) = (at(from), at(from + n));
            // A part that is there is seen.
            canvas.area(fill(segment.part), left, top, (right - left).max(1.0), BAR);
        }
        legend.push((Swatch::Fill(fill(segment.part)), words));
        from += n;
    }
    if let Some(budget) = device.budget.filter(|_| device.short() > 0) {
        let left = at(budget as f64);
        canvas.area(Fill::Over, left, top, RIGHT - left, BAR);
        let words = format!("too much {}", bytes(device.short() as f64));
        legend.push((Swatch::Fill(Fill::Over), words));
    }
    canvas.y = top + BAR;
    for (gib, label) in &axis.ticks {
        let x = axis.at(*gib, MARGIN, RIGHT);
        canvas.stroke("axis", x, canvas.y, x, canvas.y + 4.0);
        let (label, anchor) = if *gib == 0.0 {
            ("0 GiB", Anchor::Start)
        } else if x > RIGHT - 20.0 {
            (label.as_str(), Anchor::End)
        } else {
            (label.as_str(), Anchor::Middle)
        };
        canvas.text("tick", x, canvas.y + 17.0, anchor, label);
    }
    canvas.y += 22.0;
    canvas.legend(&legend);
}
