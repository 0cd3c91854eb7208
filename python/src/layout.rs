//! The one way of NumPy's arrays in and out. Rust reads and writes an array in place where each element lies at a multiple
//! of its size, aligned and in the machine's byte order. Any other array is copied on the way in; on the way out its copy
//! is written, and copied back once the work is done.

use ndarray::{ArrayViewMut2, Dimension, Ix2};
use numpy::{
    BorrowError, Element, PyArray, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray, PyReadwriteArray2,
    PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;

/// An array held for reading.
pub(crate) type Held<'py, T, D> = PyReadonlyArray<'py, T, D>;

/// An array that Rust can read: the caller's, or a copy of it.
pub(crate) struct Readable<'py>(Bound<'py, PyUntypedArray>);

impl<'py> Readable<'py> {
    pub(crate) fn new(array: &Bound<'py, PyUntypedArray>) -> PyResult<Self> {
        Ok(Self(if fits(array) { array.clone() } else { native_copy(array)? }))
    }

    /// The same without gaps between elements.
    pub(crate) fn flat(array: &Bound<'py, PyUntypedArray>) -> PyResult<Self> {
        if array.is_c_contiguous() { Self::new(array) } else { Ok(Self(native_copy(array)?)) }
    }

    /// The array where it holds `T` in `D` dimensions.
    pub(crate) fn hold<T: Element, D: Dimension>(&self, argument: &str) -> PyResult<Option<Held<'py, T, D>>> {
        let Ok(array) = self.0.cast::<PyArray<T, D>>() else { return Ok(None) };
        Ok(Some(array.try_readonly().map_err(|error| refused(argument, &error))?))
    }
}

/// An array of float64 in one or two dimensions, held for reading.
pub(crate) fn floats<'py, D: Dimension>(
    argument: &str,
    object: &Bound<'py, PyAny>,
) -> PyResult<Held<'py, f64, D>> {
    let held = match object.cast::<PyUntypedArray>() {
        Ok(array) => Readable::new(array)?.hold(argument)?,
        Err(_) => None,
    };
    let expected = if D::NDIM == Some(1) { "one-dimensional" } else { "two-dimensional" };
    held.ok_or_else(|| {
        let got = described(object);
        PyTypeError::new_err(format!("{argument}: expected a {expected} array of float64, got {got}"))
    })
}

/// What an argument is, in words.
pub(crate) fn described(object: &Bound<'_, PyAny>) -> String {
    match object.cast::<PyUntypedArray>() {
        Ok(array) => format!("{} dimensions of {}", array.ndim(), array.dtype()),
        Err(_) => object.get_type().name().map_or_else(|_| "no array".into(), |name| name.to_string()),
    }
}

/// A two-dimensional array that Rust can write: the caller's, or a copy of it that is brought back in the end.
pub(crate) struct Writable<'py> {
    array: Bound<'py, PyUntypedArray>,
    /// The caller's, where `array` is a copy.
    target: Option<Bound<'py, PyUntypedArray>>,
}

impl<'py> Writable<'py> {
    /// Refuses arrays that may not be written, or of which two elements lie in the same bytes.
    pub(crate) fn new(argument: &str, array: &Bound<'py, PyUntypedArray>) -> PyResult<Self> {
        if !array.getattr("flags")?.getattr("writeable")?.extract()? {
            return Err(refused(argument, &BorrowError::NotWriteable));
        }
        if overlaps_itself(array) {
            return Err(shared(argument));
        }
        if fits(array) {
            return Ok(Self { array: array.clone(), target: None });
        }
        Ok(Self { array: native_copy(array)?, target: Some(array.clone()) })
    }

