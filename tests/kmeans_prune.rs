//! Exact pruning changes time and not a bit: every fit is compared with one that multiplies all rows with all centroids.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{Array2, Axis, concatenate, s};
use proptest::prelude::*;
use tilefold::Device;
use tilefold::kmeans::{self, Control, Fit, Init, Params, Prune};

use crate::kmeans_bits::same_bits;
use crate::support::cases::{self, BlobsShape, Draws};
use crate::support::random;

fn fit(points: &Array2<f32>, params: &Params, prune: Prune) -> Fit {
    kmeans::fit(&Device::cpu(), points.view(), &params.clone().prune(prune)).unwrap()
}

/// Dense, always pruned and pruned where it pays are the same bits. Returns the dense and the pruned fit.
#[track_caller]
fn compare(points: &Array2<f32>, params: &Params, what: &str) -> (Fit, Fit) {
    let dense = fit(points, params, Prune::Never);
    let pruned = fit(points, params, Prune::Always);
    same_bits(&pruned, &dense, what);
    same_bits(&fit(points, params, Prune::Auto), &dense, what);
    let all = (points.nrows() * params.n_clusters) as u64;
    assert!(
        dense.history.iter().all(|iteration| iteration.products <= all),
        "{what}: products of dense passes"
    );
    (dense, pruned)
}

/// From rows of the data, which is far from where the clusters are.
pub fn from_rows(points: &Array2<f32>, n_clusters: usize, seed: u64) -> Params {
    let mut draws = Draws::new(seed);
    let mut rows: Vec<usize> = (0..points.nrows()).collect();
    for at in 0..n_clusters {
        let other = at + draws.below(rows.len() - at);
        rows.swap(at, other);
    }
    let init = points.select(Axis(0), &rows[..n_clusters]).mapv(f64::from);
    Params::new(n_clusters).init(Init::Centroids(init)).tol(0.0)
}

#[test]
fn pruning_changes_no_bit_of_blobs() {
    for (rows, columns, clusters, spread, offset) in [
        (3000, 2, 30, 0.5, 0.0),
        (3000, 17, 40, 1.0, 1e4),
        (2500, 33, 70, 2.0, 1e6),
        (1500, 130, 100, 3.0, -1e6),
        (700, 500, 40, 4.0, 0.0),
    ] {
        let shape = BlobsShape { rows, columns, clusters, spread, offset };
        let points = cases::blobs(shape, columns as u64).points;
        let params = from_rows(&points, clusters, 5).max_iter(30);
        let what = format!("{rows} x {columns}, {clusters} blobs at {offset}");
        let (dense, pruned) = compare(&points, &params, &what);
        let late = |fit: &Fit| fit.history.iter().skip(5).map(|iteration| iteration.products).sum::<u64>();
        println!(
            "{what}: {} iterations, {} of {} products after the fifth",
            dense.n_iter,
            late(&pruned),
            late(&dense)
        );
        assert!(
            dense.n_iter <= 6 || 2 * late(&pruned) < late(&dense),
            "{what}: pruning leaves out too little"
        );
    }
}

#[test]
fn pruning_changes_no_bit_of_noise() {
    for (rows, columns, clusters) in [(2000, 3, 50), (1500, 24, 65), (600, 200, 33)] {
        let points = cases::uniform(rows, columns, 1.0, 90 + columns as u64);
        compare(&points, &from_rows(&points, clusters, 6).max_iter(25), &format!("noise in {columns}-D"));
    }
}

#[test]
fn pruning_changes_no_bit_under_exact_ties() {
    let points = cases::duplicates(900, 4, 40, 91);
    // More clusters than distinct points: centroids coincide, part and coincide again.
    compare(&points, &from_rows(&points, 60, 7).max_iter(12), "60 clusters of 40 points");
    compare(&points, &Params::new(25).tol(0.0), "25 clusters of 40 points");
    // Whole numbers in few values: distances tie exactly, in every iteration.
    let mut draws = Draws::new(92);
    let grid = Array2::from_shape_simple_fn((1200, 3), || draws.below(5) as f32);
    compare(&grid, &from_rows(&grid, 30, 8).max_iter(20), "a small grid");
    let mut init = grid.slice(s![..30, ..]).mapv(f64::from);
    let first = init.row(0).to_owned();
    init.row_mut(17).assign(&first);
    compare(&grid, &Params::new(30).init(Init::Centroids(init)).max_iter(20).tol(0.0), "two equal centroids");
}

