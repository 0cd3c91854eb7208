//! Given dissimilarities: what callers hand over, and what is checked before anything uses it.

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use super::entry::Entry;
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::widen_row;
use crate::error::{Error, Result};
use crate::memory::{area, collected, filled, refused, zeros};

/// Dissimilarities of n objects: entry (i, j) is what object i costs where object j is its medoid. They need not be
/// symmetric, keep the triangle inequality or be 0 on the diagonal. Negative ones are taken by all methods but those that
/// maximise silhouettes.
///
/// Infinity says that no medoid j can stand for i. Methods that minimise the sum take it: of two sums the one with fewer
/// infinite terms is smaller, then the one whose finite terms are. Silhouettes have no value where both distances are
/// infinite, and [`Method::OneBatch`](super::Method::OneBatch) has no object of the sample that stands for what is
/// infinitely far from all: both refuse it.
///
/// ```
/// use tilefold::kmedoids::Dissimilarities;
/// let square = Dissimilarities::from(ndarray::array![[0, 2], [2, 0]].view());
/// let packed = Dissimilarities::lower_triangle(2, &[2.0_f32])?;
/// assert_eq!((square.objects(), packed.objects()), (2, 2));
/// # Ok::<(), tilefold::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Dissimilarities<'a> {
    pub(super) values: Values<'a>,
}

/// The types that swaps are computed in. Everything else is widened to one of them without rounding.
#[derive(Debug, Clone)]
pub(super) enum Values<'a> {
    F32(Matrix<'a, f32>),
    F64(Matrix<'a, f64>),
    /// A matrix that there is no memory for: so many bytes.
    TooLarge {
        objects: usize,
        bytes: u64,
    },
}

impl Values<'_> {
    fn too_large(objects: usize, columns: usize) -> Self {
        Self::TooLarge { objects, bytes: area::<f64>(objects, columns) }
    }
}

/// The error of a matrix that there was no memory for.
pub(super) fn too_large(objects: usize, bytes: u64) -> Error {
    refused(&format!("a matrix of {objects} objects in another type"), bytes)
}

/// A matrix in another type.
fn widened<T: Copy, U>(view: &ArrayView2<T>, wide: impl Fn(T) -> U) -> Result<Array2<U>> {
    let values = collected("a matrix in another type", view.iter().map(|&value| wide(value)))?;
    let failed =
        |error| Error::shape("dissimilarities", format!("{} x {}", view.nrows(), view.ncols()), error);
    Array2::from_shape_vec(view.dim(), values).map_err(failed)
}

/// A matrix of the caller's or one of ours.
#[derive(Debug, Clone)]
pub(super) enum Matrix<'a, T> {
    Borrowed(ArrayView2<'a, T>),
    Owned(Array2<T>),
}

impl<T> Matrix<'_, T> {
    pub fn view(&self) -> ArrayView2<'_, T> {
        match self {
            Self::Borrowed(view) => view.view(),
            Self::Owned(array) => array.view(),
        }
    }
}

impl<'a> From<ArrayView2<'a, f32>> for Dissimilarities<'a> {
    fn from(view: ArrayView2<'a, f32>) -> Self {
        Self { values: Values::F32(Matrix::Borrowed(view)) }
    }
}

impl<'a> From<ArrayView2<'a, f64>> for Dissimilarities<'a> {
    fn from(view: ArrayView2<'a, f64>) -> Self {
        Self { values: Values::F64(Matrix::Borrowed(view)) }
    }
}

impl From<ArrayView2<'_, i32>> for Dissimilarities<'_> {
    fn from(view: ArrayView2<'_, i32>) -> Self {
        // 24 bits of a number are what f32 holds.
        let is_short = view.iter().all(|value| value.unsigned_abs() <= 1 << 24);
        let values = if is_short {
            widened(&view, |value| value as f32).map(|wide| Values::F32(Matrix::Owned(wide)))
        } else {
            widened(&view, f64::from).map(|wide| Values::F64(Matrix::Owned(wide)))
        };
        Self { values: values.unwrap_or_else(|_| Values::too_large(view.nrows(), view.ncols())) }
    }
}

impl<'a> From<Points<'a>> for Dissimilarities<'a> {
    /// A table that holds a matrix, such as one read from a file. Integers beyond 2^53 round to the nearest `f64`.
    fn from(table: Points<'a>) -> Self {
        use crate::data::ElementType::{F64, I32, I64, U32, U64};
        match table {
            Points::F32(view) => view.into(),
            Points::F64(view) => view.into(),
            Points::I32(view) => view.into(),
            table => {
                let is_wide = matches!(table.element_type(), F64 | I32 | I64 | U32 | U64);
                let Ok(mut wide) = zeros("a matrix", table.rows(), table.columns()) else {
                    return Self { values: Values::too_large(table.rows(), table.columns()) };
                };
                for (row, mut out) in wide.outer_iter_mut().enumerate() {
                    if let Some(out) = out.as_slice_mut() {
                        widen_row(&table, row, out);
                    }
                }
                let values = if is_wide {
                    Values::F64(Matrix::Owned(wide))
                } else {
                    widened(&wide.view(), |value| value as f32).map_or_else(
                        |_| Values::too_large(table.rows(), table.columns()),
                        |narrow| Values::F32(Matrix::Owned(narrow)),
                    )
                };
                Self { values }
            }
        }
    }
}

