//! The nearest fold on bytes: a quarter of the work of `f32`, for the rows whose nearest column is not close to call.
//!
//! A row is x = s q + e, a column is c = t p + f, with whole numbers q and p ([`super::encode`]). So
//!
//! ```text
//! |x . c - s t (q . p)| <= (|x| + |e|) |f| + |e| |c| <= rho |c|     rho = (|x| + |e|) max(|f| / |c|) + |e|
//! ```
//!
//! and with T = |c|^2 / 2 - x . c, of which the nearest column has the least (see [`crate::tile::bound`]),
//!
//! ```text
//! v = |c|^2 / 2 - s t (q . p) - rho |c|          T is at least v, and at most v + 2 rho |c|
//! ```
//!
//! The fold keeps the least v and the least of the others: its column is certified where they lie farther apart than
//! 2 rho |c|. q . p is exact. The rest of v is evaluated in `f32`, in six operations on terms of at most 4 |x| |c| and
//! |c|^2 / 2: |e| is taken larger by 2^-16 |x|, and the half squares smaller by 2^-20 of themselves for that.
//!
//! The reference decides on `fl64(|x - c|^2)`, within 2^-37 (|x| + |c|)^2 of the real one for as many features as there may
//! be. 2^-36 (|x| + |c|)^2 of the best column is added to what has to lie between; what is longer in another column, its
//! half square made smaller covers.

use rayon::prelude::*;

use super::ROW_GROUP;
use super::encode::{self, BIAS, Encoded, STEP, encode};
use super::kernel::{ABSENT, FoldState};
use super::levels;
use crate::simd::{ByteLevel, byte_level};
use crate::tile::codebook::Codebook;

/// Fewer columns than this do not pay for encoding the rows.
const LEAST_COLUMNS: usize = 64;
/// Nor do so few rows pay for encoding the columns.
const LEAST_ROWS: usize = 256;
/// In shorter rows the fold takes longer than the products.
const LEAST_DEPTH: usize = 48;
/// In longer rows the products of single columns would go through longer chains of additions than the tile's.
const MOST_DEPTH: usize = 4096;
/// 2^-20.
const SMALL: f64 = 1.0 / (1 << 20) as f64;

/// Columns packed as bytes.
pub(crate) struct BytePanels {
    depth: usize,
    /// Bytes of a row.
    pub(super) stride: usize,
    /// Columns per tile: two vectors.
    pub(super) width: usize,
    /// Number of tiles.
    pub(super) tiles: usize,
    /// p: `[tile][step][column][feature of the step]`.
    pub(super) packed: Vec<i8>,
    /// What the bias of rows adds to products.
    pub(super) biases: Vec<i32>,
    /// t.
    pub(super) scales: Vec<f32>,
    /// At least |c|.
    pub(super) lengths: Vec<f32>,
    /// At most |c|^2 / 2.
    pub(super) half_norms: Vec<f32>,
    /// At least |f| / |c| of every column.
    share: f32,
    /// Makes all bounds too small, which tests have to notice.
    #[cfg(test)]
    pub(super) careless: bool,
}

/// Rows of a block as bytes.
#[derive(Default)]
pub(super) struct ByteRows {
    /// q + [`BIAS`], row by row, followed by any rows up to a multiple of every kernel's count.
    pub codes: Vec<u8>,
    /// s of each row.
    pub scales: Vec<f32>,
    /// rho of each row.
    pub rests: Vec<f32>,
}

impl BytePanels {
    /// The columns of a codebook for `rows` rows, where the processor has instructions for bytes and the sizes are worth
    /// them.
    pub fn new(book: &Codebook, rows: usize) -> Option<Self> {
        let is_worth = rows >= LEAST_ROWS
            && book.len() >= LEAST_COLUMNS
            && (LEAST_DEPTH..=MOST_DEPTH).contains(&book.depth)
            && byte_level() != ByteLevel::Portable;
        is_worth.then(|| Self::of(book))
    }

