//! A codebook in `f16`: what the columns of a screen are read from, and what its certificate needs of them.

use half::f16;
use rayon::prelude::*;

use super::half_rows::exponent_for;
use crate::device::{DeviceBuffer, Gpu, Slice};
use crate::error::Result;
use crate::simd::widest;
use crate::tile::bound::constants::{ABSENT, with_slack};
use crate::tile::bound::f16::{Column, Factors, ratio};
use crate::tile::operands::columns::Codebook;
use crate::tile::product::units::shape::MatrixTile;

/// Centroids rounded to `f16`, on the host.
pub(crate) struct HalfBook {
    /// The centroids were multiplied by this power of two.
    pub exponent: i32,
    /// `[padded columns, padded depth]`, zeros behind.
    pub halves: Vec<f16>,
    /// Half norm less the column's constant, and weight, of each padded column.
    pub terms: Vec<[f32; 2]>,
    /// Weight and constant of each column.
    pub errors: Vec<[f32; 2]>,
    /// See [`crate::tile::bound::f16`].
    pub ratio: f32,
    /// Per square of a row's length.
    pub square: f32,
}

widest! {
    /// Rounds the first of `scales` times a row to `f16`, where numbers that are not normal there become 0; the second is the
    /// first's inverse. Returns the squared length of what is lost, in the row's own scale.
    pub(crate) fn narrow(row: &[f64], scales: [f64; 2], halves: &mut [f16]) -> f64 = narrow_body;
}

#[inline(always)]
fn narrow_body(centroid: &[f64], [scale, unscale]: [f64; 2], halves: &mut [f16]) -> f64 {
    let mut lost = [0.0_f64; 8];
    for (centroid, halves) in centroid.chunks(8).zip(halves.chunks_mut(8)) {
        for (at, (&c, half)) in centroid.iter().zip(halves).enumerate() {
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

impl HalfBook {
    /// Rounds a codebook for a tile.
    pub fn new(tile: &MatrixTile, book: &Codebook) -> Self {
        let (depth, padded_depth) = (book.depth, tile.padded_depth(book.depth));
        let squares = book.squares();
        // An f64 sum of squares errs by far less than the slack of the bound, the scale's margin and the f32 root.
        let norms: Vec<f64> = squares.iter().map(|square| square.sqrt() * (1.0 + 1e-9)).collect();
        let exponent = exponent_for(norms.iter().fold(0.0, |largest, &norm| norm.max(largest)));
        let scales = [2.0_f64.powi(exponent), 2.0_f64.powi(-exponent)];
        let factors = Factors::of(depth);
        let mut halves = vec![f16::ZERO; MatrixTile::padded_columns(book.len()) * padded_depth];
        // Hundreds of thousands of numbers a pass: on one thread they would take longer than the device's part.
        let columns: Vec<Column> = book
            .exact
            .par_chunks_exact(depth)
            .zip(halves.par_chunks_exact_mut(padded_depth))
            .zip(&norms)
            .map(|((centroid, halves), &norm)| factors.column(norm, narrow(centroid, scales, halves).sqrt()))
            .collect();
        let ratio = ratio(&columns);
        let errors: Vec<[f32; 2]> =
            columns.iter().map(|column| [column.weight(ratio), with_slack(column.constant)]).collect();
        let mut terms: Vec<[f32; 2]> = squares
            .iter()
            .zip(&errors)
            .map(|(square, &[weight, constant])| [(0.5 * square - f64::from(constant)) as f32, weight])
            .collect();
        terms.resize(MatrixTile::padded_columns(book.len()), [ABSENT, 0.0]);
        Self { exponent, halves, terms, errors, ratio, square: factors.square() }
    }
}

/// A codebook in `f16` on the device, in windows of columns.
pub(crate) struct DeviceHalfBook {
    pub exponent: i32,
    pub ratio: f32,
    pub square: f32,
    windows: Vec<HalfWindow>,
    terms: DeviceBuffer,
    /// Weight and constant of each column.
    pub errors: DeviceBuffer,
}

struct HalfWindow {
    first: u32,
    columns: u32,
    y: DeviceBuffer,
}

/// One window, as a kernel's arguments.
pub(crate) struct HalfPart<'a> {
    /// Index of the first column.
    pub first: u32,
    /// Number of columns.
    pub columns: u32,
    /// Their coordinates, padded to whole tiles.
    pub y: Slice<'a>,
    /// Their half norms and weights, padded to whole tiles.
    pub terms: Slice<'a>,
}

impl DeviceHalfBook {
    /// Copies a codebook. `column_window` is a multiple of a tile's columns, or holds all.
    pub fn new(gpu: &Gpu, tile: &MatrixTile, column_window: usize, book: &Codebook) -> Result<Self> {
        let host = HalfBook::new(tile, book);
        let padded_depth = tile.padded_depth(book.depth);
        let windows = (0..book.len())
            .step_by(column_window)
            .map(|first| {
                let columns = column_window.min(book.len() - first);
                let padded =
                    first * padded_depth..(first + MatrixTile::padded_columns(columns)) * padded_depth;
                let y = gpu.filled("half centroids", &host.halves[padded])?;
                Ok(HalfWindow { first: first as u32, columns: columns as u32, y })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            exponent: host.exponent,
            ratio: host.ratio,
            square: host.square,
            windows,
            terms: gpu.filled("half terms", &host.terms)?,
            errors: gpu.filled("half errors", &host.errors)?,
        })
    }

    /// Bytes of device memory for at most `columns` columns in windows of `column_window`.
    pub fn bytes(tile: &MatrixTile, columns: u64, column_window: u64, depth: usize) -> u64 {
        let padded = columns + MatrixTile::padded_columns(1) as u64 * columns.div_ceil(column_window);
        padded * (2 * tile.padded_depth(depth) as u64 + 16)
    }

    /// Number of windows.
    pub fn windows(&self) -> usize {
        self.windows.len()
    }

    /// The windows.
    pub fn parts(&self) -> impl Iterator<Item = HalfPart<'_>> {
        self.windows.iter().map(|window| {
            let padded = MatrixTile::padded_columns(window.columns as usize) as u64;
            HalfPart {
                first: window.first,
                columns: window.columns,
                y: window.y.whole(),
                terms: self.terms.slice(8 * u64::from(window.first), 8 * padded),
            }
        })
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
