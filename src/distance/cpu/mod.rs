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
//! 3. A whole matrix of X with itself is computed on and above the diagonal; the rest is the mirror image ([`mirror`]).
//! 4. What is no product runs over columns side by side ([`steps`]): vectors are across columns, never along a sum.

pub(super) mod bits;
mod finish;
mod mirror;
mod steps;

use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use ndarray::parallel::prelude::*;
use ndarray::{ArrayViewMut2, Axis};

use self::steps::{Block, Step};
use super::blocks::CHUNK;
use super::metric::{Form, Metric};
use super::operands::Operands;
use super::real::Real;
use super::rows::Side;
use crate::cancel::Cancel;
use crate::device::CpuPool;
use crate::error::Result;
use crate::memory::zeroed;

/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 128;
/// Columns of a tile.
pub(super) const TILE_COLUMNS: usize = 256;

const _: () = assert!(TILE_ROWS.is_multiple_of(steps::ROWS));

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
    let scratch = (0..rayon::current_num_threads()).map(|_| Ok(Mutex::new(Scratch::new(operands)?)));
    let workers: Vec<Mutex<Scratch<T>>> = scratch.collect::<Result<_>>()?;
    let is_mirrored = operands.is_with_itself() && operands.metric.is_symmetric() && out.is_square();
    out.axis_chunks_iter_mut(Axis(0), TILE_ROWS).into_par_iter().enumerate().try_for_each(
        |(band, mut out)| {
            let row = first_row + band * TILE_ROWS;
            out.axis_chunks_iter_mut(Axis(1), TILE_COLUMNS).into_par_iter().enumerate().try_for_each(
                |(panel, mut out)| {
                    cancel.check()?;
                    let ((rows, columns), column) = (out.dim(), panel * TILE_COLUMNS);
                    if is_mirrored && column + columns <= row {
                        return Ok(());
                    }
                    let worker = &workers[rayon::current_thread_index().unwrap_or(0) % workers.len()];
                    // A poisoned scratch means that another task panicked; it is still valid to overwrite.
                    let mut scratch = worker.lock().unwrap_or_else(PoisonError::into_inner);
                    scratch.tile(operands, (row, rows), (column, columns));
                    for (index, mut out) in out.outer_iter_mut().enumerate() {
                        let values = scratch.values_mut(index, columns);
                        operands.check_results(row + index, column, values)?;
                        out.iter_mut().zip(&*values).for_each(|(out, &value)| *out = value);
                    }
                    Ok(())
                },
            )
        },
    )?;
    if is_mirrored {
        mirror::below_from_above(out, cancel);
        cancel.check()?;
    }
    Ok(())
}

/// What one thread owns.
pub(super) struct Scratch<T> {
    /// Accumulators of a tile, `TILE_ROWS` x `TILE_COLUMNS`; the second ones are empty unless the metric has some.
    total: [Vec<T>; 2],
    /// The same of one chunk of features.
    chunk: [Vec<T>; 2],
    /// The last rows of X and Y, padded.
    x: Vec<T>,
    y: Vec<T>,
    /// A chunk of Y, columns side by side.
    packed: Vec<T>,
    /// Factors of the features.
    weights: Vec<T>,
    /// Factors of the pairs, for metrics that have some.
    scales: Vec<T>,
    /// Entries of a row that lost digits.
    lost: Vec<usize>,
}

impl<T: Real> Scratch<T> {
    /// Rows that pad a tile are asked for one by one: most of them are never touched.
    pub(super) fn new(operands: &Operands<T>) -> Result<Self> {
        let depth = operands.depth;
        let tile = vec![T::ZERO; TILE_ROWS * TILE_COLUMNS];
        let more = |is_used: bool| if is_used { tile.clone() } else { Vec::new() };
        let is_paired = steps::is_paired(operands.metric);
        let weights =
            if operands.weights.is_empty() { vec![T::ONE; depth] } else { operands.weights.clone() };
        Ok(Self {
            total: [tile.clone(), more(is_paired)],
            chunk: [tile.clone(), more(is_paired)],
            x: zeroed("the rows of a tile", TILE_ROWS, depth)?,
            y: zeroed("the columns of a tile", TILE_COLUMNS, depth)?,
            packed: vec![T::ZERO; CHUNK.min(depth) * TILE_COLUMNS],
            weights,
            scales: more(operands.metric == Metric::Minkowski),
            lost: Vec::with_capacity(TILE_COLUMNS),
        })
    }

