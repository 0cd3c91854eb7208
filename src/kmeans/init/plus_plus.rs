//! Greedy k-means++.
//!
//! Plainly, for each further centroid: draw `2 + ln k` rows with probability proportional to weight times squared
//! distance to the nearest centroid so far, and keep the one that leaves the smallest sum. What differs:
//!
//! 1. Distances of up to 16 candidates are computed together, one lane each, in `f32` differences summed in the order
//!    of the features: the same bits on every machine.
//! 2. A candidate at least twice as far from a row's nearest centroid as the row itself cannot be nearer to the row
//!    (triangle inequality, as Elkan, ICML 2003, uses it). Rows that no candidate can improve are not read at all.

use std::ops::Range;

use rayon::prelude::*;

use super::random;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::kmeans::problem::{Problem, SUM_BLOCK};
use crate::random::Stream;
use crate::simd::widest;

/// Most candidates per step; `2 + ln k` stays below it for every k that fits memory.
const LANES: usize = 16;
/// Twice the distance, squared, with room for the rounding of the distances themselves.
const OUT_OF_REACH: f32 = 4.01;

type Lanes = [f32; LANES];

/// The state of the choice.
struct Choice<'p, 'd> {
    problem: &'p Problem<'d>,
    /// Squared distance of each row to its nearest centroid.
    closest: Vec<f32>,
    /// Which centroid that is.
    owner: Vec<u32>,
    /// Sum of weight times `closest` of each block.
    block_sums: Vec<f64>,
    /// Rows chosen so far.
    rows: Vec<usize>,
    /// Their coordinates.
    centroids: Vec<f32>,
}

/// `count` rows. When every row coincides with a chosen one, the remaining draws fall on the weights alone.
pub(super) fn rows(problem: &Problem, count: usize, stream: &Stream, cancel: &Cancel) -> Result<Vec<usize>> {
    let trials = (2 + (count as f64).ln() as usize).min(LANES);
    let mut choice = Choice::new(problem);
    let mut draw = 0;
    let mut next = || {
        draw += 1;
        stream.unit(draw - 1)
    };
    choice.take(random_row(problem, next()), cancel)?;
    while choice.rows.len() < count {
        let candidates: Vec<usize> = (0..trials).map(|_| choice.sample(next())).collect();
        let best = if candidates.len() == 1 { candidates[0] } else { choice.best(&candidates, cancel)? };
        choice.take(best, cancel)?;
    }
    Ok(choice.rows)
}

fn random_row(problem: &Problem, unit: f64) -> usize {
    match &problem.weights {
        None => ((unit * problem.rows as f64) as usize).min(problem.rows - 1),
        Some(weights) => {
            let mut sum = 0.0;
            let sums: Vec<f64> = weights
                .iter()
                .map(|&weight| {
                    sum += f64::from(weight);
                    sum
                })
                .collect();
            random::pick(&sums, unit)
        }
    }
}

impl<'p, 'd> Choice<'p, 'd> {
    fn new(problem: &'p Problem<'d>) -> Self {
        Self {
            problem,
            closest: vec![f32::MAX; problem.rows],
            owner: vec![0; problem.rows],
            block_sums: vec![0.0; problem.rows.div_ceil(SUM_BLOCK)],
            rows: Vec::new(),
            centroids: Vec::new(),
        }
    }

    fn weighted(&self, row: usize) -> f64 {
        f64::from(self.closest[row]) * self.problem.weight(row).map_or(1.0, f64::from)
    }

    /// A row drawn with probability proportional to weight times squared distance.
    fn sample(&self, unit: f64) -> usize {
        let total: f64 = self.block_sums.iter().sum();
        if !(total > 0.0) {
            return random_row(self.problem, unit);
        }
        let (target, mut sum, mut last) = (unit * total, 0.0, 0);
        for (block, &block_sum) in self.block_sums.iter().enumerate() {
            if sum + block_sum <= target {
                sum += block_sum;
                continue;
            }
            for row in block * SUM_BLOCK..((block + 1) * SUM_BLOCK).min(self.problem.rows) {
                let weighted = self.weighted(row);
                if weighted > 0.0 {
                    last = row;
                    sum += weighted;
                    if sum > target {
                        return row;
                    }
                }
            }
        }
        // Rounding can leave the target just above the last partial sum.
        last
    }

