//! The search by estimated values on a GPU: blocks of values are computed there and stay there; kernels keep what may be
//! wanted, and the host decides in `f64` among that.
//!
//! Points are prepared in windows, as on the CPU ([`crate::neighbours::cpu::estimated`]); where they are one, they stay on the device for all
//! queries. Queries come in chunks whose lists fit the device.

use super::decide;
use super::within;
use crate::data::Points;
use crate::device::{Gpu, Limits};
use crate::distance::tiles::{BLOCK_COLUMNS, GpuTiles};
use crate::error::Result;
use crate::neighbours::estimate::{Estimate, RowSubset};
use crate::neighbours::fold::Fold;
use crate::neighbours::plan::Cut;
use crate::neighbours::problem::{Part, Problem};
use crate::tile::bound::f32::next_f32;
use crate::tile::collect::gpu::{Keeper, Values};
use crate::tile::windows::windows;
use crate::tile::within::Sifter;
use crate::tile::within::kernels::Limits as RowLimits;

/// One part of a search.
pub(crate) struct Search<'a, 'p, F> {
    pub gpu: &'a Gpu,
    pub problem: &'a Problem<'p>,
    pub estimate: &'a Estimate,
    pub part: &'a Part,
    pub fold: &'a F,
}

/// Queries with their answers; `None` where the device lost them.
type Answers<F> = Vec<(u32, Option<<F as Fold>::Answer>)>;

/// What meets blocks of values: rows are those of a chunk of queries, columns those of the part.
type Meet<'m> = &'m mut dyn FnMut(&Values) -> Result<()>;

impl<F: Fold> Search<'_, '_, F> {
    /// The answers, through `visit`. Returns the queries that the device lost.
    pub fn run(&self, visit: &mut (impl FnMut(u32, F::Answer) -> Result<()> + Send)) -> Result<Vec<u32>> {
        let mut lost = Vec::new();
        let mut answered = |answers: Answers<F>| {
            answers.into_iter().try_for_each(|(query, answer)| match answer {
                Some(answer) => visit(query, answer),
                None => {
                    lost.push(query);
                    Ok(())
                }
            })
        };
        match self.fold.count() {
            Some(count) => self.nearest(count, &mut answered)?,
            None => self.within(&mut answered)?,
        }
        Ok(lost)
    }

    fn nearest(&self, count: usize, answered: &mut dyn FnMut(Answers<F>) -> Result<()>) -> Result<()> {
        let Self { gpu, problem, estimate, part, fold } = self;
        // A row that does not count for itself is dropped on the host.
        let wanted = count + usize::from(problem.leaves_out_self);
        let shape = (part.queries.len(), part.points.len().clamp(1, BLOCK_COLUMNS));
        let limits = self.limits();
        let keeper = Keeper::new(gpu, shape, (wanted, problem.farthest), &limits, problem.cancel.clone())?;
        let (slope, gap) = estimate.slope_and_gap();
        let (slope, gap) = (next_f32(slope), next_f32(gap));
        self.in_chunks(keeper.rows, limits.budget_bytes / 2, |queries, meet_all| {
            let lists = keeper.lists(queries.len(), slope, gap)?;
            meet_all(&mut |values| keeper.meet(&lists, values))?;
            answered(decide(problem, part, *fold, queries, &keeper.deliver(&lists)?)?)
        })
    }

    fn within(&self, answered: &mut dyn FnMut(Answers<F>) -> Result<()>) -> Result<()> {
        let Self { gpu, problem, part, fold, .. } = self;
        let shape = (part.queries.len(), part.points.len().clamp(1, BLOCK_COLUMNS));
        let limits = self.limits();
        let sifter = Sifter::new(gpu, shape, &limits, problem.cancel.clone())?;
        self.in_chunks(sifter.rows, limits.budget_bytes / 2, |queries, meet_all| {
            let rows: Vec<RowLimits> = queries.iter().map(|&query| self.limits_of(query)).collect();
            let marks = sifter.marks(&rows)?;
            let mut answers: Vec<Option<F::Answer>> =
                queries.iter().map(|_| Some(F::Answer::default())).collect();
            meet_all(&mut |values| {
                let found = sifter.meet(&marks, values)?;
                within::decide(problem, part, *fold, queries, found, &mut answers)
            })?;
            answered(queries.iter().copied().zip(answers).collect())
        })
    }

