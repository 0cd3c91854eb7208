//! Exact pruning on the GPU changes time and not a bit: on plain tiles, on matrix units, and on plain WGSL in their place.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, s};
use tilefold::Device;
use tilefold::kmeans::{self, Fit, Init, Params, Prune};

use crate::kmeans_bits::same_bits;
use crate::kmeans_prune::{from_rows, resting_ties};
use crate::support::backends;
use crate::support::cases::{self, BlobsShape};

/// Makes `f32::NAME`, `units::NAME` and `plain::NAME` of each function. Where a device has no units, `units` is `f32`.
macro_rules! on_each {
    ($($test:ident),+ $(,)?) => {
        on_each! { @of f32 |device: Device| device.with_matrix_units(false), $($test),+ }
        on_each! { @of units |device: Device| device.with_matrix_units(true), $($test),+ }
        on_each! { @of plain |device: Device| device.with_plain_matrices(16), $($test),+ }
    };
    (@of $kind:ident $prepare:expr, $($test:ident),+) => {
        mod $kind {
            use super::*;
            $(#[test]
            #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
            fn $test() {
                super::$test(&($prepare)(backends::gpu()));
            })+
        }
    };
}

on_each! {
    pruning_changes_no_bit_of_blobs, a_few_centroids_are_met_by_all_rows, pruning_changes_no_bit_in_windows,
    pruning_changes_no_bit_under_near_ties, pruning_changes_no_bit_under_exact_ties,
    pruning_changes_no_bit_of_weighted_spherical_and_repeated_fits, empty_clusters_are_filled,
    pruning_changes_no_bit_under_scales_and_outliers, pruning_changes_no_bit_of_noise
}

fn fit(device: &Device, points: &Array2<f32>, params: &Params, prune: Prune) -> Fit {
    kmeans::fit(device, points.view(), &params.clone().prune(prune)).unwrap()
}

/// The fit that is always pruned on the device, compared with the dense one on the CPU.
#[track_caller]
fn compare(device: &Device, points: &Array2<f32>, params: &Params, what: &str) -> Fit {
    let pruned = fit(device, points, params, Prune::Always);
    same_bits(&pruned, &fit(&Device::cpu(), points, params, Prune::Never), what);
    pruned
}

fn late_products(fit: &Fit) -> u64 {
    fit.history.iter().skip(4).map(|iteration| iteration.products).sum()
}

fn pruning_changes_no_bit_of_blobs(device: &Device) {
    for (rows, columns, clusters, spread, offset) in
        [(900, 17, 33, 0.7, 1e4), (700, 40, 50, 2.0, 1e6), (500, 130, 40, 2.0, -1e6)]
    {
        let shape = BlobsShape { rows, columns, clusters, spread, offset };
        let points = cases::blobs(shape, columns as u64).points;
        let params = from_rows(&points, clusters, 5).max_iter(14);
        let what = format!("{rows} x {columns}, {clusters} blobs at {offset}");
        let pruned = compare(device, &points, &params, &what);
        let iterations = pruned.history.len().saturating_sub(4);
        let dense = (iterations * rows * clusters) as u64;
        println!("{what}: {} of {dense} products after the fourth pass", late_products(&pruned));
        assert!(
            iterations < 2 || 2 * late_products(&pruned) < dense,
            "{what}: pruning leaves out too little"
        );
    }
}

/// With many centroids those that moved farthest are met by all rows.
fn a_few_centroids_are_met_by_all_rows(device: &Device) {
    let (rows, clusters) = (800, 200);
    let shape = BlobsShape { rows, columns: 16, clusters: 50, spread: 0.8, offset: 3.0 };
    let points = cases::blobs(shape, 4).points;
    let pruned = compare(device, &points, &from_rows(&points, clusters, 17).max_iter(9), "50 blobs");
    let dense = (rows * clusters) as u64;
    let products: Vec<u64> = pruned.history.iter().map(|iteration| iteration.products).collect();
    println!("{products:?} of {dense} products");
    assert!(products.len() > 2 && products[0] == dense);
    let listed: Vec<u64> = products[1..]
        .iter()
        .map(|products| products.checked_sub(64 * rows as u64).expect("64 of 200 are met by all rows"))
        .collect();
    assert!(listed.iter().all(|products| products % clusters as u64 == 0));
    assert!(listed.iter().any(|products| 2 * products < dense), "pruning leaves out too little");
}

fn pruning_changes_no_bit_in_windows(device: &Device) {
    let shape = BlobsShape { rows: 1100, columns: 24, clusters: 36, spread: 1.0, offset: 10.0 };
    let points = cases::blobs(shape, 3).points;
    let params = from_rows(&points, 36, 6).max_iter(10);
    let windows = device.clone().with_window_bytes(300 * 4 * 24);
    let resident = compare(&windows, &points, &params, "windows that stay");
    // Too little memory for all rows: they are brought again in every pass.
    let streamed = compare(&windows.with_memory_budget(700 << 10), &points, &params, "streamed windows");
    assert_eq!(late_products(&resident), late_products(&streamed));
}

