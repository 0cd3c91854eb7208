//! What is computed once per fit and shared by every backend: the frame, norms, weights, and the grid of the sums.
//!
//! Sums on the grid are exact, the same whatever the order, the device or the compiler. Each feature is rounded once, to
//! nearest with ties to even, to a multiple of a power of two `2^exponent`, and the multiples are added as 64-bit integers.
//! With `bits = min(50, 62 - ceil(log2 rows))` bits for the largest value of the feature, no sum of all rows can overflow.
//! For a million rows that is 42 bits: finer than the 24 of the data, unless outliers reach 2^18 times farther than the
//! clusters. Weighted rows are rounded relative to the largest weight. Where that loses digits, means are [`super::fine`]'s.

use rayon::prelude::*;

use super::fine::Balance;
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::{self, Frame, exponent_above, power_of_two};
use crate::error::{Error, Result};
use crate::memory::{self, area, collected, scratch, zeroed};
use crate::simd::widest;
pub(crate) use crate::tile::bound::f32::norm_above;

/// Rows per block of sums that have a fixed order.
pub(crate) const SUM_BLOCK: usize = 1024;

/// Adding 1.5 * 2^52 to a number below 2^51 rounds it to an integer, ties to even, held in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// Training data with everything that does not change from iteration to iteration.
pub(crate) struct Problem<'a> {
    /// The input.
    pub points: Points<'a>,
    /// How rows become x'.
    pub frame: Frame,
    /// Number of points.
    pub rows: usize,
    /// Number of features.
    pub columns: usize,
    /// Weights divided by `weight_scale`, at most 1.
    pub weights: Option<Vec<f32>>,
    /// The same in `f64`, where some are no numbers of an `f32` but 0.
    fine_weights: Option<Vec<f64>>,
    /// A power of two.
    pub weight_scale: f64,
    /// Whether there is a row of which the grid of the sums loses digits ([`super::fine`]).
    pub may_lose_digits: bool,
    /// Grid of the sums.
    pub grid: Grid,
    /// Upper bound on |x'| of each row.
    pub norms: Vec<f32>,
    /// The largest of `norms`.
    pub largest_norm: f32,
    /// Sum over rows of w |x'|^2, in a fixed order.
    pub total_square: f64,
    /// Mean over features of the variance of x'.
    pub mean_variance: f64,
}

impl<'a> Problem<'a> {
    /// Scans the data once for the frame, and once for norms.
    pub fn new(
        points: Points<'a>,
        weights: Option<&[f64]>,
        unit_rows: bool,
        cancel: &Cancel,
    ) -> Result<Self> {
        let scan = frame::scan("points", &points, cancel)?;
        let (rows, columns) = (points.rows(), points.columns());
        check_weights(weights, rows)?;
        ask_for_rows(rows, columns)?;
        let (weights, fine_weights, weight_scale) = match weights {
            None => (None, None, 1.0),
            Some(weights) => {
                let (narrow, fine, scale) = normalised_weights(weights)?;
                (Some(narrow), fine, scale)
            }
        };
        let (frame, largest) = if unit_rows {
            (Frame::unit_rows(columns), vec![1.0; columns])
        } else {
            (scan.frame, scan.largest)
        };
        let mut problem = Self {
            grid: Grid::new(&largest, rows),
            points,
            frame,
            rows,
            columns,
            weights,
            fine_weights,
            weight_scale,
            may_lose_digits: false,
            norms: zeroed("lengths of the rows", rows, 1)?,
            largest_norm: 0.0,
            total_square: 0.0,
            mean_variance: scan.mean_variance,
        };
        problem.measure(cancel)?;
        problem.may_lose_digits = (0..rows).into_par_iter().any(|row| !problem.balance(row).keeps_digits());
        if unit_rows {
            problem.mean_variance = problem.unit_row_variance(cancel)?;
        }
        Ok(problem)
    }