    /// Measures a tile of at most [`TILE_ROWS`] x [`TILE_COLUMNS`]: rows and columns are the first, and how many.
    pub(super) fn tile(
        &mut self,
        operands: &Operands<T>,
        (row, rows): (usize, usize),
        (column, columns): (usize, usize),
    ) {
        let depth = operands.depth;
        let (mut own_x, mut own_y) = (std::mem::take(&mut self.x), std::mem::take(&mut self.y));
        let x = whole(&operands.x, row, rows, TILE_ROWS, depth, &mut own_x);
        let y = whole(operands.y(), column, columns, TILE_COLUMNS, depth, &mut own_y);
        match operands.form {
            Form::Steps => self.steps(operands, &Tile { x, y, depth, rows }),
            Form::Angle => {}
            Form::Expanded | Form::Product | Form::Counts => self.products(x, y, depth),
        }
        (self.x, self.y) = (own_x, own_y);
        for index in 0..rows {
            let begin = index * TILE_COLUMNS;
            let [values, seconds] = &mut self.total;
            let values = &mut values[begin..begin + columns];
            let extra = if operands.metric == Metric::Minkowski { &self.scales } else { &*seconds };
            let extra = extra.get(begin..begin + columns).unwrap_or_default();
            finish::finish(
                operands,
                finish::Place { row: row + index, column },
                values,
                extra,
                &mut self.lost,
            );
        }
    }

    /// Row `index` of the tile that was measured last, which has so many columns.
    pub(super) fn values_mut(&mut self, index: usize, columns: usize) -> &mut [T] {
        &mut self.total[0][index * TILE_COLUMNS..][..columns]
    }

    fn products(&mut self, x: &[T], y: &[T], depth: usize) {
        for start in (0..depth).step_by(CHUNK) {
            let target = if start == 0 { &mut self.total[0] } else { &mut self.chunk[0] };
            multiply(&x[start..], &y[start..], depth, CHUNK.min(depth - start), target);
            if start > 0 {
                steps::add(&mut self.total[0], &self.chunk[0]);
            }
        }
    }

    fn steps(&mut self, operands: &Operands<T>, tile: &Tile<T>) {
        match operands.metric {
            Metric::Chebyshev => self.run(tile, steps::Largest(PhantomData)),
            Metric::Canberra => self.run(tile, steps::Canberra(PhantomData)),
            Metric::BrayCurtis => self.run(tile, steps::BrayCurtis(PhantomData)),
            Metric::MultisetJaccard => self.run(tile, steps::MultisetJaccard(PhantomData)),
            Metric::Hamming => self.run(tile, steps::Hamming(PhantomData)),
            Metric::NanEuclidean => self.run(tile, steps::NanEuclidean(PhantomData)),
            Metric::JensenShannon => self.run(tile, steps::JensenShannon(PhantomData)),
            Metric::KullbackLeibler => self.run(tile, steps::KullbackLeibler(PhantomData)),
            Metric::Minkowski => {
                self.run(tile, steps::Largest(PhantomData));
                // Terms are taken relative to the pair's largest one, so that no power leaves the range of the type.
                let (scales, largest) = (&mut self.scales, &self.total[0]);
                scales.iter_mut().zip(largest).for_each(|(scale, &largest)| {
                    *scale = if largest < T::SMALLEST { T::ZERO } else { T::ONE / largest };
                });
                self.run(tile, steps::Powers { p: T::rounded(operands.power) });
            }
            _ => self.run(tile, steps::Manhattan(PhantomData)),
        }
    }

    /// Runs a step over all features of a tile, chunk by chunk.
    fn run<S: Step<Value = T>>(&mut self, tile: &Tile<T>, step: S) {
        let depth = tile.depth;
        for start in (0..depth).step_by(CHUNK) {
            let length = CHUNK.min(depth - start);
            for (d, packed) in self.packed.chunks_exact_mut(TILE_COLUMNS).take(length).enumerate() {
                for (packed, y) in packed.iter_mut().zip(tile.y.chunks_exact(depth)) {
                    *packed = y[start + d];
                }
            }
            let (weights, scales) = (&self.weights[start..start + length], self.scales.as_slice());
            let block = Block {
                x: tile.x,
                depth,
                start,
                length,
                rows: tile.rows.next_multiple_of(steps::ROWS),
                packed: &self.packed,
                weights,
                scales,
            };
            let [first, second] = if start == 0 { &mut self.total } else { &mut self.chunk };
            steps::accumulate(&block, step, [first, second]);
            if start > 0 {
                steps::join(step, &mut self.total[0], &self.chunk[0]);
                steps::add(&mut self.total[1], &self.chunk[1]);
            }
        }
    }
}

/// Whole tiles of rows.
struct Tile<'a, T> {
    x: &'a [T],
    y: &'a [T],
    depth: usize,
    /// Rows of `x` that count.
    rows: usize,
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
