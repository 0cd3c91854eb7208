//! How a tile is dealt out to matrix units. Pure.

use crate::device::{Limits, MatrixUnits};
use crate::tile::choice::cut::Cut;
use crate::tile::choice::shape::WIDEST;

/// Rows and columns of a tile that goes by way of workgroup memory.
const SIDE: u32 = 64;
/// Most features of rows that subgroups hold in registers.
const MOST_HELD: usize = 128;
/// Subgroups of a workgroup that folds in registers.
const SUBGROUPS: u32 = 8;
/// Matrices of sums of one of them, below each other.
const ROW_BLOCKS: u32 = 2;
/// Columns of a tile whose rows are held.
const HELD_COLUMNS: u32 = 64;
/// Subgroups beside each other where both operands are streamed, and their matrices of sums beside each other.
const STREAMED_ACROSS: u32 = 2;
const STREAMED_COLUMN_BLOCKS: u32 = 4;
/// Invocations of such a workgroup: a multiple of every subgroup's size, as Vulkan demands.
const INVOCATIONS: u32 = 128;
/// Depths of a row that workgroup memory may keep for all columns.
const RESIDENT_DEPTHS: [u32; 3] = [32, 64, 128];
/// `f16` between the rows of a panel beyond its depth: rows then start in different banks, at multiples of 16 bytes.
const PADDING: u32 = 8;
/// `f32` between the columns of the tile beyond its rows.
const TILE_STRIDE: u32 = SIDE + 4;

/// Where a tile keeps its rows and what it folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Placement {
    /// Sums go through workgroup memory to the fold; rows of this padded depth stay there for all columns, 0: none.
    Shared(u32),
    /// Subgroups hold rows of this padded depth in registers, and fold there.
    Held(u32),
    /// Both operands pass by in workgroup memory; subgroups fold in registers.
    Streamed,
}

/// A tile on matrix units of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MatrixTile {
    /// Rows, columns and depth of one matrix.
    pub size: u32,
    /// Invocations of a subgroup. Where a device forms larger ones the tile takes more turns.
    pub subgroup: u32,
    /// Depth per step of the shared panels.
    pub depth_step: u32,
    /// Where its operands and sums are.
    pub placement: Placement,
    /// Plain WGSL stands in for the units.
    pub is_plain: bool,
}

impl MatrixTile {
    /// The tile for `depth` features.
    pub fn choose(units: &MatrixUnits, depth: usize, limits: &Limits) -> Option<Self> {
        let tile = |depth_step, placement| Self::new(units, depth_step, placement);
        let held = depth.next_multiple_of(16);
        let held = (held <= MOST_HELD).then(|| tile(16, Placement::Held(held as u32)));
        // Half a step of zeros is worth avoiding where the depth is small.
        let depth_step = if (depth - 1) % 32 < 16 && depth <= 128 { 16 } else { 32 };
        let padded = depth.next_multiple_of(depth_step as usize);
        let resident = RESIDENT_DEPTHS.into_iter().find(|&resident| padded <= resident as usize);
        let resident = resident.map(|resident| tile(depth_step, Placement::Shared(resident)));
        // Where the depth is small, most of a streamed tile's work would be to bring its rows again.
        let streamed = (depth > MOST_HELD).then(|| tile(32, Placement::Streamed));
        let mut tiles =
            held.into_iter().chain(streamed).chain(resident).chain([tile(depth_step, Placement::Shared(0))]);
        tiles.find(|tile| tile.fits(limits) && tile.is_sound(units))
    }

    fn new(units: &MatrixUnits, depth_step: u32, placement: Placement) -> Self {
        let MatrixUnits { size, smallest_subgroup: subgroup, is_plain, .. } = *units;
        Self { size, subgroup, depth_step, placement, is_plain }
    }

    /// Every tile for units of one kind, whatever the limits.
    #[cfg(any(test, feature = "test-hooks"))]
    pub fn all(units: &MatrixUnits) -> Vec<Self> {
        let shared = [0].into_iter().chain(RESIDENT_DEPTHS).map(Placement::Shared);
        let mut all: Vec<Self> = shared
            .flat_map(|placement| [16, 32].map(|depth_step| Self::new(units, depth_step, placement)))
            .collect();
        let held = (16..=MOST_HELD as u32).step_by(16).map(Placement::Held);
        all.extend(held.map(|placement| Self::new(units, 16, placement)));
        all.push(Self::new(units, 32, Placement::Streamed));
        all
    }

