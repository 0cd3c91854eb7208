//! Shrink and expand on a GPU: from the plan of a batch to dispatches.

pub(crate) mod copies;
pub(crate) mod kernels;
pub(crate) mod plan;
pub(crate) mod record;

use self::kernels::{ExpandParams, Layout, ShrinkParams, Variant, X_VECTOR, Y_VECTOR, expand_columns};
use self::plan::{BatchPlan, Family, ShrinkPlan, grid_of};
use super::pool::{Bank, MOST_PROJECTIONS};
use super::values::Precision;
use crate::device::{Batch, DeviceBuffer, Slice};
use crate::error::Result;

/// A batch on the device: what the kernels read of it.
pub(crate) struct OnDevice {
    pub plan: BatchPlan,
    pub tables: DeviceBuffer,
    /// Where counting kernels count: words of activations, weights, shrunk values and tables.
    pub counts: Option<DeviceBuffer>,
}

/// One group of one batch.
#[derive(Clone, Copy)]
pub(crate) struct Task<'b> {
    pub bank: &'b Bank,
    pub batch: &'b OnDevice,
    pub group: usize,
    /// Slabs that the adapters in use lie in.
    pub slabs: &'b [u32],
}

/// Rows in a buffer: elements before the first, and from row to row.
#[derive(Clone, Copy)]
pub(crate) struct Strided {
    pub first: u64,
    pub stride: u64,
    pub columns: u64,
}

/// Activations that shrink reads.
#[derive(Clone, Copy)]
pub(crate) struct Input<'b> {
    pub slice: Slice<'b>,
    pub precision: Precision,
    pub rows: Strided,
}

/// Activations that expand updates, all in one buffer.
#[derive(Clone)]
pub(crate) struct Output<'b> {
    pub slice: Slice<'b>,
    pub precision: Precision,
    /// One per projection.
    pub targets: Vec<Strided>,
}

impl OnDevice {
    /// Sends the tables of `plan`.
    pub fn new(bank: &Bank, plan: BatchPlan, is_counted: bool) -> Result<Self> {
        let tables = bank.gpu.filled("batch tables", &plan.words)?;
        let counts = is_counted.then(|| bank.gpu.filled("read counts", &[0_u8; 16])).transpose()?;
        Ok(Self { plan, tables, counts })
    }
}

impl<'b> Task<'b> {
    fn layout(&self, precision: Precision, is_vector: bool) -> Layout {
        let is_counted = self.batch.counts.is_some();
        Layout { precision, is_vector, has_wide_weights: self.bank.is_wide, is_counted }
    }

    /// Slices that all kernels have after their first: weights, pages, descriptors, tables, the output, counts.
    fn bindings(&self, first: Slice<'b>, slab: u32, output: Slice<'b>) -> Vec<Slice<'b>> {
        let bank = self.bank;
        let mut bindings = vec![
            first,
            bank.slabs[slab as usize].whole(),
            bank.pages.whole(),
            bank.descriptors.whole(),
            self.batch.tables.whole(),
            output,
        ];
        bindings.extend(self.batch.counts.as_ref().map(DeviceBuffer::whole));
        bindings
    }

    /// Records `shrunk = x A^T` for all positions.
    pub fn shrink(
        &self,
        batch: &mut Batch<'b>,
        plan: &ShrinkPlan,
        input: &Input<'b>,
        shrunk: &'b DeviceBuffer,
    ) -> Result<()> {
        let (bank, tables) = (self.bank, &self.batch.plan);
        let Strided { first, stride, columns } = input.rows;
        // A last row that does not end with a whole vector may end the buffer too.
        let is_vector = first.is_multiple_of(X_VECTOR)
            && stride.is_multiple_of(X_VECTOR)
            && input.slice.size_bytes().is_multiple_of(X_VECTOR * input.precision.size_bytes() as u64);
        let layout = self.layout(input.precision, is_vector);
        for slab in self.slabs {
            for chunks in &plan.launches {
                let pipeline = bank.pipeline(Variant::Shrink(chunks.family, plan.columns, layout))?;
                let [across, along] = grid_of(chunks.count, &bank.gpu.limits());
                let tiles = match chunks.family {
                    Family::Stream(_) | Family::Routed => plan.rank_groups,
                    Family::Tile(_) | Family::Dense(_) => plan.column_tiles,
                };
                let params = ShrinkParams {
                    inputs: columns as u32,
                    x_stride: stride as u32,
                    x_first: first as u32,
                    blocks: plan.blocks,
                    blocks_per_plane: plan.blocks_per_plane,
                    rank_groups: plan.rank_groups,
                    first_chunk: chunks.first,
                    chunks: chunks.count,
                    chunks_across: across,
                    positions: tables.positions,
                    rows_at: tables.rows_at,
                    stride: plan.stride,
                    group: self.group as u32,
                    groups: bank.groups,
                    slab: *slab,
                    page_shift: bank.page_shift,
                    slots_at: tables.slots_at,
                    by_row_at: tables.by_row_at,
                    used_at: tables.used_at,
                    used: tables.used,
                };
                let bindings = self.bindings(input.slice, *slab, shrunk.whole());
                let grid = [plan.planes * tiles, across, along];
                batch.dispatch(&pipeline, &bindings, bytemuck::bytes_of(&params), grid)?;
            }
        }
        Ok(())
    }

    /// Records `y += scale * shrunk B^T` for all positions; `shrunk` has `planes` sums of `stride` values each.
    pub fn expand(
        &self,
        batch: &mut Batch<'b>,
        planes: u32,
        stride: u32,
        shrunk: &'b DeviceBuffer,
        output: &Output<'b>,
    ) -> Result<()> {
        let (bank, tables) = (self.bank, &self.batch.plan);
        let aligned =
            |rows: &Strided| rows.first.is_multiple_of(Y_VECTOR) && rows.stride.is_multiple_of(Y_VECTOR);
        let vector_bytes = Y_VECTOR * output.precision.size_bytes() as u64;
        let is_whole = output.slice.size_bytes().is_multiple_of(vector_bytes);
        let layout = self.layout(output.precision, is_whole && output.targets.iter().all(aligned));
        for slab in self.slabs {
            for chunks in &tables.expand {
                let pipeline = bank.pipeline(Variant::Expand(chunks.family, layout))?;
                let [across, along] = grid_of(chunks.count, &bank.gpu.limits());
                let mut targets = [[0; 4]; MOST_PROJECTIONS];
                let mut tiles = 0;
                for (target, rows) in targets.iter_mut().zip(&output.targets) {
                    tiles += (rows.columns as u32).div_ceil(expand_columns(chunks.family));
                    *target = [tiles, rows.first as u32, rows.stride as u32, rows.columns as u32];
                }
                let params = ExpandParams {
                    planes,
                    positions: tables.positions,
                    stride,
                    first_chunk: chunks.first,
                    chunks: chunks.count,
                    chunks_across: across,
                    rows_at: tables.rows_at,
                    scales_at: tables.scales_at,
                    slots_at: tables.slots_at,
                    by_row_at: tables.by_row_at,
                    group: self.group as u32,
                    groups: bank.groups,
                    slab: *slab,
                    page_shift: bank.page_shift,
                    projections: output.targets.len() as u32,
                    padding: 0,
                    targets,
                };
                let bindings = self.bindings(shrunk.whole(), *slab, output.slice);
                batch.dispatch(&pipeline, &bindings, bytemuck::bytes_of(&params), [tiles, across, along])?;
            }
        }
        Ok(())
    }
}
