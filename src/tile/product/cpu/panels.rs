//! The CPU tile in `f32`: packed columns, and a register block of products with them.
//!
//! Plainly: `for row { for column { sum over d of x[row, d] * c[column, d] } }`. What differs, and why it is safe:
//!
//! 1. `ROWS` x 2 vectors of products are held in registers, so one load of a centroid vector serves `ROWS` rows and
//!    one broadcast of a row element serves two vectors: the multiply-add ports stay busy.
//! 2. Centroids are packed as `[tile][d][2 * LANES]`, read front to back. Columns beyond the last carry a half norm
//!    so large that they never win.
//! 3. The depth is cut in chunks of at most [`CHUNK`], whose sums are added afterwards: the panel of a chunk stays in
//!    the first-level cache, and the chain of additions that the error bound pays for is shorter.

use std::ops::Range;

use rayon::prelude::*;

use super::ROW_GROUP;
use crate::simd::vector::Vector;
use crate::simd::{OnVectors, lanes, level, run};
use crate::tile::bound::f32::ABSENT;
use crate::tile::operands::columns::Columns;
use crate::tile::product::{Blocks, Fold, Folded, Product};

/// Features per chunk; depths up to half as much again are one chunk.
const CHUNK: usize = 256;

/// `[tile][d][width]` copies of the columns of a codebook, `width` columns to a tile.
pub(crate) struct Panels {
    /// Number of features.
    pub(crate) depth: usize,
    /// Number of tiles of `width` columns.
    pub(crate) tiles: usize,
    /// Columns per tile: two vectors.
    pub(crate) width: usize,
    /// Number of depth chunks.
    pub(crate) chunks: usize,
    chunk: usize,
    packed: Vec<f32>,
    pub(crate) half_norms: Vec<f32>,
}

impl Panels {
    /// No tiles yet.
    pub fn empty(depth: usize) -> Self {
        let (width, chunks) = (width(), chunks(depth));
        let chunk = depth.div_ceil(chunks);
        Self { depth, tiles: 0, width, chunks, chunk, packed: Vec::new(), half_norms: Vec::new() }
    }

    /// Packs a codebook for this processor, with half norms that may be shifted.
    pub fn new(book: &Columns, half_norms: &[f32]) -> Self {
        let mut panels = Self::empty(book.depth);
        panels.pack(book, half_norms);
        panels
    }

    /// Packs row-major rows with their half norms, on all threads of the current pool.
    pub fn of_rows(depth: usize, rows: &[f32], half_norms: &[f32]) -> Self {
        let mut panels = Self::empty(depth);
        let width = panels.width;
        panels.tiles = half_norms.len().div_ceil(width);
        panels.half_norms.extend_from_slice(half_norms);
        panels.half_norms.resize(panels.tiles * width, ABSENT);
        panels.packed.resize(panels.tiles * width * depth, 0.0);
        let tiles = panels.packed.par_chunks_mut(width * depth).zip(rows.par_chunks(width * depth));
        tiles.for_each(|(packed, rows)| {
            for (column, row) in rows.chunks_exact(depth).enumerate() {
                for (packed, &value) in packed.chunks_exact_mut(width).zip(row) {
                    packed[column] = value;
                }
            }
        });
        panels
    }

    /// Packs another codebook of the same depth in place of what stands here.
    pub fn pack(&mut self, book: &Columns, half_norms: &[f32]) {
        self.clear();
        for start in (0..book.len()).step_by(self.width) {
            let end = book.len().min(start + self.width);
            self.push_tile(book, half_norms, |column| start + column, end - start);
        }
    }

    /// Drops all tiles and keeps their memory.
    pub fn clear(&mut self) {
        self.tiles = 0;
        self.packed.clear();
        self.half_norms.clear();
    }

