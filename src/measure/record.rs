//! What a measurement leaves behind: one JSON object that says what was measured, on what, and by which version.
//!
//! `{"tilefold": VERSION, "kind": "bench" | "tune" | "peers" | "verify", "commit": .., "date": .., "machine": {..},
//! "device": {..}, "roofs": {..}, "runs": [..]}`. A file holds one such object, an array of them, or one per line.
//! Fields that a reader does not know are ignored; those it misses are `null` or left out.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::machine::{DeviceFacts, Machine};
use super::roofs::Roofs;
use crate::cancel::Cancel;
use crate::data::json::{Demand, EachOnce};
use crate::data::whole::Whole;
use crate::device::Counters;
use crate::error::{Error, Result};
#[cfg(feature = "cli")]
use crate::memory;

/// Largest file of results that is read: beyond it is something else.
const MOST_BYTES: u64 = 64 << 20;

/// Most objects in it: a run has five. An object of three bytes may stand for a run of hundreds.
const MOST_OBJECTS: u64 = 200_000;

/// Room for what is made of records: values, keys, and a page of a few lines for each object, its texts with escaped signs.
///
/// # Errors
/// [`Error::TooLarge`], which says `what` is made.
#[cfg(feature = "cli")]
pub(crate) fn ask_for_use(what: &str, records: &[Record]) -> Result<()> {
    let mut demand = Demand::default();
    let written = serde_json::to_writer(&mut demand, records);
    written.map_err(|error| Error::parameter("results", "what JSON can say", error))?;
    let made = (demand.objects() << 11).saturating_add(8 * demand.text_bytes());
    memory::ask(what, &[demand.value_bytes(), made])
}

/// One object of results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of tilefold.
    pub tilefold: String,
    /// Commit it was built from, `unknown` where the build did not know.
    #[serde(default)]
    pub commit: String,
    /// When, in UTC: `2026-01-31T12:00:00Z`.
    #[serde(default)]
    pub date: String,
    /// The machine.
    pub machine: Machine,
    /// The device that did the work.
    pub device: DeviceFacts,
    /// What the device can do at most.
    #[serde(default)]
    pub roofs: Option<Ceilings>,
    /// What was measured.
    #[serde(flatten)]
    pub runs: Runs,
}

/// The runs of a record, by its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "runs", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Runs {
    /// Timed workloads.
    Bench(Vec<Run>),
    /// Timed workloads of tilefold and of other libraries, in turns.
    Peers(Vec<Run>),
    /// Candidates of the autotuner.
    Tune(Vec<Candidate>),
    /// Outcomes of checks.
    Verify(Vec<Check>),
}

/// Roofs as they are written down.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Multiply-adds of `f32` in registers.
    pub fma_flops_per_second: f64,
    /// Bytes read and written by a copy.
    pub copy_bytes_per_second: f64,
    /// Bytes written by a fill.
    pub write_bytes_per_second: f64,
    /// An empty launch.
    pub launch_seconds: f64,
}

impl From<&Roofs> for Ceilings {
    fn from(roofs: &Roofs) -> Self {
        Self {
            fma_flops_per_second: roofs.fma_flops_per_second,
            copy_bytes_per_second: roofs.copy_bytes_per_second,
            write_bytes_per_second: roofs.write_bytes_per_second,
            launch_seconds: roofs.launch_seconds,
        }
    }
}

