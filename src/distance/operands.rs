//! The rows as the tiles see them: centred or normalised, scaled, with their squared norms.
//!
//! Three kinds of tile ask for three kinds of rows:
//!
//! - *expanded* (squared Euclidean, Euclidean, cosine): `rows` are x' = (x - offset) * scale, or x / |x|, with norms;
//!   `originals` are what entries that lose digits are recomputed from;
//! - *product* (inner product): `rows` are x * scale, each table with a scale of its own;
//! - *difference* (Manhattan, Chebyshev): `rows` are the originals.
//!
//! Originals keep every bit of the input, so `x - y` is rounded once. In `f32` a column is taken centred where
//! centring is exact for all its values, and as it stands (times the scale) elsewhere; there the column's values are
//! at most 3 times its spread, because values of 24 bits that lie close together, far out, can be centred exactly.
//! In `f64` they are the input itself, and `difference_scale` is applied to the difference. `f32` rows smaller than
//! 2^-126 of the data's spread may be flushed to zero: an absolute error of that size.

use std::borrow::Cow;

use rayon::prelude::*;

use super::Tables;
use super::params::Metric;
use super::real::{Real, is_representable, too_large_a_result};
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::{self, exponent_above, power_of_two, widen_row};
use crate::error::{Error, Result};

/// Rows that one thread prepares at a time.
const BLOCK_ROWS: usize = 256;

/// How a result follows from rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `|x|^2 + |y|^2 - 2 x.y`, entries that lose digits by differences.
    Expanded,
    /// `x.y`.
    Product,
    /// Sum or maximum of `|x - y|`.
    Difference,
}

impl Form {
    pub(super) fn of(metric: Metric) -> Self {
        match metric {
            Metric::SquaredEuclidean | Metric::Euclidean | Metric::Cosine => Self::Expanded,
            Metric::InnerProduct => Self::Product,
            Metric::Manhattan | Metric::Chebyshev => Self::Difference,
        }
    }
}

/// One table, prepared.
#[derive(Debug)]
pub(super) struct Side<'a, T: Real> {
    /// Row-major operands of the tile.
    pub rows: Cow<'a, [T]>,
    /// Row-major originals where they differ from `rows`.
    originals: Option<Cow<'a, [T]>>,
    /// Squared length of each of `rows`; empty unless the form is [`Form::Expanded`].
    pub norms: Vec<T>,
}

impl<'a, T: Real> Side<'a, T> {
    fn with_norms(depth: usize, rows: Vec<T>, originals: Option<Cow<'a, [T]>>) -> Self {
        let norms = norms(&rows, depth);
        Self { rows: rows.into(), originals, norms }
    }

    fn without_norms(rows: Cow<'a, [T]>) -> Self {
        Self { rows, originals: None, norms: Vec::new() }
    }

    /// What differences are taken of.
    pub(super) fn originals(&self) -> &[T] {
        self.originals.as_ref().unwrap_or(&self.rows)
    }

    /// Number of rows.
    #[cfg(feature = "gpu")]
    pub(super) fn count(&self, depth: usize) -> usize {
        self.rows.len() / depth
    }

    /// Whether the originals differ from the rows.
    #[cfg(feature = "gpu")]
    pub(super) fn has_originals(&self) -> bool {
        self.originals.is_some()
    }
}

/// Both tables, and the factors that bring a tile's value back to input units.
#[derive(Debug)]
pub(super) struct Operands<'a, T: Real> {
    pub metric: Metric,
    pub form: Form,
    /// Number of features.
    pub depth: usize,
    pub x: Side<'a, T>,
    /// `None`: X itself.
    y: Option<Side<'a, T>>,
    /// Powers of two (for cosine 1/2 and 1); a value is multiplied by one after the other.
    pub units: [f64; 2],
    /// Differences of originals are multiplied by this.
    pub difference_scale: f64,
}

