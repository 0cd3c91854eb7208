"""`pairwise_distances` and its kin: scikit-learn's signatures and conventions, the library's arithmetic."""

import warnings

import numpy as np
import sklearn
from sklearn.utils import gen_batches
from sklearn.utils.extmath import row_norms
from sklearn.utils.validation import check_array

from .._profile import measured
from . import _scikit_learn as original
from ._engine import Engine
from ._input import checked, length, taken
from ._matrix import matrix
from ._prepare import parameters, tables
from ._rules import Call
from ._table import PRODUCT, TABLE


def pairwise_distances(X, Y=None, metric="euclidean", *, n_jobs=None, ensure_all_finite=True, device=None, **kwds):
    """The distance of every row of X with every row of Y, of X with itself where Y is None.

    Parameters
    ----------
    X, Y : array-like or sparse matrix of shape (n_samples, n_features)
        NumPy arrays, data frames, lists, tensors of the host that have `__dlpack__`; CSR for the metrics that take it
        in scikit-learn. Sparse rows become dense block by block.
    metric : str or callable
        A name of scikit-learn's, "precomputed", or a function of two rows. What tilefold does not compute scikit-learn
        does, as the setting `fallback` says.
    n_jobs : int
        Taken for compatibility: a device uses its own threads, `tilefold.set_config(threads=...)`.
    ensure_all_finite : bool or "allow-nan"
        As in scikit-learn.
    device : str
        Where it runs; None is the setting.
    **kwds
        Parameters of the metric.

    Returns
    -------
    ndarray of shape (n_samples_X, n_samples_Y)
        `float64` of `float64`, integers and bool, as exact as `float64` allows; `float32` of `float32` and `float16`.
        Equal rows have distance 0, and X with itself is symmetric to the bit.

    Raises
    ------
    ValueError
        For NaN, infinity, shapes that do not fit, and distances that the type cannot hold.
    """
    call = Call("pairwise_distances", metric, kwds)
    reason = call.reason_against(X, Y)
    options = {"n_jobs": n_jobs, "ensure_all_finite": ensure_all_finite, **kwds}
    if reason is not None:
        work = lambda: original.pairwise_distances(taken(X), taken(Y, "Y"), metric, **options)  # noqa: E731
        return call.by_scikit_learn(reason, work)
    with measured(call.title) as entry:
        if metric == "precomputed":
            entry.device = "none"
            return original.pairwise_distances(taken(X), taken(Y, "Y"), metric, **options)
        if kwds and TABLE[metric].core == "euclidean":
            return _euclidean(X, Y, Engine(device, entry), **kwds)
        X, Y = tables(metric, X, Y)
        return matrix(X, Y, TABLE[metric], Engine(device, entry), parameters(metric, X, Y, kwds))


def euclidean_distances(X, Y=None, *, Y_norm_squared=None, squared=False, X_norm_squared=None, device=None):
    """`sqrt(sum (x - y)^2)` of every row of X with every row of Y.

    Norms that are given are used as scikit-learn uses them, in `float64`, also where they are wrong; without them
    results are more exact.

    Parameters
    ----------
    X, Y : array-like or sparse matrix of shape (n_samples, n_features)
        As in `pairwise_distances`.
    X_norm_squared, Y_norm_squared : array-like
        Squared lengths of the rows.
    squared : bool
        Whether to leave the root out.
    device : str
        Where it runs; None is the setting.

    Returns
    -------
    ndarray of shape (n_samples_X, n_samples_Y)
    """
    norms = {"X_norm_squared": X_norm_squared, "Y_norm_squared": Y_norm_squared}
    with measured("euclidean_distances") as entry:
        return _euclidean(X, Y, Engine(device, entry), squared=squared, **norms)


def cosine_distances(X, Y=None, *, device=None):
    """`1 - x.y / (|x| |y|)` of every row of X with every row of Y. A row of zeros has distance 1 to all but itself.

    Parameters
    ----------
    X, Y : array-like or sparse matrix of shape (n_samples, n_features)
        As in `pairwise_distances`.
    device : str
        Where it runs; None is the setting.

    Returns
    -------
    ndarray of shape (n_samples_X, n_samples_Y)
    """
    with measured("cosine_distances") as entry:
        return matrix(*checked(X, Y, exact=False), TABLE["cosine"], Engine(device, entry))


