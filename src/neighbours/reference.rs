//! Neighbours from their definition: every distance in `f64`, all of them sorted. Never optimised: it is what the other
//! backends are compared with, and a backend a user can choose.

use super::order::Order;
use crate::distance::Metric;
use crate::distance::reference::measure;

/// One neighbour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Neighbour {
    /// The metric's value in `f64`.
    pub value: f64,
    /// Index of the point.
    pub index: u32,
}

/// All `candidates` of one query, best first, ties to the lowest index.
pub(super) fn ranked(
    metric: Metric,
    order: Order,
    query: &[f64],
    points: &[Vec<f64>],
    candidates: impl Iterator<Item = u32>,
) -> Vec<Neighbour> {
    let mut all: Vec<Neighbour> = candidates
        .map(|index| Neighbour { value: measure(metric, query, &points[index as usize]), index })
        .collect();
    all.sort_by(|a, b| order.compare(a, b));
    all
}
