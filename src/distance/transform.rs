//! Rows that turn a metric into the Euclidean one, in `f64`: rows over deviations, rows times a factor of the inverse
//! covariance, square roots; and rows of unit length, and shares of a row's sum.

use ndarray::Array2;
use rayon::prelude::*;

use super::metric::Metric;
use super::params::Constants;
use super::real::Real;
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::{exponent_above, power_of_two, widen_row};
use crate::error::{Error, Result};
use crate::memory::zeroed;

/// Rows that one thread transforms at a time.
const BLOCK_ROWS: usize = 256;

/// A linear map of rows, or a function of each value: distances of what it gives are Euclidean.
pub(super) enum Transform {
    /// Each column times a factor.
    Scaled(Vec<f64>),
    /// Each row times a matrix: (x - offset) F, with F F^T the inverse covariance but for entries of at most `remainder`,
    /// rounding aside.
    Factor { factor: Array2<f64>, remainder: f64 },
    /// Square roots.
    Roots,
}

impl Transform {
    /// That of a metric, or `None` for those that take rows as they are.
    pub(super) fn of(metric: Metric, constants: &Constants) -> Result<Option<Self>> {
        Ok(match (metric, constants) {
            (_, Constants::Variances(variances)) => {
                Some(Self::Scaled(variances.iter().map(|variance| 1.0 / variance.sqrt()).collect()))
            }
            (_, Constants::Inverse(inverse)) => {
                let (factor, remainder) = factor(inverse)?;
                Some(Self::Factor { factor, remainder })
            }
            (Metric::Hellinger, _) => Some(Self::Roots),
            _ => None,
        })
    }

    /// Columns of what it gives, of rows with `depth` features.
    pub(super) fn depth(&self, depth: usize) -> usize {
        match self {
            Self::Factor { factor, .. } => factor.ncols(),
            _ => depth,
        }
    }

    /// The transformed rows; `offset` is taken off first, where the distance does not notice.
    pub(super) fn apply(&self, points: &Points, offset: &[f64], cancel: &Cancel) -> Result<Array2<f64>> {
        let (count, depth) = (points.rows(), self.depth(points.columns()));
        let mut values: Vec<f64> = zeroed("transformed rows", count, depth)?;
        values.par_chunks_mut(BLOCK_ROWS * depth).enumerate().try_for_each(|(block, values)| {
            cancel.check()?;
            let mut wide = vec![0.0; points.columns()];
            for (row, out) in values.chunks_exact_mut(depth).enumerate() {
                widen_row(points, block * BLOCK_ROWS + row, &mut wide);
                self.apply_to(&mut wide, offset, out);
            }
            Ok(())
        })?;
        Array2::from_shape_vec((count, depth), values)
            .map_err(|error| Error::shape("transformed rows", format!("{count} x {depth}"), error))
    }

    fn apply_to(&self, row: &mut [f64], offset: &[f64], out: &mut [f64]) {
        if let Self::Roots = self {
            out.iter_mut().zip(row).for_each(|(out, value)| *out = value.sqrt());
            return;
        }
        row.iter_mut().zip(offset).for_each(|(value, offset)| *value -= offset);
        match self {
            Self::Scaled(factors) => {
                for ((out, value), factor) in out.iter_mut().zip(row).zip(factors) {
                    *out = *value * factor;
                }
            }
            Self::Factor { factor, .. } => {
                out.fill(0.0);
                for (value, factors) in row.iter().zip(factor.outer_iter()) {
                    for (out, factor) in out.iter_mut().zip(factors) {
                        *out += value * factor;
                    }
                }
            }
            Self::Roots => {}
        }
    }
}

