//! The `n_init` runs of a fit, on a backend that takes passes or by the reference.

use std::time::Instant;

use super::checkpoint::{Checkpoint, Memory};
use super::finish;
use super::init;
use super::lloyd::{self, Iteration, Passes, Run, State};
use super::params::{Control, Params, Progress};
use super::perform::Seconds;
use super::problem::Problem;
use super::reference;
use crate::error::{Error, Result};

/// Runs `n_init` times on one backend and keeps the run with the lowest inertia. `memory` is where it goes on from,
/// and what is left of it when the backend fails.
pub(super) fn fit_passes(
    problem: &Problem,
    params: &Params,
    passes: &mut dyn Passes,
    seconds: &mut Seconds,
    memory: &mut Memory,
) -> Result<Run> {
    let checkpoint = Checkpoint::of(problem, params);
    if let (None, Some(checkpoint)) = (&memory.state, &checkpoint) {
        *memory = checkpoint.load()?;
    }
    // A finished run only needs its labels again.
    let mut best = match memory.best.clone() {
        Some(state) => Some(lloyd::run(problem, params, passes, state, |_| Ok(()))?),
        None => None,
    };
    let mut resumed = memory.state.clone().map(|state| state.resumed(params.max_iter));
    let first = resumed.as_ref().map_or(0, |state| state.run);
    for run in first..params.runs() {
        let begin = Instant::now();
        let state = match resumed.take() {
            Some(state) => state,
            None => State::new(run, init::choose(problem, params, run)?),
        };
        seconds.init += begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let finished = lloyd::run(problem, params, passes, state, |state| {
            match &mut memory.state {
                Some(kept) => kept.copy_from(state),
                None => memory.state = Some(state.clone()),
            }
            checkpoint.as_ref().map_or(Ok(()), |checkpoint| checkpoint.save(memory))
        })?;
        seconds.iterate += begin.elapsed().as_secs_f64();
        let stopped = finished.stopped;
        if best.as_ref().is_none_or(|best| finished.inertia < best.inertia) {
            memory.best = Some(finished.state.clone());
            best = Some(finished);
        }
        if stopped {
            break;
        }
    }
    best.ok_or_else(|| Error::parameter("n_init", "at least 1", 0))
}

/// The reference runs on its own, from the same first centroids.
pub(super) fn fit_reference(problem: &Problem, params: &Params, seconds: &mut Seconds) -> Result<Run> {
    let mut x = vec![0.0_f32; problem.rows * problem.columns];
    problem.load(0, &mut x)?;
    let x: Vec<f64> = x.into_iter().map(f64::from).collect();
    let weights: Vec<f64> = (0..problem.rows).map(|row| problem.weight(row).map_or(1.0, f64::from)).collect();
    let definition = reference::Definition {
        x: &x,
        weights: &weights,
        columns: problem.columns,
        max_iter: params.max_iter,
        tolerance: params.tol * problem.mean_variance,
        unit_rows: params.spherical,
    };
    let mut best: Option<Run> = None;
    for run in 0..params.runs() {
        let begin = Instant::now();
        let start = init::choose(problem, params, run)?;
        seconds.init += begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let (mut history, mut stopped) = (Vec::new(), false);
        let mut outcome = reference::lloyd(&definition, start, |step| {
            params.cancel.check()?;
            let inertia = problem.inertia(step.inertia);
            let shift = step.shift / problem.frame.scale / problem.frame.scale;
            let products = problem.rows as u64 * params.n_clusters as u64;
            let (changed, screened, rechecked) = (step.changed, 0.0, 0.0);
            history.push(Iteration { inertia, changed, screened, rechecked, shift, products });
            let progress = Progress { run, iteration: history.len(), inertia, changed: step.changed, shift };
            stopped = params.callback.as_ref().is_some_and(|call| call(&progress) == Control::Stop);
            Ok::<bool, Error>(!stopped)
        })?;
        if finish::is_needed(params) {
            let (before, labels) = std::mem::take(&mut outcome.before);
            outcome.centroids = finish::centroids(problem, params, labels, &before, &outcome.centroids)?;
            (outcome.labels, outcome.inertia) = reference::assign(&definition, &outcome.centroids);
        }
        seconds.iterate += begin.elapsed().as_secs_f64();
        let scaled = finish::inertia(problem, params, &outcome.labels, &outcome.centroids);
        let inertia = problem.inertia(scaled.unwrap_or(outcome.inertia));
        if best.as_ref().is_none_or(|best| inertia < best.inertia) {
            let mut state = State::new(run, outcome.centroids);
            state.history = history;
            state.ended = Some(outcome.converged);
            best = Some(Run { state, labels: outcome.labels, inertia, stopped });
        }
        if stopped {
            break;
        }
    }
    best.ok_or_else(|| Error::parameter("n_init", "at least 1", 0))
}
