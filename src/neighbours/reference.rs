//! Neighbours from their definition: every distance in `f64`, all of them sorted. Never optimised: it is what the other
//! backends are compared with, and a backend a user can choose.

use super::order::Order;
use crate::distance::reference::measure_with;
use crate::distance::{Constants, Metric};

/// One neighbour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Neighbour {
    /// The metric's value in `f64`.
    pub value: f64,
    /// Index of the point.
    pub index: u32,
}

/// What is measured: a metric with its own parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Formula {
    pub metric: Metric,
    pub constants: Constants,
    /// The box that repeats in every direction, one length per column: of all images of a point the nearest counts.
    pub period: Option<Vec<f64>>,
}

impl Formula {
    /// The value of a query x and a point y. Packed rows come as their bits. Rows without a common feature, between which
    /// nan_euclidean has no value, are infinitely far apart.
    pub fn value(&self, x: &[f64], y: &[f64]) -> f64 {
        let Some(period) = &self.period else {
            let value = measure_with(self.metric, &self.constants, x, y);
            return if value.is_nan() { f64::INFINITY } else { value };
        };
        let mut differences = Vec::with_capacity(x.len());
        for ((x, y), length) in x.iter().zip(y).zip(period) {
            let difference = x - y;
            differences.push(difference - length * (difference / length).round());
        }
        measure_with(self.metric, &self.constants, &differences, &vec![0.0; x.len()])
    }
}

/// All `candidates` of one query, best first, ties to the lowest index.
pub(super) fn ranked(
    formula: &Formula,
    order: Order,
    query: &[f64],
    points: &[Vec<f64>],
    candidates: impl Iterator<Item = u32>,
) -> Vec<Neighbour> {
    let mut all: Vec<Neighbour> = candidates
        .map(|index| Neighbour { value: formula.value(query, &points[index as usize]), index })
        .collect();
    all.sort_unstable_by(|a, b| order.compare(a, b));
    all
}
