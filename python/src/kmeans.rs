//! k-means: fits, and models that predict without a device of their own.

use std::sync::Arc;

use ndarray::{Array1, Array2, Ix1, Ix2};
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tilefold::kmeans::{self, Control, Init, Params, Progress};
use tilefold::{Cancel, Device, ElementType};

use crate::arrays::Table;
use crate::devices::device;
use crate::errors::to_python;
use crate::guard::guarded;
use crate::layout::floats;
use crate::memory::{ask, collected, mapped};
use crate::work::{self, Desk};

/// A fitted model: centroids and their frame, host memory alone.
#[pyclass(frozen, module = "tilefold._core")]
pub(crate) struct Model(kmeans::Model);

/// What a fit found.
#[pyclass(frozen, get_all, module = "tilefold._core")]
pub(crate) struct Fit {
    model: Py<Model>,
    /// int32, one per row.
    labels: Py<PyArray1<i32>>,
    inertia: f64,
    n_iter: usize,
    converged: bool,
    /// Rows whose label changed in the last iteration.
    changed: u64,
    /// Squared movement of the centroids in the last iteration.
    shift: f64,
    /// What the passes ran on.
    device: String,
}

/// What a fit is asked for, besides points and weights.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Request<'py> {
    n_clusters: usize,
    /// First centroids of each run; without them k-means++.
    starts: Option<Vec<Bound<'py, PyAny>>>,
    n_init: usize,
    max_iter: usize,
    tol: f64,
    seed: u64,
}

impl Request<'_> {
    fn params(&self, weights: Option<Vec<f64>>, is_single: bool, cancel: &Cancel) -> Params {
        let mut params = Params::new(self.n_clusters)
            .n_init(self.n_init)
            .max_iter(self.max_iter)
            .tol(self.tol)
            .seed(self.seed)
            .cancel(cancel.clone())
            .centroid_type(if is_single { ElementType::F32 } else { ElementType::F64 });
        params.weights = weights;
        params
    }
}

/// Fits. `request` is a dictionary with the fields of `Request`; `callback(run, iteration, inertia, changed, shift)` is called
/// after each iteration and stops the fit where it answers True.
#[pyfunction]
#[pyo3(signature = (x, weights, request, selector, callback=None))]
pub(crate) fn fit<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    weights: Option<&Bound<'py, PyAny>>,
    request: &Bound<'py, PyAny>,
    selector: &str,
    callback: Option<Py<PyAny>>,
) -> PyResult<Fit> {
    guarded(|| {
        let (table, device, cancel) = (Table::take("X", x)?, device(py, selector)?, Cancel::new());
        let request: Request = request.extract()?;
        let mut params = request.params(weights_of(weights)?, table.is_single(), &cancel);
        let desk = Desk::new();
        if callback.is_some() {
            let desk = Arc::clone(&desk);
            params.callback = Some(Arc::new(move |progress: &Progress| desk.ask(*progress)));
        }
        let starts: Option<Vec<Array2<f64>>> = request
            .starts
            .as_ref()
            .map(|starts| starts.iter().map(start_of).collect::<PyResult<_>>())
            .transpose()?;
        let points = table.points()?;
        let answer =
            |progress| callback.as_ref().map_or(Ok(Control::Stop), |told| tell(told.bind(py), &progress));
        let work = || best_fit(&device, points, &params, starts);
        handed_over(py, work::run_answering(py, &cancel, &desk, answer, Control::Stop, work)?)
    })
}

fn weights_of(weights: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Vec<f64>>> {
    let copied =
        |weights| collected("sample_weight", floats::<Ix1>("weights", weights)?.as_array().iter().copied());
    weights.map(copied).transpose()
}

/// First centroids, copied.
fn start_of(start: &Bound<'_, PyAny>) -> PyResult<Array2<f64>> {
    let held = floats::<Ix2>("starts", start)?;
    let view = held.as_array();
    let values = collected("init", view.iter().copied())?;
    Array2::from_shape_vec(view.dim(), values)
        .map_err(|error| PyValueError::new_err(format!("init: {error}")))
}

/// One run after the other from given first centroids, of which the best is kept, or all runs of the library.
fn best_fit(
    device: &Device,
    points: tilefold::Points,
    params: &Params,
    starts: Option<Vec<Array2<f64>>>,
) -> tilefold::Result<kmeans::Fit> {
    let Some(starts) = starts else { return kmeans::fit(device, points, params) };
    let data = kmeans::Data::new(device, points, params)?;
    let mut best: Option<kmeans::Fit> = None;
    for (run, start) in starts.into_iter().enumerate() {
        let mut params = params.clone().init(Init::Centroids(start));
        if let Some(callback) = params.callback.take() {
            params.callback = Some(Arc::new(move |progress: &Progress| {
                let mut progress = *progress;
                progress.run = run;
                callback(&progress)
            }));
        }
        let fit = data.fit(&params)?;
        let is_stopped = !fit.converged && fit.n_iter < params.max_iter;
        if best.as_ref().is_none_or(|best| fit.inertia < best.inertia) {
            best = Some(fit);
        }
        if is_stopped {
            break;
        }
    }
    best.ok_or(tilefold::Error::Cancelled)
}

/// Tells Python's callback, and says what it wants.
fn tell(callback: &Bound<'_, PyAny>, progress: &Progress) -> PyResult<Control> {
    let Progress { run, iteration, inertia, changed, shift, .. } = *progress;
    let stops = callback.call1((run, iteration, inertia, changed, shift))?.is_truthy()?;
    Ok(if stops { Control::Stop } else { Control::Continue })
}

fn handed_over(py: Python<'_>, fit: kmeans::Fit) -> PyResult<Fit> {
    let last = fit.history.last();
    Ok(Fit {
        labels: labels(py, &fit.labels)?.unbind(),
        inertia: fit.inertia,
        n_iter: fit.n_iter,
        converged: fit.converged,
        changed: last.map_or(0, |last| last.changed),
        shift: last.map_or(0.0, |last| last.shift),
        device: fit.device,
        model: Py::new(py, Model(fit.model))?,
    })
}

/// Labels as scikit-learn has them; there are fewer clusters than an int32 can count.
fn labels<'py>(py: Python<'py>, labels: &Array1<u32>) -> PyResult<Bound<'py, PyArray1<i32>>> {
    let labels = labels.as_slice().unwrap_or_default();
    Ok(collected("labels", labels.iter().map(|&label| label as i32))?.into_pyarray(py))
}

