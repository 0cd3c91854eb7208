//! Arrays in: borrowed where the library can read them as they are, copied once where it cannot.

use half::f16;
use numpy::{
    Element, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray2, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;
use tilefold::Points;

macro_rules! rows {
    ($($variant:ident($type:ty)),* $(,)?) => {
        /// A two-dimensional NumPy array, held for reading.
        pub(crate) enum Rows<'py> {
            $(#[doc = concat!("Of `", stringify!($type), "`.")] $variant(PyReadonlyArray2<'py, $type>),)*
        }

        impl<'py> Rows<'py> {
            /// The array as the library reads it, without a copy.
            pub(crate) fn points(&self) -> Points<'_> {
                match self { $(Self::$variant(array) => array.as_array().into(),)* }
            }

            fn borrow(array: &Bound<'py, PyUntypedArray>) -> PyResult<Option<Self>> {
                $(if let Some(array) = typed::<$type>(array)? {
                    return Ok(Some(Self::$variant(array)));
                })*
                Ok(None)
            }
        }
    };
}

rows! {
    F32(f32), F64(f64), F16(f16), U8(u8), I8(i8), U16(u16), I16(i16), U32(u32), I32(i32), U64(u64), I64(i64),
}

fn typed<'py, T: Element>(array: &Bound<'py, PyUntypedArray>) -> PyResult<Option<PyReadonlyArray2<'py, T>>> {
    let wanted = numpy::dtype::<T>(array.py());
    if !array.dtype().is_equiv_to(&wanted) {
        return Ok(None);
    }
    let array = array.cast::<numpy::PyArray2<T>>()?;
    Ok(Some(array.try_readonly().map_err(|error| PyValueError::new_err(error.to_string()))?))
}

impl<'py> Rows<'py> {
    /// Takes a two-dimensional array of any strides. Unaligned and byte-swapped ones are copied, bool becomes u8; other
    /// element types are refused. `argument` is named in errors.
    pub(crate) fn take(argument: &str, object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let Ok(array) = object.cast::<PyUntypedArray>() else {
            let got = object.get_type().name()?;
            return Err(PyTypeError::new_err(format!("{argument}: expected a NumPy array, got {got}")));
        };
        if array.ndim() != 2 {
            let text = format!("{argument}: expected 2 dimensions, got {}", array.ndim());
            return Err(PyValueError::new_err(text));
        }
        if is_readable(array)
            && let Some(rows) = Self::borrow(array)?
        {
            return Ok(rows);
        }
        let copy = native_copy(array)?;
        Self::borrow(&copy)?.ok_or_else(|| {
            let text = format!("{argument}: expected an array of numbers, got {}", array.dtype());
            PyTypeError::new_err(text)
        })
    }
}

/// Whether each element lies where Rust may read it.
fn is_readable(array: &Bound<'_, PyUntypedArray>) -> bool {
    let size = array.dtype().itemsize() as isize;
    let aligned =
        array.getattr("flags").and_then(|flags| flags.getattr("aligned")?.extract()).unwrap_or(false);
    aligned && size > 0 && array.strides().iter().all(|stride| stride % size == 0)
}

/// The same numbers, aligned and in the machine's byte order.
fn native_copy<'py>(array: &Bound<'py, PyUntypedArray>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = array.py();
    let numpy = py.import("numpy")?;
    let dtype = match array.dtype().kind() {
        b'b' => numpy.getattr("uint8")?,
        _ => array.dtype().call_method1("newbyteorder", ("=",))?,
    };
    let options = [("dtype", dtype), ("order", "C".into_pyobject(py)?.into_any())].into_py_dict(py)?;
    Ok(numpy.call_method("array", (array,), Some(&options))?.cast_into::<PyUntypedArray>()?)
}
