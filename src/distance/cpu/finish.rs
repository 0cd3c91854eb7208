//! From the combined values of a tile's row to results.

use super::steps::ratio;
use crate::distance::blocks::DIGITS_LOST;
use crate::distance::metric::Metric;
use crate::distance::metric::{Form, is_direction, is_root};
use crate::distance::operands::Operands;
use crate::distance::real::Real;
use crate::distance::rows::Side;
use crate::simd::widest;

/// Where a row of a tile stands in the matrix.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub row: usize,
    pub column: usize,
}

/// Turns the combined values of one row into results. `extra` is a second accumulator or factor of each pair, where the
/// metric has one.
pub(super) fn finish<T: Real>(
    operands: &Operands<T>,
    at: Place,
    values: &mut [T],
    extra: &[T],
    lost: &mut Vec<usize>,
) {
    match operands.form {
        Form::Expanded => from_products(operands, at, values, lost),
        Form::Product => scale(&operands.units.map(T::rounded), values),
        Form::Counts => from_counts(operands, at, values),
        Form::Steps => from_sums(operands, values, extra),
        Form::Angle => angles(operands, at, values),
    }
}

/// Metrics of bits, from the number of features that are 1 in both rows: whole numbers, so all but the last steps are
/// exact.
fn from_counts<T: Real>(operands: &Operands<T>, at: Place, values: &mut [T]) {
    let depth = T::rounded(operands.depth as f64);
    let two = T::rounded(2.0);
    let x = operands.x.norms[at.row];
    let y = &operands.y().norms[at.column..at.column + values.len()];
    let each = |values: &mut [T], of: &dyn Fn(T, T, T) -> T| {
        for (value, &y) in values.iter_mut().zip(y) {
            let both = *value;
            *value = of(both, x - both, y - both);
        }
    };
    match operands.metric {
        Metric::Jaccard => each(values, &|both, a, b| ratio(a + b, both + (a + b))),
        Metric::Dice => each(values, &|both, a, b| ratio(a + b, two * both + (a + b))),
        Metric::RogersTanimoto => each(values, &|_, a, b| two * (a + b) / (depth + (a + b))),
        Metric::RussellRao => each(values, &|both, _, _| (depth - both) / depth),
        Metric::SokalSneath => each(values, &|both, a, b| ratio(two * (a + b), both + two * (a + b))),
        Metric::Yule => {
            each(values, &|both, a, b| ratio(two * (a * b), both * (depth - both - (a + b)) + a * b));
        }
        _ => each(values, &|_, a, b| (a + b) / depth),
    }
}

/// Metrics that are added up feature by feature.
fn from_sums<T: Real>(operands: &Operands<T>, values: &mut [T], extra: &[T]) {
    let units = operands.units.map(T::rounded);
    let depth = T::rounded(operands.depth as f64);
    match operands.metric {
        Metric::BrayCurtis | Metric::MultisetJaccard => {
            values.iter_mut().zip(extra).for_each(|(value, &divisor)| *value = ratio(*value, divisor));
        }
        Metric::Hamming => values.iter_mut().for_each(|value| *value = *value / depth),
        Metric::NanEuclidean => {
            for (value, &missing) in values.iter_mut().zip(extra) {
                let present = depth - missing;
                // Nothing in common: 0/0 is NaN.
                *value = (*value * (depth / present)).sqrt() * units[0];
            }
        }
        Metric::JensenShannon => {
            let quarter = T::rounded(0.25 * operands.units[0]);
            values.iter_mut().for_each(|value| *value = (*value * quarter).sqrt());
        }
        Metric::KullbackLeibler => {
            let infinite = T::rounded(f64::INFINITY);
            for (value, &refused) in values.iter_mut().zip(extra) {
                *value = if refused > T::ZERO { infinite } else { *value * units[0] };
            }
        }
        Metric::Minkowski => {
            let inverse = 1.0 / operands.power;
            for (value, &scale) in values.iter_mut().zip(extra) {
                let sum: f64 = (*value).into();
                let scale: f64 = scale.into();
                let length = if scale == 0.0 { 0.0 } else { sum.powf(inverse) / scale };
                *value = T::rounded(length * operands.units[0]);
            }
        }
        _ => scale(&units, values),
    }
}

/// Haversine, in `f64`: see the reference for the two shares. Latitudes and longitudes are those of the input.
fn angles<T: Real>(operands: &Operands<T>, at: Place, values: &mut [T]) {
    let (x, y) = (&operands.x, operands.y());
    let place = |side: &Side<T>, row: usize| {
        let (latitude, longitude): (f64, f64) = (side.rows[2 * row].into(), side.rows[2 * row + 1].into());
        (latitude, longitude, side.norms[row].into())
    };
    let (latitude, longitude, cosine): (f64, f64, f64) = place(x, at.row);
    for (index, value) in values.iter_mut().enumerate() {
        let other = place(y, at.column + index);
        let turn = ((longitude - other.1) / 2.0).sin().powi(2);
        let cosines = cosine * other.2;
        let near = ((latitude - other.0) / 2.0).sin().powi(2) + cosines * turn;
        let far = ((latitude + other.0) / 2.0).sin().powi(2)
            + cosines * ((longitude - other.1) / 2.0).cos().powi(2);
        *value = T::rounded(2.0 * near.sqrt().atan2(far.sqrt()));
    }
}

