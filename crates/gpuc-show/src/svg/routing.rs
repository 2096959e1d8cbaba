//! The picture of a routing trace: which experts are hot in which layer, and how few of them carry
//! how much.

use gpuc_core::document::{Concentration, LayerCounts, Trace};

use super::axis::Axis;
use super::canvas::{Canvas, LEFT, RIGHT, path};
use super::number::percent;
use super::paint::{Fill, Line, Mark, Swatch};
use super::picture::Picture;
use super::{heat, replay};

const PLOT: f64 = 300.0;
/// Points of the coverage curve.
const STEPS: usize = 100;

/// A trace with the report on it.
pub fn routing(trace: &Trace, report: &Concentration) -> Picture {
    let model = report.model.as_deref().unwrap_or("this model");
    let verdict = if report.cache_helps {
        "a per-expert cache could help"
    } else {
        "a per-expert cache is not justified"
    };
    let mut canvas = Canvas::new("routing", &format!("{model}: {verdict}"));
    let words = format!(
        "{} of the experts carry {} of the routing; a cache helps below {}. Even routing would \
         need {}.",
        percent(report.hot_frac_for_coverage),
        percent(report.coverage_target),
        percent(report.threshold),
        percent(report.coverage_target.min(1.0)),
    );
    canvas.paragraph("dim", &words, 3);
    let layers: Vec<&LayerCounts> = trace.layers.iter().filter(|l| l.total() > 0).collect();
    if layers.is_empty() {
        canvas.paragraph(
            "dim",
            "No layer received a token: there is nothing to draw.",
            1,
        );
        return canvas.finish(&words);
    }
    canvas.heading("Visits to each expert, by layer from top to bottom");
    heat::draw(&mut canvas, &layers);
    canvas.heading("What the hottest experts carry, % of the routing");
    coverage(&mut canvas, &layers, report);
    replay::draw(&mut canvas, &report.replay);
    canvas.finish(&format!(
        "A heat map of experts by layers, and the share of the routing that the hottest experts \
         carry. {words}"
    ))
}

/// The share of a layer's routing that its hottest experts carry, for each share of them.
fn carried(layer: &LayerCounts) -> Vec<f64> {
    let mut counts = layer.expert_counts.clone();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let total = layer.total() as f64;
    let mut sums = vec![0.0];
    let mut sum = 0.0;
    for n in &counts {
        sum += *n as f64;
        sums.push((sum / total).min(1.0));
    }
    let experts = counts.len() as f64;
    let at = |i: usize| {
        let expert = experts * i as f64 / STEPS as f64;
        let before = usize::try_from(gpuc_core::units::floor_bytes(expert)).unwrap_or(usize::MAX);
        let low = sums.get(before).copied().unwrap_or(1.0);
        let high = sums.get(before + 1).copied().unwrap_or(1.0);
        low + (high - low) * (expert - before as f64)
    };
    (0..=STEPS).map(at).collect()
}

fn coverage(canvas: &mut Canvas, layers: &[&LayerCounts], report: &Concentration) {
    let curves: Vec<Vec<f64>> = layers.iter().map(|l| carried(l)).collect();
    // Of all layers at once: the least, the middle and the most.
    let spread: Vec<[f64; 3]> = (0..=STEPS)
        .map(|i| {
            let mut all: Vec<f64> = curves.iter().filter_map(|c| c.get(i).copied()).collect();
            all.sort_unstable_by(f64::total_cmp);
            let at = |i: usize| all.get(i).copied().unwrap_or(0.0);
            [at(0), at(all.len() / 2), at(all.len().saturating_sub(1))]
        })
        .collect();
    let axis = Axis::up_to(100.0, 5.0);
    let (top, bottom) = (canvas.y + 10.0, canvas.y + 10.0 + PLOT);
    canvas.left_axis(&axis, top, bottom);
    canvas.bottom_axis(
        &axis,
        bottom,
        PLOT,
        "share of the experts, hottest first, %",
    );
    let x = |share: f64| axis.at(100.0 * share, LEFT, RIGHT);
    let y = |share: f64| axis.at(100.0 * share, bottom, top);
    let line = |which: usize| -> Vec<(f64, f64)> {
        let value = |s: &[f64; 3]| s.get(which).copied().unwrap_or(0.0);
        let points = spread.iter().enumerate();
        points
            .map(|(i, s)| (x(i as f64 / STEPS as f64), y(value(s))))
            .collect()
    };
    let (least, middle, most) = (line(0), line(1), line(2));
    let outline: Vec<_> = most.iter().chain(least.iter().rev()).copied().collect();
    canvas.shape(Fill::Band, &format!("{}z", path(&outline)));
    canvas.line(Line::Even, LEFT, bottom, RIGHT, top);
    canvas.curve(Line::Forecast, &middle);
    let target = report.coverage_target.min(1.0);
    let hot = report.hot_frac_for_coverage;
    canvas.line(Line::Ceiling, LEFT, y(target), RIGHT, y(target));
    let limit = x(report.threshold.min(1.0));
    canvas.line(Line::Limit, limit, top, limit, bottom);
    canvas.mark(Mark::Diamond, x(hot), y(target));
    let words = format!("{} of the experts", percent(hot));
    let upright = [(limit, top), (limit, bottom)];
    let across = [(LEFT, y(target)), (RIGHT, y(target))];
    let even = [(LEFT, bottom), (RIGHT, top)];
    canvas.beside(
        (x(hot), y(target)),
        (top, bottom),
        &words,
        &[&upright, &across, &middle, &even],
    );
    canvas.y = bottom + 40.0;
    canvas.legend(&[
        (Swatch::Line(Line::Forecast), "median layer".into()),
        (Swatch::Fill(Fill::Band), "all layers".into()),
        (Swatch::Line(Line::Even), "even routing".into()),
        (
            Swatch::Line(Line::Ceiling),
            format!("wanted {}", percent(target)),
        ),
        (
            Swatch::Line(Line::Limit),
            format!(
                "a cache helps left of {}",
                percent(report.threshold.min(1.0))
            ),
        ),
    ]);
}

