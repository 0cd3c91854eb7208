//! Greedy k-means++.
//!
//! Plainly, for each further centroid: draw `2 + ln k` rows with probability proportional to weight times squared
//! distance to the nearest centroid so far, and keep the one that leaves the smallest sum. What differs:
//!
//! 1. Distances of up to 16 candidates are computed together, one lane each, in `f32` differences summed in the order
//!    of the features: the same bits on every machine.
//! 2. Rows that no candidate can improve are not measured, and where the triangle inequality or a copy in bytes shows it
//!    not even read. `screen.rs` and `bytes.rs` prove which: their distances would come out as at least what they have,
//!    which changes no bit.
//! 3. The candidate that is kept is measured in another order of the features, but only on rows that it may improve by
//!    its first measurement.

use rayon::prelude::*;

use super::bytes::ByteScreen;
use super::random;
use super::rows::Rows;
use super::screen::{LANES, Lanes, Margins, Screen};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::kmeans::cpu::is_worth;
use crate::kmeans::problem::{Problem, SUM_BLOCK, row_square};
use crate::memory::{self, area, scratch};
use crate::random::Stream;
use crate::simd::widest;
use crate::tile::product::cpu::bytes::BytePanels;
use crate::tile::trials::Trials;

/// Bytes of rows that are screened and measured while they are in cache.
const CHUNK_BYTES: usize = 128 << 10;
/// Steps for which the screen of products rests where it kept too many rows.
const REST_OF_PRODUCTS: u32 = 8;
/// Steps for which the screen of bytes does, which costs a fifth of what it may save.
const REST_OF_BYTES: u32 = 2;

/// The state of the choice.
struct Choice<'p, 'd> {
    problem: &'p Problem<'d>,
    margins: Margins,
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
    /// Their squared lengths.
    squares: Vec<f64>,
    /// All rows in bytes, where that pays.
    bytes: Option<ByteScreen>,
    /// When they are looked at before rows are read.
    by_bytes: Trials,
    /// When rows that were read are screened before they are measured.
    by_products: Trials,
}

/// The candidates of one step.
struct Step {
    packed: Vec<Lanes>,
    used: usize,
    screen: Screen,
    /// Lower bounds on the squared distances to the centroids so far, `[centroid][candidate]`.
    reach: Vec<Lanes>,
    /// The candidates in bytes, where rows are looked at in bytes.
    in_bytes: Option<BytePanels>,
    by_products: bool,
}

/// What one step found in one block of rows.
#[derive(Default)]
struct Found {
    /// By how much each candidate lowers the sum.
    gains: [f64; LANES],
    /// Rows that a candidate may improve, with a bit for each such candidate.
    near: Vec<(usize, u16)>,
    /// Rows before and after the screen of bytes.
    by_bytes: [usize; 2],
    /// Rows before and after the screen of products.
    by_products: [usize; 2],
}

/// The candidate that is kept: its row, its lane, and the rows it may improve.
struct Best {
    row: usize,
    lane: usize,
    found: Vec<Found>,
}

/// `count` rows. When every row coincides with a chosen one, the remaining draws fall on the weights alone.
pub(in crate::kmeans) fn rows(
    problem: &Problem,
    count: usize,
    stream: &Stream,
    cancel: &Cancel,
) -> Result<Vec<usize>> {
    let trials = (2 + (count as f64).ln() as usize).min(LANES);
    ask_for_choice(problem, count)?;
    let mut choice = Choice::new(problem, ByteScreen::new(problem, count, cancel)?);
    let mut draw = 0;
    let mut next = || {
        draw += 1;
        stream.unit(draw - 1)
    };
    choice.first(random_row(problem, next()), cancel)?;
    while choice.rows.len() < count {
        let candidates: Vec<usize> = (0..trials).map(|_| choice.sample(next())).collect();
        let best = choice.best(&candidates, cancel)?;
        choice.take(&best, cancel)?;
    }
    Ok(choice.rows)
}

