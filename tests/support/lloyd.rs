//! Lloyd's algorithm once more, apart from the crate's own reference: on the raw data in f64, cluster by cluster, with
//! the smallest margin by which any decision was taken. A trajectory whose margin is wide has only one right outcome.

use ndarray::{Array2, ArrayView1, Axis};

/// A clustering problem.
#[derive(Debug, Clone)]
pub struct Problem {
    /// One point per row.
    pub points: Array2<f64>,
    /// One per row; 1 for each where there are none.
    pub weights: Option<Vec<f64>>,
    /// First centroids.
    pub init: Array2<f64>,
    /// Largest number of iterations.
    pub max_iter: usize,
    /// As scikit-learn's: times the mean variance of the features.
    pub tol: f64,
}

/// Where it ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Labels of the returned centroids.
    pub labels: Vec<u32>,
    /// One per row.
    pub centroids: Array2<f64>,
    /// Sum of weighted squared distances.
    pub inertia: f64,
    /// Iterations done.
    pub n_iter: usize,
    /// Ended by `tol` or because no label changed.
    pub converged: bool,
    /// Smallest difference between the squared distances of any row to its centroid and to another, `s`, in any
    /// iteration, over `sqrt(s * the largest squared distance)`: what moving the row by a share of the largest distance
    /// can change. 0 where a row for an empty cluster was chosen among equally far ones.
    pub margin: f64,
}

/// Squared Euclidean distance, summed from the last feature to the first.
pub fn squared_distance(x: ArrayView1<f64>, c: ArrayView1<f64>) -> f64 {
    x.iter().zip(c).rev().map(|(x, c)| (x - c).powi(2)).sum()
}

/// All squared distances, row-major.
pub fn all_distances(points: &Array2<f64>, centroids: &Array2<f64>) -> Vec<f64> {
    points
        .outer_iter()
        .flat_map(|x| centroids.outer_iter().map(move |c| squared_distance(x, c)).collect::<Vec<_>>())
        .collect()
}

/// Inertia of given labels and centroids.
pub fn inertia(
    points: &Array2<f64>,
    weights: Option<&[f64]>,
    centroids: &Array2<f64>,
    labels: &[u32],
) -> f64 {
    let distance = |(row, &label): (usize, &u32)| {
        let weight = weights.map_or(1.0, |weights| weights[row]);
        weight * squared_distance(points.row(row), centroids.row(label as usize))
    };
    labels.iter().enumerate().map(distance).sum()
}

/// Mean over the features of their variance.
fn mean_variance(points: &Array2<f64>) -> f64 {
    let variance = |column: ArrayView1<f64>| {
        let mean = column.mean().unwrap_or(0.0);
        column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / column.len() as f64
    };
    points.axis_iter(Axis(1)).map(variance).sum::<f64>() / points.ncols() as f64
}

struct Assignment {
    labels: Vec<u32>,
    distances: Vec<f64>,
    margin: f64,
}

fn assign(points: &Array2<f64>, centroids: &Array2<f64>) -> Assignment {
    let (mut labels, mut distances) = (Vec::new(), Vec::new());
    let (mut closest, mut largest) = (f64::INFINITY, 0.0_f64);
    for x in points.outer_iter() {
        let row: Vec<f64> = centroids.outer_iter().map(|c| squared_distance(x, c)).collect();
        let best = (1..row.len()).fold(0, |best, k| if row[k] < row[best] { k } else { best });
        for (k, &distance) in row.iter().enumerate() {
            largest = largest.max(distance);
            // The same point twice among the centroids is no near tie: the lowest index has it.
            if k != best && centroids.row(k) != centroids.row(best) {
                closest = closest.min((distance - row[best]) / distance.sqrt());
            }
        }
        labels.push(best as u32);
        distances.push(row[best]);
    }
    let margin = if largest > 0.0 { closest / largest.sqrt() } else { f64::INFINITY };
    Assignment { labels, distances, margin }
}

