//! The CPU's search by estimated values: bands of queries meet windows of points tile by tile, and the folds of the other
//! screen keep what may be wanted. What is left is measured in `f64`, as everywhere.
//!
//! Tables are prepared as those of a distance matrix are, in windows of bounded size: most sets are one. A value may depend on
//! the window that its point is in, by no more than its bound.

use rayon::prelude::*;

use super::{Call, QueryBlock};
use crate::distance::tiles::{TILE_COLUMNS, TILE_ROWS, Tiles, Tools};
use crate::error::Result;
use crate::memory::{self, area};
use crate::neighbours::estimate::{Estimate, RowSubset};
use crate::neighbours::fold::Fold;
use crate::neighbours::judge::Scratch;
use crate::neighbours::plan::Cut;
use crate::neighbours::problem::{Part, Problem};

/// Points with the queries that meet them.
struct Window<'a> {
    estimate: &'a Estimate,
    tiles: Tiles<'a>,
    /// Number of each point.
    numbers: &'a [u32],
}

/// The answers of queries of one part, in order.
pub(crate) fn search<F: Fold>(
    problem: &Problem,
    estimate: &Estimate,
    part: &Part,
    queries: &[u32],
    fold: &F,
    cut: Cut,
) -> Result<Vec<F::Answer>> {
    let rows = queries.len().saturating_add(cut.prepared.min(part.points.len()));
    memory::ask(
        "copies of queries and points",
        &[area::<f64>(rows, problem.points.columns().saturating_add(1))],
    )?;
    let call = Call { problem, judge: problem.judge(), fold, cut };
    let band = cut.band(queries.len(), rayon::current_num_threads(), TILE_ROWS);
    let mut blocks: Vec<QueryBlock<F::Answer>> = queries
        .par_chunks(band)
        .map(|queries| QueryBlock::of_estimates(problem, estimate, queries, fold))
        .collect();
    let is_double = estimate.is_double();
    let query_rows = RowSubset::new(problem.queries(), queries, is_double);
    let x = query_rows.points();
    for start in (0..part.points.len()).step_by(cut.prepared) {
        let numbers = part.points.range(start, cut.prepared.min(part.points.len() - start));
        let point_rows = RowSubset::new(&problem.points, &numbers, is_double);
        let y = point_rows.points();
        let is_itself = problem.other_queries().is_none() && numbers == queries;
        let formula = (problem.formula.metric, &problem.formula.constants);
        let tiles = Tiles::new(&x, (!is_itself).then_some(&y), formula, is_double, &problem.cancel)?;
        let window = Window { estimate, tiles, numbers: &numbers };
        blocks.par_iter_mut().enumerate().try_for_each_init(
            || (Tools::default(), Scratch::default()),
            |(tools, scratch), (index, block)| window.meet(&call, block, index * band, tools, scratch),
        )?;
    }
    QueryBlock::finish_all(blocks, &call)
}

impl Window<'_> {
    /// The queries of a block, the first of which is row `first_row` of the tiles, meet all points of the window.
    fn meet<F: Fold>(
        &self,
        call: &Call<F>,
        block: &mut QueryBlock<F::Answer>,
        first_row: usize,
        tools: &mut Tools,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let (Self { numbers, estimate, tiles }, rows) = (self, block.queries.len());
        for (index, numbers) in numbers.chunks(TILE_COLUMNS).enumerate() {
            call.problem.cancel.check()?;
            let columns = (index * TILE_COLUMNS, numbers.len());
            tiles.tile((first_row, rows), columns, tools, |row, values| {
                estimate.order(values);
                block.block.take(row, numbers, values, call.fold.count());
            })?;
            block.decide(call, call.cut.entries, scratch);
        }
        block.decide(call, 0, scratch);
        Ok(())
    }
}