    fn measure(&mut self, cancel: &Cancel) -> Result<()> {
        let (frame, points, columns, weights) =
            (&self.frame, &self.points, self.columns, self.weights.as_deref());
        let blocks: Vec<Result<f64>> = self
            .norms
            .par_chunks_mut(SUM_BLOCK)
            .enumerate()
            .map_init(Vec::new, |x, (block, norms)| {
                cancel.check()?;
                let start = block * SUM_BLOCK;
                x.resize(norms.len() * columns, 0.0);
                frame.load("points", points, start, x)?;
                let mut sum = 0.0;
                for (row, norm) in norms.iter_mut().enumerate() {
                    let square = row_square(&x[row * columns..(row + 1) * columns]);
                    *norm = norm_above(square);
                    sum += weights.map_or(1.0, |weights| f64::from(weights[start + row])) * square;
                }
                Ok(sum)
            })
            .collect();
        for block in blocks {
            self.total_square += block?;
        }
        self.largest_norm = self.norms.iter().fold(0.0, |largest, &norm| norm.max(largest));
        Ok(())
    }

    /// Variance of the normalised rows: |x|^2 = 1 for each, less the square of their mean.
    fn unit_row_variance(&self, cancel: &Cancel) -> Result<f64> {
        let mut sums = vec![0.0; self.columns];
        let mut x = vec![0.0; self.columns];
        for row in 0..self.rows {
            if row % SUM_BLOCK == 0 {
                cancel.check()?;
            }
            self.load(row, &mut x)?;
            sums.iter_mut().zip(&x).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        let rows = self.rows as f64;
        let square_of_mean: f64 = sums.iter().map(|sum| (sum / rows) * (sum / rows)).sum();
        Ok((1.0 - square_of_mean).max(0.0) / self.columns as f64)
    }

    /// Reads rows from `start` on as x'.
    pub fn load(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.frame.load("points", &self.points, start, out)
    }

    /// Reads one row as x'.
    #[inline]
    pub fn load_one(&self, row: usize, out: &mut [f32]) -> Result<()> {
        self.frame.load_one("points", &self.points, row, out)
    }

    /// Takes a row that was read as `x` out of the sums of one cluster, if it was in one, and adds it to another.
    pub fn move_row(&self, x: &[f32], row: usize, from: Option<u32>, to: u32, sums: &mut Sums) {
        let weight = self.weight(row);
        self.grid.add(x, weight, 1, to, sums);
        if let Some(from) = from {
            self.grid.add(x, weight, -1, from, sums);
        }
    }

    /// The weight of a row, at most 1.
    pub fn weight(&self, row: usize) -> Option<f32> {
        self.weights.as_ref().map(|weights| weights[row])
    }

    /// The weight of a row, at most 1, of 24 bits unless it is too small for them.
    pub fn exact_weight(&self, row: usize) -> f64 {
        match &self.fine_weights {
            Some(weights) => weights[row],
            None => self.weight(row).map_or(1.0, f64::from),
        }
    }

    /// What the grid keeps and loses of a row.
    pub(super) fn balance(&self, row: usize) -> Balance {
        Balance::of(&self.grid, self.norms[row], self.exact_weight(row), self.weights.is_some())
    }

    /// Turns a sum of weighted squared distances between x' into input units.
    pub fn inertia(&self, scaled: f64) -> f64 {
        scaled / self.frame.scale / self.frame.scale * self.weight_scale
    }
}

/// What a pass over the rows in blocks of [`SUM_BLOCK`] holds, and a few numbers of each column.
pub(super) fn ask_for_rows(rows: usize, columns: usize) -> Result<()> {
    let threads = rayon::current_num_threads().min(rows.div_ceil(SUM_BLOCK));
    let at_work = scratch::<f32>(threads, SUM_BLOCK.min(rows).saturating_add(4), columns);
    memory::ask(&format!("the work on rows with {columns} columns"), &[at_work, area::<f64>(8, columns)])
}

/// `|x|^2`, summed in eight interleaved parts and those in order.
pub(crate) fn row_square(x: &[f32]) -> f64 {
    square(x)
}

widest! {
    fn square(x: &[f32]) -> f64 = square_body;
}

#[inline(always)]
fn square_body(x: &[f32]) -> f64 {
    let mut parts = [0.0_f64; 8];
    let chunks = x.chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (part, &x) in parts.iter_mut().zip(chunk) {
            *part += f64::from(x) * f64::from(x);
        }
    }
    for (part, &x) in parts.iter_mut().zip(rest) {
        *part += f64::from(x) * f64::from(x);
    }
    parts.iter().sum()
}

