//! A clustering on the reference device: the definitions of `reference`, in the order that `params` asks for.

use std::time::Instant;

use ndarray::{Array2, ArrayView2};

use super::entry::Entry;
use super::params::{Init, Method, Params};
use super::problem::{Found, Problem};
use super::reference::{self, Order};
use super::results::{Fit, SearchStats, Seconds};
use crate::device::Backend;
use crate::error::{Error, Result};
use crate::memory::{self, area, zeros};
use crate::random::Draws;

/// Clusters as the definition has it.
pub(super) fn cluster<T: Entry>(
    problem: &Problem<T>,
    has_negative: bool,
    params: &Params,
    mut seconds: Seconds,
) -> Result<Fit> {
    let begin = Instant::now();
    memory::ask("the reference's work", &[area::<f64>(problem.objects(), 8)])?;
    let matrix = wide(problem)?;
    let matrix = matrix.view();
    let mut draws = Draws::new(params.seed, 0);
    let found = match params.method {
        Method::Clara { samples, size } => {
            let pam = Params { method: Method::Pam, ..params.clone() };
            problem.clara((samples, size), params, &mut draws, |sample, first, _| {
                improve(&wide(sample)?.view(), first, &pam)
            })?
        }
        Method::OneBatch { .. } | Method::Clarans { .. } => {
            let rule = "a method that draws no swaps and weighs no objects, on the reference device";
            return Err(Error::parameter("method", rule, format!("{:?}", params.method)));
        }
        _ => {
            let first = match &params.init {
                Init::Build => reference::build(&matrix, params.n_clusters),
                _ => problem.first(params, &mut draws)?,
            };
            improve(&matrix, first, params)?
        }
    };
    seconds.improve = begin.elapsed().as_secs_f64();
    let silhouette = reference::silhouette(&matrix, &found.medoids);
    Ok(Fit {
        labels: reference::labels(&matrix, &found.medoids),
        loss: reference::loss(&matrix, &found.medoids),
        silhouette: (found.medoids.len() > 1 && !has_negative).then_some(silhouette),
        medoids: found.medoids,
        n_iter: found.stats.iterations,
        n_swaps: found.stats.swaps,
        converged: found.stats.converged,
        tried: found.tried,
        device: Backend::Reference.name(),
        seconds,
    })
}

/// The matrix in `f64`: entry (object, candidate).
fn wide<T: Entry>(problem: &Problem<T>) -> Result<Array2<f64>> {
    let objects = problem.objects();
    let mut matrix = zeros("the matrix in f64", objects, objects)?;
    problem.columns.for_each_block(|first, block| {
        for (index, column) in block.chunks_exact(objects).enumerate() {
            column.iter().enumerate().for_each(|(object, d)| matrix[[object, first + index]] = d.wide());
        }
        Ok(())
    })?;
    Ok(matrix)
}

fn improve(matrix: &ArrayView2<f64>, mut medoids: Vec<usize>, params: &Params) -> Result<Found> {
    let most = params.max_iter;
    let steps = match params.method {
        Method::FasterPam => reference::swaps(matrix, &mut medoids, reference::loss, Order::Eager, most),
        Method::FasterMsc => reference::swaps(matrix, &mut medoids, reference::ratios, Order::Eager, most),
        Method::PamMedSil => reference::swaps(matrix, &mut medoids, reference::ratios, Order::Steepest, most),
        Method::Alternating => reference::alternate(matrix, &mut medoids, most),
        Method::DynMsc { fewest } => return Ok(fewer(matrix, medoids, fewest, most)),
        _ => reference::swaps(matrix, &mut medoids, reference::loss, Order::Steepest, most),
    };
    Ok(Found::new(medoids, stats(steps)))
}

fn stats((iterations, swaps, converged): reference::Steps) -> SearchStats {
    SearchStats { iterations, swaps, converged }
}

/// From many medoids to few, the best silhouette wins, the fewest medoids among equals.
fn fewer(matrix: &ArrayView2<f64>, mut medoids: Vec<usize>, fewest: usize, most: usize) -> Found {
    let mut best = (f64::INFINITY, Vec::new());
    let mut found =
        Found { stats: SearchStats { converged: true, ..SearchStats::default() }, ..Found::default() };
    loop {
        let steps = reference::swaps(matrix, &mut medoids, reference::ratios, Order::Eager, most);
        found.stats = found.stats.then(stats(steps));
        let sum = reference::ratios(matrix, &medoids);
        found.tried.push((medoids.len(), reference::silhouette(matrix, &medoids)));
        if sum <= best.0 {
            best = (sum, medoids.clone());
        }
        if medoids.len() == fewest {
            break;
        }
        let without = |place: usize| {
            let others = medoids.iter().enumerate().filter(|(at, _)| *at != place);
            reference::ratios(matrix, &others.map(|(_, &medoid)| medoid).collect::<Vec<_>>())
        };
        let missed_least = (0..medoids.len()).min_by(|&a, &b| without(a).total_cmp(&without(b)));
        medoids.remove(missed_least.unwrap_or_default());
    }
    found.medoids = best.1;
    found
}
