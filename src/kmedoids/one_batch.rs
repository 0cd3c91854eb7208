//! FasterPAM whose loss is measured on a sample of the objects: all objects are candidates, and each object of the sample
//! stands for those that it is the nearest of the sample to.

use rayon::prelude::*;

use super::assignment::assign;
use super::columns::Columns;
use super::digits;
use super::entry::Entry;
use super::exact::{Exact, FEW, Span};
use super::grid::Grid;
use super::integer::Units;
use super::objective::Loss;
use super::params::{Init, Params};
use super::problem::Found;
use super::random::distinct;
use super::state::State;
use super::swaps::eager;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::random::Draws;

/// Medoids by dissimilarities of the sample alone: `values` has one column per candidate, of the objects in `batch`.
pub(super) fn search<T: Entry>(
    values: Vec<T>,
    batch: &[usize],
    params: &Params,
    draws: &mut Draws,
) -> Result<Found> {
    let size = batch.len();
    let cancel = &params.cancel;
    let weights = weights(&values, size, cancel)?;
    let weight = weights.iter().map(|&weight| u64::from(weight)).sum();
    let largest = values.par_iter().map(|d| d.wide().abs()).reduce(|| 0.0, f64::max);
    let grid = Grid::new(largest, weight);
    let sample = Sample { columns: Columns::held(values.into(), size, cancel), weights, batch };
    let found = sample.search(grid, params, &mut draws.clone())?;
    let chosen = sample.columns.of(&found.medoids)?;
    let labels = assign(&chosen, size, grid, cancel)?.labels;
    let medoids: Vec<usize> = found.medoids.iter().map(|&medoid| sample.place_of(medoid)).collect();
    if digits::are_kept(digits::of_distances(&chosen, &labels, &medoids), medoids.len(), grid, largest) {
        return Ok(found);
    }
    let span = Span::of_columns(&sample.columns)?;
    match Exact::<FEW>::new(&span, weight) {
        Some(grid) => sample.search(grid, params, draws),
        None => sample.search(T::widest(&span, weight)?, params, draws),
    }
}

/// What is measured of the objects.
struct Sample<'a, T: Entry> {
    columns: Columns<'static, T>,
    weights: Vec<u32>,
    batch: &'a [usize],
}

impl<T: Entry> Sample<'_, T> {
    /// Where an object is in the sample, or behind all of them.
    fn place_of(&self, object: usize) -> usize {
        self.batch.binary_search(&object).unwrap_or(self.batch.len())
    }

    fn search<G: Units>(&self, grid: G, params: &Params, draws: &mut Draws) -> Result<Found> {
        let (columns, batch, size) = (&self.columns, self.batch, self.batch.len());
        let medoids = match &params.init {
            Init::Given(medoids) => medoids.clone(),
            Init::Random => distinct(columns.candidates(), params.n_clusters, draws),
            // The others choose among the objects that they measure.
            init if params.n_clusters <= size => {
                let values = columns.part(batch, &(0..size).collect::<Vec<_>>())?;
                let sample = Columns::held(values.into(), size, &params.cancel);
                let chosen = super::init::choose(&sample, grid, (init, params.n_clusters), params, draws)?;
                chosen.into_iter().map(|at| batch[at]).collect()
            }
            _ => distinct(columns.candidates(), params.n_clusters, draws),
        };
        let mut state = State::new(Loss { grid }, columns, Some(&self.weights), medoids)?;
        let stats = eager(&mut state, columns, params.max_iter, &params.cancel)?;
        Ok(Found::new(state.into_medoids(), stats))
    }
}

/// How many candidates each object of the sample is the nearest to, ties to the first.
fn weights<T: Entry>(values: &[T], size: usize, cancel: &Cancel) -> Result<Vec<u32>> {
    let nearest = |column: &[T]| {
        let mut best = (T::INFINITY, 0);
        for (at, &d) in column.iter().enumerate() {
            if d < best.0 {
                best = (d, at);
            }
        }
        best.1
    };
    let count = |mut counts: Vec<u32>, column: &[T]| {
        cancel.check()?;
        counts[nearest(column)] += 1;
        Ok(counts)
    };
    let add = |mut counts: Vec<u32>, others: Vec<u32>| {
        counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
        Ok(counts)
    };
    values.par_chunks_exact(size).try_fold(|| vec![0; size], count).try_reduce(|| vec![0; size], add)
}
