//! The nearest fold on bytes: a quarter of the work of `f32`, for the rows whose nearest column is not close to call.
//!
//! A row is x = s q + e, a column is c = t p + f, with whole numbers q and p ([`crate::tile::operands::bytes`]). So
//!
//! ```text
//! |x . c - s t (q . p)| <= (|x| + |e|) |f| + |e| |c| <= rho |c|     rho = (|x| + |e|) max(|f| / |c|) + |e|
//! ```
//!
//! and with T = |c|^2 / 2 - x . c, of which the nearest column has the least (see [`crate::tile::bound::f32`]),
//!
//! ```text
//! v = |c|^2 / 2 - s t (q . p) - rho |c|          T is at least v, and at most v + 2 rho |c|
//! ```
//!
//! The fold keeps the least v and the least of the others: its column is certified where they lie farther apart than
//! 2 rho |c|. q . p is exact. The rest of v is evaluated in `f32`, in six operations on terms of at most 4 |x| |c| and
//! |c|^2 / 2: |e| is taken larger by 2^-16 |x|, and the half squares smaller by 2^-20 of themselves for that.
//!
//! A column of tiny features, which has no step, is left out of the largest share: |x . c| <= |x| |c| is at most rho times
//! 2^18 |c|, since |e| is taken larger as below, and that stands in for its length.
//!
//! The reference decides on `fl64(|x - c|^2)`, within 2^-37 (|x| + |c|)^2 of the real one for as many features as there may
//! be. 2^-36 (|x| + |c|)^2 of the best column is added to what has to lie between; what is longer in another column, its
//! half square made smaller covers.

use std::ops::RangeInclusive;

use rayon::prelude::*;

use super::kernel::{ABSENT, FoldState};
use super::levels;
use crate::simd::{ByteLevel, byte_level};
use crate::tile::nearest::cpu::ROW_GROUP;
use crate::tile::operands::bytes::{self, BIAS, Encoded, STEP, encode};
use crate::tile::operands::columns::Codebook;

/// Fewer columns than this do not pay for encoding the rows.
const LEAST_COLUMNS: usize = 64;
/// Nor do so few rows pay for encoding the columns.
const LEAST_ROWS: usize = 256;
/// In shorter rows the fold takes longer than the products; in longer ones the products of single columns would go through
/// longer chains of additions than the tile's.
pub(crate) const DEPTHS: RangeInclusive<usize> = 48..=4096;
/// A column that is all rest counts as so many times as long: every rho is at least 2^-16 of its row's length.
const ALL_REST: f32 = (1 << 18) as f32;
/// 2^-20.
const SMALL: f64 = 1.0 / (1 << 20) as f64;

/// Columns packed as bytes.
pub(crate) struct BytePanels {
    depth: usize,
    /// Bytes of a row.
    pub(crate) stride: usize,
    /// Columns per tile: two vectors.
    pub(crate) width: usize,
    /// Number of tiles.
    pub(crate) tiles: usize,
    /// p: `[tile][step][column][feature of the step]`.
    pub(crate) packed: Vec<i8>,
    /// What the bias of rows adds to products.
    pub(crate) biases: Vec<i32>,
    /// t.
    pub(crate) scales: Vec<f32>,
    /// At least |c|.
    pub(crate) lengths: Vec<f32>,
    /// At most |c|^2 / 2.
    pub(crate) half_norms: Vec<f32>,
    /// At least |f| / |c| of every column.
    share: f32,
    /// Makes all bounds too small, which tests have to notice.
    #[cfg(test)]
    pub(crate) careless: bool,
}

/// Rows of a block as bytes.
#[derive(Default)]
pub(crate) struct ByteRows {
    /// q + [`BIAS`], row by row, followed by any rows up to a multiple of every kernel's count.
    pub codes: Vec<u8>,
    /// s of each row.
    pub scales: Vec<f32>,
    /// At least |e| of each row.
    pub left_out: Vec<f32>,
    /// rho of each row.
    pub rests: Vec<f32>,
}

/// A column that is to be packed.
pub(crate) struct Column<'c> {
    /// Its features, rounded.
    pub c: &'c [f32],
    /// At least its length, rounded or not.
    pub length: f32,
    /// At least what rounding took away.
    pub residual: f32,
    /// What its products are taken off.
    pub half_norm: f64,
}

