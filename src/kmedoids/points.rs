//! Clustering of points under a metric: how much of the matrix of their distances is ever held.

use std::time::Instant;

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use super::assignment::{ask_for_assignment, assign};
use super::columns::{Columns, transposed};
use super::digits;
use super::dissimilarities::{Checked, not_finite};
use super::entry::Entry;
use super::exact::Span;
use super::grid::Grid;
use super::one_batch;
use super::params::{Method, Params};
use super::perform::{batch_size, cluster};
use super::random::distinct;
use super::results::{Fit, Seconds, performers};
use crate::cancel::Cancel;
use crate::data::points::{Points, each_element};
use crate::data::sparse::SparseRows;
use crate::device::Device;
use crate::distance::{self, MatrixViewMut, Metric, RowMaker, domain, needs_f64};
use crate::error::{Error, Result};
use crate::memory::{self, free_bytes, zeros};
use crate::random::Draws;

/// Bytes for a matrix where the system does not say what is free.
const USUAL_BYTES: u64 = 4 << 30;

/// Medoids of points.
pub(super) fn fit(device: &Device, points: &Points, params: &Params) -> Result<Fit> {
    points.check_not_empty("points")?;
    params.check(points.rows())?;
    let metric = params.metric.metric;
    if metric == Metric::InnerProduct {
        let rule = "a dissimilarity (cosine is the one that belongs to inner products)";
        return Err(Error::parameter("metric", rule, metric));
    }
    let fit = device.host_pool()?.install(|| {
        if needs_f64(metric, points, None) {
            fit_as::<f64>(device, points, params)
        } else {
            fit_as::<f32>(device, points, params)
        }
    });
    fit.map_err(|error| match error {
        Error::Value { argument: "x" | "y", row, column, expected, got } => {
            Error::Value { argument: "points", row, column, expected, got }
        }
        Error::Shape { argument: "x" | "y", expected, got } => {
            Error::Shape { argument: "points", expected, got }
        }
        Error::Parameter { name: "x" | "y", rule, got } => Error::Parameter { name: "points", rule, got },
        error => error,
    })
}

fn fit_as<T: Entry>(device: &Device, points: &Points, params: &Params) -> Result<Fit> {
    if let Method::OneBatch { size } = params.method {
        return fit_one_batch::<T>(device, points, size, params);
    }
    let begin = Instant::now();
    let objects = points.rows();
    let matrix_bytes = (objects as u64).saturating_mul(objects as u64).saturating_mul(size_of::<T>() as u64);
    let most = params.max_bytes.unwrap_or_else(|| free_bytes().map_or(USUAL_BYTES, |free| free / 2));
    let is_symmetric = params.metric.metric.is_symmetric();
    // Samples need so few of the columns that making all of them would be the larger work.
    let is_sampled = match params.method {
        Method::Clara { samples, size } => {
            let size = size.unwrap_or(40 + 2 * params.n_clusters) + params.n_clusters;
            samples.saturating_mul(size) < objects
        }
        _ => false,
    };
    let maker = |device: &Device| RowMaker::new(device, points, None, &measure(params));
    let seconds = || Seconds { matrix: begin.elapsed().as_secs_f64(), ..Seconds::default() };
    if matrix_bytes <= most && !(is_sampled && is_symmetric) {
        let mut maker = maker(device)?;
        let mut matrix = zeros("the matrix of distances", objects, objects)?;
        maker.fill(0, T::place(matrix.view_mut()))?;
        let largest = largest(&matrix.view(), &params.cancel)?;
        if !is_symmetric {
            matrix = transposed(&matrix.view(), &params.cancel)?;
        }
        let columns = Columns::held(matrix.into_raw_vec_and_offset().0.into(), objects, &params.cancel);
        return cluster(device, columns, checked(largest), params, seconds(), Some(maker.device()));
    }
    if !is_symmetric {
        let what =
            format!("distances of {objects} x {objects} rows, which are not symmetric with this metric");
        return Err(Error::TooLarge { what, needed_bytes: matrix_bytes, limit_bytes: most });
    }
    // Columns are made again and again, and those of two devices differ within their bounds.
    let (mut fit, after_failure) = device.all_on_one(|device| {
        let mut maker = maker(device)?;
        let made_by = Some(maker.device());
        let largest = farthest::<T>(&mut maker, objects, params)?;
        let columns = Columns::<T>::made(maker, objects, &params.cancel);
        cluster(device, columns, checked(largest), params, seconds(), made_by)
    })?;
    fit.device = after_failure.unwrap_or(fit.device);
    Ok(fit)
}

