//! The collecting fold on the GPU: each row's list of the columns that may be among its `count` least.
//!
//! `collect` adds to the lists what is within the limits, one step of columns at a time; `tighten` lowers the limits and
//! drops what is above them, as [`super::cpu`] does. A list has room for what it may keep and for all columns of
//! a step, so no order of columns can overflow it; what it may keep is bounded, and a row that would keep more is lost: the
//! caller decides it elsewhere.

pub(crate) mod kernels;
pub(crate) mod lists;
pub(crate) mod units;
mod values;

use std::sync::Arc;

use bytemuck::bytes_of;

use self::kernels::{CollectParams, collect_kernel};
pub(crate) use self::lists::ListSizes;
pub(crate) use self::lists::{Lister, Lists};
pub(crate) use self::values::{Keeper, Values};
use crate::cancel::Cancel;
use crate::device::{Batch, DeviceBuffer, Gpu, Limits, Pacer, Pipeline};
use crate::error::{Error, Result};
use crate::tile::bound::constants::ABSENT;
use crate::tile::choice::shape::{TileShape, WIDEST};
use crate::tile::choice::turns::{Meeting, in_turns};

/// Columns of a step at most.
const STEP: usize = 1024;
/// Steps are multiples of it, so that every offset into a window is aligned.
pub(crate) const STEP_UNIT: usize = 64;

/// Bytes of what a tile multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operands {
    /// Of the features of a row or a column.
    pub features: u64,
    /// Of what is beside a row, and beside a column.
    pub beside: (u64, u64),
    /// Rows are padded to multiples of it.
    pub rows: usize,
    /// Whether columns are padded to multiples of the widest tile.
    pub pads_columns: bool,
    /// See [`ListSizes`].
    pub spare: usize,
}

impl Operands {
    /// Rows and columns of `depth` features in `f32`, with half norm and error of each column.
    pub fn single(depth: usize) -> Self {
        let features = 4 * depth as u64;
        Self { features, beside: (0, 8), rows: 1, pads_columns: false, spare: ListSizes::SPARE }
    }

    fn row_bytes(&self, rows: usize) -> u64 {
        rows.next_multiple_of(self.rows) as u64 * self.features
    }

    fn column_bytes(&self, columns: usize) -> u64 {
        let multiple = if self.pads_columns { WIDEST as usize } else { 1 };
        columns.next_multiple_of(multiple) as u64 * self.features
    }
}

/// How a search is cut for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CollectSizes {
    /// What rows and columns take.
    pub operands: Operands,
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
        operands: Operands,
        (rows, columns, depth): (usize, usize, usize),
        count: usize,
        limits: &Limits,
    ) -> Result<Self> {
        let row_bytes = operands.features;
        let bytes = limits.window_bytes.min(limits.max_binding_bytes).min(limits.budget_bytes / 4);
        let (window, step) = window_of(bytes / row_bytes, columns, STEP);
        let lists = ListSizes { count, step, spare: operands.spare };
        let mut sizes = Self { operands, depth, lists, rows: 1, window };
        let most_rows = (bytes / row_bytes.max(lists.bytes())).clamp(1, 1 << 15);
        sizes.rows = (most_rows as usize).min(rows);
        let needed_bytes = sizes.bytes();
        let features = operands.row_bytes(sizes.rows).max(operands.column_bytes(sizes.window));
        let largest = features.max(sizes.rows as u64 * lists.bytes());
        if needed_bytes > limits.budget_bytes || largest > limits.max_binding_bytes {
            let limit_bytes = limits.budget_bytes.min(limits.max_binding_bytes);
            let what = format!("lists of neighbours and {STEP_UNIT} rows of {depth} features");
            return Err(Error::TooLarge { what, needed_bytes, limit_bytes });
        }
        Ok(sizes)
    }

    /// Device memory of it all.
    fn bytes(&self) -> u64 {
        let Operands { features, beside: (beside_row, beside_column), .. } = self.operands;
        self.operands.row_bytes(self.rows)
            + self.rows as u64 * (beside_row + self.lists.row_bytes())
            + (self.window as u64 + u64::from(WIDEST)) * (features + beside_column)
    }
}

