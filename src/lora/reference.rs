//! The definition: `f64`, plain loops.
//!
//! ```text
//! y[row, j] += sum over routes (slot, s) of the row: s * scale[slot] * sum_i (sum_d x[row, d] A[i, d]) B[j, i]
//! ```

use super::factors::Factors;
use super::routes::Routes;

/// `v[route, i] = sum_d x[row, d] A[i, d]`: for every route, in the order of the rows, as many values as its rank.
pub(crate) fn shrink(slots: &[Option<&Factors>], routes: &Routes, x: &[f64], inputs: usize) -> Vec<Vec<f64>> {
    let mut shrunk = Vec::with_capacity(routes.count());
    for row in 0..routes.rows() {
        for route in routes.of_row(row) {
            let Some(factors) = slots[route.slot as usize] else {
                shrunk.push(Vec::new());
                continue;
            };
            let product = |i| {
                let mut sum = 0.0;
                for d in 0..inputs {
                    sum += x[row * inputs + d] * f64::from(factors.a(i, d));
                }
                sum
            };
            shrunk.push((0..factors.rank()).map(product).collect());
        }
    }
    shrunk
}

/// Adds what [`shrink`] made to `y` `[rows, outputs]`. Rows without an update keep their bits.
pub(crate) fn expand(
    slots: &[Option<&Factors>],
    routes: &Routes,
    shrunk: &[Vec<f64>],
    y: &mut [f64],
    outputs: usize,
) {
    let mut at = 0;
    for row in 0..routes.rows() {
        for route in routes.of_row(row) {
            let values = &shrunk[at];
            at += 1;
            let Some(factors) = slots[route.slot as usize] else { continue };
            if factors.rank() == 0 {
                continue;
            }
            let scale = f64::from(route.scale) * f64::from(factors.scale());
            for j in 0..outputs {
                let mut sum = 0.0;
                for (i, value) in values.iter().enumerate() {
                    sum += value * f64::from(factors.b(j, i));
                }
                y[row * outputs + j] += scale * sum;
            }
        }
    }
}
