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
use std::fmt::Debug;
use std::ops::{Add, Mul, Sub};

use rayon::prelude::*;

use super::Tables;
use super::params::Metric;
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::{self, exponent_above, power_of_two, widen_row};
use crate::error::{Error, Result};

/// Rows that one thread prepares at a time.
const BLOCK_ROWS: usize = 256;

/// `f32` or `f64`.
pub(super) trait Real:
    bytemuck::Pod
    + Debug
    + Send
    + Sync
    + PartialOrd
    + Into<f64>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
{
    const ZERO: Self;
    /// Results of at least this magnitude are refused.
    const LIMIT: f64;
    /// Exponents of scales stay within plus and minus this, so that a scale and its inverse are normal numbers.
    const EXPONENTS: i32;
    /// Sums of two squared norms below this may have lost digits to underflow.
    const TINY: Self;
    /// The value rounded to this type.
    fn rounded(value: f64) -> Self;
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    /// The input as originals, where it can be borrowed.
    fn borrowed<'a>(points: &Points<'a>) -> Option<&'a [Self]>;
    /// The operands as those of `f32`, which GPUs work on, or unchanged where they are not.
    #[cfg(feature = "gpu")]
    fn single(operands: Operands<'_, Self>) -> std::result::Result<Operands<'_, f32>, Operands<'_, Self>>;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const LIMIT: f64 = (1_u128 << 127) as f64;
    const EXPONENTS: i32 = 126;
    const TINY: Self = 1.0 / (1_u128 << 100) as f32;
    fn rounded(value: f64) -> Self {
        value as Self
    }
    fn abs(self) -> Self {
        self.abs()
    }
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    fn borrowed<'a>(_: &Points<'a>) -> Option<&'a [Self]> {
        None
    }
    #[cfg(feature = "gpu")]
    fn single(operands: Operands<'_, Self>) -> std::result::Result<Operands<'_, f32>, Operands<'_, Self>> {
        Ok(operands)
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const LIMIT: f64 = Self::MAX;
    const EXPONENTS: i32 = 1000;
    const TINY: Self = 1e-270;
    fn rounded(value: f64) -> Self {
        value
    }
    fn abs(self) -> Self {
        self.abs()
    }
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    fn borrowed<'a>(points: &Points<'a>) -> Option<&'a [Self]> {
        match points {
            Points::F64(view) => view.to_slice(),
            _ => None,
        }
    }
    #[cfg(feature = "gpu")]
    fn single(operands: Operands<'_, Self>) -> std::result::Result<Operands<'_, f32>, Operands<'_, Self>> {
        Err(operands)
    }
}

/// What a tile computes before its last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Combine {
    /// `|x|^2 + |y|^2 - 2 x.y`, entries that lose digits by differences.
    Expanded,
    /// `x.y`.
    Product,
    /// Sum or maximum of `|x - y|`.
    Difference,
}

impl Combine {
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
    /// Number of rows.
    pub count: usize,
    /// Row-major operands of the tile.
    pub rows: Cow<'a, [T]>,
    /// Row-major originals where they differ from `rows`.
    originals: Option<Cow<'a, [T]>>,
    /// Squared length of each of `rows`; empty unless the combine is [`Combine::Expanded`].
    pub norms: Vec<T>,
}

impl<T: Real> Side<'_, T> {
    /// What differences are taken of.
    pub(super) fn originals(&self) -> &[T] {
        self.originals.as_ref().unwrap_or(&self.rows)
    }

    /// Whether the originals differ from the rows.
    pub(super) fn has_originals(&self) -> bool {
        self.originals.is_some()
    }
}

