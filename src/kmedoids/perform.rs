//! Who performs a clustering: the part that is the same for every call.

use std::time::Instant;

use ndarray::ArrayView2;

use super::assignment::assign;
use super::by_reference;
use super::columns::{Columns, transposed};
use super::digits;
use super::dissimilarities::{Checked, Dissimilarities, Values, check, too_large};
use super::entry::Entry;
use super::exact::{Exact, FEW, Span};
#[cfg(feature = "gpu")]
use super::gpu;
use super::grid::Grid;
use super::integer::Units;
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
        Values::TooLarge { objects, bytes } => Err(too_large(*objects, *bytes)),
    })
}

fn fit_matrix<T: Entry>(device: &Device, matrix: &ArrayView2<T>, params: &Params) -> Result<Fit> {
    let begin = Instant::now();
    let checked = check(matrix, &params.cancel)?;
    params.check(matrix.nrows())?;
    if checked.has_negative && params.method.is_of_silhouettes() {
        return Err(refused(matrix, "a number of at least 0, which silhouettes need", |d| d < 0.0));
    }
    if checked.has_infinite && params.method.is_of_silhouettes() {
        return Err(refused(matrix, "a finite number, which silhouettes need", f64::is_infinite));
    }
    if checked.has_infinite && matches!(params.method, Method::OneBatch { .. }) {
        return Err(refused(matrix, "a finite number, which onebatch needs", f64::is_infinite));
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

/// The error for the first entry that a method does not take.
fn refused<T: Entry>(
    matrix: &ArrayView2<T>,
    expected: &'static str,
    is_refused: impl Fn(f64) -> bool,
) -> Error {
    let entry = matrix.indexed_iter().find(|(_, value)| is_refused(value.wide()));
    let ((row, column), got) = entry.map_or(((0, 0), f64::NAN), |(at, value)| (at, value.wide()));
    Error::Value { argument: "dissimilarities", row, column, expected, got }
}

/// Clusters objects around some of themselves. `made_by` says what made the columns, where they are distances.
///
/// Sums are whole numbers on a grid, and exact ones of more words where the grid lost digits or cannot hold infinity.
pub(crate) fn cluster<T: Entry>(
    device: &Device,
    columns: Columns<T>,
    checked: Checked,
    params: &Params,
    seconds: Seconds,
    made_by: Option<String>,
) -> Result<Fit> {
    let objects = columns.objects() as u64;
    let backend = device.resolve(&prediction(columns.objects(), params));
    let task = Task { device, backend, checked, params, made_by };
    let problem = Problem { columns, grid: Grid::new(checked.largest, objects) };
    let (mut first, mut init, begin) = (None, 0.0, Instant::now());
    if !checked.has_infinite {
        let (fit, keeps_digits) = task.attempt(&problem, seconds)?;
        if keeps_digits {
            return Ok(fit);
        }
        init = fit.seconds.init;
        first = Some(fit);
    }
    let (span, grid) = (Span::of_columns(&problem.columns)?, problem.grid);
    if let Some(fit) = first.filter(|_| span.is_multiple_of(grid.unit())) {
        return Ok(fit);
    }
    let columns = problem.columns;
    let in_vain = begin.elapsed().as_secs_f64();
    let (mut fit, _) = match Exact::<FEW>::new(&span, objects) {
        Some(grid) => task.attempt(&Problem { columns, grid }, seconds)?,
        None => task.attempt(&Problem { columns, grid: T::widest(&span, objects)? }, seconds)?,
    };
    fit.seconds.init += init;
    fit.seconds.improve += in_vain - init;
    Ok(fit)
}

/// One call.
struct Task<'a> {
    device: &'a Device,
    backend: Backend<'a>,
    checked: Checked,
    params: &'a Params,
    made_by: Option<String>,
}

impl Task<'_> {
    /// Clusters by sums on the problem's grid, and says whether they kept their digits.
    fn attempt<T: Entry, G: Units>(
        &self,
        problem: &Problem<T, G>,
        mut seconds: Seconds,
    ) -> Result<(Fit, bool)> {
        let Self { device, backend, checked, params, made_by } = self;
        let has_silhouette = !(checked.has_negative || checked.has_infinite);
        if matches!(backend, Backend::Reference) {
            let fit = by_reference::cluster(problem, has_silhouette, params, seconds)?;
            let chosen = problem.columns.of(&fit.medoids)?;
            let keeps_digits = self.keeps_digits(problem, &chosen, &fit.medoids, &fit.labels);
            return Ok((fit, keeps_digits));
        }
        let objects = problem.objects();
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
                (found, swaps) = improve(device, backend, problem, first, params, &mut draws)?;
                found
            }
        };
        seconds.improve = begin.elapsed().as_secs_f64() - seconds.init;
        let chosen = problem.columns.of(&found.medoids)?;
        let mut assignment = assign(&chosen, objects, problem.grid, &params.cancel)?;
        let keeps_digits = self.keeps_digits(problem, &chosen, &found.medoids, &assignment.labels);
        assignment.silhouette = assignment.silhouette.filter(|_| has_silhouette);
        let device = match made_by.clone() {
            // Nothing was done by a GPU that failed.
            None if swaps.fell_back => swaps.ran_on,
            made_by => performers(made_by.unwrap_or_else(|| backend.name()), &swaps.ran_on),
        };
        Ok((Fit::new(found, assignment, problem.grid, device, seconds), keeps_digits))
    }

    /// Whether the sums of the medoids whose columns are `chosen` kept their digits.
    fn keeps_digits<T: Entry, G: Units>(
        &self,
        problem: &Problem<T, G>,
        chosen: &[T],
        medoids: &[usize],
        labels: &[u32],
    ) -> bool {
        // Without a grid nothing is rounded.
        problem.grid.grid().is_none_or(|grid| {
            let loss = digits::of_distances(chosen, labels, medoids);
            let keeps_loss = digits::are_kept(loss, medoids.len(), grid, self.checked.largest);
            keeps_loss
                && (!self.params.method.is_of_silhouettes() || {
                    let ratios = digits::of_ratios(chosen, labels, medoids);
                    digits::are_kept(ratios, medoids.len(), Grid::of_ratios(labels.len()), 1.0)
                })
        })
    }
}

/// Who swapped.
struct Swaps {
    /// In words.
    ran_on: String,
    /// Whether the processor did because a GPU failed.
    fell_back: bool,
}

/// Improves medoids on the device where it performs the method, else on the processor; also says where.
fn improve<T: Entry, G: Units>(
    device: &Device,
    backend: &Backend,
    problem: &Problem<T, G>,
    first: Vec<usize>,
    params: &Params,
    draws: &mut Draws,
) -> Result<(Found, Swaps)> {
    #[cfg(feature = "gpu")]
    if let (Backend::Gpu(gpu), Some(grid)) = (backend, problem.grid.grid()) {
        match gpu.persist(|gpu, _| gpu::improve(gpu, (&problem.columns, grid), &first, params)) {
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