/// F with F F^T = `matrix`, and the largest entry of what is left of it: by Cholesky's method with the largest diagonal
/// entry as pivot, which stops where what is left is rounding: so a matrix of lower rank gets fewer columns (at least one). Higham, Accuracy and Stability of
/// Numerical Algorithms, chapter 10.
fn factor(matrix: &Array2<f64>) -> Result<(Array2<f64>, f64)> {
    let size = matrix.nrows();
    let largest = matrix.diag().iter().fold(0.0_f64, |largest, &value| largest.max(value));
    // What rounding of the matrix itself and of the elimination may leave.
    let tolerance = 4.0 * size as f64 * f64::EPSILON * largest;
    let mut left = matrix.clone();
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for _ in 0..size {
        let pivot = (0..size).max_by(|&a, &b| left[[a, a]].total_cmp(&left[[b, b]])).unwrap_or(0);
        if left[[pivot, pivot]] <= tolerance {
            break;
        }
        let root = left[[pivot, pivot]].sqrt();
        let column: Vec<f64> = (0..size).map(|row| left[[row, pivot]] / root).collect();
        for (row, mut entries) in left.outer_iter_mut().enumerate() {
            entries.iter_mut().zip(&column).for_each(|(entry, value)| *entry -= column[row] * value);
        }
        // Eliminated: exactly 0, so that rounding does not bring it back.
        left.row_mut(pivot).fill(0.0);
        left.column_mut(pivot).fill(0.0);
        columns.push(column);
    }
    // An entry off the diagonal that is left where the diagonal is not makes the matrix indefinite as well.
    let slack = size as f64 * tolerance.max(f64::MIN_POSITIVE);
    if let Some(((row, column), &got)) = left.indexed_iter().find(|(_, value)| value.abs() > slack) {
        let expected = "a positive semidefinite matrix; what elimination leaves at this place is not 0";
        return Err(Error::Value { argument: "inverse_covariance", row, column, expected, got });
    }
    let remainder = left.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let rank = columns.len().max(1);
    let factor = Array2::from_shape_fn((size, rank), |(row, column)| {
        columns.get(column).map_or(0.0, |values| values[row])
    });
    Ok((factor, remainder))
}

/// A row divided by its length in `f64`; with `is_centred` its mean is taken off first. What has no direction is
/// refused.
pub(super) fn direction<T: Real>(is_centred: bool, row: &mut [f64], out: &mut [T]) -> Option<&'static str> {
    let peak = peak(row);
    if peak == 0.0 && !is_centred {
        return Some("a row that is not all zeros: cosine needs a direction");
    }
    if is_centred && row.iter().all(|&value| value == row[0]) {
        return Some("a row whose values are not all equal: correlation needs a direction");
    }
    let unit = power_of_two(exponent_above(peak).clamp(-1000, 1000));
    row.iter_mut().for_each(|value| *value /= unit);
    let mut unit = 1.0;
    if is_centred {
        // Twice: what the first mean was off by is left, and far out that is much.
        for _ in 0..2 {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            row.iter_mut().for_each(|value| *value -= mean);
        }
        unit = power_of_two(exponent_above(self::peak(row)).clamp(-1000, 1000));
    }
    let length = row.iter().map(|value| (value / unit) * (value / unit)).sum::<f64>().sqrt();
    for (out, value) in out.iter_mut().zip(row) {
        *out = T::rounded(*value / unit / length);
    }
    None
}

/// A row divided by its sum, times [`Real::SHARES`]; a row of zeros is refused.
pub(super) fn shares<T: Real>(row: &[f64], out: &mut [T]) -> Option<&'static str> {
    let peak = peak(row);
    if peak == 0.0 {
        return Some("a row that is not all zeros: its values are divided by their sum");
    }
    let unit = power_of_two(exponent_above(peak).clamp(-1000, 1000));
    let sum: f64 = row.iter().map(|value| value / unit).sum();
    for (out, value) in out.iter_mut().zip(row) {
        *out = T::rounded(value / unit / sum * T::SHARES);
    }
    None
}

/// The largest magnitude.
fn peak(row: &[f64]) -> f64 {
    row.iter().fold(0.0_f64, |peak, value| peak.max(value.abs()))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_factor_gives_its_matrix_back() {
        let matrices = [
            array![[4.0, 2.0, 0.0], [2.0, 5.0, -3.0], [0.0, -3.0, 9.0]],
            // Rank 1, rank 0.
            array![[1.0, 2.0], [2.0, 4.0]],
            array![[0.0, 0.0], [0.0, 0.0]],
            array![[1e-12, 0.0], [0.0, 1e12]],
        ];
        for matrix in matrices {
            let (factor, remainder) = factor(&matrix).unwrap();
            let again = factor.dot(&factor.t());
            let largest = matrix.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
            assert!(remainder <= 1e-15 * largest, "{matrix}: {remainder}");
            for (found, expected) in again.iter().zip(&matrix) {
                assert!((found - expected).abs() <= 1e-15 * largest, "{matrix} {again}");
            }
        }
        assert_eq!(factor(&array![[1.0, 2.0], [2.0, 4.0]]).unwrap().0.dim(), (2, 1));
    }

    #[test]
    fn indefinite_matrices_are_refused() {
        for matrix in [array![[1.0, 2.0], [2.0, 1.0]], array![[0.0, 1.0], [1.0, 0.0]], array![[-1.0]]] {
            match factor(&matrix) {
                Err(Error::Value { argument: "inverse_covariance", .. }) => {}
                other => panic!("{matrix}: {other:?}"),
            }
        }
    }
}
