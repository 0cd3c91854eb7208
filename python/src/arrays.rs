//! Arrays in: borrowed where the library can read them as they are, copied once where it cannot.

use half::f16;
use numpy::{
    Element, PyArray1, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
    PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;
use tilefold::Points;
use tilefold::data::{Indices, SparseRows, SparseValues};

use crate::errors::to_python;

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

/// What a function takes as points: a dense array, or a SciPy matrix in CSR form.
pub(crate) enum Table<'py> {
    Dense(Rows<'py>),
    Sparse(Csr<'py>),
}

impl<'py> Table<'py> {
    /// Sparse is whatever has an `indptr`; its row's columns must ascend strictly.
    pub(crate) fn take(argument: &str, object: &Bound<'py, PyAny>) -> PyResult<Self> {
        if object.hasattr("indptr")? {
            return Ok(Self::Sparse(Csr::take(object)?));
        }
        Ok(Self::Dense(Rows::take(argument, object)?))
    }

    /// What the library reads.
    pub(crate) fn points(&self) -> PyResult<Points<'_>> {
        match self {
            Self::Dense(rows) => Ok(rows.points()),
            Self::Sparse(rows) => rows.points(),
        }
    }

    /// Whether results should be `f32`.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self, Self::Dense(Rows::F32(_)) | Self::Sparse(Csr { values: Values::F32(_), .. }))
    }
}

/// The arrays of a SciPy CSR matrix, held for reading.
pub(crate) struct Csr<'py> {
    columns: usize,
    starts: Integers<'py>,
    indices: Integers<'py>,
    values: Values<'py>,
}

enum Integers<'py> {
    I32(PyReadonlyArray1<'py, i32>),
    I64(PyReadonlyArray1<'py, i64>),
}

enum Values<'py> {
    F32(PyReadonlyArray1<'py, f32>),
    F64(PyReadonlyArray1<'py, f64>),
}

fn one<'py, T: Element>(object: &Bound<'py, PyAny>) -> Option<PyReadonlyArray1<'py, T>> {
    object.cast::<PyArray1<T>>().ok().and_then(|array| array.try_readonly().ok())
}

impl<'py> Integers<'py> {
    fn take(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let array = object.getattr(name)?;
        one(&array).map(Self::I32).or_else(|| one(&array).map(Self::I64)).ok_or_else(|| {
            PyTypeError::new_err(format!("{name}: expected a one-dimensional array of int32 or int64"))
        })
    }

    fn len(&self) -> usize {
        match self {
            Self::I32(array) => array.as_array().len(),
            Self::I64(array) => array.as_array().len(),
        }
    }

    fn get(&self) -> PyResult<Indices<'_>> {
        let flat = |_| PyValueError::new_err("indices: expected contiguous arrays");
        Ok(match self {
            Self::I32(array) => Indices::I32(array.as_slice().map_err(flat)?),
            Self::I64(array) => Indices::I64(array.as_slice().map_err(flat)?),
        })
    }
}

impl<'py> Csr<'py> {
    fn take(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let (rows, columns): (usize, usize) = object.getattr("shape")?.extract()?;
        let data = object.getattr("data")?;
        let values =
            one(&data).map(Values::F32).or_else(|| one(&data).map(Values::F64)).ok_or_else(|| {
                PyTypeError::new_err("data: expected a one-dimensional array of float32 or float64")
            })?;
        let (starts, indices) = (Integers::take("indptr", object)?, Integers::take("indices", object)?);
        if starts.len() != rows + 1 {
            let text = format!("indptr: expected {} offsets for {rows} rows, got {}", rows + 1, starts.len());
            return Err(PyValueError::new_err(text));
        }
        Ok(Self { columns, starts, indices, values })
    }

    fn points(&self) -> PyResult<Points<'_>> {
        let flat = |_| PyValueError::new_err("data: expected a contiguous array");
        let values = match &self.values {
            Values::F32(array) => SparseValues::F32(array.as_slice().map_err(flat)?),
            Values::F64(array) => SparseValues::F64(array.as_slice().map_err(flat)?),
        };
        let rows = SparseRows::new(self.columns, self.starts.get()?, self.indices.get()?, values);
        Ok(Points::Sparse(rows.map_err(to_python)?))
    }
}
