//! The `f32` tier of the cascade: the nearest tile with its certificate, over a window's rows or over a list of them.

use std::sync::Arc;

use bytemuck::bytes_of;

use super::kernels::{
    CertifyParams, NearestParams, Reached, approach_kernel, certify_kernel, nearest_kernel, reach_kernel,
};
use super::screen::Outputs;
use super::sizes::{LabellerSizes, Room};
use super::{Reach, Task};
use crate::device::{Batch, DeviceBuffer, Gpu, Pipeline};
use crate::error::Result;
use crate::tile::choice::shape::TileShape;

/// The tile of one problem.
pub(crate) struct NearestTile {
    shape: TileShape,
    /// The tile that collects candidates: one bound holds for both.
    listed_shape: TileShape,
    keeps_order: bool,
    nearest: Arc<Pipeline>,
    certify: Arc<Pipeline>,
    /// The same for rows of a list, where lists come to this tile.
    listed: Option<(Arc<Pipeline>, Arc<Pipeline>)>,
    /// What keeps bounds on distances of a window's rows and of a list's, and what brings them up to a few columns.
    reach: Option<[Arc<Pipeline>; 3]>,
}

/// Rows of one dispatch.
#[derive(Clone, Copy)]
pub(crate) struct Span<'a> {
    /// The list whose entries they are; rows of the window where there is none.
    pub list: Option<&'a DeviceBuffer>,
    /// First row or entry.
    pub first: u32,
    /// Number of rows; of a list at most, if it has not so many.
    pub rows: u32,
}

impl NearestTile {
    /// The tile of these sizes, beside one of `listed_shape` that collects candidates.
    pub fn new(gpu: &Gpu, sizes: &LabellerSizes, listed_shape: TileShape) -> Result<Self> {
        let shape = sizes.shape;
        let pair = |is_listed| -> Result<_> {
            let nearest = gpu.pipeline(&nearest_kernel(&shape, is_listed)?)?;
            Ok((nearest, gpu.pipeline(&certify_kernel(is_listed)?)?))
        };
        let (nearest, certify) = pair(false)?;
        let listed = if sizes.has_listed() { Some(pair(true)?) } else { None };
        let reach = |of| gpu.pipeline(&reach_kernel(of)?);
        let reach = if sizes.keeps_reach {
            Some([reach(Reached::Window)?, reach(Reached::Listed)?, gpu.pipeline(&approach_kernel(false)?)?])
        } else {
            None
        };
        Ok(Self { shape, listed_shape, keeps_order: gpu.keeps_order(), nearest, certify, listed, reach })
    }

    /// Longest chain of additions of either tile.
    pub fn chain(&self, depth: usize) -> usize {
        let chain = |shape: &TileShape| shape.chain(depth, self.keeps_order);
        chain(&self.shape).max(chain(&self.listed_shape))
    }

    /// Records the tiles of some rows with all columns, and their certificate.
    pub fn record<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        task: &Task<'a>,
        outputs: Outputs<'a>,
        span: Span<'a>,
    ) -> Result<()> {
        let (book, rows) = (task.book, span.rows);
        let (nearest, certify) = match (&span.list, &self.listed) {
            (Some(_), Some((nearest, certify))) => (nearest, certify),
            _ => (&self.nearest, &self.certify),
        };
        let room = Room { partials: outputs.room, windows: book.windows() as u64 };
        let mut splits = 0;
        for part in book.parts(self.shape.columns) {
            let split_columns = self.shape.cut().split_columns(rows, part.columns, room.splits(rows));
            let here = part.columns.div_ceil(split_columns);
            let params = NearestParams {
                rows,
                columns: part.columns,
                depth: book.book.depth as u32,
                first_row: span.first,
                first_column: part.first,
                split_columns,
                first_split: splits,
                stride: rows,
            };
            let mut arguments =
                vec![task.window.x.whole(), part.y, part.half_norms, outputs.partials.whole()];
            arguments.extend(span.list.iter().flat_map(|list| [list.whole(), outputs.counters.whole()]));
            batch.dispatch(
                nearest,
                &arguments,
                bytes_of(&params),
                [rows.div_ceil(self.shape.rows), here, 1],
            )?;
            splits += here;
        }
        let bound = book.book.device_bound(self.chain(book.book.depth), task.largest_norm);
        let params = CertifyParams {
            rows,
            splits,
            stride: rows,
            first_row: span.first,
            slope: bound.slope,
            constant: bound.constant,
            square: bound.square,
        };
        let workgroups = [rows.div_ceil(256), 1, 1];
        if let (Some([.., approach]), Some(Reach { bounds, few: Some(labels) })) = (&self.reach, task.reach) {
            let arguments = [
                outputs.partials.whole(),
                task.window.norms.whole(),
                book.errors.whole(),
                bounds.whole(),
                task.labels.whole(),
                labels.whole(),
            ];
            return batch.dispatch(approach, &arguments, bytes_of(&params), workgroups);
        }
        let mut arguments = vec![
            outputs.partials.whole(),
            task.window.norms.whole(),
            book.given.whole(),
            book.errors.whole(),
            task.labels.whole(),
            outputs.list.whole(),
            outputs.counters.whole(),
        ];
        arguments.extend(span.list.map(DeviceBuffer::whole));
        batch.dispatch(certify, &arguments, bytes_of(&params), workgroups)?;
        if let (Some([window, listed, _]), Some(Reach { bounds, .. })) = (&self.reach, task.reach) {
            let mut arguments = vec![
                outputs.partials.whole(),
                task.window.norms.whole(),
                book.errors.whole(),
                bounds.whole(),
            ];
            arguments.extend(span.list.iter().flat_map(|list| [list.whole(), outputs.counters.whole()]));
            let pipeline = if span.list.is_some() { listed } else { window };
            batch.dispatch(pipeline, &arguments, bytes_of(&params), workgroups)?;
        }
        Ok(())
    }
}