fn pruning_changes_no_bit_under_near_ties(device: &Device) {
    let (points, params) = resting_ties();
    compare(device, &points, &params.max_iter(12), "ties");
}

fn pruning_changes_no_bit_under_exact_ties(device: &Device) {
    let points = cases::duplicates(600, 4, 40, 91);
    // Centroids coincide, part and coincide again.
    compare(device, &points, &from_rows(&points, 60, 7).max_iter(10), "60 clusters of 40 points");
    let mut init = points.slice(s![..30, ..]).mapv(f64::from);
    let first = init.row(0).to_owned();
    init.row_mut(17).assign(&first);
    compare(device, &points, &Params::new(30).init(Init::Centroids(init)).tol(0.0), "two equal centroids");
    for clusters in [1, 2, 69, 70] {
        let points = cases::uniform(70, 6, 1.0, 96);
        compare(device, &points, &from_rows(&points, clusters, 10), &format!("{clusters} clusters"));
    }
}

fn pruning_changes_no_bit_of_weighted_spherical_and_repeated_fits(device: &Device) {
    let shape = BlobsShape { rows: 600, columns: 9, clusters: 25, spread: 1.5, offset: 0.0 };
    let points = cases::blobs(shape, 95).points;
    let weights: Vec<f64> = (0..600).map(|row| f64::from(row % 7) / 3.0).collect();
    compare(device, &points, &from_rows(&points, 25, 9).weights(weights).max_iter(12), "weights");
    compare(device, &points, &from_rows(&points, 25, 9).spherical(true).max_iter(12), "directions");
    let runs = Params::new(25).init(Init::Random).n_init(3).seed(3).tol(0.0).max_iter(8);
    compare(device, &points, &runs, "three runs");
}

/// Centroids far from all rows get the farthest rows: they jump across the data.
fn empty_clusters_are_filled(device: &Device) {
    let shape = BlobsShape { rows: 500, columns: 6, clusters: 12, spread: 1.0, offset: 0.0 };
    let points = cases::blobs(shape, 97).points;
    let mut init = points.slice(s![..20, ..]).mapv(f64::from);
    for far in [3, 8, 19] {
        init.row_mut(far).fill(1e4 + far as f64);
    }
    let params = Params::new(20).init(Init::Centroids(init)).tol(0.0).max_iter(12);
    compare(device, &points, &params, "three centroids far away");
}

fn pruning_changes_no_bit_under_scales_and_outliers(device: &Device) {
    let shape = BlobsShape { rows: 500, columns: 20, clusters: 15, spread: 1.0, offset: 0.0 };
    let plain = cases::blobs(shape, 98).points;
    for scale in [1e-36, 1e-20, 1e20, 1e36] {
        let points = plain.mapv(|value| value * scale);
        compare(device, &points, &from_rows(&points, 15, 11).max_iter(8), &format!("times {scale}"));
    }
    let mut points = plain;
    for (row, far) in [(5, 1e3), (50, 1e6), (400, 1e9)] {
        points.row_mut(row).fill(far);
    }
    compare(device, &points, &from_rows(&points, 20, 12).max_iter(10), "outliers");
}

fn pruning_changes_no_bit_of_noise(device: &Device) {
    for (rows, columns, clusters) in [(900, 3, 50), (500, 24, 33)] {
        let points = cases::uniform(rows, columns, 1.0, 90 + columns as u64);
        let params = from_rows(&points, clusters, 6).max_iter(12);
        compare(device, &points, &params, &format!("noise in {columns}-D"));
    }
}

/// The comparisons above must be able to fail: with a margin on the wrong side they do.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn careless_pruning_is_caught() {
    let noise = cases::uniform(2000, 3, 1.0, 101);
    let params = from_rows(&noise, 50, 15).max_iter(25);
    let dense = fit(&Device::cpu(), &noise, &params, Prune::Never);
    let careless = fit(&backends::gpu(), &noise, &params.with_careless_pruning(), Prune::Always);
    let wrong = dense.labels.iter().zip(&careless.labels).filter(|(a, b)| a != b).count();
    println!("{wrong} labels are wrong");
    assert!(wrong > 0, "a margin on the wrong side went unnoticed");
}

/// Small work is not worth a list, and `Never` is never.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn small_fits_are_dense() {
    let shape = BlobsShape { rows: 600, columns: 8, clusters: 12, spread: 0.5, offset: 0.0 };
    let points = cases::blobs(shape, 99).points;
    let params = from_rows(&points, 12, 16).max_iter(6);
    for prune in [Prune::Auto, Prune::Never] {
        let fit = fit(&backends::gpu(), &points, &params, prune);
        assert!(fit.history.iter().all(|iteration| iteration.products == 600 * 12), "{prune:?}");
    }
}