    /// Adds one tile of `count` columns, of which column `i` is column `of(i)` of the codebook.
    pub fn push_tile(
        &mut self,
        book: &Columns,
        half_norms: &[f32],
        of: impl Fn(usize) -> usize,
        count: usize,
    ) {
        let (depth, width, start) = (self.depth, self.width, self.packed.len());
        self.packed.resize(start + depth * width, 0.0);
        self.half_norms.resize((self.tiles + 1) * width, ABSENT);
        let packed = &mut self.packed[start..];
        for column in 0..count {
            let given = of(column);
            self.half_norms[self.tiles * width + column] = half_norms[given];
            let centroid = &book.rounded[given * depth..(given + 1) * depth];
            for (row, &value) in packed.chunks_exact_mut(width).zip(centroid) {
                row[column] = value;
            }
        }
        self.tiles += 1;
    }

    /// Number of tiles of two vectors each.
    pub fn tiles(&self) -> usize {
        self.tiles
    }

    /// Longest chain of additions that one product of `depth` features goes through.
    pub fn chain(depth: usize) -> usize {
        depth.div_ceil(chunks(depth)) + chunks(depth)
    }

    /// First feature and length of a chunk.
    #[inline(always)]
    pub(crate) fn chunk(&self, index: usize) -> (usize, usize) {
        let start = index * self.chunk;
        (start, self.chunk.min(self.depth - start))
    }

    /// The packed values of one tile.
    #[inline(always)]
    pub(crate) fn tile(&self, index: usize) -> &[f32] {
        &self.packed[index * self.width * self.depth..(index + 1) * self.width * self.depth]
    }
}

/// Columns per tile on this processor.
pub(crate) fn width() -> usize {
    2 * lanes(level())
}

/// Number of depth chunks.
fn chunks(depth: usize) -> usize {
    if depth <= CHUNK + CHUNK / 2 { 1 } else { depth.div_ceil(CHUNK) }
}

/// Rows times columns in `f32`.
#[derive(Clone, Copy)]
pub(crate) struct SingleProduct<'a> {
    /// Row-major.
    pub x: &'a [f32],
    pub panels: &'a Panels,
}

impl Product for SingleProduct<'_> {
    fn fold(self, rows: usize, tiles: Range<usize>, sums: &mut [f32], fold: impl Fold) {
        run(level(), Folded { product: self, rows, tiles, sums, fold });
    }
}

impl<F: Fold> OnVectors for Folded<'_, SingleProduct<'_>, F> {
    #[inline(always)]
    unsafe fn run<V: Vector, const ROWS: usize>(self) {
        // SAFETY: as the trait's contract.
        unsafe { self.over_tiles::<V, ROWS>() }
    }
}

/// One chunk of one tile.
#[derive(Clone, Copy)]
pub(crate) struct Panel {
    /// The chunk of the first row.
    x: *const f32,
    /// Features of a row, and of the chunk.
    stride: usize,
    length: usize,
    packed: *const f32,
    is_first: bool,
}

impl<V: Vector> Blocks<V> for SingleProduct<'_> {
    type Panel = Panel;

    #[inline(always)]
    fn chunks(self) -> usize {
        self.panels.chunks
    }

    #[inline(always)]
    fn half_norms(&self) -> &[f32] {
        &self.panels.half_norms
    }

    #[inline(always)]
    fn check(self, rows: usize, tiles: &Range<usize>) {
        let Self { x, panels } = self;
        assert!(x.len() >= rows * panels.depth && panels.width == 2 * V::LANES && tiles.end <= panels.tiles);
    }

    #[inline(always)]
    unsafe fn panel(self, tile: usize, chunk: usize) -> Panel {
        let (start, length) = self.panels.chunk(chunk);
        let packed = self.panels.tile(tile)[start * 2 * V::LANES..].as_ptr();
        // SAFETY: rows have `depth` features, of which the chunk starts at `start`.
        let x = unsafe { self.x.as_ptr().add(start) };
        Panel { x, stride: self.panels.depth, length, packed, is_first: chunk == 0 }
    }

    /// The products are stored in one place, right behind the loop: read through an index anywhere else, they would be
    /// kept in memory instead of in registers.
    #[inline(always)]
    unsafe fn multiply<const ROWS: usize>(self, panel: Panel, first: usize, sums: *mut f32) {
        let Panel { x, stride, length, mut packed, is_first } = panel;
        // SAFETY: `check` saw that the rows are there; a panel holds `length * 2 * V::LANES` elements.
        unsafe {
            let mut left = [V::splat(0.0); ROWS];
            let mut right = [V::splat(0.0); ROWS];
            let rows: [*const f32; ROWS] = std::array::from_fn(|row| x.add((first + row) * stride));
            for d in 0..length {
                let (c_left, c_right) = (V::load(packed), V::load(packed.add(V::LANES)));
                packed = packed.add(2 * V::LANES);
                for row in 0..ROWS {
                    let value = V::splat(*rows[row].add(d));
                    left[row] = left[row].add_product(value, c_left);
                    right[row] = right[row].add_product(value, c_right);
                }
            }
            if !is_first {
                for row in 0..ROWS {
                    let at = sums.add(2 * row * V::LANES);
                    left[row] = V::load(at).add(left[row]);
                    right[row] = V::load(at.add(V::LANES)).add(right[row]);
                }
            }
            for row in 0..ROWS {
                let at = sums.add(2 * row * V::LANES);
                left[row].store(at);
                right[row].store(at.add(V::LANES));
            }
        }
    }
}

