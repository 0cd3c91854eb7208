//! Columns in `f16`: what tiles on matrix units read of them, and what the bound of their products needs.

use std::ops::Range;

use half::f16;
use rayon::prelude::*;

use super::half_rows::exponent_for;
use super::windows::ColumnWindows;
use crate::device::Gpu;
use crate::error::Result;
use crate::simd::widest;
use crate::tile::bound::f16::{Column, Factors, ratio};
use crate::tile::bound::f32::{ABSENT, with_slack};
use crate::tile::operands::columns::Columns;
use crate::tile::product::units::shape::MatrixTile;

/// Columns rounded to `f16`, on the host.
pub(crate) struct RoundedColumns {
    /// The columns were multiplied by this power of two.
    pub exponent: i32,
    /// `[padded columns, padded depth]`, zeros behind.
    pub halves: Vec<f16>,
    pub terms: HalfTerms,
    /// Per square of a row's length.
    pub square: f32,
}

/// What values and their bound take of columns in `f16` beside the products.
pub(crate) struct HalfTerms {
    /// Half norm less the column's constant, and weight, of each padded column.
    pub terms: Vec<[f32; 2]>,
    /// Weight and constant of each column.
    pub errors: Vec<[f32; 2]>,
    /// See [`crate::tile::bound::f16`].
    pub ratio: f32,
}

impl HalfTerms {
    /// From the half norm of each column and what the bound knows of it.
    pub fn of(half_norms: impl Iterator<Item = f64>, columns: &[Column]) -> Self {
        let ratio = ratio(columns);
        let error = |column: &Column| [column.weight(ratio), with_slack(column.constant)];
        let errors: Vec<[f32; 2]> = columns.iter().map(error).collect();
        let term =
            |(half, &[weight, constant]): (f64, &[f32; 2])| [(half - f64::from(constant)) as f32, weight];
        let mut terms: Vec<[f32; 2]> = half_norms.zip(&errors).map(term).collect();
        terms.resize(MatrixTile::padded_columns(columns.len()), [ABSENT, 0.0]);
        Self { terms, errors, ratio }
    }
}

widest! {
    /// Rounds the first of `scales` times a row to `f16`, where numbers that are not normal there become 0; the second is the
    /// first's inverse. Returns the squared length of what is lost, in the row's own scale.
    pub(crate) fn narrow(row: &[f64], scales: [f64; 2], halves: &mut [f16]) -> f64 = narrow_body;
}

#[inline(always)]
fn narrow_body(row: &[f64], [scale, unscale]: [f64; 2], halves: &mut [f16]) -> f64 {
    let mut lost = [0.0_f64; 8];
    for (row, halves) in row.chunks(8).zip(halves.chunks_mut(8)) {
        for (at, (&c, half)) in row.iter().zip(halves).enumerate() {
            let near;
            (*half, near) = narrowed((c * scale) as f32);
            let difference = c - f64::from(near) * unscale;
            lost[at] += difference * difference;
        }
    }
    lost.iter().sum()
}

/// A number of at most 2^15 as `f16`, and what that stands for; 0 below the least normal number. In plain arithmetic on bits,
/// of which compilers make vectors.
#[inline(always)]
pub(crate) fn narrowed(value: f32) -> (f16, f32) {
    /// Bits of the exponent of `f32` that `f16` has not got.
    const BIAS: u32 = (127 - 15) << 23;
    /// 2^-14, the least normal `f16`.
    const LEAST: u32 = (127 - 14) << 23;
    let bits = value.to_bits();
    let (sign, magnitude) = (bits & 0x8000_0000, bits & 0x7fff_ffff);
    // Half of the last place less one, and one more where the last bit is odd: to nearest, ties to even.
    let rounded = (magnitude + 0x0fff + ((magnitude >> 13) & 1)) & !0x1fff;
    let kept = if rounded < LEAST { 0 } else { rounded };
    let half = if rounded < LEAST { 0 } else { (rounded - BIAS) >> 13 };
    (f16::from_bits((sign >> 16) as u16 | half as u16), f32::from_bits(sign | kept))
}

