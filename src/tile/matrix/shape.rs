//! How a tile is dealt out to matrix units. Pure.

use crate::device::{Limits, MatrixUnits};

/// Rows and columns of the tile.
pub(crate) const SIDE: u32 = 64;
/// Invocations of a workgroup: a multiple of every subgroup's size, as Vulkan demands.
pub(crate) const INVOCATIONS: u32 = 128;
/// Depths of a row that workgroup memory may keep for all columns.
const RESIDENT_DEPTHS: [u32; 3] = [32, 64, 128];
/// `f16` between the rows of a panel beyond its depth: rows then start in different banks, at multiples of 16 bytes.
const PADDING: u32 = 8;
/// `f32` between the columns of the tile beyond its rows.
const TILE_STRIDE: u32 = SIDE + 4;

/// A tile of 64 rows by 64 columns on matrix units of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MatrixTile {
    /// Rows, columns and depth of one matrix.
    pub size: u32,
    /// Invocations of a subgroup. Where a device forms larger ones the tile takes more turns.
    pub subgroup: u32,
    /// Depth per step of the shared panels.
    pub depth_step: u32,
    /// Depth of the rows that stay in workgroup memory for all columns; 0 where rows are staged like columns.
    pub resident: u32,
    /// Plain WGSL stands in for the units.
    pub is_plain: bool,
}

impl MatrixTile {
    /// The tile for `depth` features.
    pub fn choose(units: &MatrixUnits, depth: usize, limits: &Limits) -> Option<Self> {
        // Half a step of zeros is worth avoiding where the depth is small.
        let depth_step = if (depth - 1) % 32 < 16 && depth <= 128 { 16 } else { 32 };
        let size = units.size;
        let plain = Self {
            size,
            subgroup: units.smallest_subgroup,
            depth_step,
            resident: 0,
            is_plain: units.is_plain,
        };
        let padded = plain.padded_depth(depth);
        let resident = RESIDENT_DEPTHS.into_iter().find(|&resident| padded <= resident as usize);
        let tiles = resident.map(|resident| Self { resident, ..plain }).into_iter().chain([plain]);
        tiles.into_iter().find(|tile| tile.fits(limits) && tile.is_sound(units))
    }

    /// Every tile for units of one kind, whatever the limits.
    #[cfg(any(test, feature = "test-hooks"))]
    pub fn all(units: &MatrixUnits) -> Vec<Self> {
        let mut all = Vec::new();
        for depth_step in [16, 32] {
            for resident in [0].into_iter().chain(RESIDENT_DEPTHS) {
                let (size, subgroup) = (units.size, units.smallest_subgroup);
                all.push(Self { size, subgroup, depth_step, resident, is_plain: units.is_plain });
            }
        }
        all
    }

    /// Features with the zeros behind them.
    pub fn padded_depth(&self, depth: usize) -> usize {
        depth.next_multiple_of(self.depth_step as usize)
    }

    /// Rows or columns with the zeros behind them.
    pub fn padded(count: usize) -> usize {
        count.next_multiple_of(SIDE as usize)
    }

    /// Bytes of so many rows or columns of `f16`, padded.
    pub fn padded_bytes(&self, count: usize, depth: usize) -> u64 {
        2 * Self::padded(count) as u64 * self.padded_depth(depth) as u64
    }

    /// Blocks that a tile is cut into: one per subgroup, where a block is a matrix at least.
    pub const fn blocks(&self) -> u32 {
        let most = (SIDE / self.size) * (SIDE / self.size);
        let subgroups = INVOCATIONS / self.subgroup;
        if subgroups < most { subgroups } else { most }
    }

    /// Blocks beside each other: as square as a power of two allows.
    pub const fn blocks_across(&self) -> u32 {
        1 << self.blocks().ilog2().div_ceil(2)
    }

    /// Matrices of a block below each other.
    pub const fn block_rows(&self) -> u32 {
        SIDE / self.size / (self.blocks() / self.blocks_across())
    }

    /// Matrices of a block beside each other.
    pub const fn block_columns(&self) -> u32 {
        SIDE / self.size / self.blocks_across()
    }