    /// Squared distances of the candidates to the centroids so far, `[centroid][candidate]`.
    fn reach(&self, packed: &[Lanes]) -> Vec<Lanes> {
        let columns = self.problem.columns;
        self.centroids
            .par_chunks(64 * columns)
            .flat_map_iter(|centroids| {
                let mut reach = vec![[0.0; LANES]; centroids.len() / columns];
                distances(centroids, packed, &mut reach);
                reach
            })
            .collect()
    }

    /// The candidate that leaves the smallest sum of weighted squared distances; ties to the first drawn.
    fn best(&self, candidates: &[usize], cancel: &Cancel) -> Result<usize> {
        let packed = self.pack(candidates)?;
        let reach = self.reach(&packed);
        let gains: Vec<Result<[f64; LANES]>> = (0..self.block_sums.len())
            .into_par_iter()
            .map_init(Rows::default, |rows, block| {
                cancel.check()?;
                self.gains(block, &packed, &reach, candidates.len(), rows)
            })
            .collect();
        let mut total = [0.0; LANES];
        for gain in gains {
            total.iter_mut().zip(gain?).for_each(|(total, gain)| *total += gain);
        }
        let best = (0..candidates.len()).rev().max_by(|&a, &b| total[a].total_cmp(&total[b]));
        Ok(candidates[best.unwrap_or(0)])
    }

    /// By how much each candidate lowers the sum of one block.
    fn gains(
        &self,
        block: usize,
        packed: &[Lanes],
        reach: &[Lanes],
        used: usize,
        rows: &mut Rows,
    ) -> Result<[f64; LANES]> {
        let start = block * SUM_BLOCK;
        let end = (start + SUM_BLOCK).min(self.problem.rows);
        rows.gather(self.problem, start..end, |row| {
            let limit = OUT_OF_REACH * self.closest[row];
            reach[self.owner[row] as usize][..used].iter().any(|&reach| reach < limit)
        })?;
        rows.distances.resize(rows.index.len(), [0.0; LANES]);
        distances(&rows.x[..rows.used], packed, &mut rows.distances);
        let mut gains = [0.0; LANES];
        for (&row, distances) in rows.index.iter().zip(&rows.distances) {
            let weight = self.problem.weight(row).map_or(1.0, f64::from);
            let closest = self.closest[row];
            for (gain, &distance) in gains.iter_mut().zip(distances) {
                *gain += weight * f64::from((closest - distance).max(0.0));
            }
        }
        Ok(gains)
    }

    fn pack(&self, rows: &[usize]) -> Result<Vec<Lanes>> {
        let columns = self.problem.columns;
        let mut packed = vec![[0.0; LANES]; columns];
        let mut x = vec![0.0; columns];
        for (lane, &row) in rows.iter().enumerate() {
            self.problem.load(row, &mut x)?;
            packed.iter_mut().zip(&x).for_each(|(lanes, &x)| lanes[lane] = x);
        }
        Ok(packed)
    }

    /// Makes a row the next centroid.
    fn take(&mut self, row: usize, cancel: &Cancel) -> Result<()> {
        let (problem, columns) = (self.problem, self.problem.columns);
        let packed = self.pack(&[row])?;
        let candidate: Vec<f32> = packed.iter().map(|lanes| lanes[0]).collect();
        let reach = self.reach(&packed);
        let new = self.rows.len() as u32;
        let blocks = self.closest.par_chunks_mut(SUM_BLOCK).zip(self.owner.par_chunks_mut(SUM_BLOCK));
        blocks.zip(self.block_sums.par_iter_mut()).enumerate().try_for_each_init(
            Rows::default,
            |rows, (block, ((closest, owner), sum))| {
                cancel.check()?;
                let start = block * SUM_BLOCK;
                rows.gather(problem, start..start + closest.len(), |row| {
                    let (closest, owner) = (closest[row - start], owner[row - start]);
                    new == 0 || reach[owner as usize][0] < OUT_OF_REACH * closest
                })?;
                for (&row, x) in rows.index.iter().zip(rows.x[..rows.used].chunks_exact(columns)) {
                    let distance = squared_distance(x, &candidate);
                    if distance < closest[row - start] {
                        closest[row - start] = distance;
                        owner[row - start] = new;
                    }
                }
                let weight = |index: usize| problem.weight(start + index).map_or(1.0, f64::from);
                *sum = closest
                    .iter()
                    .enumerate()
                    .map(|(index, &closest)| weight(index) * f64::from(closest))
                    .sum();
                Ok(())
            },
        )?;
        self.rows.push(row);
        self.centroids.extend(candidate);
        Ok(())
    }
}

