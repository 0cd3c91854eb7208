//! Means where the grid of the sums would lose digits: of clusters that are small beside the largest value of the data, or
//! light beside the heaviest row. Their iterations take the sums of all rows from the labels, on the host, in pairs of
//! `f64` that hold twice the digits (Dekker, 1971). Every sum has one order, so the bits do not depend on the device.
//!
//! The grid adds to a cluster's sum at most half a step for each row and feature, and to its weight half a unit for each
//! row. With w the weight of a row at most 1 and |x'| its distance from the frame's origin, the mean moves by less than
//! 2^-20 of the rows' own weighted distance where
//!
//! ```text
//! sum (|step| + unit |x'|) <= 2^-20 sum w |x'|     over the cluster's rows, those of no weight or length left out
//! ```
//!
//! which holds for every cluster where it holds for every single row: only data with a row that breaks it is looked at.

use super::members::{Members, cover_empty};
use super::params::Params;
use super::problem::{Grid, Problem};
use crate::error::Result;

/// How much of what a cluster's rows are apart its mean may be off: 2^-20.
const TOLERATED: f64 = 1.0 / (1 << 20) as f64;

/// Both sides of what must hold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Balance {
    lost: f64,
    kept: f64,
}

impl Balance {
    /// Of one row of a length and a weight.
    pub fn of(grid: &Grid, norm: f32, weight: f64, is_weighted: bool) -> Self {
        let (norm, unit) = (f64::from(norm), if is_weighted { grid.weight_unit() } else { 0.0 });
        if norm == 0.0 || weight == 0.0 {
            return Self::default();
        }
        Self { lost: grid.step_length() + unit * norm, kept: weight * norm }
    }

    pub fn keeps_digits(self) -> bool {
        self.lost <= TOLERATED * self.kept
    }
}

/// Whether the grid loses digits of a cluster.
pub(super) fn loses_digits(problem: &Problem, labels: &[u32], n_clusters: usize) -> bool {
    if !problem.may_lose_digits {
        return false;
    }
    let mut balances = vec![Balance::default(); n_clusters];
    for (row, &label) in labels.iter().enumerate() {
        let own = problem.balance(row);
        let balance = &mut balances[label as usize];
        balance.lost += own.lost;
        balance.kept += own.kept;
    }
    balances.into_iter().any(|balance| !balance.keeps_digits())
}

/// The unrounded sum of two numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    high: f64,
    low: f64,
}

impl Pair {
    fn add(&mut self, other: f64) {
        let sum = self.high + other;
        let shifted = sum - self.high;
        self.low += (self.high - (sum - shifted)) + (other - shifted);
        self.high = sum;
    }

    fn value(self) -> f64 {
        self.high + self.low
    }
}

/// The means of the rows by label, where `centroids` are those they were labelled by. Empty clusters are filled as in every
/// iteration.
pub(super) fn means(
    problem: &Problem,
    params: &Params,
    labels: Vec<u32>,
    centroids: &[f64],
) -> Result<Vec<f64>> {
    let columns = problem.columns;
    let members = Members::new(problem, labels, centroids)?;
    let mut totals = vec![Pair::default(); centroids.len() / columns * (columns + 1)];
    for (cluster, sum) in members.sums(&params.cancel, |rows| sum_of(problem, rows))? {
        for (total, sum) in totals[cluster * (columns + 1)..].iter_mut().zip(sum) {
            total.add(sum.high);
            total.add(sum.low);
        }
    }
    let totals: Vec<f64> = totals.into_iter().map(Pair::value).collect();
    let weights: Vec<f64> = totals.chunks_exact(columns + 1).map(|totals| totals[columns]).collect();
    let mut new = centroids.to_vec();
    for (new, totals) in new.chunks_exact_mut(columns).zip(totals.chunks_exact(columns + 1)) {
        let (totals, weight) = (&totals[..columns], totals[columns]);
        let divisor = if params.spherical { length(totals) } else { weight };
        if weight > 0.0 && divisor > 0.0 {
            new.iter_mut().zip(totals).for_each(|(new, total)| *new = total / divisor);
        }
    }
    cover_empty(&mut new, &weights);
    Ok(new)
}

/// Weighted sums of rows, and behind them that of their weights.
fn sum_of(problem: &Problem, rows: &[u32]) -> Result<Vec<Pair>> {
    let mut x = vec![0.0; problem.columns];
    let mut sums = vec![Pair::default(); problem.columns + 1];
    for &row in rows {
        let row = row as usize;
        problem.load_one(row, &mut x)?;
        let weight = problem.exact_weight(row);
        let terms = x.iter().map(|&x| weight * f64::from(x)).chain([weight]);
        sums.iter_mut().zip(terms).for_each(|(sum, term)| sum.add(term));
    }
    Ok(sums)
}

/// The length of a vector whose squares may be no numbers of an `f64`.
fn length(vector: &[f64]) -> f64 {
    let peak = vector.iter().fold(0.0_f64, |peak, v| peak.max(v.abs()));
    if peak > 0.0 { peak * vector.iter().map(|v| (v / peak).powi(2)).sum::<f64>().sqrt() } else { 0.0 }
}
