//! A fit: prepare the data once, run Lloyd's algorithm `n_init` times, keep the best run.

use std::sync::Arc;
use std::time::Instant;

use ndarray::Array2;
use rayon::prelude::*;

use super::by_reference;
use super::checkpoint::Checkpoint;
use super::cpu::Cpu;
use super::init::{gather, parallel, plus_plus, random};
use super::lloyd::{self, Iteration, Passes, Run, State};
use super::memory::{Memory, Standing};
use super::model::Model;
use super::params::{Init, Params};
use super::problem::{Problem, in_frame};
use super::results::{Fit, Seconds};
use crate::data::Points;
use crate::device::{Backend, CpuPool, Device, Prediction};
use crate::error::{Error, Result};
use crate::memory::{self, area};
use crate::random::Stream;

#[cfg(feature = "gpu")]
use {super::gpu::GpuPasses, crate::device::Gpu};

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
    ask_for_centroids(params.n_clusters, problem.columns)?;
    let chosen = device.host_pool()?.install(|| first_of_run(problem, params, 0))?;
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
            .host_pool()?
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
        ask_for_centroids(params.n_clusters, problem.columns)?;
        let (rows, columns) = (problem.rows as f64, problem.columns as f64);
        let iterations = params.max_iter.min(20) as f64 * params.runs() as f64;
        let flops = 2.0 * rows * columns * params.n_clusters as f64 * iterations;
        let backend = self.device.resolve(&Prediction { flops, upload_bytes: 4.0 * rows * columns });
        let mut seconds = Seconds { upload: self.prepare_seconds, ..Seconds::default() };
        let pool = self.device.host_pool()?;
        let mut perform = || match &backend {
            Backend::Reference => {
                let define = by_reference::runs(problem, params)?;
                let best = best_run(problem, params, &pool, &mut seconds, &mut Memory::default(), define)?;
                Ok((best, backend.name()))
            }
            Backend::Cpu(_) => Ok((self.fit_cpu(params, &pool, &mut seconds)?, backend.name())),
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => self.fit_gpu(gpu, params, &pool, &mut seconds),
        };
        // A callback may wait for threads that use this pool too. So it runs on the calling thread, and only what lies
        // between two calls of it takes a worker. Without one the whole fit moves to the pool, once.
        let (best, ran_on) = match &params.callback {
            Some(_) => perform(),
            None => pool.install(&mut perform),
        }?;
        Ok(pool.install(|| result(problem, params, best, ran_on, seconds)))
    }

    fn fit_cpu(&self, params: &Params, pool: &CpuPool, seconds: &mut Seconds) -> Result<Run> {
        let mut cpu = pool.install(|| Cpu::new(&self.problem, params))?;
        fit_passes(&self.problem, params, pool, &mut cpu, seconds, &mut Memory::default())
    }

    /// Runs on a GPU. An attempt that fails for want of the device or its memory goes on from its last iteration.
    #[cfg(feature = "gpu")]
    fn fit_gpu(
        &self,
        gpu: &Gpu,
        params: &Params,
        pool: &CpuPool,
        seconds: &mut Seconds,
    ) -> Result<(Run, String)> {
        let mut memory = Memory::default();
        let mut gpu_seconds = *seconds;
        let attempt = |gpu: &Gpu, failures| {
            if failures > 0 {
                *self.resident.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
            }
            let begin = Instant::now();
            let mut passes = pool.install(|| GpuPasses::new(gpu, &self.problem, params, &self.resident))?;
            gpu_seconds.upload += begin.elapsed().as_secs_f64();
            fit_passes(&self.problem, params, pool, &mut passes, &mut gpu_seconds, &mut memory)
        };
        let mut cpu_seconds = Seconds::default();
        let outcome =
            self.device.on_gpu_or_cpu(gpu, attempt, || self.fit_cpu(params, pool, &mut cpu_seconds));
        *seconds = gpu_seconds;
        seconds.init += cpu_seconds.init;
        seconds.iterate += cpu_seconds.iterate;
        outcome
    }
}