/// A number of a packed triangle.
pub trait Number: Copy + Default {
    #[doc(hidden)]
    fn square<'a>(square: Array2<Self>) -> Dissimilarities<'a>;
}

impl Number for f32 {
    fn square<'a>(square: Array2<Self>) -> Dissimilarities<'a> {
        Dissimilarities { values: Values::F32(Matrix::Owned(square)) }
    }
}

impl Number for f64 {
    fn square<'a>(square: Array2<Self>) -> Dissimilarities<'a> {
        Dissimilarities { values: Values::F64(Matrix::Owned(square)) }
    }
}

impl Number for i32 {
    fn square<'a>(square: Array2<Self>) -> Dissimilarities<'a> {
        square.view().into()
    }
}

impl Dissimilarities<'_> {
    /// Symmetric dissimilarities from what is below the diagonal, row by row: (1, 0), (2, 0), (2, 1), (3, 0), and so on,
    /// with zeros on the diagonal.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are n (n - 1) / 2 values; [`Error::TooLarge`] beyond the memory.
    pub fn lower_triangle<T: Number>(objects: usize, values: &[T]) -> Result<Self> {
        let needed = objects.checked_mul(objects.saturating_sub(1)).map(|twice| twice / 2);
        if needed != Some(values.len()) {
            let needed = needed.map_or("more than 2^64".to_owned(), |needed| needed.to_string());
            let expected = format!("{needed} values, n (n - 1) / 2 for {objects} objects");
            return Err(Error::shape("dissimilarities", expected, format!("{} values", values.len())));
        }
        let square = filled("the square matrix", objects * objects, T::default())?;
        let mut square = Array2::from_shape_vec((objects, objects), square)
            .map_err(|error| Error::shape("dissimilarities", format!("{objects} x {objects}"), error))?;
        let mut rest = values;
        for row in 0..objects {
            let (entries, after) = rest.split_at(row);
            rest = after;
            for (column, &value) in entries.iter().enumerate() {
                square[[row, column]] = value;
                square[[column, row]] = value;
            }
        }
        Ok(T::square(square))
    }

    /// Number of objects: rows.
    pub fn objects(&self) -> usize {
        match &self.values {
            Values::F32(matrix) => matrix.view().nrows(),
            Values::F64(matrix) => matrix.view().nrows(),
            Values::TooLarge { objects, .. } => *objects,
        }
    }
}

/// What was found out about a matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked {
    /// The largest magnitude that is finite.
    pub largest: f64,
    /// Whether any value is infinite.
    pub has_infinite: bool,
    /// Whether any value is below 0.
    pub has_negative: bool,
    /// Whether entries equal those across the diagonal.
    pub is_symmetric: bool,
}

impl Checked {
    /// Of no values.
    pub const NOTHING: Self =
        Self { largest: 0.0, has_infinite: false, has_negative: false, is_symmetric: true };
}

/// Rows and columns of a block that is compared with the one across the diagonal.
const BLOCK: usize = 64;

/// Checks a matrix: square, and numbers, none of which is infinite below 0.
pub(super) fn check<T: Entry>(matrix: &ArrayView2<T>, cancel: &Cancel) -> Result<Checked> {
    let (rows, columns) = matrix.dim();
    if rows != columns || rows == 0 {
        let got = format!("{rows} x {columns}");
        return Err(Error::shape("dissimilarities", "a square matrix of at least 1 object", got));
    }
    let starts: Vec<usize> = (0..rows).step_by(BLOCK).collect();
    let parts = starts.par_iter().map(|&first| {
        cancel.check()?;
        let last = (first + BLOCK).min(rows);
        let mut checked = Checked::NOTHING;
        for row in first..last {
            let mut is_finite = true;
            let mut largest = 0.0_f64;
            for &value in &matrix.row(row) {
                let value = value.wide();
                is_finite &= value.is_finite();
                checked.has_negative |= value < 0.0;
                largest = largest.max(value.abs());
            }
            if !is_finite {
                largest = 0.0;
                for (column, value) in matrix.row(row).iter().map(|value| value.wide()).enumerate() {
                    if value.is_nan() || value == f64::NEG_INFINITY {
                        let expected = "a finite number, or infinity above 0";
                        let argument = "dissimilarities";
                        return Err(Error::Value { argument, row, column, expected, got: value });
                    }
                    largest = if value.is_finite() { largest.max(value.abs()) } else { largest };
                }
                checked.has_infinite = true;
            }
            checked.largest = checked.largest.max(largest);
        }
        for other in (0..last).step_by(BLOCK) {
            if !checked.is_symmetric {
                break;
            }
            for row in first..last {
                for column in other..(other + BLOCK).min(row) {
                    checked.is_symmetric &= matrix[[row, column]] == matrix[[column, row]];
                }
            }
        }
        Ok(checked)
    });
    parts.try_reduce(
        || Checked::NOTHING,
        |a, b| {
            Ok(Checked {
                largest: a.largest.max(b.largest),
                has_infinite: a.has_infinite || b.has_infinite,
                has_negative: a.has_negative || b.has_negative,
                is_symmetric: a.is_symmetric && b.is_symmetric,
            })
        },
    )
}

/// The error for a row that holds NaN or infinity.
pub(super) fn not_finite<T: Entry>(argument: &'static str, row: usize, values: &[T]) -> Error {
    let position = values.iter().position(|value| !value.wide().is_finite());
    let column = position.unwrap_or_default();
    Error::Value { argument, row, column, expected: "a finite number", got: values[column].wide() }
}
