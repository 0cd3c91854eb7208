"""k-medoids with scikit-learn's interface."""

import warnings
from numbers import Integral

import numpy as np
import scipy.sparse as sp
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .. import _core
from .._devices import run_on
from .._profile import measured
from .._rows import validated
from ..metrics import pairwise_distances, pairwise_distances_argmin
from ..metrics._input import zero_rows
from ..metrics._matrix import LONGEST_OF_FLOAT32
from ..metrics._prepare import parameters
from ..metrics._table import TABLE
from ._kmeans import _check_rows, _reason_in, _refuse_bool, _seed

# Names of scikit-learn-extra and of kmedoids, and the library's.
_METHODS = {
    "fasterpam": "fasterpam",
    "pam": "pam",
    "fastpam1": "pam",
    "alternate": "alternating",
    "alternating": "alternating",
    "clara": "clara",
    "clarans": "clarans",
    "onebatch": "onebatch",
    "fastermsc": "fastermsc",
    "pammedsil": "pammedsil",
    "fastmsc": "pammedsil",
    "dynmsc": "dynmsc",
}
# Of the library's, those that take an infinite dissimilarity: sums can do without it, silhouettes and samples cannot.
_WITH_INFINITY = {"fasterpam", "pam", "alternating", "clara", "clarans"}
_INITS = {
    "random": "random",
    "build": "build",
    "lab": "lab",
    "k-medoids++": "k-means++",
    "k-means++": "k-means++",
    "heuristic": "heuristic",
}