/// Some centroids rest, with rows half-way between them, while others move for many iterations.
pub fn resting_ties() -> (Array2<f32>, Params) {
    let anchors = Array2::from_shape_fn((6, 5), |(row, column)| match column {
        0 => 8.0 * row as f32,
        _ => 0.0,
    });
    let mut draws = Draws::new(93);
    let ties = Array2::from_shape_fn((400, 5), |(row, column)| match column {
        // Half-way, and up to four units of the last place beside it.
        0 => f32::from_bits((4.0 + 8.0 * (row % 5) as f32).to_bits() + draws.below(9) as u32 - 4),
        1 => 0.0,
        _ => draws.unit() as f32,
    });
    let moving = cases::uniform(1500, 5, 3.0, 94) + 100.0;
    let points = concatenate![Axis(0), anchors, ties, moving];
    let weights = (0..points.nrows()).map(|row| f64::from(u8::from(!(6..406).contains(&row)))).collect();
    let init = concatenate![Axis(0), anchors, moving.slice(s![..20, ..])].mapv(f64::from);
    (points, Params::new(26).init(Init::Centroids(init)).weights(weights).tol(0.0))
}

#[test]
fn pruning_changes_no_bit_under_near_ties() {
    let (points, params) = resting_ties();
    let (dense, _) = compare(&points, &params, "ties");
    assert!(dense.n_iter > 10, "only {} iterations", dense.n_iter);
    let of_ties = |label: u32| dense.labels.slice(s![6..406]).iter().filter(|&&got| got == label).count();
    assert!((1..5).all(|label| of_ties(label) > 20), "ties fall to both sides");
}

#[test]
fn pruning_changes_no_bit_of_weighted_spherical_and_repeated_fits() {
    let shape = BlobsShape { rows: 1200, columns: 9, clusters: 25, spread: 1.5, offset: 0.0 };
    let points = cases::blobs(shape, 95).points;
    let weights: Vec<f64> = (0..1200).map(|row| f64::from(row % 7) / 3.0).collect();
    compare(&points, &from_rows(&points, 25, 9).weights(weights), "weights");
    compare(&points, &from_rows(&points, 25, 9).spherical(true), "directions");
    compare(&points, &Params::new(25).init(Init::Random).n_init(4).seed(3).tol(0.0), "four runs");
    compare(&points, &Params::new(40).tol(0.0).seed(4), "k-means++");
}

#[test]
fn pruning_changes_no_bit_for_any_number_of_clusters() {
    let points = cases::uniform(70, 6, 1.0, 96);
    for clusters in [1, 2, 31, 32, 33, 69, 70] {
        compare(&points, &from_rows(&points, clusters, 10), &format!("{clusters} clusters"));
    }
}

/// Centroids far from all rows get the farthest rows: they jump across the data.
#[test]
fn empty_clusters_are_filled() {
    let shape = BlobsShape { rows: 800, columns: 6, clusters: 12, spread: 1.0, offset: 0.0 };
    let points = cases::blobs(shape, 97).points;
    let mut init = points.slice(s![..20, ..]).mapv(f64::from);
    for far in [3, 8, 19] {
        init.row_mut(far).fill(1e4 + far as f64);
    }
    compare(&points, &Params::new(20).init(Init::Centroids(init)).tol(0.0), "three centroids far away");
}

#[test]
fn pruning_changes_no_bit_under_scales_and_outliers() {
    let shape = BlobsShape { rows: 600, columns: 7, clusters: 15, spread: 1.0, offset: 0.0 };
    let plain = cases::blobs(shape, 98).points;
    for scale in [1e-36, 1e-20, 1e20, 1e36] {
        let points = plain.mapv(|value| value * scale);
        compare(&points, &from_rows(&points, 15, 11), &format!("times {scale}"));
    }
    let mut points = plain;
    for (row, far) in [(5, 1e3), (50, 1e6), (500, 1e9)] {
        points.row_mut(row).fill(far);
    }
    compare(&points, &from_rows(&points, 20, 12), "outliers");
}

