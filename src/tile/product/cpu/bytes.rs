//! The CPU tile in bytes: bounds on products for a quarter of the work of `f32`, enough for all but the columns that are close
//! to call.
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
//! The nearest fold keeps the least v and the least of the others: its column is certified where they lie farther apart than
//! 2 rho |c|. q . p is exact. The rest of v is evaluated in `f32`, in six operations on terms of at most 4 |x| |c| and
//! |c|^2 / 2: |e| is taken larger by 2^-16 |x|, and the half squares smaller by 2^-20 of themselves for that.
//!
//! Columns may also be packed with anything else in the place of |c|^2 / 2, such as a share that x . c has to pass: then v is at
//! most that less x . c.
//!
//! A column of tiny features, which has no step, is left out of the largest share: |x . c| <= |x| |c| is at most rho times
//! 2^18 |c|, since |e| is taken larger as below, and that stands in for its length.
//!
//! The reference decides on `fl64(|x - c|^2)`, within 2^-37 (|x| + |c|)^2 of the real one for as many features as there may
//! be. 2^-36 (|x| + |c|)^2 of the best column is added to what has to lie between; what is longer in another column, its
//! half square made smaller covers.
//!
//! A register block is that of `panels.rs`, with four features to a step and whole numbers to a lane. A tile is finished in one
//! go: the sums of any depth that bytes are used for are exact in 32 bits.

use std::ops::Range;

use rayon::prelude::*;

use super::ROW_GROUP;
use crate::simd::vector::ByteVector;
use crate::simd::{OnByteVectors, byte_level, lanes, run_on_bytes};
use crate::tile::bound::f32::ABSENT;
use crate::tile::operands::bytes::{self, BIAS, Encoded, STEP, encode};
use crate::tile::operands::columns::Columns;
use crate::tile::product::{Blocks, Fold, Folded, Product};

/// A column that is all remainder counts as so many times as long: every rho is at least 2^-16 of its row's length.
const ALL_REMAINDER: f32 = (1 << 18) as f32;
/// 2^-20.
const SMALL: f64 = 1.0 / (1 << 20) as f64;

/// Columns packed as bytes.
pub(crate) struct BytePanels {
    /// Bytes of a row.
    stride: usize,
    /// Columns per tile.
    pub(crate) width: usize,
    /// Number of tiles.
    pub(crate) tiles: usize,
    /// p: `[tile][step][column][feature of the step]`.
    packed: Vec<i8>,
    /// What the bias of rows adds to products.
    biases: Vec<i32>,
    /// t.
    scales: Vec<f32>,
    /// At least |c|.
    lengths: Vec<f32>,
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
    pub remainders: Vec<f32>,
    /// rho of each row, with the columns that it meets.
    pub rho: Vec<f32>,
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
        let stride = bytes::stride(depth);
        self.resize(norms.len(), stride);
        let each = x.chunks_exact(depth).zip(norms).zip(self.codes.chunks_exact_mut(stride));
        for (((x, &norm), codes), (scale, remainder)) in
            each.zip(self.scales.iter_mut().zip(&mut self.remainders))
        {
            let encoded = encode(x, norm, codes);
            (*scale, *remainder) = (encoded.scale, encoded.remainder);
        }
    }

    /// Copies some rows of others, of `depth` features.
    pub fn gather(&mut self, from: &Self, which: impl ExactSizeIterator<Item = usize>, depth: usize) {
        let stride = bytes::stride(depth);
        self.resize(which.len(), stride);
        for (at, row) in which.enumerate() {
            self.codes[at * stride..][..stride].copy_from_slice(&from.codes[row * stride..][..stride]);
            (self.scales[at], self.remainders[at]) = (from.scales[row], from.remainders[row]);
        }
    }

    fn resize(&mut self, rows: usize, stride: usize) {
        let padded = rows.next_multiple_of(ROW_GROUP);
        self.codes.resize(padded * stride, BIAS);
        self.scales.resize(padded, 0.0);
        self.remainders.resize(padded, 0.0);
        self.rho.resize(padded, 0.0);
    }
}

/// Smaller by what evaluating a value in `f32` may add.
pub(crate) fn lowered(half_norm: f64) -> f32 {
    (half_norm - SMALL * half_norm.abs()) as f32
}