/// The values of rows with the columns of one tile: `values[row][column]`, the bits that every fold sees.
pub(crate) fn values_of_tile(
    product: impl Product,
    rows: usize,
    tile: usize,
    sums: &mut [f32],
    values: &mut [f32],
) {
    product.fold(rows, tile..tile + 1, sums, KeepAll(values));
}

struct KeepAll<'v>(&'v mut [f32]);

impl Fold for KeepAll<'_> {
    #[inline(always)]
    fn begin<V: Vector>(&mut self, rows: usize, _columns: usize) {
        assert!(self.0.len() >= rows * 2 * V::LANES);
    }

    #[inline(always)]
    unsafe fn keep<V: Vector, const ROWS: usize>(
        &mut self,
        sums: *const f32,
        first: usize,
        _tile: usize,
        half_norms: *const f32,
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            let values = self.0.as_mut_ptr().add(first * 2 * V::LANES);
            for vector in 0..2 {
                let half_norms = V::load(half_norms.add(vector * V::LANES));
                for row in 0..ROWS {
                    let at = (2 * row + vector) * V::LANES;
                    half_norms.sub(V::load(sums.add(at))).store(values.add(at));
                }
            }
        }
    }
}

/// The values of a few rows with all columns, for folds that need more than the best.
pub(crate) struct Values {
    rows: Vec<f32>,
    sums: Vec<f32>,
    tile: Vec<f32>,
    all: Vec<f32>,
}

impl Values {
    /// Room for [`ROW_GROUP`] rows.
    pub fn new(panels: &Panels) -> Self {
        Self {
            rows: vec![0.0; ROW_GROUP * panels.depth],
            sums: vec![0.0; ROW_GROUP * panels.width],
            tile: vec![0.0; ROW_GROUP * panels.width],
            all: vec![0.0; ROW_GROUP * panels.tiles * panels.width],
        }
    }

    /// Values of up to [`ROW_GROUP`] rows: one slice per row, `columns` values each.
    pub fn of(&mut self, x: &[f32], panels: &Panels, columns: usize) -> impl Iterator<Item = &[f32]> {
        let (width, stride, count) = (panels.width, panels.tiles * panels.width, x.len() / panels.depth);
        self.rows[..x.len()].copy_from_slice(x);
        for tile in 0..panels.tiles {
            let product = SingleProduct { x: &self.rows, panels };
            values_of_tile(product, count, tile, &mut self.sums, &mut self.tile);
            for (all, values) in self.all.chunks_exact_mut(stride).zip(self.tile.chunks_exact(width)) {
                all[tile * width..(tile + 1) * width].copy_from_slice(values);
            }
        }
        self.all.chunks_exact(stride).take(count).map(move |row| &row[..columns])
    }
}
