//! Runs of a fit by the reference, which has its own loop.

use super::finish;
use super::lloyd::{Iteration, Run, State, stops};
use super::memory::Memory;
use super::params::Params;
use super::problem::Problem;
use super::reference::{self, Definition};
use crate::error::{Error, Result};
use crate::memory::{self, area, zeroed};

/// What runs the reference from first centroids to the end.
pub(super) fn runs(
    problem: &Problem,
    params: &Params,
) -> Result<impl FnMut(State, &mut Memory) -> Result<Run>> {
    let wide = area::<f64>(problem.rows, problem.columns.saturating_add(4));
    memory::ask("the rows in f64", &[wide, area::<f32>(problem.rows, problem.columns)])?;
    let mut x: Vec<f32> = zeroed("the rows", problem.rows, problem.columns)?;
    problem.load(0, &mut x)?;
    let x: Vec<f64> = x.into_iter().map(f64::from).collect();
    let weights: Vec<f64> = (0..problem.rows).map(|row| problem.exact_weight(row)).collect();
    Ok(move |state: State, _: &mut Memory| {
        let definition = Definition {
            x: &x,
            weights: &weights,
            columns: problem.columns,
            max_iter: params.max_iter,
            tolerance: params.tol * problem.mean_variance,
            unit_rows: params.spherical,
        };
        run(problem, params, &definition, state)
    })
}

fn run(problem: &Problem, params: &Params, definition: &Definition, mut state: State) -> Result<Run> {
    let mut stopped = false;
    let mut outcome = reference::lloyd(definition, state.centroids.to_vec(), |step| {
        params.cancel.check()?;
        state.history.push(Iteration {
            inertia: problem.inertia(step.inertia),
            changed: step.changed,
            screened: 0.0,
            rechecked: 0.0,
            shift: step.shift / problem.frame.scale / problem.frame.scale,
            products: problem.rows as u64 * params.n_clusters as u64,
        });
        stopped = stops(params, &state, state.history.len());
        Ok::<bool, Error>(!stopped)
    })?;
    if params.centroid_type.is_some() {
        let (before, labels) = std::mem::take(&mut outcome.before);
        outcome.centroids = finish::centroids(problem, params, labels, &before, &outcome.centroids)?;
        (outcome.labels, outcome.inertia) = reference::assign(definition, &outcome.centroids);
    }
    let scaled = finish::inertia(problem, params, &outcome.labels, &outcome.centroids);
    let inertia = problem.inertia(scaled.unwrap_or(outcome.inertia));
    state.centroids = outcome.centroids.into();
    state.ended = Some(outcome.converged);
    Ok(Run { state, labels: outcome.labels, inertia, stopped })
}