class KMedoids(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Clustering around medoids: rows of X such that the distances of all rows to the nearest of them are small in sum.

    Takes the parameters of `sklearn_extra.cluster.KMedoids` and of `kmedoids.KMedoids`; defaults are those of the latter
    but for the metric. Draws are tilefold's own, so that results of a seed differ from theirs.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of medoids; with method="dynmsc" the largest that is tried.
    metric : str or callable, default='euclidean'
        A metric of `tilefold.metrics.pairwise_distances`, or 'precomputed': X is then a square matrix whose entry (i, j)
        is what object i costs where object j is its medoid. Infinity says that j cannot stand for i: of two sums the one with
        fewer infinite terms is smaller, then the one whose finite terms are. 'onebatch' and the methods of silhouettes
        refuse it.
    metric_params : dict, default=None
        Parameters of the metric, by scikit-learn's names.
    method : str, default='fasterpam'
        'fasterpam' takes every swap that lowers the sum at once, 'pam' (or 'fastpam1') the best of all swaps in each
        iteration; 'alternate' (or 'alternating') labels and then finds the best medoid within each cluster, in turns;
        'clara' runs 'pam' on samples, 'clarans' draws swaps at random, 'onebatch' runs 'fasterpam' with its sum measured
        on a sample, for more rows than a square matrix of distances has room for. 'fastermsc', 'pammedsil' (or 'fastmsc')
        maximise the average medoid silhouette instead, 'dynmsc' over the number of medoids too.
    init : str or array-like, default='random'
        'random', 'build', 'lab', 'k-medoids++' (or 'k-means++'), 'heuristic', 'first' (the first rows); or the indices of
        n_clusters rows, or those rows themselves, of shape (n_clusters, n_features).
    max_iter : int, default=300
        Most passes over all candidates, or best swaps; 0 keeps the first medoids.
    random_state : int, RandomState instance or None, default=None
        Where random draws come from.
    samples : int, default=5
        Samples of 'clara'.
    sample_size : int or None, default=None
        Rows of a sample of 'clara' (None: 40 + 2 n_clusters) or 'onebatch' (None: 100 ln(n_clusters n_samples)).
    searches : int, default=2
        Searches of 'clarans', each from other medoids.
    patience : int or None, default=None
        Draws without improvement that end a search of 'clarans'. None: 1.25 % of n_clusters (n_samples - n_clusters), at
        least 250.
    fewest : int, default=2
        Fewest medoids that 'dynmsc' tries.
    max_bytes : int or None, default=None
        Most memory for the matrix of distances: beyond it they are made anew in each pass. None: half of what is free.
    device : str or None, default=None
        What the work runs on, see `tilefold.set_config`; None takes the configuration's.

    Attributes
    ----------
    cluster_centers_ : ndarray or sparse matrix of shape (n_clusters, n_features), or None
        The medoids; None with metric='precomputed'.
    medoid_indices_ : ndarray of shape (n_clusters,)
        Their rows in X.
    labels_ : ndarray of shape (n_samples,)
        Index of the nearest medoid of each row, ties to the lowest.
    inertia_, loss_ : float
        Sum of the distances to the nearest medoid.
    silhouette_ : float or None
        The average medoid silhouette, the mean of 1 - d1 / d2 of the nearest two medoids. None with a single medoid, and
        where dissimilarities are negative.
    n_iter_ : int
        Iterations.
    n_swaps_ : int
        Swaps that were taken.
    tried_ : list of (int, float)
        With method='dynmsc' the numbers of medoids that were tried, each with its silhouette.
    n_features_in_ : int
        Number of features; of objects with metric='precomputed'.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has some that are all strings.
    device_used_ : str
        What the fit ran on, in words.
    fallback_reason_ : str or None
        Why the CPU did the work of another device.

    Examples
    --------
    >>> import numpy as np
    >>> from tilefold.cluster import KMedoids
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [4, 2], [4, 4], [4, 0]])
    >>> kmedoids = KMedoids(n_clusters=2, init="build").fit(X)
    >>> kmedoids.inertia_
    8.0
    >>> kmedoids.predict([[0, 0], [4, 4]]).tolist() == kmedoids.labels_[[2, 4]].tolist()
    True
    """

    _parameter_constraints = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "metric": [str, callable],
        "metric_params": [dict, None],
        "method": [StrOptions(set(_METHODS))],
        "init": [StrOptions({*_INITS, "first"}), "array-like"],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
        "samples": [Interval(Integral, 1, None, closed="left")],
        "sample_size": [Interval(Integral, 1, None, closed="left"), None],
        "searches": [Interval(Integral, 1, None, closed="left")],
        "patience": [Interval(Integral, 0, None, closed="left"), None],
        "fewest": [Interval(Integral, 2, None, closed="left")],
        "max_bytes": [Interval(Integral, 1, None, closed="left"), None],
        "device": [str, None],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        metric="euclidean",
        metric_params=None,
        method="fasterpam",
        init="random",
        max_iter=300,
        random_state=None,
        samples=5,
        sample_size=None,
        searches=2,
        patience=None,
        fewest=2,
        max_bytes=None,
        device=None,
    ):
        self.n_clusters = n_clusters
        self.metric = metric
        self.metric_params = metric_params
        self.method = method
        self.init = init
        self.max_iter = max_iter
        self.random_state = random_state
        self.samples = samples
        self.sample_size = sample_size
        self.searches = searches
        self.patience = patience
        self.fewest = fewest
        self.max_bytes = max_bytes
        self.device = device

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        known = self._known_metric()
        tags.input_tags.pairwise = self._is_precomputed()
        tags.input_tags.sparse = known is not None and known.sparse
        tags.input_tags.allow_nan = known is not None and known.missing
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Clusters the rows of X.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_samples)
            Rows to cluster, or with metric='precomputed' a square matrix of dissimilarities, symmetric or not.
        y : Ignored
            Present for consistency.

        Returns
        -------
        self : KMedoids
            The fitted estimator.
        """
        _refuse_bool(self)
        X = self._validated(X, reset=True)
        if self._is_precomputed():
            _check_square(X)
        _check_rows(self, X)
        self._check_sample_size(X.shape[0])
        self._metric_params = self._resolved(X)
        asked = self._asked(X)
        with measured("KMedoids.fit") as entry:
            table, core, given = self._input(X)
            found, reason = run_on(
                self.device,
                lambda selector: _core.fit_medoids(table, core, given, asked, selector),
                stacklevel=4,
            )
            entry.device, entry.reason = found.device, reason or ""
        self._keep(X, found, reason)
        return self

    def _is_precomputed(self):
        return isinstance(self.metric, str) and self.metric == "precomputed"

    def _validated(self, X, *, reset):
        """Rows as KMeans takes them; sparse ones and NaN where the metric takes them, infinity in a matrix where the
        method does."""
        takes_infinity = self._is_precomputed() and _METHODS[self.method] in _WITH_INFINITY
        takes_nan = self.__sklearn_tags__().input_tags.allow_nan
        X = validated(
            self,
            X,
            reset=reset,
            accept_sparse=self.__sklearn_tags__().input_tags.sparse and "csr",
            ensure_all_finite=False if takes_infinity else "allow-nan" if takes_nan else True,
            exact=self.metric != "cosine",
        )
        if takes_infinity:
            _check_dissimilarities(X)
        return X

    def _check_sample_size(self, rows):
        least = self.n_clusters if self.method == "clara" else 1
        if self.method in ("clara", "onebatch") and self.sample_size is not None:
            if not least <= self.sample_size <= rows:
                raise ValueError(
                    f"sample_size: expected {least} to {rows} (n_samples) with method={self.method!r}, "
                    f"got {self.sample_size}."
                )

    def _resolved(self, X):
        """The parameters of the metric, with those that follow from the rows of the fit."""
        given = dict(self.metric_params or {})
        if self.metric == "seuclidean" and "V" not in given:
            given["V"] = np.var(X, axis=0, ddof=1, dtype=np.float64)
        if self.metric == "mahalanobis" and "VI" not in given:
            given["VI"] = np.linalg.inv(np.cov(X.T.astype(np.float64, copy=False))).T
        return given

    def _input(self, X):
        """What the native half clusters: rows with a metric and its parameters, or a matrix without."""
        if self._is_precomputed():
            return X, None, {}
        metric, given = self._known_metric(), self._metric_params
        is_native = (
            metric is not None
            and not metric.bits
            and not sp.issparse(X)
            and set(given) <= set(metric.parameters)
            and given.get("p") != np.inf
            and (X.dtype == np.float64 or X.shape[1] <= LONGEST_OF_FLOAT32)
            # A row of zeros has no direction, and scikit-learn's distances have a rule for it.
            and not (metric.core == "cosine" and len(zero_rows(X)) > 0)
        )
        if is_native:
            return X, metric.core, parameters(self.metric, X, X, given)
        return self._distances(X, None), None, {}

    def _known_metric(self):
        """The metric in tilefold's table, None where it is another one or a function."""
        return TABLE.get(self.metric) if isinstance(self.metric, str) else None

    def _rows(self, X):
        """Rows as the metric takes them: those of bits are bool, without a warning that they became so."""
        known = self._known_metric()
        return X.astype(bool) if known is not None and known.bits else X

    def _distances(self, X, centers):
        centers = None if centers is None else self._rows(centers)
        return pairwise_distances(
            self._rows(X), centers, metric=self.metric, device=self.device, **self._metric_params
        )

    def _asked(self, X):
        """The clustering as the native half takes it."""
        asked = {
            "n_clusters": int(self.n_clusters),
            "method": _METHODS[self.method],
            "init": None,
            # One of both.
            "first": None,
            "max_iter": int(self.max_iter),
            "seed": _seed(check_random_state(self.random_state)),
            "samples": int(self.samples),
            "sample_size": None if self.sample_size is None else int(self.sample_size),
            "searches": int(self.searches),
            "patience": None if self.patience is None else int(self.patience),
            "fewest": int(self.fewest),
            "max_bytes": None if self.max_bytes is None else int(self.max_bytes),
        }
        if not isinstance(self.init, str):
            asked["first"] = self._first_rows(X)
        elif self.init == "first":
            asked["first"] = list(range(self.n_clusters))
        else:
            asked["init"] = _INITS[self.init]
        return asked

    def _first_rows(self, X):
        """Indices of the first medoids that were given, as such or as rows."""
        init = np.asarray(self.init)
        if init.ndim == 1 and init.dtype.kind in "iu":
            if len(init) != self.n_clusters:
                raise ValueError(f"init: expected {self.n_clusters} indices, as n_clusters says, got {len(init)}.")
            if len(set(init.tolist())) < len(init) or init.min() < 0 or init.max() >= X.shape[0]:
                raise ValueError(f"init: expected distinct indices from 0 to {X.shape[0] - 1}, got {init!r}.")
            return init.tolist()
        shape = (self.n_clusters, X.shape[1])
        if init.shape != shape or self._is_precomputed() or sp.issparse(X):
            raise ValueError(
                f"init: expected {self.n_clusters} indices of rows, or rows of dense X of shape {shape}, "
                f"got shape {init.shape} of {init.dtype}."
            )
        found = []
        for row in init:
            equal = [int(index) for index in np.flatnonzero((X == row).all(axis=1)) if index not in found]
            if not equal:
                raise ValueError("init: expected rows of X, each as often as X has it, got another row.")
            found.append(equal[0])
        return found

    def _keep(self, X, found, reason):
        """Takes over what a clustering found."""
        if not found.converged and self.max_iter > 0:
            warnings.warn(
                f"{type(self).__name__} stopped at max_iter={self.max_iter} before it converged. "
                "Consider increasing max_iter.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.medoid_indices_ = found.medoids
        self.cluster_centers_ = None if self._is_precomputed() else X[found.medoids]
        self._n_features_out = len(found.medoids)
        self.labels_ = found.labels
        self.inertia_ = self.loss_ = found.loss
        self.silhouette_ = found.silhouette
        self.n_iter_ = found.n_iter
        self.n_swaps_ = found.n_swaps
        self.tried_ = found.tried
        self.device_used_ = found.device
        self.fallback_reason_ = reason or _reason_in(found.device)

    def fit_predict(self, X, y=None):
        """Clusters the rows of X and returns `labels_`."""
        return self.fit(X).labels_

    def predict(self, X):
        """The index of the nearest medoid of each row, ties to the lowest.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_samples_fit)
            Rows to label, or with metric='precomputed' their dissimilarities to the objects of the fit.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Labels as int32.
        """
        check_is_fitted(self, "medoid_indices_")
        X = self._validated(X, reset=False)
        if self._is_precomputed():
            return X[:, self.medoid_indices_].argmin(axis=1).astype(np.int32)
        found = pairwise_distances_argmin(
            self._rows(X),
            self._rows(self.cluster_centers_),
            metric=self.metric,
            metric_kwargs=self._metric_params or None,
            device=self.device,
        )
        return found.astype(np.int32)

    def transform(self, X):
        """Distances of each row to each medoid.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_samples_fit)
            As for `predict`.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_clusters)
            float32 where X is, else float64.
        """
        check_is_fitted(self, "medoid_indices_")
        X = self._validated(X, reset=False)
        if self._is_precomputed():
            return X[:, self.medoid_indices_]
        return self._distances(X, self.cluster_centers_)

    def fit_transform(self, X, y=None):
        """Clusters the rows of X and returns their distances to the medoids."""
        return self.fit(X).transform(X)


def _check_dissimilarities(X):
    """Refuses NaN, and infinity below 0."""
    least = X.min()
    if np.isnan(least):
        raise ValueError("Input X contains NaN.")
    if least == -np.inf:
        raise ValueError("Input X contains infinity below 0: expected finite dissimilarities, or infinity above 0.")


# Rows and columns of a block that is compared with the one across the diagonal.
_BLOCK = 512


def _check_square(X):
    """Refuses what is not square, and warns where it is not symmetric."""
    rows, columns = X.shape
    if rows != columns:
        raise ValueError(
            "Precomputed metric requires shape (n_queries, n_indexed). "
            f"Got ({rows}, {columns}) for {rows} indexed."
        )
    for start in range(0, rows, _BLOCK):
        for other in range(0, start + 1, _BLOCK):
            block = X[start : start + _BLOCK, other : other + _BLOCK]
            across = X[other : other + _BLOCK, start : start + _BLOCK].T
            if not np.array_equal(block, across) and not np.allclose(block, across, rtol=1e-5, atol=0):
                warnings.warn(
                    "X is not symmetric: entry (i, j) is taken as what object i costs where object j is its medoid.",
                    UserWarning,
                    stacklevel=4,
                )
                return
