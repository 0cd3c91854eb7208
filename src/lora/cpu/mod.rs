//! Batched LoRA on the CPU: two products, each weight read from memory once per segment.
//!
//! Tasks are some rank vectors (or some outputs) for up to 64 rows of a segment; threads take them one by one. Which
//! task computes a value, with which block of registers and which instruction set, cannot change its bits: each kernel
//! says why.

mod check;
mod expand;
mod operands;
mod pieces;
mod shrink;
#[cfg(test)]
mod speed;
mod strided;
mod tasks;
#[cfg(test)]
mod tests;

use std::ops::Range;

use half::{bf16, f16};
use ndarray::ArrayView2;

use self::expand::{Combine, Expand, Keep};
use self::operands::rank;
pub(crate) use self::operands::{OnCpu, Operand, Shrunk, Target};
use self::pieces::Pieces;
use self::shrink::{Gather, Layout, Shrink, VECTORS};
use self::strided::Strided;
use self::tasks::{LANES, Shape, Task};
use super::rows::Rows;
use super::segments::Segments;
use super::values::{Scalar, with_values};
use crate::device::CpuPool;
use crate::error::{Error, Result};
use crate::memory::{self, scratch};
use crate::simd::{Level, half_level, run_on_halves};

/// Outputs that one register block covers: tasks are cut at multiples.
const COLUMNS: usize = 4 * LANES;
/// Sums of rows with one route that are kept before they are added to y: 64 KiB.
const SUMS: usize = 1 << 14;

