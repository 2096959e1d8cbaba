//! How decode and VRAM move with the layers in RAM: the trade that a plan chooses from.

use gpuc_core::document::Plan;
use gpuc_core::plan::{Frontier, FrontierRow};

use super::axis::Axis;
use super::canvas::{Canvas, Fill, LEFT, Line, Mark, RIGHT, Swatch, path};
use super::number::{decimals, rate};

const RATES: f64 = 220.0;
const MEMORY: f64 = 150.0;
const GIB_OF_MIB: f64 = 1.0 / 1024.0;

/// Two plots over one axis: decode with its band, and VRAM with its budget.
pub(super) fn draw(canvas: &mut Canvas, plan: &Plan, curve: &Frontier) {
    let rows = &curve.rows;
    let Some(last) = rows.iter().map(|r| r.layers_in_ram).max() else {
        return;
    };
    let moe = rows.iter().any(|r| r.n_cpu_moe.is_some());
    let chosen = chosen(plan, rows);
    let x_axis = Axis::counts(last, 12.0);
    let x = |row: &FrontierRow| x_axis.at(row.layers_in_ram as f64, LEFT, RIGHT);

    canvas.heading("Decode, tok/s, by what is kept in RAM");
    let most = rows
        .iter()
        .map(|r| r.ceiling_decode_tok_s)
        .filter(|c| c.is_finite());
    let floor = plan.floor_tok_s.unwrap_or(0.0);
    let rates = Axis::from_zero(most.fold(floor, f64::max), 5.0);
    let (top, bottom) = (canvas.y + 10.0, canvas.y + 10.0 + RATES);
    unfit(canvas, rows, &x_axis, top, bottom);
    canvas.left_axis(&rates, top, bottom);
    canvas.bottom_axis(&x_axis, bottom, RATES, "");
    let y = |value: f64| rates.at(value, bottom, top);
    let line = |value: &dyn Fn(&FrontierRow) -> f64| -> Vec<(f64, f64)> {
        rows.iter().map(|r| (x(r), y(value(r)))).collect()
    };
    let banded = rows.iter().filter(|r| r.predicted_band_low_tok_s.is_some());
    let mut band: Vec<(f64, f64)> = banded
        .clone()
        .map(|r| (x(r), y(r.predicted_band_high_tok_s.unwrap_or(0.0))))
        .collect();
    band.extend(
        banded
            .rev()
            .map(|r| (x(r), y(r.predicted_band_low_tok_s.unwrap_or(0.0)))),
    );
    let has_band = band.len() > 3;
    if has_band {
        canvas.shape(Fill::Band, &format!("{}z", path(&band)));
    }
    let ceiling = line(&|r| r.ceiling_decode_tok_s);
    let forecast = line(&|r| r.predicted_decode_tok_s);
    canvas.curve(Line::Ceiling, &ceiling);
    canvas.line(Line::Floor, LEFT, y(floor), RIGHT, y(floor));
    canvas.curve(Line::Forecast, &forecast);
    if let Some(row) = chosen {
        let (x, y) = (x(row), y(row.predicted_decode_tok_s));
        canvas.stroke("edge", x, top, x, bottom);
        canvas.mark(Mark::Diamond, x, y);
        canvas.beside(
            (x, y),
            (top, bottom),
            &choice(row),
            &[&ceiling, &forecast, &band],
        );
    }
    canvas.y = bottom + 20.0;

    canvas.heading("VRAM with its margin, GiB");
    let vram = rows.iter().map(|r| r.vram_mib * GIB_OF_MIB);
    let budget = curve.vram_budget_mib.map(|mib| mib * GIB_OF_MIB);
    let sizes = Axis::from_zero(vram.fold(budget.unwrap_or(0.0), f64::max), 4.0);
    let (top, bottom) = (canvas.y + 10.0, canvas.y + 10.0 + MEMORY);
    unfit(canvas, rows, &x_axis, top, bottom);
    let name = if moe {
        "layers whose experts are in RAM"
    } else {
        "layers in RAM"
    };
    canvas.left_axis(&sizes, top, bottom);
    canvas.bottom_axis(&x_axis, bottom, MEMORY, name);
    let y = |gib: f64| sizes.at(gib, bottom, top);
    let points: Vec<_> = rows
        .iter()
        .map(|r| (x(r), y(r.vram_mib * GIB_OF_MIB)))
        .collect();
    if let Some(gib) = budget {
        canvas.line(Line::Budget, LEFT, y(gib), RIGHT, y(gib));
    }
    canvas.curve(Line::Value, &points);
    if let Some(row) = chosen {
        let (x, gib) = (x(row), row.vram_mib * GIB_OF_MIB);
        canvas.stroke("edge", x, top, x, bottom);
        canvas.mark(Mark::Diamond, x, y(gib));
        let words = format!("{} GiB", decimals(gib, 1));
        let line = [
            (LEFT, y(budget.unwrap_or(0.0))),
            (RIGHT, y(budget.unwrap_or(0.0))),
        ];
        canvas.beside((x, y(gib)), (top, bottom), &words, &[&points, &line]);
    }
    canvas.y = bottom + 40.0;

    let mut legend = vec![(Swatch::Line(Line::Forecast), "forecast".to_owned())];
    if has_band {
        legend.push((Swatch::Fill(Fill::Band), "its band".into()));
    }
    legend.push((Swatch::Line(Line::Ceiling), "ceiling".into()));
    legend.push((Swatch::Line(Line::Floor), format!("floor {}", rate(floor))));
    if let Some(gib) = budget {
        let words = format!("VRAM budget {} GiB", decimals(gib, 1));
        legend.push((Swatch::Line(Line::Budget), words));
    }
    if chosen.is_some() {
        legend.push((Swatch::Mark(Mark::Diamond), "this plan".into()));
    }
    if rows.iter().any(|r| !r.fits) {
        legend.push((Swatch::Fill(Fill::NoFit), "does not fit this rig".into()));
    }
    canvas.legend(&legend);
}

