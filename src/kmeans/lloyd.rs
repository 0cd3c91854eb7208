//! Lloyd's algorithm, the same for every device: passes over the rows there, centroids on the host in `f64`.
//!
//! Labels are certified and sums are integers, so everything below sees the same numbers whatever device made them.

use std::sync::Arc;

use rayon::prelude::*;

use super::fine;
use super::finish;
use super::params::{Control, Params, Progress};
use super::problem::{Problem, SUM_BLOCK, Sums};
use super::relocate;
use crate::cancel::Cancel;
use crate::device::CpuPool;
use crate::error::{Error, Result};
use crate::simd::widest;
use crate::tile::operands::columns::Columns;

/// What one pass over the rows found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Rows whose label differs from the pass before.
    pub changed: u64,
    /// Rows that a screen certified: products of `f16` on matrix units, of bytes on CPUs.
    pub screened: u64,
    /// Rows that the tile's error bound did not certify.
    pub rechecked: u64,
    /// Pairs of rows and centroids that were multiplied, those of centroids with centroids included.
    pub products: u64,
}

impl Pass {
    /// Adds the counts of another part of the rows.
    pub fn plus(self, other: Self) -> Self {
        Self {
            changed: self.changed + other.changed,
            screened: self.screened + other.screened,
            rechecked: self.rechecked + other.rechecked,
            products: self.products + other.products,
        }
    }
}

/// A device that labels rows and sums them by label.
pub(crate) trait Passes: Send {
    /// Forgets all labels.
    fn reset(&mut self) -> Result<()>;
    /// Labels every row with its nearest centroid and brings the sums up to date.
    fn assign(&mut self, book: &Columns) -> Result<Pass>;
    /// Performs iterations in a row on the device, where it can go on without the host.
    fn burst(&mut self, _start: &Start) -> Result<Option<Burst>> {
        Ok(None)
    }
    /// Sums by the labels of the last pass.
    fn sums(&self) -> &Sums;
    /// Labels of the last pass.
    fn labels(&mut self) -> Result<Vec<u32>>;
}

/// Where iterations in a row start, and when they end.
pub(crate) struct Start<'a> {
    /// Centroids of the first.
    pub centroids: &'a [f64],
    /// No label is known yet.
    pub is_first: bool,
    /// Iterations at most.
    pub most: usize,
    /// Iterations end with a squared shift of at most this.
    pub tolerance: f64,
    pub cancel: &'a Cancel,
}

/// Iterations in a row.
pub(crate) struct Burst {
    /// Who performed them.
    pub device: String,
    /// What each came to.
    pub steps: Vec<Step>,
    /// Centroids that the last of them started from, and those that it made.
    pub before: Vec<f64>,
    pub centroids: Vec<f64>,
    /// The pass of a further iteration, from `centroids`, whose centroids the host has to make.
    pub halted: Option<Pass>,
}

/// One of them; shift and inertia are between x'.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub pass: Pass,
    pub shift: f64,
    pub inertia: f64,
}

/// One iteration, as the result's history shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Iteration {
    /// Sum of weighted squared distances to the centroids this iteration started from, in input units.
    pub inertia: f64,
    /// Rows whose label changed.
    pub changed: u64,
    /// Share of rows that `f16` products on matrix units certified, or products of bytes on processors with VNNI; `f32`
    /// certified the others but those of `rechecked`.
    pub screened: f64,
    /// Share of rows that the tile's error bound did not certify and that were decided in `f64`.
    pub rechecked: f64,
    /// Squared movement of all centroids, in input units.
    pub shift: f64,
    /// Pairs of a row and a centroid, or of two centroids, whose product was computed: rows times clusters unless rows
    /// were pruned. Like `rechecked` it belongs to the device and its timing, and is no part of what is the same
    /// everywhere.
    pub products: u64,
}

