//! A trace -> the report on its concentration.
//!
//! Per layer with any mass: the hottest expert's share, the share of experts (hottest first) that
//! carries the coverage, and 1 − H / ln E, where H is the Shannon entropy of the shares in nats and
//! E the number of the layer's experts. Over the layers: median, median and mean.

use super::bootstrap::gini;
use crate::document::{Concentration, LayerConcentration, LayerCounts, Trace};

/// Layers whose totals differ by more than this share do not come from the same tokens.
const MAX_SPREAD: f64 = 0.2;
/// Visits that an expert should have had on average before the hot ones can be told from the lucky
/// ones.
const ENOUGH_VISITS: f64 = 30.0;

/// Whether fewer than `threshold` of the experts carry `coverage` of the routing in `trace`.
///
/// `coverage` and `threshold` are finite and not negative; a coverage above 1 asks for every
/// expert. A trace without mass justifies nothing.
pub fn report(trace: &Trace, coverage: f64, threshold: f64) -> Concentration {
    let per_layer: Vec<_> = trace
        .layers
        .iter()
        .filter_map(|layer| concentration(layer, coverage))
        .collect();
    let mut report = Concentration {
        model: trace.model.clone(),
        num_experts: trace.num_experts,
        n_layers: per_layer.len() as u64,
        n_tokens: trace.n_tokens,
        coverage_target: coverage,
        threshold,
        // What an empty trace reports: every expert needed, nothing concentrated.
        hot_frac_for_coverage: 1.0,
        ..Concentration::default()
    };
    if per_layer.is_empty() {
        report.basis = "no layer received a token, so nothing can be judged; counted as no reason \
                        for a cache"
            .into();
        report.notes = vec!["the trace is empty: record one on the real workload first".into()];
        return report;
    }
    report.hot_frac_for_coverage = median(per_layer.iter().map(|l| l.hot_frac_for_coverage));
    report.top1_share = median(per_layer.iter().map(|l| l.top1_share));
    report.concentration_score =
        per_layer.iter().map(|l| l.concentration_score).sum::<f64>() / per_layer.len() as f64;
    report.gini = per_layer.iter().map(|l| l.gini).sum::<f64>() / per_layer.len() as f64;
    report.cache_helps = report.hot_frac_for_coverage < threshold;
    report.basis = format!(
        "{} layers; hot fraction: median share of experts that carries {} % of the routing; \
         concentration: mean of 1 - entropy / ln(experts); a cache helps below {} %",
        per_layer.len(),
        percent(coverage),
        percent(threshold)
    );
    report.notes = notes(trace, &per_layer);
    report.per_layer = per_layer;
    report
}

fn notes(trace: &Trace, per_layer: &[LayerConcentration]) -> Vec<String> {
    let mut notes = Vec::new();
    let masses = || per_layer.iter().map(|l| l.total_mass);
    let (least, most) = (masses().min().unwrap_or(0), masses().max().unwrap_or(0));
    if (most - least) as f64 > MAX_SPREAD * most as f64 {
        notes.push(format!(
            "the layers' totals differ by more than 20 % ({least} to {most}): they were not \
             recorded on the same tokens, or send them to different numbers of experts"
        ));
    }
    let odd = trace
        .layers
        .iter()
        .map(|l| l.expert_counts.len() as u64)
        .find(|n| *n != 0 && *n != trace.num_experts);
    if let Some(n) = odd {
        notes.push(format!(
            "a layer counts {n} experts where the trace declares {}: each share is of the layer's own",
            trace.num_experts
        ));
    }
    let counts = trace.layers.iter().filter(|l| l.total() > 0);
    let experts: usize = counts.map(|l| l.expert_counts.len()).sum();
    let visits = masses().fold(0, u64::saturating_add) as f64 / experts.max(1) as f64;
    if visits < ENOUGH_VISITS {
        notes.push(format!(
            "an expert was visited {visits:.1} times on average, {ENOUGH_VISITS:.0} would be \
             enough: a small sample looks more concentrated than the workload is"
        ));
    }
    notes.push(
        "routing depends on the workload: skew within one kind of request evens out over many \
         kinds; this verdict holds for the recorded one only"
            .into(),
    );
    notes
}