impl<'a, T: Real> Operands<'a, T> {
    /// Prepares tables; `scan` is of both of them.
    pub(super) fn new(
        metric: Metric,
        tables: &Tables<'a>,
        scan: &frame::Scan,
        cancel: &Cancel,
    ) -> Result<Self> {
        let depth = tables.x.columns();
        let exponent = exponent_above(scan.frame.scale).clamp(-T::EXPONENTS, T::EXPONENTS);
        let unit = power_of_two(-exponent);
        let frame = Centring { offset: &scan.frame.offset, scale: power_of_two(exponent), cancel };
        let (x, y) = (&tables.x, tables.y.as_ref());
        let (x, y, units) = match metric {
            Metric::SquaredEuclidean | Metric::Euclidean => {
                let is_exact = frame.is_exact::<T>(tables)?;
                let side = |table: &Points<'a>| frame.expanded(table, &is_exact);
                let second = if metric == Metric::Euclidean { 1.0 } else { unit };
                (side(x)?, y.map(side).transpose()?, [unit, second])
            }
            Metric::Cosine => {
                let side = |name, table| Ok(Side::with_norms(depth, directions(name, table, cancel)?, None));
                (side("x", x)?, y.map(|y| side("y", y)).transpose()?, [0.5, 1.0])
            }
            Metric::InnerProduct => {
                let (x, x_exponent) = around_origin(x, cancel)?;
                let y = y.map(|y| around_origin(y, cancel)).transpose()?;
                let exponents = x_exponent + y.as_ref().map_or(x_exponent, |(_, exponent)| *exponent);
                let half = exponents.div_euclid(2);
                (x, y.map(|(y, _)| y), [power_of_two(half), power_of_two(exponents - half)])
            }
            Metric::Manhattan | Metric::Chebyshev => {
                let is_exact = frame.is_exact::<T>(tables)?;
                let side = |table: &Points<'a>| Ok(Side::without_norms(frame.originals(table, &is_exact)?));
                (side(x)?, y.map(side).transpose()?, [if T::IS_DOUBLE { 1.0 } else { unit }, 1.0])
            }
        };
        let form = Form::of(metric);
        // Only originals that are the input itself are still to be scaled.
        let has_input = T::IS_DOUBLE && matches!(metric, Metric::SquaredEuclidean | Metric::Euclidean);
        let difference_scale = if has_input { frame.scale } else { 1.0 };
        Ok(Self { metric, form, depth, x, y, units, difference_scale })
    }

    /// The table that columns of the result belong to.
    pub(super) fn y(&self) -> &Side<'a, T> {
        self.y.as_ref().unwrap_or(&self.x)
    }

    /// Columns of the result.
    #[cfg(feature = "gpu")]
    pub(super) fn columns(&self) -> usize {
        self.y().count(self.depth)
    }

    /// Refuses results that are too large for `T`; `values` start at (row, column).
    pub(super) fn check_results(&self, row: usize, column: usize, values: &[T]) -> Result<()> {
        let refused = values.iter().position(|&value| !is_representable::<T>(value.into()));
        refused.map_or(Ok(()), |at| Err(too_large_a_result::<T>(row, column + at, values[at].into())))
    }

    /// `metric` from the squared distance in tile units, in input units.
    pub(super) fn finished_square(&self, square: f64) -> f64 {
        let value = match self.metric {
            Metric::Euclidean => square.sqrt(),
            Metric::Cosine => square.min(4.0),
            _ => square,
        };
        value * self.units[0] * self.units[1]
    }
}

/// Zeros, or an error where the system has no memory for them.
pub(super) fn zeroed<T: Real>(what: &str, rows: usize, columns: usize) -> Result<Vec<T>> {
    let mut values: Vec<T> = Vec::new();
    let needed_bytes = (rows as u64).saturating_mul(columns as u64).saturating_mul(size_of::<T>() as u64);
    values.try_reserve_exact(rows.saturating_mul(columns)).map_err(|_| Error::TooLarge {
        what: format!("{what} ({rows} x {columns}), which the system's memory does not hold"),
        needed_bytes,
        limit_bytes: isize::MAX as u64,
    })?;
    values.resize(rows * columns, T::ZERO);
    Ok(values)
}

