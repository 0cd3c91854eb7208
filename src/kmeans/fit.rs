//! A fit: prepare the data once, run Lloyd's algorithm `n_init` times, keep the best run.

use std::time::Instant;

use ndarray::Array1;

use super::checkpoint::Checkpoint;
use super::cpu::Cpu;
use super::init;
use super::lloyd::{self, Iteration, Passes, Run, State};
use super::model::Model;
use super::params::{Control, Init, Params, Progress};
use super::problem::Problem;
use super::reference;
use crate::data::Points;
use crate::device::{Backend, Device, Prediction};
use crate::error::{Error, Result};

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
    resident: std::sync::OnceLock<super::gpu::Windows>,
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
            resident: std::sync::OnceLock::new(),
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
        let (best, history_device) = self.device.host_pool().install(|| match &backend {
            Backend::Reference => {
                fit_reference(problem, params, &mut seconds).map(|best| (best, backend.name()))
            }
            Backend::Cpu(_) => {
                let mut cpu = Cpu::new(problem, params.n_clusters, params.cancel.clone(), params.recheck);
                fit_passes(problem, params, &mut cpu, &mut seconds).map(|best| (best, backend.name()))
            }
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => {
                let begin = Instant::now();
                let mut passes = super::gpu::GpuPasses::new(gpu, problem, params, &self.resident)?;
                seconds.upload += begin.elapsed().as_secs_f64();
                fit_passes(problem, params, &mut passes, &mut seconds).map(|best| (best, backend.name()))
            }
        })?;
        Ok(result(problem, params, best, history_device, seconds))
    }
}

fn fit_passes(
    problem: &Problem,
    params: &Params,
    passes: &mut dyn Passes,
    seconds: &mut Seconds,
) -> Result<Run> {
    let checkpoint = Checkpoint::of(problem, params);
    let saved = match &checkpoint {
        Some(checkpoint) => checkpoint.load()?,
        None => None,
    };
    let (mut resumed, mut best) = match saved {
        None => (None, None),
        Some(saved) => {
            let best = match saved.best {
                // A finished run only needs its labels again.
                Some((state, _)) => Some(lloyd::run(problem, params, passes, state, |_| Ok(()))?),
                None => None,
            };
            (Some(saved.state.resumed(params.max_iter)), best)
        }
    };
    let first = resumed.as_ref().map_or(0, |state| state.run);
    for run in first..params.runs() {
        let begin = Instant::now();
        let state = match resumed.take() {
            Some(state) => state,
            None => State::new(run, init::choose(problem, params, run)?),
        };
        seconds.init += begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let kept = best.as_ref().map(|best: &Run| (&best.state, best.inertia));
        let finished = lloyd::run(problem, params, passes, state, |state| match &checkpoint {
            Some(checkpoint) => checkpoint.save(state, kept),
            None => Ok(()),
        })?;
        seconds.iterate += begin.elapsed().as_secs_f64();
        let stopped = finished.stopped;
        if best.as_ref().is_none_or(|best| finished.inertia < best.inertia) {
            best = Some(finished);
        }
        if stopped {
            break;
        }
    }
    best.ok_or_else(|| Error::parameter("n_init", "at least 1", 0))
}

/// The reference runs on its own, from the same first centroids.
fn fit_reference(problem: &Problem, params: &Params, seconds: &mut Seconds) -> Result<Run> {
    let mut x = vec![0.0_f32; problem.rows * problem.columns];
    problem.load(0, &mut x)?;
    let x: Vec<f64> = x.into_iter().map(f64::from).collect();
    let weights: Vec<f64> = (0..problem.rows).map(|row| problem.weight(row).map_or(1.0, f64::from)).collect();
    let definition = reference::Definition {
        x: &x,
        weights: &weights,
        columns: problem.columns,
        max_iter: params.max_iter,
        tolerance: params.tol * problem.mean_variance,
        unit_rows: params.spherical,
    };
    let mut best: Option<Run> = None;
    for run in 0..params.runs() {
        let begin = Instant::now();
        let start = init::choose(problem, params, run)?;
        seconds.init += begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let (mut history, mut stopped) = (Vec::new(), false);
        let outcome = reference::lloyd(&definition, start, |step| {
            params.cancel.check()?;
            let inertia = problem.inertia(step.inertia);
            let shift = step.shift / problem.frame.scale / problem.frame.scale;
            history.push(Iteration { inertia, changed: step.changed, rechecked: 0.0, shift });
            let progress = Progress { run, iteration: history.len(), inertia, changed: step.changed, shift };
            stopped = params.callback.as_ref().is_some_and(|call| call(&progress) == Control::Stop);
            Ok::<bool, Error>(!stopped)
        })?;
        seconds.iterate += begin.elapsed().as_secs_f64();
        let inertia = problem.inertia(outcome.inertia);
        if best.as_ref().is_none_or(|best| inertia < best.inertia) {
            let mut state = State::new(run, outcome.centroids);
            state.history = history;
            state.ended = Some(outcome.converged);
            best = Some(Run { state, labels: outcome.labels, inertia, stopped });
        }
        if stopped {
            break;
        }
    }
    best.ok_or_else(|| Error::parameter("n_init", "at least 1", 0))
}

fn result(problem: &Problem, params: &Params, best: Run, device: String, seconds: Seconds) -> Fit {
    let mut cluster_sizes = vec![0; params.n_clusters];
    best.labels.iter().for_each(|&label| cluster_sizes[label as usize] += 1);
    let distinct = cluster_sizes.iter().filter(|&&size| size > 0).count();
    if distinct < params.n_clusters && !matches!(params.init, Init::Centroids(_)) {
        tracing::warn!(distinct, n_clusters = params.n_clusters, "fewer distinct points than clusters");
    }
    let history = best.state.history;
    let rechecked =
        history.iter().map(|iteration| iteration.rechecked).sum::<f64>() / history.len().max(1) as f64;
    let (n_iter, converged) = (history.len(), best.state.ended == Some(true));
    let model = Model {
        frame: problem.frame.clone(),
        centroids: best.state.centroids,
        inertia: best.inertia,
        n_iter: n_iter as u64,
        converged,
    };
    let (labels, inertia) = (best.labels.into(), best.inertia);
    Fit { model, labels, inertia, n_iter, converged, history, cluster_sizes, rechecked, device, seconds }
}
