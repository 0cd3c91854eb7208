//! Lloyd's algorithm, the same for every device: passes over the rows there, centroids on the host in `f64`.
//!
//! Labels are certified and sums are integers, so everything below sees the same numbers whatever device made them.

use std::sync::Arc;

use super::means::{spread, spread_error, update};
use super::params::{Control, Params, Progress};
use super::problem::{Problem, Sums};
use super::{fine, finish, relocate};
use crate::cancel::Cancel;
use crate::device::CpuPool;
use crate::error::{Error, Result};
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
#[cfg_attr(not(feature = "gpu"), expect(dead_code, reason = "GPUs alone take iterations in a row"))]
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
    let is_watched = params.callback.is_some() || params.checkpoint.is_some();
    let most = if is_watched { WATCHED } else { usize::MAX };
    let mut stopped = false;
    while state.ended.is_none() && !stopped {
        params.cancel.check()?;
        let from = state.clone();
        pool.install(|| go_on(problem, params, passes, &mut state, most))?;
        let heard = tell(params, &state, from.history.len());
        if let Heard::Stop(last) = heard {
            stopped = true;
            if last < state.history.len() {
                pool.install(|| take_back(problem, params, passes, (from, &mut state), last))?;
            }
        }
        // What is saved has not ended by a stop: a later fit goes on from it.
        after(&state)?;
        if heard == Heard::Cancelled {
            return Err(Error::Cancelled);
        }
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

/// Iterations in a row at most where somebody listens to them or keeps where they lead.
const WATCHED: usize = 8;

/// One iteration, or up to `most` in a row where the device takes them.
fn go_on(
    problem: &Problem,
    params: &Params,
    passes: &mut dyn Passes,
    state: &mut State,
    most: usize,
) -> Result<()> {
    let start = Start {
        centroids: &state.centroids,
        is_first: state.before.is_none(),
        most: most.min(params.max_iter - state.history.len()),
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

/// What came of telling the callback.
#[derive(PartialEq)]
enum Heard {
    Nothing,
    /// The fit ends after this iteration.
    Stop(usize),
    /// It was cancelled before the last of them.
    Cancelled,
}

/// Tells the callback of every iteration behind the first `known`.
fn tell(params: &Params, state: &State, known: usize) -> Heard {
    let done = state.history.len();
    for iteration in known + 1..=done {
        if stops(params, state, iteration) {
            return Heard::Stop(iteration);
        }
        if iteration < done && params.callback.is_some() && params.cancel.is_cancelled() {
            return Heard::Cancelled;
        }
    }
    Heard::Nothing
}

/// Goes from `from` to the iteration that was the last, which the device went beyond.
fn take_back(
    problem: &Problem,
    params: &Params,
    passes: &mut dyn Passes,
    (from, state): (State, &mut State),
    last: usize,
) -> Result<()> {
    let history = state.history[..last].to_vec();
    *state = from;
    // Labels are of later centroids: what changes from them tells nothing.
    passes.reset()?;
    while state.history.len() < last {
        state.ended = None;
        let left = last - state.history.len();
        go_on(problem, params, passes, state, left)?;
    }
    (state.history, state.ended) = (history, None);
    Ok(())
}

/// Whether the callback ends the fit after an iteration.
pub(super) fn stops(params: &Params, state: &State, iteration: usize) -> bool {
    let (Some(callback), Some(last)) = (&params.callback, state.history.get(iteration - 1)) else {
        return false;
    };
    let progress = Progress {
        run: state.run,
        iteration,
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