/// The runs of a fit on a device that takes passes. `memory` is where they go on from, and what is left of them when the
/// device fails.
fn fit_passes(
    problem: &Problem,
    params: &Params,
    pool: &CpuPool,
    passes: &mut dyn Passes,
    seconds: &mut Seconds,
    memory: &mut Memory,
) -> Result<Run> {
    let checkpoint = match &params.checkpoint {
        Some(path) => Some(pool.install(|| Checkpoint::new(path, problem, params))?),
        None => None,
    };
    if let (true, Some(checkpoint)) = (memory.kept.is_empty(), &checkpoint) {
        *memory = checkpoint.load(&params.cancel)?;
    }
    best_run(problem, params, pool, seconds, memory, |state, memory| {
        lloyd::run(problem, params, pool, passes, state, |state| {
            memory.keep(state);
            checkpoint.as_ref().map_or(Ok(()), |checkpoint| checkpoint.save(memory))
        })
    })
}

/// A run that may be the best.
struct Candidate {
    run: usize,
    inertia: f64,
    /// With its labels, unless an earlier attempt or an earlier fit finished it.
    finished: Option<Run>,
}

/// Runs `n_init` times, from where `memory` stands, and keeps the run with the lowest inertia, the first of equal ones.
fn best_run(
    problem: &Problem,
    params: &Params,
    pool: &CpuPool,
    seconds: &mut Seconds,
    memory: &mut Memory,
    mut run_from: impl FnMut(State, &mut Memory) -> Result<Run>,
) -> Result<Run> {
    let mut best: Option<Candidate> = None;
    for run in 0..params.runs() {
        let begin = Instant::now();
        let state = match memory.standing(run, params.max_iter) {
            Standing::Beaten => continue,
            Standing::Finished(inertia) => {
                if best.as_ref().is_none_or(|best| inertia < best.inertia) {
                    best = Some(Candidate { run, inertia, finished: None });
                }
                continue;
            }
            Standing::GoesOn(state) => state,
            Standing::New => State::new(run, pool.install(|| first_of_run(problem, params, run))?),
        };
        seconds.init += begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let finished = run_from(state, memory)?;
        seconds.iterate += begin.elapsed().as_secs_f64();
        let (inertia, stopped) = (finished.inertia, finished.stopped);
        memory.finish(run, inertia);
        if best.as_ref().is_none_or(|best| inertia < best.inertia) {
            best = Some(Candidate { run, inertia, finished: Some(finished) });
        }
        if stopped {
            break;
        }
    }
    let none = || Error::parameter("n_init", "at least 1", 0);
    let best = best.ok_or_else(none)?;
    match best.finished {
        Some(finished) => Ok(finished),
        // A finished run only needs its labels again.
        None => run_from(memory.state(best.run).ok_or_else(none)?.clone(), memory),
    }
}

/// The centroids that a run starts from, as rows of x' in `f64`: given ones, or chosen ones.
fn first_of_run(problem: &Problem, params: &Params, run: usize) -> Result<Vec<f64>> {
    let stream = || Stream::new(params.seed, run as u64);
    let rows = match &params.init {
        Init::Centroids(centroids) => {
            return in_frame(&problem.frame, centroids.outer_iter().map(|row| row.to_vec()));
        }
        Init::Random => random::rows(problem, params.n_clusters, &stream())?,
        Init::PlusPlus => plus_plus::rows(problem, params.n_clusters, &stream(), &params.cancel)?,
        Init::Parallel => return parallel::centroids(problem, params, run),
    };
    gather(problem, &rows)
}

/// What the host holds of centroids, whatever the device: those of this iteration, of the last and of the best run, their
/// sums, their operands, and what a file takes of them.
fn ask_for_centroids(n_clusters: usize, columns: usize) -> Result<()> {
    let all = area::<f64>(n_clusters, columns).saturating_mul(10);
    memory::ask(
        &format!("{n_clusters} centroids with {columns} columns"),
        &[all, area::<u64>(n_clusters, 32)],
    )
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
