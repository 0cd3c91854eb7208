//! How a matrix is cut for a GPU: windows of rows and tiles of results. Pure: sizes and limits in, sizes out.

use crate::device::Limits;
use crate::distance::blocks::{BLOCK_BYTES, CHUNK, Shape};
use crate::error::{Error, Result};
use crate::tile::choice::choose::Task;
use crate::tile::choice::family::Fold;
use crate::tile::choice::shape::{self, TileShape};
use crate::tile::choice::tune::table::Table;
use crate::tile::windows::{next_rows, windows};

// The error bounds of `plan` hold on GPUs too.
const _: () = assert!(CHUNK == shape::CHUNK as usize);

/// How a GPU's part is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    /// Rows of X that are on the device at once, at most.
    pub x_rows: usize,
    /// Rows of Y that one dispatch sees, at most.
    pub y_rows: usize,
    /// Whether all windows of Y stay on the device.
    pub y_is_resident: bool,
    /// One workgroup's tile. Its shape changes no bit.
    pub tile: TileShape,
    /// Device memory of it all.
    pub bytes: u64,
}

impl Windows {
    /// Rows of X that follow, of `left` ones: no window has a tile more than another.
    pub fn next_x(&self, left: usize) -> usize {
        next_rows(left, self.x_rows, self.tile.rows as usize)
    }

    /// First row of Y and number of rows of each window, in the same way.
    pub fn of_y(&self, columns: usize) -> impl Iterator<Item = (usize, usize)> + Clone + use<> {
        windows(columns, self.y_rows, self.tile.columns as usize)
    }
}

/// What the operands look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Copies of each row: 2 where originals differ from the rows.
    pub copies: u64,
    /// Whether a number goes with each row.
    pub has_norms: bool,
    /// The tile, where it is not a matter of tuning.
    pub tile: Option<TileShape>,
    /// Columns of a block of results at most.
    pub most_columns: u64,
}

/// Cuts a matrix for a device. Every binding is within the window, the output within [`BLOCK_BYTES`] too, and all
/// within the budget.
pub(crate) fn cut(shape: Shape, layout: Layout, limits: &Limits, tuned: &Table) -> Result<Windows> {
    let row_bytes = 4 * shape.depth as u64;
    let window_bytes = limits.window_bytes.min(limits.max_buffer_bytes);
    if row_bytes > window_bytes {
        let what = format!("a row of {} features", shape.depth);
        return Err(Error::TooLarge { what, needed_bytes: row_bytes, limit_bytes: window_bytes });
    }
    let task = Task { fold: Fold::Store, rows: shape.rows, columns: shape.columns, depth: shape.depth };
    let tile = layout.tile.unwrap_or_else(|| tuned.shape(&task, limits));
    let most = |side: u32| {
        (window_bytes / row_bytes).min(u64::from(limits.max_workgroups_per_dimension) * u64::from(side))
    };
    let most_values = window_bytes.min(BLOCK_BYTES) / 4;
    let (rows, columns) = (shape.rows as u64, shape.columns as u64);

    let mut y_rows =
        columns.min(layout.most_columns).min(most(tile.columns)).min((most_values / rows.min(64)).max(1));
    y_rows = whole_tiles(y_rows, tile.columns);
    let mut x_rows = whole_tiles(rows.min(most(tile.rows)).min((most_values / y_rows).max(1)), tile.rows);
    let bytes_of_rows = |rows: u64| rows * (row_bytes * layout.copies + if layout.has_norms { 4 } else { 0 });
    loop {
        let moving = bytes_of_rows(x_rows) + 4 * x_rows * y_rows;
        for y_is_resident in [true, false] {
            let bytes = moving + bytes_of_rows(if y_is_resident { columns } else { y_rows });
            if bytes <= limits.budget_bytes {
                let x_rows = next_rows(shape.rows, x_rows as usize, tile.rows as usize);
                let y_rows = next_rows(shape.columns, y_rows as usize, tile.columns as usize);
                return Ok(Windows { x_rows, y_rows, y_is_resident, tile, bytes });
            }
        }
        if x_rows == 1 && y_rows == 1 {
            let what = "the smallest window of rows".into();
            let needed_bytes = moving + bytes_of_rows(1);
            return Err(Error::TooLarge { what, needed_bytes, limit_bytes: limits.budget_bytes });
        }
        x_rows = whole_tiles(x_rows.div_ceil(2), tile.rows);
        y_rows = whole_tiles(y_rows.div_ceil(2), tile.columns);
    }
}

