//! A fit: prepare the data once, run Lloyd's algorithm `n_init` times, keep the best run.

use std::sync::Arc;
use std::time::Instant;

use ndarray::{Array1, Array2};
use rayon::prelude::*;

use super::checkpoint::Memory;
use super::cpu::Cpu;
use super::init;
use super::lloyd::{Iteration, Run};
use super::model::Model;
use super::params::{Init, Params};
use super::problem::Problem;
use super::runs::{fit_passes, fit_reference};
use crate::data::Points;
use crate::device::{Backend, Device, Prediction};
use crate::error::{Error, Result};

#[cfg(feature = "gpu")]
use {super::gpu::GpuPasses, crate::device::Gpu};

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

impl Seconds {
    #[cfg(feature = "gpu")]
    fn plus(self, other: Self) -> Self {
        Self {
            upload: self.upload + other.upload,
            init: self.init + other.init,
            iterate: self.iterate + other.iterate,
        }
    }
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

/// Clusters points. Same data, parameters and seed give the same bits on every device.
///
/// `minimise over c: sum over i of w[i] * min over k of |x[i] - c[k]|^2` by Lloyd's algorithm (1982). Labels equal
/// those of `f64` arithmetic on the centred data, with ties to the lowest index; see [`Params`] for the rules.
///
/// Errors: a parameter out of its range, no points, NaN or infinity in points, weights or centroids, negative weights.
///
/// ```
/// use ndarray::array;
/// use tilefold::{Device, kmeans};
///
/// let points = array![[0.0_f32, 0.0], [0.0, 1.0], [9.0, 9.0], [9.0, 8.0]];
/// let fit = kmeans::fit(&Device::cpu(), points.view(), &kmeans::Params::new(2))?;
/// assert_eq!(fit.labels[0], fit.labels[1]);
/// assert_ne!(fit.labels[0], fit.labels[2]);
/// assert_eq!(fit.inertia, 1.0);
/// # Ok::<(), tilefold::Error>(())
/// ```
pub fn fit<'a>(device: &Device, points: impl Into<Points<'a>>, params: &Params) -> Result<Fit> {
    let points = points.into();
    points.check_not_empty("points")?;
    params.check(points.rows(), points.columns())?;
    Data::new(device, points, params)?.fit(params)
}

/// The first centroids that a fit with these parameters starts its first run from, one per row, in input units.
///
/// Errors: as [`fit`].
pub fn first_centroids<'a>(
    device: &Device,
    points: impl Into<Points<'a>>,
    params: &Params,
) -> Result<Array2<f64>> {
    let points = points.into();
    points.check_not_empty("points")?;
    params.check(points.rows(), points.columns())?;
    let data = Data::new(device, points, params)?;
    let problem = &data.problem;
    let chosen = device.host_pool().install(|| init::choose(problem, params, 0))?;
    let frame = &problem.frame;
    Ok(Array2::from_shape_fn((params.n_clusters, problem.columns), |(cluster, column)| {
        chosen[cluster * problem.columns + column] / frame.scale + frame.offset[column]
    }))
}

/// Points prepared for several fits: scanned, centred and, on a GPU, resident there.
///
/// ```
/// use ndarray::array;
/// use tilefold::{Device, kmeans};
///
/// let points = array![[0.0_f32, 0.0], [0.0, 1.0], [9.0, 9.0], [9.0, 8.0]];
/// let data = kmeans::Data::new(&Device::cpu(), points.view(), &kmeans::Params::new(1))?;
/// let inertia: Vec<f64> =
///     (1..=4).map(|k| Ok(data.fit(&kmeans::Params::new(k))?.inertia)).collect::<tilefold::Result<_>>()?;
/// assert!(inertia[0] > inertia[1] && inertia[3] == 0.0);
/// # Ok::<(), tilefold::Error>(())
/// ```
pub struct Data<'a> {
    device: Device,
    problem: Problem<'a>,
    #[cfg(feature = "gpu")]
    resident: super::gpu::ResidentSlot,
    prepare_seconds: f64,
}

impl<'a> Data<'a> {
    /// Prepares points with the weights and the spherical mode of `params`; later fits may differ in everything else.
    pub fn new(device: &Device, points: impl Into<Points<'a>>, params: &Params) -> Result<Self> {
        let begin = Instant::now();
        let points = points.into();
        let problem = device
            .host_pool()
            .install(|| Problem::new(points, params.weights.as_deref(), params.spherical, &params.cancel))?;
        Ok(Self {
            device: device.clone(),
            problem,
            #[cfg(feature = "gpu")]
            resident: super::gpu::ResidentSlot::default(),
            prepare_seconds: begin.elapsed().as_secs_f64(),
        })
    }