/// Where a run stands between two iterations: all that a checkpoint needs to hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    /// Which run of `n_init`.
    pub run: usize,
    /// Centroids that the next iteration starts from.
    pub centroids: Arc<Vec<f64>>,
    /// Centroids that the last iteration started from: its labels are theirs.
    pub before: Option<Arc<Vec<f64>>>,
    /// Iterations done.
    pub history: Vec<Iteration>,
    /// The run ended: by convergence (true) or by `max_iter` (false).
    pub ended: Option<bool>,
    /// The last iteration's labels are those of `centroids` too.
    pub settled: bool,
}

impl State {
    /// A run that has not begun.
    pub fn new(run: usize, centroids: Vec<f64>) -> Self {
        Self {
            run,
            centroids: Arc::new(centroids),
            before: None,
            history: Vec::new(),
            ended: None,
            settled: false,
        }
    }

    /// Becomes a copy of another state, whose centroids both then share.
    pub fn copy_from(&mut self, other: &Self) {
        let Self { run, centroids, before, history, ended, settled } = self;
        (*run, *ended, *settled) = (other.run, other.ended, other.settled);
        centroids.clone_from(&other.centroids);
        before.clone_from(&other.before);
        history.clone_from(&other.history);
    }
}

/// A finished run.
pub(crate) struct Run {
    /// Where it ended.
    pub state: State,
    /// One per point, those of `state.centroids`.
    pub labels: Vec<u32>,
    /// In input units.
    pub inertia: f64,
    /// The callback asked for the end of the fit.
    pub stopped: bool,
}

/// Runs Lloyd's iterations from a state to the end, on the threads of `pool`. `after` is called after each iteration. It and
/// the callback run on the calling thread: where that is none of the pool's, whoever waits in them keeps no worker from others.
pub(crate) fn run(
    problem: &Problem,
    params: &Params,
    pool: &CpuPool,
    passes: &mut dyn Passes,
    mut state: State,
    mut after: impl FnMut(&State) -> Result<()>,
) -> Result<Run> {
    let resumed_at_end = state.ended.is_some();
    pool.install(|| {
        passes.reset()?;
        if let (Some(before), None) = (&state.before, state.ended) {
            // A resumed run: the labels it had are those of the centroids before.
            passes.assign(&Columns::new(before, problem.columns))?;
        }
        Ok(())
    })?;
    let mut stopped = false;
    while state.ended.is_none() && !stopped {
        params.cancel.check()?;
        pool.install(|| go_on(problem, params, passes, &mut state))?;
        stopped = stops(params, &state);
        // What is saved has not ended by a stop: a later fit goes on from it.
        after(&state)?;
    }
    pool.install(|| {
        if let (Some(before), true) = (&state.before, params.centroid_type.is_some()) {
            if resumed_at_end {
                passes.assign(&Columns::new(before, problem.columns))?;
            }
            let finished = finish::centroids(problem, params, passes.labels()?, before, &state.centroids)?;
            state.settled &= finished == *state.centroids;
            state.centroids = Arc::new(finished);
        }
        if !state.settled || resumed_at_end {
            // Labels belong to the returned centroids.
            passes.assign(&Columns::new(&state.centroids, problem.columns))?;
        }
        end(problem, params, passes, state, stopped)
    })
}

