//! The share of the roofline that decode gets, estimated from points of the same regime.

use std::collections::BTreeMap;

use crate::document::Point;
use crate::units::round_to;

/// The band is never narrower than this on either side.
const LEAST_SPREAD: f64 = 0.25;
/// A forecast of nothing would be a refusal by rounding.
const LEAST_LOW: f64 = 1e-4;

/// Where the experts are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Regime {
    /// All weights in VRAM.
    InVram,
    /// Experts of this share of the layers in RAM.
    Offload {
        /// Layers with experts in RAM ÷ layers with experts.
        fraction: f64,
    },
}

impl Regime {
    /// The regime of `on_host` of `layers` layers.
    pub fn of(on_host: u64, layers: u64) -> Self {
        if on_host == 0 {
            return Self::InVram;
        }
        let fraction = if layers == 0 {
            0.0
        } else {
            on_host as f64 / layers as f64
        };
        Self::Offload { fraction }
    }

    /// The regime that a point was measured in.
    pub fn of_point(p: &Point) -> Self {
        match p.offload_fraction {
            Some(fraction) if fraction > 0.0 => return Self::Offload { fraction },
            Some(_) => return Self::InVram,
            None => {}
        }
        let n = p.moe_layers_on_host.or(p.n_cpu_moe).unwrap_or(0);
        Self::of(n, p.n_moe_layers.unwrap_or(0))
    }
}

/// An efficiency with its band, each a share of the ceiling.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Lower end of the band.
    pub low: f64,
    /// The forecast.
    pub centre: f64,
    /// Upper end of the band.
    pub high: f64,
    /// Points of the regime.
    pub samples: u64,
    /// How it was derived, in words.
    pub basis: String,
}

