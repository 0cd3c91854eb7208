//! The end of a run whose caller named a type for the centroids ([`Params::centroid_type`]). Tiles and grid sums see rows
//! as x', which rounds `f64` input once; for `f64` centroids what is handed out is taken from the input itself: centroids
//! are the means of its rows, and the inertia is the sum of their squared distances. Every sum has one order, so the bits
//! do not depend on the device.

use rayon::prelude::*;

use super::params::Params;
use super::problem::{Problem, SUM_BLOCK};
use super::relocate;
use crate::data::ElementType;
use crate::data::frame::widen_row;
use crate::error::Result;
use crate::memory::{self, area};

/// Rows of a cluster whose sum is one task.
const CHUNK_ROWS: usize = 4096;

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
fn means(problem: &Problem, params: &Params, mut labels: Vec<u32>, before: &[f64]) -> Result<Vec<f64>> {
    let n_clusters = params.n_clusters;
    let parts = problem.rows.div_ceil(CHUNK_ROWS).saturating_add(n_clusters);
    let sums = area::<f64>(parts.saturating_add(n_clusters), problem.columns.saturating_add(16));
    memory::ask("sums of the input's rows", &[sums, area::<u64>(problem.rows, 1)])?;
    let mut occupied = vec![false; n_clusters];
    for (row, &label) in labels.iter().enumerate() {
        occupied[label as usize] |= problem.exact_weight(row) != 0.0;
    }
    let empty: Vec<u32> = (0..n_clusters as u32).filter(|&cluster| !occupied[cluster as usize]).collect();
    if !empty.is_empty() {
        for (row, cluster) in relocate::moves(problem, &labels, before, &empty)? {
            labels[row] = cluster;
        }
    }
    let (members, ends) = by_label(&labels, n_clusters);
    let mut tasks = Vec::new();
    for (cluster, &end) in ends.iter().enumerate() {
        let start = if cluster == 0 { 0 } else { ends[cluster - 1] };
        tasks.extend((start..end).step_by(CHUNK_ROWS).map(|at| (cluster, at, end.min(at + CHUNK_ROWS))));
    }
    let sums: Vec<Result<(Vec<f64>, f64)>> = tasks
        .par_iter()
        .map(|&(_, start, end)| {
            params.cancel.check()?;
            Ok(sum_of(problem, &members[start..end]))
        })
        .collect();
    let columns = problem.columns;
    let (mut totals, mut weights) = (vec![0.0; n_clusters * columns], vec![0.0; n_clusters]);
    for ((cluster, ..), sum) in tasks.iter().zip(sums) {
        let (sum, weight) = sum?;
        weights[*cluster] += weight;
        totals[cluster * columns..(cluster + 1) * columns].iter_mut().zip(sum).for_each(|(t, s)| *t += s);
    }
    for (totals, &weight) in totals.chunks_exact_mut(columns).zip(&weights) {
        if weight > 0.0 {
            totals.iter_mut().for_each(|total| *total /= weight);
        }
    }
    // As an iteration does: a cluster that stays empty lies on the heaviest one.
    let heaviest = (0..n_clusters).rev().max_by(|&a, &b| weights[a].total_cmp(&weights[b])).unwrap_or(0);
    for cluster in (0..n_clusters).filter(|&cluster| weights[cluster] <= 0.0) {
        totals.copy_within(heaviest * columns..(heaviest + 1) * columns, cluster * columns);
    }
    Ok(totals)
}

/// Rows in order of their labels, and where each label's rows end.
pub(super) fn by_label(labels: &[u32], n_clusters: usize) -> (Vec<u32>, Vec<usize>) {
    let mut ends = vec![0_usize; n_clusters];
    labels.iter().for_each(|&label| ends[label as usize] += 1);
    let mut sum = 0;
    for end in &mut ends {
        sum += std::mem::replace(end, sum);
    }
    let mut members = vec![0; labels.len()];
    for (row, &label) in labels.iter().enumerate() {
        members[ends[label as usize]] = row as u32;
        ends[label as usize] += 1;
    }
    (members, ends)
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
