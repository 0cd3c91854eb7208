//! The metrics from their formulas, in `f64`, in plain loops. Never optimised: it is what the other backends are
//! compared with, and a backend a user can choose.

use super::params::Metric;
use crate::data::frame::{exponent_above, power_of_two};

/// The value of `metric` for two rows of input values.
///
/// The cosine distance is computed as `|x/|x| - y/|y||^2 / 2`, which is the same number and exactly 0 for equal rows.
pub(crate) fn measure(metric: Metric, x: &[f64], y: &[f64]) -> f64 {
    match metric {
        Metric::SquaredEuclidean => {
            let length = difference_length(x, y);
            length.square * length.unit * length.unit
        }
        Metric::Euclidean => {
            let length = difference_length(x, y);
            length.square.sqrt() * length.unit
        }
        Metric::Cosine => {
            let mut sum = 0.0;
            for (x, y) in direction(x).iter().zip(direction(y)) {
                sum += (x - y) * (x - y);
            }
            (0.5 * sum).min(2.0)
        }
        Metric::InnerProduct => {
            let (x_unit, y_unit) = (unit(x.iter().copied()), unit(y.iter().copied()));
            let mut sum = 0.0;
            for (x, y) in x.iter().zip(y) {
                sum += (x / x_unit) * (y / y_unit);
            }
            // The larger unit last: an intermediate result must not overflow where the final one does not.
            sum * x_unit.min(y_unit) * x_unit.max(y_unit)
        }
        Metric::Manhattan => {
            let mut sum = 0.0;
            for (x, y) in x.iter().zip(y) {
                sum += (x - y).abs();
            }
            sum
        }
        Metric::Chebyshev => {
            let mut largest = 0.0_f64;
            for (x, y) in x.iter().zip(y) {
                largest = largest.max((x - y).abs());
            }
            largest
        }
    }
}

/// `|x - y|^2 = square * unit^2`, apart so that nothing overflows before the result does.
struct Length {
    square: f64,
    unit: f64,
}

fn difference_length(x: &[f64], y: &[f64]) -> Length {
    let unit = unit(x.iter().zip(y).map(|(x, y)| x - y));
    let mut sum = 0.0;
    for (x, y) in x.iter().zip(y) {
        sum += ((x - y) / unit) * ((x - y) / unit);
    }
    Length { square: sum, unit }
}

/// The row divided by its length.
fn direction(row: &[f64]) -> Vec<f64> {
    let unit = unit(row.iter().copied());
    let mut sum = 0.0;
    for value in row {
        sum += (value / unit) * (value / unit);
    }
    row.iter().map(|value| value / unit / sum.sqrt()).collect()
}

/// A power of two that makes the largest magnitude at most 1; dividing by it rounds nothing.
fn unit(values: impl Iterator<Item = f64>) -> f64 {
    let peak = values.fold(0.0_f64, |peak, value| peak.max(value.abs()));
    if peak == 0.0 { 1.0 } else { power_of_two(exponent_above(peak).clamp(-1000, 1000)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_by_hand() {
        let (x, y) = ([1.0, 2.0, 3.0], [4.0, 6.0, 3.0]);
        for (metric, expected) in [
            (Metric::SquaredEuclidean, 25.0),
            (Metric::Euclidean, 5.0),
            (Metric::InnerProduct, 25.0),
            (Metric::Manhattan, 7.0),
            (Metric::Chebyshev, 4.0),
        ] {
            assert_eq!(measure(metric, &x, &y), expected, "{metric}");
        }
        assert_eq!(measure(Metric::Cosine, &[2.0, 0.0], &[0.0, 3.0]), 1.0);
        assert_eq!(measure(Metric::Cosine, &[2.0, 0.0], &[-4.0, 0.0]), 2.0);
        assert_eq!(measure(Metric::Cosine, &x, &x), 0.0);
    }

    #[test]
    fn only_results_beyond_f64_overflow() {
        let (x, y) = ([1e300, 0.0], [0.0, 1e300]);
        let length = measure(Metric::Euclidean, &x, &y);
        assert!((length / (2.0_f64.sqrt() * 1e300) - 1.0).abs() < 1e-15, "{length}");
        assert_eq!(measure(Metric::SquaredEuclidean, &x, &y), f64::INFINITY);
        assert_eq!(measure(Metric::InnerProduct, &[1e300], &[1e-300]), 1e300 * 1e-300);
        assert_eq!(measure(Metric::Cosine, &[1e300], &[1e-300]), 0.0);
    }
}