impl RoundedColumns {
    /// Rounds columns for a tile, in a scale that vectors up to `longest` long have room in too.
    pub fn new(tile: &MatrixTile, columns: &Columns, longest: f64) -> Self {
        let (depth, padded_depth) = (columns.depth, tile.padded_depth(columns.depth));
        let squares = columns.squares();
        // An f64 sum of squares errs by far less than the slack of the bound, the scale's margin and the f32 root.
        let norms: Vec<f64> = squares.iter().map(|square| square.sqrt() * (1.0 + 1e-9)).collect();
        let exponent = exponent_for(norms.iter().fold(longest, |largest, &norm| norm.max(largest)));
        let scales = [2.0_f64.powi(exponent), 2.0_f64.powi(-exponent)];
        let factors = Factors::of(depth);
        let mut halves = vec![f16::ZERO; MatrixTile::padded_columns(columns.len()) * padded_depth];
        // Hundreds of thousands of numbers a pass: on one thread they would take longer than the device's part.
        let bounded: Vec<Column> = columns
            .exact
            .par_chunks_exact(depth)
            .zip(halves.par_chunks_exact_mut(padded_depth))
            .zip(&norms)
            .map(|((column, halves), &norm)| factors.column(norm, narrow(column, scales, halves).sqrt()))
            .collect();
        let terms = HalfTerms::of(squares.iter().map(|square| 0.5 * square), &bounded);
        Self { exponent, halves, terms, square: factors.square() }
    }
}

/// Columns in `f16` on the device.
pub(crate) struct HalfColumns {
    pub exponent: i32,
    pub ratio: f32,
    pub square: f32,
    /// Half norms and weights, and as errors weights and constants.
    pub windows: ColumnWindows,
}

impl HalfColumns {
    /// Copies columns. `window` is a multiple of a tile's columns, or holds all; `longest` as for [`RoundedColumns`].
    pub fn new(gpu: &Gpu, tile: &MatrixTile, window: usize, columns: &Columns, longest: f64) -> Result<Self> {
        let RoundedColumns { exponent, halves, terms, square } = RoundedColumns::new(tile, columns, longest);
        let depth = tile.padded_depth(columns.depth);
        let features = |columns: Range<usize>| {
            let padded = MatrixTile::padded_columns(columns.len());
            &halves[columns.start * depth..(columns.start + padded) * depth]
        };
        let HalfTerms { terms, errors, ratio } = terms;
        let windows = ColumnWindows::new(gpu, (columns.len(), window), features, &terms, &errors)?;
        Ok(Self { exponent, ratio, square, windows })
    }

    /// Bytes of device memory for at most `columns` columns in windows of `window`.
    pub fn bytes(tile: &MatrixTile, columns: u64, window: u64, depth: usize) -> u64 {
        let padded = columns + MatrixTile::padded_columns(1) as u64 * columns.div_ceil(window);
        padded * (2 * tile.padded_depth(depth) as u64 + 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_normal_numbers_are_kept() {
        for flushed in [6.0e-5, -6.0e-5, 5.97e-8, 1e-30, 0.0] {
            let (half, near) = narrowed(flushed);
            assert_eq!((half.to_f32(), near), (0.0, 0.0), "{flushed}");
        }
    }

    /// Every `f16` in range, and numbers between two of them, as the type itself rounds.
    #[test]
    fn rounding_is_to_the_nearest() {
        for bits in 0x0400..=0x7800_u16 {
            let (this, next) = (f16::from_bits(bits), f16::from_bits(bits + 1));
            let middle = 0.5 * (this.to_f32() + next.to_f32());
            for value in [this.to_f32(), middle, middle.next_down(), middle.next_up()] {
                for value in [value, -value].into_iter().filter(|value| value.abs() <= 32768.0) {
                    let (half, near) = narrowed(value);
                    assert_eq!(half, f16::from_f32(value), "{value}");
                    assert_eq!(near, half.to_f32(), "{value}");
                }
            }
        }
    }
}
