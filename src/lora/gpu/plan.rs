//! Which kernels perform a batch, and on which chunks of positions. Pure: segments and limits in, words and counts out.
//!
//! # Kernel families
//!
//! | family | chunk | for |
//! |---|---|---|
//! | `Stream` | up to 4 positions of one adapter | few rows per adapter: weights go from memory to registers once |
//! | `Tile` | up to 32 or 64 positions of one adapter | many rows per adapter: panels in workgroup memory |
//! | `Dense` (shrink) | up to 64 positions of any adapter | few adapters with few rows each: all their rank vectors are one tile |
//! | `Routed` (expand) | one row with all its routes | one row per adapter, and rows with several routes |
//!
//! All families add in the same order, so the choice changes no bit of the result. It is made from the lengths of the
//! segments alone, except `Dense`, which also looks at the ranks of the group.

use crate::device::Limits;
use crate::error::{Error, Result};
use crate::lora::segments::{Segment, Segments};

/// Features in one chain of additions of shrink.
pub(crate) const CHAIN: u32 = 16;
/// Chains of one block, and invocations of a stream workgroup.
pub(crate) const LANES: u32 = 64;
/// Features of one block: a block's sum is one value, and blocks are added in order.
pub(crate) const BLOCK: u32 = CHAIN * LANES;
/// Most positions of a stream chunk.
pub(crate) const STREAM_ROWS: usize = 4;
/// Workgroups that a launch should have, so that the blocks of one row are not summed by one workgroup while others
/// idle.
const WANTED_WORKGROUPS: u64 = 1024;
/// Most adapters of a dense chunk: each invocation walks the list.
const MOST_DENSE: usize = 8;

/// How shrink or expand is performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    /// Up to this many positions of one adapter.
    Stream(u32),
    /// Tiles with this many rows.
    Tile(u32),
    /// As `Tile`, for positions of any adapter.
    Dense(u32),
    /// One row with all its routes.
    Routed,
}

/// Chunks of one family in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunks {
    /// The family.
    pub family: Family,
    /// First word of the first chunk.
    pub first: u32,
    /// How many chunks of four words.
    pub count: u32,
}

/// What the kernels read of a batch, and the launches that a group takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct BatchPlan {
    /// The tables.
    pub words: Vec<u32>,
    /// Where the row of each position begins.
    pub rows_at: u32,
    /// Where the scale of each position begins.
    pub scales_at: u32,
    /// Where the adapter of each position begins.
    pub slots_at: u32,
    /// Where the positions in the order of the rows begin.
    pub by_row_at: u32,
    /// Where the adapters in use begin.
    pub used_at: u32,
    /// Number of adapters in use.
    pub used: u32,
    /// Positions of the batch.
    pub positions: u32,
    /// The launches of shrink, where not dense.
    pub shrink: Vec<Chunks>,
    /// The launch of a dense shrink.
    pub dense: Option<Chunks>,
    /// The launches of expand.
    pub expand: Vec<Chunks>,
    /// Positions of each segment.
    lengths: Vec<u32>,
}

impl BatchPlan {
    /// The plan of `segments`; `residents[slot]` is the adapter's number in the pool.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more routes than 32-bit tables hold.
    pub(crate) fn new(segments: &Segments, residents: &[u32]) -> Result<Self> {
        let positions = segments.count();
        // Sixteen words per position bound the tables: five lists, a chunk of four words in each of two lists, and a
        // dense one.
        if positions > (u32::MAX / 16) as usize {
            return Err(Error::TooLarge {
                what: "routes of one batch".into(),
                needed_bytes: positions as u64,
                limit_bytes: u64::from(u32::MAX / 16),
            });
        }
        let mut plan = Self { positions: positions as u32, ..Self::default() };
        plan.lengths = segments.segments.iter().map(|segment| segment.positions.len() as u32).collect();
        let mut slots = vec![0; positions];
        for Segment { slot, positions } in &segments.segments {
            slots[positions.clone()].fill(residents[*slot]);
        }
        plan.rows_at = plan.append(segments.rows.iter().copied());
        plan.scales_at = plan.append(segments.scales.iter().map(|scale| scale.to_bits()));
        plan.slots_at = plan.append(slots);
        plan.by_row_at = plan.append(segments.by_row.iter().copied());
        plan.used_at = plan.append(segments.segments.iter().map(|segment| residents[segment.slot]));
        plan.used = segments.segments.len() as u32;

        let families = Families::choose(&plan.lengths);
        let [small, large]: [Vec<&Segment>; 2] =
            [true, false].map(|is| segments.segments.iter().filter(|s| families.is_small(s) == is).collect());
        for (family, segments) in [(families.small, small), (families.large, large)] {
            let chunks = plan.cut(family, &segments, residents);
            plan.shrink.extend(chunks);
            // Expand has a kernel of its own for one row, and rows with several routes need it.
            plan.expand.extend(chunks.filter(|chunks| chunks.family != Family::Stream(1)));
        }
        let is_single = plan.shrink.iter().any(|chunks| chunks.family == Family::Stream(1));
        if segments.has_several {
            plan.expand.clear();
        }
        if segments.has_several || is_single {
            let chunks = plan.routed(segments, segments.has_several);
            plan.expand.extend(chunks);
        }
        let has_tiles = plan.shrink.iter().any(|chunks| matches!(chunks.family, Family::Tile(_)));
        if has_tiles && plan.used as usize <= MOST_DENSE && positions <= 64 {
            let first = plan.append([0, 0, positions as u32, 0]);
            let family = Family::Dense(if positions <= 32 { 32 } else { 64 });
            plan.dense = Some(Chunks { family, first, count: 1 });
        }
        Ok(plan)
    }