    /// Subgroups beside each other, where they fold in registers.
    const fn across(&self) -> u32 {
        if matches!(self.placement, Placement::Streamed) { STREAMED_ACROSS } else { 1 }
    }

    /// Matrices of sums of a subgroup beside each other, where it folds in registers.
    const fn column_blocks(&self) -> u32 {
        if matches!(self.placement, Placement::Streamed) { STREAMED_COLUMN_BLOCKS } else { 1 }
    }

    /// Rows of the tile.
    pub const fn rows(&self) -> u32 {
        match self.placement {
            Placement::Shared(_) => SIDE,
            Placement::Held(_) | Placement::Streamed => SUBGROUPS / self.across() * ROW_BLOCKS * self.size,
        }
    }

    /// Columns of the tile.
    pub const fn columns(&self) -> u32 {
        match self.placement {
            Placement::Shared(_) => SIDE,
            Placement::Held(_) => HELD_COLUMNS,
            Placement::Streamed => self.across() * self.column_blocks() * self.size,
        }
    }

    /// Its rows and columns.
    pub const fn cut(&self) -> Cut {
        Cut { rows: self.rows(), columns: self.columns() }
    }

    /// Invocations of a workgroup.
    pub const fn invocations(&self) -> u32 {
        if matches!(self.placement, Placement::Shared(_)) { INVOCATIONS } else { SUBGROUPS * self.subgroup }
    }

    /// Features with the zeros behind them.
    pub fn padded_depth(&self, depth: usize) -> usize {
        depth.next_multiple_of(self.depth_step as usize)
    }

    /// Columns with the zeros behind them: whole tiles of every kind.
    pub fn padded_columns(count: usize) -> usize {
        count.next_multiple_of(WIDEST as usize)
    }

    /// Bytes of so many rows of `f16`, padded; columns want no more.
    pub fn padded_bytes(&self, rows: usize, depth: usize) -> u64 {
        2 * rows.next_multiple_of(self.rows() as usize) as u64 * self.padded_depth(depth) as u64
    }

    /// Blocks that a shared tile is cut into: one per subgroup, where a block is a matrix at least.
    const fn blocks(&self) -> u32 {
        let most = (SIDE / self.size) * (SIDE / self.size);
        let subgroups = INVOCATIONS / self.subgroup;
        if subgroups < most { subgroups } else { most }
    }

    /// Blocks beside each other: as square as a power of two allows.
    const fn blocks_across(&self) -> u32 {
        1 << self.blocks().ilog2().div_ceil(2)
    }

    /// Matrices of a block below each other.
    const fn block_rows(&self) -> u32 {
        SIDE / self.size / (self.blocks() / self.blocks_across())
    }

    /// Matrices of a block beside each other.
    const fn block_columns(&self) -> u32 {
        SIDE / self.size / self.blocks_across()
    }

    /// `f16` from row to row of a panel.
    const fn x_stride(&self) -> u32 {
        PADDING
            + if let Placement::Shared(resident @ 1..) = self.placement { resident } else { self.depth_step }
    }

    /// As [`Self::x_stride`] for columns.
    const fn y_stride(&self) -> u32 {
        PADDING + if let Placement::Held(depth) = self.placement { depth } else { self.depth_step }
    }

    /// Elements of a matrix of sums that each invocation of its subgroup holds.
    const fn elements(&self) -> u32 {
        self.size * self.size / self.subgroup
    }

    /// Bytes of workgroup memory.
    pub const fn shared_bytes(&self) -> u32 {
        if !matches!(self.placement, Placement::Shared(_)) {
            let x = if matches!(self.placement, Placement::Streamed) {
                2 * self.rows() * self.y_stride()
            } else {
                0
            };
            let y = self.columns() * (2 * self.y_stride() + 8);
            let places = if self.is_plain { 0 } else { 4 * self.size * self.size };
            return x + y + places + 12 * SUBGROUPS * self.size * self.size;
        }
        let panels = 2 * SIDE * (self.x_stride() + self.y_stride());
        let tile = 4 * SIDE * TILE_STRIDE + 8 * SIDE;
        panels + tile + 4 * INVOCATIONS + 16
    }

    fn fits(&self, limits: &Limits) -> bool {
        self.invocations() <= limits.max_invocations_per_workgroup
            && self.shared_bytes() <= limits.workgroup_storage_bytes
    }

