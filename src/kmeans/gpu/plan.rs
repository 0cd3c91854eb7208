//! How a k-means problem is laid out on a device: windows of rows, windows of centroids, tile shape, bytes. Pure.

use crate::device::Limits;
use crate::error::{Error, Result};
use crate::tile::choice::choose::Task;
use crate::tile::choice::family::Fold;
use crate::tile::choice::shape::{TileShape, WIDEST};
use crate::tile::choice::tune::table::Table;
use crate::tile::nearest::gpu::sizes::CascadeSizes;
use crate::tile::operands::gpu::half_columns::HalfColumns;
use crate::tile::operands::gpu::half_rows::Halves;
use crate::tile::product::units::shape::MatrixTile;
use crate::tile::windows::{next_rows, windows};

/// Rows are never cut smaller than this while the data could be.
const LEAST_WINDOW_ROWS: u64 = 64;
/// Rows are counted by workgroups of 4,096, of which one dimension of a dispatch has at most 65,535.
const MOST_WINDOW_ROWS: u64 = 1 << 27;
/// Centroids per window are a multiple of this: the widest tile, and every device's offset alignment in half norms.
const COLUMN_STEP: usize = WIDEST as usize;

/// One centroid in so many is met by all rows of a pass that is pruned.
pub(crate) const FEW: usize = 8;

/// Sums that a workgroup holds a copy of, and the clusters that they belong to: with the lists of `transfer` they stay
/// below the 16 KiB that every device has.
pub(crate) const PRIVATE_SUMS: usize = 1408;
/// See [`PRIVATE_SUMS`].
pub(crate) const PRIVATE_CLUSTERS: usize = 256;
const _: () = assert!(8 * PRIVATE_SUMS + 4 * PRIVATE_CLUSTERS + 12 * 256 + 4 <= 16 << 10);
/// What an atomic addition and a further dispatch cost, in bytes that a device reads in that time: with 1 TB/s,
/// 60 atomic additions per nanosecond and 4 microseconds.
const ATOMIC_BYTES: u64 = 16;
/// See [`ATOMIC_BYTES`].
const DISPATCH_BYTES: u64 = 4 << 20;

/// What a problem needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Number of points.
    pub rows: usize,
    /// Number of features.
    pub columns: usize,
    /// Number of centroids.
    pub n_clusters: usize,
    /// Whether sums are taken too (a fit), or only labels (predict).
    pub sums: bool,
    /// Whether points have weights.
    pub weighted: bool,
    /// Whether bounds on distances are wanted for pruning.
    pub prunes: bool,
}

/// How it is laid out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Rows of the largest window; no other has fewer than one less.
    pub window_rows: usize,
    /// Whether all windows stay on the device.
    pub resident: bool,
    /// Centroids per window.
    pub column_window: usize,
    /// The tile.
    pub tile: TileShape,
    /// The tile of the screen on matrix units, where there are any and memory for the rows' halves.
    pub matrix: Option<MatrixTile>,
    /// Whether bounds on distances are kept for every row, where there is memory for them.
    pub keeps_reach: bool,
    /// Device bytes at once.
    pub bytes: u64,
}

impl Plan {
    /// The plan for a problem under a device's limits, with what was measured of the device.
    pub fn new(shape: &Shape, limits: &Limits, tuned: &Table) -> Result<Self> {
        let tile = tuned.shape(&shape.task(Fold::Nearest), limits);
        let row_bytes = 4 * shape.columns as u64;
        let too_large = |what: &str, needed_bytes, limit_bytes| {
            Err(Error::TooLarge { what: what.to_owned(), needed_bytes, limit_bytes })
        };
        // Sums take 8 bytes per feature and cluster in one binding.
        let sums = if shape.sums { shape.n_clusters as u64 * shape.summed() * 8 } else { 0 };
        if sums > limits.max_binding_bytes {
            return too_large("sums of all clusters", sums, limits.max_binding_bytes);
        }
        // Centroids that fit one binding need no window, however deep they are.
        let bound_rows = limits.max_binding_bytes / row_bytes;
        let column_window = if shape.n_clusters as u64 <= bound_rows {
            shape.n_clusters.next_multiple_of(COLUMN_STEP)
        } else {
            bound_rows as usize / COLUMN_STEP * COLUMN_STEP
        };
        if column_window == 0 || bound_rows == 0 {
            let needed = row_bytes * COLUMN_STEP.min(shape.n_clusters) as u64;
            return too_large("a window of centroids", needed, limits.max_binding_bytes);
        }
        // A window is bound at once, and so are 16 bytes per row of the list and of partial results.
        let most = (limits.window_bytes / row_bytes.max(16)).min(MOST_WINDOW_ROWS).min(shape.rows as u64);
        let least = LEAST_WINDOW_ROWS.min(shape.rows as u64).min(bound_rows);
        let matrix = limits.matrix.and_then(|units| MatrixTile::choose(&units, shape.columns, limits));
        let columns = column_window.min(shape.n_clusters);
        let matrix =
            matrix.filter(|tile| tile.padded_bytes(columns, shape.columns) <= limits.max_binding_bytes);
        let mut most_rows = most.max(least);
        loop {
            let window = next_rows(shape.rows, most_rows as usize, 1);
            let matrix = matrix.filter(|t| t.padded_bytes(window, shape.columns) <= limits.max_binding_bytes);
            let base = Self {
                window_rows: window,
                resident: false,
                column_window,
                tile,
                matrix,
                keeps_reach: shape.prunes,
                bytes: 0,
            };
            let mut needed = u64::MAX;
            for plan in base.choices(shape) {
                if plan.bytes <= limits.budget_bytes {
                    return Ok(plan);
                }
                needed = needed.min(plan.bytes);
            }
            if most_rows <= least {
                return too_large("one window of rows beside the centroids", needed, limits.budget_bytes);
            }
            most_rows = (most_rows / 2).max(least);
        }
    }

