//! Rows of tables in the element type of the results: centred, scaled, normalised, or as they are.

use std::borrow::Cow;

use rayon::prelude::*;

use super::real::Real;
use super::tables::Tables;
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::{self, exponent_above, power_of_two, raw_row, widen_row};
use crate::error::{Error, Result};
use crate::memory::zeroed;

/// Rows that one thread prepares at a time.
const BLOCK_ROWS: usize = 256;

/// One table, prepared.
#[derive(Debug)]
pub(super) struct Side<'a, T: Real> {
    /// Row-major operands of the tile.
    pub rows: Cow<'a, [T]>,
    /// Row-major originals where they differ from `rows`.
    originals: Option<Cow<'a, [T]>>,
    /// What the originals leave of values that need more bits; empty where they need none.
    pub lows: Vec<T>,
    /// One number for each row: squared lengths, numbers of ones, cosines; or none.
    pub norms: Vec<T>,
}

impl<'a, T: Real> Side<'a, T> {
    pub(super) fn with_norms(depth: usize, rows: Vec<T>, originals: Option<Cow<'a, [T]>>) -> Self {
        let norms = norms(&rows, depth);
        Self { rows: rows.into(), originals, lows: Vec::new(), norms }
    }

    pub(super) fn without_norms(rows: Cow<'a, [T]>) -> Self {
        Self { rows, originals: None, lows: Vec::new(), norms: Vec::new() }
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

/// Fills rows block by block in parallel; `fill` gets an input row in `f64` and its place.
pub(super) fn rows_from<T: Real>(
    points: &Points,
    cancel: &Cancel,
    fill: impl Fn(usize, &mut [f64], &mut [T]) -> Result<()> + Sync,
) -> Result<Vec<T>> {
    let (count, depth) = (points.rows(), points.columns());
    let mut rows: Vec<T> = zeroed("a prepared copy of the rows", count, depth)?;
    rows.par_chunks_mut(BLOCK_ROWS * depth).enumerate().try_for_each(|(block, rows)| {
        cancel.check()?;
        let mut wide = vec![0.0; depth];
        for (row, out) in rows.chunks_exact_mut(depth).enumerate() {
            let row = block * BLOCK_ROWS + row;
            widen_row(points, row, &mut wide);
            fill(row, &mut wide, out)?;
        }
        Ok(())
    })?;
    Ok(rows)
}

/// How rows are centred and scaled.
pub(super) struct Centring<'s> {
    offset: &'s [f64],
    /// A power of two.
    pub scale: f64,
    cancel: &'s Cancel,
}

impl<'s> Centring<'s> {
    pub(super) fn new<T: Real>(frame: &'s frame::Frame, cancel: &'s Cancel) -> Self {
        let exponent = exponent_above(frame.scale).clamp(-T::EXPONENTS, T::EXPONENTS);
        Self { offset: &frame.offset, scale: power_of_two(exponent), cancel }
    }

