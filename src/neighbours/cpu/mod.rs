//! Neighbours on the CPU: blocks of queries meet windows of points, a fold keeps what may be wanted, `f64` decides.
//!
//! Plainly: `for query { for point { measure }; sort }`. What differs, and why nothing depends on it:
//!
//! 1. Only columns whose tile value is within a proven band of the wanted ones are measured: the others are worse in
//!    `f64` too ([`crate::tile::collect::lists`], [`super::screen`]).
//! 2. Points are prepared window by window; the lists of a block of queries live on from one to the next. Which columns
//!    are measured depends on the cut, which are chosen does not.
//! 3. Lists that stay long, because points are equal or the band is wide, are decided on between windows.
//! 4. A set with itself needs each product once ([`self::mirror`]).
//! 5. Metrics that are no product are screened by values of their own ([`self::estimated`]); where those have no bound, and
//!    in boxes that repeat, every pair is measured.
//! 6. Where the processor multiplies bytes, they say first which columns can be within the band
//!    ([`crate::tile::collect::cpu`]).
//! 7. Rows of up to three columns are looked up in a grid where that is faster ([`super::grid`]).

mod estimated;
mod mirror;

use rayon::prelude::*;

use super::estimate::Estimate;
use super::fold::{Fold, Row};
use super::grid::Grid;
use super::judge::{Judge, Scratch};
use super::plan::Cut;
use super::problem::{Part, Problem};
use super::screen::{Reach, Screen, Side};
use super::screening::Screening;
use crate::data::frame::widen_row;
use crate::error::{Error, Result};
use crate::tile::bound::f32::{HOST_UNIT, NO_LIMIT, next_f32};
use crate::tile::collect::cpu::{Block, ByteColumns, Columns, Packed, Sums, length_of, trials_of_bytes};
use crate::tile::product::cpu::ROW_GROUP;
use crate::tile::product::cpu::panels::Panels;
use crate::tile::trials::Trials;

/// Points that are measured at once where no tile screens.
const MEASURED: usize = 1024;

/// What all blocks of a search share.
pub(crate) struct Call<'a, 'p, F> {
    pub problem: &'a Problem<'p>,
    pub judge: Judge<'a>,
    pub fold: &'a F,
    pub cut: Cut,
}

/// Queries of one block with what they know.
pub(crate) struct QueryBlock<A> {
    pub queries: Vec<u32>,
    pub block: Block,
    /// The values of T within which columns can be wanted, where there is such a limit.
    reaches: Vec<Option<Reach>>,
    pub answers: Vec<A>,
}

/// Points of one window, packed.
pub(crate) struct Window {
    pub packed: Packed,
    pub errors: Vec<f32>,
    pub numbers: Vec<u32>,
}

/// The answers of one part, in the order of its queries, through `visit`.
pub(crate) fn search<F: Fold>(
    problem: &Problem,
    screening: Option<&Screening>,
    part: &Part,
    fold: &F,
    mut visit: impl FnMut(u32, F::Answer) -> Result<()>,
) -> Result<()> {
    let cut =
        Cut::new(problem.points.columns(), fold.count().unwrap_or(0), ROW_GROUP).with_window(problem.window);
    let grid = Grid::new(problem, part, fold, Screening::pace(screening, problem.formula.metric));
    if let (Some(Screening::Products(screen)), Some(count), None) = (screening, fold.count(), &grid)
        && problem.other_queries().is_none()
        && part.is_everything()
        && cut.keeps(part.queries.len())
    {
        let answers = mirror::search(problem, screen, fold, count, cut)?;
        return (0_u32..).zip(answers).try_for_each(|(query, answer)| visit(query, answer));
    }
    for start in (0..part.queries.len()).step_by(cut.queries) {
        let queries = part.queries.range(start, cut.queries.min(part.queries.len() - start));
        let answers = match (&grid, screening) {
            (Some(grid), _) => grid.search(problem, &queries, fold)?,
            (None, Some(Screening::Products(screen))) => {
                screened(problem, screen, part, &queries, fold, cut)?
            }
            (None, Some(Screening::Estimates(estimate))) => {
                match estimated::search(problem, estimate, part, &queries, fold, cut) {
                    // Prepared copies that there is no memory for are done without.
                    Err(Error::TooLarge { .. }) => measured(problem, part, &queries, fold)?,
                    answers => answers?,
                }
            }
            (None, None) => measured(problem, part, &queries, fold)?,
        };
        queries.iter().zip(answers).try_for_each(|(&query, answer)| visit(query, answer))?;
    }
    Ok(())
}

