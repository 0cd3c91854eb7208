//! Shapes of the GPU tile, and which one a problem gets.

use crate::device::Limits;

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
        let wasteful = |shape: &&Self| {
            // The largest shape needs enough row tiles to fill a GPU.
            let enough_rows = shape.rows <= 64 || rows >= 128 * 256;
            enough_rows && shape.columns as usize <= columns.next_multiple_of(32).max(32)
        };
        SHAPES.iter().rev().filter(|shape| shape.fits(limits)).find(wasteful).copied().unwrap_or(SHAPES[0])
    }

    /// The values that the templates need.
    #[cfg(feature = "gpu")]
    pub fn context(&self) -> minijinja::Value {
        minijinja::context! {
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

// Loads divide evenly, and every invocation owns whole vectors.
const _: () = {
    let mut at = 0;
    while at < SHAPES.len() {
        let shape = SHAPES[at];
        assert!(shape.x_loads() * shape.invocations() == shape.rows / 4 * shape.depth_step);
        assert!(shape.y_loads() * shape.invocations() == shape.columns / 4 * shape.depth_step);
        assert!(shape.invocation_rows.is_multiple_of(4) && shape.invocation_columns.is_multiple_of(4));
        at += 1;
    }
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
        let tiny = Limits { workgroup_storage_bytes: 8192, max_invocations_per_workgroup: 128, ..limits };
        let shape = TileShape::choose(1_000_000, 1000, &tiny);
        assert!(shape.fits(&tiny), "{shape:?}");
    }
}
