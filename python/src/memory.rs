//! Copies of results that may not fit the memory: `MemoryError`, never the end of the process.

use ndarray::Array2;
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;

/// The values of an iterator that knows their number; `what` is named in the error.
pub(crate) fn collected<T>(what: &str, values: impl ExactSizeIterator<Item = T>) -> PyResult<Vec<T>> {
    let mut all = Vec::new();
    all.try_reserve_exact(values.len()).map_err(|_| refused::<T>(what, values.len()))?;
    all.extend(values);
    Ok(all)
}

/// A matrix in another type.
pub(crate) fn mapped<T: Copy, U>(
    what: &str,
    matrix: &Array2<T>,
    map: impl Fn(T) -> U,
) -> PyResult<Array2<U>> {
    let values = match matrix.as_slice() {
        Some(values) => collected(what, values.iter().map(|&value| map(value)))?,
        None => collected(what, matrix.iter().map(|&value| map(value)))?,
    };
    Array2::from_shape_vec(matrix.dim(), values)
        .map_err(|error| PyValueError::new_err(format!("{what}: {error}")))
}

/// A matrix whose entries follow from their places.
pub(crate) fn filled<T>(
    what: &str,
    (rows, columns): (usize, usize),
    entry: impl Fn(usize, usize) -> T,
) -> PyResult<Array2<T>> {
    let mut values = Vec::new();
    let count = rows.saturating_mul(columns);
    values.try_reserve_exact(count).map_err(|_| refused::<T>(what, count))?;
    (0..rows).for_each(|row| values.extend((0..columns).map(|column| entry(row, column))));
    Array2::from_shape_vec((rows, columns), values)
        .map_err(|error| PyValueError::new_err(format!("{what}: {error}")))
}

fn refused<T>(what: &str, count: usize) -> PyErr {
    let bytes = count.saturating_mul(size_of::<T>());
    PyMemoryError::new_err(format!("{what}: needs {bytes} bytes, which the system has no memory for"))
}

/// Whether the system has room for so many bytes, which are about to be allocated. Nothing is kept.
pub(crate) fn ask(what: &str, bytes: usize) -> PyResult<()> {
    let mut room: Vec<u8> = Vec::new();
    room.try_reserve_exact(bytes).map_err(|_| refused::<u8>(what, bytes))?;
    // Else the optimiser leaves out a request of which nothing is used.
    std::hint::black_box(room.as_ptr());
    Ok(())
}
