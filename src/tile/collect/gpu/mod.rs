//! The collecting fold on the GPU: each row's list of the columns that may be among its `count` least.
//!
//! `collect` adds to the lists what is within the limits, one step of columns at a time; `tighten` lowers the limits and
//! drops what is above them, as [`super::cpu`] does. A list has room for what it may keep and for all columns of
//! a step, so no order of columns can overflow it; what it may keep is bounded, and a row that would keep more is lost: the
//! caller decides it elsewhere.
//!
//! Products are of `f32`, or of `f16` on matrix units under the bound of [`crate::tile::bound::f16`]: there the value
//! `v = h - k - w A' - sum` of a pair is at most T + S and `v + 2 (w A' + k)` at least T - S, each a number that an entry of a
//! list holds. So the lists are the same to whoever lowers their limits: an entry that is left out is worse than `count`
//! others, whatever the product was. Weights, constants and residuals are a thousandth larger than the bound says
//! (`with_slack`), more than the roundings of `w`, of `w A'` and of the sums that they go into. Rows and columns are rounded
//! to `f16` on the host, where they are prepared; the device holds no `f32` of them.

pub(crate) mod kernels;
pub(crate) mod lists;
pub(crate) mod operands;
pub(crate) mod sizes;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use bytemuck::{Pod, bytes_of};

use self::kernels::{CollectParams, collect_kernel};
use self::lists::Lister;
pub(crate) use self::operands::{Columns, Rows};
pub(crate) use self::sizes::{CollectSizes, OperandBytes, STEP_UNIT, window_of};
pub(crate) use self::values::{Keeper, Values};
use crate::cancel::Cancel;
use crate::device::{Batch, Gpu, Pacer, Pipeline};
use crate::error::Result;
use crate::tile::choice::cut::Cut;
use crate::tile::choice::shape::TileShape;
use crate::tile::choice::turns::{Meeting, in_turns};
use crate::tile::product::units;
use crate::tile::product::units::shape::MatrixTile;

/// How a search multiplies. The tile changes no decision.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Product {
    /// In `f32`.
    Single(TileShape),
    /// In `f16` on matrix units; rows and columns were multiplied by 2^exponent together.
    Halves { tile: MatrixTile, exponent: i32 },
}

impl Product {
    fn cut(&self) -> Cut {
        match self {
            Self::Single(shape) => shape.cut(),
            Self::Halves { tile, .. } => tile.cut(),
        }
    }

    /// Numbers of a row or a column of `depth` features, with the zeros behind them.
    fn padded_depth(&self, depth: usize) -> usize {
        match self {
            Self::Single(_) => depth,
            Self::Halves { tile, .. } => tile.padded_depth(depth),
        }
    }
}

/// What collects for rows of one search.
pub(crate) struct Collector {
    gpu: Gpu,
    product: Product,
    sizes: CollectSizes,
    collect: Arc<Pipeline>,
    lister: Lister,
    pacer: Pacer,
    cancel: Cancel,
}

impl Collector {
    pub fn new(gpu: &Gpu, product: Product, sizes: CollectSizes, cancel: Cancel) -> Result<Self> {
        let collect = gpu.pipeline(&match &product {
            Product::Single(shape) => collect_kernel(shape)?,
            Product::Halves { tile, .. } => units::kernels::collect_kernel(tile, "")?,
        })?;
        let lister = Lister::new(gpu, sizes.lists)?;
        let work = match &product {
            Product::Single(_) => "collect",
            Product::Halves { .. } => "collect on units",
        };
        let pacer = gpu.pacer(work, [sizes.depth, sizes.lists.step]);
        Ok(Self { gpu: gpu.clone(), product, sizes, collect, lister, pacer, cancel })
    }

    /// Brings rows to the device, with the share 2 S of each; those in `f16` with their lengths and residuals.
    pub fn rows<F: Pod>(&self, x: &[F], sizes: Option<[&[f32]; 2]>, gaps: &[f32]) -> Result<Rows> {
        let sizes = match sizes {
            Some([norms, residuals]) => {
                Some([self.gpu.filled("norms", norms)?, self.gpu.filled("residuals", residuals)?])
            }
            None => None,
        };
        Ok(Rows { lists: self.lister.lists(gaps)?, x: self.gpu.filled("rows", x)?, sizes })
    }

    /// All rows meet all columns.
    pub fn meet(&self, rows: &Rows, columns: &Columns) -> Result<()> {
        let CollectSizes { depth, lists, .. } = self.sizes;
        let meeting = Meeting {
            rows: (0, rows.lists.count),
            tile_rows: self.product.cut().rows,
            columns: (columns.count, lists.step),
            depth,
        };
        in_turns(&self.gpu, "collect", meeting, &self.pacer, &self.cancel, |batch, own, start| {
            self.record(batch, rows, columns, own, start)
        })
    }

    /// One step of columns, from `start` of the window on, for some rows.
    fn record<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        rows: &'a Rows,
        columns: &'a Columns,
        (first_row, count): (usize, usize),
        start: usize,
    ) -> Result<()> {
        let (cut, CollectSizes { operands, depth, lists, .. }) = (self.product.cut(), self.sizes);
        let here = lists.step.min(columns.count - start);
        let (split_columns, unscale) = match self.product {
            Product::Single(_) => (cut.columns, 1.0),
            Product::Halves { exponent, .. } => {
                (cut.split_columns(count as u32, here as u32, u64::MAX), 2.0_f32.powi(-exponent))
            }
        };
        let params = CollectParams {
            rows: count as u32,
            columns: here as u32,
            depth: self.product.padded_depth(depth) as u32,
            first_row: first_row as u32,
            first_column: (columns.first + start) as u32,
            split_columns,
            room: lists.room() as u32,
            unscale,
            ratio: columns.ratio,
        };
        // Whole tiles: a step that is not, is the last of its window, with columns behind that nothing keeps.
        let (start, padded) = (start as u64, u64::from(params.columns.next_multiple_of(cut.columns)));
        let read = if operands.pads_columns { padded } else { here as u64 };
        let y = columns.y.slice(operands.features * start, operands.features * read);
        let mut arguments = vec![rows.x.whole(), y, columns.terms.slice(8 * start, 8 * padded)];
        arguments.extend(rows.sizes.iter().flatten().map(|sizes| sizes.whole()));
        arguments.extend(columns.constants.iter().map(|constants| constants.slice(4 * start, 4 * padded)));
        arguments.extend([rows.lists.limits.whole(), rows.lists.lists.whole()]);
        let workgroups = [params.rows.div_ceil(cut.rows), params.columns.div_ceil(split_columns), 1];
        batch.dispatch(&self.collect, &arguments, bytes_of(&params), workgroups)?;
        self.lister.tighten(batch, &rows.lists, (first_row, count))
    }

    /// For each row its columns, or `None` for a row that is lost.
    pub fn deliver(&self, rows: &Rows) -> Result<Vec<Option<Vec<u32>>>> {
        self.lister.deliver(&rows.lists)
    }
}