    /// Rows of the expanded form.
    pub(super) fn expanded<'a, T: Real>(
        &self,
        points: &Points<'a>,
        is_exact: &[bool],
    ) -> Result<Side<'a, T>> {
        let rows = self.rows(points)?;
        let all_exact = is_exact.iter().all(|&exact| exact);
        let originals = if all_exact { None } else { Some(self.originals(points, is_exact)?) };
        Ok(Side::with_norms(points.columns(), rows, originals))
    }

    /// Rows of the expanded form with originals in two parts; those of `f64` are in one, and not scaled.
    pub(super) fn split<'a, T: Real>(&self, points: &Points) -> Result<Side<'a, T>> {
        let rows = self.rows(points)?;
        let high = |value: f64, offset: f64| {
            if T::IS_DOUBLE { value } else { T::rounded((value - offset) * self.scale).into() }
        };
        let part = |of: &(dyn Fn(f64, f64) -> f64 + Sync)| {
            rows_from(points, self.cancel, |_, wide, out: &mut [T]| {
                for ((out, value), offset) in out.iter_mut().zip(wide).zip(self.offset) {
                    *out = T::rounded(of(*value, *offset));
                }
                Ok(())
            })
        };
        let originals = part(&high)?;
        let lows = if T::IS_DOUBLE {
            Vec::new()
        } else {
            part(&|value, offset| (value - offset) * self.scale - high(value, offset))?
        };
        let mut side = Side::with_norms(points.columns(), rows, Some(originals.into()));
        side.lows = lows;
        Ok(side)
    }

    fn rows<T: Real>(&self, points: &Points) -> Result<Vec<T>> {
        rows_from(points, self.cancel, |_, wide, out: &mut [T]| {
            for ((out, &mut value), offset) in out.iter_mut().zip(wide).zip(self.offset) {
                *out = T::rounded((value - offset) * self.scale);
            }
            Ok(())
        })
    }

    /// What differences are taken of: see the module's comment.
    pub(super) fn originals<'a, T: Real>(
        &self,
        points: &Points<'a>,
        is_exact: &[bool],
    ) -> Result<Cow<'a, [T]>> {
        if let Some(input) = T::borrowed(points) {
            return Ok(input.into());
        }
        let rows = rows_from(points, self.cancel, |_, wide, out: &mut [T]| {
            for (column, (out, &mut value)) in out.iter_mut().zip(wide).enumerate() {
                *out = T::rounded(match (T::IS_DOUBLE, is_exact[column]) {
                    (true, _) => value,
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
    pub(super) fn is_exact<T: Real>(&self, tables: &Tables) -> Result<Vec<bool>> {
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
pub(super) fn around_origin<'a, T: Real>(points: &Points<'a>, cancel: &Cancel) -> Result<(Side<'a, T>, i32)> {
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

/// Rows that `fill` makes of input rows in `f64`, or refuses with what was expected of the whole row.
pub(super) fn checked_rows<T: Real>(
    argument: &'static str,
    points: &Points,
    cancel: &Cancel,
    fill: impl Fn(&mut [f64], &mut [T]) -> Option<&'static str> + Sync,
) -> Result<Vec<T>> {
    rows_from(points, cancel, |row, wide, out: &mut [T]| match fill(wide, out) {
        Some(expected) => {
            let got = raw_row(points, row)[0];
            Err(Error::Value { argument, row, column: 0, expected, got })
        }
        None => Ok(()),
    })
}

/// The values times a power of two.
pub(super) fn plain<T: Real>(points: &Points, scale: f64, cancel: &Cancel) -> Result<Vec<T>> {
    rows_from(points, cancel, |_, wide, out: &mut [T]| {
        // Adding 0 makes one zero of both.
        out.iter_mut().zip(wide).for_each(|(out, value)| *out = T::rounded(*value * scale + 0.0));
        Ok(())
    })
}

/// 1, unless sums of values of this size over all features come near the ends of the range of `T`. Ratios do not notice
/// a scale, but small values beside large ones would be lost to one.
pub(super) fn ratio_scale<T: Real>(tables: &Tables) -> f64 {
    let largest = tables.named().iter().map(|(_, table)| largest_magnitude(table)).fold(0.0, f64::max);
    ratio_scale_of::<T>(largest, tables.x.columns())
}

/// The same of rows whose largest magnitude is known.
pub(super) fn ratio_scale_of<T: Real>(largest: f64, columns: usize) -> f64 {
    let exponent = if largest == 0.0 { 0 } else { exponent_above(largest) };
    let most = T::EXPONENTS - 4 - exponent_above(columns as f64);
    if exponent < -T::EXPONENTS / 2 {
        power_of_two((-exponent).min(1000))
    } else {
        power_of_two((most - exponent).min(0))
    }
}

/// Squared lengths, summed in `f64` and rounded once.
pub(super) fn norms<T: Real>(rows: &[T], depth: usize) -> Vec<T> {
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
    use super::*;

    #[test]
    fn the_error_of_a_subtraction_is_found() {
        assert_eq!(subtraction_error(1.0, 0.5, 0.5), 0.0);
        assert_ne!(subtraction_error(1.0, 1e-30, 1.0 - 1e-30), 0.0);
        assert_ne!(subtraction_error(1e-30, 1.0, 1e-30 - 1.0), 0.0);
    }
}