    const fn x_stride(&self) -> u32 {
        PADDING + if self.resident > 0 { self.resident } else { self.depth_step }
    }

    const fn y_stride(&self) -> u32 {
        PADDING + self.depth_step
    }

    /// Bytes of workgroup memory.
    pub const fn shared_bytes(&self) -> u32 {
        let panels = 2 * SIDE * (self.x_stride() + self.y_stride());
        let tile = 4 * SIDE * TILE_STRIDE + 8 * SIDE;
        panels + tile + 4 * INVOCATIONS + 4
    }

    fn fits(&self, limits: &Limits) -> bool {
        INVOCATIONS <= limits.max_invocations_per_workgroup
            && self.shared_bytes() <= limits.workgroup_storage_bytes
    }

    /// Whether the units' subgroups divide the workgroup and the matrices the steps.
    fn is_sound(&self, units: &MatrixUnits) -> bool {
        matches!(self.size, 8 | 16)
            && units.largest_subgroup <= INVOCATIONS
            && INVOCATIONS.is_multiple_of(self.subgroup)
            && self.blocks() == INVOCATIONS / self.subgroup
            && (self.size * self.size).is_multiple_of(self.subgroup)
    }

    /// The values that the template needs. `fault` is one of `FAULTS` of the self-test, or nothing.
    pub fn context(&self, fault: &str) -> minijinja::Value {
        minijinja::context! {
            size => self.size,
            subgroup => self.subgroup,
            depth_step => self.depth_step,
            resident => self.resident > 0,
            plain => self.is_plain,
            fault => fault,
            invocations => INVOCATIONS,
            blocks => self.blocks(),
            blocks_across => self.blocks_across(),
            block_rows => self.block_rows(),
            block_columns => self.block_columns(),
            x_stride => self.x_stride(),
            y_stride => self.y_stride(),
            tile_stride => TILE_STRIDE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(size: u32, subgroup: u32) -> MatrixUnits {
        MatrixUnits { size, smallest_subgroup: subgroup, largest_subgroup: subgroup, is_plain: false }
    }

    #[test]
    fn blocks_cover_the_tile() {
        for size in [8, 16] {
            for subgroup in [4, 8, 16, 32, 64, 128] {
                for tile in MatrixTile::all(&units(size, subgroup)) {
                    let down = tile.blocks() / tile.blocks_across();
                    assert_eq!(down * tile.block_rows() * size, SIDE, "{tile:?}");
                    assert_eq!(tile.blocks_across() * tile.block_columns() * size, SIDE, "{tile:?}");
                    assert!(tile.blocks() <= INVOCATIONS / subgroup, "{tile:?}");
                    assert!(tile.block_rows() >= tile.block_columns(), "{tile:?}");
                }
            }
        }
    }

    #[test]
    fn rows_stay_in_workgroup_memory_where_there_is_room() {
        let nvidia = Limits { workgroup_storage_bytes: 48 << 10, ..Limits::for_tests() };
        let apple = Limits { workgroup_storage_bytes: 32 << 10, ..Limits::for_tests() };
        let chosen = |depth, limits| {
            let tile = MatrixTile::choose(&units(16, 32), depth, limits).unwrap();
            (tile.depth_step, tile.resident, tile.padded_depth(depth))
        };
        assert_eq!(chosen(1, &nvidia), (16, 32, 16));
        assert_eq!(chosen(16, &nvidia), (16, 32, 16));
        assert_eq!(chosen(17, &nvidia), (32, 32, 32));
        assert_eq!(chosen(40, &nvidia), (16, 64, 48));
        assert_eq!(chosen(128, &nvidia), (32, 128, 128));
        assert_eq!(chosen(129, &nvidia), (32, 0, 160));
        assert_eq!(chosen(784, &nvidia), (32, 0, 800));
        assert_eq!(chosen(128, &apple), (32, 0, 128));
        assert_eq!(chosen(40, &apple), (16, 64, 48));
        let tiny = Limits { workgroup_storage_bytes: 16 << 10, ..Limits::for_tests() };
        assert_eq!(MatrixTile::choose(&units(16, 32), 64, &tiny), None);
    }
}
