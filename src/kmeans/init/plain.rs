//! Greedy k-means++ without a skip, which `plus_plus.rs` has to equal bit by bit.

use super::plus_plus::{self, squared_distance};
use super::random;
use super::screen::LANES;
use crate::cancel::Cancel;
use crate::data::Points;
use crate::kmeans::problem::{Problem, SUM_BLOCK};
use crate::random::Stream;

struct Plain<'p, 'd> {
    problem: &'p Problem<'d>,
    x: Vec<f32>,
    closest: Vec<f32>,
}

impl Plain<'_, '_> {
    fn row(&self, row: usize) -> &[f32] {
        &self.x[row * self.problem.columns..(row + 1) * self.problem.columns]
    }

    fn weight(&self, row: usize) -> f64 {
        self.problem.weight(row).map_or(1.0, f64::from)
    }

    /// Sums of each block of rows in order.
    fn by_block(&self, value: impl Fn(usize) -> f64) -> Vec<f64> {
        let rows: Vec<usize> = (0..self.problem.rows).collect();
        rows.chunks(SUM_BLOCK).map(|rows| rows.iter().fold(0.0, |sum, &row| sum + value(row))).collect()
    }

    fn total(values: &[f64]) -> f64 {
        values.iter().sum()
    }

    fn take(&mut self, row: usize) {
        let candidate = self.row(row).to_vec();
        for row in 0..self.problem.rows {
            self.closest[row] = self.closest[row].min(squared_distance(self.row(row), &candidate));
        }
    }

    fn any(&self, unit: f64) -> usize {
        if self.problem.weights.is_none() {
            return ((unit * self.problem.rows as f64) as usize).min(self.problem.rows - 1);
        }
        let mut sum = 0.0;
        let sums: Vec<f64> = (0..self.problem.rows)
            .map(|row| {
                sum += self.weight(row);
                sum
            })
            .collect();
        random::pick(&sums, unit)
    }

    fn sample(&self, unit: f64) -> usize {
        let weighted = |row: usize| self.weight(row) * f64::from(self.closest[row]);
        let blocks = self.by_block(weighted);
        let target = unit * Self::total(&blocks);
        if !(Self::total(&blocks) > 0.0) {
            return self.any(unit);
        }
        let (mut sum, mut last) = (0.0, 0);
        for (block, block_sum) in blocks.into_iter().enumerate() {
            if sum + block_sum <= target {
                sum += block_sum;
                continue;
            }
            for row in block * SUM_BLOCK..((block + 1) * SUM_BLOCK).min(self.problem.rows) {
                if weighted(row) > 0.0 {
                    last = row;
                    sum += weighted(row);
                    if sum > target {
                        return row;
                    }
                }
            }
        }
        last
    }

    fn gain(&self, candidate: usize) -> f64 {
        let distance = |row: usize| {
            let pairs = self.row(row).iter().zip(self.row(candidate));
            pairs.fold(0.0_f32, |sum, (x, c)| sum + (x - c) * (x - c))
        };
        let gain = |row: usize| self.weight(row) * f64::from((self.closest[row] - distance(row)).max(0.0));
        self.by_block(gain).into_iter().fold(0.0, |total, gain| total + gain)
    }
}

fn rows(problem: &Problem, count: usize, stream: &Stream) -> Vec<usize> {
    let mut x = vec![0.0; problem.rows * problem.columns];
    problem.load(0, &mut x).unwrap();
    let mut plain = Plain { problem, x, closest: vec![f32::MAX; problem.rows] };
    let trials = (2 + (count as f64).ln() as usize).min(LANES) as u64;
    let mut chosen = vec![plain.any(stream.unit(0))];
    plain.take(chosen[0]);
    for step in 1..count as u64 {
        let draws = (0..trials).map(|trial| stream.unit(1 + (step - 1) * trials + trial));
        let drawn: Vec<(usize, f64)> =
            draws.map(|unit| plain.sample(unit)).map(|row| (row, plain.gain(row))).collect();
        let best = drawn.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
        chosen.push(best);
        plain.take(best);
    }
    chosen
}

fn check(name: &str, points: &[f32], columns: usize, weights: Option<&[f64]>, count: usize) {
    let view = ndarray::ArrayView2::from_shape((points.len() / columns, columns), points).unwrap();
    for unit_rows in [false, true] {
        let Ok(problem) = Problem::new(Points::from(view), weights, unit_rows, &Cancel::new()) else {
            assert!(unit_rows, "{name}: only directions can be refused");
            continue;
        };
        for seed in 0..3 {
            let stream = Stream::new(seed, 0);
            let expected = rows(&problem, count, &stream);
            let got = plus_plus::rows(&problem, count, &stream, &Cancel::new()).unwrap();
            assert_eq!(got, expected, "{name}, {count} of {} rows, seed {seed}", problem.rows);
        }
    }
}

/// Uniform values, from a stream of their own.
fn noise(rows: usize, columns: usize, scale: f32, stream: u64) -> Vec<f32> {
    let draws = Stream::new(99, stream);
    (0..rows * columns).map(|i| (draws.unit(i as u64) as f32 - 0.5) * scale).collect()
}

#[test]
fn noise_of_many_shapes() {
    for (rows, columns, count) in
        [(1, 1, 1), (7, 3, 7), (1030, 2, 60), (2100, 5, 40), (600, 33, 30), (300, 130, 25), (90, 784, 20)]
    {
        check("noise", &noise(rows, columns, 2.0, 1), columns, None, count);
    }
    // Enough candidates for the wide lanes.
    check("noise", &noise(1300, 4, 2.0, 2), 4, None, 1200);
}

#[test]
fn weights_duplicates_and_ties() {
    let points = noise(1100, 6, 2.0, 3);
    let draws = Stream::new(5, 0);
    let weights: Vec<f64> =
        (0..1100).map(|row| if row % 5 == 0 { 0.0 } else { draws.unit(row).powi(8) * 1e6 }).collect();
    check("weighted", &points, 6, Some(&weights), 50);
    let copies: Vec<f32> = (0..1100).flat_map(|row| points[row % 9 * 6..row % 9 * 6 + 6].to_vec()).collect();
    check("duplicates", &copies, 6, None, 30);
    check("weighted duplicates", &copies, 6, Some(&weights), 30);
    check("one point", &copies[..6].repeat(50), 6, None, 12);
    let grid: Vec<f32> = (0..2500).flat_map(|row| [(row % 50) as f32, (row / 50) as f32]).collect();
    check("grid", &grid, 2, None, 100);
}

/// Clusters whose distances are far below the squares of their coordinates, so that products alone tell nothing, and
/// values that underflow.
#[test]
fn clusters_of_many_sizes() {
    for exponent in [0, -4, -9, -12, -20] {
        let (centres, small) = (noise(12, 20, 100.0, 6), noise(1200, 20, 2.0_f32.powi(exponent), 7));
        let points: Vec<f32> =
            (0..1200 * 20).map(|i| centres[i / 20 % 12 * 20 + i % 20] + small[i]).collect();
        check("clusters", &points, 20, None, 60);
    }
    let tiny: Vec<f32> = noise(500, 8, 1.0, 8)
        .iter()
        .enumerate()
        .map(|(i, x)| x * 2.0_f32.powi([0, -60, -70, -75, -126][i / 8 % 5]))
        .collect();
    check("values that underflow", &tiny, 8, None, 80);
}
