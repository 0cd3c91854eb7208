//! The second product: `y[row, j] += scale * sum_i v[position, i] B[j, i]`.
//!
//! Plainly: two loops and a sum. What differs, and why the bits cannot depend on it:
//!
//! 1. Vectors lie across outputs, so each output is one chain of fused multiply-adds over the rank, in order, and one
//!    more for each route that scales it and adds it to y; then it is rounded to y's type. An output depends on its row
//!    alone.
//! 2. A block of up to 4 rows by 4 vectors of outputs is held in registers. Outputs at the end of a piece that fill no
//!    vector go through a small buffer, with the same operations.
//! 3. All rows are done with some outputs, whose weights then stay in the first-level cache, before the next outputs.
//! 4. Sums are kept first and added to y by [`Combine`]: so the product is compiled once for each type of weights, not for
//!    each pair of types, which made a tenth of the whole library.

use std::ops::Range;

use super::pieces::Pieces;
use super::strided::{Elements, Strided};
use super::tasks::LANES;
use crate::lora::values::Scalar;
use crate::simd::OnHalfVectors;
use crate::simd::vector::HalfVector;

/// Weights that all rows are multiplied with before the next: 32 KiB of `f32`.
const CACHED: usize = 1 << 13;

/// Some outputs of some rows.
pub(super) struct Expand<'a, E> {
    /// `[rows, rank]`.
    pub v: &'a [f32],
    /// How many rows.
    pub rows: usize,
    /// How many rank vectors.
    pub rank: usize,
    /// The rank vectors of B.
    pub pieces: Pieces<'a, E>,
    /// Which outputs.
    pub columns: Range<usize>,
    /// Where the sums go.
    pub keep: Keep,
}

impl<E: Scalar> OnHalfVectors for Expand<'_, E> {
    #[inline(always)]
    unsafe fn run<V: HalfVector, const BLOCK: usize>(self) {
        assert!(self.v.len() >= self.rows * self.rank && self.columns.end <= self.pieces.width);
        let chunk = (CACHED / self.rank).clamp(4 * LANES, 1024) / (4 * LANES) * (4 * LANES);
        for start in self.columns.clone().step_by(chunk) {
            let columns = start..self.columns.end.min(start + chunk);
            let mut row = 0;
            while row < self.rows {
                // SAFETY: rows below `rows` only; the caller promises room for the sums.
                unsafe {
                    if BLOCK >= 4 && self.rows - row >= 4 {
                        self.along::<V, 4, BLOCK>(row, columns.clone());
                        row += 4;
                    } else if self.rows - row >= 2 {
                        self.along::<V, 2, BLOCK>(row, columns.clone());
                        row += 2;
                    } else {
                        self.along::<V, 1, BLOCK>(row, columns.clone());
                        row += 1;
                    }
                }
            }
        }
    }
}