    /// Fits with the weights these points were prepared with.
    pub fn fit(&self, params: &Params) -> Result<Fit> {
        let problem = &self.problem;
        params.check(problem.rows, problem.columns)?;
        if params.spherical != problem.frame.unit_rows {
            let rule = format!("{}, as the data was prepared", problem.frame.unit_rows);
            return Err(Error::parameter("spherical", rule, params.spherical));
        }
        let (rows, columns) = (problem.rows as f64, problem.columns as f64);
        let iterations = params.max_iter.min(20) as f64 * params.runs() as f64;
        let flops = 2.0 * rows * columns * params.n_clusters as f64 * iterations;
        let backend = self.device.resolve(&Prediction { flops, upload_bytes: 4.0 * rows * columns });
        let mut seconds = Seconds { upload: self.prepare_seconds, ..Seconds::default() };
        let (best, ran_on) = self.device.host_pool().install(|| match &backend {
            Backend::Reference => Ok((fit_reference(problem, params, &mut seconds)?, backend.name())),
            Backend::Cpu(_) => Ok((self.fit_cpu(params, &mut seconds)?, backend.name())),
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => self.fit_gpu(gpu, params, &mut seconds),
        })?;
        Ok(self.device.host_pool().install(|| result(problem, params, best, ran_on, seconds)))
    }

    fn fit_cpu(&self, params: &Params, seconds: &mut Seconds) -> Result<Run> {
        let mut cpu = Cpu::new(&self.problem, params);
        fit_passes(&self.problem, params, &mut cpu, seconds, &mut Memory::default())
    }

    /// Runs on a GPU. An attempt that fails for want of the device or its memory goes on from its last iteration.
    #[cfg(feature = "gpu")]
    fn fit_gpu(&self, gpu: &Gpu, params: &Params, seconds: &mut Seconds) -> Result<(Run, String)> {
        let mut memory = Memory::default();
        let mut gpu_seconds = *seconds;
        let attempt = |gpu: &Gpu, failures| {
            if failures > 0 {
                *self.resident.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
            }
            let begin = Instant::now();
            let mut passes = GpuPasses::new(gpu, &self.problem, params, &self.resident)?;
            gpu_seconds.upload += begin.elapsed().as_secs_f64();
            fit_passes(&self.problem, params, &mut passes, &mut gpu_seconds, &mut memory)
        };
        let mut cpu_seconds = Seconds::default();
        let outcome = self.device.on_gpu_or_cpu(gpu, attempt, || self.fit_cpu(params, &mut cpu_seconds));
        *seconds = gpu_seconds.plus(cpu_seconds);
        outcome
    }
}

/// Number of rows with each label.
fn sizes(labels: &[u32], n_clusters: usize) -> Vec<u64> {
    // Each part has sizes of its own, which are to be fewer than its labels.
    let part = labels.len().div_ceil(rayon::current_num_threads()).max(n_clusters).max(1 << 16);
    let parts = labels.par_chunks(part).map(|labels| {
        let mut sizes = vec![0_u64; n_clusters];
        labels.iter().for_each(|&label| sizes[label as usize] += 1);
        sizes
    });
    parts.reduce(
        || vec![0; n_clusters],
        |mut sizes, others| {
            sizes.iter_mut().zip(others).for_each(|(size, other)| *size += other);
            sizes
        },
    )
}

fn result(problem: &Problem, params: &Params, best: Run, device: String, seconds: Seconds) -> Fit {
    let cluster_sizes = sizes(&best.labels, params.n_clusters);
    let distinct = cluster_sizes.iter().filter(|&&size| size > 0).count();
    if distinct < params.n_clusters && !matches!(params.init, Init::Centroids(_)) {
        tracing::warn!(distinct, n_clusters = params.n_clusters, "fewer distinct points than clusters");
    }
    let history = best.state.history;
    let mean =
        |share: fn(&Iteration) -> f64| history.iter().map(share).sum::<f64>() / history.len().max(1) as f64;
    let (screened, rechecked) = (mean(|iteration| iteration.screened), mean(|iteration| iteration.rechecked));
    let (n_iter, converged) = (history.len(), best.state.ended == Some(true));
    let model = Model {
        frame: problem.frame.clone(),
        centroids: Arc::unwrap_or_clone(best.state.centroids),
        inertia: best.inertia,
        n_iter: n_iter as u64,
        converged,
    };
    let (labels, inertia) = (best.labels.into(), best.inertia);
    Fit {
        model,
        labels,
        inertia,
        n_iter,
        converged,
        history,
        cluster_sizes,
        screened,
        rechecked,
        device,
        seconds,
    }
}
