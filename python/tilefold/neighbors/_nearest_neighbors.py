"""`NearestNeighbors`: scikit-learn's estimator over the library's search."""

import numbers

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .. import _core
from .._devices import run_on
from .._profile import measured
from .._rows import validated
from .._sparse import narrowed
from ..metrics._prepare import parameters
from ..metrics._table import TABLE

_POWERS = {1: "manhattan", 2: "euclidean", np.inf: "chebyshev"}


class NearestNeighbors(BaseEstimator):
    """Finds the nearest rows, exactly: those of `float64` arithmetic, equally near ones by index, on every device.

    Parameters
    ----------
    n_neighbors : int
        How many `kneighbors` finds, at most 1024.
    radius : float
        How far `radius_neighbors` goes.
    algorithm : {"auto", "brute", "ball_tree", "kd_tree"}
        Taken for compatibility: every row is met, exactly.
    leaf_size : int
        Taken for compatibility.
    metric : str
        The metrics of `tilefold.metrics.pairwise_distances`. Those of bits take rows of 0 and 1, haversine latitude and longitude
        in radians. Euclidean distances and cosine are fast. Under nan_euclidean rows without a common feature are infinitely far
        apart.
    p : float
        Of "minkowski".
    metric_params : dict
        Of metrics that have some: "w" of minkowski, "V" of seuclidean, "VI" of mahalanobis.
    n_jobs : int
        Taken for compatibility; `tilefold.set_config(threads=...)` sets threads.
    device : str
        Where it runs; None is the setting.

    Attributes
    ----------
    effective_metric_ : str
        The metric that is used.
    effective_metric_params_ : dict
        Its parameters.
    n_samples_fit_ : int
        Rows of the fitted data.
    n_features_in_ : int
        Features of the fitted data.
    device_ : str
        Where the last search ran.
    """

    def __init__(
        self,
        *,
        n_neighbors=5,
        radius=1.0,
        algorithm="auto",
        leaf_size=30,
        metric="minkowski",
        p=2,
        metric_params=None,
        n_jobs=None,
        device=None,
    ):
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.algorithm = algorithm
        self.leaf_size = leaf_size
        self.metric = metric
        self.p = p
        self.metric_params = metric_params
        self.n_jobs = n_jobs
        self.device = device

    def fit(self, X, y=None):
        """Keeps the rows of X, of shape (n_samples, n_features). Returns itself."""
        self.effective_metric_, self.effective_metric_params_ = self._metric()
        if self.n_neighbors is not None:
            _check_count(self.n_neighbors)
        if self.algorithm not in ("auto", "brute", "ball_tree", "kd_tree"):
            raise ValueError(f"algorithm: expected auto, brute, ball_tree or kd_tree, got {self.algorithm!r}")
        X = validated(self, X, reset=True, ensure_all_finite=self._finite(), exact=self._is_exact())
        self._fit_X = X
        self._core_metric = TABLE[self.effective_metric_].core
        self._core_parameters = parameters(self.effective_metric_, X, None, self.effective_metric_params_)
        self.n_samples_fit_ = X.shape[0]
        return self

    def kneighbors(self, X=None, n_neighbors=None, return_distance=True):
        """The nearest fitted rows of each row of X, nearest first; of each fitted row without itself where X is None.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors)
            Only with `return_distance`.
        indices : ndarray of int64 of the same shape
        """
        check_is_fitted(self)
        count = self.n_neighbors if n_neighbors is None else n_neighbors
        _check_count(count)
        most = self.n_samples_fit_ - (X is None)
        if count > most:
            rule = "n_neighbors < n_samples_fit" if X is None else "n_neighbors <= n_samples_fit"
            got = f"n_neighbors = {count}, n_samples_fit = {self.n_samples_fit_}"
            raise ValueError(f"Expected {rule}, but {got}, n_samples = {self._count(X)}")
        points, queries = self._tables(X)

        def work(selector):
            indices, distances, device = _core.nearest_neighbours(
                points, queries, int(count), self._core_metric, selector, self._core_parameters
            )
            return (distances, indices), device

        distances, indices = self._run("NearestNeighbors.kneighbors", work)
        return (distances, indices) if return_distance else indices

    def radius_neighbors(self, X=None, radius=None, return_distance=True, sort_results=False):
        """The fitted rows at most `radius` away from each row of X; of each fitted row without itself where X is None.

        Returns
        -------
        distances : ndarray of shape (n_queries,) of arrays
            Only with `return_distance`.
        indices : ndarray of shape (n_queries,) of arrays of int64
            By index, or nearest first with `sort_results`.
        """
        if sort_results and not return_distance:
            raise ValueError("return_distance must be True if sort_results is True.")
        offsets, indices, distances = self._within(X, radius, sort_results)
        split = offsets[1:-1]
        indices = _objects(np.split(indices, split))
        return (_objects(np.split(distances, split)), indices) if return_distance else indices

    def kneighbors_graph(self, X=None, n_neighbors=None, mode="connectivity"):
        """`kneighbors` as a sparse matrix of ones (`mode="connectivity"`) or distances (`mode="distance"`)."""
        _check_mode(mode)
        distances, indices = self.kneighbors(X, n_neighbors)
        rows, count = indices.shape
        values = np.ones(rows * count) if mode == "connectivity" else distances.ravel()
        offsets = np.arange(0, rows * count + 1, count)
        return csr_matrix((values, indices.ravel(), offsets), shape=(rows, self.n_samples_fit_))

    def radius_neighbors_graph(self, X=None, radius=None, mode="connectivity", sort_results=False):
        """`radius_neighbors` as a sparse matrix of ones (`mode="connectivity"`) or distances (`mode="distance"`)."""
        _check_mode(mode)
        offsets, indices, distances = self._within(X, radius, sort_results)
        values = np.ones(len(indices)) if mode == "connectivity" else distances
        return csr_matrix((values, indices, offsets), shape=(len(offsets) - 1, self.n_samples_fit_))

    def _within(self, X, radius, is_sorted):
        check_is_fitted(self)
        radius = self.radius if radius is None else radius
        points, queries = self._tables(X)

        def work(selector):
            offsets, indices, distances, device = _core.neighbours_within(
                points,
                queries,
                float(radius),
                self._core_metric,
                bool(is_sorted),
                selector,
                self._core_parameters,
            )
            return (offsets, indices, distances), device

        return self._run("NearestNeighbors.radius_neighbors", work)

    def _run(self, title, work):
        with measured(title) as entry:
            (result, device), failure = run_on(self.device, work)
            entry.device = self.device_ = device
            if failure is not None:
                entry.reason = failure
        return result

    def _tables(self, X):
        """The fitted rows and the queries, None for those rows themselves."""
        return narrowed(self._core_metric, self._core_parameters, self._fit_X, self._queries(X))

    def _queries(self, X):
        if X is None:
            return None
        return validated(self, X, reset=False, ensure_all_finite=self._finite(), exact=self._is_exact())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.metric == "nan_euclidean"
        return tags

    def _finite(self):
        """What scikit-learn's check of rows is to say of NaN."""
        return "allow-nan" if TABLE[self.effective_metric_].missing else True

    def _is_exact(self):
        """Whether integers that float64 would round are refused: cosine alone compares and subtracts none."""
        return self.effective_metric_ != "cosine"

    def _count(self, X):
        return self.n_samples_fit_ if X is None else X.shape[0] if hasattr(X, "shape") else len(X)

    def _metric(self):
        """The name of the metric and its parameters, by scikit-learn's names."""
        given = dict(self.metric_params or {})
        if not isinstance(self.metric, str) or self.metric not in TABLE:
            raise ValueError(f"metric: expected one of {', '.join(TABLE)}, got {self.metric!r}")
        unknown = sorted(set(given) - set(TABLE[self.metric].parameters))
        if unknown:
            raise ValueError(f"metric_params: {self.metric} has no {', '.join(unknown)}")
        if self.metric != "minkowski":
            return self.metric, given
        p = given.pop("p", self.p)
        if not isinstance(p, numbers.Real) or not p > 0:
            raise ValueError(f"p: expected a number above 0, got {p!r}")
        if p in _POWERS and given.get("w") is None:
            return _POWERS[p], {}
        if np.isinf(p):
            raise ValueError("metric_params: minkowski takes no w with an infinite p")
        return self.metric, {"p": p, **given}


def _check_count(count):
    if not isinstance(count, numbers.Integral) or isinstance(count, bool):
        raise TypeError(f"n_neighbors does not take {type(count)} value, enter integer value")
    if count <= 0:
        raise ValueError(f"Expected n_neighbors > 0. Got {count}")


def _check_mode(mode):
    if mode not in ("connectivity", "distance"):
        raise ValueError(f'Unsupported mode, must be one of "connectivity", or "distance" but got "{mode}" instead')


def _objects(parts):
    """An array of arrays, also where all have the same length."""
    array = np.empty(len(parts), dtype=object)
    array[:] = parts
    return array
