"""Arrays as the library takes them: checked as in scikit-learn, 16- and 32-bit floats kept, sparse rows in blocks."""

import numpy as np
from scipy.sparse import csr_matrix, issparse
from sklearn.metrics.pairwise import check_pairwise_arrays
from sklearn.utils.validation import check_array

from .._exact import check_exact
from .._sparse import check_sparse

BLOCK_BYTES = 32 << 20
"""Most bytes of a block of sparse rows once it is dense, unless a single row has more."""


def float_type(*arrays):
    """The type that arrays are checked into: that of 16- and 32-bit floats, the wider of two, else `float64`."""
    found = {np.dtype(getattr(array, "dtype", np.float64)).newbyteorder("=") for array in arrays}
    if found == {np.dtype(np.float16)}:
        return np.float16
    if found <= {np.dtype(np.float16), np.dtype(np.float32)}:
        return np.float32
    return np.float64


def result_type(array):
    """The type of distances of checked rows: `float64` of `float64`, else `float32`."""
    return np.float64 if array.dtype == np.float64 else np.float32


def checked(X, Y, *, exact=True, **options):
    """Both tables as NumPy arrays or CSR; `Y` is `X` where it was, or where there was none. With `exact` integers that
    `float64` would round are refused."""
    X, Y = taken(X), None if Y is None or Y is X else taken(Y, "Y")
    for name, table in (("X", X), ("Y", Y)):
        if exact and table is not None:
            check_exact(name, table)
    X, Y = as_array(X), None if Y is None else as_array(Y)
    kind = float_type(X) if Y is None else float_type(X, Y)
    return check_pairwise_arrays(X, Y, dtype=kind, **options)


def taken(table, name="X"):
    """What only speaks DLPack (tensors of the host) or only Arrow (tables) as NumPy arrays; the rest as it is. Sparse
    matrices whose arrays contradict each other are refused."""
    check_sparse(name, table)
    if table is None or hasattr(table, "__array__") or issparse(table):
        return table
    if hasattr(table, "__dlpack__"):
        return np.from_dlpack(table)
    if hasattr(table, "__arrow_c_stream__"):
        return _of_arrow(table)
    return table


def _of_arrow(stream):
    import pyarrow

    return np.column_stack([column.to_numpy() for column in pyarrow.table(stream).columns])


def length(table):
    """Number of rows."""
    return table.shape[0] if hasattr(table, "shape") else len(table)


def as_array(table):
    """A data frame or a list as an array of one type, so that `float_type` can tell it."""
    if issparse(table) or isinstance(table, np.ndarray):
        return table
    array = np.asarray(table)
    if array.dtype == object and hasattr(table, "dtypes"):
        # Columns that know missing values: scikit-learn makes NaN of them, which is refused later with its text.
        return check_array(table, dtype=np.float64, ensure_all_finite=False)
    return array


def blocks(table):
    """Rows as dense arrays: all at once, or block by block where they are sparse."""
    count, depth = table.shape
    if not issparse(table):
        yield slice(0, count), table
        return
    rows = max(1, BLOCK_BYTES // (depth * table.dtype.itemsize))
    for start in range(0, count, rows):
        part = slice(start, min(start + rows, count))
        yield part, table[part].toarray()


def zero_rows(table):
    """Indices of the rows that hold nothing but zeros."""
    if issparse(table):
        rows = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
        return np.flatnonzero(np.bincount(rows[table.data != 0], minlength=table.shape[0]) == 0)
    return np.flatnonzero(~np.any(table, axis=1))


def with_ones(table, rows):
    """A copy whose given rows hold ones: they have a direction then, and the caller overwrites their results."""
    if len(rows) == 0:
        return table
    if issparse(table):
        ones = np.ones(len(rows), dtype=table.dtype)
        return table + csr_matrix((ones, (rows, np.zeros_like(rows))), shape=table.shape)
    copy = table.copy()
    copy[rows, 0] = 1
    return copy
