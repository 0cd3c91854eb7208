//! Shapes of the GPU tile, and which one a problem gets.

use crate::device::Limits;

/// Features of one chain of additions, for shapes that sum in chunks.
pub(crate) const CHUNK: u32 = 64;

/// What a tile makes of the features of a pair of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Combine {
    /// Sum of `x * y`.
    Dot,
    /// Sum of `|x - y|`.
    Manhattan,
    /// Largest `|x - y|`.
    Chebyshev,
}

impl Combine {
    /// Its name in the templates.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dot => "dot",
            Self::Manhattan => "manhattan",
            Self::Chebyshev => "chebyshev",
        }
    }
}

/// How a tile is cut among the invocations of a workgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TileShape {
    /// Rows of the tile.
    pub rows: u32,
    /// Columns of the tile.
    pub columns: u32,
    /// Rows per invocation, a multiple of 4.
    pub invocation_rows: u32,
    /// Columns per invocation, a multiple of 4.
    pub invocation_columns: u32,
    /// Depth per step of the shared panels.
    pub depth_step: u32,
}

/// Every shape that can be chosen, the most demanding last.
pub(crate) const SHAPES: [TileShape; 4] = [
    TileShape { rows: 32, columns: 32, invocation_rows: 4, invocation_columns: 4, depth_step: 8 },
    TileShape { rows: 64, columns: 32, invocation_rows: 4, invocation_columns: 4, depth_step: 16 },
    TileShape { rows: 64, columns: 64, invocation_rows: 4, invocation_columns: 4, depth_step: 16 },
    TileShape { rows: 128, columns: 128, invocation_rows: 8, invocation_columns: 8, depth_step: 8 },
];

impl TileShape {
    /// Invocations that share a row.
    pub const fn threads_across(&self) -> u32 {
        self.columns / self.invocation_columns
    }

    /// Invocations of a workgroup.
    pub const fn invocations(&self) -> u32 {
        self.rows / self.invocation_rows * self.threads_across()
    }

    /// Vectors of four rows per depth in the shared panel of x, one more than needed: neighbouring depths then lie in
    /// different banks.
    pub const fn x_stride(&self) -> u32 {
        self.rows / 4 + 1
    }

    /// As [`Self::x_stride`] for y.
    pub const fn y_stride(&self) -> u32 {
        self.columns / 4 + 1
    }

    /// Vectors of x that each invocation brings per step.
    pub const fn x_loads(&self) -> u32 {
        self.rows / 4 * self.depth_step / self.invocations()
    }

    /// Vectors of y that each invocation brings per step.
    pub const fn y_loads(&self) -> u32 {
        self.columns / 4 * self.depth_step / self.invocations()
    }

    /// Whether each pair has one chain of additions per [`CHUNK`] features, not one over the whole depth. The totals
    /// need as many registers again as the chains, which 8 x 8 pairs per invocation do not leave.
    pub const fn sums_in_chunks(&self) -> bool {
        self.invocation_rows * self.invocation_columns <= 16
    }

    /// Steps of one chunk; 0 where sums are not cut in chunks.
    pub const fn chunk_steps(&self) -> u32 {
        if self.sums_in_chunks() { CHUNK / self.depth_step } else { 0 }
    }

    /// Longest chain of additions that the product of two rows goes through, for the error bound: at most [`CHUNK`]
    /// within a chunk, then at most one per chunk. (Each starts by adding to 0, and features beyond the end add 0:
    /// neither rounds.) A compiler that does not keep the order of sums may make one chain of them all.
    pub fn chain(&self, depth: usize, keeps_order: bool) -> usize {
        let chunk = CHUNK as usize;
        if self.sums_in_chunks() && keeps_order { depth.min(chunk) + depth.div_ceil(chunk) } else { depth }
    }

    /// Bytes of workgroup memory: two panels, and a value pair and a column per invocation.
    pub const fn shared_bytes(&self) -> u32 {
        16 * self.depth_step * (self.x_stride() + self.y_stride()) + 12 * self.invocations()
    }

    /// Whether a device can run it.
    pub fn fits(&self, limits: &Limits) -> bool {
        self.invocations() <= limits.max_invocations_per_workgroup
            && self.shared_bytes() <= limits.workgroup_storage_bytes
    }