def pairwise_distances_chunked(
    X, Y=None, *, reduce_func=None, metric="euclidean", n_jobs=None, working_memory=None, device=None, **kwds
):
    """Yields the matrix of `pairwise_distances` in blocks of rows, each reduced by `reduce_func`.

    Parameters
    ----------
    X, Y, metric, n_jobs, device, **kwds
        As in `pairwise_distances`.
    reduce_func : callable
        Called with a block and its first row; returns None, a sequence of the block's length, or a tuple of such.
    working_memory : float
        Most MiB of a block; None is scikit-learn's setting. A block has at least one row.

    Yields
    ------
    ndarray, or what `reduce_func` returns
    """
    call = Call("pairwise_distances_chunked", metric, kwds)
    options = {"reduce_func": reduce_func, "metric": metric, "n_jobs": n_jobs, "working_memory": working_memory, **kwds}
    reason = call.reason_against(X, Y)
    if reason is None and kwds and metric != "precomputed" and TABLE[metric].core == "euclidean":
        # Norms belong to whole tables, not to blocks of rows.
        reason = "norms of the caller's"
    if reason is not None or metric == "precomputed":
        work = lambda: original.pairwise_distances_chunked(taken(X), taken(Y, "Y"), **options)  # noqa: E731
        return work() if metric == "precomputed" else call.by_scikit_learn(reason, work)
    if not (reduce_func is None or callable(reduce_func)):
        # scikit-learn knows how to say what is wrong.
        return original.pairwise_distances_chunked(taken(X), taken(Y, "Y"), **options)
    X, Y = tables(metric, X, Y)
    return _chunks(X, Y, call, parameters(metric, X, Y, kwds), reduce_func, working_memory, device)


def _chunks(X, Y, call, given, reduce_func, working_memory, device):
    for rows in gen_batches(length(X), _rows_of_a_block(length(X), length(Y), working_memory)):
        with measured(call.title) as entry:
            # The whole of X keeps its identity: X with itself is done once.
            block = X if rows == slice(0, length(X)) else X[rows]
            found = matrix(block, Y, TABLE[call.metric], Engine(device, entry), given)
        if reduce_func is not None:
            expected = length(found)
            found = reduce_func(found, rows.start)
            _check_reduced(found, expected)
        yield found


def _rows_of_a_block(rows, columns, working_memory):
    """As many rows of 8-byte distances as the memory holds, at least one."""
    if working_memory is None:
        working_memory = sklearn.get_config()["working_memory"]
    row_bytes = 8 * columns
    block_rows = min(rows, int(working_memory * 2**20 // row_bytes))
    if block_rows < 1:
        warnings.warn(
            f"Could not adhere to working_memory config. Currently {working_memory:.0f}MiB, "
            f"{np.ceil(row_bytes / 2**20):.0f}MiB required.",
            stacklevel=4,
        )
    return max(1, block_rows)


def _check_reduced(reduced, expected):
    """What `reduce_func` returned has to be as long as its block."""
    parts = reduced if isinstance(reduced, tuple) else (reduced,)
    if reduced is None:
        return
    if any(isinstance(part, tuple) or not hasattr(part, "__iter__") for part in parts):
        raise TypeError(f"reduce_func returned {reduced!r}. Expected sequence(s) of length {expected}.")
    lengths = tuple(length(part) for part in parts)
    if any(found != expected for found in lengths):
        got = lengths if isinstance(reduced, tuple) else lengths[0]
        raise ValueError(f"reduce_func returned object of length {got}. Expected same length as input: {expected}.")


def _euclidean(X, Y, engine, *, squared=False, X_norm_squared=None, Y_norm_squared=None):
    X, Y = checked(X, Y)
    x_norms = _column_of_norms("X", X_norm_squared, X)
    y_norms = _column_of_norms("Y", Y_norm_squared, Y)
    if x_norms is None and y_norms is None:
        return matrix(X, Y, TABLE["sqeuclidean" if squared else "euclidean"], engine)
    if x_norms is None:
        x_norms = row_norms(_wide(X), squared=True)[:, None]
    if Y is X:
        y_norms = x_norms
    elif y_norms is None:
        y_norms = row_norms(_wide(Y), squared=True)[:, None]
    squares = matrix(X, Y, PRODUCT, engine, wide=True)
    squares *= -2
    squares += x_norms
    squares += y_norms.T
    np.maximum(squares, 0, out=squares)
    if Y is X:
        np.fill_diagonal(squares, 0)
    kind = np.float32 if X.dtype != np.float64 and Y.dtype != np.float64 else np.float64
    return (squares if squared else np.sqrt(squares, out=squares)).astype(kind, copy=False)


def _wide(table):
    """16-bit floats as numbers that lengths can be computed of."""
    return table if table.dtype == np.float64 else table.astype(np.float64)


def _column_of_norms(name, norms, table):
    """Given norms as a column of `float64`; None without them, or with `float32` ones, which are not exact enough."""
    if norms is None:
        return None
    norms = check_array(norms, ensure_2d=False)
    count = length(table)
    if norms.shape not in ((count,), (count, 1), (1, count)):
        raise ValueError(
            f"Incompatible dimensions for {name} of shape {table.shape} and {name}_norm_squared of shape {norms.shape}."
        )
    return None if norms.dtype == np.float32 else norms.reshape(-1, 1).astype(np.float64, copy=False)
