"""k-means with scikit-learn's interface."""

import warnings
from numbers import Integral, Real

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
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from .. import _core
from .._config import get_config
from .._devices import FallbackWarning, run_on
from .._profile import measured
from .._rows import validated
from .._sparse import check_sparse
from ._progress import Progress

try:
    from sklearn.callback import CallbackSupportMixin as _CallbackSupport
except ImportError:  # callbacks came with scikit-learn 1.9
    _CallbackSupport = type("_CallbackSupport", (), {})


class KMeans(
    _CallbackSupport, ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator
):
    """K-means clustering by Lloyd's algorithm, with labels equal to float64 and the same bits on every device.

    A replacement of `sklearn.cluster.KMeans`: parameters, attributes, errors and warnings are the same. Draws of
    ``init="k-means++"`` are tilefold's own, so that labels of a seed differ from scikit-learn's.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    init : {'k-means++', 'random'}, callable or array-like of shape (n_clusters, n_features), default='k-means++'
        First centroids: greedy k-means++, distinct rows, a function of X, n_clusters and random_state, or given ones.
        A function gets X as it was given, not centred.
    n_init : 'auto' or int, default='auto'
        Runs from different first centroids, of which the one with the lowest inertia is kept. 'auto': 10 for 'random'
        and functions, else 1.
    max_iter : int, default=300
        Most iterations of one run.
    tol : float, default=1e-4
        A run has converged once its centroids move by at most this, relative to the mean variance of the features, or
        once no label changes.
    verbose : int, default=0
        1 prints each iteration, 2 shows a progress bar where tqdm is installed.
    random_state : int, RandomState instance or None, default=None
        Where random draws come from.
    copy_x : bool, default=True
        For compatibility: X is never changed, and copied only where it is not float32 or float64 in C order.
    algorithm : {"lloyd", "elkan"}, default="lloyd"
        For compatibility: both run the same exact algorithm, which leaves out what cannot change a label.
    device : str or None, default=None
        What the work runs on, see `tilefold.set_config`; None takes the configuration's.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        Centroids in the type of X.
    labels_ : ndarray of shape (n_samples,)
        Index of the nearest centroid of each row, ties to the lowest.
    inertia_ : float
        Sum of weighted squared distances to the nearest centroid.
    n_iter_ : int
        Iterations of the run that was kept.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has some that are all strings.
    device_used_ : str
        What the fit ran on, in words.
    fallback_reason_ : str or None
        Why the CPU did the work of another device.

    Examples
    --------
    >>> import numpy as np
    >>> from tilefold.cluster import KMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> kmeans = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> kmeans.inertia_
    16.0
    >>> bool(kmeans.labels_[0] == kmeans.predict([[0, 0]])[0])
    True
    """

    _parameter_constraints = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"k-means++", "random"}), callable, "array-like"],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        "copy_x": ["boolean"],
        "algorithm": [StrOptions({"lloyd", "elkan"})],
        "device": [str, None],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        init="k-means++",
        n_init="auto",
        max_iter=300,
        tol=1e-4,
        verbose=0,
        random_state=None,
        copy_x=True,
        algorithm="lloyd",
        device=None,
    ):
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.device = device

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Clusters the rows of X.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows to cluster. Sparse rows are widened block by block, never all at once.
        y : Ignored
            Present for consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row, at least 0. Given first centroids and functions do not use it.

        Returns
        -------
        self : KMeans
            The fitted estimator.
        """
        _refuse_bool(self)
        X = validated(self, X, reset=True)
        _check_rows(self, X)
        self._n_init = self._runs()
        weights = None if sample_weight is None else _checked_weights(sample_weight, X)
        progress = Progress(self, X, y, self._n_init)
        try:
            with measured("KMeans.fit") as entry:
                asked = self._asked(X, weights, check_random_state(self.random_state))
                fitted, reason = run_on(
                    self.device, lambda selector: _core.fit(X, weights, asked, selector, progress.call), stacklevel=4
                )
                entry.device, entry.reason = fitted.device, reason or ""
        finally:
            progress.close()
        self._keep(fitted, reason, X.dtype)
        progress.end()
        return self

    def _runs(self):
        """Number of runs; warns where the parameters contradict each other."""
        given = not callable(self.init) and not isinstance(self.init, str)
        runs = self.n_init
        if runs == "auto":
            runs = 1 if given or not callable(self.init) and self.init == "k-means++" else 10
        if given and runs != 1:
            warnings.warn(
                "Explicit initial center position passed: performing only one init in "
                f"{type(self).__name__} instead of n_init={runs}.",
                RuntimeWarning,
                stacklevel=4,
            )
            runs = 1
        if self.algorithm == "elkan" and self.n_clusters == 1:
            warnings.warn(
                "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
                RuntimeWarning,
                stacklevel=4,
            )
        return runs

    def _asked(self, X, weights, random_state):
        """The fit as the native half takes it."""
        asked = {
            "n_clusters": int(self.n_clusters),
            "n_init": int(self._n_init),
            "max_iter": int(self.max_iter),
            "tol": float(self.tol),
            "starts": None,
            "seed": 0,
        }
        if isinstance(self.init, str) and self.init == "k-means++":
            asked["seed"] = _seed(random_state)
        else:
            init = self.init
            if not isinstance(init, str) and not callable(init):
                init = check_array(init, dtype=X.dtype, copy=True, order="C")
                self._check_centers(init, X, self.n_clusters)
            starts = [self._init_centroids(X, None, init, random_state, weights) for _ in range(self._n_init)]
            asked["starts"] = [np.ascontiguousarray(start, dtype=np.float64) for start in starts]
        return asked

    def _init_centroids(
        self, X, x_squared_norms, init, random_state, sample_weight, init_size=None, n_centroids=None
    ):
        """First centroids of one run. scikit-learn's signature; `x_squared_norms` is not needed here."""
        n_clusters = self.n_clusters if n_centroids is None else n_centroids
        if init_size is not None and init_size < X.shape[0]:
            rows = random_state.randint(0, X.shape[0], init_size)
            X, sample_weight = X[rows], None if sample_weight is None else sample_weight[rows]
        if isinstance(init, str) and init == "k-means++":
            weights = None if sample_weight is None else np.ascontiguousarray(sample_weight, dtype=np.float64)
            first, _ = run_on(
                self.device,
                lambda selector: _core.first_centroids(X, weights, n_clusters, _seed(random_state), selector),
            )
            return first.astype(X.dtype, copy=False)
        if isinstance(init, str):
            odds = None if sample_weight is None else sample_weight / sample_weight.sum()
            rows = random_state.choice(X.shape[0], size=n_clusters, replace=False, p=odds)
            first = X[rows]
        elif callable(init):
            first = init(X, n_clusters, random_state=random_state)
            check_sparse("init", first)
            if not sp.issparse(first):
                first = check_array(first, dtype=X.dtype, copy=False, order="C")
            self._check_centers(first, X, n_clusters)
        else:
            first = init
        return first.toarray() if sp.issparse(first) else first

    @staticmethod
    def _check_centers(centers, X, n_clusters):
        if centers.shape[0] != n_clusters:
            raise ValueError(
                f"The shape of the initial centers {centers.shape} does not match the number of clusters "
                f"{n_clusters}."
            )
        if centers.shape[1] != X.shape[1]:
            raise ValueError(
                f"The shape of the initial centers {centers.shape} does not match the number of features of "
                f"the data {X.shape[1]}."
            )

    def _keep(self, fitted, reason, dtype):
        """Takes over what a fit found."""
        reason = reason or _reason_in(fitted.device)
        if reason is not None and "(after " in fitted.device:
            fallback = get_config()["fallback"]
            if fallback == "raise":
                raise _core.DeviceError(reason)
            if fallback == "warn":
                warnings.warn(f"{reason}; the CPU took over", FallbackWarning, stacklevel=4)
        distinct = np.count_nonzero(np.bincount(fitted.labels, minlength=self.n_clusters))
        if distinct < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({distinct}) found smaller than n_clusters ({self.n_clusters}). "
                "Possibly due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self._model = fitted.model
        self.cluster_centers_ = fitted.model.centroids().astype(dtype, copy=False)
        self._n_features_out = self.cluster_centers_.shape[0]
        self.labels_ = fitted.labels
        self.inertia_ = fitted.inertia
        self.n_iter_ = fitted.n_iter
        self.device_used_ = fitted.device
        self.fallback_reason_ = reason

    def _fitted_model(self, selector):
        """The model of the fit, or one of `cluster_centers_` where somebody put other centroids there."""
        centers = self.cluster_centers_
        known = getattr(self, "_model", None)
        if known is not None and np.array_equal(known.centroids().astype(centers.dtype, copy=False), centers):
            return known
        return _core.Model.from_centroids(np.ascontiguousarray(centers, dtype=np.float64), selector)

    def fit_predict(self, X, y=None, sample_weight=None):
        """Clusters the rows of X and returns `labels_`."""
        return self.fit(X, sample_weight=sample_weight).labels_

    def predict(self, X):
        """The index of the nearest centroid of each row, ties to the lowest.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows to label. Those of the fit get `labels_`, however far from the origin they lie.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Labels as int32.
        """
        check_is_fitted(self, "cluster_centers_")
        X = validated(self, X, reset=False)
        with measured("KMeans.predict") as entry:
            found, reason = run_on(self.device, lambda selector: self._fitted_model(selector).predict(X, selector))
            entry.device, entry.reason = found[1], reason or ""
        return found[0]

    def fit_transform(self, X, y=None, sample_weight=None):
        """Clusters the rows of X and returns their distances to the centroids."""
        return self.fit(X, sample_weight=sample_weight).transform(X)

    def transform(self, X):
        """Euclidean distances of each row to each centroid, as direct differences in float64.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_clusters)
            float32 where X and the centroids are, else float64.
        """
        check_is_fitted(self, "cluster_centers_")
        X = validated(self, X, reset=False)
        single = X.dtype == np.float32 and self.cluster_centers_.dtype == np.float32
        with measured("KMeans.transform") as entry:
            entry.device, entry.reason = "cpu", "float64, which GPUs lack"
            return run_on(
                self.device, lambda selector: self._fitted_model(selector).transform(X, selector, single)
            )[0]

    def score(self, X, y=None, sample_weight=None):
        """Minus the sum of weighted squared distances to the nearest centroids."""
        check_is_fitted(self, "cluster_centers_")
        X = validated(self, X, reset=False)
        weights = None if sample_weight is None else _checked_weights(sample_weight, X)
        with measured("KMeans.score") as entry:
            entry.device, entry.reason = "cpu", "float64, which GPUs lack"
            return run_on(
                self.device, lambda selector: self._fitted_model(selector).score(X, weights, selector)
            )[0]


def _refuse_bool(estimator):
    """Refuses True as a number of clusters, which scikit-learn's rules take for an int."""
    if isinstance(estimator.n_clusters, (bool, np.bool_)):
        raise InvalidParameterError(
            f"The 'n_clusters' parameter of {type(estimator).__name__} must be an int in the range [1, inf). "
            f"Got {estimator.n_clusters!r} instead."
        )


def _check_rows(estimator, X):
    """Refuses fewer rows than clusters."""
    if X.shape[0] < estimator.n_clusters:
        raise ValueError(f"n_samples={X.shape[0]} should be >= n_clusters={estimator.n_clusters}.")


def _seed(random_state):
    return int(random_state.randint(0, 2**64, dtype=np.uint64))


def _checked_weights(sample_weight, X):
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if np.any(weights < 0):
        raise ValueError("Negative values in data passed to `sample_weight`.")
    if not np.any(weights):
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return np.ascontiguousarray(weights)


def _reason_in(device):
    """Why `auto` took the CPU after all, from the words of a fit's device."""
    _, found, rest = device.partition("(after ")
    return rest.removesuffix(")") if found else None