/// One workload, verified and timed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// `kmeans`, `distance`, `lora` or `gemm`.
    pub workload: String,
    /// Who did it, `tilefold` or a peer, with its version.
    pub library: String,
    /// Data set, metric or mix of adapters.
    pub data: String,
    /// Element type.
    pub dtype: String,
    /// Rows.
    pub n: u64,
    /// Features.
    pub d: u64,
    /// Clusters, columns of the matrix, or the rank.
    pub k: u64,
    /// Iterations of k-means that were done.
    pub iterations: Option<u64>,
    /// `fixed` number of iterations, or until it `converged`.
    pub mode: Option<String>,
    /// Where the time went.
    pub seconds: Times,
    /// Multiplications and additions of the definition.
    pub flops: f64,
    /// Bytes that have to be read and written at least.
    pub bytes: f64,
    /// `flops` per second of kernel time where that is known, else of wall time, in 10^9.
    pub gflops: f64,
    /// Their share of the multiply-add roof.
    pub fma_share: Option<f64>,
    /// How the result was checked before it was timed.
    pub verified: Verified,
    /// Share of rows that were decided in `f64`.
    pub rechecked: Option<f64>,
    /// Sum of squared distances.
    pub inertia: Option<f64>,
    /// Products of each iteration, as a share of rows times clusters.
    pub products: Option<Vec<f64>>,
    /// Compared with tilefold: share of equal labels.
    pub equal_labels: Option<f64>,
    /// What the last repetition asked of a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters: Option<Counters>,
}

/// Seconds of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    /// Wall time of each repetition; `min`, `median` and `max` are of these.
    pub wall: Spread,
    /// Preparing the data and bringing it to the device.
    pub upload: Option<f64>,
    /// Compiling kernels, once per process.
    pub compile: Option<f64>,
    /// Work of the device by its own clock.
    pub kernel: Option<f64>,
    /// Stages by name, in seconds, of a run of its own.
    pub stages: BTreeMap<String, f64>,
}

/// The middle of some values, and how far they lie apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many there were.
    pub count: u64,
}

impl Spread {
    /// Of values; all 0 where there is none.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else { return Self::default() };
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Self { median, min, max, count: sorted.len() as u64 }
    }
}

/// How a result was checked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verified {
    /// Rows or entries that were computed again in `f64`.
    pub checked: u64,
    /// Of so many.
    pub of: u64,
    /// Largest error as a share of its derived bound; labels have none, they are equal.
    pub worst_share: Option<f64>,
}

/// One candidate of the autotuner on one shape.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Candidate {
    /// What it does.
    pub workload: String,
    /// Rows of X.
    pub rows: u64,
    /// Rows of Y.
    pub columns: u64,
    /// Features.
    pub depth: u64,
    /// Its name.
    pub candidate: String,
    /// What it took.
    pub measured_seconds: f64,
    /// What the model said.
    pub predicted_seconds: f64,
    /// Whether its result was right.
    pub verified: bool,
    /// Whether the tuner took it.
    pub chosen: bool,
}

/// One check of `tilefold verify`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Check {
    /// What must hold.
    pub name: String,
    /// Cases that were looked at.
    pub cases: u64,
    /// What the first one that failed was, `null` where none did.
    pub failure: Option<String>,
    /// Seconds it took.
    pub seconds: f64,
}

/// Reads the records of a file.
///
/// # Errors
/// [`Error::File`] where it cannot be read, [`Error::Format`] with the file's name where it holds anything else.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let format = |expected: &str, got: String| {
        Err(Error::Format { path: path.to_owned(), expected: expected.to_owned(), got })
    };
    let text = Whole { what: "results", mark: b"", most_bytes: MOST_BYTES }.read(path, &Cancel::new())?;
    let demand = Demand::of(&text);
    let objects = demand.objects();
    if objects > MOST_OBJECTS {
        return format(&format!("results of at most {MOST_OBJECTS} objects"), objects.to_string());
    }
    demand.ask(&format!("results of {}", path.display()))?;
    let mut records = Vec::new();
    for value in serde_json::Deserializer::from_slice(&text).into_iter::<EachOnce>() {
        let values = match value {
            Ok(EachOnce(Value::Array(values))) => values,
            Ok(EachOnce(value)) => vec![value],
            Err(error) => return format("JSON", error.to_string()),
        };
        for value in values {
            match serde_json::from_value(value) {
                Ok(record) => records.push(record),
                Err(error) => {
                    return format(
                        "results of tilefold bench, tune, verify or scripts/peers",
                        error.to_string(),
                    );
                }
            }
        }
    }
    if records.is_empty() {
        return format("results", "none".to_owned());
    }
    Ok(records)
}