    /// The shape for tiles of `rows` by `columns`: the largest that fits the device and is not mostly padding.
    pub fn choose(rows: usize, columns: usize, limits: &Limits) -> Self {
        Self::choose_among(|_| true, rows, columns, limits)
    }

    /// As [`Self::choose`] among the shapes that sum in chunks: they all add in the same order, so that a value does
    /// not depend on the choice.
    pub fn choose_in_chunks(rows: usize, columns: usize, limits: &Limits) -> Self {
        Self::choose_among(Self::sums_in_chunks, rows, columns, limits)
    }

    fn choose_among(
        is_allowed: impl Fn(&Self) -> bool,
        rows: usize,
        columns: usize,
        limits: &Limits,
    ) -> Self {
        let is_filled = |side: u32, count: usize| side as usize <= count.next_multiple_of(32).max(32);
        let is_good = |shape: &&Self| {
            // The largest shape needs enough row tiles to fill a GPU.
            let enough_rows = shape.rows <= 64 || rows >= 128 * 256;
            let is_full = is_filled(shape.rows, rows) && is_filled(shape.columns, columns);
            is_allowed(shape) && shape.fits(limits) && enough_rows && is_full
        };
        SHAPES.iter().rev().find(is_good).copied().unwrap_or(SHAPES[0])
    }

    /// The values that the templates need.
    pub fn context(&self, combine: Combine) -> minijinja::Value {
        minijinja::context! {
            combine => combine.name(),
            stage => "tile/stage.wgsl",
            fold_every => 0,
            chunk_steps => self.chunk_steps(),
            tile_rows => self.rows,
            tile_columns => self.columns,
            invocation_rows => self.invocation_rows,
            invocation_columns => self.invocation_columns,
            depth_step => self.depth_step,
            invocations => self.invocations(),
            threads_across => self.threads_across(),
            x_stride => self.x_stride(),
            y_stride => self.y_stride(),
            x_loads => self.x_loads(),
            y_loads => self.y_loads(),
        }
    }
}

// Loads divide evenly, every invocation owns whole vectors, and all chunks are of the same length. The smallest shape,
// which is chosen where nothing else fits, sums in chunks.
const _: () = {
    let mut at = 0;
    while at < SHAPES.len() {
        let shape = SHAPES[at];
        assert!(shape.x_loads() * shape.invocations() == shape.rows / 4 * shape.depth_step);
        assert!(shape.y_loads() * shape.invocations() == shape.columns / 4 * shape.depth_step);
        assert!(shape.chunk_steps() * shape.depth_step == if shape.sums_in_chunks() { CHUNK } else { 0 });
        assert!(shape.invocation_rows.is_multiple_of(4) && shape.invocation_columns.is_multiple_of(4));
        at += 1;
    }
    assert!(SHAPES[0].sums_in_chunks());
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_problems_get_small_tiles() {
        let limits = Limits::for_tests();
        assert_eq!(TileShape::choose(1000, 10, &limits).columns, 32);
        assert_eq!(TileShape::choose(1000, 64, &limits).columns, 64);
        assert_eq!(TileShape::choose(1_000_000, 1000, &limits).rows, 128);
        assert_eq!(TileShape::choose_in_chunks(1_000_000, 1000, &limits), SHAPES[2]);
        assert_eq!(TileShape::choose_in_chunks(1_000_000, 32, &limits), SHAPES[1]);
        assert_eq!(TileShape::choose_in_chunks(32, 1_000_000, &limits), SHAPES[0]);
        let tiny = Limits { workgroup_storage_bytes: 8192, max_invocations_per_workgroup: 128, ..limits };
        let shape = TileShape::choose(1_000_000, 1000, &tiny);
        assert!(shape.fits(&tiny), "{shape:?}");
    }
    #[test]
    fn chunks_shorten_the_chain() {
        let [chunked, .., plain] = SHAPES;
        for (depth, chain) in [(1, 2), (63, 64), (64, 65), (65, 66), (128, 66), (784, 64 + 13)] {
            assert_eq!(chunked.chain(depth, true), chain, "{depth}");
            assert_eq!((chunked.chain(depth, false), plain.chain(depth, true)), (depth, depth));
        }
    }
}