/// The first centroids of k-means++ that a fit with this seed starts from.
#[pyfunction]
pub(crate) fn first_centroids<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    weights: Option<&Bound<'py, PyAny>>,
    n_clusters: usize,
    seed: u64,
    selector: &str,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    guarded(|| {
        let (table, device, cancel) = (Table::take("X", x)?, device(py, selector)?, Cancel::new());
        let mut params = Params::new(n_clusters).seed(seed).cancel(cancel.clone());
        params.weights = weights_of(weights)?;
        let points = table.points()?;
        Ok(work::run(py, &cancel, || kmeans::first_centroids(&device, points, &params))?.into_pyarray(py))
    })
}

impl Model {
    /// Whether there is room for the centroids as they are handed out, or for their bytes while those are put together.
    fn ask_for_copies(&self) -> PyResult<()> {
        let bytes = self.0.n_clusters().saturating_add(1).saturating_mul(self.0.columns()).saturating_mul(8);
        ask("a copy of the centroids", bytes.saturating_mul(4))
    }
}

#[pymethods]
impl Model {
    /// A model with given centroids.
    #[staticmethod]
    fn from_centroids(py: Python<'_>, centroids: &Bound<'_, PyAny>, selector: &str) -> PyResult<Self> {
        guarded(|| {
            let device = device(py, selector)?;
            let centroids = floats::<Ix2>("centroids", centroids)?;
            let view = centroids.as_array();
            let model = work::run(py, &Cancel::new(), || kmeans::Model::from_centroids(&device, view));
            Ok(Self(model?))
        })
    }

    /// A model from what `to_bytes` gave.
    #[staticmethod]
    fn from_bytes(bytes: &[u8]) -> PyResult<Self> {
        guarded(|| Ok(Self(kmeans::Model::from_bytes(bytes).map_err(to_python)?)))
    }

    /// The model in a form that any process can read.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guarded(|| {
            self.ask_for_copies()?;
            Ok(PyBytes::new(py, &self.0.to_bytes()))
        })
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        guarded(|| Ok((py.get_type::<Self>().getattr("from_bytes")?, (self.to_bytes(py)?,))))
    }

    /// Centroids in input units.
    fn centroids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        guarded(|| {
            self.ask_for_copies()?;
            Ok(self.0.centroids().into_pyarray(py))
        })
    }

    /// Labels, and what they were computed on.
    fn predict<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        selector: &str,
    ) -> PyResult<(Bound<'py, PyArray1<i32>>, String)> {
        guarded(|| {
            let (table, device, cancel) = (Table::take("X", x)?, device(py, selector)?, Cancel::new());
            let points = table.points()?;
            let found = work::run(py, &cancel, || self.0.predict_with(&device, points, &cancel))?;
            Ok((labels(py, &found.labels)?, found.device))
        })
    }

    /// Distances of each row to each centroid, in `f32` where that is asked.
    fn transform<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        selector: &str,
        single: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        guarded(|| {
            let (table, device, cancel) = (Table::take("X", x)?, device(py, selector)?, Cancel::new());
            let points = table.points()?;
            let transform = || self.0.transform_with(&device, points, &cancel);
            if single {
                let narrow = || Ok(mapped("distances", &transform()?, |distance| distance as f32));
                return Ok(work::run(py, &cancel, narrow)??.into_pyarray(py).into_any());
            }
            Ok(work::run(py, &cancel, transform)?.into_pyarray(py).into_any())
        })
    }

    /// Minus the sum of weighted squared distances.
    fn score(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        weights: Option<&Bound<'_, PyAny>>,
        selector: &str,
    ) -> PyResult<f64> {
        guarded(|| {
            let (table, device, cancel) = (Table::take("X", x)?, device(py, selector)?, Cancel::new());
            let weights = weights_of(weights)?;
            let points = table.points()?;
            work::run(py, &cancel, || self.0.score_with(&device, points, weights.as_deref(), &cancel))
        })
    }
}
