//! The first product: `v[position, i] = sum_d x[row, d] A[i, d]`.
//!
//! Plainly: two loops and a sum. What differs, and why the bits cannot depend on it:
//!
//! 1. Feature `d` is added to lane `d % 16` by one fused multiply-add; the lanes are added in a fixed tree at the end.
//!    So a value depends on its row and its rank vector alone, whatever the width of the registers.
//! 2. A block of up to 4 rows by 4 rank vectors is held in registers. Between runs of features the lanes rest in
//!    memory, unrounded.
//! 3. Runs end where a piece of the rank vectors ends. A group of 16 features that lies in two pieces, or that the
//!    width cuts, is put together first: lanes follow the feature, not the piece. Features that do not exist are zero
//!    on both sides.

use super::pieces::Pieces;
use super::strided::{Elements, Strided};
use super::tasks::LANES;
use crate::lora::values::Scalar;
use crate::simd::vector::HalfVector;
use crate::simd::{OnHalfVectors, halved};

/// Rank vectors that are read side by side.
pub(super) const VECTORS: usize = 4;
/// Features of one run: 2 KiB of a row, so that rows and vectors stay in the first-level cache.
const RUN: usize = 512;

/// How rows of x lie in a scratch: run after run, in each the rows one after the other. So a run of many rows is one
/// piece of memory, which no two rows share cache sets in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Features.
    pub width: usize,
    /// How many rows.
    pub rows: usize,
}

impl Layout {
    /// Elements of the scratch.
    pub fn len(self) -> usize {
        self.width.div_ceil(RUN) * self.rows * self.stride()
    }

    /// Elements from a row to the next: a run, or all features where they are fewer.
    #[inline(always)]
    fn stride(self) -> usize {
        RUN.min(self.width.next_multiple_of(LANES))
    }

    /// Where a feature of the first row lies.
    #[inline(always)]
    fn place(self, feature: usize) -> usize {
        feature / RUN * self.rows * self.stride() + feature % RUN
    }
}

/// Puts rows of x into a scratch: `f32`, with zeros up to whole vectors.
pub(super) struct Gather<'a, X> {
    /// All of x.
    pub x: Strided<X>,
    /// Which rows.
    pub rows: &'a [u32],
    /// How they lie in `to`.
    pub layout: Layout,
    /// Where they go.
    pub to: &'a mut [f32],
}

impl<X: Scalar> OnHalfVectors for Gather<'_, X> {
    #[inline(always)]
    unsafe fn run<V: HalfVector, const BLOCK: usize>(self) {
        let Self { layout, x: Strided { first, strides }, .. } = self;
        assert!(self.to.len() >= layout.len() && self.rows.len() == layout.rows);
        for (at, &row) in self.rows.iter().enumerate() {
            // SAFETY: the caller checked the rows against the view that the pointer and the strides come from.
            let from = unsafe { first.offset(row as isize * strides[0]) };
            for start in (0..layout.width).step_by(RUN) {
                let length = RUN.min(layout.width - start);
                let place = layout.place(start) + at * layout.stride();
                let to = &mut self.to[place..place + length.next_multiple_of(LANES)];
                let whole = if strides[1] == 1 { length - length % LANES } else { 0 };
                // SAFETY: features below the width, and whole vectors inside `to`.
                unsafe {
                    for at in (0..whole).step_by(LANES) {
                        V::widen(from.add(start + at)).store(to.as_mut_ptr().add(at));
                    }
                    for at in whole..length {
                        to[at] = (*from.offset((start + at) as isize * strides[1])).widen();
                    }
                }
                to[length..].fill(0.0);
            }
        }
    }
}

/// Some rank vectors times some rows.
pub(super) struct Shrink<'a, E> {
    /// Rows as [`Gather`] made them.
    pub x: &'a [f32],
    /// How they lie in `x`.
    pub layout: Layout,
    /// The rank vectors.
    pub pieces: Pieces<'a, E>,
    /// Which of them.
    pub vectors: std::ops::Range<usize>,
    /// `rows * VECTORS * LANES` values.
    pub lanes: &'a mut [f32],
    /// The values of the first row; those of the next lie `rank` behind.
    pub to: *mut f32,
    /// All rank vectors.
    pub rank: usize,
}

