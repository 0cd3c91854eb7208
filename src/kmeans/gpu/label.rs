//! Labels and nearest centroids of any rows on the GPU: windows are copied, worked on and read back one after the other.

use bytemuck::cast_slice;
use rayon::prelude::*;

use super::plan::{Plan, Shape};
use super::{forget, limits_beside, read_labels};
use crate::device::Gpu;
use crate::error::Result;
use crate::kmeans::cpu::label::{self, Rows, Top};
use crate::kmeans::lloyd::Pass;
use crate::kmeans::problem::{norm_above, row_square};
use crate::memory::{room, zeroed};
use crate::tile::choice::choose::Task as TileTask;
use crate::tile::choice::family::Fold;
use crate::tile::choice::tune::cache::table_of;
use crate::tile::collect::gpu::{self as collect, CollectSizes, Collector, OperandBytes, Product};
use crate::tile::nearest::gpu::{self as tile, Cascade, Task, Window};
use crate::tile::operands::columns::{Columns, Screen};
use crate::tile::windows::windows;

/// Rows that are loaded between two looks at the cancel token.
const ROWS_PER_LOOK: usize = 1024;

/// Labels of any rows.
pub(crate) fn predict(gpu: &Gpu, rows: &Rows, book: &Columns, n_clusters: usize) -> Result<(Vec<u32>, Pass)> {
    let (shape, plan) = predict_plan(gpu, rows, n_clusters)?;
    let mut labeller = Cascade::new(gpu, &plan.labeller(&shape), rows.cancel.clone(), true)?;
    let device_columns = labeller.columns(book)?;
    let labels = gpu.buffer("labels", 4 * plan.window_rows as u64)?;
    forget(gpu, &labels, plan.window_rows)?;
    let (mut result, mut pass) = (zeroed("labels", shape.rows, 1)?, Pass::default());
    each_window(gpu, rows, &plan, |window, largest| {
        let load =
            |row: usize, x: &mut [f32]| rows.frame.load(rows.argument, rows.points, window.start + row, x);
        let task = Task {
            columns: &device_columns,
            largest_norm: largest,
            window,
            nearest: &labels,
            reach: None,
            load: &load,
        };
        let tile::RowCounts { changed, screened, rechecked } = labeller.search(&task)?;
        pass = pass.plus(Pass { changed, screened, rechecked, products: 0 });
        read_labels(gpu, &labels, n_clusters, &mut result[window.start..window.start + window.rows])
    })?;
    Ok((result, pass))
}

/// The `count` nearest centroids of any rows: the device lists those that may be, `f64` on the host decides.
pub(crate) fn top(gpu: &Gpu, rows: &Rows, book: &Columns, count: usize) -> Result<Vec<Top>> {
    let (total, columns, depth) = (rows.points.rows(), book.len(), book.depth);
    let mut limits = gpu.limits();
    limits.budget_bytes = limits.budget_bytes.min(gpu.free_bytes());
    let tile = table_of(gpu).shape(&TileTask { fold: Fold::Store, rows: total, columns, depth }, &limits);
    let sizes = CollectSizes::new(OperandBytes::single(depth), (total, columns, depth), count, &limits)?;
    let collector = Collector::new(gpu, Product::Single(tile), sizes, rows.cancel.clone())?;
    let chain = tile.chain(depth, gpu.keeps_order());
    let Screen { half_norms, errors } = book.device_screen(chain);
    let terms: Vec<(f32, f32)> = half_norms.into_iter().zip(errors).collect();
    let upload = |(first, count): (usize, usize)| {
        let window = first..first + count;
        let y = &book.rounded[window.start * depth..window.end * depth];
        collect::Columns::single(gpu, first, y, &terms[window])
    };
    let all = if columns <= sizes.window { Some(upload((0, columns))?) } else { None };
    let mut result = room("the nearest centroids of each row", total)?;
    for (start, rows_of_block) in sizes.blocks(total) {
        rows.cancel.check()?;
        let mut x = vec![0.0; rows_of_block * depth];
        for (piece, x) in x.chunks_mut(ROWS_PER_LOOK * depth).enumerate() {
            rows.cancel.check()?;
            rows.frame.load(rows.argument, rows.points, start + piece * ROWS_PER_LOOK, x)?;
        }
        let norms: Vec<f32> = x.par_chunks_exact(depth).map(|x| norm_above(row_square(x))).collect();
        let bound = book.device_bound(chain, norms.iter().fold(0.0_f32, |largest, &norm| norm.max(largest)));
        let gaps: Vec<f32> = norms.iter().map(|&norm| 2.0 * bound.shared(norm)).collect();
        let on_device = collector.rows(&x, None, &gaps)?;
        match &all {
            Some(all) => collector.meet(&on_device, all)?,
            None => windows(columns, sizes.window, sizes.lists.step)
                .try_for_each(|window| collector.meet(&on_device, &upload(window)?))?,
        }
        let found = collector.deliver(&on_device)?;
        let decided = x.par_chunks_exact(depth).zip(&found).map(|(x, found)| {
            // A device that names too few columns, or one that does not exist, is not believed.
            let is_sound =
                |found: &&Vec<u32>| found.len() >= count && found.iter().all(|&at| (at as usize) < columns);
            match found.as_ref().filter(is_sound) {
                Some(found) => label::decide(x, found.iter().map(|&column| column as usize), book, count),
                None => label::decide(x, 0..columns, book, count),
            }
        });
        result.par_extend(decided);
    }
    Ok(result)
}

fn predict_plan(gpu: &Gpu, rows: &Rows, n_clusters: usize) -> Result<(Shape, Plan)> {
    let (total, columns) = (rows.points.rows(), rows.points.columns());
    let shape = Shape { rows: total, columns, n_clusters, sums: false, weighted: false, prunes: false };
    Ok((shape, Plan::new(&shape, &limits_beside(gpu, 0, &shape)?, &table_of(gpu))?))
}

/// Copies one window after the other to the device; `visit` gets each with its largest norm.
fn each_window(
    gpu: &Gpu,
    rows: &Rows,
    plan: &Plan,
    mut visit: impl FnMut(&Window, f32) -> Result<()>,
) -> Result<()> {
    let columns = rows.points.columns();
    let mut window = Window::new(gpu, plan.window_rows, columns, plan.matrix.as_ref())?;
    for (start, count) in plan.windows(rows.points.rows()) {
        (window.start, window.rows) = (start, count);
        let mut norms = vec![0.0_f32; count];
        gpu.write_rows(&window.x, columns, &mut norms, |first, x, norms| {
            rows.cancel.check()?;
            rows.frame.load(rows.argument, rows.points, start + first, x)?;
            let squares = x.chunks_exact(columns).map(row_square);
            norms.iter_mut().zip(squares).for_each(|(norm, square)| *norm = norm_above(square));
            Ok(())
        })?;
        gpu.write(&window.norms, 0, cast_slice(&norms))?;
        let largest = norms.iter().fold(0.0_f32, |largest, &norm| norm.max(largest));
        window.narrow(gpu, columns, largest)?;
        visit(&window, largest)?;
    }
    Ok(())
}