#[cfg(test)]
mod tests {
    use gpuc_core::document::CacheReplay;
    use gpuc_core::routing::{Policy, report};
    use proptest::prelude::*;

    use super::*;
    use crate::svg::tests::{checked, hostile, without_style};

    fn trace(layers: Vec<Vec<u64>>) -> Trace {
        Trace {
            num_experts: layers.first().map_or(0, |l| l.len() as u64),
            layers: (0..)
                .zip(layers)
                .map(|(i, expert_counts)| LayerCounts {
                    layer_index: Some(i),
                    expert_counts,
                })
                .collect(),
            ..Trace::default()
        }
    }

    #[test]
    fn the_largest_models_fit_a_small_file() {
        // Neighbours of different heat everywhere: nothing can be joined.
        let count = |layer: u64, expert: u64| (layer * 7919 + expert * 104_729) % 1000 + 1;
        for (layers, experts) in [(100, 512), (2048, 64), (2, 65_536), (61, 256)] {
            let counts = (0..layers).map(|l| (0..experts).map(|e| count(l, e)).collect());
            let trace = trace(counts.collect());
            let svg = checked(&routing(&trace, &report(&trace, 0.9, 0.5)));
            assert!(
                svg.len() < 1 << 20,
                "{layers} x {experts}: {} bytes",
                svg.len()
            );
        }
    }

    #[test]
    fn a_small_trace() {
        let trace = trace(vec![vec![6, 2, 0, 0], vec![1, 1, 1, 1]]);
        let mut report = report(&trace, 0.9, 0.5);
        report.replay = (1..3)
            .map(|slots| CacheReplay {
                slots,
                policy: Policy::Lru,
                hits: 3 * slots,
                selections: 12,
                hit_rate: 0.25 * slots as f64,
                whole_rate: 0.0,
                vram_mib: None,
                predicted_decode_tok_s: None,
                whole_layers_decode_tok_s: None,
            })
            .collect();
        insta::assert_snapshot!(without_style(&checked(&routing(&trace, &report))));
    }

    #[test]
    fn what_few_experts_carry() {
        let layer = LayerCounts {
            layer_index: None,
            expert_counts: vec![1, 8, 1, 0],
        };
        let curve = carried(&layer);
        assert_eq!(
            (curve[0], curve[25], curve[50], curve[100]),
            (0.0, 0.8, 0.9, 1.0)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_trace_is_drawn(
            model in prop::option::of(hostile()),
            layers in prop::collection::vec(
                prop::collection::vec(prop_oneof![0..1000u64, Just(u64::MAX >> 8)], 0..40),
                0..12,
            ),
            coverage in prop_oneof![0.0..2.0f64, Just(1e100)],
            threshold in prop_oneof![0.0..2.0f64, Just(1e100)],
        ) {
            let trace = Trace { model, ..trace(layers) };
            checked(&routing(&trace, &report(&trace, coverage, threshold)));
        }
    }
}
