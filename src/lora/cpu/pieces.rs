//! Rank vectors as the kernels read them.

use super::tasks::LANES;
use crate::lora::rows::Rows;

/// The pieces of rank vectors, whose elements are all of one type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pieces<'a, E> {
    /// Elements of a vector.
    pub width: usize,
    /// What the pieces lie in.
    values: &'a [E],
    /// Where each begins: `[rank, per_vector]`.
    starts: &'a [usize],
    piece: usize,
    per_vector: usize,
}

impl<'a, E: Copy> Pieces<'a, E> {
    /// `values` are those of `rows`, with their type.
    pub fn new(rows: &'a Rows, values: &'a [E]) -> Self {
        let Rows { width, piece, ref starts, .. } = *rows;
        Self { width, values, starts, piece, per_vector: width / piece }
    }

    /// How many elements lie end to end from feature `at` on.
    #[inline(always)]
    pub fn contiguous(&self, at: usize) -> usize {
        self.piece - at % self.piece
    }

    /// `length` elements of a vector, of which [`Self::contiguous`] told that they lie end to end.
    #[inline(always)]
    pub fn run(&self, vector: usize, at: usize, length: usize) -> &'a [E] {
        let start = self.starts[vector * self.per_vector + at / self.piece] + at % self.piece;
        &self.values[start..start + length]
    }

    /// Up to [`LANES`] elements of a vector, from however many pieces.
    pub fn assemble(&self, vector: usize, at: usize, to: &mut [E; LANES]) {
        let end = self.width.min(at + LANES);
        let mut from = at;
        while from < end {
            let length = self.contiguous(from).min(end - from);
            to[from - at..from - at + length].copy_from_slice(self.run(vector, from, length));
            from += length;
        }
    }
}
