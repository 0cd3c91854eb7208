//! k-medoids: of points under a metric, or of given dissimilarities.

use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tilefold::Cancel;
use tilefold::distance::{self, Metric};
use tilefold::kmedoids::{self, Dissimilarities, Init, Method, Params};

use crate::arrays::Table;
use crate::distance::with_parameters;
use crate::errors::to_python;
use crate::guard::guarded;
use crate::memory::collected;
use crate::{devices, work};

/// What a clustering found.
#[pyclass(frozen, get_all, module = "tilefold._core")]
pub(crate) struct MedoidsFit {
    /// int64, one per cluster.
    medoids: Py<PyArray1<i64>>,
    /// int32, one per row.
    labels: Py<PyArray1<i32>>,
    loss: f64,
    n_iter: usize,
    n_swaps: usize,
    converged: bool,
    /// The average medoid silhouette.
    silhouette: Option<f64>,
    /// Numbers of medoids that were tried, each with its silhouette.
    tried: Vec<(usize, f64)>,
    /// What it ran on.
    device: String,
}

/// What a clustering is asked for, besides what is clustered.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Request {
    n_clusters: usize,
    method: String,
    /// A name, or None with `first`.
    init: Option<String>,
    /// The first medoids.
    first: Option<Vec<usize>>,
    max_iter: usize,
    seed: u64,
    samples: usize,
    sample_size: Option<usize>,
    searches: usize,
    patience: Option<u64>,
    fewest: usize,
    max_bytes: Option<u64>,
}

impl Request {
    fn params(self, cancel: &Cancel) -> PyResult<Params> {
        let method = match self.method.as_str() {
            "fasterpam" => Method::FasterPam,
            "pam" => Method::Pam,
            "alternating" => Method::Alternating,
            "clara" => Method::Clara { samples: self.samples, size: self.sample_size },
            "clarans" => Method::Clarans { searches: self.searches, patience: self.patience },
            "onebatch" => Method::OneBatch { size: self.sample_size },
            "fastermsc" => Method::FasterMsc,
            "pammedsil" => Method::PamMedSil,
            "dynmsc" => Method::DynMsc { fewest: self.fewest },
            other => return Err(unknown("method", other)),
        };
        let init = match (self.init.as_deref(), self.first) {
            (_, Some(first)) => Init::Given(first),
            (Some("random"), None) => Init::Random,
            (Some("build"), None) => Init::Build,
            (Some("lab"), None) => Init::Lab,
            (Some("k-means++"), None) => Init::PlusPlus,
            (Some("heuristic"), None) => Init::Heuristic,
            (other, None) => return Err(unknown("init", other.unwrap_or("None"))),
        };
        let mut params = Params::new(self.n_clusters)
            .method(method)
            .init(init)
            .max_iter(self.max_iter)
            .seed(self.seed)
            .cancel(cancel.clone());
        params.max_bytes = self.max_bytes;
        Ok(params)
    }
}

fn unknown(argument: &str, got: &str) -> PyErr {
    PyValueError::new_err(format!("{argument}: expected one of k-medoids, got {got:?}"))
}

/// Clusters the rows of x by their distances under `metric`, or with None the objects of the square matrix x. `request` is a
/// dictionary with the fields of `Request`.
#[pyfunction]
#[pyo3(signature = (x, metric, parameters, request, selector))]
pub(crate) fn fit_medoids<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    metric: Option<&str>,
    parameters: &Bound<'py, PyDict>,
    request: &Bound<'py, PyAny>,
    selector: &str,
) -> PyResult<MedoidsFit> {
    guarded(|| {
        let (table, device, cancel) = (Table::take("X", x)?, devices::device(py, selector)?, Cancel::new());
        let request: Request = request.extract()?;
        let mut params = request.params(&cancel)?;
        if let Some(metric) = metric {
            let metric: Metric = metric.parse().map_err(to_python)?;
            params = params.metric(with_parameters(distance::Params::new(metric), parameters)?);
        }
        let points = table.points()?;
        let found = work::run(py, &cancel, || match metric {
            Some(_) => kmedoids::fit_points(&device, points, &params),
            None => kmedoids::fit(&device, Dissimilarities::from(points), &params),
        })?;
        // Rows and clusters are fewer than an int32 can count.
        let labels = collected("labels", found.labels.iter().map(|&label| label as i32))?;
        let medoids = collected("medoids", found.medoids.iter().map(|&medoid| medoid as i64))?;
        Ok(MedoidsFit {
            medoids: medoids.into_pyarray(py).unbind(),
            labels: labels.into_pyarray(py).unbind(),
            loss: found.loss,
            n_iter: found.n_iter,
            n_swaps: found.n_swaps,
            converged: found.converged,
            silhouette: found.silhouette,
            tried: found.tried,
            device: found.device,
        })
    })
}
