//! Neighbours by a uniform grid: only points in cells that a query's reach touches are looked at.
//!
//! Plainly: `for point near the query { measure }`. A quick length between places leaves out points that the metric in `f64`
//! leaves out too ([`super::space`]); the others are measured as everywhere, so results have the same bits. For the
//! nearest the reach is guessed from the cells; where it held too few, or the last of them lies beyond it, it is widened and
//! the query begins again.

use rayon::prelude::*;

use super::cells::Cells;
use super::fold::Fold;
use super::judge::{Judge, Scratch};
use super::plan::{GRID_POINTS, Pace};
use super::problem::{Part, Problem};
use super::space::{Place, Space};
use crate::data::frame::widen_row;
use crate::error::Result;

/// Points per cell at least: fewer make more cells than a reach is worth.
const LEAST_PER_CELL: f64 = 2.0;
/// Queries that are asked what a grid would look at.
const ASKED: usize = 64;

/// A grid of the points of one part.
pub(super) struct Grid {
    space: Space,
    cells: Cells,
}

/// What one thread needs.
#[derive(Default)]
struct Tools {
    scratch: Scratch,
    wide: Vec<f64>,
    /// Quick lengths and numbers of points.
    near: Vec<(f64, u32)>,
}

impl Grid {
    /// The grid of a part, where rows have places and it pays to look by cell, beside a search at such a pace.
    pub fn new<F: Fold>(problem: &Problem, part: &Part, fold: &F, pace: Pace) -> Option<Self> {
        let points = part.points.len();
        if problem.grid == Some(false) || points == 0 {
            return None;
        }
        if problem.grid.is_none() && points < GRID_POINTS {
            return None;
        }
        let space = Space::of(problem)?;
        let (mut per_cell, mut least_edge) = (LEAST_PER_CELL, 0.0);
        match fold.count() {
            // About so many lie within an edge of a place.
            Some(count) => per_cell = per_cell.max(count as f64 / 2.0),
            None => least_edge = fold.farthest_of(0).map_or(0.0, |value| space.length(value) / 4.0),
        }
        let cells = Cells::new(&space, &problem.points, &part.points, per_cell, least_edge);
        let grid = Self { space, cells };
        let pays = || pace.is_slower(points, grid.looked_at(problem, part, fold), fold.count().is_some());
        (problem.grid == Some(true) || pays()).then_some(grid)
    }

    /// Points that a query looks at, on average over some.
    fn looked_at<F: Fold>(&self, problem: &Problem, part: &Part, fold: &F) -> f64 {
        let count = part.queries.len();
        let step = count.div_ceil(ASKED);
        let (mut total, mut asked) = (0, 0);
        let mut wide = vec![0.0; problem.points.columns()];
        for at in (0..count).step_by(step) {
            let query = part.queries.range(at, 1)[0];
            let place = self.space.place(problem.queries(), query as usize, &mut wide);
            let length = match fold.farthest_of(query) {
                Some(value) => self.space.length(value),
                None => self.cells.first_length(&place),
            };
            self.cells.around(&self.space, &place, length, |range| total += range.len());
            asked += 1;
        }
        total as f64 / f64::from(asked)
    }

    /// The answers of some queries.
    pub fn search<F: Fold>(&self, problem: &Problem, queries: &[u32], fold: &F) -> Result<Vec<F::Answer>> {
        let judge = problem.judge();
        let answers = queries.par_iter().with_min_len(16).map_init(Tools::default, |tools, &query| {
            problem.cancel.check()?;
            Ok(self.answer(problem, &judge, query, fold, tools))
        });
        answers.collect()
    }

    fn answer<F: Fold>(
        &self,
        problem: &Problem,
        judge: &Judge,
        query: u32,
        fold: &F,
        tools: &mut Tools,
    ) -> F::Answer {
        let Self { space, cells } = self;
        let Tools { scratch, wide, near } = tools;
        wide.resize(problem.points.columns(), 0.0);
        let place = space.place(problem.queries(), query as usize, wide);
        scratch.query.resize(wide.len(), 0.0);
        widen_row(problem.queries(), query as usize, &mut scratch.query);
        let left_out = problem.left_out(query);
        let mut answer = F::Answer::default();
        let Some(count) = fold.count() else {
            let Some(value) = fold.farthest_of(query) else { return answer };
            self.gather(&place, space.length(value), left_out, near);
            judge.measure(near.iter().map(|near| near.1), scratch);
            fold.add(judge, query, &mut scratch.found, &mut answer);
            return answer;
        };
        let mut length = cells.first_length(&place);
        loop {
            let is_everything = !length.is_finite();
            self.gather(&place, length, left_out, near);
            if near.len() < count && !is_everything {
                length = if length < 4.0 { 2.0 * length } else { f64::INFINITY };
                continue;
            }
            if space.is_ordered() && near.len() > count {
                let (_, last, _) = near.select_nth_unstable_by(count - 1, |a, b| f64::total_cmp(&a.0, &b.0));
                let limit = space.limit(space.length_of_quick(last.0));
                near.retain(|near| near.0 <= limit);
            }
            judge.measure(near.iter().map(|near| near.1), scratch);
            answer = F::Answer::default();
            fold.add(judge, query, &mut scratch.found, &mut answer);
            let Some(last) = fold.last(&answer) else { return answer };
            let needed = space.length(last);
            if is_everything || needed <= length {
                return answer;
            }
            length = needed;
        }
    }

    /// Points at most `length` from a place, as far as quick lengths tell.
    fn gather(&self, place: &Place, length: f64, left_out: Option<u32>, near: &mut Vec<(f64, u32)>) {
        let Self { space, cells } = self;
        let limit = space.limit(length);
        near.clear();
        cells.around(space, place, length, |range| {
            let numbers = &cells.numbers[range.clone()];
            for (other, &number) in cells.places[range].iter().zip(numbers) {
                let quick = space.quick(place, other);
                // Neither is NaN, but an infinite length has an infinite limit.
                if quick <= limit && left_out != Some(number) {
                    near.push((quick, number));
                }
            }
        });
    }
}