fn concentration(layer: &LayerCounts, coverage: f64) -> Option<LayerConcentration> {
    let total_mass = layer.total();
    if total_mass == 0 {
        return None;
    }
    let total = total_mass as f64;
    let experts = layer.expert_counts.len() as f64;
    let hot_frac_for_coverage = hot_fraction(&layer.expert_counts, coverage)?;
    let mut hottest_first = layer.expert_counts.clone();
    hottest_first.sort_unstable_by(|a, b| b.cmp(a));
    let top = hottest_first.first().copied().unwrap_or(0);

    let shares = hottest_first.iter().take_while(|n| **n > 0);
    let active = shares.clone().count();
    let entropy: f64 = shares
        .map(|n| *n as f64 / total)
        .map(|share| -share * share.ln())
        .sum();
    let concentration_score = if active <= 1 {
        1.0
    } else {
        // Rounding can take an even layer a hair below 0.
        (1.0 - entropy / experts.ln()).max(0.0)
    };
    Some(LayerConcentration {
        layer_index: layer.layer_index,
        total_mass,
        top1_share: top as f64 / total,
        hot_frac_for_coverage,
        concentration_score,
        gini: gini(&layer.expert_counts),
    })
}

/// The share of experts, hottest first, that carries `coverage` of `counts`; none without any.
pub(super) fn hot_fraction(counts: &[u64], coverage: f64) -> Option<f64> {
    let total = counts.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
    if total == 0 {
        return None;
    }
    let mut hottest_first = counts.to_vec();
    hottest_first.sort_unstable_by(|a, b| b.cmp(a));
    let target = coverage * total as f64;
    let (mut carried, mut needed) = (0u64, 0usize);
    for n in hottest_first {
        carried = carried.saturating_add(n);
        needed += 1;
        if carried as f64 >= target {
            break;
        }
    }
    Some(needed as f64 / counts.len() as f64)
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    if sorted.len() % 2 == 1 {
        return upper;
    }
    let lower = sorted.get((sorted.len() / 2).saturating_sub(1));
    f64::midpoint(lower.copied().unwrap_or(0.0), upper)
}

/// A share as a percentage without a tail of zeros (`90`, `12.5`).
fn percent(share: f64) -> f64 {
    crate::units::round_to(share * 100.0, 1)
}

