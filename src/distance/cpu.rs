//! Distances on the CPU: tiles of products or differences, finished while they are in cache.
//!
//! Plainly: `for row { for column { finish(combine over d of (x[row, d], y[column, d])) } }`. What differs, and why the
//! values cannot depend on it:
//!
//! 1. The matrix is cut into tiles of fixed size, one task each. Products go through a GEMM crate that always sees
//!    whole tiles (the last rows and columns are padded with zeros) and at most [`CHUNK`] features, so every entry goes
//!    through one chain of additions per chunk. Chunks are added here, in order.
//! 2. So an entry depends on its two rows alone: not on the number of threads, not on where a block of rows starts. As
//!    products commute, entry (i, j) of X with itself has the bits of entry (j, i).
//! 3. Differences run over 32 columns side by side: vectors are across columns, never along a sum.

use std::sync::{Mutex, PoisonError};

use ndarray::parallel::prelude::*;
use ndarray::{ArrayViewMut2, Axis};

use super::operands::{Form, Operands, Side};
use super::params::Metric;
use super::plan::{CHUNK, DIGITS_LOST};
use super::real::Real;
use crate::cancel::Cancel;
use crate::device::CpuPool;
use crate::error::Result;
use crate::simd::widest;

/// Rows of a tile.
const TILE_ROWS: usize = 128;
/// Columns of a tile.
const TILE_COLUMNS: usize = 256;
/// Columns that one run over the features serves.
const LANES: usize = 32;

/// Fills `out` with rows from `first_row` on.
pub(super) fn fill<T: Real>(
    pool: &CpuPool,
    operands: &Operands<T>,
    first_row: usize,
    out: ArrayViewMut2<T>,
    cancel: &Cancel,
) -> Result<()> {
    pool.install(|| fill_here(operands, first_row, out, cancel))
}

fn fill_here<T: Real>(
    operands: &Operands<T>,
    first_row: usize,
    mut out: ArrayViewMut2<T>,
    cancel: &Cancel,
) -> Result<()> {
    // One scratch per thread: tasks hold no lock while they wait for others.
    let workers: Vec<Mutex<Scratch<T>>> =
        (0..rayon::current_num_threads()).map(|_| Mutex::new(Scratch::new(operands.depth))).collect();
    out.axis_chunks_iter_mut(Axis(0), TILE_ROWS).into_par_iter().enumerate().try_for_each(
        |(band, mut out)| {
            let row = first_row + band * TILE_ROWS;
            out.axis_chunks_iter_mut(Axis(1), TILE_COLUMNS).into_par_iter().enumerate().try_for_each(
                |(panel, out)| {
                    cancel.check()?;
                    let worker = &workers[rayon::current_thread_index().unwrap_or(0) % workers.len()];
                    // A poisoned scratch means that another task panicked; it is still valid to overwrite.
                    let mut scratch = worker.lock().unwrap_or_else(PoisonError::into_inner);
                    scratch.tile(operands, row, panel * TILE_COLUMNS, out)
                },
            )
        },
    )
}

/// What one thread owns.
struct Scratch<T> {
    /// Combined values, `TILE_ROWS` x `TILE_COLUMNS`.
    total: Vec<T>,
    /// The same of one chunk of features.
    chunk: Vec<T>,
    /// The last rows of X and Y, padded.
    x: Vec<T>,
    y: Vec<T>,
    /// A chunk of Y, columns side by side.
    packed: Vec<T>,
    /// Entries of a row that lost digits.
    lost: Vec<usize>,
}

impl<T: Real> Scratch<T> {
    fn new(depth: usize) -> Self {
        let tile = vec![T::ZERO; TILE_ROWS * TILE_COLUMNS];
        Self {
            total: tile.clone(),
            chunk: tile,
            x: vec![T::ZERO; TILE_ROWS * depth],
            y: vec![T::ZERO; TILE_COLUMNS * depth],
            packed: vec![T::ZERO; CHUNK.min(depth) * TILE_COLUMNS],
            lost: Vec::with_capacity(TILE_COLUMNS),
        }
    }

