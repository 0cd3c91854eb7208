//! Neighbours on the GPU: lists are collected there, window by window; the host decides in `f64` among what they hold.
//!
//! Where there are matrix units they search first ([`units`]), and tiles of `f32` what those leave.
//!
//! Queries come in blocks whose lists fit the device. Where all points fit one window they stay there for all blocks. Rows
//! that the device lost, because more columns than it keeps are within the band, are searched again on the host: which
//! those are changes no bit, because the host decides on all of them in the same way.

pub(crate) mod estimated;
mod units;
pub(crate) mod within;

use rayon::prelude::*;

use super::fold::Fold;
use super::judge::Scratch;
use super::problem::{Part, Problem, Selection};
use super::screen::{Screen, Side};
use crate::device::{Gpu, Limits};
use crate::error::Result;
use crate::tile::bound::f32::{DEVICE_UNIT, next_f32};
use crate::tile::choice::choose::Task;
use crate::tile::choice::family::Fold as TileFold;
use crate::tile::choice::shape::TileShape;
use crate::tile::choice::tune::cache::table_of;
use crate::tile::collect::gpu::{CollectSizes, Collector, Columns, OperandBytes, Product};
use crate::tile::windows::windows;

/// Rows for which points are not brought to the device again: the host searches them sooner.
const FEW: usize = 64;

/// Answers queries from the columns that the device found, and adds those that it lost to a list.
pub(crate) type CandidateSink<'a> = dyn FnMut(&[u32], &[Option<Vec<u32>>], &mut Vec<u32>) -> Result<()> + 'a;

/// The answers of one part, through `visit`. `count` are wanted of each query; `screened` grows by the queries whose columns
/// matrix units found. Returns the queries that the device lost.
pub(crate) fn search<F: Fold>(
    gpu: &Gpu,
    problem: &Problem,
    screen: &Screen,
    part: &Part,
    fold: &F,
    count: usize,
    (visit, screened): (&mut (impl FnMut(u32, F::Answer) -> Result<()> + Send), &mut usize),
) -> Result<Vec<u32>> {
    // A row that does not count for itself is dropped on the host.
    let wanted = count + usize::from(problem.leaves_out_self);
    let mut take = |queries: &[u32], found: &[Option<Vec<u32>>], lost: &mut Vec<u32>| {
        for (query, answer) in decide(problem, part, fold, queries, found)? {
            match answer {
                Some(answer) => visit(query, answer)?,
                None => lost.push(query),
            }
        }
        Ok(())
    };
    by_device(gpu, (problem, screen, part), wanted, &mut take, screened)
}

/// The same for any fold: by matrix units where there are some, then by `f32` tiles.
fn by_device(
    gpu: &Gpu,
    (problem, screen, part): (&Problem, &Screen, &Part),
    wanted: usize,
    take: &mut CandidateSink,
    screened: &mut usize,
) -> Result<Vec<u32>> {
    let (_, limits) = tile_of(gpu, part, screen.depth());
    let Some(units) = units::Search::new((gpu, &limits), (problem, screen, part), wanted)? else {
        return tiles(gpu, (problem, screen, part), wanted, take);
    };
    let queries = units.run(take, screened)?;
    if queries.len() <= FEW {
        return Ok(queries);
    }
    tiles(gpu, (problem, screen, &units::part_of(part, queries)), wanted, take)
}

/// By `f32` tiles. Returns the queries that the device lost.
fn tiles(
    gpu: &Gpu,
    (problem, screen, part): (&Problem, &Screen, &Part),
    wanted: usize,
    take: &mut CandidateSink,
) -> Result<Vec<u32>> {
    let (rows, columns, depth) = (part.queries.len(), part.points.len(), screen.depth());
    let (shape, limits) = tile_of(gpu, part, depth);
    let sizes = CollectSizes::new(OperandBytes::single(depth), (rows, columns, depth), wanted, &limits)?;
    let collector = Collector::new(gpu, Product::Single(shape), sizes, problem.cancel.clone())?;
    let chain = shape.chain(depth, gpu.keeps_order());
    let points = single_points(gpu, (problem, screen, part), chain, (sizes.window, sizes.lists.step))?;
    let mut lost = Vec::new();
    for (start, count) in sizes.blocks(rows) {
        let queries = part.queries.range(start, count);
        let (x, gaps) = prepare(problem, screen, &queries, chain);
        let on_device = collector.rows(&x, None, &gaps)?;
        points.for_each(|window| collector.meet(&on_device, window))?;
        let found = collector.deliver(&on_device)?;
        let entries: usize = found.iter().flatten().map(Vec::len).sum();
        let kept = found.iter().flatten().count();
        tracing::debug!(rows = queries.len(), lost = queries.len() - kept, entries, "lists of the f32 tile");
        take(&queries, &found, &mut lost)?;
    }
    Ok(lost)
}

