"""Input in the forms that estimators take: what scikit-learn accepts, and tensors and tables that speak a protocol."""

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import validate_data

from ._exact import check_exact
from ._sparse import check_sparse


def as_array_like(X):
    """What scikit-learn cannot read by itself: host tensors (`__dlpack__`) and Arrow streams. Anything else as it is;
    sparse matrices whose arrays contradict each other are refused."""
    check_sparse("X", X)
    if sp.issparse(X) or hasattr(X, "__array__") or hasattr(X, "__dataframe__"):
        return X
    if hasattr(X, "__dlpack__"):
        return np.from_dlpack(X)
    if hasattr(X, "__arrow_c_stream__") and not hasattr(X, "columns"):
        import pyarrow

        return pyarrow.table(X)
    return X


def validated(estimator, X, *, reset, accept_sparse="csr", ensure_all_finite=True, exact=False):
    """X as float32 or float64 in C order, or as CSR whose columns ascend; copied only where it must be converted. With
    `exact` integers that float64 would round are refused."""
    X = as_array_like(X)
    if exact:
        check_exact("X", X)
    # Sums that overflow are part of the check for values that are not finite.
    with np.errstate(over="ignore", invalid="ignore"):
        X = validate_data(
            estimator,
            X,
            accept_sparse=accept_sparse,
            ensure_all_finite=ensure_all_finite,
            dtype=[np.float64, np.float32],
            order="C",
            copy=False,
            reset=reset,
        )
    if sp.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X
