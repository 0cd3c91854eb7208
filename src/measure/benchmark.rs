//! One benchmark: its shape, what it needs, how it is verified and timed.
//!
//! 1. A first run warms up and is profiled: compiling, copying and kernels by the device's clock. Its result is verified
//!    against the definition in `f64`; a wrong result is an error and has no time.
//! 2. The repetitions are timed without the profile. The median counts; the smallest and the largest are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::data::{DataSet, Rows};
use super::record::{Ceilings, Run, Spread, Times};
#[cfg(feature = "gpu")]
use super::roofs::LARGE;
use super::{kmeans, lora, products};
use crate::cancel::Cancel;
#[cfg(feature = "gpu")]
use crate::device::{Backend, Stage};
use crate::device::{Counters, Device};
use crate::distance::Metric;
use crate::error::{Error, Result};
use crate::lora::Precision;
use crate::memory;

/// Most repetitions: beyond them is a typing error.
const MOST_REPETITIONS: usize = 10_000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Workload {
    /// Lloyd's algorithm from given first centroids.
    Kmeans,
    /// Distances between two tables.
    Distance,
    /// A batch of LoRA adapters.
    Lora,
    /// Inner products of two tables: the tile alone.
    Gemm,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kmeans, Self::Distance, Self::Lora, Self::Gemm];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kmeans => "kmeans",
            Self::Distance => "distance",
            Self::Lora => "lora",
            Self::Gemm => "gemm",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Workload {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::parameter("WORKLOAD", format!("one of {names}"), format!("{text:?}"))
        })
    }
}

/// A workload of one shape.
#[derive(Debug, Clone)]
pub struct Benchmark {
    /// What is done.
    pub workload: Workload,
    /// Rows of k-means.
    pub data: DataSet,
    /// Of a distance matrix.
    pub metric: Metric,
    /// Rows of X, or of the batch.
    pub n: usize,
    /// Features.
    pub d: usize,
    /// Clusters, rows of Y, or the rank.
    pub k: usize,
    /// `f32`, `f64`, `f16` or `bf16`.
    pub dtype: String,
    /// Iterations of k-means.
    pub iterations: usize,
    /// Whether k-means may end before, once no label changes.
    pub until_converged: bool,
    /// How often it is timed.
    pub repetitions: usize,
}

impl Benchmark {
    /// Bytes of host memory that it takes, at most; `u64::MAX` where they cannot be counted.
    pub fn host_bytes(&self) -> u64 {
        let [n, d, k] = [self.n, self.d, self.k].map(|size| size as f64);
        // f64 rows are made from f32 ones, halves beside them.
        let (element, result) = if self.dtype == "f64" { (12.0, 8.0) } else { (8.0, 4.0) };
        let bytes = match self.workload {
            Workload::Kmeans => n * (d * element + 44.0) + k * d * 48.0,
            // Tables, their prepared copies, and the matrix.
            Workload::Distance | Workload::Gemm => (n + k) * d * (element + 8.0) + n * k * result,
            // At most one adapter per row, in and out.
            Workload::Lora => 4.0 * n * (k + 2.0) * 2.0 * d * 2.0,
        };
        // Out of range becomes the largest number.
        bytes as u64
    }

    /// Checks the shape, also against the memory that is free.
    ///
    /// # Errors
    /// [`Error::Parameter`], and [`Error::TooLarge`] with the bytes that are needed.
    pub fn check(&self, free_bytes: Option<u64>) -> Result<()> {
        for (name, size) in [
            ("n", self.n),
            ("d", self.d),
            ("k", self.k),
            ("reps", self.repetitions),
            ("iterations", self.iterations),
        ] {
            if size == 0 {
                return Err(Error::parameter(name, "1 or more", 0));
            }
        }
        if self.repetitions > MOST_REPETITIONS {
            return Err(Error::parameter("reps", format!("1 to {MOST_REPETITIONS}"), self.repetitions));
        }
        if self.workload == Workload::Lora {
            self.dtype.parse::<Precision>()?;
        } else {
            Rows::check_name(&self.dtype)?;
        }
        if self.workload == Workload::Kmeans && self.k > self.n {
            return Err(Error::parameter("k", format!("1 to {} (the rows)", self.n), self.k));
        }
        if self.workload == Workload::Kmeans {
            self.data.check(self.d)?;
        }
        let (needed_bytes, limit_bytes) = (self.host_bytes(), free_bytes.unwrap_or(u64::MAX / 2));
        if needed_bytes > limit_bytes {
            let what = format!("{} of {} x {} x {} in host memory", self.workload, self.n, self.d, self.k);
            return Err(Error::TooLarge { what, needed_bytes, limit_bytes });
        }
        Ok(())
    }
}

