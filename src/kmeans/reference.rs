//! Lloyd's algorithm from its definition, in `f64`, in plain loops. It is never optimised: it is what the other
//! backends are compared with, and a backend a user can choose.

/// A data set and the rules of the iteration.
pub(crate) struct Definition<'a> {
    /// Rows, one after the other.
    pub x: &'a [f64],
    /// One per row.
    pub weights: &'a [f64],
    /// Number of features.
    pub columns: usize,
    /// Largest number of iterations.
    pub max_iter: usize,
    /// Largest squared movement of all centroids that ends the iteration.
    pub tolerance: f64,
    /// Centroids are scaled to length 1.
    pub unit_rows: bool,
}

/// Where the iteration ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// Rows, one after the other.
    pub centroids: Vec<f64>,
    /// Index of the nearest centroid of each row, ties to the lowest.
    pub labels: Vec<u32>,
    /// Centroids and labels of the last iteration, which led to `centroids`.
    pub before: (Vec<f64>, Vec<u32>),
    /// Sum over rows of weight times squared distance to the centroid.
    pub inertia: f64,
    /// Whether a rule other than `max_iter` ended it.
    pub converged: bool,
    /// Number of iterations.
    pub n_iter: usize,
}

/// What one iteration did.
pub(crate) struct Step {
    /// Inertia to the centroids it started from.
    pub inertia: f64,
    /// Rows with another label than before.
    pub changed: u64,
    /// Squared movement of all centroids.
    pub shift: f64,
}

/// Squared Euclidean distance.
pub(crate) fn squared_distance(x: &[f64], c: &[f64]) -> f64 {
    let mut sum = 0.0;
    for d in 0..x.len() {
        sum += (x[d] - c[d]) * (x[d] - c[d]);
    }
    sum
}

/// Index of the nearest centroid, ties to the lowest, and its squared distance.
pub(crate) fn nearest(x: &[f64], centroids: &[f64]) -> (u32, f64) {
    let mut best = (0, f64::INFINITY);
    for (index, centroid) in centroids.chunks_exact(x.len()).enumerate() {
        let distance = squared_distance(x, centroid);
        if distance < best.1 {
            best = (index as u32, distance);
        }
    }
    best
}

/// Iterates until the centroids rest, no label changes, `max_iter`, or `after` answers false.
pub(crate) fn lloyd<E>(
    definition: &Definition,
    mut centroids: Vec<f64>,
    mut after: impl FnMut(&Step) -> Result<bool, E>,
) -> Result<Outcome, E> {
    let columns = definition.columns;
    let mut labels: Option<Vec<u32>> = None;
    let mut before = centroids.clone();
    let (mut n_iter, mut converged, mut goes_on) = (0, false, true);
    while goes_on && !converged && n_iter < definition.max_iter {
        n_iter += 1;
        let nearest: Vec<(u32, f64)> =
            definition.x.chunks_exact(columns).map(|x| nearest(x, &centroids)).collect();
        let new: Vec<u32> = nearest.iter().map(|nearest| nearest.0).collect();
        let changed = match &labels {
            Some(old) => new.iter().zip(old).filter(|(new, old)| new != old).count(),
            None => new.len(),
        };
        let next = means(definition, &nearest, &centroids);
        let shift = squared_distance(&next, &centroids);
        let inertia =
            nearest.iter().zip(definition.weights).map(|((_, distance), weight)| weight * distance).sum();
        before = std::mem::replace(&mut centroids, next);
        converged = (labels.is_some() && changed == 0) || shift <= definition.tolerance;
        labels = Some(new);
        goes_on = after(&Step { inertia, changed: changed as u64, shift })?;
    }
    let before = (before, labels.unwrap_or_default());
    let (labels, inertia) = assign(definition, &centroids);
    Ok(Outcome { centroids, labels, before, inertia, converged, n_iter })
}

/// The nearest centroid of each row, and the sum of weighted squared distances.
pub(crate) fn assign(definition: &Definition, centroids: &[f64]) -> (Vec<u32>, f64) {
    let nearest: Vec<(u32, f64)> =
        definition.x.chunks_exact(definition.columns).map(|x| nearest(x, centroids)).collect();
    let inertia =
        nearest.iter().zip(definition.weights).map(|((_, distance), weight)| weight * distance).sum();
    (nearest.iter().map(|nearest| nearest.0).collect(), inertia)
}

/// Weighted means of the clusters; empty clusters take the rows farthest from their centroids.
fn means(definition: &Definition, nearest: &[(u32, f64)], old: &[f64]) -> Vec<f64> {
    let columns = definition.columns;
    let mut sums = vec![0.0; old.len()];
    let mut weights = vec![0.0; old.len() / columns];
    let mut add = |row: usize, cluster: usize, weight: f64| {
        weights[cluster] += weight;
        for d in 0..columns {
            sums[cluster * columns + d] += weight * definition.x[row * columns + d];
        }
    };
    for (row, &(label, _)) in nearest.iter().enumerate() {
        add(row, label as usize, definition.weights[row]);
    }
    for (cluster, row) in moves(definition, nearest, old.len() / columns) {
        add(row, nearest[row].0 as usize, -definition.weights[row]);
        add(row, cluster, definition.weights[row]);
    }
    let mut new = old.to_vec();
    for cluster in 0..weights.len() {
        let sum = &sums[cluster * columns..(cluster + 1) * columns];
        let length = if definition.unit_rows { length(sum) } else { weights[cluster] };
        if weights[cluster] > 0.0 && length > 0.0 {
            for d in 0..columns {
                new[cluster * columns + d] = sum[d] / length;
            }
        }
    }
    let mut heaviest = 0;
    for cluster in 0..weights.len() {
        if weights[cluster] > weights[heaviest] {
            heaviest = cluster;
        }
    }
    for cluster in 0..weights.len() {
        if weights[cluster] <= 0.0 {
            new.copy_within(heaviest * columns..(heaviest + 1) * columns, cluster * columns);
        }
    }
    new
}

/// The length of a vector; where its squares are no numbers of an `f64`, from those of its shares of the largest.
fn length(vector: &[f64]) -> f64 {
    let square = vector.iter().map(|v| v * v).sum::<f64>();
    let peak = vector.iter().fold(0.0_f64, |peak, v| peak.max(v.abs()));
    if square > 1e-280 || peak == 0.0 {
        return square.sqrt();
    }
    peak * vector.iter().map(|v| (v / peak) * (v / peak)).sum::<f64>().sqrt()
}

/// Which row each empty cluster takes: the farthest first, ties to the highest row, none at distance 0 or weight 0.
fn moves(definition: &Definition, nearest: &[(u32, f64)], n_clusters: usize) -> Vec<(usize, usize)> {
    let mut occupied = vec![false; n_clusters];
    for (row, &(label, _)) in nearest.iter().enumerate() {
        if definition.weights[row] > 0.0 {
            occupied[label as usize] = true;
        }
    }
    let mut far: Vec<usize> =
        (0..nearest.len()).filter(|&row| nearest[row].1 > 0.0 && definition.weights[row] > 0.0).collect();
    far.sort_unstable_by(|&a, &b| nearest[b].1.total_cmp(&nearest[a].1).then(b.cmp(&a)));
    (0..n_clusters).filter(|&cluster| !occupied[cluster]).zip(far).collect()
}
