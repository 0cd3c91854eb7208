//! Distinct rows, drawn with probability proportional to their weight.

use crate::error::{Error, Result};
use crate::kmeans::problem::Problem;
use crate::memory::{self, area};
use crate::random::Stream;

/// Draws in a row that may hit rows already taken before those are removed from the weights.
const PATIENCE: usize = 16;

/// `count` distinct rows of positive weight.
pub(in crate::kmeans) fn rows(problem: &Problem, count: usize, stream: &Stream) -> Result<Vec<usize>> {
    let positive = (0..problem.rows).filter(|&row| problem.weight(row) != Some(0.0)).count();
    if positive < count {
        let rule = format!("at least n_clusters = {count} weights above 0, one for each first centroid");
        return Err(Error::parameter("weights", rule, positive));
    }
    // Running sums, made anew now and then, and marks.
    memory::ask("the draw of rows", &[area::<f64>(problem.rows, 3)])?;
    let mut taken = vec![false; problem.rows];
    let mut sums = running_sums(problem, &taken);
    let (mut rows, mut misses) = (Vec::with_capacity(count), 0);
    let mut draw = 0;
    while rows.len() < count {
        let row = pick(&sums, stream.unit(draw));
        draw += 1;
        if taken[row] {
            misses += 1;
            if misses == PATIENCE {
                sums = running_sums(problem, &taken);
                misses = 0;
            }
        } else {
            taken[row] = true;
            misses = 0;
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Sum of the weights up to and including each row, without the rows already taken.
fn running_sums(problem: &Problem, taken: &[bool]) -> Vec<f64> {
    let mut sum = 0.0;
    let weight = |row: usize| if taken[row] { 0.0 } else { problem.weight(row).map_or(1.0, f64::from) };
    (0..problem.rows)
        .map(|row| {
            sum += weight(row);
            sum
        })
        .collect()
}

/// The first row whose running sum exceeds `unit` times the total: never a row of weight 0.
pub(super) fn pick(sums: &[f64], unit: f64) -> usize {
    let total = sums.last().copied().unwrap_or(0.0);
    let row = sums.partition_point(|&sum| sum <= unit * total);
    // `unit * total` can round up to the total; the last row that adds something is meant then.
    row.min(sums.partition_point(|&sum| sum < total))
}

#[cfg(test)]
mod tests {
    use super::pick;

    #[test]
    fn weightless_rows_are_never_picked() {
        let sums = [0.0, 1.0, 1.0, 4.0, 4.0];
        assert_eq!(pick(&sums, 0.0), 1);
        assert_eq!(pick(&sums, 0.2499), 1);
        assert_eq!(pick(&sums, 0.25), 3);
        assert_eq!(pick(&sums, 1.0), 3);
    }
}
