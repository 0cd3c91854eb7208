//! Integers of 64 bits that `f64` does not hold: nothing that compares or subtracts may round them.

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::Points;
use crate::error::{Error, Result};

/// Refuses the first integer that is rounded when it widens to `f64`.
pub(crate) fn check_exact(argument: &'static str, points: &Points) -> Result<()> {
    let first = match points {
        Points::U64(view) => first_rounded(view, |value| u128::from(value) == value as f64 as u128),
        Points::I64(view) => first_rounded(view, |value| i128::from(value) == value as f64 as i128),
        _ => None,
    };
    first.map_or(Ok(()), |(row, column, value)| {
        let rule = "integers that f64 holds: up to 2^53 in magnitude, and beyond it those with 53 bits";
        Err(Error::parameter(argument, rule, format!("{value} in row {row}, column {column}")))
    })
}

fn first_rounded<T: Copy + Sync + ToString>(
    view: &ArrayView2<'_, T>,
    is_exact: impl Fn(T) -> bool + Sync,
) -> Option<(usize, usize, String)> {
    let of_row = |row: usize| {
        let column = view.row(row).iter().position(|&value| !is_exact(value))?;
        Some((row, column, view[[row, column]].to_string()))
    };
    (0..view.nrows()).into_par_iter().with_min_len(64).find_map_first(of_row)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn refused(points: Points) -> Option<String> {
        check_exact("x", &points).err().map(|error| error.to_string())
    }

    #[test]
    fn integers_are_refused_exactly_where_f64_rounds_them() {
        let exact = array![[i64::MIN, -(1 << 53), 0], [1 << 53, (1 << 62) + (1 << 10), (1 << 60) - (1 << 7)]];
        assert_eq!(refused(exact.view().into()), None);
        assert_eq!(refused(array![[u64::MAX - 2047, 1 << 63]].view().into()), None);
        let rule =
            "x: expected integers that f64 holds: up to 2^53 in magnitude, and beyond it those with 53 bits";
        for value in [(1 << 53) + 1, -(1 << 53) - 1, i64::MAX, i64::MIN + 1, (1 << 62) + (1 << 8)] {
            let mut wrong = exact.clone();
            (wrong[[1, 0]], wrong[[1, 2]]) = (value, i64::MAX);
            assert_eq!(refused(wrong.view().into()), Some(format!("{rule}, got {value} in row 1, column 0")));
        }
        let text = refused(array![[0], [u64::MAX]].view().into());
        assert_eq!(text, Some(format!("{rule}, got 18446744073709551615 in row 1, column 0")));
    }
}
