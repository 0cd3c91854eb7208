//! What a fit hands out.

use ndarray::Array1;

use super::lloyd::Iteration;
use super::model::Model;

/// Wall time of the stages of a fit, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Seconds {
    /// Scanning and centring the data, norms, and copying it to the device.
    pub upload: f64,
    /// Choosing first centroids, over all runs.
    pub init: f64,
    /// Iterations, over all runs.
    pub iterate: f64,
}

/// The result of a fit.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fit {
    /// Centroids and the frame they live in: labels new points, saves itself.
    pub model: Model,
    /// Index of the nearest of the returned centroids for each point, ties to the lowest.
    pub labels: Array1<u32>,
    /// Sum over points of weight times squared distance to the nearest centroid, in input units.
    pub inertia: f64,
    /// Iterations of the run that was kept.
    pub n_iter: usize,
    /// Whether that run ended by `tol` or because no label changed, and not by `max_iter` or a callback.
    pub converged: bool,
    /// Its iterations.
    pub history: Vec<Iteration>,
    /// Number of points with each label.
    pub cluster_sizes: Vec<u64>,
    /// Mean over the iterations of the share of points that `f16` products on matrix units certified, or
    /// products of bytes on processors with VNNI; 0 without.
    pub screened: f64,
    /// Mean over the iterations of the share of points decided in `f64` because the tile did not certify them.
    pub rechecked: f64,
    /// What the passes ran on.
    pub device: String,
    /// Wall time by stage.
    pub seconds: Seconds,
}
