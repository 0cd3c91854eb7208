//! The plane of the first two principal components, in `f64`, the same for the same input.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::random::Stream;

/// Directions iterated at once: more than two, so that the first two converge fast.
const DIRECTIONS: usize = 6;
const MOST_ITERATIONS: usize = 60;
/// A direction whose share of the variance is below this is rounding noise.
const SMALLEST_SHARE: f64 = 1e-12;

/// A map from rows to the plane.
pub(super) struct Plane {
    mean: Array1<f64>,
    scale: f64,
    directions: Vec<Array1<f64>>,
    /// Share of the variance that each axis shows, at most two; fewer where the rows lie on a line or a point.
    pub shares: Vec<f64>,
}

impl Plane {
    /// Fits the plane to some rows by subspace iteration on their covariance.
    pub fn new(rows: ArrayView2<f64>) -> Self {
        let mean = rows.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(rows.ncols()));
        let mut centred = &rows - &mean;
        let peak = centred.iter().fold(0.0_f64, |peak, value| peak.max(value.abs()));
        // Squares of the largest finite numbers must stay finite.
        let scale = if peak > 0.0 { peak.recip() } else { 1.0 };
        centred *= scale;
        let total: f64 = centred.iter().map(|value| value * value).sum();
        let mut plane = Self { mean, scale, directions: Vec::new(), shares: Vec::new() };
        for (direction, variance) in leading(&centred, total) {
            if variance > SMALLEST_SHARE * total && plane.shares.len() < 2 {
                plane.directions.push(direction);
                plane.shares.push(variance / total);
            }
        }
        plane
    }

    /// Coordinates of rows, one pair each; a missing axis is 0.
    pub fn project(&self, rows: ArrayView2<f64>) -> Vec<[f64; 2]> {
        let coordinate = |row: &Array1<f64>, axis: usize| {
            self.directions.get(axis).map_or(0.0, |direction| row.dot(direction) / self.scale)
        };
        rows.outer_iter()
            .map(|row| {
                let row = (&row - &self.mean) * self.scale;
                [coordinate(&row, 0), coordinate(&row, 1)]
            })
            .collect()
    }
}

/// Directions of most variance with their variances, largest first.
fn leading(centred: &Array2<f64>, total: f64) -> Vec<(Array1<f64>, f64)> {
    let columns = centred.ncols();
    let count = DIRECTIONS.min(columns);
    // A fixed start that no data set is likely to be orthogonal to.
    let mut basis = Array2::from_shape_fn((columns, count), |(row, column)| {
        Stream::new(0, column as u64).unit(row as u64) - 0.5
    });
    orthonormalise(&mut basis);
    let mut variances = vec![0.0; count];
    for _ in 0..MOST_ITERATIONS {
        let projected = centred.dot(&basis);
        basis = centred.t().dot(&projected);
        let before = std::mem::replace(
            &mut variances,
            projected.columns().into_iter().map(|column| column.dot(&column)).collect(),
        );
        orthonormalise(&mut basis);
        if before.iter().zip(&variances).take(2).all(|(a, b)| (a - b).abs() <= 1e-10 * total) {
            break;
        }
    }
    let mut found: Vec<(Array1<f64>, f64)> = basis
        .columns()
        .into_iter()
        .zip(variances)
        .map(|(direction, variance)| (oriented(direction.to_owned()), variance))
        .collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found
}

/// Gram-Schmidt, twice for accuracy; a column that vanishes becomes zero.
fn orthonormalise(basis: &mut Array2<f64>) {
    for column in 0..basis.ncols() {
        let mut direction = basis.column(column).to_owned();
        let before = direction.dot(&direction).sqrt();
        for _ in 0..2 {
            for earlier in 0..column {
                let overlap = basis.column(earlier).dot(&direction);
                direction.scaled_add(-overlap, &basis.column(earlier));
            }
        }
        let length = direction.dot(&direction).sqrt();
        direction *= if length > 1e-12 * before { length.recip() } else { 0.0 };
        basis.column_mut(column).assign(&direction);
    }
}

/// The sign that makes the largest component positive.
fn oriented(direction: Array1<f64>) -> Array1<f64> {
    let largest = direction.iter().fold(0.0_f64, |a, &b| if b.abs() > a.abs() { b } else { a });
    if largest < 0.0 { -direction } else { direction }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_rectangle_lies_along_its_sides() {
        let rows = array![[1.0, 7.0, 5.0], [1.0, 7.0, 9.0], [2.0, 7.0, 5.0], [2.0, 7.0, 9.0]];
        let plane = Plane::new(rows.view());
        assert!((plane.shares[0] - 16.0 / 17.0).abs() < 1e-9, "{:?}", plane.shares);
        let expected = [[-2.0, -0.5], [2.0, -0.5], [-2.0, 0.5], [2.0, 0.5]];
        for (point, expected) in plane.project(rows.view()).iter().zip(expected) {
            for (a, b) in point.iter().zip(expected) {
                assert!((a - b).abs() < 1e-6, "{point:?}");
            }
        }
    }

    #[test]
    fn lines_and_points_have_fewer_axes() {
        assert_eq!(Plane::new(array![[1.0], [3.0], [9.0]].view()).shares.len(), 1);
        assert_eq!(Plane::new(array![[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]].view()).shares.len(), 1);
        assert_eq!(Plane::new(array![[4.0, 2.0], [4.0, 2.0]].view()).shares.len(), 0);
        let large = Plane::new(array![[1e300, 0.0], [-1e300, 1e299]].view());
        assert!((large.shares[0] - 1.0).abs() < 1e-9 && large.shares.len() == 1);
    }
}