/// Both tables, and the factors that bring a tile's value back to input units.
#[derive(Debug)]
pub(super) struct Operands<'a, T: Real> {
    pub metric: Metric,
    pub combine: Combine,
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
        let combine = Combine::of(metric);
        let depth = tables.x.columns();
        let exponent = (exponent_above(scan.frame.scale)).clamp(-T::EXPONENTS, T::EXPONENTS);
        let scale = power_of_two(exponent);
        let unit = power_of_two(-exponent);
        let offset = &scan.frame.offset;
        let tables = [Some(&tables.x), tables.y.as_ref()];
        let each = |prepare: &dyn Fn(&'static str, &Points<'a>) -> Result<Side<'a, T>>| {
            let mut sides = [None, None];
            for ((side, table), name) in sides.iter_mut().zip(tables).zip(["x", "y"]) {
                *side = table.map(|table| prepare(name, table)).transpose()?;
            }
            Ok(sides)
        };
        let (sides, units, difference_scale) = match metric {
            Metric::SquaredEuclidean | Metric::Euclidean => {
                let second = if metric == Metric::Euclidean { 1.0 } else { unit };
                let is_exact = centring_is_exact::<T>(&tables, offset, scale, cancel)?;
                let sides = each(&|_, table| {
                    let rows = centred(table, offset, scale, cancel)?;
                    let originals = if is_exact.iter().all(|&exact| exact) {
                        None
                    } else {
                        Some(originals(table, offset, scale, &is_exact, cancel)?)
                    };
                    let norms = norms(&rows, depth);
                    Ok(Side { count: table.rows(), rows: rows.into(), originals, norms })
                })?;
                // f64 originals are always the input, never centred ones.
                let difference_scale = if is_f64::<T>() { scale } else { 1.0 };
                (sides, [unit, second], difference_scale)
            }
            Metric::Cosine => {
                let sides = each(&|name, table| {
                    let rows = directions(name, table, cancel)?;
                    let norms = norms(&rows, depth);
                    Ok(Side { count: table.rows(), rows: rows.into(), originals: None, norms })
                })?;
                (sides, [0.5, 1.0], 1.0)
            }
            Metric::InnerProduct => {
                let mut exponents = 0;
                let around_origin = vec![0.0; depth];
                let largest = tables.map(|table| table.map(largest_magnitude));
                let exponent_of = |largest: f64| {
                    let exponent = if largest == 0.0 { 0 } else { exponent_above(largest) };
                    exponent.clamp(-T::EXPONENTS, T::EXPONENTS)
                };
                let x_exponent = exponent_of(largest[0].unwrap_or(0.0));
                let y_exponent = largest[1].map_or(x_exponent, exponent_of);
                exponents += x_exponent + y_exponent;
                let sides = each(&|name, table| {
                    let exponent = if name == "x" { x_exponent } else { y_exponent };
                    let rows = centred(table, &around_origin, power_of_two(-exponent), cancel)?;
                    Ok(Side { count: table.rows(), rows: rows.into(), originals: None, norms: Vec::new() })
                })?;
                let half = exponents.div_euclid(2);
                (sides, [power_of_two(half), power_of_two(exponents - half)], 1.0)
            }
            Metric::Manhattan | Metric::Chebyshev => {
                let is_exact = centring_is_exact::<T>(&tables, offset, scale, cancel)?;
                let sides = each(&|_, table| {
                    let rows = originals(table, offset, scale, &is_exact, cancel)?;
                    Ok(Side { count: table.rows(), rows, originals: None, norms: Vec::new() })
                })?;
                (sides, [if is_f64::<T>() { 1.0 } else { unit }, 1.0], 1.0)
            }
        };
        let [x, y] = sides;
        let x = x.ok_or_else(|| Error::shape("x", "a table", "none"))?;
        Ok(Self { metric, combine, depth, x, y, units, difference_scale })
    }

    /// The table that columns of the result belong to.
    pub(super) fn y(&self) -> &Side<'a, T> {
        self.y.as_ref().unwrap_or(&self.x)
    }

    /// Refuses results that are too large for `T`; `values` start at (row, column).
    pub(super) fn check_results(&self, row: usize, column: usize, values: &[T]) -> Result<()> {
        if values.iter().all(|&value| is_representable(value)) {
            return Ok(());
        }
        let at = values.iter().position(|&value| !is_representable(value)).unwrap_or(0);
        Err(too_large_a_result(row, column + at, values[at].into(), is_f64::<T>()))
    }

    /// `metric` from the squared distance in tile units, in input units.
    pub(super) fn from_square(&self, square: f64) -> f64 {
        let value = match self.metric {
            Metric::Euclidean => square.sqrt(),
            Metric::Cosine => square.min(4.0),
            _ => square,
        };
        value * self.units[0] * self.units[1]
    }
}

