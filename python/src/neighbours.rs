//! The nearest rows of each row, and all within a radius.

use numpy::{PyArray1, PyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tilefold::Cancel;
use tilefold::distance::{self, Matrix, Metric};
use tilefold::neighbours::{Params, RadiusParams, Values, nearest, nearest_of_each, within, within_of_each};

use crate::arrays::Table;
use crate::distance::with_parameters;
use crate::errors::to_python;
use crate::guard::guarded;
use crate::memory::{collected, mapped};
use crate::{devices, work};

/// Indices, distances, and the device in words.
type Nearest<'py> = (Bound<'py, PyArray2<i64>>, Bound<'py, PyAny>, String);
/// Where the neighbours of each row begin, their indices and distances, and the device in words.
type Within<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>, Bound<'py, PyAny>, String);

/// The `count` nearest rows of `points` for each row of `queries`; for each of `points` without itself for `None`.
#[pyfunction]
#[pyo3(signature = (points, queries, count, metric, device, parameters))]
pub(crate) fn nearest_neighbours<'py>(
    py: Python<'py>,
    points: &Bound<'py, PyAny>,
    queries: Option<&Bound<'py, PyAny>>,
    count: usize,
    metric: &str,
    device: &str,
    parameters: &Bound<'py, PyDict>,
) -> PyResult<Nearest<'py>> {
    guarded(|| {
        let device = devices::device(py, device)?;
        let measure = measure(metric, parameters)?;
        let points = Table::take("points", points)?;
        let queries = queries.map(|queries| Table::take("queries", queries)).transpose()?;
        let cancel = Cancel::new();
        let params = Params::of(measure, count).includes_self(false).cancel(cancel.clone());
        let points = points.points()?;
        let queries = queries.as_ref().map(Table::points).transpose()?;
        let found = work::run(py, &cancel, || match queries {
            Some(queries) => nearest(&device, points, queries, &params),
            None => nearest_of_each(&device, points, &params),
        })?;
        let indices = PyArray2::from_owned_array(py, mapped("indices", &found.indices, i64::from)?);
        let distances = match found.distances {
            Matrix::F32(distances) => PyArray2::from_owned_array(py, distances).into_any(),
            Matrix::F64(distances) => PyArray2::from_owned_array(py, distances).into_any(),
        };
        Ok((indices, distances, found.device))
    })
}

/// All rows of `points` within `radius` of each row of `queries`; of each of `points` without itself for `None`.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "what Python hands over, flat")]
#[pyo3(signature = (points, queries, radius, metric, is_sorted, device, parameters))]
pub(crate) fn neighbours_within<'py>(
    py: Python<'py>,
    points: &Bound<'py, PyAny>,
    queries: Option<&Bound<'py, PyAny>>,
    radius: f64,
    metric: &str,
    is_sorted: bool,
    device: &str,
    parameters: &Bound<'py, PyDict>,
) -> PyResult<Within<'py>> {
    guarded(|| {
        let device = devices::device(py, device)?;
        let measure = measure(metric, parameters)?;
        let points = Table::take("points", points)?;
        let queries = queries.map(|queries| Table::take("queries", queries)).transpose()?;
        let cancel = Cancel::new();
        let params = RadiusParams::of(measure, radius).sorted(is_sorted).includes_self(false);
        let params = params.cancel(cancel.clone());
        let points = points.points()?;
        let queries = queries.as_ref().map(Table::points).transpose()?;
        let found = work::run(py, &cancel, || match queries {
            Some(queries) => within(&device, points, queries, &params),
            None => within_of_each(&device, points, &params),
        })?;
        // No memory holds more neighbours than an int64 can count.
        let offsets = collected("offsets", found.offsets.iter().map(|&offset| offset as i64))?;
        let indices = collected("indices", found.indices.iter().map(|&index| i64::from(index)))?;
        let distances = match found.distances {
            Values::F32(distances) => PyArray1::from_vec(py, distances).into_any(),
            Values::F64(distances) => PyArray1::from_vec(py, distances).into_any(),
        };
        Ok((PyArray1::from_vec(py, offsets), PyArray1::from_vec(py, indices), distances, found.device))
    })
}

/// A metric with its own parameters.
fn measure(metric: &str, parameters: &Bound<'_, PyDict>) -> PyResult<distance::Params> {
    let metric: Metric = metric.parse().map_err(to_python)?;
    with_parameters(distance::Params::new(metric), parameters)
}