    /// This plan with all rows on the device, then with two windows that take turns, where there are two; of each the
    /// one with a screen first, since bringing rows to the device again costs more than a screen saves; without bounds
    /// where those are all that does not fit.
    fn choices(self, shape: &Shape) -> impl Iterator<Item = Self> {
        let rows = shape.rows as u64;
        let resident = shape.sums.then_some((true, rows)).into_iter();
        let places = resident.chain([(false, (2 * self.window_rows as u64).min(rows))]);
        let screens = if self.matrix.is_some() { vec![self.matrix, None] } else { vec![None] };
        let reaches = if self.keeps_reach { vec![true, false] } else { vec![false] };
        let kinds: Vec<_> =
            screens.iter().flat_map(|&matrix| reaches.iter().map(move |&reach| (matrix, reach))).collect();
        places.flat_map(move |place| kinds.clone().into_iter().map(move |kind| (place, kind))).map(
            move |((resident, rows_on_device), (matrix, keeps_reach))| {
                let mut plan = Self { resident, matrix, keeps_reach, ..self.clone() };
                plan.bytes = plan.total_bytes(shape, rows_on_device);
                plan
            },
        )
    }

    /// Sizes of the labelling buffers.
    pub fn labeller(&self, shape: &Shape) -> CascadeSizes {
        CascadeSizes {
            shape: self.tile,
            matrix: self.matrix,
            depth: shape.columns,
            window_rows: self.window_rows,
            column_window: self.column_window,
            columns: shape.n_clusters,
            keeps_reach: self.keeps_reach,
        }
    }

    /// First row and number of rows of each window.
    pub fn windows(&self, rows: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        windows(rows, self.window_rows, 1)
    }

    fn total_bytes(&self, shape: &Shape, rows_on_device: u64) -> u64 {
        let (columns, clusters) = (shape.columns as u64, shape.n_clusters as u64);
        // Rows, norms, weights; labels of all rows, and the labels they are summed under.
        let rows = rows_on_device * (4 * columns + 4 + if shape.weighted { 4 } else { 0 });
        let labels = if shape.sums { 8 * shape.rows as u64 } else { 4 * self.window_rows as u64 };
        // Bounds of all rows, how far each centroid moved, and a book of the few that moved farthest.
        let few = (clusters / FEW as u64).max(1).next_multiple_of(COLUMN_STEP as u64);
        let few_halves = self.matrix.map_or(0, |tile| HalfColumns::bytes(&tile, few, few, shape.columns));
        let few = few * (4 * columns + 20) + few_halves;
        let reach = if self.keeps_reach { 8 * shape.rows as u64 + 4 * clusters + few } else { 0 };
        let sums = if shape.sums { clusters * (shape.summed() * 8 + 12) + 4 * shape.summed() } else { 0 };
        let book = clusters * (4 * columns + 12) + 4 * COLUMN_STEP as u64;
        let pairs = 8 * 4096;
        // Windows round up to whole tiles.
        let windows = rows_on_device.div_ceil(self.window_rows as u64);
        let halves =
            self.matrix.map_or(0, |tile| Halves::bytes(&tile, rows_on_device, windows, shape.columns));
        // The pool rounds sizes up by at most an eighth.
        (rows + halves + labels + reach + sums + book + pairs + self.labeller(shape).bytes()) / 8 * 9
    }
}

impl Shape {
    /// The tiles that measure rows with centroids.
    pub fn task(&self, fold: Fold) -> Task {
        Task { fold, rows: self.rows, columns: self.n_clusters, depth: self.columns }
    }

    /// Columns of the sums: one more for the weights.
    pub fn summed(&self) -> u64 {
        self.columns as u64 + u64::from(self.weighted)
    }
}

