//! The metrics from their formulas, in `f64`, in plain loops. Never optimised: it is what the other backends are
//! compared with, and a backend a user can choose.

use super::metric::Metric;
use super::params::Constants;
use crate::data::frame::{exponent_above, power_of_two};

/// The value of `metric` for two rows of input values, which its domain holds. Packed rows come as their bits.
///
/// The cosine distance is computed as `|x/|x| - y/|y||^2 / 2`, which is the same number and exactly 0 for equal rows;
/// so is that of centred rows, the correlation distance.
pub(crate) fn measure_with(metric: Metric, constants: &Constants, x: &[f64], y: &[f64]) -> f64 {
    match metric {
        Metric::SquaredEuclidean => {
            let length = difference_length(x, y);
            length.square * length.unit * length.unit
        }
        Metric::Euclidean => {
            let length = difference_length(x, y);
            length.square.sqrt() * length.unit
        }
        Metric::Cosine => half_square(&direction(x), &direction(y)),
        Metric::Correlation => half_square(&direction(&centred(x)), &direction(&centred(y))),
        Metric::InnerProduct => {
            let (x_unit, y_unit) = (unit(x.iter().copied()), unit(y.iter().copied()));
            let mut sum = 0.0;
            for (x, y) in x.iter().zip(y) {
                sum += (x / x_unit) * (y / y_unit);
            }
            // The larger unit last: an intermediate result must not overflow where the final one does not.
            sum * x_unit.min(y_unit) * x_unit.max(y_unit)
        }
        Metric::Manhattan => sum(x, y, |x, y| (x - y).abs()),
        Metric::Chebyshev => {
            let mut largest = 0.0_f64;
            for (x, y) in x.iter().zip(y) {
                largest = largest.max((x - y).abs());
            }
            largest
        }
        Metric::Minkowski => minkowski(constants, x, y),
        Metric::StandardizedEuclidean => standardized(constants, x, y),
        Metric::Mahalanobis => mahalanobis(constants, x, y),
        Metric::Canberra => sum(x, y, |x, y| ratio((x / 2.0 - y / 2.0).abs(), x.abs() / 2.0 + y.abs() / 2.0)),
        Metric::BrayCurtis => {
            let unit = unit(x.iter().chain(y).copied());
            let difference = sum(x, y, |x, y| (x / unit - y / unit).abs());
            ratio(difference, sum(x, y, |x, y| (x / unit + y / unit).abs()))
        }
        Metric::MultisetJaccard => {
            let unit = unit(x.iter().chain(y).copied());
            let difference = sum(x, y, |x, y| (x / unit - y / unit).abs());
            ratio(difference, sum(x, y, |x, y| (x / unit).max(y / unit)))
        }
        Metric::NanEuclidean => nan_euclidean(x, y),
        Metric::Haversine => haversine(x, y),
        Metric::Hellinger => {
            let (x, y) = (roots(x), roots(y));
            let length = difference_length(&x, &y);
            (length.square / 2.0).sqrt() * length.unit
        }
        Metric::JensenShannon => jensen_shannon(&shares(x), &shares(y)),
        Metric::KullbackLeibler => kullback_leibler(&shares(x), &shares(y)),
        Metric::Hamming
        | Metric::Jaccard
        | Metric::Dice
        | Metric::RogersTanimoto
        | Metric::RussellRao
        | Metric::SokalSneath
        | Metric::Yule
        | Metric::Matching
        | Metric::BitHamming
        | Metric::BitJaccard => of_counts(metric, x, y),
    }
}

/// Metrics that count features.
fn of_counts(metric: Metric, x: &[f64], y: &[f64]) -> f64 {
    let depth = x.len() as f64;
    let count = |is_counted: fn(f64, f64) -> bool| sum(x, y, |x, y| f64::from(u8::from(is_counted(x, y))));
    let both = count(|x, y| x != 0.0 && y != 0.0);
    let x_only = count(|x, y| x != 0.0 && y == 0.0);
    let y_only = count(|x, y| x == 0.0 && y != 0.0);
    let only = x_only + y_only;
    let neither = depth - both - only;
    match metric {
        Metric::Hamming => count(|x, y| x != y) / depth,
        Metric::Matching => only / depth,
        Metric::Jaccard | Metric::BitJaccard => ratio(only, both + only),
        Metric::Dice => ratio(only, 2.0 * both + only),
        Metric::RogersTanimoto => 2.0 * only / (depth + only),
        Metric::RussellRao => (depth - both) / depth,
        Metric::SokalSneath => ratio(2.0 * only, both + 2.0 * only),
        Metric::Yule => ratio(2.0 * x_only * y_only, both * neither + x_only * y_only),
        _ => only,
    }
}

/// `a / b`, 0 where both are 0; infinite where only `b` is.
fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 { 0.0 } else { a / b }
}

fn sum(x: &[f64], y: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sum = 0.0;
    for (&x, &y) in x.iter().zip(y) {
        sum += term(x, y);
    }
    sum
}

/// In units of the largest term, so that no power leaves the range of `f64`.
fn minkowski(constants: &Constants, x: &[f64], y: &[f64]) -> f64 {
    let Constants::Power { p, weights } = constants else { return f64::NAN };
    let mut terms = Vec::new();
    for (column, (x, y)) in x.iter().zip(y).enumerate() {
        let weight = weights.as_ref().map_or(1.0, |weights| weights[column]);
        terms.push(weight.powf(1.0 / p) * (x - y).abs());
    }
    let largest = terms.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return 0.0;
    }
    let mut sum = 0.0;
    for term in terms {
        sum += (term / largest).powf(*p);
    }
    largest * sum.powf(1.0 / p)
}

