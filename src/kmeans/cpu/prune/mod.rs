//! Exact pruning: rows whose label cannot have changed are not read, and the others meet only the centroids that may
//! be nearest.
//!
//! Each row keeps an upper bound u on the distance to the centroid c of its label and a lower bound l on the distance
//! to every other centroid (Hamerly, SDM 2010). When centroids move, u grows by the movement of c and l shrinks by
//! the largest movement of the others. What follows from the triangle inequality, in the order in which it is tried:
//!
//! 1. u < l: the label stays, no data is read.
//! 2. With s the distance from c to the nearest other centroid, every other centroid is at least s - u away. u < s - u:
//!    the label stays, no data is read.
//!    Of those within 2 u of c only the movement of the ones there counts in rule 1.
//! 3. The row is read and u is replaced by the distance itself. Both rules are tried again.
//! 4. A centroid k can only be nearer than c if |c - k| <= 2 u (Newling and Fleuret, *Fast k-means with accurate bounds*,
//!    ICML 2016). Rows of one label go through the register tile together, with the centroids of that ball alone, nearest
//!    to c first, and are certified as all rows are. The tile's values give the new u and l, and l is at most what rule 2
//!    says of the nearest centroid that was left out.
//!
//! Bounds are `f32`, rounded outwards at each step (`bounds`). "Nearer" means by a margin above the rounding of the
//! reference's own `f64` sums, so whatever is left out would not have been chosen by the reference either, nor tied.
//! Labels are therefore the same bits with and without; only time, products and the share of rechecked rows differ.
//!
//! Read in this order: `bounds` (the mathematics, and rule 1), `ball` (rules 2 to 4), `schedule` (when it pays), and
//! the pass below.

pub(crate) mod ball;
pub(crate) mod bounds;
mod schedule;

use std::sync::atomic::AtomicU32;
use std::time::Instant;

use rayon::prelude::*;

use self::ball::{Balls, GROUP, Pruned};
use self::bounds::{Bounds, Margin, Moves, Segment};
use self::schedule::Schedule;
use super::{Cpu, Prepared, Worker, own};
use crate::error::Result;
use crate::kmeans::lloyd::Pass;
use crate::kmeans::params::Params;
use crate::kmeans::problem::Problem;
use crate::tile::operands::columns::Columns;
use crate::tile::product::cpu::ROW_GROUP;
use crate::tile::product::cpu::panels::Panels;

/// A pruned pass is judged by one task in this many, which are done first.
const PROBE: usize = 16;
/// Fewer rows in doubt than this are not judged at all.
const LEAST_PROBED: usize = 4096;

/// What a fit keeps from pass to pass in order to leave rows out.
pub(super) struct Pruning {
    pub schedule: Schedule,
    margin: Margin,
    bounds: Bounds,
    moves: Moves,
    /// The centroids that the bounds are right for; empty where there are no bounds.
    bounded: Vec<f64>,
    n_clusters: usize,
}

impl Pruning {
    /// `None` where no pass may be pruned.
    pub fn new(problem: &Problem, params: &Params) -> Option<Self> {
        let schedule = Schedule::new(params.prune, problem.rows, problem.columns, params.n_clusters);
        schedule.is_on().then(|| Self {
            schedule,
            margin: Margin::new(params.careless),
            bounds: Bounds::new(problem.rows),
            moves: Moves::default(),
            bounded: Vec::new(),
            n_clusters: params.n_clusters,
        })
    }

    /// The bounds, if the coming dense pass has to leave any behind. They are of use only where centroids are distinct:
    /// those that were merged may part.
    pub fn begin_dense(&mut self, book: &Columns) -> Option<&mut Bounds> {
        self.bounded.clear();
        if !self.schedule.needs_bounds() || book.len() != self.n_clusters {
            return None;
        }
        self.bounded.extend_from_slice(&book.exact);
        Some(&mut self.bounds)
    }

    /// Whether the coming pass is to be pruned.
    pub fn is_due(&self, book: &Columns) -> bool {
        self.schedule.tries_now() && self.bounded.len() == book.exact.len()
    }

    /// Forgets all bounds.
    pub fn restart(&mut self) {
        self.bounded.clear();
        self.schedule.restart();
    }
}

