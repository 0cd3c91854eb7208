//! First centroids. Draws depend on the seed, the run and the row alone, and every sum has a fixed order, so the
//! choice is the same on every machine and for every device. It runs on the host for all of them.

mod bytes;
pub(super) mod parallel;
#[cfg(test)]
mod plain;
pub(super) mod plus_plus;
pub(super) mod random;
mod rows;
mod screen;

use super::problem::Problem;
use crate::error::Result;
use crate::memory;

/// Rows of x' in `f64`.
pub(super) fn gather(problem: &Problem, rows: &[usize]) -> Result<Vec<f64>> {
    let count = rows.len().saturating_mul(problem.columns);
    let mut centroids = memory::room("centroids", count)?;
    let mut x = vec![0.0; problem.columns];
    for &row in rows {
        problem.load(row, &mut x)?;
        centroids.extend(x.iter().map(|&x| f64::from(x)));
    }
    Ok(centroids)
}
