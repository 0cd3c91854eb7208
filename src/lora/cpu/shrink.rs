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

use super::level::Work;
use super::pieces::Pieces;
use super::vector::{LANES, Vector, sum};
use crate::lora::values::Scalar;

/// Rank vectors that are read side by side.
pub(super) const VECTORS: usize = 4;
/// Groups of lanes in one run: 2 KiB of a row, so that rows and vectors stay in the first-level cache.
const RUN: usize = 32;

/// Rows of x as the first product reads them: `f32`, one after the other, padded with zeros to whole vectors.
pub(super) struct Gather<'a, X> {
    /// The first element of each row lies `row_stride` times its index behind this one.
    pub from: *const X,
    /// Elements from a row to the next, and from a column to the next.
    pub strides: [isize; 2],
    /// Features.
    pub width: usize,
    /// Which rows.
    pub rows: &'a [u32],
    /// Where they go.
    pub to: &'a mut [f32],
}

impl<X: Scalar> Work for Gather<'_, X> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let padded = self.width.next_multiple_of(LANES);
        for (&row, to) in self.rows.iter().zip(self.to.chunks_exact_mut(padded)) {
            // SAFETY: the caller checked the rows against the view that the pointer and the strides come from.
            unsafe {
                let from = self.from.offset(row as isize * self.strides[0]);
                let whole = if self.strides[1] == 1 { self.width - self.width % LANES } else { 0 };
                for at in (0..whole).step_by(LANES) {
                    V::widen(from.add(at)).store(to.as_mut_ptr().add(at));
                }
                for at in whole..self.width {
                    to[at] = (*from.offset(at as isize * self.strides[1])).widen();
                }
            }
            to[self.width..].fill(0.0);
        }
    }
}

/// Some rank vectors times some rows.
pub(super) struct Shrink<'a, E> {
    /// Rows as [`Gather`] made them.
    pub x: &'a [f32],
    /// How many.
    pub rows: usize,
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

impl<E: Scalar> Work for Shrink<'_, E> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let width = self.pieces.width;
        let stride = width.next_multiple_of(LANES);
        assert!(self.x.len() >= self.rows * stride && self.lanes.len() >= self.rows * VECTORS * LANES);
        for first in self.vectors.clone().step_by(VECTORS) {
            let count = VECTORS.min(self.vectors.end - first);
            self.lanes[..self.rows * VECTORS * LANES].fill(0.0);
            let mut at = 0;
            while at < width {
                let mut assembled = [[E::narrow(0.0); LANES]; VECTORS];
                let mut from = [std::ptr::null(); VECTORS];
                let groups = (self.pieces.contiguous(at) / LANES).min(RUN);
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
                    let x = self.x.as_ptr().add(at);
                    let lanes = self.lanes.as_mut_ptr();
                    block::<V, E>(x, stride, self.rows, &from[..count], groups.max(1), lanes);
                }
                at += groups.max(1) * LANES;
            }
            for (row, lanes) in self.lanes.chunks_exact(VECTORS * LANES).take(self.rows).enumerate() {
                for (vector, lanes) in lanes.as_chunks::<LANES>().0.iter().take(count).enumerate() {
                    // SAFETY: the caller promises room for `rows` rows of `rank` values.
                    unsafe { *self.to.add(row * self.rank + first + vector) = sum(lanes) };
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
unsafe fn block<V: Vector, E: Scalar>(
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
            if V::MANY_REGISTERS && rows - row >= 4 {
                across::<V, E, 4>(x, stride, from, groups, lanes);
                row += 4;
            } else if rows - row >= 2 {
                across::<V, E, 2>(x, stride, from, groups, lanes);
                row += 2;
            } else {
                across::<V, E, 1>(x, stride, from, groups, lanes);
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
unsafe fn across<V: Vector, E: Scalar, const ROWS: usize>(
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
            if V::MANY_REGISTERS && left >= 4 {
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
unsafe fn products<V: Vector, E: Scalar, const ROWS: usize, const COUNT: usize>(
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
                    sums[row][vector] = sums[row][vector].add_product(values[row], weights);
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
