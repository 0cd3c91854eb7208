//! How operands are multiplied: on the CPU, in WGSL, on matrix units.
//!
//! On the CPU a tile is two vectors of columns. A [`Product`] multiplies some rows with it, in `f32` ([`cpu::panels`]) or in
//! bytes ([`cpu::bytes`]), and a [`Fold`] keeps what is wanted while the sums are in registers or in the nearest cache.
//! Either knows nothing of the other.

pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod units;

use std::ops::{Range, RangeInclusive};

use crate::simd::vector::Vector;
use crate::simd::{Level, byte_level};

/// Fewer columns than this do not pay for encoding the rows in bytes.
const LEAST_COLUMNS: usize = 64;
/// Nor do so few rows pay for encoding the columns.
const LEAST_ROWS: usize = 256;
/// In shorter rows the fold takes longer than the products; in longer ones the products of single columns would go through
/// longer chains of additions than the tile's.
const BYTE_DEPTHS: RangeInclusive<usize> = 48..=4096;

/// Whether this processor multiplies rows of so many features faster in bytes than in `f32`.
pub(crate) fn bytes_are_quicker(depth: usize) -> bool {
    BYTE_DEPTHS.contains(&depth) && byte_level() != Level::Portable
}

/// Whether so many rows and columns are worth encoding, too.
pub(crate) fn bytes_pay(rows: usize, columns: usize, depth: usize) -> bool {
    rows >= LEAST_ROWS && columns >= LEAST_COLUMNS && bytes_are_quicker(depth)
}

/// Rows and packed columns on the CPU.
pub(crate) trait Product: Copy {
    /// Folds the first `rows` rows over some tiles, with the widest vectors that this processor has for the product. The
    /// rows are padded to a multiple of [`cpu::ROW_GROUP`]; `sums` has room for as many rows of a tile.
    fn fold(self, rows: usize, tiles: Range<usize>, sums: &mut [f32], fold: impl Fold);
}

/// The register block of a product.
pub(crate) trait Blocks<V: Vector>: Copy {
    /// One chunk of one tile.
    type Panel: Copy;
    /// Chunks that the depth is cut in.
    fn chunks(self) -> usize;
    /// What products are taken off: of each column, two vectors to a tile.
    fn half_norms(&self) -> &[f32];
    /// Asserts that the operands hold what is read of so many rows, and that the tiles are two vectors wide.
    fn check(self, rows: usize, tiles: &Range<usize>);
    /// Where a chunk of a tile lies.
    ///
    /// # Safety
    /// [`Self::check`] saw the tile.
    unsafe fn panel(self, tile: usize, chunk: usize) -> Self::Panel;
    /// `ROWS` rows from `first` on times one chunk of one tile: written to `sums`, or added to what stands there where the
    /// chunk is not the first.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set and [`Self::check`] saw the rows; `sums` is valid for
    /// `ROWS * 2 * V::LANES` elements.
    unsafe fn multiply<const ROWS: usize>(self, panel: Self::Panel, first: usize, sums: *mut f32);
}

/// What is kept of products.
pub(crate) trait Fold {
    /// Before the first tile: asserts that there is room for so many rows and columns.
    fn begin<V: Vector>(&mut self, rows: usize, columns: usize);
    /// Keeps what is wanted of `ROWS` rows, from `first` on, and one tile, whose columns' half norms are given.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set and [`Self::begin`] saw the rows; `sums` is valid for
    /// `ROWS * 2 * V::LANES` elements, `half_norms` for `2 * V::LANES`.
    unsafe fn keep<V: Vector, const ROWS: usize>(
        &mut self,
        sums: *const f32,
        first: usize,
        tile: usize,
        half_norms: *const f32,
    );
    /// After the last tile.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set and [`Self::begin`] saw the rows.
    #[inline(always)]
    unsafe fn finish<V: Vector>(&mut self, _rows: usize) {}
}

/// A fold over a product: the one loop over tiles, chunks and groups of rows.
struct Folded<'s, P, F> {
    product: P,
    rows: usize,
    tiles: Range<usize>,
    sums: &'s mut [f32],
    fold: F,
}

impl<P, F: Fold> Folded<'_, P, F> {
    /// # Safety
    /// The processor has `V`'s instruction set.
    #[inline(always)]
    unsafe fn over_tiles<V: Vector, const ROWS: usize>(self)
    where
        P: Blocks<V>,
    {
        let Self { product, rows, tiles, sums, mut fold } = self;
        let (groups, width, chunks) = (rows.div_ceil(ROWS), 2 * V::LANES, product.chunks());
        let rows = groups * ROWS;
        product.check(rows, &tiles);
        fold.begin::<V>(rows, tiles.end * width);
        // With one chunk the sums are used at once: one small buffer, always in cache.
        let stride = if chunks == 1 { 0 } else { ROWS * width };
        assert!(sums.len() >= if chunks == 1 { ROWS * width } else { rows * width });
        let sums = sums.as_mut_ptr();
        for tile in tiles {
            let half_norms = product.half_norms()[tile * width..(tile + 1) * width].as_ptr();
            for chunk in 0..chunks {
                // SAFETY: `check` and `begin` saw the tiles and rows, and the assertion above the sums.
                unsafe {
                    let panel = product.panel(tile, chunk);
                    for group in 0..groups {
                        let sums = sums.add(group * stride);
                        product.multiply::<ROWS>(panel, group * ROWS, sums);
                        if chunk + 1 == chunks {
                            fold.keep::<V, ROWS>(sums, group * ROWS, tile, half_norms);
                        }
                    }
                }
            }
        }
        // SAFETY: `begin` saw the rows.
        unsafe { fold.finish::<V>(rows) }
    }
}
