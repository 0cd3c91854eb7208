//! How a search for lists is cut for a device. Pure.

use super::lists::ListSizes;
use crate::device::Limits;
use crate::error::Result;
use crate::tile::choice::shape::WIDEST;
use crate::tile::product::units::shape::MatrixTile;
use crate::tile::windows::{next_rows, windows};

/// Columns of a step at most.
const STEP: usize = 1024;
/// Steps are multiples of it, so that every offset into a window is aligned.
pub(crate) const STEP_UNIT: usize = 64;

/// Entries that a list of products of `f16` may keep beyond twice as many as are wanted: their bound lets more columns in than
/// that of `f32`.
const SPARE_IN_HALVES: usize = 256;

/// Bytes of what a tile multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OperandBytes {
    /// Of the features of a row or a column.
    pub features: u64,
    /// Of what is beside a row, and beside a column.
    pub beside: (u64, u64),
    /// Rows are padded to multiples of it.
    pub rows: usize,
    /// Whether columns are padded to multiples of the widest tile.
    pub pads_columns: bool,
    /// See [`ListSizes`](super::lists::ListSizes).
    pub spare: usize,
}

impl OperandBytes {
    /// Rows and columns of `depth` features in `f32`, with half norm and error of each column.
    pub fn single(depth: usize) -> Self {
        let features = 4 * depth as u64;
        Self { features, beside: (0, 8), rows: 1, pads_columns: false, spare: ListSizes::SPARE }
    }

    /// Rows and columns of `depth` features in `f16`: lengths and residuals of rows; half norms, weights and constants of
    /// columns.
    pub fn halves(tile: &MatrixTile, depth: usize) -> Self {
        Self {
            features: 2 * tile.padded_depth(depth) as u64,
            beside: (8, 12),
            rows: tile.rows() as usize,
            pads_columns: true,
            spare: SPARE_IN_HALVES,
        }
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
    pub operands: OperandBytes,
    /// Number of features.
    pub depth: usize,
    /// The lists: their step is what lies between two lowerings of the limits.
    pub lists: ListSizes,
    /// Rows whose lists are on the device at once, at most.
    pub rows: usize,
    /// Columns that are on the device at once, at most.
    pub window: usize,
}

impl CollectSizes {
    /// Sizes within the limits for so many rows and columns.
    pub fn new(
        operands: OperandBytes,
        (rows, columns, depth): (usize, usize, usize),
        count: usize,
        limits: &Limits,
    ) -> Result<Self> {
        let row_bytes = operands.features;
        let bytes = limits.share_bytes();
        let (window, step) = window_of(bytes / row_bytes, columns, STEP);
        let lists = ListSizes { count, step, spare: operands.spare };
        let mut sizes = Self { operands, depth, lists, rows: 1, window };
        let most_rows = (bytes / row_bytes.max(lists.bytes())).clamp(1, 1 << 15);
        sizes.rows = next_rows(rows, most_rows as usize, 1);
        let features = operands.row_bytes(sizes.rows).max(operands.column_bytes(sizes.window));
        let largest = features.max(sizes.rows as u64 * lists.bytes());
        limits.check(sizes.bytes(), largest, || {
            format!("lists of neighbours and {STEP_UNIT} rows of {depth} features")
        })?;
        Ok(sizes)
    }

    /// First row and number of rows of each block of so many rows, which differ by one at most.
    pub fn blocks(&self, rows: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        windows(rows, self.rows, 1)
    }

    /// Device memory of it all.
    fn bytes(&self) -> u64 {
        let OperandBytes { features, beside: (beside_row, beside_column), .. } = self.operands;
        self.operands.row_bytes(self.rows)
            + self.rows as u64 * (beside_row + self.lists.row_bytes())
            + (self.window as u64 + u64::from(WIDEST)) * (features + beside_column)
    }
}

/// Columns of the largest of the fewest windows, of which `most` fit, in whole steps of at most `step` columns, and those of a
/// step.
pub(crate) fn window_of(most: u64, columns: usize, step: usize) -> (usize, usize) {
    let most = most.max(STEP_UNIT as u64).min(1 << 20) as usize / STEP_UNIT * STEP_UNIT;
    let step = step.min(most).min(columns.next_multiple_of(STEP_UNIT)).max(STEP_UNIT);
    (next_rows(columns, most / step * step, step).next_multiple_of(step).max(step), step)
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
            count in 1_usize..=1025, window in 256_u64..1 << 28, budget in 1_u64 << 20..1 << 34, in_halves: bool,
        ) {
            let limits = Limits { window_bytes: window, budget_bytes: budget, ..Limits::for_tests() };
            let limits = limits.with_matrix_units();
            let units = limits.matrix.expect("those of the limits");
            let tile = MatrixTile::choose(&units, depth, &limits).filter(|_| in_halves);
            let operands = tile.map_or(OperandBytes::single(depth), |tile| OperandBytes::halves(&tile, depth));
            let Ok(sizes) = CollectSizes::new(operands, (rows, columns, depth), count, &limits) else {
                prop_assert!(budget < 1 << 24 || limits.max_binding_bytes < 1 << 24);
                return Ok(());
            };
            let (lists, step) = (sizes.lists, sizes.lists.step);
            prop_assert!(step.is_multiple_of(STEP_UNIT) && step > 0 && step <= sizes.window);
            prop_assert!(sizes.window.is_multiple_of(step), "{sizes:?}");
            let blocks: Vec<usize> = sizes.blocks(rows).map(|(_, count)| count).collect();
            prop_assert_eq!(blocks.iter().sum::<usize>(), rows);
            prop_assert!(blocks.iter().all(|&count| count <= sizes.rows && count + 1 >= sizes.rows), "{sizes:?}");
            // As few windows as the memory allows.
            let most = (limits.share_bytes() / operands.features).clamp(64, 1 << 20) as usize;
            prop_assert!(columns.div_ceil(sizes.window) <= columns.div_ceil(most / step * step), "{sizes:?}");
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
