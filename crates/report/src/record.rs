//! Results as the page reads them: what it shows of the records of `tilefold bench`, `tune`, `verify` and `scripts/peers`.
//! All else in them is ignored; numbers that a record lacks are 0.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One object of results.
#[derive(Deserialize)]
pub(crate) struct Record {
    /// Version of tilefold.
    pub tilefold: String,
    #[serde(default)]
    pub commit: String,
    /// `2026-01-31T12:00:00Z`.
    #[serde(default)]
    pub date: String,
    pub machine: Machine,
    pub device: DeviceFacts,
    #[serde(default)]
    pub roofs: Option<Roofs>,
    #[serde(flatten)]
    pub runs: Runs,
}

#[derive(Deserialize)]
#[serde(tag = "kind", content = "runs", rename_all = "lowercase")]
pub(crate) enum Runs {
    Bench(Vec<Run>),
    Peers(Vec<Run>),
    Tune(Vec<Candidate>),
    Verify(Vec<Check>),
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    /// The processor's name.
    pub cpu: String,
    pub threads: u64,
    /// Widest vectors that the CPU path uses.
    pub simd: String,
    pub os: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct DeviceFacts {
    pub name: String,
    /// Empty for the CPU.
    pub driver: String,
    /// Whether it is a driver that runs on the CPU.
    pub is_software: bool,
}

/// What the device can do at most.
#[derive(Clone, Copy, Deserialize)]
pub(crate) struct Roofs {
    pub fma_flops_per_second: f64,
    pub copy_bytes_per_second: f64,
    pub write_bytes_per_second: f64,
    pub launch_seconds: f64,
}

/// One workload, verified and timed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Run {
    pub workload: String,
    /// Who did it, with its version.
    pub library: String,
    /// Data set, metric or mix of adapters.
    pub data: String,
    pub dtype: String,
    /// Rows.
    pub n: u64,
    /// Features.
    pub d: u64,
    /// Clusters, columns of the matrix, or the rank.
    pub k: u64,
    pub iterations: Option<u64>,
    /// `fixed` number of iterations, or until it `converged`.
    pub mode: Option<String>,
    pub seconds: Times,
    pub flops: f64,
    pub bytes: f64,
    pub gflops: f64,
    /// Share of the multiply-add roof.
    pub fma_share: Option<f64>,
    pub verified: Verified,
    /// Share of rows that were decided in `f64`.
    pub rechecked: Option<f64>,
    pub inertia: Option<f64>,
    /// Products of each iteration, as a share of rows times clusters.
    pub products: Option<Vec<f64>>,
    /// Share of labels that are tilefold's.
    pub equal_labels: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Times {
    pub wall: Spread,
    /// Compiling kernels, once per process.
    pub compile: Option<f64>,
    /// Work of the device by its own clock.
    pub kernel: Option<f64>,
    pub stages: BTreeMap<String, f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub count: u64,
}

/// Rows or entries that were computed again in `f64`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Verified {
    pub checked: u64,
    pub of: u64,
    /// Largest error as a share of its bound.
    pub worst_share: Option<f64>,
}

/// One candidate of the autotuner on one shape.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Candidate {
    pub workload: String,
    pub rows: u64,
    pub columns: u64,
    pub depth: u64,
    pub candidate: String,
    pub measured_seconds: f64,
    /// What the model said.
    pub predicted_seconds: f64,
    /// Whether its result was right.
    pub verified: bool,
    pub chosen: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Check {
    pub name: String,
    pub failure: Option<String>,
}
