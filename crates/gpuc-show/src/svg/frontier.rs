//! How decode and VRAM move with the layers in RAM: the trade that a plan chooses from.

use gpuc_core::document::Plan;
use gpuc_core::plan::{Frontier, FrontierRow};

use super::axis::Axis;
use super::canvas::{Canvas, LEFT, RIGHT, path};
use super::number::{decimals, rate};
use super::paint::{Fill, Line, Mark, Swatch};

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
        chosen: Chosen::of(plan, rows, last),
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
    chosen: Option<Chosen>,
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
        at: impl Fn(&Chosen) -> (f64, String),
        lines: &[&[(f64, f64)]],
    ) {
        if let Some(chosen) = &self.chosen {
            let x = self.axis.at(chosen.layers as f64, LEFT, RIGHT);
            let (y, words) = at(chosen);
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
        let at = |c: &Chosen| (y(c.tok_s), c.words.clone());
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
        let at = |c: &Chosen| {
            let gib = c.vram_mib * GIB_OF_MIB;
            (y(gib), format!("{} GiB", decimals(gib, 1)))
        };
        self.choice(canvas, (top, bottom), at, &[&used, limit]);
    }
}

/// The plan's own point: near the curve where it keeps to whole layers, on it where they are those
/// that the curve counts.
struct Chosen {
    layers: u64,
    tok_s: f64,
    vram_mib: f64,
    words: String,
}

impl Chosen {
    /// What the plan tells of itself; where it does not, what the curve has there.
    fn of(plan: &Plan, rows: &[FrontierRow], last: u64) -> Option<Self> {
        let layers = if rows.iter().any(|r| r.n_cpu_moe.is_some()) {
            plan.moe_layers_on_host.or(plan.n_cpu_moe)?
        } else {
            plan.n_gpu_layers
                .map_or(0, |on_gpu| last.saturating_sub(on_gpu))
        };
        let row = rows
            .iter()
            .min_by_key(|r| r.layers_in_ram.abs_diff(layers))?;
        let tok_s = plan
            .predicted_decode_tok_s
            .unwrap_or(row.predicted_decode_tok_s);
        // Some of these layers' tensors are in VRAM.
        let by_tensors = plan
            .llama_flags
            .as_ref()
            .is_some_and(|f| f.contains("-ot "));
        let flag = match (plan.n_gpu_layers, plan.n_cpu_moe) {
            (Some(layers), _) => format!("-ngl {layers}"),
            (None, Some(_)) if by_tensors => "tensor by tensor".to_owned(),
            (None, Some(n)) => format!("--n-cpu-moe {n}"),
            (None, None) => "all on the GPU".to_owned(),
        };
        Some(Self {
            layers,
            tok_s,
            vram_mib: plan.vram_used_mib.unwrap_or(row.vram_mib),
            words: format!("{flag}: {} tok/s", rate(tok_s)),
        })
    }
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
