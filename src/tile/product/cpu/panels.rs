//! Centroids packed for the CPU tile.

use rayon::prelude::*;

use super::kernel::{ABSENT, CHUNK};
use crate::simd::{Level, level};
use crate::tile::operands::columns::Codebook;

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
    pub fn new(book: &Codebook, half_norms: &[f32]) -> Self {
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
    pub fn pack(&mut self, book: &Codebook, half_norms: &[f32]) {
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
        book: &Codebook,
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
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => 32,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => 16,
        #[cfg(target_arch = "aarch64")]
        Level::Neon => 16,
        Level::Portable => 16,
    }
}

/// Number of depth chunks.
fn chunks(depth: usize) -> usize {
    if depth <= CHUNK + CHUNK / 2 { 1 } else { depth.div_ceil(CHUNK) }
}
