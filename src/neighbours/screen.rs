//! The rows as the screen's tiles see them, and the error of a tile's values.
//!
//! A tile orders columns by `T = h - x.c` for a row x and a column c, in one of three forms:
//!
//! - *centred* (squared Euclidean, Euclidean): x and c are `(row - offset) * scale`, h = |c|^2 / 2, and the squared
//!   distance is `|x|^2 + 2 T`;
//! - *direction* (cosine): rows divided by their length, h = 1/2, and the distance is `T + 1/2`;
//! - *product* (inner product): rows times a scale, h = 0, and the similarity is `-T`.
//!
//! Where the farthest are wanted x and h change their sign, and so does T.
//!
//! Rows and columns are rounded to `f32` once: every feature is within a relative 2^-24 of the row that [`crate::tile::bound::f32`]
//! is about, so each product goes through two roundings more than its chain of additions says. Two more cover what
//! centring and normalising round in `f64`. So the bound holds for the rows as they stand in the input.

#[cfg(feature = "gpu")]
pub(super) mod halves;

use rayon::prelude::*;

use super::problem::Problem;
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::{Scan, exponent_above, power_of_two, widen_row};
use crate::distance::Metric;
use crate::error::Result;
use crate::tile::bound::f32::{Bound, Extent, norm_above};

/// Roundings of a product beside those of its additions.
const ROUNDINGS_OF_ROWS: usize = 4;
/// Relative slack for a handful of roundings in `f64`.
const SLACK: f64 = 1.0 / (1_u64 << 40) as f64;
/// More than what results of `f64` lose where they are too small for all of its digits.
pub(super) const DENORMAL: f64 = 16.0 * f64::EPSILON * f64::MIN_POSITIVE;
/// Wider than any difference of two values, and narrow enough for `f32`.
const WIDEST_GAP: f64 = 1e37;
/// Rows that one thread checks at a time.
const CHECKED_ROWS: usize = 256;

/// What kind of rows a metric is screened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Centred,
    Direction,
    Product,
}

impl Form {
    /// `None`: no tile of products screens this metric.
    fn of(metric: Metric) -> Option<Self> {
        match metric {
            Metric::SquaredEuclidean | Metric::Euclidean => Some(Self::Centred),
            Metric::Cosine => Some(Self::Direction),
            Metric::InnerProduct => Some(Self::Product),
            _ => None,
        }
    }
}

/// Which table a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The points: columns of the tile.
    Points,
    /// The queries: rows of the tile.
    Queries,
}

/// A radius in terms of T.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Columns beyond it are beyond the radius.
    pub outer: f64,
    /// Columns up to it are within the radius.
    pub inner: f64,
}

/// How rows are prepared for the tiles of one call.
#[derive(Debug)]
pub(super) struct Screen {
    metric: Metric,
    form: Form,
    offset: Vec<f64>,
    points_scale: f64,
    queries_scale: f64,
    /// -1 where the farthest are wanted.
    sign: f64,
    /// At least the length of any prepared row.
    largest_norm: f64,
    /// Whether tiles are taken with the error that they may have; tests alone do without.
    has_bound: bool,
}

impl Screen {
    /// Chooses the frame. `None` where no tile of products screens this metric.
    pub fn new(problem: &Problem, scan: &Scan) -> Result<Option<Self>> {
        let Problem { points, formula, farthest, has_bound, cancel, .. } = problem;
        let (metric, has_bound, queries) = (formula.metric, *has_bound, problem.other_queries());
        let Some(form) = Form::of(metric).filter(|_| formula.period.is_none()) else { return Ok(None) };
        let depth = points.columns();
        let norm_of = |largest: &[f64]| largest.iter().map(|l| l * l).sum::<f64>().sqrt() * (1.0 + 1e-6);
        let origin = vec![0.0; depth];
        let (offset, points_scale, queries_scale, largest_norm) = match form {
            Form::Centred => {
                let frame = scan.frame.clone();
                (frame.offset, frame.scale, frame.scale, norm_of(&scan.largest))
            }
            Form::Direction => (origin, 1.0, 1.0, 1.0 + 1e-6),
            Form::Product => {
                let scale = |points: &Points| scale_of(points, cancel);
                let points_scale = scale(points)?;
                let queries_scale = queries.map(scale).transpose()?.unwrap_or(points_scale);
                (origin, points_scale, queries_scale, (depth as f64).sqrt() * (1.0 + 1e-6))
            }
        };
        let sign = if *farthest { -1.0 } else { 1.0 };
        Ok(Some(Self { metric, form, offset, points_scale, queries_scale, sign, largest_norm, has_bound }))
    }

    /// Number of features.
    pub fn depth(&self) -> usize {
        self.offset.len()
    }

    /// Prepares one row: rounded into `out`, its squared length in `f64` returned. `wide` holds the row's features.
    pub fn load(&self, side: Side, points: &Points, row: usize, wide: &mut [f64], out: &mut [f32]) -> f64 {
        let square = self.prepare(side, points, row, wide);
        let sign = self.sign_of(side);
        out.iter_mut().zip(wide.iter()).for_each(|(out, value)| *out = (sign * value) as f32);
        square
    }

    /// What the features of a row are multiplied by once they are prepared.
    fn sign_of(&self, side: Side) -> f64 {
        if side == Side::Queries { self.sign } else { 1.0 }
    }

