//! Which candidate a problem gets. Pure: sizes and limits in, a shape out.

#[cfg(test)]
use super::family::candidates;
use super::family::{Fold, GROUP_ROWS, candidates_for};
use super::shape::{Loads, Sums, TileShape};
use crate::device::Limits;

/// The tiles of a problem, as far as the choice of a candidate goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Task {
    /// What is kept.
    pub fold: Fold,
    /// Rows of X.
    pub rows: usize,
    /// Rows of Y.
    pub columns: usize,
    /// Features of both.
    pub depth: usize,
}

/// What [`TileShape::for_listed`] chooses from.
pub(crate) const LISTED: [TileShape; 2] = [TileShape::SMALLEST, TileShape::plain(64, 64, 4, 4, 16)];
/// Row tiles below which the largest tile leaves a GPU idle.
const MANY_ROW_TILES: usize = 256;

impl TileShape {
    /// The smallest tile, for what is rare or has few rows: it fits every device and serves every depth.
    pub const SMALLEST: Self = Self::plain(32, 32, 4, 4, 8);

    /// The tile that runs again on the few rows of a window that are listed: see `candidates.wgsl`.
    pub fn for_listed(columns: usize, limits: &Limits) -> Self {
        let [smallest, wider] = LISTED;
        if columns > 32 && wider.fits(limits) { wider } else { smallest }
    }

    /// A good choice where nothing was measured: the largest tile that fits the device and is not mostly padding,
    /// with the widest loads that the depth allows.
    pub fn choose(task: &Task, limits: &Limits) -> Self {
        let Task { fold, rows, columns, depth } = *task;
        let offered = candidates_for(fold, depth, limits);
        let loads = if depth.is_multiple_of(4) { Loads::Vectors } else { Loads::Scalars };
        let is_filled = |side: u32, count: usize| side as usize <= count.next_multiple_of(32).max(32);
        let is_good = |tile: &Preferred| {
            let many_rows = rows >= tile.rows as usize * tile.row_tiles;
            let is_full = if tile.columns < 32 {
                columns <= tile.columns as usize
            } else {
                is_filled(tile.columns, columns)
            };
            many_rows && is_full
        };
        let group_rows = if fold == Fold::Store { GROUP_ROWS } else { 1 };
        let of_tile = |tile: &Preferred| {
            let is_same = |shape: &&Self| {
                let sums = if depth <= 32 { Sums::Whole } else { tile.sums };
                shape.rows == tile.rows
                    && shape.columns == tile.columns
                    && shape.pairs() == tile.pairs
                    && shape.sums == sums
                    && shape.loads == loads
                    && !shape.prefetch
                    && shape.group_rows == group_rows
                    && (sums == Sums::Whole || shape.depth_step == 16)
            };
            offered.iter().find(is_same).copied()
        };
        let chosen = PREFERRED.iter().filter(|tile| is_good(tile)).find_map(of_tile);
        chosen.unwrap_or(Self { group_rows, ..Self::SMALLEST })
    }
}

/// A tile with the problems that it is good for.
struct Preferred {
    rows: u32,
    columns: u32,
    pairs: u32,
    sums: Sums,
    /// Least row tiles.
    row_tiles: usize,
}

const fn preferred(rows: u32, columns: u32, pairs: u32, sums: Sums, row_tiles: usize) -> Preferred {
    Preferred { rows, columns, pairs, sums, row_tiles }
}

/// In order of preference: few columns with many rows, then the largest tile that leaves enough row tiles to fill a
/// GPU.
const PREFERRED: [Preferred; 10] = [
    preferred(128, 8, 16, Sums::Chunks, 8),
    preferred(128, 16, 32, Sums::Chunks, 8),
    preferred(128, 128, 64, Sums::Chain, MANY_ROW_TILES),
    preferred(128, 64, 64, Sums::Chain, MANY_ROW_TILES),
    preferred(128, 64, 64, Sums::Whole, MANY_ROW_TILES),
    preferred(128, 64, 32, Sums::Chunks, MANY_ROW_TILES),
    preferred(128, 32, 32, Sums::Chunks, MANY_ROW_TILES),
    preferred(64, 64, 16, Sums::Chunks, 1),
    preferred(64, 32, 16, Sums::Chunks, 1),
    preferred(32, 32, 16, Sums::Chunks, 0),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chosen(fold: Fold, rows: usize, columns: usize, depth: usize) -> String {
        TileShape::choose(&Task { fold, rows, columns, depth }, &Limits::for_tests()).to_string()
    }

    #[test]
    fn small_problems_get_small_tiles() {
        assert_eq!(chosen(Fold::Nearest, 1_000_000, 1000, 784), "128x128 8x8 d16 chain vectors");
        assert_eq!(chosen(Fold::Nearest, 1000, 1000, 783), "64x64 4x4 d16 chunks scalars");
        assert_eq!(chosen(Fold::Nearest, 100_000, 10, 784), "128x16 8x4 d16 chunks vectors");
        assert_eq!(chosen(Fold::Nearest, 100_000, 8, 3), "128x8 4x4 whole scalars");
        assert_eq!(chosen(Fold::Nearest, 100_000, 1000, 32), "128x64 8x8 whole vectors");
        assert_eq!(chosen(Fold::Nearest, 1, 1, 1), "32x32 4x4 whole scalars");
        assert_eq!(chosen(Fold::Store, 1_000_000, 1000, 100), "128x64 8x4 d16 chunks vectors g8");
        assert_eq!(chosen(Fold::Store, 1_000_000, 32, 99), "128x32 8x4 d16 chunks scalars g8");
        assert_eq!(chosen(Fold::Store, 32, 1_000_000, 99), "32x32 4x4 d16 chunks scalars g8");
    }

    #[test]
    fn small_devices_get_a_tile_that_fits() {
        let limits = Limits {
            workgroup_storage_bytes: 8192,
            max_invocations_per_workgroup: 128,
            ..Limits::for_tests()
        };
        for depth in [1, 4, 100, 1000] {
            for fold in [Fold::Nearest, Fold::Store] {
                let task = Task { fold, rows: 1_000_000, columns: 1000, depth };
                let shape = TileShape::choose(&task, &limits);
                assert!(shape.fits(&limits) && shape.serves(depth), "{shape}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Whatever the problem and the device: what is chosen is among the validated candidates, fits the limits,
        /// serves the depth, and keeps the order of sums where values are handed out.
        #[test]
        fn only_validated_candidates_are_chosen(
            rows in 0_usize..3_000_000, columns in 0_usize..100_000, depth in 1_usize..3000, is_shallow: bool,
            kib in 16_u32..=64, log_invocations in 6_u32..=10, is_store: bool,
        ) {
            let limits = Limits {
                workgroup_storage_bytes: 1024 * kib,
                max_invocations_per_workgroup: 1 << log_invocations,
                ..Limits::for_tests()
            };
            let depth = if is_shallow { depth % 40 + 1 } else { depth };
            let fold = if is_store { Fold::Store } else { Fold::Nearest };
            let shape = TileShape::choose(&Task { fold, rows, columns, depth }, &limits);
            prop_assert!(shape.fits(&limits) && shape.serves(depth), "{}", shape);
            prop_assert!(candidates(fold).contains(&TileShape { group_rows: 1, ..shape }), "{}", shape);
            prop_assert!(fold == Fold::Nearest || shape.keeps_one_order(), "{}", shape);
            let listed = TileShape::for_listed(columns, &limits);
            prop_assert!(listed.fits(&limits) && LISTED.contains(&listed), "{}", listed);
        }
    }
}
