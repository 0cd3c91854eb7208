//! The collecting fold on the GPU: each row's list of the columns that may be among its `count` least.
//!
//! `collect` adds to the lists what is within the limits, one step of columns at a time; `tighten` lowers the limits and
//! drops what is above them, as [`super::cpu::collect`] does. A list has room for what it may keep and for all columns of
//! a step, so no order of columns can overflow it; what it may keep is bounded, and a row that would keep more is lost: the
//! caller decides it elsewhere.

mod lists;
mod values;

use std::sync::Arc;

use bytemuck::bytes_of;

pub(crate) use self::lists::ListSizes;
use self::lists::{Lister, Lists};
pub(crate) use self::values::{Keeper, Values};
use super::gpu_book::ABSENT;
use super::kernels_collect::{CollectParams, collect_kernel};
use super::shape::{TileShape, WIDEST};
use super::turns::{Meeting, in_turns};
use crate::cancel::Cancel;
use crate::device::{Batch, DeviceBuffer, Gpu, Limits, Pacer, Pipeline};
use crate::error::{Error, Result};

/// Columns of a step at most.
const STEP: usize = 1024;
/// Steps are multiples of it, so that every offset into a window is aligned.
pub(super) const STEP_UNIT: usize = 64;

/// How a search is cut for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CollectSizes {
    /// The tile: its shape changes no decision.
    pub shape: TileShape,
    /// Number of features.
    pub depth: usize,
    /// The lists: their step is what lies between two lowerings of the limits.
    pub lists: ListSizes,
    /// Rows whose lists are on the device at once.
    pub rows: usize,
    /// Columns that are on the device at once.
    pub window: usize,
}

impl CollectSizes {
    /// Sizes within the limits for so many rows and columns.
    pub fn new(
        shape: TileShape,
        (rows, columns, depth): (usize, usize, usize),
        count: usize,
        limits: &Limits,
    ) -> Result<Self> {
        let row_bytes = 4 * depth as u64;
        let bytes = limits.window_bytes.min(limits.max_binding_bytes).min(limits.budget_bytes / 4);
        let (window, step) = window_of(bytes / row_bytes, columns, STEP);
        let lists = ListSizes { count, step };
        let mut sizes = Self { shape, depth, lists, rows: 1, window };
        let most_rows = (bytes / row_bytes.max(lists.bytes())).clamp(1, 1 << 15);
        sizes.rows = (most_rows as usize).min(rows);
        let needed_bytes = sizes.bytes();
        let largest = (sizes.window as u64 * row_bytes).max(sizes.rows as u64 * lists.bytes());
        if needed_bytes > limits.budget_bytes || largest > limits.max_binding_bytes {
            let limit_bytes = limits.budget_bytes.min(limits.max_binding_bytes);
            let what = format!("lists of neighbours and {STEP_UNIT} rows of {depth} features");
            return Err(Error::TooLarge { what, needed_bytes, limit_bytes });
        }
        Ok(sizes)
    }

    /// Device memory of it all.
    fn bytes(&self) -> u64 {
        let of_row = 4 * self.depth as u64 + self.lists.row_bytes();
        let of_column = 4 * self.depth as u64 + 8;
        self.rows as u64 * of_row + (self.window as u64 + u64::from(WIDEST)) * of_column
    }
}

/// Columns of a window of which `most` fit, in whole steps of at most `step` columns, and those of a step.
pub(super) fn window_of(most: u64, columns: usize, step: usize) -> (usize, usize) {
    let most = most.max(STEP_UNIT as u64).min(1 << 20) as usize;
    let window = most.min(columns.next_multiple_of(STEP_UNIT)) / STEP_UNIT * STEP_UNIT;
    let step = step.min(window);
    (window / step * step, step)
}

/// What collects for rows of one search.
pub(crate) struct Collector {
    gpu: Gpu,
    sizes: CollectSizes,
    collect: Arc<Pipeline>,
    lister: Lister,
    pacer: Pacer,
    cancel: Cancel,
}

/// Rows on the device with their lists.
pub(crate) struct Rows {
    x: DeviceBuffer,
    lists: Lists,
}

/// Columns on the device.
pub(crate) struct Columns {
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) y: DeviceBuffer,
    pub(super) norms: DeviceBuffer,
}

impl Columns {
    /// Brings columns from number `first` on to the device, with the half norm less the error of each, and the error.
    pub fn upload(gpu: &Gpu, first: usize, y: &[f32], norms: &[(f32, f32)]) -> Result<Self> {
        let mut padded: Vec<[f32; 2]> = norms.iter().map(|&(half_norm, error)| [half_norm, error]).collect();
        padded.resize(norms.len().next_multiple_of(WIDEST as usize), [ABSENT, 0.0]);
        let count = norms.len();
        let (y, norms) = (gpu.filled("columns", y)?, gpu.filled("norms", &padded)?);
        Ok(Self { first, count, y, norms })
    }
}