impl ByteRows {
    /// Rows of `depth` features, none longer than its entry of `norms`.
    pub fn encode(&mut self, x: &[f32], norms: &[f32], depth: usize) {
        let (stride, padded) = (bytes::stride(depth), norms.len().next_multiple_of(ROW_GROUP));
        self.codes.resize(padded * stride, BIAS);
        self.scales.resize(padded, 0.0);
        self.left_out.resize(padded, 0.0);
        self.rests.resize(padded, 0.0);
        let each = x.chunks_exact(depth).zip(norms).zip(self.codes.chunks_exact_mut(stride));
        for (((x, &norm), codes), (scale, left_out)) in
            each.zip(self.scales.iter_mut().zip(&mut self.left_out))
        {
            let Encoded { scale: step, rest } = encode(x, norm, codes);
            (*scale, *left_out) = (step, rest);
        }
    }
}

/// Smaller by what evaluating a value in `f32` may add.
pub(crate) fn lowered(half_norm: f64) -> f32 {
    (half_norm - SMALL * half_norm.abs()) as f32
}

impl BytePanels {
    /// The columns of a codebook for `rows` rows, where the processor has instructions for bytes and the sizes are worth
    /// them.
    pub fn new(book: &Codebook, rows: usize) -> Option<Self> {
        let is_worth = rows >= LEAST_ROWS
            && book.len() >= LEAST_COLUMNS
            && DEPTHS.contains(&book.depth)
            && byte_level() != ByteLevel::Portable;
        is_worth.then(|| Self::of(book))
    }

    /// The columns of a codebook of as many features as [`DEPTHS`] has.
    pub(crate) fn of(book: &Codebook) -> Self {
        let depth = book.depth;
        Self::pack(depth, book.len(), |column| Column {
            c: &book.rounded[column * depth..(column + 1) * depth],
            length: book.length_above(column),
            residual: book.residual_above(column),
            half_norm: 0.5 * book.squares()[column],
        })
    }

    /// Packs `columns` columns of `depth` features, on all threads of the current pool.
    pub(crate) fn pack<'c>(
        depth: usize,
        columns: usize,
        column: impl Fn(usize) -> Column<'c> + Sync,
    ) -> Self {
        let width = match byte_level() {
            #[cfg(target_arch = "x86_64")]
            ByteLevel::Avx512 => 32,
            #[cfg(target_arch = "x86_64")]
            ByteLevel::Avx => 16,
            ByteLevel::Portable => 16,
        };
        let (tiles, stride) = (columns.div_ceil(width), bytes::stride(depth));
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
                        let Column { c, length, residual, half_norm } = column(tile * width + lane);
                        let Encoded { scale, rest } = encode(c, length, codes);
                        biases[lane] = bytes::column(codes, |step, bytes| {
                            packed[(step * width + lane) * STEP..][..STEP].copy_from_slice(&bytes);
                        });
                        scales[lane] = scale;
                        half_norms[lane] = lowered(half_norm);
                        if scale == 0.0 {
                            lengths[lane] = ALL_REST * length;
                        } else {
                            lengths[lane] = length;
                            share = share.max((f64::from(rest) + f64::from(residual)) / f64::from(length));
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
    pub(crate) fn fold(&self, x: &[f32], norms: &[f32], rows: &mut ByteRows, state: &mut FoldState) {
        rows.encode(x, norms, self.depth);
        self.rests(rows, norms);
        let count = norms.len();
        levels::fold_bytes(rows, count, self, state);
    }

    /// rho of rows with these columns, from what they leave out by themselves.
    pub(crate) fn rests(&self, rows: &mut ByteRows, norms: &[f32]) {
        for ((rho, &left_out), &norm) in rows.rests.iter_mut().zip(&rows.left_out).zip(norms) {
            *rho = (norm + left_out) * self.share + left_out;
            #[cfg(test)]
            if self.careless {
                *rho = 0.0;
            }
        }
    }

    /// How far apart the least two values have to lie for a row with this norm and rest.
    #[inline(always)]
    pub(crate) fn gap(&self, column: usize, norm: f32, rho: f32) -> f32 {
        let (length, half) = (self.lengths[column], self.half_norms[column]);
        let both = norm + length;
        (2.0 * rho * length + half * (8.0 * SMALL as f32) + both * both * (16.0 * SMALL * SMALL) as f32)
            * (1.0 + SMALL as f32)
            + 1e-30
    }

    /// Copies some of the rows.
    pub(crate) fn gather(
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
    pub(crate) fn collect(
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