    /// Several arrays, which may share no bytes with each other.
    pub(crate) fn several(argument: &str, arrays: &[Bound<'py, PyUntypedArray>]) -> PyResult<Vec<Self>> {
        let taken: Vec<_> = arrays.iter().map(|array| Self::new(argument, array)).collect::<PyResult<_>>()?;
        // Arrays that are all written in place are told apart when they are held.
        if taken.iter().any(|taken| taken.target.is_some()) {
            for (place, array) in arrays.iter().enumerate() {
                for other in &arrays[..place] {
                    if shares(array, other)? {
                        return Err(shared(argument));
                    }
                }
            }
        }
        Ok(taken)
    }

    /// The array where it holds `T`, for writing.
    pub(crate) fn hold<T: Element>(&self, argument: &str) -> PyResult<Option<PyReadwriteArray2<'py, T>>> {
        let Ok(array) = self.array.cast::<PyArray<T, Ix2>>() else { return Ok(None) };
        Ok(Some(array.try_readwrite().map_err(|error| refused(argument, &error))?))
    }

    /// Brings what was written to the caller's array.
    pub(crate) fn finish(&self) -> PyResult<()> {
        if let Some(target) = &self.target {
            target.py().import("numpy")?.call_method1("copyto", (target, &self.array))?;
        }
        Ok(())
    }
}

/// What is written in a held array. ndarray takes the strides of an array without elements for overlapping ones.
pub(crate) fn view_mut<'a, T: Element>(held: &'a mut PyReadwriteArray2<'_, T>) -> ArrayViewMut2<'a, T> {
    match ArrayViewMut2::from_shape(held.dims(), &mut []) {
        Ok(empty) => empty,
        Err(_) => held.as_array_mut(),
    }
}

/// Whether Rust can read each element where it lies. Arrays without elements may lie nowhere.
fn fits(array: &Bound<'_, PyUntypedArray>) -> bool {
    let dtype = array.dtype();
    let size = dtype.itemsize() as isize;
    size > 0
        && !array.is_empty()
        && array.is_aligned()
        && dtype.is_native_byteorder() != Some(false)
        && array.strides().iter().all(|stride| stride % size == 0)
}

/// The same numbers without gaps, aligned and in the machine's byte order. bool, which the library reads as bytes of 0 and
/// 1, stays bool.
fn native_copy<'py>(array: &Bound<'py, PyUntypedArray>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = array.py();
    let dtype = array.dtype().call_method1("newbyteorder", ("=",))?;
    let options = [("dtype", dtype), ("order", "C".into_pyobject(py)?.into_any())].into_py_dict(py)?;
    let copy = py.import("numpy")?.call_method("array", (array,), Some(&options))?;
    Ok(copy.cast_into::<PyUntypedArray>()?)
}

/// Whether two elements may lie in the same bytes: whether an axis, from the least stride on, goes as far as the next.
fn overlaps_itself(array: &Bound<'_, PyUntypedArray>) -> bool {
    if array.is_empty() {
        return false;
    }
    let mut axes: Vec<(usize, usize)> = array
        .strides()
        .iter()
        .zip(array.shape())
        .filter(|(_, length)| **length > 1)
        .map(|(stride, length)| (stride.unsigned_abs(), *length))
        .collect();
    axes.sort_unstable();
    let mut reach = array.dtype().itemsize();
    for (stride, length) in axes {
        if stride < reach {
            return true;
        }
        reach = reach.saturating_add(stride.saturating_mul(length - 1));
    }
    false
}

/// Whether two arrays have bytes in common; what NumPy cannot tell in reasonable time counts as such.
fn shares(array: &Bound<'_, PyUntypedArray>, other: &Bound<'_, PyUntypedArray>) -> PyResult<bool> {
    const MOST_WORK: usize = 1_000_000;
    let numpy = array.py().import("numpy")?;
    match numpy.call_method1("shares_memory", (array, other, MOST_WORK)) {
        Ok(answer) => answer.extract(),
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyRuntimeError>(array.py()) => Ok(true),
        Err(error) => Err(error),
    }
}

fn shared(argument: &str) -> PyErr {
    PyValueError::new_err(format!(
        "{argument}: expected elements of its own, got an array that shares some with itself or another array in use"
    ))
}

fn refused(argument: &str, error: &BorrowError) -> PyErr {
    match error {
        BorrowError::NotWriteable => {
            PyValueError::new_err(format!("{argument}: expected an array to write to, got a read-only one"))
        }
        _ => shared(argument),
    }
}