impl Collector {
    pub fn new(gpu: &Gpu, sizes: CollectSizes, cancel: Cancel) -> Result<Self> {
        let collect = gpu.pipeline(&collect_kernel(&sizes.shape)?)?;
        let lister = Lister::new(gpu, sizes.lists)?;
        Ok(Self { gpu: gpu.clone(), sizes, collect, lister, pacer: Pacer::new(), cancel })
    }

    /// Longest chain of additions of its products.
    pub fn chain(&self) -> usize {
        self.sizes.shape.chain(self.sizes.depth, self.gpu.keeps_order())
    }

    /// Brings rows to the device, with the share 2 S of each.
    pub fn rows(&self, x: &[f32], gaps: &[f32]) -> Result<Rows> {
        Ok(Rows { lists: self.lister.lists(gaps)?, x: self.gpu.filled("rows", x)? })
    }

    /// All rows meet all columns.
    pub fn meet(&mut self, rows: &Rows, columns: &Columns) -> Result<()> {
        let CollectSizes { depth, lists, shape, .. } = self.sizes;
        let meeting = Meeting {
            rows: (0, rows.lists.count),
            tile_rows: shape.rows,
            columns: (columns.count, lists.step),
            depth,
        };
        let mut pacer = self.pacer.clone();
        in_turns(&self.gpu, "collect", meeting, &mut pacer, &self.cancel, |batch, own, start| {
            self.record(batch, rows, columns, own, start)
        })?;
        self.pacer = pacer;
        Ok(())
    }

    /// One step of columns, from `start` of the window on, for some rows.
    fn record<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        rows: &'a Rows,
        columns: &'a Columns,
        (first_row, count): (usize, usize),
        start: usize,
    ) -> Result<()> {
        let CollectSizes { shape, depth, lists, .. } = self.sizes;
        let here = lists.step.min(columns.count - start);
        let params = CollectParams {
            rows: count as u32,
            columns: here as u32,
            depth: depth as u32,
            first_row: first_row as u32,
            first_column: (columns.first + start) as u32,
            room: lists.room() as u32,
        };
        let padded = (here as u32).next_multiple_of(shape.columns);
        let bindings = [
            rows.x.whole(),
            columns.y.slice(4 * (start * depth) as u64, 4 * (here * depth) as u64),
            columns.norms.slice(8 * start as u64, 8 * u64::from(padded)),
            rows.lists.limits.whole(),
            rows.lists.lists.whole(),
        ];
        let workgroups = [params.rows.div_ceil(shape.rows), params.columns.div_ceil(shape.columns), 1];
        batch.dispatch(&self.collect, &bindings, bytes_of(&params), workgroups)?;
        self.lister.tighten(batch, &rows.lists, (first_row, count))
    }

    /// For each row its columns, or `None` for a row that is lost.
    pub fn deliver(&self, rows: &Rows) -> Result<Vec<Option<Vec<u32>>>> {
        self.lister.deliver(&rows.lists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every binding is within the limits, every offset aligned, and no step can overflow a list.
        #[test]
        fn sizes_stay_within_every_limit(
            rows in 1_usize..3_000_000, columns in 1_usize..3_000_000, depth in 1_usize..3000,
            count in 1_usize..=1025, window in 256_u64..1 << 28, budget in 1_u64 << 20..1 << 34,
        ) {
            let limits = Limits { window_bytes: window, budget_bytes: budget, ..Limits::for_tests() };
            let Ok(sizes) = CollectSizes::new(TileShape::SMALLEST, (rows, columns, depth), count, &limits) else {
                prop_assert!(budget < 1 << 24 || limits.max_binding_bytes < 1 << 24);
                return Ok(());
            };
            let (lists, step) = (sizes.lists, sizes.lists.step);
            prop_assert!(step.is_multiple_of(STEP_UNIT) && step > 0 && step <= sizes.window);
            prop_assert!(sizes.window.is_multiple_of(step), "{sizes:?}");
            prop_assert!(lists.room() - lists.most() >= step && lists.kept() <= lists.most());
            prop_assert!(sizes.rows >= 1 && sizes.rows <= rows && sizes.rows < 65_536);
            prop_assert!(sizes.bytes() <= budget, "{sizes:?}");
            prop_assert!(sizes.rows as u64 * lists.bytes() <= limits.max_binding_bytes);
        }
    }
}