/// Rows gathered from one block.
#[derive(Default)]
struct Rows {
    index: Vec<usize>,
    /// Room for the rows; it only grows.
    x: Vec<f32>,
    used: usize,
    distances: Vec<Lanes>,
}

impl Rows {
    /// Reads the wanted rows of a block, or the whole block where most are wanted: the others change nothing, and rows
    /// that lie together are read faster.
    fn gather(
        &mut self,
        problem: &Problem,
        block: Range<usize>,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let columns = problem.columns;
        self.index.clear();
        self.index.extend(block.clone().filter(|&row| wanted(row)));
        let whole = 4 * self.index.len() >= 3 * block.len();
        if whole {
            self.index.clear();
            self.index.extend(block.clone());
        }
        self.used = self.index.len() * columns;
        if self.x.len() < self.used {
            self.x.resize(self.used, 0.0);
        }
        if whole {
            return problem.load(block.start, &mut self.x[..self.used]);
        }
        for (&row, x) in self.index.iter().zip(self.x.chunks_exact_mut(columns)) {
            problem.load(row, x)?;
        }
        Ok(())
    }
}

widest! {
    /// Squared distance, summed in sixteen interleaved parts and those in order.
    pub(super) fn squared_distance(x: &[f32], candidate: &[f32]) -> f32 = squared_distance_body;
}

#[inline(always)]
fn squared_distance_body(x: &[f32], candidate: &[f32]) -> f32 {
    let mut parts = [0.0_f32; LANES];
    let (chunks, candidates) = (x.chunks_exact(LANES), candidate.chunks_exact(LANES));
    let rest = chunks.remainder().iter().zip(candidates.remainder());
    for (x, c) in chunks.zip(candidates) {
        for ((part, x), c) in parts.iter_mut().zip(x).zip(c) {
            *part += (x - c) * (x - c);
        }
    }
    for (part, (x, c)) in parts.iter_mut().zip(rest) {
        *part += (x - c) * (x - c);
    }
    parts.iter().sum()
}

widest! {
    fn distances(x: &[f32], packed: &[Lanes], out: &mut [Lanes]) = distances_body;
}

/// `out[row][lane] = sum over d of (x[row, d] - packed[d][lane])^2`, in the order of d.
#[inline(always)]
fn distances_body(x: &[f32], packed: &[Lanes], out: &mut [Lanes]) {
    const GROUP: usize = 4;
    let depth = packed.len();
    let mut groups = out.chunks_exact_mut(GROUP);
    let mut rows = x.chunks_exact(GROUP * depth);
    for (out, rows) in groups.by_ref().zip(rows.by_ref()) {
        let mut sums = [[0.0_f32; LANES]; GROUP];
        for (d, lanes) in packed.iter().enumerate() {
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = rows[row * depth + d];
                for (sum, &lane) in sums.iter_mut().zip(lanes) {
                    let difference = x - lane;
                    *sum += difference * difference;
                }
            }
        }
        out.copy_from_slice(&sums);
    }
    for (out, row) in groups.into_remainder().iter_mut().zip(rows.remainder().chunks_exact(depth)) {
        let mut sums = [0.0_f32; LANES];
        for (&x, lanes) in row.iter().zip(packed) {
            for (sum, &lane) in sums.iter_mut().zip(lanes) {
                let difference = x - lane;
                *sum += difference * difference;
            }
        }
        *out = sums;
    }
}