/// The means of the clusters; an empty one first takes the row farthest from its centroid.
fn update(problem: &Problem, old: &Array2<f64>, assignment: &mut Assignment) -> Array2<f64> {
    let weight = |row: usize| problem.weights.as_ref().map_or(1.0, |weights| weights[row]);
    let mut owner = assignment.labels.clone();
    let rows: Vec<usize> = (0..owner.len()).filter(|&row| weight(row) > 0.0).collect();
    let empty: Vec<u32> =
        (0..old.nrows() as u32).filter(|&k| rows.iter().all(|&row| owner[row] != k)).collect();
    if !empty.is_empty() {
        let mut far: Vec<usize> =
            rows.iter().copied().filter(|&row| assignment.distances[row] > 0.0).collect();
        far.sort_by(|&a, &b| assignment.distances[b].total_cmp(&assignment.distances[a]));
        for pair in far.windows(2).take(empty.len()) {
            let (first, second) = (assignment.distances[pair[0]], assignment.distances[pair[1]]);
            assignment.margin = assignment.margin.min((first - second) / first);
        }
        for (&cluster, &row) in empty.iter().zip(&far) {
            owner[row] = cluster;
        }
    }
    let mut new = old.clone();
    let mut totals = vec![0.0; old.nrows()];
    for (cluster, total) in totals.iter_mut().enumerate() {
        let members: Vec<usize> = rows.iter().copied().filter(|&row| owner[row] == cluster as u32).collect();
        *total = members.iter().map(|&row| weight(row)).sum();
        if *total > 0.0 {
            // Differences to the first member keep the digits that the mean of far-off points would lose.
            let pivot = problem.points.row(members[0]);
            for (column, mean) in new.row_mut(cluster).iter_mut().enumerate() {
                let part = |&row: &usize| weight(row) * (problem.points[(row, column)] - pivot[column]);
                *mean = pivot[column] + members.iter().map(part).sum::<f64>() / *total;
            }
        }
    }
    let heaviest = (1..totals.len()).fold(0, |best, k| if totals[k] > totals[best] { k } else { best });
    for cluster in (0..totals.len()).filter(|&cluster| totals[cluster] == 0.0) {
        let heavy = new.row(heaviest).to_owned();
        new.row_mut(cluster).assign(&heavy);
    }
    new
}

/// Runs it.
pub fn lloyd(problem: &Problem) -> Outcome {
    let tolerance = problem.tol * mean_variance(&problem.points);
    let mut centroids = problem.init.clone();
    let mut last: Option<Vec<u32>> = None;
    let (mut margin, mut n_iter, mut converged) = (f64::INFINITY, 0, false);
    while n_iter < problem.max_iter && !converged {
        n_iter += 1;
        let mut assignment = assign(&problem.points, &centroids);
        let new = update(problem, &centroids, &mut assignment);
        margin = margin.min(assignment.margin);
        let shift: f64 = (&new - &centroids).mapv(|d| d * d).sum();
        converged = last.as_ref() == Some(&assignment.labels) || shift <= tolerance;
        centroids = new;
        last = Some(assignment.labels);
    }
    let assignment = assign(&problem.points, &centroids);
    let inertia = inertia(&problem.points, problem.weights.as_deref(), &centroids, &assignment.labels);
    let margin = margin.min(assignment.margin);
    Outcome { labels: assignment.labels, centroids, inertia, n_iter, converged, margin }
}

/// Squared distance between whole numbers, without any rounding.
pub fn exact_squared_distance(x: ArrayView1<f32>, c: ArrayView1<f32>) -> i128 {
    let whole = |value: f32| {
        assert!(value.fract() == 0.0 && value.abs() < 1e9, "{value} is no whole number of moderate size");
        value as i128
    };
    x.iter().zip(c).map(|(&x, &c)| (whole(x) - whole(c)).pow(2)).sum()
}

/// Index of the nearest centroid, ties to the lowest, and how far behind the next one is; in integers.
pub fn exact_nearest(x: ArrayView1<f32>, centroids: &Array2<f32>) -> (u32, i128) {
    let distances: Vec<i128> = centroids.outer_iter().map(|c| exact_squared_distance(x, c)).collect();
    let best = (1..distances.len()).fold(0, |best, k| if distances[k] < distances[best] { k } else { best });
    let others = distances.iter().enumerate().filter(|&(k, _)| k != best);
    let next = others.map(|(_, &distance)| distance).min().unwrap_or(i128::MAX);
    (best as u32, next - distances[best])
}
