"""Sparse matrices on their way in: their arrays have to fit each other, since SciPy reads and writes where they say."""

import numpy as np
from scipy.sparse import issparse


def check_sparse(name, table):
    """Refuses compressed rows, columns or blocks, and coordinates, that reach beyond the table or its arrays."""
    if not issparse(table) or table.ndim != 2:
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