impl BytePanels {
    /// The columns of a codebook of as many features as [`super::super::bytes_are_quicker`] allows.
    pub(crate) fn of(book: &Columns) -> Self {
        let depth = book.depth;
        Self::pack(depth, tile_width(), book.len(), |column| Column {
            c: &book.rounded[column * depth..(column + 1) * depth],
            length: book.length_above(column),
            residual: book.residual_above(column),
            half_norm: 0.5 * book.squares()[column],
        })
    }

    /// Packs `columns` columns of `depth` features, `width` to a tile, on all threads of the current pool.
    pub(crate) fn pack<'c>(
        depth: usize,
        width: usize,
        columns: usize,
        column: impl Fn(usize) -> Column<'c> + Sync,
    ) -> Self {
        let (tiles, stride) = (columns.div_ceil(width), bytes::stride(depth));
        let mut panels = Self {
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
                        let Encoded { scale, remainder } = encode(c, length, codes);
                        biases[lane] = bytes::column(codes, |step, bytes| {
                            packed[(step * width + lane) * STEP..][..STEP].copy_from_slice(&bytes);
                        });
                        scales[lane] = scale;
                        half_norms[lane] = lowered(half_norm);
                        if scale == 0.0 {
                            lengths[lane] = ALL_REMAINDER * length;
                        } else {
                            lengths[lane] = length;
                            share =
                                share.max((f64::from(remainder) + f64::from(residual)) / f64::from(length));
                        }
                    }
                    share
                },
            );
        panels.share = (shares.reduce(|| 0.0, f64::max) * (1.0 + SMALL)) as f32;
        panels
    }

    /// Sets rho of rows with these columns, none of which is longer than its entry of `norms`.
    pub(crate) fn set_rho(&self, rows: &mut ByteRows, norms: impl Iterator<Item = f32>) {
        for ((rho, &remainder), norm) in rows.rho.iter_mut().zip(&rows.remainders).zip(norms) {
            *rho = (norm + remainder) * self.share + remainder;
            #[cfg(test)]
            if self.careless {
                *rho = 0.0;
            }
        }
    }

    /// How far apart the least two values have to lie for a row with this norm and rho.
    #[inline(always)]
    pub(crate) fn gap(&self, column: usize, norm: f32, rho: f32) -> f32 {
        let (length, half) = (self.lengths[column], self.half_norms[column]);
        let both = norm + length;
        (2.0 * rho * length + half * (8.0 * SMALL as f32) + both * both * (16.0 * SMALL * SMALL) as f32)
            * (1.0 + SMALL as f32)
            + 1e-30
    }

    /// Asserts that rows and panels hold what kernels of tiles of so many columns read.
    #[inline(always)]
    pub(crate) fn check(&self, rows: &ByteRows, count: usize, width: usize) {
        let (stride, columns) = (self.stride, self.tiles * width);
        assert!(rows.codes.len() >= count * stride && rows.scales.len() >= count && rows.rho.len() >= count);
        assert!(self.width == width && self.packed.len() == columns * stride && stride.is_multiple_of(STEP));
        assert!([self.scales.len(), self.lengths.len(), self.half_norms.len()] == [columns; 3]);
        assert!(self.biases.len() == columns);
    }
}

/// Columns of a tile of two vectors on this processor.
pub(crate) fn tile_width() -> usize {
    2 * lanes(byte_level())
}

