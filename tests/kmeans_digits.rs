//! Centroids keep their digits beside rows that lie far away and beside heavy ones, on every backend.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, ArrayView2, s};
use tilefold::Device;
use tilefold::kmeans::{self, Fit, Init, Params};

use crate::kmeans_bits::same_bits;
use crate::support::backends::on_every_backend;
use crate::support::cases::{Draws, uniform};

on_every_backend!(
    centroids_hold_beside_one_far_row,
    centroids_hold_where_far_rows_are_many,
    centroids_hold_for_weights_of_any_size,
    light_rows_count_beside_heavy_ones,
    directions_hold_for_weights_of_any_size,
);

/// Groups around 1, 3 and so on, of so many rows.
fn groups(count: usize, rows: usize) -> Array2<f32> {
    let near = uniform(count * rows, 3, 0.5, 31);
    Array2::from_shape_fn(near.dim(), |(row, column)| near[[row, column]] + 1.0 + 2.0 * (row / rows) as f32)
}

/// Every centroid is the weighted mean of its rows in each feature, to 2^-20 of how far they lie out on average, and the
/// inertia is the sum of their squared distances.
#[track_caller]
fn are_means(fit: &Fit, points: &ArrayView2<f32>, weights: Option<&[f64]>) {
    let centroids = fit.model.centroids();
    let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
    let members = |cluster: usize| {
        let labels = fit.labels.iter().enumerate();
        labels.filter(move |(_, label)| **label as usize == cluster).map(|(row, _)| row)
    };
    for (cluster, centroid) in centroids.outer_iter().enumerate() {
        // Weights as shares of the heaviest of the cluster: none of it leaves the range of f64.
        let heaviest = members(cluster).map(weight).fold(0.0, f64::max);
        let share = |row: usize| weight(row) / heaviest;
        let total: f64 = members(cluster).map(share).sum();
        for (column, &found) in centroid.iter().enumerate() {
            let value = |row: usize| f64::from(points[[row, column]]);
            let mean = members(cluster).map(|row| share(row) * value(row)).sum::<f64>() / total;
            let length = members(cluster).map(|row| share(row) * value(row).abs()).sum::<f64>() / total;
            let bound = length / (1 << 20) as f64;
            assert!((found - mean).abs() <= bound, "centroid {cluster}, {column}: {found} is {mean}");
        }
    }
    let square = |row: usize| {
        let centroid = centroids.row(fit.labels[row] as usize);
        points.row(row).iter().zip(centroid).map(|(x, c)| (f64::from(*x) - c).powi(2)).sum::<f64>()
    };
    let inertia: f64 = (0..points.nrows()).map(|row| weight(row) * square(row)).sum();
    let is_right = (fit.inertia - inertia).abs() <= 1e-6 * inertia;
    assert!(is_right, "inertia {} is {inertia}", fit.inertia);
    // That of an iteration may come from a difference to the sum of all squares.
    let squares = |row: usize| points.row(row).iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    let all: f64 = (0..points.nrows()).map(|row| weight(row) * squares(row)).sum();
    let last = fit.history.last().unwrap().inertia;
    assert!(fit.converged && (last - inertia).abs() <= 1e-6 * inertia + 1e-12 * all, "{last} {inertia}");
}

/// Fits from first centroids among the rows; on a device that is not the reference the bits are the CPU's.
fn fitted(device: &Device, points: &ArrayView2<f32>, first: &[usize], weights: Option<&[f64]>) -> Fit {
    let init = Init::Centroids(Array2::from_shape_fn((first.len(), points.ncols()), |(place, column)| {
        f64::from(points[[first[place], column]])
    }));
    let mut params = Params::new(first.len()).init(init).max_iter(100).tol(0.0);
    if let Some(weights) = weights {
        params = params.weights(weights.to_vec());
    }
    let fit = kmeans::fit(device, *points, &params).unwrap();
    if device.name() != "reference" {
        same_bits(&fit, &kmeans::fit(&Device::cpu(), *points, &params).unwrap(), "on the CPU");
    }
    fit
}