/// Rounded down to whole tiles, where there is at least one.
fn whole_tiles(rows: u64, side: u32) -> u64 {
    let side = u64::from(side);
    if rows > side { rows - rows % side } else { rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(window_bytes: u64, budget_bytes: u64) -> Limits {
        Limits { budget_bytes, window_bytes, ..Limits::for_tests() }
    }

    #[test]
    fn windows_stay_within_every_limit() {
        let sizes = [1, 2, 31, 33, 64, 65, 1000, 100_000, 20_000_000];
        for rows in sizes {
            for columns in sizes {
                for depth in [1, 3, 64, 1536] {
                    for window in [32, 256, 4096, 1 << 20, 1 << 27] {
                        for budget in [1 << 10, 1 << 20, 1 << 34] {
                            check(Shape { rows, columns, depth }, &limits(window, budget));
                        }
                    }
                }
            }
        }
    }

    fn check(shape: Shape, limits: &Limits) {
        for layout in [
            Layout { copies: 2, has_norms: true, tile: None, most_columns: u64::MAX },
            Layout { copies: 3, has_norms: true, tile: None, most_columns: u64::MAX },
            Layout {
                copies: 1,
                has_norms: false,
                tile: Some(TileShape::plain(32, 32, 4, 4, 16)),
                most_columns: 4096,
            },
        ] {
            let Ok(found) = cut(shape, layout, limits, &Table::default()) else {
                let row = 4 * shape.depth as u64;
                let smallest = 2 * (row * layout.copies + 4) + 4;
                assert!(row > limits.window_bytes || smallest > limits.budget_bytes, "{shape:?} {limits:?}");
                continue;
            };
            let (x, y) = (found.x_rows as u64, found.y_rows as u64);
            assert!(x >= 1 && y >= 1 && x <= shape.rows as u64 && y <= shape.columns as u64, "{found:?}");
            assert!(found.tile.keeps_one_order() && found.tile.fits(limits), "{shape:?} {found:?}");
            for (rows, side) in [(x, found.tile.rows), (y, found.tile.columns)] {
                assert!(rows * 4 * shape.depth as u64 <= limits.window_bytes, "{shape:?} {found:?}");
                assert!(rows.div_ceil(u64::from(side)) <= 65_535, "{shape:?} {found:?}");
            }
            assert!(y <= layout.most_columns, "{shape:?} {found:?}");
            // Even windows: none has a tile more than another.
            let tiles = |count: u64, side: u32| count.div_ceil(u64::from(side));
            let most = tiles(y, found.tile.columns);
            for (_, count) in found.of_y(shape.columns).take(1000) {
                assert!(tiles(count as u64, found.tile.columns) + 1 >= most, "{shape:?} {found:?}");
            }
            let (mut left, most) = (shape.rows, tiles(x, found.tile.rows));
            for _ in 0..1000 {
                let next = found.next_x(left);
                assert!(left == 0 || (next as u64 <= x && tiles(next as u64, found.tile.rows) + 1 >= most));
                left -= next;
            }
            assert!(4 * x * y <= limits.window_bytes.min(BLOCK_BYTES), "{shape:?} {found:?}");
            assert!(found.bytes <= limits.budget_bytes, "{shape:?} {found:?}");
        }
    }
}