/// Verifies and times one benchmark.
///
/// # Errors
/// Those of [`Benchmark::check`], of the workload and of the device; [`Error::WrongResult`] where the result is wrong.
pub fn run(device: &Device, benchmark: &Benchmark, ceilings: &Ceilings, cancel: &Cancel) -> Result<Run> {
    benchmark.check(None)?;
    // Where no thread can be started that is said first.
    device.host_pool()?;
    memory::ask("the rows and results of the benchmark", &[benchmark.host_bytes()])?;
    let mut run = match benchmark.workload {
        Workload::Kmeans => kmeans::run(device, benchmark, cancel)?,
        Workload::Distance => products::run(device, benchmark, benchmark.metric, cancel)?,
        Workload::Gemm => products::run(device, benchmark, Metric::InnerProduct, cancel)?,
        Workload::Lora => lora::benchmark::run(device, benchmark, cancel)?,
    };
    run.workload = benchmark.workload.name().to_owned();
    run.library = format!("tilefold {}", env!("CARGO_PKG_VERSION"));
    run.dtype.clone_from(&benchmark.dtype);
    [run.n, run.d, run.k] = [benchmark.n, benchmark.d, benchmark.k].map(|size| size as u64);
    let seconds =
        run.seconds.kernel.filter(|&kernel| kernel > 0.0).unwrap_or(run.seconds.wall.median).max(1e-9);
    run.gflops = run.flops / seconds / 1e9;
    run.fma_share = Some(run.flops / seconds / ceilings.fma_flops_per_second);
    Ok(run)
}

/// Where the time of one run on a GPU went; nothing elsewhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    /// By stage.
    pub stages: BTreeMap<String, f64>,
    /// All kernels.
    pub kernel: Option<f64>,
    /// Compiling.
    pub compile: Option<f64>,
    /// Copying to the device.
    pub upload: Option<f64>,
}

/// Does `work` under the profile of the device, where it is a GPU.
pub(super) fn profiled<R>(device: &Device, work: impl FnOnce() -> Result<R>) -> Result<(R, Parts)> {
    #[cfg(feature = "gpu")]
    if let Backend::Gpu(gpu) = device.resolve(&LARGE) {
        super::on_gpu::wake(gpu)?;
        gpu.profile().start();
        let outcome = work();
        let profile = gpu.profile().end();
        let mut stages = BTreeMap::new();
        for (&stage, seconds) in &profile.kernel_seconds {
            *stages.entry(name_of(stage).to_owned()).or_default() += seconds;
        }
        let parts = Parts {
            stages,
            kernel: Some(profile.kernel_seconds.values().sum()),
            compile: Some(profile.compile_seconds),
            upload: Some(profile.upload_seconds),
        };
        return Ok((outcome?, parts));
    }
    #[cfg(not(feature = "gpu"))]
    let _ = device;
    Ok((work()?, Parts::default()))
}

/// What a stage is called in records.
#[cfg(feature = "gpu")]
fn name_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Nearest => "labels",
        Stage::Bounds => "pruning",
        Stage::Sums => "sums",
        Stage::Named(name) => name,
    }
}

/// What repetitions took, and what the last one asked of a GPU.
pub(super) struct Repeated {
    pub wall: Spread,
    pub counters: Option<Counters>,
}

/// Times `work` as often as the benchmark says.
pub(super) fn repeated(
    device: &Device,
    benchmark: &Benchmark,
    cancel: &Cancel,
    mut work: impl FnMut() -> Result<f64>,
) -> Result<Repeated> {
    let mut seconds = Vec::with_capacity(benchmark.repetitions);
    let mut counters = None;
    for _ in 0..benchmark.repetitions {
        cancel.check()?;
        let before = device.counters().unwrap_or_default();
        seconds.push(work()?);
        counters = device.counters().map(|after| after.since(&before));
    }
    Ok(Repeated { wall: Spread::of(&seconds), counters })
}

/// Times from the profile of the first run and the wall times of the repetitions.
pub(super) fn times(parts: Parts, wall: Spread) -> Times {
    Times { wall, upload: parts.upload, compile: parts.compile, kernel: parts.kernel, stages: parts.stages }
}

/// The error of a result that is not what the definition says.
pub(super) fn wrong(device: &Device, operation: &'static str, reason: String) -> Error {
    Error::WrongResult { device: device.name(), operation, reason }
}
