//! All within a radius on the GPU: it lists the pairs that may be, the host decides in `f64` among those. Where only their
//! number is wanted, the pairs that are within the radius by more than the bound are counted and never listed.
//!
//! Queries come in blocks, points in windows; where all points fit one window they stay there for all blocks. What is
//! listed depends on the cut, what is decided does not.

use rayon::prelude::*;

use super::{single_points, tile_of};
use crate::device::Gpu;
use crate::error::Result;
use crate::neighbours::fold::Fold;
use crate::neighbours::judge::Scratch;
use crate::neighbours::problem::{Part, Problem};
use crate::neighbours::screen::{Reach, Screen, Side};
use crate::tile::bound::f32::{DEVICE_UNIT, NO_LIMIT, next_f32};
use crate::tile::within::kernels::Limits;
use crate::tile::within::{Found, Surveyor, WithinSizes};

/// Number of a column that does not exist.
const NONE: u32 = u32::MAX;
/// Of the size of the smallest normal number, many times over: devices may take smaller ones for 0.
const TINY: f64 = 1e-36;

/// The answers of one part, through `visit`. Returns the queries that the device lost.
pub(crate) fn search<F: Fold>(
    gpu: &Gpu,
    problem: &Problem,
    screen: &Screen,
    part: &Part,
    fold: &F,
    visit: &mut (impl FnMut(u32, F::Answer) -> Result<()> + Send),
) -> Result<Vec<u32>> {
    let (rows, columns, depth) = (part.queries.len(), part.points.len(), screen.depth());
    if columns == 0 {
        let queries = part.queries.range(0, rows);
        queries.into_iter().try_for_each(|query| visit(query, F::Answer::default()))?;
        return Ok(Vec::new());
    }
    let (shape, limits) = tile_of(gpu, part, depth);
    let sizes = WithinSizes::new(shape, (rows, columns, depth), &limits)?;
    let mut surveyor = Surveyor::new(gpu, sizes, problem.cancel.clone())?;
    let chain = surveyor.chain();
    let points = single_points(gpu, (problem, screen, part), chain, (sizes.window, sizes.step))?;
    let mut lost = Vec::new();
    for (start, count) in sizes.blocks(rows) {
        let queries = part.queries.range(start, count);
        let (x, limits) = prepare(problem, screen, part, fold, &queries, chain);
        let on_device = surveyor.rows(&x, &limits)?;
        let mut answers: Vec<Option<F::Answer>> =
            queries.iter().map(|_| Some(F::Answer::default())).collect();
        points.for_each(|window| {
            let found = surveyor.meet(&on_device, window)?;
            decide(problem, part, fold, &queries, found, &mut answers)
        })?;
        for (&query, answer) in queries.iter().zip(answers) {
            match answer {
                Some(answer) => visit(query, answer)?,
                None => lost.push(query),
            }
        }
    }
    Ok(lost)
}

/// Rows with the limits of each.
fn prepare<F: Fold>(
    problem: &Problem,
    screen: &Screen,
    part: &Part,
    fold: &F,
    queries: &[u32],
    chain: usize,
) -> (Vec<f32>, Vec<Limits>) {
    let depth = screen.depth();
    let bound = screen.bound(DEVICE_UNIT, chain);
    let mut x = vec![0.0; queries.len() * depth];
    let rows = x.par_chunks_exact_mut(depth).zip(queries).with_min_len(64);
    let limits = rows.map_init(
        || vec![0.0; depth],
        |wide, (row, &query)| {
            let square = screen.load(Side::Queries, problem.queries(), query as usize, wide, row);
            let share = 0.5 * screen.gap(&bound, square) + TINY;
            let reach = fold.reach(query, |radius| screen.reach(radius, square));
            limits_of::<F>(problem, part, query, reach, share)
        },
    );
    let limits = limits.collect();
    (x, limits)
}

/// The limits of a query whose values of T are off by at most `share`.
pub(crate) fn limits_of<F: Fold>(
    problem: &Problem,
    part: &Part,
    query: u32,
    reach: Option<Reach>,
    share: f64,
) -> Limits {
    let largest = f64::from(NO_LIMIT);
    let (mut upper, mut lower) = (largest, -2.0 * largest);
    if let Some(reach) = reach {
        upper = (reach.outer + share).clamp(-2.0 * largest, largest);
        if F::COUNTS {
            lower = (reach.inner - share).clamp(-2.0 * largest, largest);
        }
    }
    let left_out = problem.left_out(query).and_then(|point| part.points.place(point));
    Limits { upper: next_f32(upper), lower: -next_f32(-lower), left_out: left_out.unwrap_or(NONE) }
}

/// Adds what a window's columns come to; a row whose pairs are not those that the device counted is lost.
pub(crate) fn decide<F: Fold>(
    problem: &Problem,
    part: &Part,
    fold: &F,
    queries: &[u32],
    mut found: Found,
    answers: &mut [Option<F::Answer>],
) -> Result<()> {
    let judge = problem.judge();
    let columns = part.points.len();
    found.pairs.par_sort_unstable();
    let pairs = &found.pairs;
    let rows = answers.par_iter_mut().zip(queries).zip(&found.counts).enumerate();
    rows.try_for_each_init(Scratch::default, |scratch, (row, ((answer, &query), &[listed, sure]))| {
        problem.cancel.check()?;
        let start = pairs.partition_point(|pair| (pair[0] as usize) < row);
        let own = &pairs[start..start + pairs[start..].partition_point(|pair| pair[0] as usize == row)];
        let is_sound = own.len() == listed as usize && own.iter().all(|pair| (pair[1] as usize) < columns);
        if !is_sound {
            *answer = None;
        }
        let Some(answer) = answer else { return Ok(()) };
        fold.add_sure(sure, answer);
        if !own.is_empty() {
            scratch.load(problem, query);
            judge.measure(own.iter().map(|pair| part.points.get(pair[1] as usize)), scratch);
            fold.add(&judge, query, &mut scratch.found, answer);
        }
        Ok(())
    })
}
