//! What a clustering around medoids hands out.

use super::assignment::Assignment;
use super::integer::Units;
use super::problem::Found;

/// Medoids and what is known about them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fit {
    /// The objects that are medoids; cluster i belongs to entry i.
    pub medoids: Vec<usize>,
    /// Cluster of each object: that of the nearest medoid, ties to the lowest cluster.
    pub labels: Vec<u32>,
    /// Sum of the dissimilarities of all objects to their nearest medoids; infinite where one of them is, or where it is
    /// beyond 1.8e308.
    pub loss: f64,
    /// Iterations: passes over all candidates, or best swaps; of CLARA and CLARANS the sum over samples and searches.
    pub n_iter: usize,
    /// Swaps that were taken.
    pub n_swaps: usize,
    /// Whether the method ended by itself, and not by `max_iter`.
    pub converged: bool,
    /// The average medoid silhouette, the mean of 1 - d1 / d2 of the nearest two medoids (1 where both are 0). `None` with
    /// a single medoid, and where dissimilarities are negative or infinite.
    pub silhouette: Option<f64>,
    /// Of [`Method::DynMsc`](super::Method::DynMsc): the numbers of medoids that were tried, with the silhouette of each.
    pub tried: Vec<(usize, f64)>,
    /// What it ran on.
    pub device: String,
    /// Wall time by stage.
    pub seconds: Seconds,
}

/// Wall time of the stages, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Seconds {
    /// Checking or making the matrix of dissimilarities.
    pub matrix: f64,
    /// Choosing first medoids.
    pub init: f64,
    /// Improving them.
    pub improve: f64,
}

impl Fit {
    /// What a search found, with what its medoids mean for the objects.
    pub(super) fn new<G: Units>(
        found: Found,
        assignment: Assignment<G::Integer>,
        grid: G,
        device: String,
        seconds: Seconds,
    ) -> Self {
        Self {
            labels: assignment.labels,
            loss: grid.value(assignment.loss),
            silhouette: assignment.silhouette,
            medoids: found.medoids,
            n_iter: found.stats.iterations,
            n_swaps: found.stats.swaps,
            converged: found.stats.converged,
            tried: found.tried,
            device,
            seconds,
        }
    }
}

/// Who made the distances and who swapped, in words.
pub(super) fn performers(maker: String, swapper: &str) -> String {
    if maker == swapper { maker } else { format!("{maker}; swaps on {swapper}") }
}

/// How an improvement of medoids went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SearchStats {
    pub iterations: usize,
    pub swaps: usize,
    pub converged: bool,
}

impl SearchStats {
    /// This one and another one after it.
    pub fn then(self, other: Self) -> Self {
        Self {
            iterations: self.iterations + other.iterations,
            swaps: self.swaps + other.swaps,
            converged: self.converged && other.converged,
        }
    }
}
