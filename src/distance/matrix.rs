//! What is handed out: whole matrices, borrowed ones, and blocks of rows.

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

/// A matrix of `f32` or `f64`, whichever the input's element types ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Matrix {
    /// For inputs of at most 32-bit floats and 16-bit integers.
    F32(Array2<f32>),
    /// For inputs of which one has `f64` or 32- or 64-bit integers.
    F64(Array2<f64>),
}

impl Matrix {
    /// (rows, columns).
    pub fn dim(&self) -> (usize, usize) {
        self.view().dim()
    }

    /// A borrow of all of it.
    pub fn view(&self) -> MatrixView<'_> {
        match self {
            Self::F32(array) => MatrixView::F32(array.view()),
            Self::F64(array) => MatrixView::F64(array.view()),
        }
    }

    /// The array, if it is one of `f32`.
    pub fn as_f32(&self) -> Option<&Array2<f32>> {
        match self {
            Self::F32(array) => Some(array),
            Self::F64(_) => None,
        }
    }

    /// The array, if it is one of `f64`.
    pub fn as_f64(&self) -> Option<&Array2<f64>> {
        match self {
            Self::F32(_) => None,
            Self::F64(array) => Some(array),
        }
    }

    /// The values in `f64`; `f32` ones are widened without rounding.
    pub fn into_f64(self) -> Array2<f64> {
        match self {
            Self::F32(array) => array.mapv(f64::from),
            Self::F64(array) => array,
        }
    }
}

/// A borrowed matrix of `f32` or `f64`.
#[derive(Debug, Clone)]
pub enum MatrixView<'a> {
    /// Values of `f32`.
    F32(ArrayView2<'a, f32>),
    /// Values of `f64`.
    F64(ArrayView2<'a, f64>),
}

impl MatrixView<'_> {
    /// (rows, columns).
    pub fn dim(&self) -> (usize, usize) {
        match self {
            Self::F32(view) => view.dim(),
            Self::F64(view) => view.dim(),
        }
    }
}

/// A caller's array to fill. One of `f64` asks for results in `f64` whatever the input is.
#[derive(Debug)]
pub enum MatrixViewMut<'a> {
    /// Values of `f32`.
    F32(ArrayViewMut2<'a, f32>),
    /// Values of `f64`.
    F64(ArrayViewMut2<'a, f64>),
}

impl<'a> From<ArrayViewMut2<'a, f32>> for MatrixViewMut<'a> {
    fn from(view: ArrayViewMut2<'a, f32>) -> Self {
        Self::F32(view)
    }
}

impl<'a> From<ArrayViewMut2<'a, f64>> for MatrixViewMut<'a> {
    fn from(view: ArrayViewMut2<'a, f64>) -> Self {
        Self::F64(view)
    }
}

impl MatrixViewMut<'_> {
    /// (rows, columns).
    pub fn dim(&self) -> (usize, usize) {
        match self {
            Self::F32(view) => view.dim(),
            Self::F64(view) => view.dim(),
        }
    }
}

/// A whole matrix and who computed it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Distances {
    /// Entry (i, j) belongs to row i of X and row j of Y.
    pub matrix: Matrix,
    /// The device in words. Where a GPU was chosen and `f64` results were asked for, it says that the CPU gave them.
    pub device: String,
}

/// What a call that fills a caller's array or a sink reports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filled {
    /// Rows that were computed.
    pub rows: usize,
    /// Columns of each.
    pub columns: usize,
    /// The device in words, as [`Distances::device`].
    pub device: String,
}

/// Some consecutive rows of a matrix that is never held whole.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RowBlock<'a> {
    /// Row of the whole matrix that `values` starts with.
    pub first_row: usize,
    /// The rows, in standard layout.
    pub values: MatrixView<'a>,
}
