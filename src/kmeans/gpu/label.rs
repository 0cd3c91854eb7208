//! Labels and nearest centroids of any rows on the GPU: windows are copied, worked on and read back one after the other.

use bytemuck::cast_slice;

use super::plan::{Plan, Shape};
use super::{forget, limits_beside, read_labels};
use crate::device::Gpu;
use crate::error::Result;
use crate::kmeans::cpu::label::{self, Rows, Top};
use crate::kmeans::lloyd::Pass;
use crate::kmeans::problem::{norm_above, row_square};
use crate::tile::choice::family::Fold;
use crate::tile::choice::tune::cache::table_of;
use crate::tile::nearest::gpu::shortlist::Shortlister;
use crate::tile::nearest::gpu::{self as tile, Labeller, Task, Window};
use crate::tile::operands::columns::Codebook;
use crate::tile::operands::gpu::columns::DeviceBook;

/// Labels of any rows.
pub(crate) fn predict(
    gpu: &Gpu,
    rows: &Rows,
    book: &Codebook,
    n_clusters: usize,
) -> Result<(Vec<u32>, Pass)> {
    let (shape, plan) = predict_plan(gpu, rows, n_clusters)?;
    let mut labeller = Labeller::new(gpu, &plan.labeller(&shape), rows.cancel.clone(), true)?;
    let device_book = labeller.book(book)?;
    let labels = gpu.buffer("labels", 4 * plan.window_rows as u64)?;
    forget(gpu, &labels, plan.window_rows)?;
    let (mut result, mut pass) = (vec![0; shape.rows], Pass::default());
    each_window(gpu, rows, &plan, |window, largest| {
        let load =
            |row: usize, x: &mut [f32]| rows.frame.load(rows.argument, rows.points, window.start + row, x);
        let task = Task {
            book: &device_book,
            largest_norm: largest,
            window,
            labels: &labels,
            reach: None,
            load: &load,
        };
        let tile::Labelled { changed, screened, rechecked } = labeller.label(&task)?;
        pass = pass.plus(Pass { changed, screened, rechecked, products: 0 });
        read_labels(gpu, &labels, n_clusters, &mut result[window.start..window.start + window.rows])
    })?;
    Ok((result, pass))
}

/// The `count` nearest centroids of any rows: the device screens, `f64` on the host decides.
pub(crate) fn top(gpu: &Gpu, rows: &Rows, book: &Codebook, count: usize) -> Result<Vec<Top>> {
    let (shape, mut plan) = predict_plan(gpu, rows, book.len())?;
    // Shortlists are of `f32` tiles alone.
    plan.matrix = None;
    let tile = table_of(gpu).shape(&shape.task(Fold::Store), &gpu.limits());
    let device_book = DeviceBook::plain(gpu, plan.column_window, book)?;
    let mut shortlister = Shortlister::new(gpu, tile, count, rows.cancel.clone())?;
    let mut result = Vec::with_capacity(shape.rows);
    let mut x = vec![0.0; shape.columns];
    each_window(gpu, rows, &plan, |window, largest| {
        shortlister.shortlist(&device_book, largest, window, |row, found| {
            rows.frame.load(rows.argument, rows.points, window.start + row, &mut x)?;
            result.push(match found {
                Some(found) => label::decide(&x, found.iter().map(|&column| column as usize), book, count),
                None => label::decide(&x, 0..book.len(), book, count),
            });
            Ok(())
        })
    })?;
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