    fn append(&mut self, words: impl IntoIterator<Item = u32>) -> u32 {
        let first = self.words.len() as u32;
        self.words.extend(words);
        first
    }

    /// Chunks of `segments`: adapter, first position, count.
    fn cut(&mut self, family: Family, segments: &[&Segment], residents: &[u32]) -> Option<Chunks> {
        let most = match family {
            Family::Stream(rows) | Family::Tile(rows) | Family::Dense(rows) => rows as usize,
            Family::Routed => 1,
        };
        let first = self.words.len() as u32;
        for Segment { slot, positions } in segments {
            for begin in positions.clone().step_by(most) {
                let count = most.min(positions.end - begin);
                self.words.extend([residents[*slot], begin as u32, count as u32, 0]);
            }
        }
        let count = (self.words.len() as u32 - first) / 4;
        (count > 0).then_some(Chunks { family, first, count })
    }

    /// Chunks of rows: row, first of its positions in `by_row`, count. Without `all`, those of segments with one row.
    fn routed(&mut self, segments: &Segments, all: bool) -> Option<Chunks> {
        let first = self.words.len() as u32;
        if all {
            for (row, bounds) in segments.row_starts.windows(2).enumerate() {
                if bounds[1] > bounds[0] {
                    self.words.extend([row as u32, bounds[0], bounds[1] - bounds[0], 0]);
                }
            }
        } else {
            for segment in segments.segments.iter().filter(|segment| segment.positions.len() == 1) {
                let row = segments.rows[segment.positions.start];
                self.words.extend([row, segments.row_starts[row as usize], 1, 0]);
            }
        }
        let count = (self.words.len() as u32 - first) / 4;
        (count > 0).then_some(Chunks { family: Family::Routed, first, count })
    }

    /// How shrink goes for a group: `ranks[i]` is the rank of segment `i`, all projections together.
    pub(crate) fn shrink_of(&self, inputs: usize, ranks: &[u32], limits: &Limits) -> ShrinkPlan {
        let most = ranks.iter().copied().max().unwrap_or(0);
        let total: u32 = ranks.iter().sum();
        let columns = tile_columns(most);
        let ragged = |rows: u32| {
            let tiles = |(length, rank): (&u32, &u32)| length.div_ceil(rows) * rank.div_ceil(columns);
            self.lengths.iter().zip(ranks).map(tiles).sum::<u32>()
        };
        let (mut launches, mut columns_of, mut tiles) =
            (self.shrink.clone(), columns, most.div_ceil(columns));
        if let (Some(dense), [Chunks { family: Family::Tile(rows), .. }]) = (self.dense, &self.shrink[..])
            && (total <= 64 && ragged(*rows) > 1)
        {
            // One tile reads all weights and all rows once; several would read them more often than segments do.
            (launches, columns_of) = (vec![dense], tile_columns(total));
            tiles = total.div_ceil(columns_of);
        }
        let blocks = (inputs as u32).div_ceil(BLOCK).max(1);
        let tiles_of = |chunks: &Chunks| match chunks.family {
            Family::Stream(_) | Family::Routed => 1,
            Family::Tile(_) | Family::Dense(_) => tiles.max(1),
        };
        let workgroups: u64 =
            launches.iter().map(|chunks| u64::from(chunks.count) * u64::from(tiles_of(chunks))).sum();
        let split_bytes = 4 * u64::from(blocks) * u64::from(self.positions) * u64::from(most);
        let is_within = split_bytes <= shrunk_limit(limits)
            && blocks * tiles.max(most / 32).max(1) <= limits.max_workgroups_per_dimension;
        // Blocks are added in order, by one workgroup or by expand: anything between would be another order.
        let is_small = workgroups < WANTED_WORKGROUPS && is_within;
        let blocks_per_plane = if is_small { 1 } else { blocks };
        let rank_groups = if is_small { (most / 32).max(1) } else { 1 };
        ShrinkPlan {
            launches,
            blocks,
            blocks_per_plane,
            planes: blocks.div_ceil(blocks_per_plane),
            stride: most,
            columns: columns_of,
            column_tiles: tiles.max(1),
            rank_groups,
        }
    }
}