/// Whether a result of `T` is not too large, nor NaN.
pub(super) fn is_representable<T: Real>(value: T) -> bool {
    let value: f64 = value.into();
    value.abs() < T::LIMIT
}

/// The error for a result beyond what its type holds.
pub(super) fn too_large_a_result(row: usize, column: usize, got: f64, is_f64: bool) -> Error {
    let expected = if is_f64 {
        "a result that f64 holds: scale the input down"
    } else {
        "a result below 2^127: give f64 input, ask for f64 results, or scale the input down"
    };
    Error::Value { argument: "result", row, column, expected, got }
}

fn is_f64<T: Real>() -> bool {
    size_of::<T>() == 8
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

fn centred<T: Real>(points: &Points, offset: &[f64], scale: f64, cancel: &Cancel) -> Result<Vec<T>> {
    rows_from(points, cancel, |_, wide, out: &mut [T]| {
        for ((out, value), offset) in out.iter_mut().zip(wide).zip(offset) {
            *out = T::rounded((value - offset) * scale);
        }
        Ok(())
    })
}

/// What differences are taken of: see the module's comment.
fn originals<'a, T: Real>(
    points: &Points<'a>,
    offset: &[f64],
    scale: f64,
    is_exact: &[bool],
    cancel: &Cancel,
) -> Result<Cow<'a, [T]>> {
    if let Some(input) = T::borrowed(points) {
        return Ok(input.into());
    }
    let rows = rows_from(points, cancel, |_, wide, out: &mut [T]| {
        for (column, (out, value)) in out.iter_mut().zip(wide).enumerate() {
            *out = if is_f64::<T>() {
                T::rounded(*value)
            } else if is_exact[column] {
                T::rounded((value - offset[column]) * scale)
            } else {
                T::rounded(value * scale)
            };
        }
        Ok(())
    })?;
    Ok(rows.into())
}

/// For each column, whether `(value - offset) * scale` is exact in `T` for every value of both tables. Always false
/// for `f64`, whose originals are the input.
fn centring_is_exact<T: Real>(
    tables: &[Option<&Points>; 2],
    offset: &[f64],
    scale: f64,
    cancel: &Cancel,
) -> Result<Vec<bool>> {
    let depth = offset.len();
    if is_f64::<T>() {
        return Ok(vec![false; depth]);
    }
    let mut is_exact = vec![true; depth];
    for points in tables.iter().flatten() {
        let count = points.rows();
        let blocks: Result<Vec<Vec<bool>>> = (0..count.div_ceil(BLOCK_ROWS))
            .into_par_iter()
            .map(|block| {
                cancel.check()?;
                let mut is_exact = vec![true; depth];
                let mut wide = vec![0.0; depth];
                for row in block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(count) {
                    widen_row(points, row, &mut wide);
                    for ((exact, &value), &offset) in is_exact.iter_mut().zip(&wide).zip(offset) {
                        let difference = value - offset;
                        let scaled = difference * scale;
                        let rounded: f64 = T::rounded(scaled).into();
                        *exact &= subtraction_error(value, offset, difference) == 0.0 && rounded == scaled;
                    }
                }
                Ok(is_exact)
            })
            .collect();
        for block in blocks? {
            is_exact.iter_mut().zip(block).for_each(|(all, block)| *all &= block);
        }
    }
    Ok(is_exact)
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