/// How rows that change their cluster move from sum to sum. Sums are integers: the bits are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// Ordered by cluster, then added cluster by cluster.
    Sorted,
    /// Added one by one.
    Direct,
    /// Added one by one to copies of the sums in workgroup memory, where those fit.
    Private,
}

/// The update step of one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UpdatePlan {
    /// The way.
    pub how: Update,
    /// Whether the sums are emptied first, so that all rows are added.
    pub afresh: bool,
    /// Additions of a row to a sum, over all rows, as far as known: no result depends on it.
    moves: u64,
    /// Rows that are ordered at once at most.
    most_rows: u32,
}

impl UpdatePlan {
    /// The plan for a pass: `changed` is the number of rows that changed in the pass before, `None` where no row is in
    /// the sums yet.
    ///
    /// Bytes and atomic additions are counted: both ways read two labels per row. A move reads a row; ordering reads
    /// the labels again and writes the order, in three more dispatches, and a row that leaves one cluster for another
    /// is read twice.
    pub fn new(shape: &Shape, changed: Option<u64>) -> Self {
        let (rows, features) = (shape.rows as u64, shape.summed());
        // Nothing is known about the second pass: after k-means++ few rows change, after a random start many. Later
        // passes change fewer rows than the ones before.
        let (changed, per_row) = match changed {
            None => (rows, 1),
            Some(changed) if changed >= rows => (rows / 4, 2),
            Some(changed) => (changed / 4 * 3, 2),
        };
        let afresh = per_row == 1 || 2 * changed > rows;
        let moves = if afresh { rows } else { 2 * changed };
        let direct = moves * features * 2 * ATOMIC_BYTES;
        let sorted = 3 * DISPATCH_BYTES + 12 * rows + moves * 4 * features;
        let how = if Self::fits_private(shape) {
            Update::Private
        } else if direct < sorted {
            Update::Direct
        } else {
            Update::Sorted
        };
        Self { how, afresh, moves, most_rows: MOST_WINDOW_ROWS as u32 }
    }

    /// Whether a workgroup can hold a copy of the sums.
    pub fn fits_private(shape: &Shape) -> bool {
        shape.n_clusters <= PRIVATE_CLUSTERS
            && shape.n_clusters as u64 * shape.summed() <= PRIVATE_SUMS as u64
    }

    /// The same with the way chosen by the caller: a way that does not fit is not taken.
    pub fn forced(
        mut self,
        shape: &Shape,
        (how, afresh, most_rows): (Update, bool, u32),
        is_first: bool,
    ) -> Self {
        self.most_rows = most_rows.min(self.most_rows);
        if how != Update::Private || Self::fits_private(shape) {
            self.how = how;
        }
        self.afresh = afresh || is_first;
        self
    }

    /// The same for passes in a row, of which the first alone may find its sums emptied.
    pub fn standing(self) -> Self {
        Self { afresh: false, ..self }
    }

    /// Rows whose moves a list of `room` holds: one each where all rows are added, else two.
    pub fn rows_per_round(&self, room: u64) -> u32 {
        (room / if self.afresh { 1 } else { 2 }).clamp(1, u64::from(self.most_rows)) as u32
    }