/// The verdict in one sentence, for people.
pub fn summary(report: &Concentration) -> String {
    let model = report.model.as_deref().unwrap_or("this model");
    if report.per_layer.is_empty() {
        return format!("{model}: nothing to judge, no layer received a token");
    }
    let verdict = if report.cache_helps {
        "a per-expert cache could help"
    } else {
        "a per-expert cache is not justified"
    };
    let tokens = report
        .n_tokens
        .map_or_else(String::new, |n| format!(", about {n} tokens"));
    format!(
        "{model}: {verdict}: {} % of the experts carry {} % of the routing (limit {} %); \
         concentration {:.2}, hottest expert {:.1} % ({} layers{tokens})",
        percent(report.hot_frac_for_coverage),
        percent(report.coverage_target),
        percent(report.threshold),
        report.concentration_score,
        report.top1_share * 100.0,
        report.n_layers,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trace(layers: &[&[u64]]) -> Trace {
        Trace {
            model: Some("m".into()),
            num_experts: layers.first().map_or(0, |l| l.len() as u64),
            n_tokens: Some(10),
            layers: (0..)
                .zip(layers)
                .map(|(i, counts)| LayerCounts {
                    layer_index: Some(i),
                    expert_counts: counts.to_vec(),
                })
                .collect(),
            ..Trace::default()
        }
    }

    #[test]
    fn the_hottest_experts_that_carry_the_coverage_are_counted() {
        // (counts, coverage, experts needed); the comparison is carried >= coverage x total, as
        // doubles, without a tolerance: 0.07 x 100 is 7.000000000000001, so 7 of 100 do not do.
        let mut sevens = vec![7u64];
        sevens.extend([1; 93]);
        let cases: [(&[u64], f64, f64); 10] = [
            (&[90, 10], 0.9, 1.0),
            (&[10, 90], 0.9, 1.0),
            (&[89, 11], 0.9, 2.0),
            (&[5, 5, 5, 5, 1, 1, 1, 1], 0.9, 6.0),
            (&[1; 10], 0.8, 8.0),
            (&[5, 3, 2, 0, 0], 0.0, 1.0),
            (&[5, 3, 2, 0, 0], 1.0, 3.0),
            (&[5, 3, 2, 0, 0], 1.2, 5.0),
            (&[899_999_999, 100_000_001], 0.9, 2.0),
            (&sevens, 0.07, 2.0),
        ];
        for (counts, coverage, needed) in cases {
            let r = report(&trace(&[counts]), coverage, 0.5);
            let want = needed / counts.len() as f64;
            assert_eq!(r.hot_frac_for_coverage, want, "{counts:?} at {coverage}");
        }
    }

    #[test]
    fn entropy_is_normalised_by_the_layers_own_experts() {
        // 1 - H/ln E by hand: H(3/4, 1/4) = 0.811278... bits, over 1 bit and over 2 bits.
        let h = 0.8112781244591328;
        let cases: [(&[u64], f64); 6] = [
            (&[3, 1], 1.0 - h),
            (&[3, 1, 0, 0], 1.0 - h / 2.0),
            (&[7], 1.0),
            (&[7, 0, 0], 1.0),
            (&[4; 4], 0.0),
            (&[125; 64], 0.0),
        ];
        for (counts, want) in cases {
            let r = report(&trace(&[counts]), 0.9, 0.5);
            assert!((r.concentration_score - want).abs() < 1e-12, "{counts:?}");
        }
    }

    #[test]
    fn layers_are_joined_by_median_and_mean() {
        let r = report(
            &trace(&[&[0; 8], &[10; 8], &[80, 0, 0, 0, 0, 0, 0, 0]]),
            0.9,
            0.6,
        );
        assert_eq!((r.n_layers, r.hot_frac_for_coverage), (2, 0.5625));
        assert_eq!((r.top1_share, r.cache_helps), (0.5625, true));
        assert!((r.concentration_score - 0.5).abs() < 1e-12);
        assert_eq!(r.per_layer[0].layer_index, Some(1));
        let odd = report(&trace(&[&[9, 1], &[5, 5], &[1, 0]]), 0.9, 0.5);
        assert_eq!((odd.hot_frac_for_coverage, odd.cache_helps), (0.5, false));
    }

    #[test]
    fn a_trace_without_mass_justifies_nothing() {
        for layers in [&[] as &[&[u64]], &[&[]], &[&[0, 0]]] {
            let r = report(&trace(layers), 0.9, 5.0);
            assert_eq!(
                (r.n_layers, r.hot_frac_for_coverage, r.cache_helps),
                (0, 1.0, false)
            );
            assert_eq!((r.top1_share, r.concentration_score), (0.0, 0.0));
            assert!(!r.basis.is_empty() && r.notes.len() == 1);
            assert!(summary(&r).contains("nothing to judge"));
        }
    }

    #[test]
    fn unequal_totals_are_noted() {
        let cases: [(&[&[u64]], usize); 4] = [
            (&[&[80, 0], &[100, 0]], 1),
            (&[&[79, 0], &[100, 0]], 2),
            (&[&[100, 0], &[0, 0]], 1),
            (&[&[100, 0], &[100]], 2),
        ];
        for (layers, notes) in cases {
            assert_eq!(
                report(&trace(layers), 0.9, 0.5).notes.len(),
                notes,
                "{layers:?}"
            );
        }
    }

    #[test]
    fn the_summary_names_the_verdict() {
        let text = summary(&report(&trace(&[&[97, 1, 1, 1]]), 0.9, 0.5));
        let want =
            "m: a per-expert cache could help: 25 % of the experts carry 90 % of the routing";
        assert!(text.starts_with(want), "{text}");
        let text = summary(&report(&trace(&[&[1, 1]]), 0.9, 0.5));
        assert!(text.contains("is not justified: 100 %"), "{text}");
    }

    proptest! {
        #[test]
        fn shares_stay_shares(
            layers in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..20), 0..6),
            coverage in 0.0..2.0,
        ) {
            let layers: Vec<&[u64]> = layers.iter().map(Vec::as_slice).collect();
            let r = report(&trace(&layers), coverage, 0.5);
            for x in [r.hot_frac_for_coverage, r.concentration_score, r.top1_share] {
                prop_assert!((0.0..=1.0).contains(&x), "{r:?}");
            }
        }

        #[test]
        fn more_coverage_never_needs_fewer_experts(
            counts in prop::collection::vec(0u64..1000, 1..40),
            (a, b) in (0.0..1.0, 0.0..1.0),
        ) {
            let hot = |c| report(&trace(&[&counts]), c, 0.5).hot_frac_for_coverage;
            let (less, more) = if a <= b { (a, b) } else { (b, a) };
            prop_assert!(hot(less) <= hot(more));
        }
    }
}
