//! A clustering on the reference device: the definitions of `reference`, in the order that `params` asks for.

use std::convert::identity;
use std::time::Instant;

use ndarray::{Array2, ArrayView2};

use super::entry::Entry;
use super::integer::Units;
use super::params::{Init, Method, Params};
use super::problem::{Found, Problem};
use super::reference::{self, Number, Order};
use super::results::{Fit, SearchStats, Seconds};
use crate::cancel::Cancel;
use crate::device::Backend;
use crate::error::{Error, Result};
use crate::memory::{self, area, zeros};
use crate::random::Draws;

/// Clusters as the definition has it: by sums of `f64`, or by exact ones where the problem's units are exact.
pub(super) fn cluster<T: Entry, G: Units>(
    problem: &Problem<T, G>,
    has_silhouette: bool,
    params: &Params,
    mut seconds: Seconds,
) -> Result<Fit> {
    let begin = Instant::now();
    memory::ask("the reference's work", &[area::<f64>(problem.objects(), 8)])?;
    let matrix = wide(problem)?;
    let (matrix, grid) = (matrix.view(), problem.grid);
    let (found, loss) = match grid.grid() {
        Some(_) => {
            let numbers = Numbers { read: identity, read_ratio: identity };
            let found = numbers.find(problem, &matrix, params)?;
            let loss = reference::loss(&matrix, &found.medoids, identity);
            (found, loss)
        }
        None => {
            let ratios = G::of_ratios(problem.objects());
            let numbers = Numbers { read: |d| grid.integer(d), read_ratio: |ratio| ratios.integer(ratio) };
            let found = numbers.find(problem, &matrix, params)?;
            let loss = grid.value(reference::loss(&matrix, &found.medoids, numbers.read));
            (found, loss)
        }
    };
    seconds.improve = begin.elapsed().as_secs_f64();
    let silhouette = reference::silhouette(&matrix, &found.medoids);
    Ok(Fit {
        labels: reference::labels(&matrix, &found.medoids),
        loss,
        silhouette: (found.medoids.len() > 1 && has_silhouette).then_some(silhouette),
        medoids: found.medoids,
        n_iter: found.stats.iterations,
        n_swaps: found.stats.swaps,
        converged: found.stats.converged,
        tried: found.tried,
        device: Backend::Reference.name(),
        seconds,
    })
}

/// What sums are made of, by what dissimilarities and their ratios are read as.
#[derive(Clone, Copy)]
struct Numbers<L, R> {
    read: L,
    read_ratio: R,
}

impl<S: Number, L: Fn(f64) -> S + Copy, R: Fn(f64) -> S + Copy> Numbers<L, R> {
    fn find<T: Entry, G: Units>(
        self,
        problem: &Problem<T, G>,
        matrix: &ArrayView2<f64>,
        params: &Params,
    ) -> Result<Found> {
        let mut draws = Draws::new(params.seed, 0);
        match params.method {
            Method::Clara { samples, size } => {
                let pam = Params { method: Method::Pam, ..params.clone() };
                problem.clara((samples, size), params, &mut draws, |sample, first, _| {
                    self.improve(&wide(sample)?.view(), first, &pam)
                })
            }
            Method::OneBatch { .. } | Method::Clarans { .. } => {
                let rule = "a method that draws no swaps and weighs no objects, on the reference device";
                Err(Error::parameter("method", rule, format!("{:?}", params.method)))
            }
            _ => {
                let first = match &params.init {
                    Init::Build => reference::build(matrix, params.n_clusters, self.read, &params.cancel)?,
                    _ => problem.first(params, &mut draws)?,
                };
                self.improve(matrix, first, params)
            }
        }
    }

    fn improve(self, matrix: &ArrayView2<f64>, mut medoids: Vec<usize>, params: &Params) -> Result<Found> {
        let (most, cancel) = (params.max_iter, &params.cancel);
        let loss = |medoids: &[usize]| reference::loss(matrix, medoids, self.read);
        let ratios = |medoids: &[usize]| reference::ratios(matrix, medoids, self.read_ratio);
        let steps = match params.method {
            Method::FasterPam => reference::swaps(matrix, &mut medoids, loss, Order::Eager, most, cancel),
            Method::FasterMsc => reference::swaps(matrix, &mut medoids, ratios, Order::Eager, most, cancel),
            Method::PamMedSil => {
                reference::swaps(matrix, &mut medoids, ratios, Order::Steepest, most, cancel)
            }
            Method::Alternating => reference::alternate(matrix, &mut medoids, most, self.read, cancel),
            Method::DynMsc { fewest } => return self.fewer(matrix, medoids, (fewest, most), cancel),
            _ => reference::swaps(matrix, &mut medoids, loss, Order::Steepest, most, cancel),
        };
        Ok(Found::new(medoids, stats(steps?)))
    }

    /// From many medoids to few, the best silhouette wins, the fewest medoids among equals.
    fn fewer(
        self,
        matrix: &ArrayView2<f64>,
        mut medoids: Vec<usize>,
        (fewest, most): (usize, usize),
        cancel: &Cancel,
    ) -> Result<Found> {
        let ratios = |medoids: &[usize]| reference::ratios(matrix, medoids, self.read_ratio);
        let mut best: Option<(S, Vec<usize>)> = None;
        let mut found =
            Found { stats: SearchStats { converged: true, ..SearchStats::default() }, ..Found::default() };
        loop {
            let steps = reference::swaps(matrix, &mut medoids, ratios, Order::Eager, most, cancel)?;
            found.stats = found.stats.then(stats(steps));
            let sum = ratios(&medoids);
            found.tried.push((medoids.len(), reference::silhouette(matrix, &medoids)));
            if best.as_ref().is_none_or(|(least, _)| sum <= *least) {
                best = Some((sum, medoids.clone()));
            }
            if medoids.len() == fewest {
                break;
            }
            cancel.check()?;
            let without = |place: usize| {
                let others = medoids.iter().enumerate().filter(|(at, _)| *at != place);
                ratios(&others.map(|(_, &medoid)| medoid).collect::<Vec<_>>())
            };
            let order = |&a: &usize, &b: &usize| without(a).partial_cmp(&without(b));
            let missed_least =
                (0..medoids.len()).min_by(|a, b| order(a, b).unwrap_or(std::cmp::Ordering::Equal));
            medoids.remove(missed_least.unwrap_or_default());
        }
        found.medoids = best.map(|(_, medoids)| medoids).unwrap_or_default();
        Ok(found)
    }
}

fn stats((iterations, swaps, converged): reference::Steps) -> SearchStats {
    SearchStats { iterations, swaps, converged }
}

/// The matrix in `f64`: entry (object, candidate).
fn wide<T: Entry, G: Units>(problem: &Problem<T, G>) -> Result<Array2<f64>> {
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