    fn tile(
        &mut self,
        operands: &Operands<T>,
        row: usize,
        column: usize,
        mut out: ArrayViewMut2<T>,
    ) -> Result<()> {
        let depth = operands.depth;
        let (rows, columns) = out.dim();
        let x = whole(&operands.x, row, rows, TILE_ROWS, depth, &mut self.x);
        let y = whole(operands.y(), column, columns, TILE_COLUMNS, depth, &mut self.y);
        for start in (0..depth).step_by(CHUNK) {
            let length = CHUNK.min(depth - start);
            let is_first = start == 0;
            let target = if is_first { &mut self.total } else { &mut self.chunk };
            match operands.metric {
                Metric::Manhattan | Metric::Chebyshev => {
                    for (d, packed) in self.packed.chunks_exact_mut(TILE_COLUMNS).take(length).enumerate() {
                        for (packed, y) in packed.iter_mut().zip(y.chunks_exact(depth)) {
                            *packed = y[start + d];
                        }
                    }
                    let block = Block { x, depth, start, length, rows, packed: &self.packed };
                    match operands.metric {
                        Metric::Manhattan => manhattan(&block, target),
                        _ => chebyshev(&block, target),
                    }
                }
                _ => multiply(&x[start..], &y[start..], depth, length, target),
            }
            if !is_first {
                match operands.metric {
                    Metric::Chebyshev => raise(&mut self.total, &self.chunk),
                    _ => add(&mut self.total, &self.chunk),
                }
            }
        }
        for (index, (mut out, total)) in
            out.outer_iter_mut().zip(self.total.chunks_exact_mut(TILE_COLUMNS)).enumerate()
        {
            let total = &mut total[..columns];
            finish(operands, row + index, column, total, &mut self.lost);
            operands.check_results(row + index, column, total)?;
            out.iter_mut().zip(total.iter()).for_each(|(out, &value)| *out = value);
        }
        Ok(())
    }
}

/// `count` rows from `first` on, followed by rows of zeros up to `capacity`: borrowed where the tile is whole.
fn whole<'s, T: Real>(
    side: &'s Side<T>,
    first: usize,
    count: usize,
    capacity: usize,
    depth: usize,
    padded: &'s mut [T],
) -> &'s [T] {
    let rows = &side.rows[first * depth..(first + count) * depth];
    if count == capacity {
        return rows;
    }
    let (filled, rest) = padded.split_at_mut(rows.len());
    filled.copy_from_slice(rows);
    rest.fill(T::ZERO);
    padded
}

