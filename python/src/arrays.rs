//! Tables in: dense arrays of any element type, and sparse rows.

use half::f16;
use ndarray::{Ix1, Ix2};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use tilefold::Points;
use tilefold::data::{Indices, SparseRows, SparseValues};

use crate::errors::to_python;
use crate::layout::{Held, Readable};

macro_rules! rows {
    ($($variant:ident($type:ty)),* $(,)?) => {
        /// A two-dimensional NumPy array, held for reading.
        pub(crate) enum Rows<'py> {
            $(#[doc = concat!("Of `", stringify!($type), "`.")] $variant(Held<'py, $type, Ix2>),)*
        }

        impl<'py> Rows<'py> {
            /// The array as the library reads it, without a copy.
            pub(crate) fn points(&self) -> Points<'_> {
                match self { $(Self::$variant(array) => array.as_array().into(),)* }
            }

            fn hold(argument: &str, array: &Readable<'py>) -> PyResult<Option<Self>> {
                $(if let Some(array) = array.hold::<$type, Ix2>(argument)? {
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

impl<'py> Rows<'py> {
    /// Takes a two-dimensional array however it lies in memory. bool becomes u8; element types that are no numbers are
    /// refused. `argument` is named in errors.
    pub(crate) fn take(argument: &str, object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let Ok(array) = object.cast::<PyUntypedArray>() else {
            let got = object.get_type().name()?;
            return Err(PyTypeError::new_err(format!("{argument}: expected a NumPy array, got {got}")));
        };
        if array.ndim() != 2 {
            let text = format!("{argument}: expected 2 dimensions, got {}", array.ndim());
            return Err(PyValueError::new_err(text));
        }
        let readable = if array.dtype().kind() == b'b' {
            Readable::new(array.call_method1("astype", ("uint8",))?.cast()?)?
        } else {
            Readable::new(array)?
        };
        Self::hold(argument, &readable)?.ok_or_else(|| {
            let text = format!("{argument}: expected an array of numbers, got {}", array.dtype());
            PyTypeError::new_err(text)
        })
    }
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
    I32(Held<'py, i32, Ix1>),
    I64(Held<'py, i64, Ix1>),
}

enum Values<'py> {
    F32(Held<'py, f32, Ix1>),
    F64(Held<'py, f64, Ix1>),
}

/// An array of a CSR matrix, `None` for what is no array.
fn flat<'py>(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Option<Readable<'py>>> {
    object.getattr(name)?.cast::<PyUntypedArray>().ok().map(Readable::flat).transpose()
}

impl<'py> Integers<'py> {
    fn take(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Some(array) = flat(name, object)? {
            if let Some(held) = array.hold(name)? {
                return Ok(Self::I32(held));
            }
            if let Some(held) = array.hold(name)? {
                return Ok(Self::I64(held));
            }
        }
        Err(PyTypeError::new_err(format!("{name}: expected a one-dimensional array of int32 or int64")))
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

impl<'py> Values<'py> {
    fn take(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Some(array) = flat(name, object)? {
            if let Some(held) = array.hold(name)? {
                return Ok(Self::F32(held));
            }
            if let Some(held) = array.hold(name)? {
                return Ok(Self::F64(held));
            }
        }
        Err(PyTypeError::new_err(format!("{name}: expected a one-dimensional array of float32 or float64")))
    }
}

impl<'py> Csr<'py> {
    fn take(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let (rows, columns): (usize, usize) = object.getattr("shape")?.extract()?;
        let values = Values::take("data", object)?;
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
