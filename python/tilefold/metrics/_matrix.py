"""One matrix of distances of checked rows: dense or sparse, on the device."""

import numpy as np
from scipy.sparse import issparse

from .._sparse import narrowed
from ._input import blocks, result_type, with_ones, zero_rows

LONGEST_OF_FLOAT32 = 65_536
"""Rows of more features are summed in `float64`: in `float32` sums of so many terms lose a fifth digit."""


def matrix(X, Y, metric, engine, parameters=None, *, wide=False):
    """Entry (i, j) is the distance of row i of X and row j of Y; X with itself where Y is X.

    With `wide` results are `float64` whatever the rows are; those of bits always are.
    """
    kind = np.promote_types(result_type(X), result_type(Y))
    wide = wide or metric.bits
    if not wide and X.shape[1] > LONGEST_OF_FLOAT32:
        return matrix(X, Y, metric, engine, parameters, wide=True).astype(kind, copy=False)
    itself = Y is X
    X, Y = narrowed(metric.core, parameters or {}, X, None if itself else Y)
    Y = X if itself else Y
    out = np.empty((X.shape[0], Y.shape[0]), dtype=np.float64 if wide else kind)
    if metric.core == "cosine":
        _cosine(X, Y, engine, out)
    else:
        _fill(X, Y, metric.core, engine, out, parameters or {})
    if itself and metric.core == "russellrao":
        # Equal rows have the share of their zeros, but scikit-learn leaves the diagonal out where X is alone.
        np.fill_diagonal(out, 0)
    return out


def _cosine(X, Y, engine, out):
    """A row of zeros has no direction: like scikit-learn, distance 1 to every row but to itself."""
    x_zeros = zero_rows(X)
    x = with_ones(X, x_zeros)
    if Y is X:
        _fill(x, x, "cosine", engine, out)
        out[x_zeros, :] = 1
        out[:, x_zeros] = 1
        out[x_zeros, x_zeros] = 0
        return
    y_zeros = zero_rows(Y)
    _fill(x, with_ones(Y, y_zeros), "cosine", engine, out)
    out[x_zeros, :] = 1
    out[:, y_zeros] = 1


def _fill(X, Y, core, engine, out, parameters=None):
    itself = Y is X
    if not issparse(X) and not issparse(Y):
        engine.distances(X, None if itself else Y, core, out, parameters or {})
        return
    for rows, x in blocks(X):
        for columns, y in blocks(Y):
            if itself and columns.start < rows.start:
                continue
            target = out[rows, columns]
            same = itself and columns.start == rows.start
            engine.distances(x, None if same else y, core, target, parameters or {})
            if itself and not same:
                out[columns, rows] = target.T
