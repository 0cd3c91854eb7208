//! The first tier of the cascade, where the device has matrix units, and whether it pays.

use super::task::Task;
use super::tier::{Operands, Tier};
use crate::device::Gpu;
use crate::error::Result;
use crate::tile::bound::f32::Bound;
use crate::tile::operands::columns::Columns;
use crate::tile::operands::gpu::half_columns::HalfColumns;
use crate::tile::product::units::shape::MatrixTile;
use crate::tile::trials::Trials;

/// Share of the rows left uncertified above which a screen does not pay: matrix units are several times as fast as
/// plain tiles, but what they leave is done twice.
const MOST_LEFT: f64 = 0.25;

/// Rows that a screen may leave of `rows`.
pub(crate) fn most_left(rows: u64) -> u64 {
    (MOST_LEFT * rows as f64) as u64
}

/// The screen of one problem.
pub(crate) struct Screen {
    pub tier: Tier,
    tile: MatrixTile,
    trials: Trials,
}

impl Screen {
    /// On a tile; `keeps_reach`: bounds on distances are wanted too.
    pub fn new(gpu: &Gpu, tile: MatrixTile, keeps_reach: bool) -> Result<Self> {
        Ok(Self { tier: Tier::halves(gpu, &tile, keeps_reach)?, tile, trials: Trials::until_one_fails() })
    }

    /// Learns how many of `rows` rows were left.
    pub fn record_left(&mut self, left: u64, rows: u64) {
        if left > most_left(rows) {
            tracing::debug!(left, rows, "matrix units certify too few rows; the f32 tile goes on alone");
            self.trials.failed();
        }
    }

    /// Copies columns to the device, unless too few rows were certified so far. `longest` as for [`HalfColumns`].
    pub fn columns(
        &self,
        gpu: &Gpu,
        window: usize,
        columns: &Columns,
        longest: f64,
    ) -> Result<Option<HalfColumns>> {
        let columns =
            self.trials.is_due().then(|| HalfColumns::new(gpu, &self.tile, window, columns, longest));
        columns.transpose()
    }

    /// Words of a column of halves.
    pub fn words(&self, depth: usize) -> u32 {
        self.tile.padded_depth(depth) as u32 / 2
    }

    /// What it reads of a task, if the task has it and enough rows were certified so far.
    pub fn operands<'a>(&self, task: &Task<'a>) -> Option<Operands<'a>> {
        let (columns, rows) = task.columns.halves.as_ref().zip(task.window.halves.as_ref())?;
        self.trials.is_due().then(|| Operands {
            x: &rows.x,
            columns: &columns.windows,
            depth: self.tile.padded_depth(task.columns.host.depth) as u32,
            unscale: 2.0_f32.powi(-rows.exponent - columns.exponent),
            bound: Bound { slope: 0.0, constant: 0.0, square: columns.square },
            residuals: Some(&rows.residuals),
            ratio: columns.ratio,
        })
    }
}
