//! Centroids packed for the CPU tile.

use super::kernel::{ABSENT, CHUNK};
use crate::simd::{Level, level};
use crate::tile::codebook::Codebook;

/// `[tile][d][width]` copies of a codebook, `width` columns to a tile.
pub(crate) struct Panels {
    /// Number of features.
    pub(super) depth: usize,
    /// Number of tiles of `width` columns.
    pub(super) tiles: usize,
    /// Columns per tile: two vectors.
    pub(super) width: usize,
    /// Number of depth chunks.
    pub(super) chunks: usize,
    chunk: usize,
    packed: Vec<f32>,
    pub(super) half_norms: Vec<f32>,
}

impl Panels {
    /// Packs a codebook for this processor, with half norms that may be shifted.
    pub fn new(book: &Codebook, half_norms: &[f32]) -> Self {
        let width = match level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => 32,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => 16,
            Level::Portable => 16,
        };
        let (depth, count) = (book.depth, book.len());
        let tiles = count.div_ceil(width);
        let chunks = chunks(depth);
        let mut packed = vec![0.0; tiles * width * depth];
        for (column, centroid) in book.rounded.chunks_exact(depth).enumerate() {
            let start = column / width * width * depth + column % width;
            for (d, &value) in centroid.iter().enumerate() {
                packed[start + d * width] = value;
            }
        }
        let mut half_norms = half_norms.to_vec();
        half_norms.resize(tiles * width, ABSENT);
        Self { depth, tiles, width, chunks, chunk: depth.div_ceil(chunks), packed, half_norms }
    }

    /// Longest chain of additions that one product of `depth` features goes through.
    pub fn chain(depth: usize) -> usize {
        depth.div_ceil(chunks(depth)) + chunks(depth)
    }

    /// First feature and length of a chunk.
    #[inline(always)]
    pub(super) fn chunk(&self, index: usize) -> (usize, usize) {
        let start = index * self.chunk;
        (start, self.chunk.min(self.depth - start))
    }

    /// The packed values of one tile.
    #[inline(always)]
    pub(super) fn tile(&self, index: usize) -> &[f32] {
        &self.packed[index * self.width * self.depth..(index + 1) * self.width * self.depth]
    }
}

/// Number of depth chunks.
fn chunks(depth: usize) -> usize {
    if depth <= CHUNK + CHUNK / 2 { 1 } else { depth.div_ceil(CHUNK) }
}