fn checked(largest: f64) -> Checked {
    Checked { largest, ..Checked::NOTHING }
}

/// The metric, to be stopped as the clustering is; how much is held is decided here.
fn measure(params: &Params) -> distance::Params {
    distance::Params { cancel: params.cancel.clone(), max_bytes: None, ..params.metric.clone() }
}

/// The largest value; nothing but finite numbers.
fn largest<T: Entry>(matrix: &ArrayView2<T>, cancel: &Cancel) -> Result<f64> {
    let rows = matrix.axis_iter(Axis(0)).into_par_iter().enumerate().map(|(row, values)| {
        cancel.check()?;
        let largest = values.iter().fold(0.0_f64, |largest, d| largest.max(d.wide()));
        match values.iter().all(|d| d.wide().is_finite()) {
            true => Ok(largest),
            false => Err(not_finite("distances", row, &values.to_vec())),
        }
    });
    rows.try_reduce(|| 0.0, |a, b| Ok(a.max(b)))
}

/// A bound of all distances: by the triangle inequality from those of one point where the metric keeps it, else by making
/// all of them once.
fn farthest<T: Entry>(maker: &mut RowMaker, objects: usize, params: &Params) -> Result<f64> {
    let reach = match params.metric.metric {
        Metric::Euclidean | Metric::Manhattan | Metric::Chebyshev => Some(2.0),
        Metric::StandardizedEuclidean | Metric::Mahalanobis | Metric::Hellinger | Metric::Haversine => {
            Some(2.0)
        }
        Metric::SquaredEuclidean => Some(4.0),
        _ => None,
    };
    let count = if reach.is_some() { 1 } else { (64 << 20) / size_of::<T>() / objects };
    let mut block = zeros::<T>("a block of distances", count.clamp(1, objects), objects)?;
    let mut farthest = 0.0_f64;
    for first in (0..objects).step_by(block.nrows()) {
        params.cancel.check()?;
        let count = block.nrows().min(objects - first);
        let mut rows = block.slice_mut(ndarray::s![..count, ..]);
        maker.fill(first, T::place(rows.view_mut()))?;
        farthest = farthest.max(largest(&rows.view(), &params.cancel)?);
        if let Some(reach) = reach {
            // Rounding of the values that are made later.
            return Ok(reach * farthest * 1.001);
        }
    }
    Ok(farthest)
}

/// OneBatchPAM of points: an n x m matrix, and another one of n x k for the labels.
fn fit_one_batch<T: Entry>(
    device: &Device,
    points: &Points,
    size: Option<usize>,
    params: &Params,
) -> Result<Fit> {
    let begin = Instant::now();
    if device.is_reference() {
        let rule = "a method that draws no swaps and weighs no objects, on the reference device";
        return Err(Error::parameter("method", rule, format!("{:?}", params.method)));
    }
    // Before a sample is taken, in which a row has another number.
    domain::check(params.metric.metric, &[("points", points)], &params.cancel)?;
    let objects = points.rows();
    let mut draws = Draws::new(params.seed, 0);
    let mut batch = distinct(objects, batch_size(size, objects, params.n_clusters), &mut draws);
    batch.sort_unstable();
    let (values, made_by) =
        with_rows(points, &batch, |batch| columns_of::<T>(device, points, batch, params))?;
    let matrix = begin.elapsed().as_secs_f64();
    let found = one_batch::search(values, &batch, params, &mut draws)?;
    let improve = begin.elapsed().as_secs_f64() - matrix;
    let (columns, measured_by) =
        with_rows(points, &found.medoids, |medoids| columns_of::<T>(device, medoids, points, params))?;
    // They differ where a GPU failed in between, or where the device chooses by the size.
    let is_same_maker = made_by == measured_by;
    let largest = columns.par_iter().map(|d| d.wide()).reduce(|| 0.0, f64::max);
    ask_for_assignment(objects)?;
    let device = performers(made_by, &device.processor().name());
    let device = if is_same_maker { device } else { format!("{device}; labels on {measured_by}") };
    let seconds = Seconds { matrix, init: 0.0, improve };
    let grid = Grid::new(largest, objects as u64);
    let assignment = assign(&columns, objects, grid, &params.cancel)?;
    let terms = digits::of_distances(&columns, &assignment.labels, &found.medoids);
    if digits::are_kept(terms, found.medoids.len(), grid, largest) {
        return Ok(Fit::new(found, assignment, grid, device, seconds));
    }
    let grid = T::widest(&Span::of(&columns).or_of_zeros(), objects as u64)?;
    let assignment = assign(&columns, objects, grid, &params.cancel)?;
    Ok(Fit::new(found, assignment, grid, device, seconds))
}

