//! Least squares for a few dozen unknowns: damped Gauss-Newton, each step by conjugate gradients.

/// Steps after which a fit that still moves is taken as it is.
const MOST_STEPS: usize = 200;
/// Difference for the numeric derivative, on unknowns that are all logarithms or near 1.
const DIFFERENCE: f64 = 1e-6;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// a + s · b
fn plus(a: &[f64], s: f64, b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(x, y)| x + s * y).collect()
}

/// The unknowns that make the squares of `residuals` least, from `start` on.
pub(super) fn least_squares(start: &[f64], residuals: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let mut x = start.to_vec();
    let mut r = residuals(&x);
    let mut cost = dot(&r, &r);
    let mut damping = 1e-3;
    for _ in 0..MOST_STEPS {
        let columns: Vec<Vec<f64>> = (0..x.len())
            .map(|i| {
                let mut moved = x.clone();
                if let Some(v) = moved.get_mut(i) {
                    *v += DIFFERENCE;
                }
                let there = residuals(&moved);
                there
                    .iter()
                    .zip(&r)
                    .map(|(a, b)| (a - b) / DIFFERENCE)
                    .collect()
            })
            .collect();
        let downhill: Vec<f64> = columns.iter().map(|c| -dot(c, &r)).collect();
        let step = conjugate_gradients(&columns, damping, &downhill);
        let there = plus(&x, 1.0, &step);
        let r_there = residuals(&there);
        let cost_there = dot(&r_there, &r_there);
        if cost_there < cost {
            let gained = (cost - cost_there) / cost;
            (x, r, cost) = (there, r_there, cost_there);
            damping = (damping * 0.3).max(1e-12);
            if gained < 1e-13 {
                break;
            }
        } else {
            damping *= 10.0;
            if damping > 1e12 {
                break;
            }
        }
    }
    x
}

/// Solves (JᵀJ + damping · diag) s = b, J given by columns.
fn conjugate_gradients(columns: &[Vec<f64>], damping: f64, b: &[f64]) -> Vec<f64> {
    let diagonal: Vec<f64> = columns.iter().map(|c| dot(c, c).max(1e-12)).collect();
    let apply = |s: &[f64]| -> Vec<f64> {
        let rows = columns.first().map_or(0, Vec::len);
        let js = columns
            .iter()
            .zip(s)
            .fold(vec![0.0; rows], |sum, (column, v)| plus(&sum, *v, column));
        let product = columns.iter().map(|c| dot(c, &js));
        let damped = diagonal.iter().zip(s).map(|(d, v)| damping * d * v);
        product.zip(damped).map(|(p, d)| p + d).collect()
    };
    let precondition = |v: &[f64]| -> Vec<f64> {
        v.iter()
            .zip(&diagonal)
            .map(|(v, d)| v / (d * (1.0 + damping)))
            .collect()
    };
    let mut s = vec![0.0; b.len()];
    let mut rest = b.to_vec();
    let mut direction = precondition(&rest);
    let mut size = dot(&rest, &direction);
    let enough = size * 1e-24;
    for _ in 0..4 * b.len().max(1) {
        if size <= enough || size <= 0.0 {
            break;
        }
        let image = apply(&direction);
        let along = size / dot(&direction, &image);
        s = plus(&s, along, &direction);
        rest = plus(&rest, -along, &image);
        let better = precondition(&rest);
        let next = dot(&rest, &better);
        direction = plus(&better, next / size, &direction);
        size = next;
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_found_again() {
        let at: Vec<f64> = (0..20).map(f64::from).collect();
        let curve = |x: &[f64], t: f64| x[0].exp() / (1.0 + t * x[1].exp()) + x[2];
        let truth = [1.3, -0.7, 0.4];
        let found = least_squares(&[0.0, 0.0, 0.0], |x| {
            at.iter()
                .map(|t| curve(x, *t) - curve(&truth, *t))
                .collect()
        });
        for (a, b) in found.iter().zip(truth) {
            assert!((a - b).abs() < 1e-5, "{found:?}");
        }
    }

    #[test]
    fn a_line_through_points_is_the_textbook_one() {
        let points = [(0.0, 1.0), (1.0, 2.0), (2.0, 4.0)];
        let found = least_squares(&[0.0, 0.0], |x| {
            points.iter().map(|(t, y)| x[0] + x[1] * t - y).collect()
        });
        assert!((found[0] - 5.0 / 6.0).abs() < 1e-8 && (found[1] - 1.5).abs() < 1e-8);
    }
}
