//! k-means||: a few rounds that draw many rows at once, reduced to k by weighted k-means++.

use std::sync::atomic::{AtomicI64, Ordering};

use ndarray::ArrayView2;

use super::{plus_plus, random};
use crate::data::Points;
use crate::error::{Error, Result};
use crate::kmeans::cpu::label::{self, Rows};
use crate::kmeans::params::Params;
use crate::kmeans::problem::Problem;
use crate::memory::{self, area};
use crate::random::Stream;
use crate::tile::operands::columns::Columns;

/// Rounds; Bahmani and others see little gain from more.
const ROUNDS: u64 = 5;
/// Rows drawn per round, as a multiple of k, on average.
const OVERSAMPLING: f64 = 2.0;
/// Weights of candidates are summed as multiples of 2^-30.
const WEIGHT_UNITS: f64 = (1_u64 << 30) as f64;

/// First centroids, as rows of x' in `f64`.
pub(in crate::kmeans) fn centroids(problem: &Problem, params: &Params, run: usize) -> Result<Vec<f64>> {
    let (count, run) = (params.n_clusters, run as u64);
    let stream = &Stream::new(params.seed, run);
    // What is closest, of one round and of all, and the candidates of all rounds.
    let drawn = count.saturating_mul((OVERSAMPLING as usize) * ROUNDS as usize + 1);
    let candidates = area::<f64>(drawn, problem.columns.saturating_mul(3));
    memory::ask("the candidates of k-means||", &[area::<f64>(problem.rows, 3), candidates])?;
    let mut candidates = random::rows(problem, 1, stream)?;
    let mut closest = vec![f32::MAX; problem.rows];
    nearer(problem, params, &candidates, &mut closest)?;
    for round in 1..=ROUNDS {
        let drawn = draw(problem, &closest, count, &Stream::new(params.seed, round << 32 | run));
        nearer(problem, params, &drawn, &mut closest)?;
        candidates.extend(drawn);
    }
    if candidates.len() < count {
        fill(problem, count, stream, &mut candidates)?;
    }
    reduce(problem, params, &candidates, stream)
}

/// Each row on its own, with probability `2 k w d^2 / sum(w d^2)`.
fn draw(problem: &Problem, closest: &[f32], count: usize, stream: &Stream) -> Vec<usize> {
    let weighted = |row: usize| f64::from(closest[row]) * problem.weight(row).map_or(1.0, f64::from);
    let total: f64 = (0..problem.rows).map(weighted).sum();
    if !(total > 0.0) {
        return Vec::new();
    }
    let factor = OVERSAMPLING * count as f64 / total;
    (0..problem.rows).filter(|&row| stream.unit(row as u64) < factor * weighted(row)).collect()
}

/// Lowers `closest` where one of the new rows is nearer.
fn nearer(problem: &Problem, params: &Params, new: &[usize], closest: &mut [f32]) -> Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    let centroids = super::gather(problem, new)?;
    let rounded: Vec<f32> = centroids.iter().map(|&c| c as f32).collect();
    let columns = problem.columns;
    let blocks = label::blocks(&rows_of(problem, params), &Columns::new(&centroids, columns), |block| {
        let distance = |(x, &label): (&[f32], &u32)| {
            plus_plus::squared_distance(x, &rounded[label as usize * columns..(label as usize + 1) * columns])
        };
        block.x.chunks_exact(columns).zip(block.labels).map(distance).collect::<Vec<f32>>()
    })?;
    for (closest, distance) in closest.iter_mut().zip(blocks.into_iter().flatten()) {
        *closest = closest.min(distance);
    }
    Ok(())
}

fn rows_of<'a, 'd>(problem: &'a Problem<'d>, params: &'a Params) -> Rows<'a, 'd> {
    Rows { argument: "points", points: &problem.points, frame: &problem.frame, cancel: &params.cancel }
}

/// Data with few distinct rows draws too few candidates; any further rows will do.
fn fill(problem: &Problem, count: usize, stream: &Stream, candidates: &mut Vec<usize>) -> Result<()> {
    let mut taken = vec![false; problem.rows];
    candidates.iter().for_each(|&row| taken[row] = true);
    for row in random::rows(problem, count, stream)? {
        if candidates.len() < count && !std::mem::replace(&mut taken[row], true) {
            candidates.push(row);
        }
    }
    Ok(())
}

/// Weighs each candidate by the rows nearest to it and chooses k of them by k-means++.
fn reduce(problem: &Problem, params: &Params, candidates: &[usize], stream: &Stream) -> Result<Vec<f64>> {
    let centroids = super::gather(problem, candidates)?;
    let sums: Vec<AtomicI64> = candidates.iter().map(|_| AtomicI64::new(0)).collect();
    label::blocks(&rows_of(problem, params), &Columns::new(&centroids, problem.columns), |block| {
        for (index, &label) in block.labels.iter().enumerate() {
            let weight = problem.weight(block.start + index).map_or(1.0, f64::from);
            sums[label as usize].fetch_add((weight * WEIGHT_UNITS) as i64, Ordering::Relaxed);
        }
    })?;
    let weights: Vec<f64> = sums.into_iter().map(|sum| sum.into_inner().max(1) as f64).collect();
    let rounded: Vec<f32> = centroids.iter().map(|&c| c as f32).collect();
    let view = ArrayView2::from_shape((candidates.len(), problem.columns), &rounded)
        .map_err(|error| Error::shape("candidates", "one row per candidate", error))?;
    let reduced = Problem::new(Points::from(view), Some(&weights), false, &params.cancel)?;
    let rows = plus_plus::rows(&reduced, params.n_clusters, stream, &params.cancel)?;
    Ok(rows
        .iter()
        .flat_map(|&row| &centroids[row * problem.columns..(row + 1) * problem.columns])
        .copied()
        .collect())
}