#[test]
fn pruning_changes_no_bit_under_threads_and_element_types() {
    let shape = BlobsShape { rows: 6000, columns: 12, clusters: 40, spread: 2.0, offset: 1e4 };
    let points = cases::blobs(shape, 99).points;
    let params = from_rows(&points, 40, 13).max_iter(15);
    let dense = fit(&points, &params, Prune::Never);
    let params = params.prune(Prune::Always);
    for threads in [1, 2, 5] {
        let device = Device::cpu_with_threads(threads).unwrap();
        let pruned = kmeans::fit(&device, points.view(), &params).unwrap();
        same_bits(&pruned, &dense, &format!("{threads} threads"));
    }
    let wide = points.mapv(f64::from);
    same_bits(&kmeans::fit(&Device::cpu(), wide.view(), &params).unwrap(), &dense, "f64");
    let turned = points.t().as_standard_layout().to_owned();
    same_bits(&kmeans::fit(&Device::cpu(), turned.t(), &params).unwrap(), &dense, "column-major");
}

/// Stopped after each iteration in turn and gone on with, whichever way: bounds are not part of a checkpoint.
#[test]
fn checkpoints_are_the_same_either_way() {
    let shape = BlobsShape { rows: 500, columns: 5, clusters: 20, spread: 2.0, offset: 0.0 };
    let points = cases::blobs(shape, 100).points;
    let params = from_rows(&points, 20, 14).max_iter(12);
    let whole = fit(&points, &params, Prune::Never);
    let folder = tempfile::tempdir().unwrap();
    for at in 1..whole.n_iter {
        for (before, after) in [(Prune::Always, Prune::Never), (Prune::Never, Prune::Always)] {
            let kept = params.clone().checkpoint(folder.path().join(format!("{at}{before:?}")));
            let count = Arc::new(AtomicUsize::new(0));
            let stopping = kept.clone().callback(move |_| match count.fetch_add(1, Ordering::Relaxed) + 1 {
                count if count == at => Control::Stop,
                _ => Control::Continue,
            });
            let stopped = fit(&points, &stopping, before);
            let resumed = fit(&points, &kept, after);
            same_bits(&resumed, &whole, &format!("{before:?} to iteration {at}, {after:?} from there"));
            let products = |fit: &Fit| fit.history.iter().map(|i| i.products).collect::<Vec<_>>();
            assert_eq!(products(&resumed)[..at], products(&stopped), "products are kept");
        }
    }
}

/// The comparisons above must be able to fail: with a margin on the wrong side they do.
#[cfg(feature = "test-hooks")]
#[test]
fn careless_pruning_is_caught() {
    let noise = cases::uniform(2000, 3, 1.0, 101);
    let (ties, of_ties) = resting_ties();
    for (points, params) in [(&noise, from_rows(&noise, 50, 15).max_iter(25)), (&ties, of_ties)] {
        let dense = fit(points, &params, Prune::Never);
        let careless = fit(points, &params.with_careless_pruning(), Prune::Always);
        let wrong = dense.labels.iter().zip(&careless.labels).filter(|(a, b)| a != b).count();
        println!("{wrong} labels are wrong");
        assert!(wrong > 0, "a margin on the wrong side went unnoticed");
    }
}

proptest! {
    #![proptest_config(random::cases(40))]
    #[test]
    fn pruning_changes_no_bit_of_any_data(
        rows in 30_usize..700, columns in 1_usize..40, clusters in 2_usize..30, spread in 0.01_f64..6.0,
        offset in prop::sample::select(vec![0.0, 1e3, 1e6]), digits in prop::sample::select(vec![1.0_f32, 16.0, 1e9]),
        seed in 0_u64..1000,
    ) {
        let clusters = clusters.min(rows);
        let shape = BlobsShape { rows, columns, clusters, spread, offset };
        // Few digits make many exact ties.
        let points = cases::blobs(shape, seed).points.mapv(|value| (value * digits).round() / digits);
        let params = from_rows(&points, clusters, seed).max_iter(15);
        let dense = fit(&points, &params, Prune::Never);
        same_bits(&fit(&points, &params, Prune::Always), &dense, "always");
    }
}
