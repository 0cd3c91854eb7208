//! How a search is cut, and what it takes. Pure: sizes in, sizes out. No cut changes a bit of a result.

use crate::error::{Error, Result};

/// Bytes of points that are prepared at once.
const WINDOW_BYTES: usize = 8 << 20;
/// Bytes of queries that keep their lists at once.
const QUERIES_BYTES: usize = 256 << 20;
/// Of a set with itself this many times as many queries keep their lists: it halves the work.
const MIRROR_SHARE: usize = 4;
/// Bytes of the rows of one block, which one thread works on: they stay in its cache.
const BLOCK_BYTES: usize = 256 << 10;
/// Entries of a list that are still screened further after a window; longer ones are decided on.
const ENTRIES: usize = 4096;

/// Bytes of points that are prepared at once to be measured.
const PREPARED_BYTES: usize = 256 << 20;
/// Bytes that a prepared feature takes at most.
const PREPARED_FEATURE_BYTES: usize = 16;
/// Rows of a band at least: fewer share a tile's work badly.
const LEAST_BAND: usize = 32;

/// Points below which no grid is thought of.
pub(super) const GRID_POINTS: usize = 512;
/// What a search without a grid costs, in terms of one with it. Measured, but for a GPU's: decision 0032.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    /// Points that are met in the time that a grid takes to look at one.
    pub per_look: f64,
    /// Points that are met in the time that a query's list takes, which a grid does without.
    pub of_list: f64,
}

impl Pace {
    /// Tiles of products on the CPU.
    pub const PRODUCTS: Self = Self { per_look: 50.0, of_list: 10_000.0 };
    /// Estimated values on the CPU.
    pub const ESTIMATES: Self = Self { per_look: 20.0, of_list: 3000.0 };
    /// Estimated angles on the CPU: sines take longer than a look.
    pub const ANGLES: Self = Self { per_look: 0.25, of_list: 0.0 };
    /// Estimated values on a GPU, which is not needed where a grid is faster.
    #[cfg(feature = "gpu")]
    pub const ON_GPU: Self = Self { per_look: 512.0, of_list: 0.0 };
    /// Pair by pair.
    pub const MEASURED: Self = Self { per_look: 1.0, of_list: 0.0 };

    /// Whether a grid pays, of which a query looks at so many of all points. `has_list`: a query wants the nearest.
    pub fn is_slower(self, points: usize, looked_at: f64, has_list: bool) -> bool {
        // Sorting the points into cells, and a query's own search, are worth some looks.
        let of_list = if has_list { self.of_list } else { 0.1 * self.of_list };
        (looked_at + 16.0) * self.per_look < points as f64 + of_list
    }
}

/// How the CPU's part is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Points of a window.
    pub window: usize,
    /// Queries that meet a window in turn.
    pub queries: usize,
    /// Queries of a block.
    pub block: usize,
    /// Entries at which a list is decided on after a window.
    pub entries: usize,
    /// Points of a window whose values are measured.
    pub prepared: usize,
}

impl Cut {
    /// For rows of `depth` features, `count` neighbours each; blocks are multiples of `group` rows.
    pub fn new(depth: usize, count: usize, group: usize) -> Self {
        let row_bytes = 4 * depth.max(1);
        let block = (BLOCK_BYTES / row_bytes).clamp(group, 10 * group) / group * group;
        // An entry has 12 bytes; a list grows to twice what it keeps.
        let list_bytes = 24 * (2 * count + 64);
        let queries = (QUERIES_BYTES / (row_bytes + list_bytes)).max(block);
        let window = (WINDOW_BYTES / row_bytes).clamp(64, 1 << 16);
        let prepared = (PREPARED_BYTES / (PREPARED_FEATURE_BYTES * depth.max(1))).max(64);
        Self { window, queries, block, entries: ENTRIES + 4 * count, prepared }
    }

    /// The same with windows of so many points, where that is given.
    pub fn with_window(self, points: Option<usize>) -> Self {
        points.map_or(self, |points| Self { window: points.max(1), prepared: points.max(1), ..self })
    }

    /// Queries of a band that one thread measures tile by tile, of at most `most` rows: a few bands for each thread.
    pub fn band(&self, queries: usize, threads: usize, most: usize) -> usize {
        queries.div_ceil(4 * threads.max(1)).clamp(LEAST_BAND.min(most), most)
    }

    /// Whether all of `rows` queries can keep their lists at once.
    pub fn keeps(&self, rows: usize) -> bool {
        rows <= MIRROR_SHARE * self.queries
    }

    /// Blocks of a window of a set with itself. The window's own pairs are multiplied both ways, so it is a small part of
    /// the set; but its rows get their first limits from it, so it is not too small.
    pub fn mirror_blocks(&self, rows: usize) -> usize {
        (rows / 12).clamp(1024, self.window.max(1024)).div_ceil(self.block)
    }
}

/// Bytes of a result of `count` neighbours for each query, if they are within `max_bytes`.
pub(super) fn result_bytes(
    what: &str,
    neighbours: u64,
    element_bytes: usize,
    max_bytes: Option<u64>,
) -> Result<u64> {
    let needed_bytes = neighbours.saturating_mul((size_of::<u32>() + element_bytes) as u64);
    let limit_bytes = max_bytes.unwrap_or(isize::MAX as u64).min(isize::MAX as u64);
    if needed_bytes > limit_bytes {
        return Err(Error::TooLarge { what: format!("{neighbours} {what}"), needed_bytes, limit_bytes });
    }
    Ok(needed_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_whole_and_bounded() {
        for depth in [1, 3, 128, 784, 100_000] {
            for count in [1, 10, 1024] {
                let cut = Cut::new(depth, count, 24);
                assert!(cut.block.is_multiple_of(24) && cut.block >= 24 && cut.block <= 240, "{cut:?}");
                assert!(cut.queries >= cut.block && cut.window >= 64, "{cut:?}");
                let bytes = cut.queries * (4 * depth + 24 * (2 * count + 64));
                assert!(cut.queries == cut.block || bytes <= QUERIES_BYTES, "{cut:?}");
            }
        }
    }

    #[test]
    fn grids_pay_where_they_look_at_little() {
        // Even points, three columns, the ten nearest; crowded ones; all of them.
        assert!(Pace::PRODUCTS.is_slower(1000, 135.0, true) && Pace::ESTIMATES.is_slower(1000, 135.0, true));
        assert!(
            !Pace::PRODUCTS.is_slower(4000, 500.0, true) && !Pace::ESTIMATES.is_slower(4000, 500.0, true)
        );
        for pace in [Pace::PRODUCTS, Pace::ESTIMATES, Pace::MEASURED] {
            assert!(!pace.is_slower(100_000, 100_000.0, true) && pace.is_slower(100_000, 100.0, false));
        }
        assert!(Pace::ANGLES.is_slower(4000, 4000.0, true));
    }

    #[test]
    fn results_beyond_the_limit_are_refused_with_their_size() {
        assert_eq!(result_bytes("neighbours", 10, 4, Some(80)).unwrap(), 80);
        match result_bytes("neighbours", 10, 8, Some(119)) {
            Err(Error::TooLarge { needed_bytes: 120, limit_bytes: 119, .. }) => {}
            other => panic!("{other:?}"),
        }
        assert!(result_bytes("neighbours", u64::MAX, 8, None).is_err());
    }
}
