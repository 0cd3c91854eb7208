//! The rows of each cluster, for means that the host takes from labels: in tasks, whose sums have one order.

use std::ops::Range;

use rayon::prelude::*;

use super::problem::Problem;
use super::relocate;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::memory::{self, area};

/// Rows of a cluster whose sum is one task.
const CHUNK_ROWS: usize = 4096;

/// Rows in order of their labels.
pub(super) struct Members {
    rows: Vec<u32>,
    /// Each cluster's rows, cut, in order.
    tasks: Vec<(usize, Range<usize>)>,
}

impl Members {
    /// Those of labels that `centroids` gave. Empty clusters are filled as in every iteration.
    pub fn new(problem: &Problem, mut labels: Vec<u32>, centroids: &[f64]) -> Result<Self> {
        let n_clusters = centroids.len() / problem.columns;
        let parts = problem.rows.div_ceil(CHUNK_ROWS).saturating_add(n_clusters);
        let sums = area::<f64>(parts.saturating_add(n_clusters), problem.columns.saturating_add(16));
        memory::ask("sums of the input's rows", &[sums, area::<u64>(problem.rows, 1)])?;
        let mut occupied = vec![false; n_clusters];
        for (row, &label) in labels.iter().enumerate() {
            occupied[label as usize] |= problem.exact_weight(row) > 0.0;
        }
        let empty: Vec<u32> = (0..n_clusters as u32).filter(|&cluster| !occupied[cluster as usize]).collect();
        if !empty.is_empty() {
            for (row, cluster) in relocate::moves(problem, &labels, centroids, &empty)? {
                labels[row] = cluster;
            }
        }
        let (rows, ends) = by_label(&labels, n_clusters);
        let mut tasks = Vec::new();
        for (cluster, &end) in ends.iter().enumerate() {
            let start = if cluster == 0 { 0 } else { ends[cluster - 1] };
            tasks.extend((start..end).step_by(CHUNK_ROWS).map(|at| (cluster, at..end.min(at + CHUNK_ROWS))));
        }
        Ok(Self { rows, tasks })
    }

    /// What `sum` makes of the rows of each task, with the cluster, in order.
    pub fn sums<S: Send>(
        &self,
        cancel: &Cancel,
        sum: impl Fn(&[u32]) -> Result<S> + Sync,
    ) -> Result<Vec<(usize, S)>> {
        let sums: Vec<Result<S>> = self
            .tasks
            .par_iter()
            .map(|(_, task)| {
                cancel.check()?;
                sum(&self.rows[task.clone()])
            })
            .collect();
        self.tasks.iter().zip(sums).map(|((cluster, _), sum)| Ok((*cluster, sum?))).collect()
    }
}

/// Rows in order of their labels, and where each label's rows end.
fn by_label(labels: &[u32], n_clusters: usize) -> (Vec<u32>, Vec<usize>) {
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

/// As an iteration does: a cluster that stays empty lies on the heaviest one.
pub(super) fn cover_empty(means: &mut [f64], weights: &[f64]) {
    let (n_clusters, columns) = (weights.len(), means.len() / weights.len());
    let heaviest = (0..n_clusters).rev().max_by(|&a, &b| weights[a].total_cmp(&weights[b])).unwrap_or(0);
    for cluster in (0..n_clusters).filter(|&cluster| weights[cluster] <= 0.0) {
        means.copy_within(heaviest * columns..(heaviest + 1) * columns, cluster * columns);
    }
}