/// Refuses weights of another length, negative ones, NaN and infinity.
pub(crate) fn check_weights(weights: Option<&[f64]>, rows: usize) -> Result<()> {
    let Some(weights) = weights else { return Ok(()) };
    if weights.len() != rows {
        return Err(Error::shape("weights", format!("{rows} weights, one per point"), weights.len()));
    }
    match weights.iter().position(|weight| !(0.0..=f64::MAX).contains(weight)) {
        None => Ok(()),
        Some(row) => {
            let expected = "a finite number of at least 0";
            Err(Error::Value { argument: "weights", row, column: 0, expected, got: weights[row] })
        }
    }
}

/// Weights divided by a power of two so that they are at most 1, of 24 bits; all of them in `f64` where some are no numbers
/// of an `f32` but 0; and the power of two.
fn normalised_weights(weights: &[f64]) -> Result<(Vec<f32>, Option<Vec<f64>>, f64)> {
    let largest = weights.iter().fold(0.0_f64, |largest, &weight| largest.max(weight));
    if largest == 0.0 {
        return Err(Error::parameter("weights", "at least one weight above 0", "all zero"));
    }
    let scale = power_of_two(exponent_above(largest).clamp(-1000, 1000));
    let is_small = |weight: f64| weight > 0.0 && weight < f64::from(f32::MIN_POSITIVE);
    let fine = |weight: f64| if is_small(weight) { weight } else { f64::from(weight as f32) };
    let fine_weights = match weights.iter().any(|weight| is_small(weight / scale)) {
        true => Some(collected("weights", weights.iter().map(|weight| fine(weight / scale)))?),
        false => None,
    };
    let narrow = collected("weights", weights.iter().map(|weight| (weight / scale) as f32))?;
    Ok((narrow, fine_weights, scale))
}

/// Given centroids in the frame of the data.
pub(super) fn in_frame(frame: &Frame, centroids: impl Iterator<Item = Vec<f64>>) -> Result<Vec<f64>> {
    let mut framed = Vec::new();
    for (row, centroid) in centroids.enumerate() {
        let length = if frame.unit_rows {
            let peak = centroid.iter().fold(0.0_f64, |peak, c| peak.max(c.abs()));
            peak * centroid.iter().map(|c| (c / peak) * (c / peak)).sum::<f64>().sqrt()
        } else {
            1.0
        };
        for (column, (c, offset)) in centroid.iter().zip(&frame.offset).enumerate() {
            let value = (c - offset) * frame.scale / length;
            // Squares of what a tile sees must stay inside the range of f32.
            if !(value.abs() < (1_u64 << 40) as f64) {
                let expected = if frame.unit_rows {
                    "a row that is not all zeros"
                } else {
                    "a magnitude within 2^40 times the spread of the data"
                };
                return Err(Error::Value { argument: "init", row, column, expected, got: *c });
            }
            framed.push(value);
        }
    }
    Ok(framed)
}

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
    /// The length of the vector of `steps`.
    step_length: f64,
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
        let steps: Vec<f64> = exponents.iter().map(|&exponent| power_of_two(exponent)).collect();
        // A feature of zeros alone has a step, and nothing that is rounded to it.
        let occupied = steps.iter().zip(largest).filter(|(_, largest)| **largest > 0.0);
        let step_length = occupied.map(|(step, _)| step * step).sum::<f64>().sqrt();
        Self {
            #[cfg(feature = "gpu")]
            exponents,
            steps,
            inverse,
            step_length,
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

    /// The length of a vector of one multiple in each feature.
    pub fn step_length(&self) -> f64 {
        self.step_length
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