fn centroids_hold_beside_one_far_row(device: &Device) {
    for far in [1e6_f32, 1e9, 1e11, 1e12, 1e14, 1e18, 1e30] {
        let mut points = groups(3, 50);
        points.row_mut(70).fill(far);
        let fit = fitted(device, &points.view(), &[0, 60, 120, 70], None);
        assert_eq!(fit.cluster_sizes, [50, 49, 50, 1], "{far}");
        are_means(&fit, &points.view(), None);
    }
}

fn centroids_hold_where_far_rows_are_many(device: &Device) {
    // Half of the rows are 1e15 times as far out as the others; and groups of every size.
    let mut points = groups(2, 80);
    points.slice_mut(s![80.., ..]).mapv_inplace(|v| v * 1e15);
    let fit = fitted(device, &points.view(), &[0, 80, 90], None);
    are_means(&fit, &points.view(), None);
    let mut points = groups(6, 30);
    for (group, factor) in [1e-12_f32, 1e-6, 1.0, 1e6, 1e12, 1e18].into_iter().enumerate() {
        points.slice_mut(s![group * 30..(group + 1) * 30, ..]).mapv_inplace(|v| v * factor);
    }
    let fit = fitted(device, &points.view(), &[0, 30, 60, 90, 120, 150], None);
    assert_eq!(fit.cluster_sizes, [30; 6]);
    are_means(&fit, &points.view(), None);
}

fn centroids_hold_for_weights_of_any_size(device: &Device) {
    let points = groups(3, 40);
    for (light, heavy) in
        [(1e-6, 1.0), (1e-20, 1e20), (0.5_f64.powi(60), 1.0), (1e-150, 1e150), (1e-300, 1.0)]
    {
        let mut draws = Draws::new(32);
        let weights: Vec<f64> = (0..120)
            .map(|row| (0.5 + draws.unit()) * [heavy, light, (light * heavy).sqrt()][row / 40])
            .collect();
        let fit = fitted(device, &points.view(), &[0, 40, 80], Some(&weights));
        assert_eq!(fit.cluster_sizes, [40; 3], "{light} {heavy}");
        are_means(&fit, &points.view(), Some(&weights));
        // Heavy rows among light ones decide alone, as they should.
        let mixed: Vec<f64> = (0..120).map(|row| weights[(row * 7) % 120]).collect();
        are_means(&fitted(device, &points.view(), &[0, 40, 80], Some(&mixed)), &points.view(), Some(&mixed));
    }
}

fn light_rows_count_beside_heavy_ones(device: &Device) {
    // A cluster whose rows together weigh less than the grid of weights holds is no empty one.
    let points = groups(2, 20);
    let weights: Vec<f64> = (0..40).map(|row| if row < 20 { 1.0 } else { 1e-18 }).collect();
    let fit = fitted(device, &points.view(), &[0, 20], Some(&weights));
    assert_eq!(fit.cluster_sizes, [20, 20]);
    are_means(&fit, &points.view(), Some(&weights));
}

fn directions_hold_for_weights_of_any_size(device: &Device) {
    let points = groups(2, 30);
    let points = Array2::from_shape_fn((60, 3), |(row, column)| {
        if row < 30 && column == 2 { -9.0 * points[[row, column]] } else { points[[row, column]] }
    });
    let weights: Vec<f64> = (0..60).map(|row| if row < 30 { 1.0 } else { 1e-200 }).collect();
    let init = Init::Centroids(points.select(ndarray::Axis(0), &[0, 30]).mapv(f64::from));
    let params = Params::new(2).init(init).weights(weights).spherical(true).max_iter(5);
    let fit = kmeans::fit(device, points.view(), &params).unwrap();
    let centroids = fit.model.centroids();
    for cluster in 0..2 {
        let rows = points.slice(s![cluster * 30..(cluster + 1) * 30, ..]).mapv(f64::from);
        let mut sum = ndarray::Array1::<f64>::zeros(3);
        rows.outer_iter().for_each(|row| sum += &(&row / row.dot(&row).sqrt()));
        let direction = &sum / sum.dot(&sum).sqrt();
        let error = (&centroids.row(cluster) - &direction).mapv(f64::abs).sum();
        assert!(error < 1e-6, "{cluster}: {} {direction}", centroids.row(cluster));
    }
}