/// Every pair measured in `f64`.
fn measured<F: Fold>(problem: &Problem, part: &Part, queries: &[u32], fold: &F) -> Result<Vec<F::Answer>> {
    let judge = problem.judge();
    let answers = queries.par_iter().map_init(Scratch::default, |scratch, &query| {
        let mut answer = F::Answer::default();
        scratch.load(problem, query);
        for start in (0..part.points.len()).step_by(MEASURED) {
            problem.cancel.check()?;
            let columns = part.points.range(start, MEASURED.min(part.points.len() - start));
            let left_out = problem.left_out(query);
            judge.measure(columns.into_iter().filter(|&column| left_out != Some(column)), scratch);
            fold.add(&judge, query, &mut scratch.found, &mut answer);
        }
        Ok(answer)
    });
    answers.collect()
}

/// Tiles first, then `f64` among what they leave.
fn screened<F: Fold>(
    problem: &Problem,
    screen: &Screen,
    part: &Part,
    queries: &[u32],
    fold: &F,
    cut: Cut,
) -> Result<Vec<F::Answer>> {
    let call = Call { problem, judge: problem.judge(), fold, cut };
    let mut blocks: Vec<QueryBlock<F::Answer>> = queries
        .par_chunks(cut.block)
        .map(|queries| QueryBlock::load(problem, screen, queries, fold).0)
        .collect();
    let bytes = trials_of_bytes(queries.len(), part.points.len(), screen.depth());
    for start in (0..part.points.len()).step_by(cut.window) {
        let numbers = part.points.range(start, cut.window.min(part.points.len() - start));
        let window = Window::load(problem, screen, numbers, &bytes);
        blocks.par_iter_mut().try_for_each_init(Default::default, |(sums, scratch), block| {
            problem.cancel.check()?;
            block.meet(&window, &call, sums, scratch);
            Ok(())
        })?;
        bytes.learn(window.packed.pays(queries.len()));
    }
    QueryBlock::finish_all(blocks, &call)
}

impl<A: Send + Default> QueryBlock<A> {
    /// Prepares queries; also returns what they are as columns: half norms and errors.
    pub fn load<F: Fold<Answer = A>>(
        problem: &Problem,
        screen: &Screen,
        queries: &[u32],
        fold: &F,
    ) -> (Self, Vec<(f32, f32)>) {
        let depth = screen.depth();
        let chain = Panels::chain(depth);
        let mut norms = Vec::with_capacity(queries.len());
        let mut block = Block::new(queries.len(), depth);
        let bound = screen.bound(HOST_UNIT, chain);
        let mut wide = vec![0.0; depth];
        let mut reaches = Vec::with_capacity(queries.len());
        for (row, &query) in queries.iter().enumerate() {
            let x = &mut block.x[row * depth..(row + 1) * depth];
            let square = screen.load(Side::Queries, problem.queries(), query as usize, &mut wide, x);
            norms.push(screen.half_norm(square, HOST_UNIT, chain));
            block.lengths[row] = length_of(square);
            let gap = screen.gap(&bound, square);
            let reach = fold.reach(query, |radius| screen.reach(radius, square));
            block.lists[row].gap = gap;
            block.lists[row].left_out = problem.left_out(query);
            if let Some(reach) = reach {
                block.limits[row] = next_f32(reach.outer + 0.5 * gap).min(NO_LIMIT);
            }
            reaches.push(reach);
        }
        let answers = queries.iter().map(|_| A::default()).collect();
        (Self { queries: queries.to_vec(), block, reaches, answers }, norms)
    }

    /// The same for a screen that keeps no rows here.
    pub fn of_estimates<F: Fold<Answer = A>>(
        problem: &Problem,
        estimate: &Estimate,
        queries: &[u32],
        fold: &F,
    ) -> Self {
        let mut block = Block::new(queries.len(), 0);
        let (slope, gap) = estimate.slope_and_gap();
        let mut reaches = Vec::with_capacity(queries.len());
        for (row, &query) in queries.iter().enumerate() {
            let reach = fold.reach(query, |radius| estimate.reach(radius));
            let list = &mut block.lists[row];
            list.left_out = problem.left_out(query);
            match reach {
                Some(reach) => block.limits[row] = next_f32(reach.outer).min(NO_LIMIT),
                None => (list.slope, list.gap) = (slope, gap),
            }
            reaches.push(reach);
        }
        let answers = queries.iter().map(|_| A::default()).collect();
        Self { queries: queries.to_vec(), block, reaches, answers }
    }