    /// What a query wants.
    fn limits_of(&self, query: u32) -> RowLimits {
        let reach = self.fold.reach(query, |radius| self.estimate.reach(radius));
        within::limits_of::<F>(self.problem, self.part, query, reach, 0.0)
    }

    /// What the device may hold now.
    fn limits(&self) -> Limits {
        let mut limits = self.gpu.limits();
        limits.budget_bytes = limits.budget_bytes.min(self.gpu.free_bytes());
        limits
    }

    /// Hands chunks of at most `rows` queries to `each`, which begins, lets the chunk meet the values of all points, and ends.
    fn in_chunks(
        &self,
        rows: usize,
        budget_bytes: u64,
        mut each: impl FnMut(&[u32], &mut dyn FnMut(Meet) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let Self { problem, part, .. } = self;
        let cut =
            Cut::new(problem.points.columns(), self.fold.count().unwrap_or(0), 1).with_window(problem.window);
        let queries = part.queries.range(0, part.queries.len());
        let point_windows: Vec<(usize, Vec<u32>)> = windows(part.points.len(), cut.prepared, 1)
            .map(|(first, count)| (first, part.points.range(first, count)))
            .collect();
        let chunks = |queries: &[u32]| windows(queries.len(), rows, 1);
        if let [(_, numbers)] = point_windows.as_slice() {
            let point_rows = RowSubset::new(&problem.points, numbers, false);
            let y = point_rows.points();
            for (first, count) in windows(queries.len(), cut.queries, 1) {
                let queries = &queries[first..first + count];
                let query_rows = RowSubset::new(problem.queries(), queries, false);
                let x = query_rows.points();
                let is_itself = problem.other_queries().is_none() && numbers == queries;
                let mut tiles = self.tiles(&x, (!is_itself).then_some(&y), budget_bytes)?;
                for own in chunks(queries) {
                    each(&queries[own.0..own.0 + own.1], &mut |meet| {
                        meet_values(&mut tiles, own, 0, problem, meet)
                    })?;
                }
            }
            return Ok(());
        }
        for (first, count) in chunks(&queries) {
            let own = &queries[first..first + count];
            let query_rows = RowSubset::new(problem.queries(), own, false);
            let x = query_rows.points();
            each(own, &mut |meet| {
                for (first_point, numbers) in &point_windows {
                    let point_rows = RowSubset::new(&problem.points, numbers, false);
                    let y = point_rows.points();
                    let mut tiles = self.tiles(&x, Some(&y), budget_bytes)?;
                    meet_values(&mut tiles, (0, own.len()), *first_point, problem, meet)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn tiles<'t>(&self, x: &'t Points, y: Option<&'t Points>, budget_bytes: u64) -> Result<GpuTiles<'t>> {
        let formula = (self.problem.formula.metric, &self.problem.formula.constants);
        GpuTiles::new(self.gpu, (x, y), formula, budget_bytes, &self.problem.cancel)
    }
}

/// Rows of tiles, the first and how many, meet all columns, the first of which is number `first_column` of the part.
fn meet_values(
    tiles: &mut GpuTiles,
    rows: (usize, usize),
    first_column: usize,
    problem: &Problem,
    meet: Meet,
) -> Result<()> {
    tiles.blocks(rows, &problem.cancel, |buffer, own, columns| {
        let rows = (own.0 - rows.0, own.1);
        meet(&Values { buffer, rows, columns: (first_column + columns.0, columns.1) })
    })
}