/// How shrink goes for one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShrinkPlan {
    /// The launches.
    pub launches: Vec<Chunks>,
    /// Blocks of all features.
    pub blocks: u32,
    /// Blocks that one workgroup adds up.
    pub blocks_per_plane: u32,
    /// Sums per value, to be added in order.
    pub planes: u32,
    /// Values from position to position: the largest rank.
    pub stride: u32,
    /// Rank vectors of one tile.
    pub columns: u32,
    /// Tiles of rank vectors.
    pub column_tiles: u32,
    /// Groups of rank vectors, of 32 at least, for families without tiles: a few rows of a high rank fill a device.
    pub rank_groups: u32,
}

impl ShrinkPlan {
    /// Bytes of what shrink makes for `positions`.
    pub(crate) fn shrunk_bytes(&self, positions: u32) -> u64 {
        4 * u64::from(self.planes) * u64::from(positions) * u64::from(self.stride)
    }
}

/// Rank vectors of one tile of shrink.
fn tile_columns(rank: u32) -> u32 {
    if rank <= 32 { 32 } else { 64 }
}

/// The families of segments up to [`STREAM_ROWS`] long and of longer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Families {
    small: Family,
    large: Family,
    tile_rows: u32,
    longest_small: u32,
}

impl Families {
    /// From the lengths of the segments:
    ///
    /// | segments | small | large |
    /// |---|---|---|
    /// | all of one row | `Stream(1)` | |
    /// | all of at most 4 rows | `Stream(4)` | |
    /// | long ones, and few small ones beside their tiles | `Tile` | `Tile` |
    /// | otherwise | `Stream(4)` | `Tile` |
    fn choose(lengths: &[u32]) -> Self {
        let limit = STREAM_ROWS as u32;
        let long: Vec<u32> = lengths.iter().copied().filter(|length| *length > limit).collect();
        let long_rows: u32 = long.iter().sum();
        let tile_rows = if long_rows > 32 * long.len() as u32 { 64 } else { 32 };
        let tile = Family::Tile(tile_rows);
        let tiles: u32 = long.iter().map(|length| length.div_ceil(tile_rows)).sum();
        let small = lengths.len() as u32 - long.len() as u32;
        if long.is_empty() {
            let rows = if lengths.iter().all(|length| *length == 1) { 1 } else { limit };
            return Self { small: Family::Stream(rows), large: tile, tile_rows, longest_small: limit };
        }
        if small <= 8 + 2 * tiles {
            return Self { small: tile, large: tile, tile_rows, longest_small: 0 };
        }
        Self { small: Family::Stream(limit), large: tile, tile_rows, longest_small: limit }
    }

    fn is_small(&self, segment: &Segment) -> bool {
        segment.positions.len() <= self.longest_small as usize
    }
}

/// Workgroups of `chunks` along y and z, and how many lie along y.
pub(crate) fn grid_of(chunks: u32, limits: &Limits) -> [u32; 2] {
    let across = chunks.min(limits.max_workgroups_per_dimension).max(1);
    [across, chunks.div_ceil(across)]
}

/// What one row takes at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowSizes {
    /// Routes.
    pub routes: usize,
    /// Elements of x, padded.
    pub inputs: usize,
    /// Elements of y, padded, all projections of a group.
    pub outputs: usize,
    /// Rank vectors of one route, all projections of a group.
    pub rank: usize,
}

/// Rows of one window: x, y, what shrink makes and the tables stay within a binding each, and one dispatch within some 50 ms of a
/// device with 1 TFLOP/s.
pub(crate) fn window_rows(sizes: &RowSizes, limits: &Limits) -> usize {
    let [routes, inputs, outputs, rank] =
        [sizes.routes, sizes.inputs, sizes.outputs, sizes.rank].map(|size| size.max(1) as u64);
    let binding = limits.share_bytes();
    // Kernels count elements in 32 bits, whatever a binding holds.
    let by_bytes = binding.min(1 << 33) / (4 * inputs.max(outputs));
    // Tables take at most 16 words per route: five lists, a chunk of four words in each of two lists, and a dense one.
    let by_tables = binding / (64 * routes);
    let by_shrunk = shrunk_limit(limits) / (4 * routes * rank);
    let by_time = 50_000_000_000 / (2 * routes * rank * inputs.max(outputs));
    by_bytes.min(by_tables).min(by_shrunk).min(by_time.max(64)).clamp(1, 1 << 24) as usize
}

/// Most bytes of what shrink makes.
fn shrunk_limit(limits: &Limits) -> u64 {
    limits.max_binding_bytes.min(limits.budget_bytes / 8).min(1 << 28)
}

#[cfg(test)]
mod tests;