impl<E: Scalar> OnHalfVectors for Shrink<'_, E> {
    #[inline(always)]
    unsafe fn run<V: HalfVector, const BLOCK: usize>(self) {
        let Layout { width, rows } = self.layout;
        assert!(width == self.pieces.width && self.x.len() >= self.layout.len());
        assert!(self.lanes.len() >= rows * VECTORS * LANES);
        for first in self.vectors.clone().step_by(VECTORS) {
            let count = VECTORS.min(self.vectors.end - first);
            self.lanes[..rows * VECTORS * LANES].fill(0.0);
            let mut at = 0;
            while at < width {
                let mut assembled = [[E::narrow(0.0); LANES]; VECTORS];
                let mut from = [std::ptr::null(); VECTORS];
                let groups = self.pieces.contiguous(at).min(RUN - at % RUN) / LANES;
                for vector in 0..count {
                    from[vector] = if groups > 0 {
                        self.pieces.run(first + vector, at, groups * LANES).as_ptr()
                    } else {
                        self.pieces.assemble(first + vector, at, &mut assembled[vector]);
                        assembled[vector].as_ptr()
                    };
                }
                // SAFETY: `run` and `assemble` give that many elements, and the assertion the rest.
                unsafe {
                    let x = self.x.as_ptr().add(self.layout.place(at));
                    let lanes = self.lanes.as_mut_ptr();
                    block::<V, E, BLOCK>(x, self.layout.stride(), rows, &from[..count], groups.max(1), lanes);
                }
                at += groups.max(1) * LANES;
            }
            for (row, lanes) in self.lanes.chunks_exact(VECTORS * LANES).take(rows).enumerate() {
                for (vector, lanes) in lanes.as_chunks::<LANES>().0.iter().take(count).enumerate() {
                    // SAFETY: the caller promises room for `rows` rows of `rank` values.
                    unsafe { *self.to.add(row * self.rank + first + vector) = halved(*lanes, |a, b| a + b) };
                }
            }
        }
    }
}

/// All rows by up to [`VECTORS`] vectors over one run of features.
///
/// # Safety
/// The processor has `V`'s instruction set; `x` holds `rows` rows `stride` apart, `from` vectors, both of
/// `groups * LANES` elements, and `lanes` `VECTORS * LANES` values per row.
#[inline(always)]
unsafe fn block<V: HalfVector, E: Scalar, const BLOCK: usize>(
    x: *const f32,
    stride: usize,
    rows: usize,
    from: &[*const E],
    groups: usize,
    lanes: *mut f32,
) {
    let mut row = 0;
    while row < rows {
        // SAFETY: rows below `rows` only, as the caller promises.
        unsafe {
            let (x, lanes) = (x.add(row * stride), lanes.add(row * VECTORS * LANES));
            if BLOCK >= 4 && rows - row >= 4 {
                across::<V, E, 4, BLOCK>(x, stride, from, groups, lanes);
                row += 4;
            } else if rows - row >= 2 {
                across::<V, E, 2, BLOCK>(x, stride, from, groups, lanes);
                row += 2;
            } else {
                across::<V, E, 1, BLOCK>(x, stride, from, groups, lanes);
                row += 1;
            }
        }
    }
}

/// `ROWS` rows of [`block`].
///
/// # Safety
/// As [`block`].
#[inline(always)]
unsafe fn across<V: HalfVector, E: Scalar, const ROWS: usize, const BLOCK: usize>(
    x: *const f32,
    stride: usize,
    from: &[*const E],
    groups: usize,
    lanes: *mut f32,
) {
    let mut vector = 0;
    while vector < from.len() {
        let left = from.len() - vector;
        // SAFETY: vectors below `from.len()` only, as the caller promises.
        unsafe {
            let lanes = lanes.add(vector * LANES);
            if BLOCK >= 4 && left >= 4 {
                products::<V, E, ROWS, 4>(x, stride, &from[vector..], groups, lanes);
                vector += 4;
            } else if left >= 2 {
                products::<V, E, ROWS, 2>(x, stride, &from[vector..], groups, lanes);
                vector += 2;
            } else {
                products::<V, E, ROWS, 1>(x, stride, &from[vector..], groups, lanes);
                vector += 1;
            }
        }
    }
}

/// One block of registers: `lanes[row][vector] += x[row] * from[vector]`, lane by lane.
///
/// # Safety
/// As [`block`].
#[inline(always)]
unsafe fn products<V: HalfVector, E: Scalar, const ROWS: usize, const COUNT: usize>(
    x: *const f32,
    stride: usize,
    from: &[*const E],
    groups: usize,
    lanes: *mut f32,
) {
    let from: [*const E; COUNT] = std::array::from_fn(|vector| from[vector]);
    // SAFETY: all offsets stay inside what the caller promises.
    unsafe {
        let mut sums = [[V::splat(0.0); COUNT]; ROWS];
        for row in 0..ROWS {
            for vector in 0..COUNT {
                sums[row][vector] = V::load(lanes.add((row * VECTORS + vector) * LANES));
            }
        }
        for at in (0..groups * LANES).step_by(LANES) {
            let mut values = [V::splat(0.0); ROWS];
            for row in 0..ROWS {
                values[row] = V::load(x.add(row * stride + at));
            }
            for vector in 0..COUNT {
                let weights = V::widen(from[vector].add(at));
                for row in 0..ROWS {
                    sums[row][vector] = sums[row][vector].add_fused(values[row], weights);
                }
            }
        }
        for row in 0..ROWS {
            for vector in 0..COUNT {
                sums[row][vector].store(lanes.add((row * VECTORS + vector) * LANES));
            }
        }
    }
}