/// For each candidate, one after the other, the distances of all objects to it as their medoid; also who made them.
fn columns_of<T: Entry>(
    device: &Device,
    candidates: &Points,
    objects: &Points,
    params: &Params,
) -> Result<(Vec<T>, String)> {
    let (columns, made_by) = if params.metric.metric.is_symmetric() {
        made::<T>(device, candidates, objects, params)?
    } else {
        let (matrix, made_by) = made(device, objects, candidates, params)?;
        (transposed(&matrix.view(), &params.cancel)?, made_by)
    };
    Ok((columns.into_raw_vec_and_offset().0, made_by))
}

/// The matrix of two tables.
fn made<T: Entry>(device: &Device, x: &Points, y: &Points, params: &Params) -> Result<(Array2<T>, String)> {
    let bytes = (x.rows() as u64).saturating_mul(y.rows() as u64).saturating_mul(size_of::<T>() as u64);
    if let Some(limit_bytes) = params.max_bytes.filter(|&limit| bytes > limit) {
        let what = format!("distances of {} x {} rows", x.rows(), y.rows());
        return Err(Error::TooLarge { what, needed_bytes: bytes, limit_bytes });
    }
    let mut maker = RowMaker::new(device, x, Some(y), &measure(params))?;
    let mut matrix = zeros("distances", x.rows(), y.rows())?;
    let place: MatrixViewMut = T::place(matrix.view_mut());
    maker.fill(0, place)?;
    largest(&matrix.view(), &params.cancel)?;
    Ok((matrix, maker.device()))
}

/// Hands out a copy of some rows, in the table's own type.
fn with_rows<R>(points: &Points, rows: &[usize], visit: impl FnOnce(&Points) -> Result<R>) -> Result<R> {
    // Compressed rows are widened first.
    let bytes = if matches!(points, Points::Sparse(_)) { 16 } else { points.element_type().size_bytes() };
    memory::ask(
        "a copy of some rows",
        &[memory::area::<u8>(rows.len(), points.columns()).saturating_mul(bytes as u64)],
    )?;
    macro_rules! copy {
        ($($variant:ident($type:ty, $name:literal)),* $(,)?) => {
            match points {
                Points::Sparse(sparse) => {
                    let dense = dense_rows(sparse, rows)?;
                    if sparse.is_double() {
                        visit(&dense.view().into())
                    } else {
                        visit(&dense.mapv(|value| value as f32).view().into())
                    }
                }
                $(Points::$variant(view) => visit(&view.select(Axis(0), rows).view().into()),)*
            }
        };
    }
    each_element!(copy)
}

fn dense_rows(sparse: &SparseRows, rows: &[usize]) -> Result<Array2<f64>> {
    let mut dense = zeros("a copy of some rows", rows.len(), sparse.columns())?;
    for (mut out, &row) in dense.outer_iter_mut().zip(rows) {
        sparse.stored(row).for_each(|(column, value)| out[column] = value);
    }
    Ok(dense)
}
