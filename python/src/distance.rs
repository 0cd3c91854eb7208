//! Distance matrices into NumPy arrays, and the nearest row of each row.

use ndarray::{Array2, Ix2};
use numpy::{PyArray1, PyReadwriteArray2, PyUntypedArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tilefold::distance::{MatrixViewMut, Metric, Params, between_into, pairwise_into};
use tilefold::{Cancel, ElementType};

use crate::arrays::Rows;
use crate::errors::to_python;
use crate::guard::guarded;
use crate::layout::{Writable, described, floats, view_mut};
use crate::memory::collected;
use crate::{devices, nearest, work};

/// Fills `out` (`f32` or `f64`, however it lies) with the distances of the rows of x and y, of x with itself for `None`,
/// and returns the device in words.
#[pyfunction]
#[pyo3(signature = (x, y, out, metric, device, parameters))]
pub(crate) fn distances(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    y: Option<&Bound<'_, PyAny>>,
    out: &Bound<'_, PyUntypedArray>,
    metric: &str,
    device: &str,
    parameters: &Bound<'_, PyDict>,
) -> PyResult<String> {
    guarded(|| {
        let device = devices::device(py, device)?;
        let metric: Metric = metric.parse().map_err(to_python)?;
        let x = Rows::take("x", x)?;
        let y = y.map(|y| Rows::take("y", y)).transpose()?;
        let writable = Writable::new("out", out)?;
        let mut out = Out::take(&writable, out)?;
        let cancel = Cancel::new();
        let params = with_parameters(Params::new(metric).cancel(cancel.clone()), parameters)?;
        let (x, y, out) = (x.points(), y.as_ref().map(Rows::points), out.view());
        let filled = work::run(py, &cancel, || match y {
            Some(y) => between_into(&device, x, y, &params, out),
            None => pairwise_into(&device, x, &params, out),
        })?;
        writable.finish()?;
        Ok(filled.device)
    })
}

/// Indices, distances, and the device in words.
type NearestRows<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<f64>>, String);

/// For each row of x the index of the nearest row of y under Manhattan or Chebyshev, the lowest of equally near ones, and its
/// distance.
#[pyfunction]
pub(crate) fn nearest_rows<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    y: &Bound<'py, PyAny>,
    metric: &str,
    device: &str,
) -> PyResult<NearestRows<'py>> {
    guarded(|| {
        let device = devices::device(py, device)?;
        let metric: Metric = metric.parse().map_err(to_python)?;
        if !matches!(metric, Metric::Manhattan | Metric::Chebyshev) {
            let text = format!("metric: expected manhattan or chebyshev, got {}", metric.name());
            return Err(PyValueError::new_err(text));
        }
        let (x, y) = (Rows::take("x", x)?, Rows::take("y", y)?);
        let (x, y) = (x.points(), y.points());
        for (name, table) in [("x", &x), ("y", &y)] {
            let element = table.element_type();
            if !matches!(element, ElementType::F16 | ElementType::F32 | ElementType::F64) {
                let text = format!("{name}: expected floats, got {}", element.name());
                return Err(PyTypeError::new_err(text));
            }
        }
        let threads = devices::threads(py)?;
        let cancel = Cancel::new();
        let found = work::run(py, &cancel, || nearest::search(&device, &x, &y, metric, threads, &cancel))?;
        let indices = PyArray1::from_vec(py, found.indices);
        Ok((indices, PyArray1::from_vec(py, found.distances), found.device))
    })
}

/// The parameters of metrics that have some, by their names in Rust.
pub(crate) fn with_parameters(mut params: Params, given: &Bound<'_, PyDict>) -> PyResult<Params> {
    for (name, value) in given {
        params = match name.extract::<String>()?.as_str() {
            "p" => params.p(value.extract()?),
            "weights" => params.weights(value.extract()?),
            "variances" => params.variances(value.extract()?),
            "inverse_covariance" => {
                let held = floats::<Ix2>("inverse_covariance", &value)?;
                let view = held.as_array();
                let values = collected("inverse_covariance", view.iter().copied())?;
                let matrix = Array2::from_shape_vec(view.dim(), values);
                params.inverse_covariance(matrix.map_err(|error| PyValueError::new_err(error.to_string()))?)
            }
            other => {
                return Err(PyValueError::new_err(format!(
                    "parameters: expected one of a metric, got {other:?}"
                )));
            }
        };
    }
    Ok(params)
}

/// An array to be filled.
enum Out<'py> {
    F32(PyReadwriteArray2<'py, f32>),
    F64(PyReadwriteArray2<'py, f64>),
}

impl<'py> Out<'py> {
    fn take(writable: &Writable<'py>, array: &Bound<'py, PyUntypedArray>) -> PyResult<Self> {
        if let Some(array) = writable.hold("out")? {
            return Ok(Self::F32(array));
        }
        if let Some(array) = writable.hold("out")? {
            return Ok(Self::F64(array));
        }
        let got = described(array);
        Err(PyTypeError::new_err(format!("out: expected 2 dimensions of float32 or float64, got {got}")))
    }

    fn view(&mut self) -> MatrixViewMut<'_> {
        match self {
            Self::F32(array) => view_mut(array).into(),
            Self::F64(array) => view_mut(array).into(),
        }
    }
}