/// One iteration, or several where nobody asks for what lies between them and the device takes them.
fn go_on(problem: &Problem, params: &Params, passes: &mut dyn Passes, state: &mut State) -> Result<()> {
    // Whoever listens to iterations, or keeps each, gets them one by one.
    let is_watched = params.callback.is_some() || params.checkpoint.is_some();
    let start = Start {
        centroids: &state.centroids,
        is_first: state.before.is_none(),
        most: if is_watched { 0 } else { params.max_iter - state.history.len() },
        tolerance: tolerance(problem, params),
        cancel: &params.cancel,
    };
    let Some(burst) = passes.burst(&start)? else {
        let pass = passes.assign(&Columns::new(&state.centroids, problem.columns))?;
        return complete(problem, params, passes, state, pass);
    };
    let Burst { device, steps, before, centroids, halted } = burst;
    for (at, step) in steps.iter().enumerate() {
        if state.ended.is_some() {
            let reason = format!("it went on after iteration {at} of a burst, which was the last");
            return Err(Error::WrongResult { device, operation: "a burst of passes", reason });
        }
        state.note(problem, params, step);
    }
    if !steps.is_empty() {
        state.before = Some(Arc::new(before));
        state.centroids = Arc::new(centroids);
        state.settled = state.before.as_ref() == Some(&state.centroids);
    }
    match halted {
        Some(pass) => complete(problem, params, passes, state, pass),
        None => Ok(()),
    }
}

/// The end of an iteration: new centroids of the pass that was taken, and whether the run ends with them.
fn complete(
    problem: &Problem,
    params: &Params,
    passes: &mut dyn Passes,
    state: &mut State,
    pass: Pass,
) -> Result<()> {
    let update = update(problem, params, passes, &state.centroids)?;
    let inertia = match update.inertia {
        Some(inertia) => inertia,
        None => spread(problem, passes.sums(), &state.centroids).max(0.0),
    };
    state.note(problem, params, &Step { pass, shift: update.shift, inertia });
    state.before = Some(std::mem::replace(&mut state.centroids, Arc::new(update.centroids)));
    state.settled = state.before.as_ref() == Some(&state.centroids);
    Ok(())
}

/// The largest squared shift, between x', that ends a run.
fn tolerance(problem: &Problem, params: &Params) -> f64 {
    params.tol * problem.mean_variance
}

impl State {
    /// Adds an iteration to the history, and ends the run where that is the last.
    fn note(&mut self, problem: &Problem, params: &Params, step: &Step) {
        let (rows, scale) = (problem.rows as f64, problem.frame.scale);
        let Step { pass, shift, inertia } = *step;
        let is_strict = !self.history.is_empty() && pass.changed == 0;
        self.history.push(Iteration {
            inertia: problem.inertia(inertia),
            changed: pass.changed,
            screened: pass.screened as f64 / rows,
            rechecked: pass.rechecked as f64 / rows,
            shift: shift / scale / scale,
            products: pass.products,
        });
        if is_strict || shift <= tolerance(problem, params) {
            self.ended = Some(true);
        } else if self.history.len() >= params.max_iter {
            self.ended = Some(false);
        }
    }
}

/// Whether the callback ends the fit after the last iteration.
pub(super) fn stops(params: &Params, state: &State) -> bool {
    let (Some(callback), Some(last)) = (&params.callback, state.history.last()) else { return false };
    let progress = Progress {
        run: state.run,
        iteration: state.history.len(),
        inertia: last.inertia,
        changed: last.changed,
        shift: last.shift,
    };
    callback(&progress) == Control::Stop
}

/// The inertia of the centroids to hand out, under the labels of the last pass.
fn end(
    problem: &Problem,
    params: &Params,
    passes: &mut dyn Passes,
    state: State,
    stopped: bool,
) -> Result<Run> {
    let labels = passes.labels()?;
    if params.centroid_type.is_some()
        && let Some(scaled) = finish::inertia(problem, params, &labels, &state.centroids)
    {
        return Ok(Run { inertia: problem.inertia(scaled), state, labels, stopped });
    }
    let mut scaled = spread(problem, passes.sums(), &state.centroids);
    let is_sure = !fine::loses_digits(problem, &labels, params.n_clusters)
        && scaled > 1e-6 * problem.total_square
        && scaled > 1e7 * spread_error(problem, &labels, &state.centroids);
    if !is_sure {
        scaled = relocate::direct_inertia(problem, &labels, &state.centroids)?;
    }
    Ok(Run { inertia: problem.inertia(scaled), state, labels, stopped })
}