/// The efficiency to expect in `regime`, or none when no point speaks of it.
///
/// In VRAM it is the median; offloaded it is piecewise-linear over the offload fraction (repeats
/// averaged, clamped at the ends) once there are two fractions, else the median. The band is the
/// largest relative distance of a point from the centre, 25 % at least.
pub fn estimate(points: &[Point], regime: Regime) -> Option<Estimate> {
    let mut efficiencies = Vec::new();
    // Keyed by the fraction in units of 1e-4: fractions that differ by less are repeats.
    let mut curve: BTreeMap<u64, (f64, Vec<f64>)> = BTreeMap::new();
    for p in points {
        let (Some(measured), Some(ceiling)) = (p.measured_tok_s, p.ceiling_tok_s) else {
            continue;
        };
        let efficiency = measured / ceiling;
        if !efficiency.is_finite() {
            continue;
        }
        match (Regime::of_point(p), regime) {
            (Regime::InVram, Regime::InVram) => efficiencies.push(efficiency),
            (Regime::Offload { fraction }, Regime::Offload { .. }) => {
                efficiencies.push(efficiency);
                let at = round_to(fraction, 4);
                let key = crate::units::floor_bytes((at * 1e4).round());
                curve
                    .entry(key)
                    .or_insert((at, Vec::new()))
                    .1
                    .push(efficiency);
            }
            _ => {}
        }
    }
    let middle = median(&mut efficiencies.clone())?;
    let samples = efficiencies.len();
    let (centre, basis) = match regime {
        Regime::InVram => (middle, format!("median of {samples} receipt(s) in VRAM")),
        Regime::Offload { fraction } if curve.len() >= 2 => {
            let knots: Vec<(f64, f64)> = curve
                .values()
                .map(|(at, e)| (*at, e.iter().sum::<f64>() / e.len() as f64))
                .collect();
            let basis = format!(
                "interpolated between {} offload fractions ({samples} receipts) at {fraction:.2}",
                knots.len()
            );
            (interpolate(&knots, fraction).unwrap_or(middle), basis)
        }
        Regime::Offload { .. } => (
            middle,
            format!("median of {samples} receipt(s) with offload"),
        ),
    };
    // A forecast lies at or below its ceiling, whatever the points say.
    let capped = centre.min(1.0);
    let spread = efficiencies
        .iter()
        .map(|e| ((e - capped) / capped).abs())
        .filter(|d| d.is_finite())
        .fold(LEAST_SPREAD, f64::max);
    let high = (capped * (1.0 + spread)).clamp(capped, 1.0);
    let mut low = (capped * (1.0 - spread)).max(LEAST_LOW);
    if capped > 0.0 {
        low = low.min(capped);
    }
    Some(Estimate {
        low,
        centre: capped,
        high,
        samples: samples as u64,
        basis: format!("{basis}; band ±{:.0} %", spread * 100.0),
    })
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get((values.len() / 2).checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}

/// The value at `x` of the line through `knots` (ascending), clamped at both ends.
fn interpolate(knots: &[(f64, f64)], x: f64) -> Option<f64> {
    let (first, last) = (knots.first()?, knots.last()?);
    if x <= first.0 {
        return Some(first.1);
    }
    if x >= last.0 {
        return Some(last.1);
    }
    knots.windows(2).find_map(|pair| match pair {
        [(x0, y0), (x1, y1)] if *x0 <= x && x <= *x1 => Some(y0 + (y1 - y0) * (x - x0) / (x1 - x0)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::seed;
    use super::*;

    fn point(n: u64, layers: u64, ceiling: f64, measured: f64) -> Point {
        Point {
            n_cpu_moe: Some(n),
            n_moe_layers: Some(layers),
            ceiling_tok_s: Some(ceiling),
            measured_tok_s: Some(measured),
            ..Point::default()
        }
    }

    #[test]
    fn the_seed_reproduces_its_own_points() {
        for (n, ceiling, measured) in [(0, 737.56, 302.4), (24, 69.02, 41.9), (48, 36.2, 20.4)] {
            let e = estimate(&seed(), Regime::of(n, 48)).unwrap();
            assert!((e.centre * ceiling - measured).abs() < 1e-9, "N = {n}");
            assert!(e.low < e.centre && e.centre < e.high);
        }
    }

    #[test]
    fn between_two_fractions_it_is_a_line_and_beyond_them_it_is_flat() {
        let points = [point(10, 100, 100.0, 80.0), point(50, 100, 100.0, 40.0)];
        for (n, want) in [(1, 0.8), (10, 0.8), (30, 0.6), (50, 0.4), (90, 0.4)] {
            let e = estimate(&points, Regime::of(n, 100)).unwrap();
            assert!((e.centre - want).abs() < 1e-12, "N = {n}: {}", e.centre);
        }
    }

    #[test]
    fn fractions_nearer_than_a_ten_thousandth_are_repeats() {
        let points = [
            point(333_333, 1_000_000, 100.0, 50.0),
            point(333_334, 1_000_000, 100.0, 60.0),
        ];
        let e = estimate(&points, Regime::of(1, 3)).unwrap();
        assert!((e.centre - 0.55).abs() < 1e-12);
        assert_eq!(e.samples, 2);
    }

    #[test]
    fn points_above_their_ceiling_never_lift_the_forecast_above_it() {
        for measured in [260.0, 400.0] {
            for n in [0, 24] {
                let e = estimate(&[point(n, 48, 100.0, measured)], Regime::of(n, 48)).unwrap();
                assert!(
                    e.low <= e.centre && e.centre <= e.high && e.high <= 1.0,
                    "{e:?}"
                );
            }
        }
    }

    #[test]
    fn a_point_of_a_model_split_by_blocks_tells_its_own_share() {
        let mut alone = point(0, 0, 100.0, 30.0);
        alone.offload_fraction = Some(1.0);
        let e = estimate(&[alone.clone()], Regime::Offload { fraction: 1.0 }).unwrap();
        assert!((e.centre - 0.3).abs() < 1e-12);
        assert_eq!(estimate(&[alone], Regime::InVram), None);
    }

    #[test]
    fn no_point_of_the_regime_is_no_estimate() {
        assert_eq!(estimate(&[], Regime::InVram), None);
        assert_eq!(estimate(&[point(0, 48, 9.0, 5.0)], Regime::of(3, 48)), None);
    }

    #[test]
    fn runs_that_measured_nothing_leave_no_forecast_but_a_least_low() {
        let e = estimate(&[point(0, 48, 100.0, 0.0)], Regime::InVram).unwrap();
        assert_eq!((e.low, e.centre, e.high), (1e-4, 0.0, 0.0));
        let e = estimate(&[point(0, 48, 1e6, 1.0)], Regime::InVram).unwrap();
        assert!(e.low <= e.centre && e.centre <= e.high, "{e:?}");
    }
}
