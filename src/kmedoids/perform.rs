//! Who performs a clustering: the part that is the same for every call.

use std::time::Instant;

use ndarray::ArrayView2;

use super::by_reference;
use super::columns::{Columns, transposed};
use super::dissimilarities::{Checked, Dissimilarities, Values, check};
use super::entry::Entry;
#[cfg(feature = "gpu")]
use super::gpu;
use super::grid::Grid;
use super::params::{Method, Params};
use super::problem::{Found, Problem};
use super::random::distinct;
use super::results::{Fit, Seconds, performers};
use crate::device::{Backend, Device, Prediction};
use crate::error::{Error, Result};
use crate::random::Draws;

/// Medoids of given dissimilarities.
pub(crate) fn fit(device: &Device, given: &Dissimilarities, params: &Params) -> Result<Fit> {
    device.host_pool()?.install(|| match &given.values {
        Values::F32(matrix) => fit_matrix(device, &matrix.view(), params),
        Values::F64(matrix) => fit_matrix(device, &matrix.view(), params),
    })
}

fn fit_matrix<T: Entry>(device: &Device, matrix: &ArrayView2<T>, params: &Params) -> Result<Fit> {
    let begin = Instant::now();
    let checked = check(matrix, &params.cancel)?;
    params.check(matrix.nrows())?;
    if checked.has_negative && params.method.is_of_silhouettes() {
        return Err(negative(matrix));
    }
    let turned;
    // What is symmetric reads the same in both orders.
    let values = match (matrix.as_slice_memory_order(), matrix.is_standard_layout()) {
        (Some(values), is_by_rows) if checked.is_symmetric || !is_by_rows => values,
        _ => {
            turned = transposed(matrix, &params.cancel)?;
            turned.as_slice().unwrap_or_default()
        }
    };
    let columns = Columns::held(values.into(), matrix.nrows(), &params.cancel);
    let seconds = Seconds { matrix: begin.elapsed().as_secs_f64(), ..Seconds::default() };
    cluster(device, columns, checked, params, seconds, None)
}

/// The error for the first entry below 0.
fn negative<T: Entry>(matrix: &ArrayView2<T>) -> Error {
    let entry = matrix.indexed_iter().find(|(_, value)| value.wide() < 0.0);
    let ((row, column), got) = entry.map_or(((0, 0), f64::NAN), |(at, value)| (at, value.wide()));
    Error::Value {
        argument: "dissimilarities",
        row,
        column,
        expected: "a number of at least 0, which silhouettes need",
        got,
    }
}

/// Clusters objects around some of themselves. `made_by` says what made the columns, where they are distances.
pub(crate) fn cluster<T: Entry>(
    device: &Device,
    columns: Columns<T>,
    checked: Checked,
    params: &Params,
    mut seconds: Seconds,
    made_by: Option<String>,
) -> Result<Fit> {
    let objects = columns.objects();
    let problem = Problem { columns, grid: Grid::new(checked.largest, objects as u64) };
    let predicted = prediction(objects, params);
    let backend = device.resolve(&predicted);
    if matches!(backend, Backend::Reference) {
        return by_reference::cluster(&problem, checked.has_negative, params, seconds);
    }
    let mut draws = Draws::new(params.seed, 0);
    let mut swaps = Swaps { ran_on: device.processor().name(), fell_back: false };
    let begin = Instant::now();
    let found = match params.method {
        Method::Clara { samples, size } => {
            problem.clara((samples, size), params, &mut draws, |sample, first, draws| {
                sample.improve(first, params, draws)
            })?
        }
        Method::OneBatch { size } => {
            let size = batch_size(size, objects, params.n_clusters);
            let mut batch = distinct(objects, size, &mut draws);
            batch.sort_unstable();
            let all: Vec<usize> = (0..objects).collect();
            let values = problem.columns.part(&all, &batch)?;
            super::one_batch::search(values, &batch, params, &mut draws)?
        }
        _ => {
            let first = problem.first(params, &mut draws)?;
            seconds.init = begin.elapsed().as_secs_f64();
            let found;
            (found, swaps) = improve(device, &backend, &problem, first, params, &mut draws)?;
            found
        }
    };
    seconds.improve = begin.elapsed().as_secs_f64() - seconds.init;
    let mut assignment = problem.assign(&found.medoids)?;
    assignment.silhouette = assignment.silhouette.filter(|_| !checked.has_negative);
    let device = match made_by {
        // Nothing was done by a GPU that failed.
        None if swaps.fell_back => swaps.ran_on,
        made_by => performers(made_by.unwrap_or_else(|| backend.name()), &swaps.ran_on),
    };
    Ok(Fit::new(found, assignment, problem.grid, device, seconds))
}

/// Who swapped.
struct Swaps {
    /// In words.
    ran_on: String,
    /// Whether the processor did because a GPU failed.
    fell_back: bool,
}

/// Improves medoids on the device where it performs the method, else on the processor; also says where.
fn improve<T: Entry>(
    device: &Device,
    backend: &Backend,
    problem: &Problem<T>,
    first: Vec<usize>,
    params: &Params,
    draws: &mut Draws,
) -> Result<(Found, Swaps)> {
    #[cfg(feature = "gpu")]
    if let Backend::Gpu(gpu) = backend {
        match gpu.persist(|gpu, _| gpu::improve(gpu, problem, &first, params)) {
            Ok(Some(found)) => return Ok((found, Swaps { ran_on: gpu.name(), fell_back: false })),
            Err(error) if device.falls_back_after(&error) => {
                let swaps = Swaps { ran_on: device.cpu_after(gpu), fell_back: true };
                return Ok((problem.improve(first, params, draws)?, swaps));
            }
            outcome => drop(outcome?),
        }
    }
    #[cfg(not(feature = "gpu"))]
    let _ = backend;
    let swaps = Swaps { ran_on: device.processor().name(), fell_back: false };
    Ok((problem.improve(first, params, draws)?, swaps))
}

/// What `auto` chooses by: a pass looks at every entry once, and there are about ten that a GPU could perform.
fn prediction(objects: usize, params: &Params) -> Prediction {
    let entries = (objects * objects) as f64;
    let passes = if params.method.has_kernels() { 10.0 } else { 0.0 };
    Prediction { flops: 4.0 * entries * passes, upload_bytes: 4.0 * entries }
}

/// Objects of the sample of a one-batch search.
pub(crate) fn batch_size(size: Option<usize>, objects: usize, count: usize) -> usize {
    let usual = 100.0 * (count as f64 * objects as f64).ln();
    size.unwrap_or(usual as usize).clamp(1, objects)
}