/// `sum w |x - c|^2 = sum w |x|^2 - 2 sum c . S + sum n |c|^2`, between x'. Loses digits where it is far below the
/// first term.
fn spread(problem: &Problem, sums: &Sums, centroids: &[f64]) -> f64 {
    let columns = problem.columns;
    let clusters = sums.totals.par_chunks_exact(columns).zip(centroids.par_chunks_exact(columns));
    let terms = clusters.zip(&sums.weights).with_min_len(fewest_clusters(columns));
    let terms: Vec<f64> = terms
        .map(|((totals, centroid), &weight)| {
            let [cross, square] = cross_and_square(totals, problem.grid.steps(), centroid);
            weight_value(problem, weight) * square - 2.0 * cross
        })
        .collect();
    over_clusters(problem.total_square, &terms)
}

/// Interleaved parts of a sum over clusters.
const PARTS: usize = 64;

/// A sum over clusters, beginning with `first`: in interleaved parts, and those in order, so that a device can make it too.
fn over_clusters(first: f64, terms: &[f64]) -> f64 {
    let mut parts = [0.0_f64; PARTS];
    for terms in terms.chunks(PARTS) {
        parts.iter_mut().zip(terms).for_each(|(part, term)| *part += term);
    }
    parts.into_iter().fold(first, |sum, part| sum + part)
}

widest! {
    /// A centroid times its cluster's sum, and times itself, each summed in eight interleaved parts and those in order.
    fn cross_and_square(totals: &[i64], steps: &[f64], centroid: &[f64]) -> [f64; 2] = cross_and_square_body;
}

#[inline(always)]
fn cross_and_square_body(totals: &[i64], steps: &[f64], centroid: &[f64]) -> [f64; 2] {
    let mut sums = [[0.0_f64; 8]; 2];
    for ((totals, steps), centroid) in totals.chunks(8).zip(steps.chunks(8)).zip(centroid.chunks(8)) {
        for (at, ((&total, &step), &c)) in totals.iter().zip(steps).zip(centroid).enumerate() {
            sums[0][at] += c * (total as f64 * step);
            sums[1][at] += c * c;
        }
    }
    sums.map(|parts| parts.iter().sum())
}

/// Clusters that are worth a thread's while.
pub(super) fn fewest_clusters(columns: usize) -> usize {
    const ELEMENTS: usize = 1 << 13;
    ELEMENTS.div_ceil(columns)
}

/// Largest error of [`spread`] by the rounding of rows and weights to the grid: half a step per row and feature.
fn spread_error(problem: &Problem, labels: &[u32], centroids: &[f64]) -> f64 {
    let weight_step = if problem.weights.is_some() { problem.grid.weight_unit() } else { 0.0 };
    let per_row: Vec<f64> = centroids
        .chunks_exact(problem.columns)
        .map(|centroid| {
            let steps = |(column, c): (usize, &f64)| c.abs() * problem.grid.value(1, column);
            let square = centroid.iter().map(|c| c * c).sum::<f64>();
            centroid.iter().enumerate().map(steps).sum::<f64>() + 0.5 * weight_step * square
        })
        .collect();
    let of_block = |labels: &[u32]| labels.iter().map(|&label| per_row[label as usize]).sum::<f64>();
    let blocks: Vec<f64> = labels.par_chunks(SUM_BLOCK).map(of_block).collect();
    blocks.into_iter().sum()
}

/// The real value of a sum of weights.
fn weight_value(problem: &Problem, weight: i64) -> f64 {
    weight as f64 * if problem.weights.is_some() { problem.grid.weight_unit() } else { 1.0 }
}

struct Update {
    centroids: Vec<f64>,
    shift: f64,
    /// The scaled inertia of the centroids before, where the grid's sums do not tell it.
    inertia: Option<f64>,
}

