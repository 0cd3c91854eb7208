"""Tables and parameters of a call as its metric takes them."""

import warnings

import numpy as np
from scipy.sparse import issparse
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics.pairwise import check_pairwise_arrays

from ._input import as_array, checked, taken
from ._table import TABLE


def tables(name, X, Y):
    """Both tables, checked; `Y` is `X` where it was, or where there was none."""
    metric = TABLE[name]
    if not metric.sparse and (issparse(X) or issparse(Y)):
        # As scikit-learn does for the metrics that it leaves to SciPy.
        raise TypeError("scipy distance metrics do not support sparse matrices.")
    if metric.bits:
        return _bits(name, X, Y)
    X, Y = checked(X, Y, exact=name != "cosine", ensure_all_finite="allow-nan" if metric.missing else True)
    if name == "haversine" and X.shape[1] != 2:
        raise ValueError("Haversine distance only valid in 2 dimensions")
    return X, Y


def _bits(name, X, Y):
    itself = Y is None or Y is X
    X = as_array(taken(X))
    Y = X if itself else as_array(taken(Y, "Y"))
    if X.dtype != bool or Y.dtype != bool:
        warnings.warn(f"Data was converted to boolean for metric {name}", DataConversionWarning, stacklevel=4)
    X, Y = check_pairwise_arrays(X, Y, dtype=bool)
    x = _zeros_and_ones(X)
    return x, x if itself else _zeros_and_ones(Y)


def _zeros_and_ones(table):
    """A bool array as bytes: a view, unless some that are true hold another byte than 1."""
    bits = table.view(np.uint8)
    return bits if bits.max(initial=0) <= 1 else table.astype(np.uint8)


def parameters(name, X, Y, given):
    """The library's parameters of a metric from scikit-learn's; those that follow from the data where X is alone."""
    given = dict(given)
    if name == "seuclidean" and "V" not in given:
        _only_alone(name, "V", X, Y)
        given["V"] = np.var(X, axis=0, ddof=1, dtype=np.float64)
    if name == "mahalanobis" and "VI" not in given:
        _only_alone(name, "VI", X, Y)
        given["VI"] = np.linalg.inv(np.cov(X.T.astype(np.float64, copy=False))).T
    found = {TABLE[name].parameters[key]: value for key, value in given.items() if value is not None}
    for key in ("weights", "variances"):
        if key in found:
            found[key] = np.asarray(found[key], dtype=np.float64).ravel().tolist()
            if len(found[key]) != X.shape[1]:
                raise ValueError(f"{key} of {name}: expected {X.shape[1]}, one per feature, got {len(found[key])}")
    if "inverse_covariance" in found:
        found["inverse_covariance"] = np.atleast_2d(np.asarray(found["inverse_covariance"], dtype=np.float64))
    if "p" in found:
        found["p"] = float(found["p"])
    return found


def _only_alone(name, parameter, X, Y):
    if Y is not X:
        raise ValueError(f"The '{parameter}' parameter is required for the {name} metric when Y is passed.")