/// The row of the plan's own placement, where the table has it.
fn chosen<'a>(plan: &Plan, rows: &'a [FrontierRow]) -> Option<&'a FrontierRow> {
    let on_host = plan.moe_layers_on_host.or(plan.n_cpu_moe);
    rows.iter().find(|row| match row.n_cpu_moe {
        Some(_) => Some(row.layers_in_ram) == on_host && row.n_gpu_layers == plan.n_gpu_layers,
        None => row.n_gpu_layers == plan.n_gpu_layers,
    })
}

/// The plan's placement in words.
fn choice(row: &FrontierRow) -> String {
    let flag = match (row.n_gpu_layers, row.n_cpu_moe) {
        (Some(layers), _) => format!("-ngl {layers}"),
        (None, Some(n)) => format!("--n-cpu-moe {n}"),
        (None, None) => "all on the GPU".to_owned(),
    };
    format!("{flag}: {} tok/s", rate(row.predicted_decode_tok_s))
}

/// Shades what does not fit, each run of placements at once.
fn unfit(canvas: &mut Canvas, rows: &[FrontierRow], axis: &Axis, top: f64, bottom: f64) {
    let at = |n: f64| axis.at(n, LEFT, RIGHT);
    let mut start: Option<f64> = None;
    let mut before: Option<&FrontierRow> = None;
    for row in rows {
        let here = row.layers_in_ram as f64;
        // The border lies half-way between a placement that fits and one that does not.
        let border = before.map_or(0.0, |b| f64::midpoint(b.layers_in_ram as f64, here));
        match (start, row.fits) {
            (None, false) => start = Some(border),
            (Some(from), true) => {
                canvas.area(
                    Fill::NoFit,
                    at(from),
                    top,
                    at(border) - at(from),
                    bottom - top,
                );
                start = None;
            }
            _ => {}
        }
        before = Some(row);
    }
    if let Some(from) = start {
        canvas.area(Fill::NoFit, at(from), top, RIGHT - at(from), bottom - top);
    }
}
