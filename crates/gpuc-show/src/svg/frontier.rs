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
    let plots = Plots {
        rows,
        axis: Axis::counts(last, 12.0),
        chosen: chosen(plan, rows),
    };
    let mut legend = plots.rates(canvas, plan.floor_tok_s.unwrap_or(0.0));
    let budget = curve.vram_budget_mib.map(|mib| mib * GIB_OF_MIB);
    plots.memory(canvas, budget);
    if let Some(gib) = budget {
        let words = format!("VRAM budget {} GiB", decimals(gib, 1));
        legend.push((Swatch::Line(Line::Budget), words));
    }
    if plots.chosen.is_some() {
        legend.push((Swatch::Mark(Mark::Diamond), "this plan".into()));
    }
    if rows.iter().any(|r| !r.fits) {
        legend.push((Swatch::Fill(Fill::NoFit), "does not fit this rig".into()));
    }
    canvas.legend(&legend);
}

/// What both plots show over one axis.
struct Plots<'a> {
    rows: &'a [FrontierRow],
    axis: Axis,
    chosen: Option<&'a FrontierRow>,
}

impl Plots<'_> {
    fn x(&self, row: &FrontierRow) -> f64 {
        self.axis.at(row.layers_in_ram as f64, LEFT, RIGHT)
    }

    fn line<'a>(
        &self,
        rows: impl Iterator<Item = &'a FrontierRow>,
        y: impl Fn(&FrontierRow) -> f64,
    ) -> Vec<(f64, f64)> {
        rows.map(|r| (self.x(r), y(r))).collect()
    }

    /// The axes of a plot, and what does not fit behind it; its top and bottom.
    fn ground(&self, canvas: &mut Canvas, y: &Axis, height: f64, name: &str) -> (f64, f64) {
        let (top, bottom) = (canvas.y + 10.0, canvas.y + 10.0 + height);
        unfit(canvas, self.rows, &self.axis, top, bottom);
        canvas.left_axis(y, top, bottom);
        canvas.bottom_axis(&self.axis, bottom, height, name);
        canvas.y = bottom + if name.is_empty() { 20.0 } else { 40.0 };
        (top, bottom)
    }

    /// The plan's own point, with what it says.
    fn choice(
        &self,
        canvas: &mut Canvas,
        (top, bottom): (f64, f64),
        at: impl Fn(&FrontierRow) -> (f64, String),
        lines: &[&[(f64, f64)]],
    ) {
        if let Some(row) = self.chosen {
            let (x, (y, words)) = (self.x(row), at(row));
            canvas.stroke("edge", x, top, x, bottom);
            canvas.mark(Mark::Diamond, x, y);
            canvas.beside((x, y), (top, bottom), &words, lines);
        }
    }

    /// Decode; what its lines mean.
    fn rates(&self, canvas: &mut Canvas, floor: f64) -> Vec<(Swatch, String)> {
        let rows = || self.rows.iter();
        canvas.heading("Decode, tok/s, by what is kept in RAM");
        let ceilings = rows().map(|r| r.ceiling_decode_tok_s);
        let most = ceilings.filter(|c| c.is_finite()).fold(floor, f64::max);
        let axis = Axis::from_zero(most, 5.0);
        let (top, bottom) = self.ground(canvas, &axis, RATES, "");
        let y = |value: f64| axis.at(value, bottom, top);
        let banded = || rows().filter(|r| r.predicted_band_low_tok_s.is_some());
        let mut band = self.line(banded(), |r| y(r.predicted_band_high_tok_s.unwrap_or(0.0)));
        band.extend(self.line(banded().rev(), |r| {
            y(r.predicted_band_low_tok_s.unwrap_or(0.0))
        }));
        let ceiling = self.line(rows(), |r| y(r.ceiling_decode_tok_s));
        let forecast = self.line(rows(), |r| y(r.predicted_decode_tok_s));
        let mut legend = vec![(Swatch::Line(Line::Forecast), "forecast".to_owned())];
        if band.len() > 3 {
            canvas.shape(Fill::Band, &format!("{}z", path(&band)));
            legend.push((Swatch::Fill(Fill::Band), "its band".into()));
        }
        canvas.curve(Line::Ceiling, &ceiling);
        canvas.line(Line::Floor, LEFT, y(floor), RIGHT, y(floor));
        canvas.curve(Line::Forecast, &forecast);
        legend.push((Swatch::Line(Line::Ceiling), "ceiling".into()));
        legend.push((Swatch::Line(Line::Floor), format!("floor {}", rate(floor))));
        let at = |row: &FrontierRow| (y(row.predicted_decode_tok_s), choice(row));
        self.choice(canvas, (top, bottom), at, &[&ceiling, &forecast, &band]);
        legend
    }

    /// VRAM in GiB.
    fn memory(&self, canvas: &mut Canvas, budget: Option<f64>) {
        canvas.heading("VRAM with its margin, GiB");
        let gib = |row: &FrontierRow| row.vram_mib * GIB_OF_MIB;
        let most = self.rows.iter().map(gib);
        let axis = Axis::from_zero(most.fold(budget.unwrap_or(0.0), f64::max), 4.0);
        let moe = self.rows.iter().any(|r| r.n_cpu_moe.is_some());
        let name = if moe {
            "layers whose experts are in RAM"
        } else {
            "layers in RAM"
        };
        let (top, bottom) = self.ground(canvas, &axis, MEMORY, name);
        let y = |gib: f64| axis.at(gib, bottom, top);
        let used = self.line(self.rows.iter(), |r| y(gib(r)));
        let limit = budget.map(|b| [(LEFT, y(b)), (RIGHT, y(b))]);
        let limit = limit.as_ref().map_or(&[][..], |l| l.as_slice());
        canvas.curve(Line::Budget, limit);
        canvas.curve(Line::Value, &used);
        let at = |row: &FrontierRow| (y(gib(row)), format!("{} GiB", decimals(gib(row), 1)));
        self.choice(canvas, (top, bottom), at, &[&used, limit]);
    }
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