/// Columns of a window of which `most` fit, in whole steps of at most `step` columns, and those of a step.
pub(crate) fn window_of(most: u64, columns: usize, step: usize) -> (usize, usize) {
    let most = most.max(STEP_UNIT as u64).min(1 << 20) as usize;
    let window = most.min(columns.next_multiple_of(STEP_UNIT)) / STEP_UNIT * STEP_UNIT;
    let step = step.min(window);
    (window / step * step, step)
}

/// What collects for rows of one search.
pub(crate) struct Collector {
    gpu: Gpu,
    /// The tile: its shape changes no decision.
    shape: TileShape,
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
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) y: DeviceBuffer,
    pub(crate) norms: DeviceBuffer,
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
    pub fn new(gpu: &Gpu, shape: TileShape, sizes: CollectSizes, cancel: Cancel) -> Result<Self> {
        let collect = gpu.pipeline(&collect_kernel(&shape)?)?;
        let lister = Lister::new(gpu, sizes.lists)?;
        Ok(Self { gpu: gpu.clone(), shape, sizes, collect, lister, pacer: Pacer::new(), cancel })
    }

    /// Longest chain of additions of its products.
    pub fn chain(&self) -> usize {
        self.shape.chain(self.sizes.depth, self.gpu.keeps_order())
    }

    /// Brings rows to the device, with the share 2 S of each.
    pub fn rows(&self, x: &[f32], gaps: &[f32]) -> Result<Rows> {
        Ok(Rows { lists: self.lister.lists(gaps)?, x: self.gpu.filled("rows", x)? })
    }

    /// All rows meet all columns.
    pub fn meet(&mut self, rows: &Rows, columns: &Columns) -> Result<()> {
        let CollectSizes { depth, lists, .. } = self.sizes;
        let meeting = Meeting {
            rows: (0, rows.lists.count),
            tile_rows: self.shape.rows,
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
        let (shape, CollectSizes { depth, lists, .. }) = (self.shape, self.sizes);
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
    use crate::tile::product::units::shape::MatrixTile;
    use proptest::prelude::*;

    proptest! {
        /// Every binding is within the limits, every offset aligned, and no step can overflow a list.
        #[test]
        fn sizes_stay_within_every_limit(
            rows in 1_usize..3_000_000, columns in 1_usize..3_000_000, depth in 1_usize..3000,
            count in 1_usize..=1025, window in 256_u64..1 << 28, budget in 1_u64 << 20..1 << 34, in_halves: bool,
        ) {
            let limits = Limits { window_bytes: window, budget_bytes: budget, ..Limits::for_tests() };
            let limits = limits.with_matrix_units();
            let units = limits.matrix.expect("those of the limits");
            let tile = MatrixTile::choose(&units, depth, &limits).filter(|_| in_halves);
            let operands = tile.map_or(Operands::single(depth), |tile| tile.operands(depth));
            let Ok(sizes) = CollectSizes::new(operands, (rows, columns, depth), count, &limits) else {
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
            // What is allocated, as those who allocate count it.
            let Some(tile) = tile else { return Ok(()) };
            let columns = MatrixTile::padded_columns(sizes.window) as u64;
            let of_column = 2 * tile.padded_depth(depth) as u64;
            let x = tile.padded_bytes(sizes.rows, depth);
            prop_assert!(x.max(columns * of_column) <= limits.max_binding_bytes, "{sizes:?}");
            let rows = x + sizes.rows as u64 * (8 + lists.row_bytes());
            prop_assert!(rows + columns * (of_column + 12) <= sizes.bytes(), "{sizes:?}");
            prop_assert!(step.is_multiple_of(tile.columns() as usize) || step == sizes.window, "{sizes:?} {tile:?}");
        }
    }
}
