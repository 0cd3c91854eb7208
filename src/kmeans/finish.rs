//! The end of a run whose caller named a type for the centroids ([`Params::centroid_type`]). Tiles and grid sums see rows
//! as x', which rounds `f64` input once; for `f64` centroids what is handed out is taken from the input itself: centroids
//! are the means of its rows, and the inertia is the sum of their squared distances. Every sum has one order, so the bits
//! do not depend on the device.

use rayon::prelude::*;

use super::members::{Members, cover_empty};
use super::params::Params;
use super::problem::{Problem, SUM_BLOCK};
use crate::data::ElementType;
use crate::data::frame::widen_row;
use crate::error::Result;

/// Whether the input holds more than x' does, and the caller wants it.
pub(super) fn is_double(problem: &Problem, params: &Params) -> bool {
    params.centroid_type == Some(ElementType::F64)
        && problem.points.element_type() == ElementType::F64
        && !problem.frame.unit_rows
}

/// The centroids to hand out. `labels` and `before` are those of the last iteration, `centroids` what it led to.
pub(super) fn centroids(
    problem: &Problem,
    params: &Params,
    labels: Vec<u32>,
    before: &[f64],
    centroids: &[f64],
) -> Result<Vec<f64>> {
    let mut finished =
        if is_double(problem, params) { means(problem, params, labels, before)? } else { centroids.to_vec() };
    if let Some(wanted) = params.centroid_type {
        round(problem, wanted, &mut finished);
    }
    Ok(finished)
}

/// Means of the input's rows by label, empty clusters filled as in an iteration.
fn means(problem: &Problem, params: &Params, labels: Vec<u32>, before: &[f64]) -> Result<Vec<f64>> {
    let (columns, n_clusters) = (problem.columns, params.n_clusters);
    let members = Members::new(problem, labels, before)?;
    let (mut totals, mut weights) = (vec![0.0; n_clusters * columns], vec![0.0; n_clusters]);
    for (cluster, (sum, weight)) in members.sums(&params.cancel, |rows| Ok(sum_of(problem, rows)))? {
        weights[cluster] += weight;
        totals[cluster * columns..(cluster + 1) * columns].iter_mut().zip(sum).for_each(|(t, s)| *t += s);
    }
    for (totals, &weight) in totals.chunks_exact_mut(columns).zip(&weights) {
        if weight > 0.0 {
            totals.iter_mut().for_each(|total| *total /= weight);
        }
    }
    cover_empty(&mut totals, &weights);
    Ok(totals)
}

/// Weighted sum of rows in the frame, and of their weights.
fn sum_of(problem: &Problem, rows: &[u32]) -> (Vec<f64>, f64) {
    let (mut sum, mut weights) = (vec![0.0; problem.columns], 0.0);
    let mut raw = vec![0.0; problem.columns];
    for &row in rows {
        widen_row(&problem.points, row as usize, &mut raw);
        let weight = problem.exact_weight(row as usize);
        weights += weight;
        for ((sum, raw), offset) in sum.iter_mut().zip(&raw).zip(&problem.frame.offset) {
            *sum += weight * ((raw - offset) * problem.frame.scale);
        }
    }
    (sum, weights)
}

/// Rounds centroids to what input units hold in a type. `f32` far from the origin would move them by more than their
/// points are rounded: there they keep their digits.
fn round(problem: &Problem, wanted: ElementType, centroids: &mut [f64]) {
    let frame = &problem.frame;
    // Where x' is rounded to, relative to the largest |x'| of 1.
    let least = f64::from(f32::EPSILON) / 2.0;
    for (at, centroid) in centroids.iter_mut().enumerate() {
        let offset = frame.offset[at % problem.columns];
        let shown = *centroid / frame.scale + offset;
        let shown = if wanted == ElementType::F32 { f64::from(shown as f32) } else { shown };
        let back = (shown - offset) * frame.scale;
        if wanted != ElementType::F32 || (back - *centroid).abs() <= least {
            *centroid = back;
        }
    }
}

/// Sum of weighted squared distances from the input's own rows, where those hold more than x' does.
pub(super) fn inertia(problem: &Problem, params: &Params, labels: &[u32], centroids: &[f64]) -> Option<f64> {
    if !is_double(problem, params) {
        return None;
    }
    let columns = problem.columns;
    let block = |(block, labels): (usize, &[u32])| {
        let (mut raw, mut sum) = (vec![0.0; columns], 0.0);
        for (at, &label) in labels.iter().enumerate() {
            let row = block * SUM_BLOCK + at;
            widen_row(&problem.points, row, &mut raw);
            let centroid = &centroids[label as usize * columns..(label as usize + 1) * columns];
            let mut square = 0.0;
            for ((raw, offset), c) in raw.iter().zip(&problem.frame.offset).zip(centroid) {
                let difference = (raw - offset) * problem.frame.scale - c;
                square += difference * difference;
            }
            sum += problem.exact_weight(row) * square;
        }
        sum
    };
    let blocks: Vec<f64> = labels.par_chunks(SUM_BLOCK).enumerate().map(block).collect();
    Some(blocks.into_iter().sum())
}