/// Fills rows block by block in parallel; `fill` gets an input row in `f64` and its place.
fn rows_from<T: Real>(
    points: &Points,
    cancel: &Cancel,
    fill: impl Fn(usize, &[f64], &mut [T]) -> Result<()> + Sync,
) -> Result<Vec<T>> {
    let (count, depth) = (points.rows(), points.columns());
    let mut rows: Vec<T> = zeroed("a prepared copy of the rows", count, depth)?;
    rows.par_chunks_mut(BLOCK_ROWS * depth).enumerate().try_for_each(|(block, rows)| {
        cancel.check()?;
        let mut wide = vec![0.0; depth];
        for (row, out) in rows.chunks_exact_mut(depth).enumerate() {
            let row = block * BLOCK_ROWS + row;
            widen_row(points, row, &mut wide);
            fill(row, &wide, out)?;
        }
        Ok(())
    })?;
    Ok(rows)
}

/// How rows are centred and scaled.
struct Centring<'s> {
    offset: &'s [f64],
    /// A power of two.
    scale: f64,
    cancel: &'s Cancel,
}

impl Centring<'_> {
    /// Rows of the expanded form.
    fn expanded<'a, T: Real>(&self, points: &Points<'a>, is_exact: &[bool]) -> Result<Side<'a, T>> {
        let rows = self.rows(points)?;
        let all_exact = is_exact.iter().all(|&exact| exact);
        let originals = if all_exact { None } else { Some(self.originals(points, is_exact)?) };
        Ok(Side::with_norms(points.columns(), rows, originals))
    }

    fn rows<T: Real>(&self, points: &Points) -> Result<Vec<T>> {
        rows_from(points, self.cancel, |_, wide, out: &mut [T]| {
            for ((out, value), offset) in out.iter_mut().zip(wide).zip(self.offset) {
                *out = T::rounded((value - offset) * self.scale);
            }
            Ok(())
        })
    }

    /// What differences are taken of: see the module's comment.
    fn originals<'a, T: Real>(&self, points: &Points<'a>, is_exact: &[bool]) -> Result<Cow<'a, [T]>> {
        if let Some(input) = T::borrowed(points) {
            return Ok(input.into());
        }
        let rows = rows_from(points, self.cancel, |_, wide, out: &mut [T]| {
            for (column, (out, value)) in out.iter_mut().zip(wide).enumerate() {
                *out = T::rounded(match (T::IS_DOUBLE, is_exact[column]) {
                    (true, _) => *value,
                    (false, true) => (value - self.offset[column]) * self.scale,
                    (false, false) => value * self.scale,
                });
            }
            Ok(())
        })?;
        Ok(rows.into())
    }

    /// For each column, whether `(value - offset) * scale` is exact in `T` for every value of both tables. Always
    /// false for `f64`, whose originals are the input.
    fn is_exact<T: Real>(&self, tables: &Tables) -> Result<Vec<bool>> {
        let mut is_exact = vec![!T::IS_DOUBLE; self.offset.len()];
        if T::IS_DOUBLE {
            return Ok(is_exact);
        }
        for (_, points) in tables.named() {
            let blocks = 0..points.rows().div_ceil(BLOCK_ROWS);
            let found: Result<Vec<Vec<bool>>> =
                blocks.into_par_iter().map(|block| self.block_is_exact::<T>(points, block)).collect();
            for block in found? {
                is_exact.iter_mut().zip(block).for_each(|(all, block)| *all &= block);
            }
        }
        Ok(is_exact)
    }

    fn block_is_exact<T: Real>(&self, points: &Points, block: usize) -> Result<Vec<bool>> {
        self.cancel.check()?;
        let mut is_exact = vec![true; self.offset.len()];
        let mut wide = vec![0.0; self.offset.len()];
        for row in block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(points.rows()) {
            widen_row(points, row, &mut wide);
            for ((exact, &value), &offset) in is_exact.iter_mut().zip(&wide).zip(self.offset) {
                let difference = value - offset;
                let scaled = difference * self.scale;
                let rounded: f64 = T::rounded(scaled).into();
                *exact &= subtraction_error(value, offset, difference) == 0.0 && rounded == scaled;
            }
        }
        Ok(is_exact)
    }
}

