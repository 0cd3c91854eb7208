//! Grid sums: exact sums of points as integers, the same whatever the order, the device or the compiler.
//!
//! Each feature is rounded once, to nearest with ties to even, to a multiple of a power of two `2^exponent`, and the
//! multiples are added as 64-bit integers. With `bits = min(50, 62 - ceil(log2 rows))` bits for the largest value of
//! the feature, no sum of all rows can overflow. For a million rows that is 42 bits: finer than the 24 of the data,
//! unless outliers reach 2^18 times farther than the clusters. Weighted rows are rounded relative to the largest weight.

use crate::data::frame::{exponent_above, power_of_two};
use crate::simd::widest;

/// Adding 1.5 * 2^52 to a number below 2^51 rounds it to an integer, ties to even, held in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// The grid of each feature.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    /// Grid spacing is `2^exponents[d]`, as kernels take it.
    #[cfg(feature = "gpu")]
    pub exponents: Vec<i32>,
    /// `2^exponents[d]`.
    steps: Vec<f64>,
    /// `2^-exponents[d]`.
    inverse: Vec<f64>,
    /// Bits of the largest multiple.
    bits: i32,
}

/// Sums over the rows of each cluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sums {
    /// Number of rows of each cluster, or the sum of their weights as multiples of [`Grid::weight_unit`].
    pub weights: Vec<i64>,
    /// Sums of the rows, one row per cluster, as multiples of the grid.
    pub totals: Vec<i64>,
}

impl Sums {
    /// All zero.
    pub fn new(n_clusters: usize, columns: usize) -> Self {
        Self { weights: vec![0; n_clusters], totals: vec![0; n_clusters * columns] }
    }

    /// Adds other sums and clears them.
    pub fn take(&mut self, other: &mut Self) {
        let pairs = self.weights.iter_mut().zip(&mut other.weights);
        for (sum, other) in pairs.chain(self.totals.iter_mut().zip(&mut other.totals)) {
            *sum = sum.wrapping_add(std::mem::take(other));
        }
    }
}

impl Grid {
    /// The grid for `rows` rows whose features are at most `largest` in magnitude.
    pub fn new(largest: &[f64], rows: usize) -> Self {
        let bits = 50.min(62 - (usize::BITS - rows.saturating_sub(1).leading_zeros()) as i32);
        let exponent = |&largest: &f64| if largest == 0.0 { 0 } else { exponent_above(largest) - bits };
        let exponents: Vec<i32> = largest.iter().map(exponent).collect();
        let inverse = exponents.iter().map(|&exponent| power_of_two(-exponent)).collect();
        let steps = exponents.iter().map(|&exponent| power_of_two(exponent)).collect();
        Self {
            #[cfg(feature = "gpu")]
            exponents,
            steps,
            inverse,
            bits,
        }
    }

    /// What one unit of a weight sum stands for; weights are at most 1.
    pub fn weight_unit(&self) -> f64 {
        power_of_two(self.weight_exponent())
    }

    /// Exponent of [`Self::weight_unit`].
    pub fn weight_exponent(&self) -> i32 {
        -self.bits
    }

    /// Adds one row, `times` = 1, or takes it away, `times` = -1, in the sums of one cluster.
    pub fn add(&self, x: &[f32], weight: Option<f32>, times: i64, cluster: u32, sums: &mut Sums) {
        let start = cluster as usize * x.len();
        let totals = &mut sums.totals[start..start + x.len()];
        match weight {
            None => {
                sums.weights[cluster as usize] += times;
                add_row(x, 1.0, &self.inverse, times, totals);
            }
            Some(weight) => {
                let weight = f64::from(weight);
                sums.weights[cluster as usize] += times * to_grid(weight * power_of_two(self.bits));
                add_row(x, weight, &self.inverse, times, totals);
            }
        }
    }

    /// The real value of a sum of feature `column`.
    pub fn value(&self, sum: i64, column: usize) -> f64 {
        sum as f64 * self.steps[column]
    }

    /// What one multiple stands for, by feature.
    pub fn steps(&self) -> &[f64] {
        &self.steps
    }
}

/// Nearest integer, ties to even, of a number below 2^51.
#[inline(always)]
fn to_grid(value: f64) -> i64 {
    (value + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i64
}

widest! {
    fn add_row(x: &[f32], weight: f64, inverse: &[f64], times: i64, totals: &mut [i64]) = add_row_body;
}

#[inline(always)]
fn add_row_body(x: &[f32], weight: f64, inverse: &[f64], times: i64, totals: &mut [i64]) {
    // The product of two f32 is exact in f64, and so is the scaling: one rounding, in `to_grid`.
    if times > 0 {
        for ((&x, &inverse), total) in x.iter().zip(inverse).zip(totals) {
            *total = total.wrapping_add(to_grid(f64::from(x) * weight * inverse));
        }
    } else {
        for ((&x, &inverse), total) in x.iter().zip(inverse).zip(totals) {
            *total = total.wrapping_sub(to_grid(f64::from(x) * weight * inverse));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_over_many_scales() {
        let rows = 5000;
        let scales = [1e-6_f64, 1e-3, 1.0, 1e3, 1e6];
        let largest: Vec<f64> = scales.to_vec();
        let grid = Grid::new(&largest, rows);
        let (mut sums, mut backwards) = (Sums::new(1, 5), Sums::new(1, 5));
        let value = |i: usize, d: usize| {
            ((((i * 7919 + d * 104_729) % 10_007) as f64 / 10_007.0 - 0.4) * scales[d]) as f32
        };
        let row = |i: usize| -> Vec<f32> { (0..5).map(|d| value(i, d)).collect() };
        for i in 0..rows {
            grid.add(&row(i), None, 1, 0, &mut sums);
            grid.add(&row(rows - 1 - i), None, 1, 0, &mut backwards);
        }
        assert_eq!(sums, backwards);
        for d in 0..5 {
            // 24-bit values over a range of 2^12 or less add without rounding in i128 units of 2^-80.
            let exact: i128 = (0..rows).map(|i| (f64::from(value(i, d)) * 2.0_f64.powi(80)) as i128).sum();
            let exact = exact as f64 / 2.0_f64.powi(80);
            let error = (grid.value(sums.totals[d], d) - exact).abs();
            assert!(error <= rows as f64 * scales[d] * 2.0_f64.powi(-49), "feature {d}: {error}");
        }
        for i in 0..rows {
            grid.add(&row(i), None, -1, 0, &mut sums);
        }
        assert_eq!(sums, Sums::new(1, 5));
    }

    #[test]
    fn whole_weights_equal_repeated_rows() {
        let grid = Grid::new(&[1.0, 0.5], 10);
        let (mut weighted, mut repeated) = (Sums::new(2, 2), Sums::new(2, 2));
        grid.add(&[0.3, -0.4], Some(0.75), 1, 1, &mut weighted);
        for _ in 0..3 {
            grid.add(&[0.3, -0.4], Some(0.25), 1, 1, &mut repeated);
        }
        assert_eq!(weighted.weights, repeated.weights);
        let difference = weighted.totals.iter().zip(&repeated.totals).map(|(a, b)| (a - b).abs()).max();
        assert!(difference <= Some(2), "{weighted:?} {repeated:?}");
    }
}