/// The points of a part as queries meet them: all at once where they fit one window, else window by window, each brought
/// again for every block of queries.
pub(crate) struct PointWindows<'a, C> {
    points: &'a Selection,
    window: (usize, usize),
    upload: Upload<'a, C>,
    whole: Option<C>,
}

/// Brings points to the device: it gets the place of the first among the part's points, and their numbers.
type Upload<'a, C> = Box<dyn Fn(usize, &[u32]) -> Result<C> + 'a>;

impl<'a, C> PointWindows<'a, C> {
    /// Windows of at most so many points, in whole steps.
    pub fn new(part: &'a Part, window: (usize, usize), upload: Upload<'a, C>) -> Result<Self> {
        let points = &part.points;
        let mut windows = Self { points, window, upload, whole: None };
        if points.len() <= window.0 {
            windows.whole = Some((windows.upload)(0, &points.range(0, points.len()))?);
        }
        Ok(windows)
    }

    /// Hands out all points.
    pub fn for_each(&self, mut visit: impl FnMut(&C) -> Result<()>) -> Result<()> {
        if let Some(whole) = &self.whole {
            return visit(whole);
        }
        let (most, step) = self.window;
        windows(self.points.len(), most, step)
            .try_for_each(|(first, count)| visit(&(self.upload)(first, &self.points.range(first, count))?))
    }
}

/// Windows of at most so many points, in whole steps, in `f32`; sums of products are chains of `chain` additions.
pub(crate) fn single_points<'a>(
    gpu: &'a Gpu,
    (problem, screen, part): (&'a Problem, &'a Screen, &'a Part),
    chain: usize,
    window: (usize, usize),
) -> Result<PointWindows<'a, Columns>> {
    let upload = move |first, numbers: &[u32]| {
        problem.cancel.check()?;
        let (depth, count) = (screen.depth(), numbers.len());
        let (mut y, mut norms) = (vec![0.0; count * depth], vec![(0.0, 0.0); count]);
        let prepared = y.par_chunks_exact_mut(depth).zip(&mut norms).zip(numbers).with_min_len(64);
        prepared.for_each_init(
            || vec![0.0; depth],
            |wide, ((row, norm), &number)| {
                let square = screen.load(Side::Points, &problem.points, number as usize, wide, row);
                *norm = screen.half_norm(square, DEVICE_UNIT, chain);
            },
        );
        Columns::single(gpu, first, &y, &norms)
    };
    PointWindows::new(part, window, Box::new(upload))
}

/// A tile for queries and points, and what the device may hold now.
pub(crate) fn tile_of(gpu: &Gpu, part: &Part, depth: usize) -> (TileShape, Limits) {
    let mut limits = gpu.limits();
    limits.budget_bytes = limits.budget_bytes.min(gpu.free_bytes());
    let (rows, columns) = (part.queries.len(), part.points.len());
    let task = Task { fold: TileFold::Store, rows, columns, depth };
    (table_of(gpu).shape(&task, &limits), limits)
}

/// Rows with the share of each in a difference of two values.
fn prepare(problem: &Problem, screen: &Screen, queries: &[u32], chain: usize) -> (Vec<f32>, Vec<f32>) {
    let depth = screen.depth();
    let bound = screen.bound(DEVICE_UNIT, chain);
    let (mut x, mut gaps) = (vec![0.0; queries.len() * depth], vec![0.0; queries.len()]);
    let prepared = x.par_chunks_exact_mut(depth).zip(&mut gaps).zip(queries).with_min_len(64);
    prepared.for_each_init(
        || vec![0.0; depth],
        |wide, ((row, gap), &query)| {
            let square = screen.load(Side::Queries, problem.queries(), query as usize, wide, row);
            *gap = next_f32(screen.gap(&bound, square));
        },
    );
    (x, gaps)
}

/// The answers of queries from the columns that the device found; `None` where it lost them.
pub(crate) fn decide<F: Fold>(
    problem: &Problem,
    part: &Part,
    fold: &F,
    queries: &[u32],
    found: &[Option<Vec<u32>>],
) -> Result<Vec<(u32, Option<F::Answer>)>> {
    let judge = problem.judge();
    let columns = part.points.len();
    let answers = queries.par_iter().zip(found).map_init(Scratch::default, |scratch, (&query, found)| {
        problem.cancel.check()?;
        // A device that names a column that does not exist, or none at all, is not believed.
        let Some(found) = found.as_ref().filter(|found| found.iter().all(|&at| (at as usize) < columns))
        else {
            return Ok((query, None));
        };
        let left_out = problem.left_out(query);
        let numbers = found.iter().map(|&at| part.points.get(at as usize));
        scratch.load(problem, query);
        judge.measure(numbers.filter(|&number| left_out != Some(number)), scratch);
        if scratch.found.len() < fold.count().unwrap_or_default() {
            return Ok((query, None));
        }
        let mut answer = F::Answer::default();
        fold.add(&judge, query, &mut scratch.found, &mut answer);
        Ok((query, Some(answer)))
    });
    answers.collect()
}
