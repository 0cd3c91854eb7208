"""Sparse rows of more columns than any memory holds one row of: the columns that hold something are enough."""

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
