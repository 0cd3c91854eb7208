//! First centroids. Draws depend on the seed, the run and the row alone, and every sum has a fixed order, so the
//! choice is the same on every machine and for every device. It runs on the host for all of them.

mod bytes;
mod parallel;
#[cfg(test)]
mod plain;
mod plus_plus;
mod random;
mod rows;
mod screen;

use super::params::{Init, Params};
use super::problem::Problem;
use crate::data::frame::Frame;
use crate::error::{Error, Result};
use crate::random::Stream;

/// First centroids of one run, as rows of x' in `f64`.
pub(crate) fn choose(problem: &Problem, params: &Params, run: usize) -> Result<Vec<f64>> {
    let stream = Stream::new(params.seed, run as u64);
    let rows = match &params.init {
        Init::Centroids(centroids) => {
            return given(&problem.frame, centroids.outer_iter().map(|row| row.to_vec()));
        }
        Init::Random => random::rows(problem, params.n_clusters, &stream)?,
        Init::PlusPlus => plus_plus::rows(problem, params.n_clusters, &stream, &params.cancel)?,
        Init::Parallel => return parallel::centroids(problem, params, run),
    };
    gather(problem, &rows)
}

/// Rows of x' in `f64`.
fn gather(problem: &Problem, rows: &[usize]) -> Result<Vec<f64>> {
    let mut centroids = Vec::with_capacity(rows.len() * problem.columns);
    let mut x = vec![0.0; problem.columns];
    for &row in rows {
        problem.load(row, &mut x)?;
        centroids.extend(x.iter().map(|&x| f64::from(x)));
    }
    Ok(centroids)
}

/// Given centroids in the frame of the data.
pub(super) fn given(frame: &Frame, centroids: impl Iterator<Item = Vec<f64>>) -> Result<Vec<f64>> {
    let mut framed = Vec::new();
    for (row, centroid) in centroids.enumerate() {
        let length = if frame.unit_rows {
            let peak = centroid.iter().fold(0.0_f64, |peak, c| peak.max(c.abs()));
            peak * centroid.iter().map(|c| (c / peak) * (c / peak)).sum::<f64>().sqrt()
        } else {
            1.0
        };
        for (column, (c, offset)) in centroid.iter().zip(&frame.offset).enumerate() {
            let value = (c - offset) * frame.scale / length;
            // Squares of what a tile sees must stay inside the range of f32.
            if !(value.abs() < (1_u64 << 40) as f64) {
                let expected = if frame.unit_rows {
                    "a row that is not all zeros"
                } else {
                    "a magnitude within 2^40 times the spread of the data"
                };
                return Err(Error::Value { argument: "init", row, column, expected, got: *c });
            }
            framed.push(value);
        }
    }
    Ok(framed)
}
