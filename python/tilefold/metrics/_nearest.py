"""`pairwise_distances_argmin` and `..._argmin_min`: the nearest row, exactly, without a matrix."""

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import gen_batches

from .._profile import measured
from .._sparse import narrowed
from . import _scikit_learn as original
from ._engine import Engine
from ._input import BLOCK_BYTES, blocks, checked, length, result_type, taken, with_ones, zero_rows
from ._matrix import matrix
from ._prepare import parameters, tables
from ._rules import Call
from ._table import TABLE


def pairwise_distances_argmin_min(X, Y, *, axis=1, metric="euclidean", metric_kwargs=None, device=None):
    """For each row of X the index of the nearest row of Y, and its distance.

    The index is the one of `float64` arithmetic on these values, whatever their type and the device: rows whose
    distances are too close to tell apart in `float32` are decided in `float64`. Of equally near ones it is the lowest.

    Parameters
    ----------
    X, Y : array-like or sparse matrix of shape (n_samples, n_features)
        As in `pairwise_distances`.
    axis : {0, 1}
        0: for each row of Y the nearest row of X.
    metric : str or callable
        As in `pairwise_distances`.
    metric_kwargs : dict
        Parameters of the metric.
    device : str
        Where it runs; None is the setting.

    Returns
    -------
    argmin : ndarray of int64
    distances : ndarray of `float64`, or `float32` where rows are at most `float32`
    """
    return _found("pairwise_distances_argmin_min", X, Y, axis, metric, metric_kwargs, device)


def pairwise_distances_argmin(X, Y, *, axis=1, metric="euclidean", metric_kwargs=None, device=None):
    """For each row of X the index of the nearest row of Y: the first result of `pairwise_distances_argmin_min`.

    Parameters
    ----------
    X, Y, axis, metric, metric_kwargs, device
        As there.

    Returns
    -------
    ndarray of int64
    """
    found = _found("pairwise_distances_argmin", X, Y, axis, metric, metric_kwargs, device)
    return found[0] if isinstance(found, tuple) else found


def _found(function, X, Y, axis, metric, metric_kwargs, device):
    given = metric_kwargs or {}
    call = Call(function, metric, given)
    ours = not isinstance(axis, bool) and axis in (0, 1) and isinstance(given, dict) and metric != "precomputed"
    # Whatever is no call at all goes to scikit-learn, which says so.
    reason = call.reason_against(X, Y) if ours else "not a call"
    if reason is None and TABLE[metric].core == "euclidean" and set(given) - {"squared"}:
        reason = "norms of the caller's"
    if reason is not None:
        options = {"axis": axis, "metric": metric, "metric_kwargs": metric_kwargs}
        work = lambda: getattr(original, function)(taken(X), taken(Y, "Y"), **options)  # noqa: E731
        return call.by_scikit_learn(reason, work) if ours else work()
    X, Y = _checked(metric, X, Y)
    if axis == 0:
        X, Y = Y, X
    with measured(call.title) as entry:
        core = "sqeuclidean" if given.get("squared") else TABLE[metric].core
        engine = Engine(device, entry)
        if not TABLE[metric].bounded:
            indices, distances = _nearest_of_matrix(X, Y, metric, engine, parameters(metric, X, Y, given))
        elif core == "cosine":
            indices, distances = _nearest_direction(X, Y, core, engine)
        else:
            indices, distances = _nearest(X, Y, core, engine)
    kind = np.float64 if TABLE[metric].bits else np.promote_types(result_type(X), result_type(Y))
    return indices, distances.astype(kind, copy=False)


def _checked(metric, X, Y):
    """As for a matrix, but that sparse rows are taken: scikit-learn's search takes them too."""
    if TABLE[metric].bounded:
        return checked(X, Y, exact=metric != "cosine")
    return tables(metric, X, Y)


def _nearest_of_matrix(X, Y, metric, engine, given):
    """From distances in `float64`, rows by rows; NaN counts as nearest, as in scikit-learn."""
    rows = max(1, BLOCK_BYTES // (8 * length(Y)))
    indices, distances = np.empty(length(X), dtype=np.int64), np.empty(length(X))
    for part in gen_batches(length(X), rows):
        block = X if part == slice(0, length(X)) else X[part]
        found = matrix(block, Y, TABLE[metric], engine, given, wide=True)
        indices[part] = found.argmin(axis=1)
        distances[part] = found[np.arange(len(found)), indices[part]]
    return indices, distances


def _nearest(X, Y, core, engine):
    if not issparse(X) and not issparse(Y):
        return engine.nearest(X, Y, core)
    X, Y = narrowed(core, {}, X, Y)
    indices = np.zeros(length(X), dtype=np.int64)
    distances = np.full(length(X), np.inf)
    for rows, x in blocks(X):
        for columns, y in blocks(Y):
            # Distances of several blocks are compared with each other: in float64.
            found, values = engine.nearest(x.astype(np.float64), y.astype(np.float64), core)
            better = values < distances[rows]
            indices[rows][better] = found[better] + columns.start
            distances[rows][better] = values[better]
    return indices, distances


def _nearest_direction(X, Y, core, engine):
    """Rows of zeros are at distance 1 from every row but themselves."""
    x_zeros, y_zeros = zero_rows(X), zero_rows(Y)
    candidates = np.setdiff1d(np.arange(length(Y)), y_zeros)
    indices, distances = np.zeros(length(X), dtype=np.int64), np.ones(length(X))
    if len(candidates):
        kept = Y if len(y_zeros) == 0 else Y[candidates]
        found, distances = _nearest(with_ones(X, x_zeros), kept, core, engine)
        indices = candidates[found]
        distances[x_zeros] = 1
        indices[x_zeros] = 0
    if len(y_zeros):
        first = y_zeros[0]
        nearer = (distances > 1) | ((distances == 1) & (indices > first))
        indices[nearer], distances[nearer] = first, 1
    if Y is X:
        indices[x_zeros], distances[x_zeros] = x_zeros, 0
    return indices, distances
