"""Sparse matrices on their way in: their arrays have to fit each other, since SciPy reads and writes where they say, and of
more columns than any memory holds one row of, those that hold something are enough."""

import numpy as np
import scipy.sparse as sp

MOST_COLUMNS = np.iinfo(np.int32).max
"""Rows of at most so many columns stay as they are, so that no result depends on which columns are empty."""

_ADDS_NOTHING = {
    "sqeuclidean",
    "euclidean",
    "cosine",
    "inner_product",
    "manhattan",
    "chebyshev",
    "minkowski",
    "canberra",
    "braycurtis",
}
"""Metrics of the library that do not notice a column of zeros: they know neither a mean nor the number of columns."""


def narrowed(core, given, *tables):
    """The tables without the columns that hold no entry in any of them, where they have very many and the metric permits.

    Tables that are not sparse, and None, stay as they are, and so does everything under other metrics or with a parameter per
    column; what does not fit the memory is a `MemoryError` there.
    """
    sparse = [table for table in tables if sp.issparse(table)]
    present = [table for table in tables if table is not None]
    permits = core in _ADDS_NOTHING and not set(given) - {"p"}
    if not permits or len(sparse) < len(present) or sparse[0].shape[1] <= MOST_COLUMNS:
        return tables
    used = np.unique(np.concatenate([table.indices for table in sparse]))
    # A table without a column is none.
    used = used if len(used) else np.zeros(1, dtype=np.int64)
    return tuple(None if table is None else _of_columns(table, used) for table in tables)


def _of_columns(table, used):
    """The columns `used` of a CSR matrix, which are all that it has entries in."""
    indices = np.searchsorted(used, table.indices)
    return sp.csr_matrix((table.data, indices, table.indptr), shape=(table.shape[0], len(used)))


def check_sparse(name, table):
    """Refuses compressed rows, columns or blocks, and coordinates, that reach beyond the table or its arrays."""
    if not sp.issparse(table) or table.ndim != 2:
        return
    rows, columns = table.shape
    if table.format == "coo":
        for axis, indices, size in (("row", table.row, rows), ("col", table.col, columns)):
            _check_length(name, axis, indices, len(table.data))
            _check_range(name, axis, indices, size)
    elif table.format in ("csr", "csc", "bsr"):
        height, width = table.blocksize if table.format == "bsr" else (1, 1)
        outer, inner = (columns, rows) if table.format == "csc" else (rows // height, columns // width)
        _check_compressed(name, table, outer, inner)


def _check_compressed(name, table, outer, inner):
    indptr, indices, data = table.indptr, table.indices, table.data
    _check_length(name, "indptr", indptr, outer + 1)
    _check_length(name, "indices", indices, len(data))
    falling = np.flatnonzero(indptr[1:] < indptr[:-1])
    if indptr[0] != 0 or len(falling):
        got = f"{indptr[falling[0] + 1]} after {indptr[falling[0]]}" if indptr[0] == 0 else f"{indptr[0]} first"
        raise ValueError(f"{name}: expected an indptr that begins with 0 and never falls, got {got}")
    if indptr[-1] > len(indices):
        raise ValueError(f"{name}: expected an indptr up to {len(indices)}, the stored values, got {indptr[-1]}")
    _check_range(name, "indices", indices[: indptr[-1]], inner)


def _check_length(name, part, array, length):
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected {part} in one dimension of integers, got {array.ndim} of {array.dtype}")
    if len(array) != length:
        raise ValueError(f"{name}: expected {length} {part}, got {len(array)}")


def _check_range(name, part, indices, size):
    if len(indices) and not (indices.min() >= 0 and indices.max() < size):
        place = np.flatnonzero((indices < 0) | (indices >= size))[0]
        raise ValueError(f"{name}: expected {part} from 0 to {size - 1}, got {indices[place]} at place {place}")
