//! Rows in compressed form (CSR): what is not stored is 0. Readers widen one block of rows at a time, so the whole is never
//! held dense.

use crate::error::{Error, Result};

/// Offsets or column numbers, as SciPy stores them.
#[derive(Debug, Clone, Copy)]
pub enum Indices<'a> {
    /// 32 bits.
    I32(&'a [i32]),
    /// 64 bits.
    I64(&'a [i64]),
}

/// The stored values.
#[derive(Debug, Clone, Copy)]
pub enum SparseValues<'a> {
    /// Of `f32`.
    F32(&'a [f32]),
    /// Of `f64`.
    F64(&'a [f64]),
}

/// A borrowed table of sparse rows: row i holds `values[starts[i] .. starts[i + 1]]` in the columns of `indices`.
///
/// ```
/// use tilefold::data::{Indices, SparseRows, SparseValues};
///
/// // [[0, 7], [0, 0]]
/// let (starts, indices) = (Indices::I32(&[0, 1, 1]), Indices::I32(&[1]));
/// let rows = SparseRows::new(2, starts, indices, SparseValues::F32(&[7.0]))?;
/// assert_eq!(tilefold::Points::Sparse(rows).rows(), 2);
/// # Ok::<(), tilefold::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SparseRows<'a> {
    columns: usize,
    /// One more than there are rows.
    starts: Indices<'a>,
    indices: Indices<'a>,
    values: SparseValues<'a>,
}

impl Indices<'_> {
    fn len(self) -> usize {
        match self {
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }

    /// The number at a position; negative ones become larger than any table.
    #[inline(always)]
    fn at(self, position: usize) -> usize {
        match self {
            Self::I32(values) => usize::try_from(values[position]).unwrap_or(usize::MAX),
            Self::I64(values) => usize::try_from(values[position]).unwrap_or(usize::MAX),
        }
    }

    fn part(self, start: usize, count: usize) -> Self {
        match self {
            Self::I32(values) => Self::I32(&values[start..start + count]),
            Self::I64(values) => Self::I64(&values[start..start + count]),
        }
    }
}

impl SparseValues<'_> {
    fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    #[inline(always)]
    fn at(self, position: usize) -> f64 {
        match self {
            Self::F32(values) => f64::from(values[position]),
            Self::F64(values) => values[position],
        }
    }
}

impl<'a> SparseRows<'a> {
    /// Checks the three arrays against each other.
    ///
    /// # Errors
    /// [`Error::Shape`] where lengths do not fit, offsets do not ascend, or the columns of a row do not ascend strictly
    /// below `columns`.
    pub fn new(
        columns: usize,
        starts: Indices<'a>,
        indices: Indices<'a>,
        values: SparseValues<'a>,
    ) -> Result<Self> {
        let wrong = |expected: &str, got: String| Err(Error::shape("points", expected, got));
        let stored = values.len();
        if indices.len() != stored {
            let got = format!("{} columns for {stored} values", indices.len());
            return wrong("one column number per stored value", got);
        }
        if starts.len() == 0 || starts.at(0) != 0 {
            return wrong("offsets of rows that begin with 0", format!("{} offsets", starts.len()));
        }
        for row in 0..starts.len() - 1 {
            let (start, end) = (starts.at(row), starts.at(row + 1));
            if !(start <= end && end <= stored) {
                return wrong("offsets of rows that ascend", format!("{start} and {end} in row {row}"));
            }
            let mut next = 0;
            for position in start..end {
                let column = indices.at(position);
                if !(next <= column && column < columns) {
                    let got = format!("column {column} of {columns} in row {row}");
                    return wrong("columns that ascend strictly within each row", got);
                }
                next = column + 1;
            }
        }
        Ok(Self { columns, starts, indices, values })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Whether the values are `f64`.
    pub(crate) fn is_double(&self) -> bool {
        matches!(self.values, SparseValues::F64(_))
    }

    /// The same rows, borrowed for less time.
    pub(crate) fn slice_rows(&self, start: usize, count: usize) -> SparseRows<'_> {
        SparseRows { starts: self.starts.part(start, count + 1), ..self.clone() }
    }

    /// Columns and values that a row stores.
    #[inline(always)]
    pub(crate) fn stored(&self, row: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        (self.starts.at(row)..self.starts.at(row + 1))
            .map(|position| (self.indices.at(position), self.values.at(position)))
    }

    /// One element.
    pub(crate) fn value_at(&self, row: usize, column: usize) -> f64 {
        self.stored(row).find(|(stored, _)| *stored == column).map_or(0.0, |(_, value)| value)
    }

    /// One row with its zeros.
    pub(crate) fn widen_row(&self, row: usize, out: &mut [f64]) {
        out.fill(0.0);
        self.stored(row).for_each(|(column, value)| out[column] = value);
    }

    /// All rows as x' of a frame, see [`super::frame::Frame`]; returns the bits of the largest magnitude.
    pub(crate) fn load(&self, offset: &[f64], scale: f64, out: &mut [f32]) -> u32 {
        let framed = |value: f64, column: usize| ((value - offset[column]) * scale) as f32;
        let zeros: Vec<f32> = (0..self.columns).map(|column| framed(0.0, column)).collect();
        let magnitude = |value: f32| value.to_bits() & 0x7fff_ffff;
        let mut largest = zeros.iter().map(|&value| magnitude(value)).max().unwrap_or(0);
        for (row, out) in out.chunks_exact_mut(self.columns).enumerate() {
            out.copy_from_slice(&zeros);
            for (column, value) in self.stored(row) {
                out[column] = framed(value, column);
                largest = largest.max(magnitude(out[column]));
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_that_do_not_fit_each_other_are_refused() {
        let values = SparseValues::F64(&[1.0, 2.0]);
        let new = |starts, indices| SparseRows::new(3, Indices::I64(starts), Indices::I32(indices), values);
        assert!(new(&[0, 2], &[0, 2]).is_ok() && new(&[0, 0, 2], &[1, 2]).is_ok());
        for (starts, indices) in [
            (&[0_i64, 2][..], &[0_i32][..]),
            (&[0, 2], &[0, 3]),
            (&[0, 2], &[2, 0]),
            (&[0, 2], &[1, 1]),
            (&[0, 2], &[-1, 1]),
            (&[0, 3], &[0, 1]),
            (&[0, 2, 1], &[0, 1]),
            (&[1, 2], &[0, 1]),
            (&[0, -1, 2], &[0, 1]),
            (&[], &[0, 1]),
        ] {
            let error = new(starts, indices).unwrap_err().to_string();
            assert!(error.starts_with("points: expected"), "{starts:?} {indices:?}: {error}");
        }
    }
}
