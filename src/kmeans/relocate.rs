//! Passes over single distances in `f64` on the host: the farthest points, for empty clusters, and direct inertia.

use rayon::prelude::*;

use super::problem::{Problem, SUM_BLOCK, Sums};
use crate::error::Result;
use crate::tile::operands::columns::squared_distance;

/// Calls `visit(row, x', squared distance to the row's centroid)` for each row, in blocks of [`SUM_BLOCK`] rows that
/// run in parallel, and returns what the blocks give, in order.
fn by_block<R: Send>(
    problem: &Problem,
    labels: &[u32],
    centroids: &[f64],
    block: impl Fn(usize, &mut dyn Iterator<Item = f64>) -> R + Sync,
) -> Result<Vec<R>> {
    let columns = problem.columns;
    labels
        .par_chunks(SUM_BLOCK)
        .enumerate()
        .map_init(Vec::new, |x, (index, labels)| {
            x.resize(labels.len() * columns, 0.0);
            problem.load(index * SUM_BLOCK, x)?;
            let mut distances = labels.iter().zip(x.chunks_exact(columns)).map(|(&label, x)| {
                let start = label as usize * columns;
                squared_distance(x, &centroids[start..start + columns])
            });
            Ok(block(index * SUM_BLOCK, &mut distances))
        })
        .collect()
}

/// Sum of weighted squared distances between x', each in `f64`, in a fixed order.
pub(super) fn direct_inertia(problem: &Problem, labels: &[u32], centroids: &[f64]) -> Result<f64> {
    let blocks = by_block(problem, labels, centroids, |start, distances| {
        distances
            .enumerate()
            .map(|(index, distance)| problem.exact_weight(start + index) * distance)
            .sum::<f64>()
    })?;
    Ok(blocks.into_iter().sum())
}

/// Gives each empty cluster the point farthest from its own centroid, as scikit-learn does: the farthest point goes
/// to the first empty cluster, the next to the second, and each is taken out of the sums of its old cluster. Ties go
/// to the highest row, the order in which scikit-learn reads a partition of the rows by distance from its end; rows of
/// weight 0 are not taken. Nothing happens when all distances are 0.
pub(super) fn fill_empty(
    problem: &Problem,
    labels: &[u32],
    centroids: &[f64],
    sums: &mut Sums,
) -> Result<()> {
    let empty: Vec<u32> = (0..sums.weights.len() as u32).filter(|&k| sums.weights[k as usize] == 0).collect();
    let mut x = vec![0.0; problem.columns];
    for (row, cluster) in moves(problem, labels, centroids, &empty)? {
        problem.load(row, &mut x)?;
        problem.move_row(&x, row, Some(labels[row]), cluster, sums);
    }
    Ok(())
}

/// Which row each of the empty clusters takes, by the rule of [`fill_empty`].
pub(super) fn moves(
    problem: &Problem,
    labels: &[u32],
    centroids: &[f64],
    empty: &[u32],
) -> Result<Vec<(usize, u32)>> {
    let blocks = by_block(problem, labels, centroids, |start, distances| {
        let mut far: Vec<(f64, usize)> = distances
            .enumerate()
            .map(|(index, distance)| (distance, start + index))
            .filter(|&(distance, row)| distance > 0.0 && problem.exact_weight(row) != 0.0)
            .collect();
        sort_farthest_first(&mut far);
        far.truncate(empty.len());
        far
    })?;
    let mut far = blocks.concat();
    sort_farthest_first(&mut far);
    Ok(empty.iter().zip(far).map(|(&cluster, (_, row))| (row, cluster)).collect())
}

fn sort_farthest_first(far: &mut [(f64, usize)]) {
    far.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
}