fn standardized(constants: &Constants, x: &[f64], y: &[f64]) -> f64 {
    let Constants::Variances(variances) = constants else { return f64::NAN };
    let mut terms = Vec::new();
    for ((x, y), variance) in x.iter().zip(y).zip(variances) {
        terms.push((x - y) / variance.sqrt());
    }
    let length = difference_length(&terms, &vec![0.0; terms.len()]);
    length.square.sqrt() * length.unit
}

fn mahalanobis(constants: &Constants, x: &[f64], y: &[f64]) -> f64 {
    let Constants::Inverse(inverse) = constants else { return f64::NAN };
    let unit = unit(x.iter().zip(y).map(|(x, y)| x - y));
    let mut square = 0.0;
    for row in 0..x.len() {
        for column in 0..x.len() {
            let (left, right) = ((x[row] - y[row]) / unit, (x[column] - y[column]) / unit);
            square += left * inverse[[row, column]] * right;
        }
    }
    // Rounding may bring a square near 0 below it.
    square.max(0.0).sqrt() * unit
}

fn nan_euclidean(x: &[f64], y: &[f64]) -> f64 {
    let present = |x: f64, y: f64| !x.is_nan() && !y.is_nan();
    let count = sum(x, y, |x, y| f64::from(u8::from(present(x, y))));
    if count == 0.0 {
        return f64::NAN;
    }
    let differences: Vec<f64> =
        x.iter().zip(y).map(|(&x, &y)| if present(x, y) { x - y } else { 0.0 }).collect();
    let length = difference_length(&differences, &vec![0.0; differences.len()]);
    (x.len() as f64 / count * length.square).sqrt() * length.unit
}

/// The sine form for the share of the way round that is near, and its complement for the one that is far: both sum
/// terms that are not negative, so that neither cancels.
fn haversine(x: &[f64], y: &[f64]) -> f64 {
    let square = |value: f64| value * value;
    let half_turn = (x[1] - y[1]) / 2.0;
    let cosines = x[0].cos().max(0.0) * y[0].cos().max(0.0);
    let near = square(((x[0] - y[0]) / 2.0).sin()) + cosines * square(half_turn.sin());
    let far = square(((x[0] + y[0]) / 2.0).sin()) + cosines * square(half_turn.cos());
    2.0 * near.sqrt().atan2(far.sqrt())
}

/// Each term is not negative: with d = (p - q) / (p + q), `p ln(p / m) + q ln(q / m) = (p + q) / 2 ((1 + d) ln(1 + d) +
/// (1 - d) ln(1 - d))`.
fn jensen_shannon(p: &[f64], q: &[f64]) -> f64 {
    let term = |p: f64, q: f64| {
        if p + q == 0.0 {
            return 0.0;
        }
        let d = (p - q).abs() / (p + q);
        // Near 0 the logarithms cancel; what is left of the series is d^8 / 28.
        let mixed = if d < 1e-2 {
            let square = d * d;
            square * (1.0 + square / 6.0 + square * square / 15.0 + square * square * square / 28.0)
        } else {
            (1.0 + d) * d.ln_1p() + if d < 1.0 { (1.0 - d) * (-d).ln_1p() } else { 0.0 }
        };
        (p + q) / 2.0 * mixed
    };
    (sum(p, q, term) / 2.0).sqrt()
}

/// `p - q` sums to 0 over the features; taken off term by term, no term is negative: `p ln(p / q) - p + q`.
fn kullback_leibler(p: &[f64], q: &[f64]) -> f64 {
    let term = |p: f64, q: f64| {
        if p == 0.0 {
            return q;
        }
        if q == 0.0 {
            return f64::INFINITY;
        }
        let d = (p - q) / (p + q);
        if d.abs() < 1e-2 {
            // ln(p / q) = 2 atanh d, as a series: what is left is d^9.
            let square = d * d;
            let series = 1.0 / 3.0
                + square * (1.0 / 5.0 + square * (1.0 / 7.0 + square * (1.0 / 9.0 + square / 11.0)));
            return (p + q) * square * (1.0 + (1.0 + d) * d * series);
        }
        p * (p / q).ln() - (p - q)
    };
    sum(p, q, term)
}

/// A row divided by its sum.
fn shares(row: &[f64]) -> Vec<f64> {
    let unit = unit(row.iter().copied());
    let mut sum = 0.0;
    for value in row {
        sum += value / unit;
    }
    row.iter().map(|value| value / unit / sum).collect()
}

fn roots(row: &[f64]) -> Vec<f64> {
    row.iter().map(|value| value.sqrt()).collect()
}

/// A row without its mean; the mean of what is left is taken off too, so that far out no digits are lost.
fn centred(row: &[f64]) -> Vec<f64> {
    let unit = unit(row.iter().copied());
    let mut row: Vec<f64> = row.iter().map(|value| value / unit).collect();
    for _ in 0..2 {
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        row.iter_mut().for_each(|value| *value -= mean);
    }
    row
}

fn half_square(x: &[f64], y: &[f64]) -> f64 {
    (0.5 * sum(x, y, |x, y| (x - y) * (x - y))).min(2.0)
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

    fn measure(metric: Metric, x: &[f64], y: &[f64]) -> f64 {
        measure_with(metric, &Constants::None, x, y)
    }

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
