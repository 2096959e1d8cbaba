//! The heat map: how often each layer sent a token to each of its experts, against even routing.

use gpuc_core::document::LayerCounts;

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, LEFT, RIGHT};
use super::paint::Swatch;

/// More would be finer than pixels, and grow the file.
const MOST_COLUMNS: usize = 512;
const MOST_ROWS: usize = 128;

/// Heat from here on, as a multiple of what even routing gives each expert, with its class.
const LEVELS: [(f64, &str, &str); 8] = [
    (0.0, "h0", "never"),
    (f64::MIN_POSITIVE, "h1", "under ¼ of even"),
    (0.25, "h2", "¼"),
    (0.5, "h3", "½"),
    (1.0, "h4", "even or more"),
    (2.0, "h5", "2×"),
    (4.0, "h6", "4×"),
    (8.0, "h7", "8× or more"),
];

/// Experts from left to right, layers from top to bottom.
pub(super) fn draw(canvas: &mut Canvas, layers: &[&LayerCounts]) {
    let experts = layers
        .iter()
        .map(|l| l.expert_counts.len())
        .max()
        .unwrap_or(0);
    let (columns, rows) = (experts.clamp(1, MOST_COLUMNS), layers.len().min(MOST_ROWS));
    let cell = (
        (RIGHT - LEFT) / columns as f64,
        (360.0 / rows as f64).clamp(4.0, 16.0),
    );
    let (top, height) = (canvas.y + 6.0, cell.1 * rows as f64);
    let mut paths: Vec<(&str, String)> = LEVELS
        .iter()
        .map(|(_, class, _)| (*class, String::new()))
        .collect();
    for row in 0..rows {
        // Layers that share a row: the hottest of each expert is shown, so that none is hidden.
        let shared = layers.iter().enumerate();
        let shared = shared.filter(|(i, _)| i * rows / layers.len() == row);
        let mut heat = vec![0.0f64; columns];
        for (_, layer) in shared {
            let own = layer.expert_counts.len();
            let even = layer.total() as f64 / own.max(1) as f64;
            for (e, n) in layer.expert_counts.iter().enumerate() {
                if let Some(cell) = heat.get_mut(e * columns / experts.max(1)) {
                    *cell = cell.max(*n as f64 / even);
                }
            }
        }
        runs(&mut paths, row, &heat);
    }
    paths.retain(|(_, d)| !d.is_empty());
    canvas.cells((LEFT, top), cell, &paths);
    let bottom = top + height;
    let path = format!("M{LEFT} {top}H{RIGHT}V{bottom}H{LEFT}z");
    canvas.path("axis", &path);
    layer_names(canvas, layers, rows, cell.1, top);
    let axis = Axis::counts(experts as u64, 10.0);
    for (expert, label) in &axis.ticks {
        // Below the middle of its cell; there is no expert of the last number.
        if *expert >= experts as f64 {
            continue;
        }
        let x = axis.at(*expert + 0.5, LEFT, RIGHT);
        canvas.stroke("axis", x, bottom, x, bottom + 4.0);
        canvas.text("tick", x, bottom + 17.0, Anchor::Middle, label);
    }
    let mut name = "expert".to_owned();
    if experts > columns || layers.len() > rows {
        name += " (several to a cell: the hottest of them is shown)";
    }
    canvas.text(
        "dim",
        f64::midpoint(LEFT, RIGHT),
        bottom + 35.0,
        Anchor::Middle,
        &name,
    );
    canvas.y = bottom + 40.0;
    let legend: Vec<_> = LEVELS
        .iter()
        .map(|(_, class, words)| (Swatch::Class(class), (*words).to_owned()))
        .collect();
    canvas.legend(&legend);
}

/// Adds a row to the path of each level, neighbours of one level as one stroke.
fn runs(paths: &mut [(&str, String)], row: usize, heat: &[f64]) {
    let level = |h: f64| {
        LEVELS
            .iter()
            .rposition(|(from, ..)| h >= *from)
            .unwrap_or(0)
    };
    // Where the pen of each level stands in this row: moves are shorter than places.
    let mut pens = [None; LEVELS.len()];
    let mut from = 0;
    while let Some(first) = heat.get(from).map(|h| level(*h)) {
        let same = heat
            .iter()
            .skip(from)
            .take_while(|h| level(**h) == first)
            .count();
        // The background is there already.
        if first > 0
            && let (Some((_, d)), Some(pen)) = (paths.get_mut(first), pens.get_mut(first))
        {
            match *pen {
                Some(pen) => *d += &format!("m{} 0h{same}", from - pen),
                None => *d += &format!("M{from} {row}.5h{same}"),
            }
            *pen = Some(from + same);
        }
        from += same;
    }
}

/// As many layers' numbers as there is room for.
fn layer_names(canvas: &mut Canvas, layers: &[&LayerCounts], rows: usize, height: f64, top: f64) {
    let mut free = f64::NEG_INFINITY;
    for row in 0..rows {
        let y = top + (row as f64 + 0.5) * height;
        let first = (row * layers.len()).div_ceil(rows);
        let number = layers
            .get(first)
            .map(|l| l.layer_index.unwrap_or(first as u64));
        if let Some(number) = number.filter(|_| y >= free) {
            canvas.text(
                "tick",
                LEFT - 8.0,
                y + 4.0,
                Anchor::End,
                &number.to_string(),
            );
            free = y + 16.0;
        }
    }
}