    /// The columns of a codebook of up to [`MOST_DEPTH`] features.
    pub(super) fn of(book: &Codebook) -> Self {
        let (depth, columns) = (book.depth, book.len());
        let width = match byte_level() {
            #[cfg(target_arch = "x86_64")]
            ByteLevel::Avx512 => 32,
            #[cfg(target_arch = "x86_64")]
            ByteLevel::Avx => 16,
            ByteLevel::Portable => 16,
        };
        let (tiles, stride) = (columns.div_ceil(width), encode::stride(depth));
        let mut panels = Self {
            depth,
            stride,
            width,
            tiles,
            packed: vec![0; tiles * width * stride],
            biases: vec![0; tiles * width],
            scales: vec![0.0; tiles * width],
            lengths: vec![0.0; tiles * width],
            half_norms: vec![ABSENT; tiles * width],
            share: 0.0,
            #[cfg(test)]
            careless: false,
        };
        let Self { packed, biases, scales, lengths, half_norms, .. } = &mut panels;
        let shares = packed
            .par_chunks_mut(width * stride)
            .zip(biases.par_chunks_mut(width))
            .zip(scales.par_chunks_mut(width).zip(lengths.par_chunks_mut(width)))
            .zip(half_norms.par_chunks_mut(width))
            .enumerate()
            .map_init(
                || vec![BIAS; stride],
                |codes, (tile, (((packed, biases), (scales, lengths)), half_norms))| {
                    let mut share = 0.0_f64;
                    for lane in 0..width.min(columns - tile * width) {
                        let column = tile * width + lane;
                        let c = &book.rounded[column * depth..(column + 1) * depth];
                        let length = book.length_above(column);
                        let Encoded { scale, rest } = encode(c, length, codes);
                        biases[lane] = encode::column(codes, |step, bytes| {
                            packed[(step * width + lane) * STEP..][..STEP].copy_from_slice(&bytes);
                        });
                        scales[lane] = scale;
                        lengths[lane] = length;
                        half_norms[lane] = (0.5 * book.squares()[column] * (1.0 - SMALL)) as f32;
                        if length > 0.0 {
                            let rest = f64::from(rest) + f64::from(book.residual_above(column));
                            share = share.max(rest / f64::from(length));
                        }
                    }
                    share
                },
            );
        panels.share = (shares.reduce(|| 0.0, f64::max) * (1.0 + SMALL)) as f32;
        panels
    }

    /// The least and second-least v of rows, `winners` of `state`: `x` holds them row-major, `norms` upper bounds of
    /// their lengths.
    pub(super) fn fold(&self, x: &[f32], norms: &[f32], rows: &mut ByteRows, state: &mut FoldState) {
        let (count, padded) = (norms.len(), norms.len().next_multiple_of(ROW_GROUP));
        rows.codes.resize(padded * self.stride, BIAS);
        rows.scales.resize(padded, 0.0);
        rows.rests.resize(padded, 0.0);
        let each = x.chunks_exact(self.depth).zip(norms).zip(rows.codes.chunks_exact_mut(self.stride));
        for (((x, &norm), codes), (scale, rho)) in each.zip(rows.scales.iter_mut().zip(&mut rows.rests)) {
            let Encoded { scale: step, rest } = encode(x, norm, codes);
            *scale = step;
            *rho = (norm + rest) * self.share + rest;
            #[cfg(test)]
            if self.careless {
                *rho = 0.0;
            }
        }
        levels::fold_bytes(rows, count, self, state);
    }

    /// How far apart the least two values have to lie for a row with this norm and rest.
    #[inline(always)]
    pub(super) fn gap(&self, column: usize, norm: f32, rho: f32) -> f32 {
        let (length, half) = (self.lengths[column], self.half_norms[column]);
        let both = norm + length;
        (2.0 * rho * length + half * (8.0 * SMALL as f32) + both * both * (16.0 * SMALL * SMALL) as f32)
            * (1.0 + SMALL as f32)
            + 1e-30
    }

    /// Copies some of the rows.
    pub(super) fn gather(
        &self,
        rows: &ByteRows,
        which: impl ExactSizeIterator<Item = usize>,
        to: &mut ByteRows,
    ) {
        to.codes.resize(ROW_GROUP * self.stride, BIAS);
        to.scales.resize(ROW_GROUP, 0.0);
        to.rests.resize(ROW_GROUP, 0.0);
        for (at, row) in which.enumerate() {
            let codes = &rows.codes[row * self.stride..(row + 1) * self.stride];
            to.codes[at * self.stride..(at + 1) * self.stride].copy_from_slice(codes);
            to.scales[at] = rows.scales[row];
            to.rests[at] = rows.rests[row];
        }
    }

    /// The columns of up to [`ROW_GROUP`] rows whose value is at most the row's limit.
    pub(super) fn collect(
        &self,
        rows: &ByteRows,
        limits: &[(usize, f32)],
        values: &mut [f32],
        columns: &mut [Vec<u32>; ROW_GROUP],
    ) {
        columns.iter_mut().for_each(Vec::clear);
        for tile in 0..self.tiles {
            levels::values_of_bytes(rows, limits.len(), tile, self, values);
            for ((found, &(_, limit)), values) in
                columns.iter_mut().zip(limits).zip(values.chunks_exact(self.width))
            {
                // Most tiles have none.
                let lower = |least, &value| if value < least { value } else { least };
                if values.iter().fold(f32::INFINITY, lower) <= limit {
                    let inside = (0..self.width).filter(|&column| values[column] <= limit);
                    found.extend(inside.map(|column| (tile * self.width + column) as u32));
                }
            }
        }
    }
}