/// Rows of an inner product, and the exponent of the unit that they are in.
fn around_origin<'a, T: Real>(points: &Points<'a>, cancel: &Cancel) -> Result<(Side<'a, T>, i32)> {
    let largest = largest_magnitude(points);
    let exponent = if largest == 0.0 { 0 } else { exponent_above(largest) };
    let exponent = exponent.clamp(-T::EXPONENTS, T::EXPONENTS);
    let offset = vec![0.0; points.columns()];
    let frame = Centring { offset: &offset, scale: power_of_two(-exponent), cancel };
    Ok((Side::without_norms(frame.rows(points)?.into()), exponent))
}

/// `a - b - difference`, exactly (Knuth's two-sum).
fn subtraction_error(a: f64, b: f64, difference: f64) -> f64 {
    let back = difference - a;
    (a - (difference - back)) - (b + back)
}

/// Rows divided by their length in `f64`; a row of zeros is refused.
fn directions<T: Real>(argument: &'static str, points: &Points, cancel: &Cancel) -> Result<Vec<T>> {
    rows_from(points, cancel, |row, wide, out: &mut [T]| {
        let peak = wide.iter().fold(0.0_f64, |peak, value| peak.max(value.abs()));
        if peak == 0.0 {
            let expected = "a row that is not all zeros: cosine needs a direction";
            return Err(Error::Value { argument, row, column: 0, expected, got: 0.0 });
        }
        let unit = power_of_two(exponent_above(peak).clamp(-1000, 1000));
        let length = wide.iter().map(|value| (value / unit) * (value / unit)).sum::<f64>().sqrt();
        for (out, value) in out.iter_mut().zip(wide) {
            *out = T::rounded(value / unit / length);
        }
        Ok(())
    })
}

/// Squared lengths, summed in `f64` and rounded once.
fn norms<T: Real>(rows: &[T], depth: usize) -> Vec<T> {
    let square = |row: &[T]| {
        row.iter().fold(0.0, |sum, &value| {
            let value: f64 = value.into();
            sum + value * value
        })
    };
    rows.par_chunks_exact(depth).map(|row| T::rounded(square(row))).collect()
}

fn largest_magnitude(points: &Points) -> f64 {
    let block_largest = |block: usize| {
        let mut wide = vec![0.0; points.columns()];
        let mut largest = 0.0_f64;
        for row in block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(points.rows()) {
            widen_row(points, row, &mut wide);
            largest = wide.iter().fold(largest, |largest, value| largest.max(value.abs()));
        }
        largest
    };
    (0..points.rows().div_ceil(BLOCK_ROWS)).into_par_iter().map(block_largest).reduce(|| 0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn columns_that_cannot_be_centred_exactly_stay_as_they_are() {
        // The second column spans more than 24 bits, the first one lies far out but close together.
        let values = array![[1e6_f32, 1.0e-9], [1e6 + 0.0625, 3.0], [1e6 + 8.0, -7.5e3]];
        let points = Points::from(values.view());
        let cancel = Cancel::new();
        let scan = frame::scan("x", &points, &cancel).unwrap();
        let operands =
            Operands::<f32>::new(Metric::Manhattan, &Tables::new(&points, None).unwrap(), &scan, &cancel)
                .unwrap();
        let unit = operands.units[0];
        for i in 0..3 {
            for j in 0..3 {
                for d in 0..2 {
                    let exact = f64::from(values[[i, d]]) - f64::from(values[[j, d]]);
                    let ours = operands.x.rows[i * 2 + d] - operands.x.rows[j * 2 + d];
                    let ours = f64::from(ours) * unit;
                    assert!((ours - exact).abs() <= exact.abs() * 6e-8, "{i} {j} {d}: {ours} {exact}");
                }
            }
        }
    }

    #[test]
    fn the_error_of_a_subtraction_is_found() {
        assert_eq!(subtraction_error(1.0, 0.5, 0.5), 0.0);
        assert_ne!(subtraction_error(1.0, 1e-30, 1.0 - 1e-30), 0.0);
        assert_ne!(subtraction_error(1e-30, 1.0, 1e-30 - 1.0), 0.0);
    }
}