/// Metrics of the expanded form.
fn from_products<T: Real>(operands: &Operands<T>, at: Place, values: &mut [T], lost: &mut Vec<usize>) {
    let units = operands.units.map(T::rounded);
    let Place { row, column } = at;
    let depth = operands.depth;
    let (x, y) = (&operands.x, operands.y());
    let limit = Limit { norm: x.norms[row], share: T::rounded(DIGITS_LOST) };
    lost.clear();
    if squares(&limit, &y.norms[column..column + values.len()], values) {
        lost.extend((0..values.len()).filter(|&index| values[index] < T::ZERO));
    }
    if is_root(operands.metric) {
        roots(values);
    } else if is_direction(operands.metric) {
        let most = T::rounded(4.0);
        values.iter_mut().for_each(|value| *value = if *value < most { *value } else { most });
    }
    scale(&units, values);
    let original = &x.originals()[row * depth..(row + 1) * depth];
    let low = x.lows.get(row * depth..(row + 1) * depth);
    for &index in lost.iter() {
        let other = &y.originals()[(column + index) * depth..][..depth];
        let square = match (low, y.lows.get((column + index) * depth..(column + index + 1) * depth)) {
            (Some(low), Some(other_low)) => squared_difference_of_parts([original, low], [other, other_low]),
            _ => squared_difference(original, other, operands.difference_scale),
        };
        values[index] = T::rounded(operands.finished_square(square));
    }
}

widest! {
    fn scale<T: Real>(units: &[T; 2], values: &mut [T]) = scale_body;
}
widest! {
    fn roots<T: Real>(values: &mut [T]) = roots_body;
}

#[inline(always)]
fn scale_body<T: Real>(units: &[T; 2], values: &mut [T]) {
    values.iter_mut().for_each(|value| *value = *value * units[0] * units[1]);
}

#[inline(always)]
fn roots_body<T: Real>(values: &mut [T]) {
    values.iter_mut().for_each(|value| *value = value.sqrt());
}

/// When `|x|^2 + |y|^2 - 2 x.y` has lost digits.
struct Limit<T> {
    norm: T,
    share: T,
}

widest! {
    fn squares<T: Real>(limit: &Limit<T>, norms: &[T], values: &mut [T]) -> bool = squares_body;
}

/// Squared distances from products; -1 where digits were lost. Returns whether any were.
#[inline(always)]
fn squares_body<T: Real>(limit: &Limit<T>, norms: &[T], values: &mut [T]) -> bool {
    let (minus_one, two) = (T::rounded(-1.0), T::rounded(2.0));
    let mut flagged = false;
    for (value, &norm) in values.iter_mut().zip(norms) {
        let sum = limit.norm + norm;
        let square = sum - two * *value;
        let is_good = square > limit.share * sum + T::TINY;
        flagged |= !is_good;
        *value = if is_good { square } else { minus_one };
    }
    flagged
}

widest! {
    fn squared_difference<T: Real>(x: &[T], y: &[T], scale: f64) -> f64 = squared_difference_body;
}

/// `sum ((x - y) * scale)^2` in `f64`: eight interleaved sums, added in order.
#[inline(always)]
fn squared_difference_body<T: Real>(x: &[T], y: &[T], scale: f64) -> f64 {
    let mut sums = [0.0_f64; 8];
    let square = |x: T, y: T| {
        let (x, y): (f64, f64) = (x.into(), y.into());
        let difference = (x - y) * scale;
        difference * difference
    };
    let (x_parts, y_parts) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest = x_parts.remainder().iter().zip(y_parts.remainder());
    for (x, y) in x_parts.zip(y_parts) {
        for ((sum, &x), &y) in sums.iter_mut().zip(x).zip(y) {
            *sum += square(x, y);
        }
    }
    for (sum, (&x, &y)) in sums.iter_mut().zip(rest) {
        *sum += square(x, y);
    }
    sums.iter().sum()
}

/// The same of values in two parts, which are scaled already: `sum ((x - y) + (low x - low y))^2`.
fn squared_difference_of_parts<T: Real>(x: [&[T]; 2], y: [&[T]; 2]) -> f64 {
    let difference = |x: T, y: T| {
        let (x, y): (f64, f64) = (x.into(), y.into());
        x - y
    };
    let mut sum = 0.0;
    for ((&x, &x_low), (&y, &y_low)) in x[0].iter().zip(x[1]).zip(y[0].iter().zip(y[1])) {
        let whole = difference(x, y) + difference(x_low, y_low);
        sum += whole * whole;
    }
    sum
}
