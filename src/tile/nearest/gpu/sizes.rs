//! Sizes of the buffers that the cascade takes, and how a pass is cut into splits. Pure.

use super::kernels::{Listed, MOST_CANDIDATES, Partial};
use crate::tile::choice::cut::{Cut, FEW_ROW_TILES};
use crate::tile::choice::shape::TileShape;
use crate::tile::operands::gpu::half_columns::HalfColumns;
use crate::tile::product::units::shape::MatrixTile;

/// Listed rows per dispatch of `candidates`.
pub(crate) const LISTED_ROWS: u32 = 4096;
/// Listed rows that a second tier takes at once.
const MOST_LISTED_ROWS: u64 = 1 << 16;
/// Most rows per dispatch.
const MOST_ROWS: u64 = 1 << 20;
/// For the tier over a window, then for the one over what it lists: rows listed, and certified rows that changed.
pub(crate) const COUNTERS_BYTES: u64 = 16;

/// Sizes that decide the buffers of a [`Cascade`](super::Cascade).
#[derive(Debug, Clone, Copy)]
pub(crate) struct CascadeSizes {
    /// The tile.
    pub shape: TileShape,
    /// The tile of the screen, where there is one.
    pub matrix: Option<MatrixTile>,
    /// Rows of the largest window.
    pub window_rows: usize,
    /// Columns per window, a multiple of 64.
    pub column_window: usize,
    /// Number of columns.
    pub columns: usize,
    /// Number of features.
    pub depth: usize,
    /// Whether bounds on distances are kept for every row, so that a pass may leave rows out.
    pub keeps_reach: bool,
}

/// Splits of each of `windows` windows of columns whose results, one per row, have room among `partials`.
pub(crate) fn most_splits(partials: u64, windows: usize, rows: u32) -> u64 {
    partials / windows as u64 / u64::from(rows)
}

impl CascadeSizes {
    /// Windows of columns at most: fewer where some are equal.
    fn column_windows(&self) -> u64 {
        self.columns.div_ceil(self.column_window) as u64
    }

    fn cuts(&self) -> impl Iterator<Item = Cut> {
        [self.shape.cut()].into_iter().chain(self.matrix.map(|tile| tile.cut()))
    }

    /// Rows per dispatch at most, whole tiles: fewer where many windows of columns leave a partial result for each
    /// row.
    pub fn most_rows(&self) -> u64 {
        let most = (MOST_ROWS / self.column_windows()).max(1).min(self.window_rows as u64);
        // The least common multiple of two sides, of which one nearly always divides the other.
        let common = |a: u64, b: u64| if a.max(b).is_multiple_of(a.min(b)) { a.max(b) } else { a * b };
        most.next_multiple_of(self.cuts().map(|cut| u64::from(cut.rows)).fold(1, common))
    }

    /// Partial results at most: all rows once per column window, or few rows and many splits.
    pub fn partials(&self) -> u64 {
        let (windows, rows) = (self.column_windows(), self.most_rows());
        let columns = self.columns.min(self.column_window) as u64;
        // A tile is not split.
        let most_splits = |cut: Cut| columns.div_ceil(u64::from(cut.columns)).min(u64::from(FEW_ROW_TILES));
        let few = |cut: Cut| u64::from(FEW_ROW_TILES * cut.rows).min(rows * most_splits(cut));
        windows * self.cuts().map(few).fold(rows, u64::max)
    }

    pub fn partials_bytes(&self) -> u64 {
        size_of::<Partial>() as u64 * self.partials()
    }

    /// Of the rows that a first tier leaves.
    pub fn left_of_window_bytes(&self) -> u64 {
        size_of::<Listed>() as u64 * self.window_rows as u64
    }

    /// Listed rows that go through a second tier at once.
    pub fn listed_rows(&self) -> u64 {
        MOST_LISTED_ROWS.min(self.most_rows()).min(self.window_rows as u64)
    }

    /// Of the rows that a second tier leaves.
    pub fn left_of_list_bytes(&self) -> u64 {
        size_of::<Listed>() as u64 * self.listed_rows()
    }

    pub fn found_bytes(&self) -> u64 {
        u64::from(LISTED_ROWS.min(self.window_rows as u32) * (MOST_CANDIDATES + 1)) * 4
    }

    /// Bytes of device memory that it takes.
    pub fn bytes(&self) -> u64 {
        let left_of_list = if self.has_listed() { self.left_of_list_bytes() } else { 0 };
        let screen = self.matrix.map_or(0, |tile| {
            let (columns, window) = (self.columns as u64, self.column_window as u64);
            HalfColumns::bytes(&tile, columns, window, self.depth)
        });
        let left = self.left_of_window_bytes() + left_of_list;
        self.partials_bytes() + left + self.found_bytes() + COUNTERS_BYTES + screen
    }

    /// Whether lists of rows go through a tile.
    pub fn has_listed(&self) -> bool {
        self.matrix.is_some() || self.keeps_reach
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Limits, MatrixUnits};
    use crate::tile::choice::family::{Fold, candidates};
    use proptest::prelude::*;

    proptest! {
        /// Every split of every window of columns has room for its results, whatever number of rows the pacer gives.
        #[test]
        fn partial_results_have_room(
            shape in proptest::sample::select(candidates(Fold::Nearest)), window_rows in 1_usize..3_000_000, columns in 1_usize..2_000_000,
            column_window in 1_usize..400, kept in 1..=100_usize, paced in 1_u64..2_000_000, screens: bool,
        ) {
            let units = MatrixUnits { size: 16, smallest_subgroup: 32, largest_subgroup: 32, reads_elements: true, is_plain: true };
            let matrix = MatrixTile::choose(&units, 64, &Limits::for_tests()).filter(|_| screens);
            let column_window = 128 * column_window;
            let sizes = CascadeSizes { shape, matrix, window_rows, column_window, columns, depth: 64, keeps_reach: false };
            // Equal columns are merged: there may be fewer windows than were planned for.
            let columns = (columns * kept / 100).max(1);
            let windows = columns.div_ceil(sizes.column_window);
            for cut in sizes.cuts() {
                let rows = paced.next_multiple_of(u64::from(cut.rows)).min(sizes.most_rows()).min(window_rows as u64);
                let most = most_splits(sizes.partials(), windows, rows as u32);
                let mut splits = 0;
                for window in 0..windows {
                    let here = sizes.column_window.min(columns - window * sizes.column_window) as u32;
                    let step = cut.split_columns(rows as u32, here, most);
                    prop_assert!(step.is_multiple_of(cut.columns) && step > 0);
                    prop_assert!(here.div_ceil(step) <= FEW_ROW_TILES);
                    splits += u64::from(here.div_ceil(step));
                }
                prop_assert!(splits * rows <= sizes.partials(), "{splits} splits of {rows} rows");
            }
            let tallest = sizes.cuts().map(|cut| cut.rows).max().unwrap_or(0);
            let few = u64::from(FEW_ROW_TILES * tallest) * sizes.column_windows();
            prop_assert!(sizes.partials() <= (MOST_ROWS + u64::from(tallest) * sizes.column_windows()).max(few));
            prop_assert!(sizes.listed_rows() <= sizes.most_rows());
        }
    }
}