impl Cpu<'_, '_> {
    /// Only what bounds leave open. `Err` of the pass so far where going on does not pay: the labels it has set are right,
    /// and a dense pass must follow.
    pub(super) fn pruned(&mut self, prepared: &Prepared) -> Result<std::result::Result<Pass, Pass>> {
        let begin = Instant::now();
        let (problem, book) = (self.problem, prepared.book);
        let Some(Pruning { schedule, margin, bounds, moves, bounded, .. }) = &mut self.pruning else {
            return Ok(Err(Pass::default()));
        };
        moves.measure(bounded, &book.exact, problem.columns);
        let total = bounds.scan(&self.labels, moves, *margin, &self.cancel)?;
        let fixed = begin.elapsed().as_secs_f64();
        let share = (total / (4 * PROBE * self.workers.len())).max(4 * ROW_GROUP);
        let segments = bounds.segments(share);
        let tasks = tasks(&segments, share);
        let parts = bounds.parts();
        let pruned = Pruned {
            problem,
            book,
            panels: &self.panels,
            screen: &prepared.screen,
            bound: book.bound(Panels::chain(problem.columns), problem.largest_norm.max(book.norm_above())),
            moves,
            margin: *margin,
            recheck: self.recheck,
            order: parts.order,
            labels: shared(&mut self.labels),
            upper: shared(bytemuck::cast_slice_mut(parts.upper)),
            lower: shared(bytemuck::cast_slice_mut(parts.lower)),
        };
        let (workers, cancel) = (&self.workers, &self.cancel);
        let run = |tasks: &[&[Segment]]| {
            let pass = |segments: &&[Segment]| {
                cancel.check()?;
                own(workers).pass_balls(&pruned, segments)
            };
            tasks.par_iter().with_max_len(1).map(pass).try_reduce(Pass::default, |a, b| Ok(a.plus(b)))
        };
        let is_probe = |&(at, _): &(usize, &[Segment])| total >= LEAST_PROBED && at % PROBE == 0;
        let (probe, rest): (Vec<_>, Vec<_>) = tasks.into_iter().enumerate().partition(is_probe);
        let [probe, rest] =
            [probe, rest].map(|tasks| tasks.into_iter().map(|(_, task)| task).collect::<Vec<_>>());
        let mut pass = Pass::default();
        if !probe.is_empty() {
            let start = Instant::now();
            pass = run(&probe)?;
            let rows: usize =
                probe.iter().copied().flatten().map(|segment| segment.end - segment.start).sum();
            let seconds = start.elapsed().as_secs_f64();
            if schedule.gives_up(fixed, seconds, rows as f64 / total as f64) {
                schedule.gave_up();
                return Ok(Err(pass));
            }
        }
        pass = pass.plus(run(&rest)?);
        bounded.copy_from_slice(&book.exact);
        schedule.was_pruned();
        Ok(Ok(pass))
    }
}

impl Worker {
    fn pass_balls(&mut self, pruned: &Pruned, segments: &[Segment]) -> Result<Pass> {
        let balls = self.balls.get_or_insert_with(|| Balls::new(pruned.problem.columns));
        let pass = balls.pass(pruned, segments, &mut self.scratch, &mut self.sums)?;
        self.has_sums |= pass.changed > 0;
        Ok(pass)
    }
}

/// Runs of segments, each of about `share` rows, and of at most [`GROUP`] labels.
fn tasks(segments: &[Segment], share: usize) -> Vec<&[Segment]> {
    let mut tasks = Vec::new();
    let (mut first, mut rows) = (0, 0);
    for (at, segment) in segments.iter().enumerate() {
        rows += segment.end - segment.start;
        if rows >= share || at + 1 - first == GROUP {
            tasks.push(&segments[first..=at]);
            (first, rows) = (at + 1, 0);
        }
    }
    if first < segments.len() {
        tasks.push(&segments[first..]);
    }
    tasks
}

/// Words that threads write in any order, each of which is one thread's.
fn shared(words: &mut [u32]) -> &[AtomicU32] {
    // SAFETY: an AtomicU32 has the size, the alignment and the values of a u32, and the borrow is exclusive.
    unsafe { &*(std::ptr::from_mut(words) as *const [AtomicU32]) }
}
