//! Whether a result is what the definition says, within the bound of its roundings.

use ndarray::Array2;
use rayon::prelude::*;

use crate::lora::{Factors, Precision, Routes, Scalar};

/// `n u / (1 - n u)` for `f32`.
fn gamma(steps: usize) -> f64 {
    let error = steps as f64 * 2.0_f64.powi(-24);
    error / (1.0 - error)
}

/// The largest `|y - definition| / bound` over all values; NaN counts as infinity.
///
/// The bound follows the two products: a sum of `n` features goes through at most
/// `max(80 + n / 1024, n / 16 + 8) + 2` roundings on any backend, that over the rank through `rank + 3`, scaling and
/// adding through two more, and the result is rounded to its type, of which 2^-25 is half the smallest f16.
pub(in crate::measure) fn worst_share<T: Scalar>(
    slots: &[Factors],
    routes: &Routes,
    x: &Array2<T>,
    before: &Array2<T>,
    after: &Array2<T>,
) -> f64 {
    let inputs = x.ncols();
    let unit = match T::PRECISION {
        Precision::F32 => 2.0_f64.powi(-24),
        Precision::F16 => 2.0_f64.powi(-11),
        Precision::Bf16 => 2.0_f64.powi(-8),
    };
    let first = gamma((80 + inputs.div_ceil(1024)).max(inputs.div_ceil(16) + 8) + 2);
    let of_row = |row: usize| -> f64 {
        let mut sums: Vec<f64> = before.row(row).iter().map(|value| f64::from(value.widen())).collect();
        let mut bounds = vec![0.0; sums.len()];
        for route in routes.of_row(row) {
            let factors = &slots[route.slot as usize];
            let second = gamma(factors.rank() + 3);
            let scale = f64::from(route.scale) * f64::from(factors.scale());
            let mut values = vec![(0.0, 0.0); factors.rank()];
            for (i, (sum, error)) in values.iter_mut().enumerate() {
                for (d, value) in x.row(row).iter().enumerate() {
                    let term = f64::from(value.widen()) * f64::from(factors.a(i, d));
                    *sum += term;
                    *error += first * term.abs();
                }
            }
            for (j, (sum, bound)) in sums.iter_mut().zip(&mut bounds).enumerate() {
                let (mut delta, mut error) = (0.0, 0.0);
                for (i, (value, value_error)) in values.iter().enumerate() {
                    let b = f64::from(factors.b(j, i));
                    delta += value * b;
                    error += value_error * b.abs() * (1.0 + second) + second * (value * b).abs();
                }
                *sum += scale * delta;
                *bound += scale.abs() * error + 2.0_f64.powi(-22) * (sum.abs() + (scale * delta).abs());
            }
        }
        let share = |((sum, bound), got): ((f64, f64), f64)| {
            let allowed = bound + unit * (sum.abs() + bound) + 2.0_f64.powi(-25);
            let share = (got - sum).abs() / allowed;
            if share.is_nan() { f64::INFINITY } else { share }
        };
        let got = after.row(row).iter().map(|value| f64::from(value.widen())).collect::<Vec<f64>>();
        sums.into_iter().zip(bounds).zip(got).map(share).fold(0.0, f64::max)
    };
    (0..x.nrows()).into_par_iter().map(of_row).reduce(|| 0.0, f64::max)
}