/// For each projection `y += scale * (x A^T) B^T`, row by row with the row's own adapters:
///
/// ```text
/// y[row, j] = narrow(y[row, j] + sum over routes: scale * sum_i v[i] B[j, i]),   v[i] = sum_d x[row, d] A[i, d]
/// ```
///
/// in `f32`, every product fused with its addition; routes in the order of the row, rounded to y's type once. Rows
/// without an update keep their bits. A row's result does not depend on the rest of the batch, on threads, or on the
/// instruction set.
///
/// # Errors
/// [`Error::Shape`] where rows, features, outputs or ranks disagree, [`Error::Parameter`] for a slot without operands.
pub(crate) fn apply<X: Scalar, Y: Scalar>(
    pool: &CpuPool,
    segments: &Segments,
    x: ArrayView2<'_, X>,
    targets: &mut [Target<'_, Y>],
) -> Result<()> {
    apply_at(half_level(), pool, segments, x, targets)
}

fn apply_at<X: Scalar, Y: Scalar>(
    level: Level,
    pool: &CpuPool,
    segments: &Segments,
    x: ArrayView2<'_, X>,
    targets: &mut [Target<'_, Y>],
) -> Result<()> {
    targets.iter().try_for_each(|target| check::target(segments, target))?;
    let projections: Vec<_> = targets.iter().map(|target| &target.operands[..]).collect();
    let shrunk = X::shrink_at(level, pool, segments, x, &projections)?;
    Y::expand_at(level, pool, segments, &shrunk, targets)
}

macro_rules! on_cpu {
    ($($type:ty),*) => {$(
    #[expect(private_interfaces, reason = "as the trait")]
    impl OnCpu for $type {
        fn shrink_at(
            level: Level,
            pool: &CpuPool,
            segments: &Segments,
            x: ArrayView2<'_, Self>,
            projections: &[&[Option<Operand<'_>>]],
        ) -> Result<Vec<Shrunk>> {
            shrink_at(level, pool, segments, x, projections)
        }
        fn expand_at(
            level: Level,
            pool: &CpuPool,
            segments: &Segments,
            shrunk: &[Shrunk],
            targets: &mut [Target<'_, Self>],
        ) -> Result<()> {
            expand_at(level, pool, segments, shrunk, targets)
        }
    })*};
}
on_cpu!(f32, f16, bf16);

/// The first product for several projections of the same rows: `v[position, i] = sum_d x[row, d] A[i, d]`.
///
/// # Errors
/// As [`apply`].
pub(crate) fn shrink<X: Scalar>(
    pool: &CpuPool,
    segments: &Segments,
    x: ArrayView2<'_, X>,
    projections: &[&[Option<Operand<'_>>]],
) -> Result<Vec<Shrunk>> {
    X::shrink_at(half_level(), pool, segments, x, projections)
}

/// The second product for several projections: `y[row, j] += scale * sum_i v[position, i] B[j, i]`.
///
/// # Errors
/// As [`apply`]; [`Error::Shape`] too where `shrunk` is not of these segments and operands.
pub(crate) fn expand<Y: Scalar>(
    pool: &CpuPool,
    segments: &Segments,
    shrunk: &[Shrunk],
    targets: &mut [Target<'_, Y>],
) -> Result<()> {
    Y::expand_at(half_level(), pool, segments, shrunk, targets)
}

/// Buffers of one thread.
#[derive(Default)]
struct Scratch {
    x: Vec<f32>,
    lanes: Vec<f32>,
    sums: Vec<f32>,
    routes: Vec<(usize, f32)>,
}

/// At least `length` values, whatever they hold.
fn room(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

fn shrink_at<X: Scalar>(
    level: Level,
    pool: &CpuPool,
    segments: &Segments,
    x: ArrayView2<'_, X>,
    projections: &[&[Option<Operand<'_>>]],
) -> Result<Vec<Shrunk>> {
    let width = x.ncols();
    check::rows("x", segments, x.nrows())?;
    projections.iter().try_for_each(|operands| check::inputs(segments, operands, width))?;
    let shrunk = projections.iter().map(|operands| Shrunk::new(segments, operands));
    let mut shrunk = shrunk.collect::<Result<Vec<_>>>()?;
    let mut tasks = Vec::new();
    let parts = |slot| projections.iter().map(|operands| rank(operands, slot)).sum();
    let shape = |slot| Shape { parts: parts(slot), depth: width };
    tasks::cut(&mut tasks, segments, 0, pool.threads(), (VECTORS, width), shape);
    if width > tasks::WIDE {
        let rows = tasks.iter().map(|task| task.positions.len()).max().unwrap_or(0);
        let threads = pool.threads().min(tasks.len());
        memory::ask(
            "the wide rows at work",
            &[scratch::<f32>(threads, rows, Layout { width, rows: 1 }.len())],
        )?;
    }
    let outputs: Vec<_> =
        shrunk.iter_mut().map(|shrunk| output(&mut shrunk.values, &shrunk.starts)).collect();
    let source = Strided { first: x.as_ptr().cast_mut(), strides: strides(x.strides()) };
    tasks::for_each(pool, &tasks, |task, scratch: &mut Scratch| {
        let slot = segments.segments[task.segment].slot;
        let rows = task.positions.len();
        let layout = Layout { width, rows };
        let x = room(&mut scratch.x, layout.len());
        let work = Gather { x: source, rows: &segments.rows[task.positions.clone()], layout, to: x };
        run_on_halves(level, work);
        let lanes = room(&mut scratch.lanes, rows * VECTORS * LANES);
        let before = task.positions.start - segments.segments[task.segment].positions.start;
        let mut first = 0;
        for (operands, &(output, starts)) in projections.iter().zip(&outputs) {
            let Some(Operand { a, .. }) = operands[slot] else { continue };
            let start = task.parts.start.clamp(first, first + a.rank) - first;
            let end = task.parts.end.clamp(first, first + a.rank) - first;
            first += a.rank;
            if start == end {
                continue;
            }
            // SAFETY: the values of the segment, as `Shrunk::new` laid them out.
            let to = unsafe { output.first.add(starts[task.segment] + before * a.rank) };
            with_values!(a.values.values(), values => {
                let pieces = Pieces::new(a, values);
                run_on_halves(level, Shrink { x, layout, pieces, vectors: start..end, lanes, to, rank: a.rank });
            });
        }
    });
    Ok(shrunk)
}

fn output<'a>(values: &mut [f32], starts: &'a [usize]) -> (Strided<f32>, &'a [usize]) {
    (Strided { first: values.as_mut_ptr(), strides: [1, 1] }, starts)
}

fn strides(strides: &[isize]) -> [isize; 2] {
    [strides[0], strides[1]]
}

fn expand_at<Y: Scalar>(
    level: Level,
    pool: &CpuPool,
    segments: &Segments,
    shrunk: &[Shrunk],
    targets: &mut [Target<'_, Y>],
) -> Result<()> {
    if shrunk.len() != targets.len() {
        let expected = format!("{} projections", targets.len());
        return Err(Error::shape("shrunk", expected, format!("{} projections", shrunk.len())));
    }
    for (target, shrunk) in targets.iter().zip(shrunk) {
        check::target(segments, target)?;
        check::shrunk(segments, &target.operands, shrunk)?;
    }
    let mut tasks = Vec::new();
    for (projection, target) in targets.iter().enumerate() {
        if segments.has_several {
            tasks::cut_columns(&mut tasks, segments, projection, pool.threads(), (COLUMNS, target.y.ncols()));
            continue;
        }
        let outputs = target.y.ncols();
        let shape = |slot| Shape { parts: outputs, depth: rank(&target.operands, slot) };
        tasks::cut(&mut tasks, segments, projection, pool.threads(), (COLUMNS, 1), shape);
    }
    if segments.has_several && segments.count() > tasks::KEPT / COLUMNS {
        let columns = tasks.iter().map(|task| task.parts.len()).max().unwrap_or(0).next_multiple_of(LANES);
        let threads = pool.threads().min(tasks.len());
        memory::ask("the sums of many routes", &[scratch::<f32>(threads, segments.count(), columns)])?;
    }
    let outputs: Vec<_> = targets
        .iter_mut()
        .map(|target| Strided { strides: strides(target.y.strides()), first: target.y.as_mut_ptr() })
        .collect();
    let operands: Vec<_> = targets.iter().map(|target| &target.operands[..]).collect();
    tasks::for_each(pool, &tasks, |task, scratch: &mut Scratch| {
        let projection = Projection {
            level,
            segments,
            operands: operands[task.projection],
            shrunk: &shrunk[task.projection],
        };
        let y = outputs[task.projection];
        if segments.has_several {
            projection.several(y, task, scratch)
        } else {
            projection.single(y, task, scratch)
        }
    });
    Ok(())
}

/// The second product for one projection.
struct Projection<'a> {
    level: Level,
    segments: &'a Segments,
    operands: &'a [Option<Operand<'a>>],
    shrunk: &'a Shrunk,
}

impl Projection<'_> {
    /// Rows with one route each.
    fn single<Y: Scalar>(&self, y: Strided<Y>, task: &Task, scratch: &mut Scratch) {
        let segment = &self.segments.segments[task.segment];
        let Some(Operand { a, b, scale }) = self.operands[segment.slot] else { return };
        let start =
            self.shrunk.starts[task.segment] + (task.positions.start - segment.positions.start) * a.rank;
        let (rows, rank) = (task.positions.len(), a.rank);
        let v = &self.shrunk.values[start..start + rows * rank];
        let stride = (SUMS / rows.max(1)).min(task.parts.len()).next_multiple_of(COLUMNS);
        let sums = room(&mut scratch.sums, rows * stride);
        let scales = &self.segments.scales[task.positions.clone()];
        for first_column in task.parts.clone().step_by(stride) {
            let columns = first_column..task.parts.end.min(first_column + stride);
            let keep = Keep { to: sums.as_mut_ptr(), stride, first_column };
            products(self.level, b, v, rank, columns.clone(), keep);
            for (at, &row) in self.segments.rows[task.positions.clone()].iter().enumerate() {
                let (row, columns, routes) = (row as usize, columns.clone(), &[(at, scale * scales[at])]);
                run_on_halves(self.level, Combine { y, row, columns, sums, stride, routes });
            }
        }
    }

    /// Rows with several routes: all sums of some columns, then added row by row in the order of the routes.
    fn several<Y: Scalar>(&self, y: Strided<Y>, task: &Task, scratch: &mut Scratch) {
        let stride = task.parts.len().next_multiple_of(LANES);
        let sums = room(&mut scratch.sums, self.segments.count() * stride);
        for (index, segment) in self.segments.segments.iter().enumerate() {
            let Some(Operand { a, b, .. }) = self.operands[segment.slot].filter(|operand| operand.a.rank > 0)
            else {
                continue;
            };
            let v = &self.shrunk.values[self.shrunk.starts[index]..self.shrunk.starts[index + 1]];
            let to = sums[segment.positions.start * stride..].as_mut_ptr();
            let keep = Keep { to, stride, first_column: task.parts.start };
            products(self.level, b, v, a.rank, task.parts.clone(), keep);
        }
        for (row, range) in self.segments.row_starts.windows(2).enumerate() {
            scratch.routes.clear();
            for &position in &self.segments.by_row[range[0] as usize..range[1] as usize] {
                let position = position as usize;
                if let Some(operand) =
                    self.operands[slot_of(self.segments, position)].filter(|operand| operand.a.rank > 0)
                {
                    scratch.routes.push((position, operand.scale * self.segments.scales[position]));
                }
            }
            if !scratch.routes.is_empty() {
                let columns = task.parts.clone();
                run_on_halves(self.level, Combine { y, row, columns, sums, stride, routes: &scratch.routes });
            }
        }
    }
}

/// The products of `v`, which has at least one value per row, with some columns of B.
fn products(level: Level, b: &Rows, v: &[f32], rank: usize, columns: Range<usize>, keep: Keep) {
    let rows = v.len() / rank;
    with_values!(b.values.values(), values => {
        let pieces = Pieces::new(b, values);
        run_on_halves(level, Expand { v, rows, rank, pieces, columns, keep });
    });
}

/// The adapter of a position.
fn slot_of(segments: &Segments, position: usize) -> usize {
    let at = segments.segments.partition_point(|segment| segment.positions.end <= position);
    segments.segments[at].slot
}