/// What the choice of `count` rows holds: what each row knows, lists of rows, the rows chosen, and some rows per thread.
fn ask_for_choice(problem: &Problem, count: usize) -> Result<()> {
    let (rows, columns) = (problem.rows, problem.columns);
    let at_work = scratch::<f32>(rayon::current_num_threads(), SUM_BLOCK.min(rows) + 4, columns);
    memory::ask(
        &format!("the choice of {count} first centroids among {rows} rows"),
        &[
            area::<f64>(rows, 5),
            area::<f32>(count, columns.saturating_add(32)),
            at_work,
            area::<Lanes>(columns, 4),
        ],
    )
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
    fn new(problem: &'p Problem<'d>, bytes: Option<ByteScreen>) -> Self {
        Self {
            problem,
            margins: Margins::new(problem.columns),
            closest: vec![f32::MAX; problem.rows],
            owner: vec![0; problem.rows],
            block_sums: vec![0.0; problem.rows.div_ceil(SUM_BLOCK)],
            rows: Vec::new(),
            centroids: Vec::new(),
            squares: Vec::new(),
            bytes,
            by_bytes: Trials::new(REST_OF_BYTES, REST_OF_BYTES),
            by_products: Trials::new(REST_OF_PRODUCTS, REST_OF_PRODUCTS),
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

    /// Lower bounds on the squared distances of the candidates to the centroids so far.
    fn reach(&self, screen: &Screen, packed: &[Lanes]) -> Vec<Lanes> {
        let columns = self.problem.columns;
        let mut reach = vec![[0.0; LANES]; self.rows.len()];
        self.centroids
            .par_chunks(64 * columns)
            .zip(self.squares.par_chunks(64))
            .zip(reach.par_chunks_mut(64))
            .for_each(|((centroids, squares), reach)| screen.reach(centroids, squares, packed, reach));
        reach
    }

    /// The candidate that leaves the smallest sum of weighted squared distances; ties to the first drawn.
    fn best(&mut self, candidates: &[usize], cancel: &Cancel) -> Result<Best> {
        let packed = self.pack(candidates)?;
        let screen = Screen::new(self.margins, &packed, candidates.len());
        let reach = self.reach(&screen, &packed);
        let used = candidates.len();
        let bytes = self.bytes.as_ref().filter(|_| self.by_bytes.is_due());
        let in_bytes = bytes.map(|bytes| bytes.candidates(&packed, used, &screen));
        let by_products = self.by_products.is_due();
        let step = Step { packed, used, screen, reach, in_bytes, by_products };
        let found = (0..self.block_sums.len())
            .into_par_iter()
            .map_init(Rows::default, |rows, block| {
                cancel.check()?;
                self.gains(block, &step, rows)
            })
            .collect::<Result<Vec<Found>>>()?;
        let mut total = [0.0; LANES];
        let (mut by_bytes, mut by_products) = ([0; 2], [0; 2]);
        let add = |sum: &mut [usize; 2], found: [usize; 2]| *sum = [sum[0] + found[0], sum[1] + found[1]];
        for found in &found {
            total.iter_mut().zip(found.gains).for_each(|(total, gain)| *total += gain);
            add(&mut by_bytes, found.by_bytes);
            add(&mut by_products, found.by_products);
        }
        self.by_bytes.learn(is_worth(by_bytes));
        self.by_products.learn(is_worth(by_products));
        let best = (0..candidates.len()).rev().max_by(|&a, &b| total[a].total_cmp(&total[b]));
        let lane = best.unwrap_or(0);
        Ok(Best { row: candidates[lane], lane, found })
    }

    /// What the candidates of a step change in one block.
    fn gains(&self, block: usize, step: &Step, rows: &mut Rows) -> Result<Found> {
        let start = block * SUM_BLOCK;
        let end = (start + SUM_BLOCK).min(self.problem.rows);
        let chunk = (CHUNK_BYTES / (4 * self.problem.columns)).clamp(8, SUM_BLOCK);
        let mut found = Found::default();
        for first in (start..end).step_by(chunk) {
            let last = end.min(first + chunk);
            rows.choose(first..last, |row| {
                let limit = self.margins.limit(self.closest[row]);
                self.closest[row] > 0.0
                    && step.reach[self.owner[row] as usize][..step.used].iter().any(|&reach| reach < limit)
            });
            if let (Some(bytes), Some(candidates)) = (&self.bytes, &step.in_bytes) {
                found.by_bytes[0] += rows.index.len();
                let share = |row: usize| self.margins.share(self.problem.norms[row], self.closest[row]);
                bytes.keep_near(self.problem, candidates, &mut rows.index, &mut rows.in_bytes, share);
                found.by_bytes[1] += rows.index.len();
            }
            rows.read(self.problem, first..last)?;
            if step.by_products {
                found.by_products[0] += rows.index.len();
                rows.screen(self.problem, &self.closest, &step.screen, &step.packed);
                found.by_products[1] += rows.index.len();
            }
            self.measure(step, rows, &mut found);
        }
        Ok(found)
    }

    /// Measures the rows that are left, in their order.
    fn measure(&self, step: &Step, rows: &mut Rows, found: &mut Found) {
        rows.measure(self.problem.columns, &step.packed);
        for (&row, distances) in rows.index.iter().zip(&rows.distances) {
            let weight = self.problem.weight(row).map_or(1.0, f64::from);
            let closest = self.closest[row];
            let near = self.margins.near(closest);
            let mut lanes = 0;
            for (lane, (gain, &distance)) in found.gains.iter_mut().zip(distances).enumerate() {
                *gain += weight * f64::from((closest - distance).max(0.0));
                lanes |= u16::from(!(distance >= near)) << lane;
            }
            if lanes != 0 {
                found.near.push((row, lanes));
            }
        }
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

    /// Makes a row the first centroid.
    fn first(&mut self, row: usize, cancel: &Cancel) -> Result<()> {
        let everywhere = |block: usize| {
            let start = block * SUM_BLOCK;
            (start..(start + SUM_BLOCK).min(self.problem.rows)).collect()
        };
        let near: Vec<Vec<usize>> = (0..self.block_sums.len()).map(everywhere).collect();
        self.add(row, &near, cancel)
    }

    /// Makes the best candidate the next centroid.
    fn take(&mut self, best: &Best, cancel: &Cancel) -> Result<()> {
        let near = |found: &Found| {
            let near = found.near.iter().filter(|(_, lanes)| (lanes >> best.lane) & 1 == 1);
            near.map(|&(row, _)| row).collect()
        };
        let near: Vec<Vec<usize>> = best.found.iter().map(near).collect();
        self.add(best.row, &near, cancel)
    }

    /// Makes a row a centroid; `near` are the rows of each block that it may be nearest to.
    fn add(&mut self, row: usize, near: &[Vec<usize>], cancel: &Cancel) -> Result<()> {
        let (problem, columns) = (self.problem, self.problem.columns);
        let mut candidate = vec![0.0; columns];
        problem.load(row, &mut candidate)?;
        let new = self.rows.len() as u32;
        let blocks = self.closest.par_chunks_mut(SUM_BLOCK).zip(self.owner.par_chunks_mut(SUM_BLOCK));
        blocks.zip(self.block_sums.par_iter_mut()).zip(near).enumerate().try_for_each_init(
            || vec![0.0; columns],
            |x, (block, (((closest, owner), sum), near))| {
                cancel.check()?;
                if near.is_empty() {
                    return Ok(());
                }
                let start = block * SUM_BLOCK;
                for &row in near {
                    problem.load(row, x)?;
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
        self.squares.push(row_square(&candidate));
        self.centroids.extend(candidate);
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
