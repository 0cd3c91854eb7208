//! How the columns of a dispatch are cut into splits, so that a small batch of rows still fills the device. Pure.

use super::shape::TileShape;

/// Row tiles below which columns are split.
pub(crate) const FEW_ROW_TILES: u32 = 128;

/// Rows and columns of a tile, as splitting needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub rows: u32,
    pub columns: u32,
}

impl TileShape {
    /// Its rows and columns.
    pub(crate) fn cut(&self) -> Cut {
        Cut { rows: self.rows, columns: self.columns }
    }
}

impl Cut {
    /// Columns per split for `rows` rows: all, or fewer where there are few row tiles and room for the results of
    /// `most` splits.
    pub fn split_columns(self, rows: u32, columns: u32, most: u64) -> u32 {
        let tiles = columns.div_ceil(self.columns);
        let splits = (FEW_ROW_TILES / rows.div_ceil(self.rows)).clamp(1, tiles);
        let splits = u32::try_from(most).map_or(splits, |most| splits.min(most.max(1)));
        tiles.div_ceil(splits) * self.columns
    }
}