    /// Meets the points of a window.
    pub fn meet<F: Fold<Answer = A>>(
        &mut self,
        window: &Window,
        call: &Call<F>,
        sums: &mut Sums,
        scratch: &mut Scratch,
    ) {
        let Window { packed, errors, numbers } = window;
        self.block.collect(&Columns { packed, errors, numbers }, call.fold.count(), sums);
        self.decide(call, 0, scratch);
    }

    /// Takes from lists of more than `least` entries what need not stay there.
    pub fn decide<F: Fold<Answer = A>>(&mut self, call: &Call<F>, least: usize, scratch: &mut Scratch) {
        let Call { problem, judge, fold, cut } = call;
        for (index, (&query, answer)) in self.queries.iter().zip(&mut self.answers).enumerate() {
            if self.block.lists[index].entries.len() > least {
                let reach = self.reaches[index];
                let row = Row { problem, query, block: &mut self.block, index, reach, longest: cut.entries };
                fold.between(judge, row, scratch, answer);
            }
        }
    }

    /// The answers of blocks that met all points.
    pub fn finish_all<F: Fold<Answer = A>>(blocks: Vec<Self>, call: &Call<F>) -> Result<Vec<A>> {
        let finished = blocks.into_par_iter().map_init(Scratch::default, |scratch, mut block| {
            call.problem.cancel.check()?;
            Ok(block.finish(call, scratch))
        });
        let answers: Vec<Vec<A>> = finished.collect::<Result<_>>()?;
        Ok(answers.into_iter().flatten().collect())
    }

    pub fn finish<F: Fold<Answer = A>>(&mut self, call: &Call<F>, scratch: &mut Scratch) -> Vec<A> {
        let Call { problem, judge, fold, .. } = call;
        for (index, (&query, answer)) in self.queries.iter().zip(&mut self.answers).enumerate() {
            if let Some(count) = fold.count() {
                self.block.tighten(index, count);
            }
            let entries = &self.block.lists[index].entries;
            if !entries.is_empty() {
                scratch.load(problem, query);
                judge.measure(entries.iter().map(|entry| entry.column), scratch);
                fold.add(judge, query, &mut scratch.found, answer);
            }
        }
        std::mem::take(&mut self.answers)
    }
}

impl Window {
    /// Prepares and packs the points of these numbers.
    pub fn load(problem: &Problem, screen: &Screen, numbers: Vec<u32>, bytes: &Trials) -> Self {
        let depth = screen.depth();
        let chain = Panels::chain(depth);
        let mut rows = vec![0.0; numbers.len() * depth];
        let mut norms = vec![((0.0, 0.0), 0.0); numbers.len()];
        let prepared = rows.par_chunks_exact_mut(depth).zip(&mut norms).zip(&numbers).with_min_len(64);
        prepared.for_each_init(
            || vec![0.0; depth],
            |wide, ((row, norm), &number)| {
                let square = screen.load(Side::Points, &problem.points, number as usize, wide, row);
                *norm = (screen.half_norm(square, HOST_UNIT, chain), length_of(square));
            },
        );
        let half_norms: Vec<f32> = norms.iter().map(|norm| norm.0.0).collect();
        let errors = norms.iter().map(|norm| norm.0.1).collect();
        let packed = if bytes.is_due() {
            let lengths: Vec<f32> = norms.iter().map(|norm| norm.1).collect();
            Packed::Bytes(ByteColumns::new(depth, rows, half_norms, &lengths))
        } else {
            Packed::Single(Panels::of_rows(depth, &rows, &half_norms))
        };
        Self { packed, errors, numbers }
    }
}

impl Scratch {
    /// Reads a query.
    pub fn load(&mut self, problem: &Problem, query: u32) {
        self.query.resize(problem.points.columns(), 0.0);
        widen_row(problem.queries(), query as usize, &mut self.query);
    }
}
