"""Integers of 64 bits on their way to float64: what compares or subtracts them must not see them rounded."""

import numpy as np
from scipy.sparse import issparse


def check_exact(name, table):
    """Refuses the first integer that float64 does not hold, with its row and column."""
    if issparse(table):
        if not _may_be_rounded(table.dtype):
            return
        table = table.tocoo()
        place = _first_rounded(table.data)
        if place is not None:
            _refuse(name, table.data[place], table.row[place], table.col[place])
    elif hasattr(table, "dtypes") and hasattr(table, "columns"):
        # Columns of a data frame: an array of all of them may have been rounded already.
        for column, label in enumerate(table.columns):
            values = np.asarray(table[label])
            row = _first_rounded(values) if values.ndim == 1 else None
            if row is not None:
                _refuse(name, values[row], row, column)
    else:
        array = np.asarray(table)
        place = _first_rounded(array.ravel()) if array.ndim == 2 else None
        if place is not None:
            row, column = divmod(int(place), array.shape[1])
            _refuse(name, array[row, column], row, column)


def _may_be_rounded(dtype):
    return dtype.kind in "iu" and dtype.itemsize == 8


def _first_rounded(values):
    """The place of the first integer that needs more than 53 bits."""
    if not _may_be_rounded(values.dtype) or not len(values):
        return None
    if values.max() <= 2**53 and values.min() >= -(2**53):
        return None
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    _, exponents = np.frexp(values.astype(np.float64))
    low = np.left_shift(values.dtype.type(1), np.maximum(exponents - 53, 0).astype(values.dtype)) - 1
    rounded = np.flatnonzero(values & low.astype(values.dtype))
    return rounded[0] if len(rounded) else None


def _refuse(name, value, row, column):
    raise ValueError(
        f"{name}: expected integers that float64 holds, up to 2^53 in magnitude and beyond it those with 53 bits, "
        f"got {value} in row {row}, column {column}"
    )