    /// Prepares one row in `wide`, but for its sign, and returns its squared length.
    fn prepare(&self, side: Side, points: &Points, row: usize, wide: &mut [f64]) -> f64 {
        widen_row(points, row, wide);
        let scale = if side == Side::Points { self.points_scale } else { self.queries_scale };
        match self.form {
            Form::Centred => {
                wide.iter_mut()
                    .zip(&self.offset)
                    .for_each(|(value, offset)| *value = (*value - offset) * scale);
            }
            Form::Product => wide.iter_mut().for_each(|value| *value *= scale),
            Form::Direction => {
                let peak = wide.iter().fold(0.0_f64, |peak, value| peak.max(value.abs()));
                let unit = power_of_two(exponent_above(peak).clamp(-1000, 1000));
                let length = wide.iter().map(|value| (value / unit) * (value / unit)).sum::<f64>().sqrt();
                wide.iter_mut().for_each(|value| *value = *value / unit / length);
            }
        }
        let mut sums = [0.0_f64; 4];
        let parts = wide.chunks_exact(4);
        let rest: f64 = parts.remainder().iter().map(|value| value * value).sum();
        for part in parts {
            for (sum, value) in sums.iter_mut().zip(part) {
                *sum += value * value;
            }
        }
        sums.iter().sum::<f64>() + rest
    }

    /// The half norm of a column less its own error, and that error.
    pub fn half_norm(&self, square: f64, unit: f64, chain: usize) -> (f32, f32) {
        let of_column = Extent { column_norm: square.sqrt(), ..self.extent(unit, chain) };
        let error = if self.has_bound { of_column.column_error() } else { 0.0 };
        let half = match self.form {
            Form::Centred => 0.5 * square,
            Form::Direction => 0.5,
            Form::Product => 0.0,
        };
        ((self.sign * half - f64::from(error)) as f32, error)
    }

    /// The bound on a row's share, for products that go through `chain` additions of relative error `unit`.
    pub fn bound(&self, unit: f64, chain: usize) -> Bound {
        if self.has_bound {
            Bound::of(&self.extent(unit, chain))
        } else {
            Bound { slope: 0.0, constant: 0.0, square: 0.0 }
        }
    }

    /// 2 S of a row with this squared length. S also covers what the metric's value in `f64` loses where it is too small for
    /// all digits: rows that are apart for a tile may be equally near for it.
    pub fn gap(&self, bound: &Bound, square: f64) -> f64 {
        let lost = match self.metric {
            _ if !self.has_bound => 0.0,
            Metric::Euclidean => DENORMAL * self.points_scale * self.largest_norm,
            Metric::Cosine => 0.0,
            _ => DENORMAL * self.points_scale * self.queries_scale,
        };
        (2.0 * (f64::from(bound.shared(norm_above(square))) + lost)).min(WIDEST_GAP)
    }

    /// The values of T that belong to `radius` from a row with this squared length.
    pub fn reach(&self, radius: f64, square: f64) -> Reach {
        let (middle, size) = match self.form {
            Form::Centred => {
                let apart = match self.metric {
                    Metric::Euclidean => (radius * self.points_scale) * (radius * self.points_scale),
                    _ => radius * self.points_scale * self.points_scale,
                };
                (0.5 * (apart - square), apart + square)
            }
            Form::Direction => (radius - 0.5, radius + 1.0),
            Form::Product => {
                let scaled = radius * self.points_scale * self.queries_scale;
                (-scaled, scaled.abs())
            }
        };
        let slack = if size.is_finite() && self.has_bound { SLACK * size } else { 0.0 };
        Reach { outer: middle + slack, inner: middle - slack }
    }

    fn extent(&self, unit: f64, chain: usize) -> Extent {
        Extent {
            depth: self.depth(),
            chain: chain + ROUNDINGS_OF_ROWS,
            unit,
            row_norm: self.largest_norm,
            column_norm: self.largest_norm,
            column_residual: 0.0,
        }
    }
}

/// A power of two that brings the largest magnitude to at most 1.
fn scale_of(points: &Points, cancel: &Cancel) -> Result<f64> {
    let largest = in_blocks(points, cancel, |_, wide| {
        Ok(wide.iter().fold(0.0_f64, |largest, value| largest.max(value.abs())))
    })?;
    let largest = largest.into_iter().fold(0.0, f64::max);
    let exponent = if largest == 0.0 { 0 } else { exponent_above(largest) };
    Ok(power_of_two((-exponent).clamp(-1000, 1000)))
}

/// The largest of what `of` gives for the rows of each block, or the first error.
pub(super) fn in_blocks(
    points: &Points,
    cancel: &Cancel,
    of: impl Fn(usize, &[f64]) -> Result<f64> + Sync,
) -> Result<Vec<f64>> {
    let rows = points.rows();
    let block = |block: usize| {
        cancel.check()?;
        let mut wide = vec![0.0; points.columns()];
        let mut largest = 0.0_f64;
        for row in block * CHECKED_ROWS..((block + 1) * CHECKED_ROWS).min(rows) {
            widen_row(points, row, &mut wide);
            largest = largest.max(of(row, &wide)?);
        }
        Ok(largest)
    };
    // Of several errors that of the first block, whatever the number of threads.
    let blocks: Vec<Result<f64>> = (0..rows.div_ceil(CHECKED_ROWS)).into_par_iter().map(block).collect();
    blocks.into_iter().collect()
}
