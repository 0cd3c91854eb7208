//! What the sums of a pass say: means, how far they moved, and the inertia of the centroids before. The kernels of
//! `super::gpu::burst` do the same, operation by operation.

use rayon::prelude::*;

use super::lloyd::Passes;
use super::params::Params;
use super::problem::{Problem, SUM_BLOCK, Sums};
use super::{fine, relocate};
use crate::error::Result;
use crate::simd::widest;

/// `sum w |x - c|^2 = sum w |x|^2 - 2 sum c . S + sum n |c|^2`, between x'. Loses digits where it is far below the
/// first term.
pub(super) fn spread(problem: &Problem, sums: &Sums, centroids: &[f64]) -> f64 {
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
pub(crate) fn fewest_clusters(columns: usize) -> usize {
    const ELEMENTS: usize = 1 << 13;
    ELEMENTS.div_ceil(columns)
}

/// Largest error of [`spread`] by the rounding of rows and weights to the grid: half a step per row and feature.
pub(super) fn spread_error(problem: &Problem, labels: &[u32], centroids: &[f64]) -> f64 {
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

/// What an update step comes to.
pub(super) struct Update {
    /// The new centroids.
    pub centroids: Vec<f64>,
    /// Their squared shift, between x'.
    pub shift: f64,
    /// The scaled inertia of the centroids before, where the grid's sums do not tell it.
    pub inertia: Option<f64>,
}

/// New centroids from the sums, empty clusters relocated.
pub(super) fn update(
    problem: &Problem,
    params: &Params,
    passes: &mut dyn Passes,
    centroids: &[f64],
) -> Result<Update> {
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