impl<E: Scalar> Expand<'_, E> {
    /// Some outputs of `ROWS` rows.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set, the rows exist, and the outputs are the task's own.
    #[inline(always)]
    unsafe fn along<V: HalfVector, const ROWS: usize, const BLOCK: usize>(
        &self,
        row: usize,
        columns: Range<usize>,
    ) {
        let mut column = columns.start;
        while column < columns.end {
            let left = self.pieces.contiguous(column).min(columns.end - column);
            // SAFETY: `left` outputs lie in one piece; the caller promises the rest.
            unsafe {
                if BLOCK >= 4 && left >= 4 * LANES {
                    self.products::<V, ROWS, 4>(row, column);
                    column += 4 * LANES;
                } else if left >= 2 * LANES {
                    self.products::<V, ROWS, 2>(row, column);
                    column += 2 * LANES;
                } else if left >= LANES {
                    self.products::<V, ROWS, 1>(row, column);
                    column += LANES;
                } else {
                    self.rest::<V>(row..row + ROWS, column, left);
                    column += left;
                }
            }
        }
    }

    /// One block of registers.
    ///
    /// # Safety
    /// As [`Self::along`], and the outputs lie in one piece.
    #[inline(always)]
    unsafe fn products<V: HalfVector, const ROWS: usize, const COUNT: usize>(
        &self,
        first: usize,
        column: usize,
    ) {
        // SAFETY: `run` checks the weights, `OnHalfVectors::run` asserted the values of v.
        unsafe {
            let v = self.v.as_ptr().add(first * self.rank);
            let mut sums = [[V::splat(0.0); COUNT]; ROWS];
            for i in 0..self.rank {
                let from = self.pieces.run(i, column, COUNT * LANES).as_ptr();
                let mut weights = [V::splat(0.0); COUNT];
                for vector in 0..COUNT {
                    weights[vector] = V::widen(from.add(vector * LANES));
                }
                for row in 0..ROWS {
                    let value = V::splat(*v.add(row * self.rank + i));
                    for vector in 0..COUNT {
                        sums[row][vector] = sums[row][vector].add_fused(value, weights[vector]);
                    }
                }
            }
            for row in 0..ROWS {
                for vector in 0..COUNT {
                    self.keep.put(first + row, column + vector * LANES, LANES, sums[row][vector]);
                }
            }
        }
    }

    /// Fewer outputs than a vector has lanes.
    ///
    /// # Safety
    /// As [`Self::products`].
    #[inline(always)]
    unsafe fn rest<V: HalfVector>(&self, rows: Range<usize>, column: usize, count: usize) {
        for row in rows {
            let values = &self.v[row * self.rank..(row + 1) * self.rank];
            // SAFETY: the buffer holds a whole vector.
            unsafe {
                let mut sums = V::splat(0.0);
                for (i, &value) in values.iter().enumerate() {
                    let mut weights = [E::narrow(0.0); LANES];
                    weights[..count].copy_from_slice(self.pieces.run(i, column, count));
                    sums = sums.add_fused(V::splat(value), V::widen(weights.as_ptr()));
                }
                self.keep.put(row, column, count, sums);
            }
        }
    }
}

/// Keeps sums for [`Combine`].
pub(super) struct Keep {
    /// The sums of the task's first row, from `first_column` on.
    pub to: *mut f32,
    /// Values from a row to the next.
    pub stride: usize,
    /// The output that the first sum of a row is of.
    pub first_column: usize,
}

impl Keep {
    /// Takes the first `count` lanes, the outputs from `column` on, of the row that stands at `at` in the task.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set, and there is room for the row and the outputs.
    #[inline(always)]
    unsafe fn put<V: HalfVector>(&self, at: usize, column: usize, count: usize, sums: V) {
        // SAFETY: as the caller promises; a vector that is not full goes through a buffer.
        unsafe {
            let to = self.to.add(at * self.stride + column - self.first_column);
            if count == LANES {
                sums.store(to);
            } else {
                let mut buffer = [0.0; LANES];
                sums.store(buffer.as_mut_ptr());
                std::ptr::copy_nonoverlapping(buffer.as_ptr(), to, count);
            }
        }
    }
}

/// Adds what [`Keep`] kept to one row of y, route by route in the row's order, and rounds once.
pub(super) struct Combine<'a, Y> {
    /// All of y.
    pub y: Strided<Y>,
    /// The row.
    pub row: usize,
    /// The columns.
    pub columns: Range<usize>,
    /// Sums of all positions.
    pub sums: &'a [f32],
    /// Values from a position to the next: whole vectors.
    pub stride: usize,
    /// The row's positions and their scales.
    pub routes: &'a [(usize, f32)],
}

impl<Y: Scalar> OnHalfVectors for Combine<'_, Y> {
    #[inline(always)]
    unsafe fn run<V: HalfVector, const BLOCK: usize>(self) {
        assert!(self.stride.is_multiple_of(LANES) && self.columns.len() <= self.stride);
        assert!(self.routes.iter().all(|&(position, _)| (position + 1) * self.stride <= self.sums.len()));
        for at in (0..self.columns.len()).step_by(LANES) {
            let count = LANES.min(self.columns.len() - at);
            // SAFETY: the assertions above; the caller promises y.
            unsafe {
                let column = self.columns.start + at;
                let mut y: V = self.y.read(self.row, column, count);
                for &(position, scale) in self.routes {
                    let sums = V::load(self.sums.as_ptr().add(position * self.stride + at));
                    y = y.add_fused(V::splat(scale), sums);
                }
                self.y.write(self.row, column, count, y);
            }
        }
    }
}
