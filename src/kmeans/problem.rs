//! What is computed once per fit and shared by every backend: the frame, the grid, norms, weights.

use rayon::prelude::*;

use super::grid::{Grid, Sums};
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::{self, Frame, exponent_above, power_of_two};
use crate::error::{Error, Result};
use crate::simd::widest;
pub(crate) use crate::tile::bound::f32::norm_above;

/// Rows per block of sums that have a fixed order.
pub(crate) const SUM_BLOCK: usize = 1024;

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
    /// A power of two.
    pub weight_scale: f64,
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
        let (weights, weight_scale) = match weights {
            None => (None, 1.0),
            Some(weights) => {
                let (weights, scale) = normalised_weights(weights)?;
                (Some(weights), scale)
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
            weight_scale,
            norms: vec![0.0; rows],
            largest_norm: 0.0,
            total_square: 0.0,
            mean_variance: scan.mean_variance,
        };
        problem.measure(cancel)?;
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

    /// Turns a sum of weighted squared distances between x' into input units.
    pub fn inertia(&self, scaled: f64) -> f64 {
        scaled / self.frame.scale / self.frame.scale * self.weight_scale
    }
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

fn normalised_weights(weights: &[f64]) -> Result<(Vec<f32>, f64)> {
    let largest = weights.iter().fold(0.0_f64, |largest, &weight| largest.max(weight));
    if largest == 0.0 {
        return Err(Error::parameter("weights", "at least one weight above 0", "all zero"));
    }
    let scale = power_of_two(exponent_above(largest).clamp(-1000, 1000));
    Ok((weights.iter().map(|weight| (weight / scale) as f32).collect(), scale))
}