/// `target = x y^T` over `length` features of whole tiles whose rows lie `depth` apart.
fn multiply<T: Real>(x: &[T], y: &[T], depth: usize, length: usize, target: &mut [T]) {
    assert!(x.len() >= (TILE_ROWS - 1) * depth + length && y.len() >= (TILE_COLUMNS - 1) * depth + length);
    assert!(target.len() == TILE_ROWS * TILE_COLUMNS);
    let one = T::rounded(1.0);
    // SAFETY: the assertions above keep every element that these shapes and strides reach inside the slices.
    unsafe {
        gemm::gemm(
            TILE_ROWS,
            TILE_COLUMNS,
            length,
            target.as_mut_ptr(),
            1,
            TILE_COLUMNS as isize,
            false,
            x.as_ptr(),
            1,
            depth as isize,
            y.as_ptr(),
            depth as isize,
            1,
            T::ZERO,
            one,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// A chunk of features of a tile of differences.
struct Block<'a, T> {
    x: &'a [T],
    depth: usize,
    start: usize,
    length: usize,
    rows: usize,
    packed: &'a [T],
}

widest! {
    fn manhattan<T: Real>(block: &Block<T>, target: &mut [T]) = manhattan_body;
}
widest! {
    fn chebyshev<T: Real>(block: &Block<T>, target: &mut [T]) = chebyshev_body;
}
widest! {
    fn add<T: Real>(total: &mut [T], chunk: &[T]) = add_body;
}
widest! {
    fn raise<T: Real>(total: &mut [T], chunk: &[T]) = raise_body;
}

#[inline(always)]
fn manhattan_body<T: Real>(block: &Block<T>, target: &mut [T]) {
    differences(block, target, |sum, difference| sum + difference);
}

#[inline(always)]
fn chebyshev_body<T: Real>(block: &Block<T>, target: &mut [T]) {
    differences(block, target, larger);
}

#[inline(always)]
fn differences<T: Real>(block: &Block<T>, target: &mut [T], step: impl Fn(T, T) -> T) {
    for row in 0..block.rows {
        let x = &block.x[row * block.depth + block.start..][..block.length];
        for group in 0..TILE_COLUMNS / LANES {
            let mut sums = [T::ZERO; LANES];
            for (&x, y) in x.iter().zip(block.packed.chunks_exact(TILE_COLUMNS)) {
                let y = &y[group * LANES..(group + 1) * LANES];
                for (sum, &y) in sums.iter_mut().zip(y) {
                    *sum = step(*sum, (x - y).abs());
                }
            }
            target[row * TILE_COLUMNS + group * LANES..][..LANES].copy_from_slice(&sums);
        }
    }
}

#[inline(always)]
fn larger<T: Real>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

#[inline(always)]
fn add_body<T: Real>(total: &mut [T], chunk: &[T]) {
    total.iter_mut().zip(chunk).for_each(|(total, &chunk)| *total = *total + chunk);
}

#[inline(always)]
fn raise_body<T: Real>(total: &mut [T], chunk: &[T]) {
    total.iter_mut().zip(chunk).for_each(|(total, &chunk)| *total = larger(*total, chunk));
}

/// Turns the combined values of one row into results.
fn finish<T: Real>(
    operands: &Operands<T>,
    row: usize,
    column: usize,
    values: &mut [T],
    lost: &mut Vec<usize>,
) {
    let units = operands.units.map(T::rounded);
    if operands.form != Form::Expanded {
        scale(&units, values);
        return;
    }
    let depth = operands.depth;
    let (x, y) = (&operands.x, operands.y());
    let limit = Limit { norm: x.norms[row], share: T::rounded(DIGITS_LOST) };
    lost.clear();
    if squares(&limit, &y.norms[column..column + values.len()], values) {
        lost.extend((0..values.len()).filter(|&index| values[index] < T::ZERO));
    }
    match operands.metric {
        Metric::Euclidean => roots(values),
        Metric::Cosine => {
            let most = T::rounded(4.0);
            values.iter_mut().for_each(|value| *value = if *value < most { *value } else { most });
        }
        _ => {}
    }
    scale(&units, values);
    let original = &x.originals()[row * depth..(row + 1) * depth];
    for &index in lost.iter() {
        let other = &y.originals()[(column + index) * depth..][..depth];
        let square = squared_difference(original, other, operands.difference_scale);
        values[index] = T::rounded(operands.finished_square(square));
    }
}

widest! {
    fn scale<T: Real>(units: &[T; 2], values: &mut [T]) = scale_body;
}
widest! {
    fn roots<T: Real>(values: &mut [T]) = roots_body;
}

#[inline(always)]
fn scale_body<T: Real>(units: &[T; 2], values: &mut [T]) {
    values.iter_mut().for_each(|value| *value = *value * units[0] * units[1]);
}

#[inline(always)]
fn roots_body<T: Real>(values: &mut [T]) {
    values.iter_mut().for_each(|value| *value = value.sqrt());
}

/// When `|x|^2 + |y|^2 - 2 x.y` has lost digits.
struct Limit<T> {
    norm: T,
    share: T,
}

widest! {
    fn squares<T: Real>(limit: &Limit<T>, norms: &[T], values: &mut [T]) -> bool = squares_body;
}

/// Squared distances from products; -1 where digits were lost. Returns whether any were.
#[inline(always)]
fn squares_body<T: Real>(limit: &Limit<T>, norms: &[T], values: &mut [T]) -> bool {
    let (minus_one, two) = (T::rounded(-1.0), T::rounded(2.0));
    let mut flagged = false;
    for (value, &norm) in values.iter_mut().zip(norms) {
        let sum = limit.norm + norm;
        let square = sum - two * *value;
        let is_good = square > limit.share * sum + T::TINY;
        flagged |= !is_good;
        *value = if is_good { square } else { minus_one };
    }
    flagged
}

widest! {
    fn squared_difference<T: Real>(x: &[T], y: &[T], scale: f64) -> f64 = squared_difference_body;
}

/// `sum ((x - y) * scale)^2` in `f64`: eight interleaved sums, added in order.
#[inline(always)]
fn squared_difference_body<T: Real>(x: &[T], y: &[T], scale: f64) -> f64 {
    let mut sums = [0.0_f64; 8];
    let square = |x: T, y: T| {
        let (x, y): (f64, f64) = (x.into(), y.into());
        let difference = (x - y) * scale;
        difference * difference
    };
    let (x_parts, y_parts) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest = x_parts.remainder().iter().zip(y_parts.remainder());
    for (x, y) in x_parts.zip(y_parts) {
        for ((sum, &x), &y) in sums.iter_mut().zip(x).zip(y) {
            *sum += square(x, y);
        }
    }
    for (sum, (&x, &y)) in sums.iter_mut().zip(rest) {
        *sum += square(x, y);
    }
    sums.iter().sum()
}
