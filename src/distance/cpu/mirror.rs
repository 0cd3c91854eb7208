//! The part of a symmetric matrix below the diagonal, from the part above it.

use ndarray::{ArrayView2, ArrayViewMut2, Axis};

use crate::cancel::Cancel;

/// Rows and columns that are copied entry by entry: both sides fit a cache.
const BLOCK: usize = 32;

/// Overwrites all entries below the diagonal of a square matrix with those across it. Once `cancel` is set the rest is left
/// as it is.
pub(super) fn below_from_above<T: Copy + Send + Sync>(matrix: ArrayViewMut2<T>, cancel: &Cancel) {
    let size = matrix.nrows();
    if cancel.is_cancelled() {
        return;
    }
    if size <= BLOCK {
        let mut matrix = matrix;
        for row in 0..size {
            for column in 0..row {
                matrix[[row, column]] = matrix[[column, row]];
            }
        }
        return;
    }
    // The corner on the lower left is the transpose of the one on the upper right; the other two are matrices like this.
    let half = (size / 2).next_multiple_of(BLOCK);
    let (above, below) = matrix.split_at(Axis(0), half);
    let (first, right) = above.split_at(Axis(1), half);
    let (left, second) = below.split_at(Axis(1), half);
    rayon::join(
        || turn(right.view(), left, cancel),
        || rayon::join(|| below_from_above(first, cancel), || below_from_above(second, cancel)),
    );
}

/// Fills `to` with the transpose of `from`.
fn turn<T: Copy + Send + Sync>(from: ArrayView2<T>, mut to: ArrayViewMut2<T>, cancel: &Cancel) {
    let (rows, columns) = to.dim();
    if cancel.is_cancelled() {
        return;
    }
    if rows <= BLOCK && columns <= BLOCK {
        to.assign(&from.t());
        return;
    }
    let (axis, other) = if rows >= columns { (Axis(0), Axis(1)) } else { (Axis(1), Axis(0)) };
    let half = (to.len_of(axis) / 2).next_multiple_of(BLOCK);
    let (to_first, to_second) = to.split_at(axis, half);
    let (from_first, from_second) = from.split_at(other, half);
    rayon::join(|| turn(from_first, to_first, cancel), || turn(from_second, to_second, cancel));
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn every_entry_below_is_the_one_across() {
        for size in [1, 2, 31, 32, 33, 64, 65, 97, 200] {
            let mut matrix =
                Array2::from_shape_fn((size, size), |(i, j)| if j >= i { i * 1000 + j } else { 0 });
            let expected =
                Array2::from_shape_fn(
                    (size, size),
                    |(i, j)| if j >= i { i * 1000 + j } else { j * 1000 + i },
                );
            below_from_above(matrix.view_mut(), &Cancel::new());
            assert_eq!(matrix, expected, "{size}");
        }
    }
}