    /// Expected moves of some of all rows, at least a few.
    pub fn moves_of(&self, some: u32, all: usize) -> u64 {
        (self.moves as f64 * f64::from(some) / all as f64) as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(rows: usize, columns: usize, n_clusters: usize) -> Shape {
        Shape { rows, columns, n_clusters, sums: true, weighted: false, prunes: false }
    }

    #[test]
    fn small_data_is_one_resident_window() {
        let plan = Plan::new(&shape(1797, 64, 10), &Limits::for_tests(), &Table::default()).unwrap();
        assert_eq!((plan.window_rows, plan.resident), (1797, true));
    }

    #[test]
    fn windows_are_even_under_any_binding() {
        let rows = 4_194_304;
        for (binding, windows) in [(128 << 20, 16), ((2 << 30) - 1, 2)] {
            let limits = Limits {
                max_binding_bytes: binding,
                max_buffer_bytes: binding,
                window_bytes: binding,
                ..Limits::for_tests()
            };
            for shape in [shape(rows, 128, 1000), Shape { sums: false, ..shape(rows, 128, 1000) }] {
                let plan = Plan::new(&shape, &limits, &Table::default()).unwrap();
                let cut: Vec<_> = plan.windows(rows).collect();
                assert!(cut.iter().all(|&(_, count)| count == rows / windows), "{binding}: {cut:?}");
                assert_eq!((cut.len(), plan.window_rows), (windows, rows / windows));
            }
        }
    }

    #[test]
    fn a_few_very_long_rows_fit() {
        let plan = Plan::new(&shape(100, 1_000_000, 3), &Limits::for_tests(), &Table::default()).unwrap();
        assert!(plan.window_rows as u64 * 4_000_000 <= Limits::for_tests().max_binding_bytes, "{plan:?}");
        let error =
            Plan::new(&shape(100, 1_000_000, 50), &Limits::for_tests(), &Table::default()).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }

    #[test]
    fn data_above_the_budget_is_streamed() {
        let limits = Limits { budget_bytes: 1 << 24, ..Limits::for_tests() };
        let plan = Plan::new(&shape(1_000_000, 128, 100), &limits, &Table::default()).unwrap();
        assert!(!plan.resident && plan.bytes <= limits.budget_bytes, "{plan:?}");
        // Labels of all rows stay on the device; where they alone exceed it there is no plan.
        let error = Plan::new(&shape(100_000_000, 128, 100), &limits, &Table::default()).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }

    #[test]
    fn updates_follow_the_share_of_rows_that_move() {
        let choose = |shape: &Shape, changed| {
            let plan = UpdatePlan::new(shape, changed);
            (plan.how, plan.afresh)
        };
        let large = shape(1_000_000, 128, 256);
        assert_eq!(choose(&large, None), (Update::Sorted, true));
        assert_eq!(choose(&large, Some(1_000_000)), (Update::Sorted, false));
        assert_eq!(choose(&large, Some(700_000)), (Update::Sorted, true));
        assert_eq!(choose(&large, Some(200_000)), (Update::Sorted, false));
        assert_eq!(choose(&large, Some(900)), (Update::Direct, false));
        assert_eq!(choose(&large, Some(0)), (Update::Direct, false));
        assert_eq!(choose(&shape(1_000_000, 2, 256), Some(500)).0, Update::Private);
        assert_eq!(choose(&shape(1_000_000, 2, 257), None).0, Update::Sorted);
        let weighted = Shape { weighted: true, ..shape(5000, 352, 4) };
        assert_eq!(choose(&weighted, None).0, Update::Sorted, "the column of weights does not fit");
        assert_eq!(choose(&shape(5000, 352, 4), None).0, Update::Private);
    }

    #[test]
    fn moves_fit_the_list() {
        for (changed, per_row) in [(None, 1), (Some(100), 2), (Some(900), 1), (Some(1000), 2)] {
            let plan = UpdatePlan::new(&shape(1000, 64, 100), changed);
            for room in [2, 3, 999, 1000, 1001, u64::MAX] {
                let rows = plan.rows_per_round(room);
                assert!(rows > 0 && u64::from(rows) * per_row <= room, "{changed:?}, {room}");
            }
        }
    }

    proptest! {
        #[test]
        fn plans_cover_all_rows_within_the_limits(
            rows in 1_usize..500_000_000, columns in 1_usize..2_000_000, clusters in 1_usize..100_000,
            window in 10_u32..31, budget in 20_u32..36, weighted: bool, sums: bool, has_units: bool, prunes: bool,
        ) {
            let window_bytes = (1 << window).min(Limits::for_tests().max_binding_bytes);
            let limits = Limits { window_bytes, budget_bytes: 1 << budget, ..Limits::for_tests() };
            let limits = if has_units { limits.with_matrix_units() } else { limits };
            let shape = Shape { rows, columns, n_clusters: clusters.min(rows), sums, weighted, prunes };
            match Plan::new(&shape, &limits, &Table::default()) {
                Err(error) => {
                    let is_too_large = matches!(error, Error::TooLarge { .. });
                    prop_assert!(is_too_large, "{}", error);
                }
                Ok(plan) => {
                    prop_assert!(plan.bytes <= limits.budget_bytes);
                    prop_assert!(plan.tile.fits(&limits));
                    prop_assert!(prunes || !plan.keeps_reach);
                    prop_assert!(plan.matrix.is_none_or(|tile| tile.shared_bytes() <= limits.workgroup_storage_bytes));
                    // The halves of a padded window fit one binding.
                    let halves = plan.matrix.map_or(0, |tile| tile.padded_bytes(plan.window_rows, columns));
                    prop_assert!(halves <= limits.max_binding_bytes);
                    let binding = limits.max_binding_bytes;
                    prop_assert!(plan.window_rows as u64 * columns as u64 * 4 <= binding);
                    let window = plan.column_window.min(shape.n_clusters) as u64;
                    prop_assert!(window > 0 && window * columns as u64 * 4 <= binding);
                    prop_assert!(window == shape.n_clusters as u64 || plan.column_window % COLUMN_STEP == 0);
                    let mut next = 0;
                    for (start, count) in plan.windows(rows) {
                        prop_assert!(start == next && count + 1 >= plan.window_rows && count <= plan.window_rows);
                        prop_assert!(count <= 64 || count as u64 * columns as u64 * 4 <= limits.window_bytes);
                        next += count;
                    }
                    prop_assert_eq!(next, rows);
                }
            }
        }
    }
}
