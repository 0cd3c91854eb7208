//! Neighbours on matrix units: lists are collected with products of `f16`, under a bound of their own, and decided on as those
//! of `f32` tiles are.
//!
//! What these lists lose is left to the `f32` tile; where that is much, or where the lists hold so many columns beside the
//! wanted that measuring them takes longer than the units save, the `f32` tile goes on alone. Which rows those are changes no
//! bit.

use half::f16;
use rayon::prelude::*;

use super::{CandidateSink, PointWindows};
use crate::device::{Gpu, Limits};
use crate::error::{Error, Result};
use crate::neighbours::problem::{Part, Problem, Selection};
use crate::neighbours::screen::halves::Halves;
use crate::neighbours::screen::{Screen, Side};
use crate::tile::bound::f32::next_f32;
use crate::tile::collect::gpu::operands::{Columns, HalfColumns, HalfRows};
use crate::tile::collect::gpu::{CollectSizes, Collector, OperandBytes, Product};
use crate::tile::product::units;
use crate::tile::product::units::shape::MatrixTile;

/// Of this many rows one may be lost: matrix units are several times as fast as plain tiles, but what they lose is done
/// twice.
const ROWS_PER_LOST: usize = 8;
/// Points for each of which a list may hold one column that is not wanted: a host of some cores measures a column in about
/// the time that units save on so many. An estimate.
const POINTS_PER_SPARE: usize = 512;

/// A search on matrix units.
pub(crate) struct Search<'a, 'p> {
    pub gpu: &'a Gpu,
    pub problem: &'a Problem<'p>,
    pub screen: &'a Screen,
    pub part: &'a Part,
    halves: Halves,
    tile: MatrixTile,
    sizes: CollectSizes,
}

impl<'a, 'p> Search<'a, 'p> {
    /// For `wanted` columns of each query; nothing where the device has no units for it, or no room.
    pub fn new(
        (gpu, limits): (&'a Gpu, &Limits),
        (problem, screen, part): (&'a Problem<'p>, &'a Screen, &'a Part),
        wanted: usize,
    ) -> Result<Option<Self>> {
        let (rows, columns, depth) = (part.queries.len(), part.points.len(), screen.depth());
        let Some(units) = units::units_for_lists(gpu, depth, columns)? else { return Ok(None) };
        let Some(tile) = MatrixTile::choose(&units, depth, limits) else { return Ok(None) };
        match CollectSizes::new(OperandBytes::halves(&tile, depth), (rows, columns, depth), wanted, limits) {
            Ok(sizes) => Ok(Some(Self { gpu, problem, screen, part, halves: screen.halves(), tile, sizes })),
            Err(Error::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands what the units find to `take`, and adds to `screened` how many queries that were. Returns those that are left, in
    /// ascending order.
    pub fn run(&self, take: &mut CandidateSink, screened: &mut usize) -> Result<Vec<u32>> {
        let Self { gpu, problem, part, sizes, .. } = *self;
        let rows = part.queries.len();
        let product = Product::Halves { tile: self.tile, exponent: 2 * self.halves.exponent };
        let collector = Collector::new(gpu, product, sizes, problem.cancel.clone())?;
        let upload = |first, numbers: &[u32]| {
            problem.cancel.check()?;
            Columns::halves(gpu, first, &self.columns(numbers))
        };
        let points = PointWindows::new(part, (sizes.window, sizes.lists.step), Box::new(upload))?;
        let mut left = Vec::new();
        for (start, count) in sizes.blocks(rows) {
            let queries = part.queries.range(start, count);
            let HalfRows { halves, norms, residuals, gaps } = self.rows(&queries);
            let on_device = collector.rows(&halves, Some([&norms, &residuals]), &gaps)?;
            points.for_each(|window| collector.meet(&on_device, window))?;
            let found = collector.deliver(&on_device)?;
            let before = left.len();
            take(&queries, &found, &mut left)?;
            *screened += queries.len() - (left.len() - before);
            let entries: usize = found.iter().flatten().map(Vec::len).sum();
            if !self.pays(queries.len(), left.len() - before, entries) {
                let after = start + queries.len();
                left.extend(part.queries.range(after, rows - after));
                break;
            }
        }
        Ok(left)
    }

    /// Whether enough of a block's rows were found, with lists that are short enough.
    fn pays(&self, rows: usize, lost: usize, entries: usize) -> bool {
        let (wanted, points) = (self.sizes.lists.count, self.part.points.len());
        let spare = entries.saturating_sub((rows - lost) * wanted);
        tracing::debug!(rows, lost, entries, "lists of matrix units");
        let pays = lost * ROWS_PER_LOST <= rows && spare * POINTS_PER_SPARE <= (rows - lost) * points;
        if !pays {
            tracing::debug!(rows, lost, spare, "matrix units leave too much; the f32 tile goes on alone");
        }
        pays
    }

    /// Queries, rounded.
    fn rows(&self, queries: &[u32]) -> HalfRows {
        let Self { problem, screen, halves, tile, .. } = *self;
        let (depth, count) = (screen.depth(), queries.len());
        let padded_depth = tile.padded_depth(depth);
        let bound = screen.half_bound(halves);
        let mut x = vec![f16::ZERO; count.next_multiple_of(tile.rows() as usize) * padded_depth];
        let rounded = x.par_chunks_exact_mut(padded_depth).zip(queries).with_min_len(64).map_init(
            || vec![0.0; depth],
            |wide, (out, &query)| {
                screen.load_half(halves, Side::Queries, (problem.queries(), query as usize), wide, out)
            },
        );
        let rounded: Vec<_> = rounded.collect();
        HalfRows {
            halves: x,
            norms: rounded.iter().map(|row| row.norm).collect(),
            residuals: rounded.iter().map(|row| row.residual).collect(),
            gaps: rounded.iter().map(|row| next_f32(screen.gap(&bound, row.square))).collect(),
        }
    }

    /// Points, rounded.
    fn columns(&self, numbers: &[u32]) -> HalfColumns {
        let Self { problem, screen, halves, tile, .. } = *self;
        let depth = screen.depth();
        let padded_depth = tile.padded_depth(depth);
        let mut y = vec![f16::ZERO; MatrixTile::padded_columns(numbers.len()) * padded_depth];
        let columns = y.par_chunks_exact_mut(padded_depth).zip(numbers).with_min_len(64).map_init(
            || vec![0.0; depth],
            |wide, (out, &number)| {
                let row = (&problem.points, number as usize);
                screen.half_column(halves, &screen.load_half(halves, Side::Points, row, wide, out))
            },
        );
        let columns = columns.collect();
        HalfColumns { halves: y, columns }
    }
}

/// The same part with these of its queries alone.
pub(crate) fn part_of(part: &Part, queries: Vec<u32>) -> Part {
    Part { queries: Selection::Ids(queries), points: part.points.clone() }
}