    /// Whether the units' subgroups divide the workgroup and the matrices the steps.
    fn is_sound(&self, units: &MatrixUnits) -> bool {
        if !matches!(self.placement, Placement::Shared(_)) {
            // The number of a matrix's elements per invocation is part of the text.
            let is_fixed = units.smallest_subgroup == units.largest_subgroup;
            let is_dealt = self.elements() * self.subgroup == self.size * self.size;
            return matches!(self.size, 8 | 16) && is_fixed && is_dealt && units.reads_elements;
        }
        matches!(self.size, 8 | 16)
            && units.largest_subgroup <= INVOCATIONS
            && INVOCATIONS.is_multiple_of(self.subgroup)
            && self.blocks() == INVOCATIONS / self.subgroup
            && (self.size * self.size).is_multiple_of(self.subgroup)
    }

    /// The values that its template needs. `fault` is one of `FAULTS` of the self-test, or nothing.
    pub fn context(&self, fault: &str) -> minijinja::Value {
        let every = minijinja::context! {
            size => self.size,
            subgroup => self.subgroup,
            depth_step => self.depth_step,
            plain => self.is_plain,
            fault => fault,
            invocations => self.invocations(),
        };
        if let Placement::Shared(resident) = self.placement {
            let own = minijinja::context! {
                resident => resident > 0,
                blocks => self.blocks(),
                blocks_across => self.blocks_across(),
                block_rows => self.block_rows(),
                block_columns => self.block_columns(),
                x_stride => self.x_stride(),
                y_stride => self.y_stride(),
                tile_stride => TILE_STRIDE,
            };
            return minijinja::context! { ..own, ..every };
        }
        let own = minijinja::context! {
            depth => if let Placement::Held(depth) = self.placement { depth } else { 0 },
            elements => self.elements(),
            subgroups => SUBGROUPS,
            across => self.across(),
            blocks => ROW_BLOCKS,
            column_blocks => self.column_blocks(),
            tile_rows => self.rows(),
            tile_columns => self.columns(),
            // In vectors of four.
            y_stride => self.y_stride() / 4,
        };
        minijinja::context! { ..own, ..every }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(size: u32, subgroup: u32) -> MatrixUnits {
        MatrixUnits {
            size,
            smallest_subgroup: subgroup,
            largest_subgroup: subgroup,
            reads_elements: false,
            is_plain: false,
        }
    }

    #[test]
    fn blocks_cover_the_tile() {
        for size in [8, 16] {
            for subgroup in [4, 8, 16, 32, 64, 128] {
                for tile in MatrixTile::all(&units(size, subgroup))
                    .into_iter()
                    .filter(|tile| matches!(tile.placement, Placement::Shared(_)))
                {
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
            (tile.depth_step, tile.placement, tile.padded_depth(depth))
        };
        assert_eq!(chosen(1, &nvidia), (16, Placement::Shared(32), 16));
        assert_eq!(chosen(16, &nvidia), (16, Placement::Shared(32), 16));
        assert_eq!(chosen(17, &nvidia), (32, Placement::Shared(32), 32));
        assert_eq!(chosen(40, &nvidia), (16, Placement::Shared(64), 48));
        assert_eq!(chosen(128, &nvidia), (32, Placement::Shared(128), 128));
        assert_eq!(chosen(129, &nvidia), (32, Placement::Shared(0), 160));
        assert_eq!(chosen(784, &nvidia), (32, Placement::Shared(0), 800));
        assert_eq!(chosen(128, &apple), (32, Placement::Shared(0), 128));
        assert_eq!(chosen(40, &apple), (16, Placement::Shared(64), 48));
        let elements = |size, subgroup| MatrixUnits { reads_elements: true, ..units(size, subgroup) };
        let held = |units, depth, limits| {
            let tile = MatrixTile::choose(&units, depth, limits).unwrap();
            (tile.placement, tile.rows(), tile.invocations())
        };
        assert_eq!(held(elements(16, 32), 128, &nvidia), (Placement::Held(128), 256, 256));
        assert_eq!(held(elements(16, 32), 40, &nvidia), (Placement::Held(48), 256, 256));
        assert_eq!(held(elements(16, 32), 129, &nvidia), (Placement::Streamed, 128, 256));
        assert_eq!(held(elements(16, 32), 128, &apple), (Placement::Shared(0), 64, 128));
        assert_eq!(held(elements(8, 8), 100, &apple), (Placement::Held(112), 128, 64));
        let either = MatrixUnits { largest_subgroup: 64, ..elements(16, 32) };
        assert_eq!(held(either, 128, &nvidia), (Placement::Shared(128), 64, 128));
        let tiny = Limits { workgroup_storage_bytes: 16 << 10, ..Limits::for_tests() };
        assert_eq!(MatrixTile::choose(&units(16, 32), 64, &tiny), None);
    }
}