/// What is taken off the half squares: `s t (q . p) + rho |c|` of `ROWS` rows from `first` on with one tile of `VECTORS`
/// vectors.
///
/// # Safety
/// The processor has `V`'s instruction set, and [`BytePanels::check`] saw the rows and the tile; `sums` is valid for
/// `ROWS * VECTORS * V::LANES` elements.
#[inline(always)]
pub(crate) unsafe fn multiply<V: ByteVector, const ROWS: usize, const VECTORS: usize>(
    rows: &ByteRows,
    first: usize,
    panels: &BytePanels,
    tile: usize,
    sums: *mut f32,
) {
    let (stride, width) = (panels.stride, VECTORS * V::LANES);
    // SAFETY: `check` saw that rows and panels hold what is read.
    unsafe {
        let mut products = [[V::zero(); ROWS]; VECTORS];
        let codes: [*const u8; ROWS] =
            std::array::from_fn(|row| rows.codes.as_ptr().add((first + row) * stride));
        let mut packed = panels.packed.as_ptr().add(tile * width * stride);
        for at in (0..stride).step_by(STEP) {
            let mut columns = [V::zero(); VECTORS];
            for vector in 0..VECTORS {
                columns[vector] = V::load_bytes(packed.add(vector * STEP * V::LANES));
            }
            packed = packed.add(STEP * width);
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    products[vector][row] =
                        V::add_products(products[vector][row], codes[row].add(at), columns[vector]);
                }
            }
        }
        // One call per vector with a number that the compiler sees: a loop would keep the products in memory.
        const { assert!(VECTORS == 1 || VECTORS == 2) };
        put::<V, ROWS, VECTORS>(products[0], rows, first, panels, tile * width, sums);
        if VECTORS == 2 {
            let (column, sums) = (tile * width + V::LANES, sums.add(V::LANES));
            put::<V, ROWS, VECTORS>(products[VECTORS - 1], rows, first, panels, column, sums);
        }
    }
}

/// Turns products with the columns of one vector, from `column` on, into what is taken off.
///
/// # Safety
/// As [`multiply`], for one vector in `VECTORS`.
#[inline(always)]
unsafe fn put<V: ByteVector, const ROWS: usize, const VECTORS: usize>(
    products: [V::Whole; ROWS],
    rows: &ByteRows,
    first: usize,
    panels: &BytePanels,
    column: usize,
    sums: *mut f32,
) {
    // SAFETY: `check` saw that rows and panels hold what is read.
    unsafe {
        let biases = panels.biases.as_ptr().add(column);
        let scales = V::load(panels.scales.as_ptr().add(column));
        let lengths = V::load(panels.lengths.as_ptr().add(column));
        for row in 0..ROWS {
            let scale = V::splat(*rows.scales.as_ptr().add(first + row));
            let apart = lengths.mul(V::splat(*rows.rho.as_ptr().add(first + row)));
            let product = V::rounded(products[row], biases).mul(scales);
            apart.add_product(product, scale).store(sums.add(VECTORS * row * V::LANES));
        }
    }
}

/// Rows times columns in bytes: values are lower bounds.
#[derive(Clone, Copy)]
pub(crate) struct ByteProduct<'a> {
    /// With rho of the panels' columns.
    pub rows: &'a ByteRows,
    pub panels: &'a BytePanels,
}

impl Product for ByteProduct<'_> {
    fn fold(self, rows: usize, tiles: Range<usize>, sums: &mut [f32], fold: impl Fold) {
        run_on_bytes(byte_level(), Folded { product: self, rows, tiles, sums, fold });
    }
}

impl<F: Fold> OnByteVectors for Folded<'_, ByteProduct<'_>, F> {
    #[inline(always)]
    unsafe fn run<V: ByteVector, const ROWS: usize>(self) {
        // SAFETY: as the trait's contract.
        unsafe { self.over_tiles::<V, ROWS>() }
    }
}

impl<V: ByteVector> Blocks<V> for ByteProduct<'_> {
    /// A tile: depths are not cut.
    type Panel = usize;

    #[inline(always)]
    fn chunks(self) -> usize {
        1
    }

    #[inline(always)]
    fn half_norms(&self) -> &[f32] {
        &self.panels.half_norms
    }

    #[inline(always)]
    fn check(self, rows: usize, tiles: &Range<usize>) {
        self.panels.check(self.rows, rows, 2 * V::LANES);
        assert!(tiles.end <= self.panels.tiles);
    }

    #[inline(always)]
    unsafe fn panel(self, tile: usize, _chunk: usize) -> usize {
        tile
    }

    #[inline(always)]
    unsafe fn multiply<const ROWS: usize>(self, tile: usize, first: usize, sums: *mut f32) {
        // SAFETY: as the trait's contract.
        unsafe { multiply::<V, ROWS, 2>(self.rows, first, self.panels, tile, sums) }
    }
}
