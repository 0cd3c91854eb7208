//! The columns among the nearest on the GPU: tile values, and a selection of those that may be among the `count`
//! nearest. Which of them are is decided in `f64` by the caller.

use std::sync::Arc;

use bytemuck::{bytes_of, pod_collect_to_vec};

use super::Window;
use super::kernels::{ShortlistParams, StoreParams, shortlist_kernel, store_kernel};
use crate::cancel::Cancel;
use crate::device::{Gpu, Pacer, Pipeline};
use crate::error::Result;
use crate::tile::choice::shape::TileShape;
use crate::tile::operands::gpu::columns::DeviceBook;

/// Columns kept beyond the asked ones: those inside the error bound of the last.
const SPARE: u32 = 16;
/// Bytes of tile values held at once.
const VALUES_BYTES: u64 = 32 << 20;

/// What makes shortlists for windows of rows.
pub(crate) struct Shortlister {
    gpu: Gpu,
    shape: TileShape,
    store: Arc<Pipeline>,
    shortlist: Arc<Pipeline>,
    pacer: Pacer,
    cancel: Cancel,
    count: u32,
}

impl Shortlister {
    pub fn new(gpu: &Gpu, shape: TileShape, count: usize, cancel: Cancel) -> Result<Self> {
        Ok(Self {
            gpu: gpu.clone(),
            shape,
            store: gpu.pipeline(&store_kernel(&shape)?)?,
            shortlist: gpu.pipeline(&shortlist_kernel()?)?,
            pacer: Pacer::new(),
            cancel,
            count: count as u32,
        })
    }

    /// For each row of the window the columns that may be among the `count` nearest, `None` where they are too many.
    pub fn shortlist(
        &mut self,
        book: &DeviceBook,
        largest_norm: f32,
        window: &Window,
        mut visit: impl FnMut(usize, Option<&[u32]>) -> Result<()>,
    ) -> Result<()> {
        let codebook = book.book;
        let columns = codebook.len() as u32;
        let chain = self.shape.chain(codebook.depth, self.gpu.keeps_order());
        let bound = codebook.device_bound(chain, largest_norm);
        let room = (self.count + SPARE).min(columns);
        let row_bytes = 4 * u64::from(columns.max(room + 1));
        let most = (VALUES_BYTES.min(self.gpu.limits().max_binding_bytes) / row_bytes).clamp(1, 1 << 15);
        let units_per_row = 2.0 * codebook.depth as f64 * f64::from(columns);
        let mut first = 0_u64;
        while first < window.rows as u64 {
            self.cancel.check()?;
            let rows = self.pacer.rows(window.rows as u64 - first, units_per_row).min(most);
            let values = self.gpu.buffer("values", rows * u64::from(columns) * 4)?;
            let found = self.gpu.buffer("found", rows * u64::from(room + 1) * 4)?;
            let mut batch = self.gpu.batch("shortlist");
            for part in book.parts(self.shape.columns) {
                let params = StoreParams {
                    rows: rows as u32,
                    columns: part.columns,
                    depth: codebook.depth as u32,
                    first_row: first as u32,
                    first_column: part.first,
                    stride: columns,
                    group_rows: self.shape.group_rows,
                };
                let workgroups =
                    [(rows as u32).div_ceil(self.shape.rows), part.columns.div_ceil(self.shape.columns), 1];
                let bindings = [window.x.whole(), part.y, part.half_norms, values.whole()];
                batch.dispatch(&self.store, &bindings, bytes_of(&params), workgroups)?;
            }
            let params = ShortlistParams {
                columns,
                stride: columns,
                count: self.count,
                room,
                first_row: first as u32,
                slope: bound.slope,
                constant: bound.constant,
            };
            let bindings = [values.whole(), window.norms.whole(), found.whole()];
            batch.dispatch(&self.shortlist, &bindings, bytes_of(&params), [rows as u32, 1, 1])?;
            let begin = std::time::Instant::now();
            let read = batch.submit_and_read(&[(&found, 0..found.size_bytes())])?;
            self.pacer.record(rows as f64 * units_per_row, begin.elapsed());
            let found: Vec<u32> = pod_collect_to_vec(&read[0]);
            for (row, found) in found.chunks_exact(room as usize + 1).enumerate() {
                let enough = (self.count..=room).contains(&found[0]);
                visit(first as usize + row, enough.then(|| &found[1..=found[0] as usize]))?;
            }
            first += rows;
        }
        Ok(())
    }
}