/// New centroids from the sums, empty clusters relocated.
fn update(problem: &Problem, params: &Params, passes: &mut dyn Passes, centroids: &[f64]) -> Result<Update> {
    if problem.may_lose_digits {
        let labels = passes.labels()?;
        if fine::loses_digits(problem, &labels, params.n_clusters) {
            let inertia = Some(relocate::direct_inertia(problem, &labels, centroids)?);
            let new = fine::means(problem, params, labels, centroids)?;
            let pairs = new.chunks_exact(problem.columns).zip(centroids.chunks_exact(problem.columns));
            let shifts: Vec<f64> = pairs.map(|(new, old)| squared_shift(new, old)).collect();
            return Ok(Update { centroids: new, shift: over_clusters(0.0, &shifts), inertia });
        }
    }
    let filled = if passes.sums().weights.contains(&0) {
        let (labels, mut sums) = (passes.labels()?, passes.sums().clone());
        relocate::fill_empty(problem, &labels, centroids, &mut sums)?;
        Some(sums)
    } else {
        None
    };
    let sums = filled.as_ref().unwrap_or_else(|| passes.sums());
    let columns = problem.columns;
    let mut new = vec![0.0; centroids.len()];
    let clusters = new.par_chunks_exact_mut(columns).zip(centroids.par_chunks_exact(columns));
    let clusters = clusters.zip(sums.totals.par_chunks_exact(columns)).zip(&sums.weights);
    let shifts = clusters.with_min_len(fewest_clusters(columns)).map(|(((new, old), totals), &weight)| {
        new.copy_from_slice(old);
        if weight > 0 {
            mean(problem, params, totals, weight_value(problem, weight), new);
        }
        squared_shift(new, old)
    });
    let mut shifts: Vec<f64> = shifts.collect();
    // As scikit-learn: a cluster that stays empty moves onto the heaviest one.
    let heaviest = (0..sums.weights.len()).rev().max_by_key(|&cluster| sums.weights[cluster]).unwrap_or(0);
    for cluster in 0..sums.weights.len() {
        if sums.weights[cluster] <= 0 {
            let place = cluster * columns..(cluster + 1) * columns;
            new.copy_within(heaviest * columns..(heaviest + 1) * columns, place.start);
            shifts[cluster] = squared_shift(&new[place.clone()], &centroids[place]);
        }
    }
    Ok(Update { centroids: new, shift: over_clusters(0.0, &shifts), inertia: None })
}

/// The mean of a cluster, or its direction in spherical mode, where a sum of length 0 keeps the old direction.
fn mean(problem: &Problem, params: &Params, totals: &[i64], weight: f64, centroid: &mut [f64]) {
    let steps = problem.grid.steps();
    let divisor = if params.spherical {
        let values = totals.iter().zip(steps).map(|(&total, &step)| total as f64 * step);
        values.map(|value| value * value).sum::<f64>().sqrt()
    } else {
        weight
    };
    if divisor > 0.0 {
        quotients(totals, steps, divisor, centroid);
    }
}

widest! {
    /// Sums on the grid, divided.
    fn quotients(totals: &[i64], steps: &[f64], divisor: f64, to: &mut [f64]) = quotients_body;
}

#[inline(always)]
fn quotients_body(totals: &[i64], steps: &[f64], divisor: f64, to: &mut [f64]) {
    for ((to, &total), &step) in to.iter_mut().zip(totals).zip(steps) {
        *to = total as f64 * step / divisor;
    }
}

widest! {
    /// `|new - old|^2`, summed in eight interleaved parts and those in order.
    pub(super) fn squared_shift(new: &[f64], old: &[f64]) -> f64 = squared_shift_body;
}

#[inline(always)]
fn squared_shift_body(new: &[f64], old: &[f64]) -> f64 {
    let mut sums = [0.0_f64; 8];
    for (new, old) in new.chunks(8).zip(old.chunks(8)) {
        for (at, (&new, &old)) in new.iter().zip(old).enumerate() {
            sums[at] += (new - old) * (new - old);
        }
    }
    sums.iter().sum()
}
