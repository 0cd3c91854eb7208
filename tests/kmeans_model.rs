//! What a model answers: the nearest centroids of a point, distances to all of them, a score.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, s};
use tilefold::kmeans::{self, Fit, LARGEST_TOP, Params};
use tilefold::{Device, Error};

use crate::support::backends::on_every_backend;
use crate::support::cases::{self, BlobsShape};
use crate::support::lloyd;

on_every_backend! {
    nearest_are_the_nearest, ties_in_nearest_go_to_the_lowest_index,
    nearest_refuses_wrong_counts_and_columns, transform_is_exact_to_f64, score_is_inertia
}

fn fitted(rows: usize, columns: usize, n_clusters: usize, offset: f64, seed: u64) -> (Array2<f32>, Fit) {
    let shape = BlobsShape { rows, columns, clusters: n_clusters, spread: 1.5, offset };
    let points = cases::blobs(shape, seed).points;
    let fit = kmeans::fit(&Device::cpu(), points.view(), &Params::new(n_clusters).max_iter(4)).unwrap();
    (points, fit)
}

/// Indices by true distance, ties to the lowest, all in `f64`.
fn sorted(points: &Array2<f32>, centroids: &Array2<f64>) -> Vec<Vec<(f64, u32)>> {
    let wide = points.mapv(f64::from);
    wide.outer_iter()
        .map(|x| {
            let distance = |(k, c)| (lloyd::squared_distance(x, c), k as u32);
            let mut all: Vec<(f64, u32)> = centroids.outer_iter().enumerate().map(distance).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            all
        })
        .collect()
}

fn nearest_are_the_nearest(device: &Device) {
    for (rows, columns, n_clusters, count) in
        [(70, 3, 5, 5), (130, 17, 70, 1), (90, 33, 70, 9), (40, 5, 100, 64)]
    {
        let (points, fit) = fitted(rows.max(n_clusters), columns, n_clusters, 50.0, 7);
        let found = fit.model.nearest(device, points.view(), count).unwrap();
        let truth = sorted(&points, &fit.model.centroids());
        assert_eq!(found.indices.dim(), (points.nrows(), count));
        for (row, truth) in truth.iter().enumerate() {
            for rank in 0..count {
                let (square, distance) = (truth[rank].0, found.distances[[row, rank]]);
                let close = (distance - square.sqrt()).abs() <= 1e-6 * (1.0 + square.sqrt());
                assert!(close, "row {row}, rank {rank}: {distance}, expected {}", square.sqrt());
                // The centroids read back in input units carry fewer digits: near ties may swap there.
                let gap = truth.get(rank + 1).map_or(1.0, |next| next.0 - square);
                let before = if rank == 0 { 1.0 } else { square - truth[rank - 1].0 };
                if gap.min(before) > 1e-9 * (1.0 + square) {
                    assert_eq!(found.indices[[row, rank]], truth[rank].1, "row {row}, rank {rank}");
                }
            }
        }
        assert_eq!(found.indices.slice(s![.., 0]), fit.labels, "the first of the nearest is the label");
        let cpu = fit.model.nearest(&Device::cpu(), points.view(), count).unwrap();
        assert!(
            found.indices == cpu.indices && found.distances == cpu.distances,
            "{rows} x {columns}, {n_clusters} centroids, {count} nearest differ from the CPU's"
        );
    }
}

/// Points on a line of centroids with equal steps tie between their neighbours.
fn ties_in_nearest_go_to_the_lowest_index(device: &Device) {
    let centroids = Array2::from_shape_fn((40, 1), |(k, _)| 2.0 * k as f64);
    let points = Array2::from_shape_fn((39, 1), |(i, _)| 2.0 * i as f32 + 1.0);
    let whole = Array2::from_shape_fn((40, 1), |(k, _)| 2.0 * k as f32);
    let fit = kmeans::fit(&Device::cpu(), whole.view(), &Params::new(40).warm_start(centroids).max_iter(1))
        .unwrap();
    let found = fit.model.nearest(device, points.view(), 4).unwrap();
    for row in 1..38_u32 {
        let got: Vec<u32> = found.indices.row(row as usize).to_vec();
        let expected = if row < 38 { [row, row + 1, row - 1, row + 2] } else { [0; 4] };
        assert_eq!(got, expected, "row {row}");
        assert_eq!(found.distances.row(row as usize).to_vec(), [1.0, 1.0, 3.0, 3.0]);
    }
}

fn nearest_refuses_wrong_counts_and_columns(device: &Device) {
    let (points, fit) = fitted(200, 3, 80, 0.0, 9);
    for count in [0, LARGEST_TOP + 1] {
        let error = fit.model.nearest(device, points.view(), count).unwrap_err();
        assert!(matches!(error, Error::Parameter { name: "count", .. }), "{error}");
    }
    let error = fit.model.nearest(device, points.slice(s![.., ..2]), 3).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "points", .. }), "{error}");
}

/// f64 points far from the origin: absolute error at most 1e-7 of the spread, and 0 on a centroid.
fn transform_is_exact_to_f64(device: &Device) {
    let shape = BlobsShape { rows: 120, columns: 6, clusters: 4, spread: 1.0, offset: 0.0 };
    let points = cases::blobs(shape, 11).points.mapv(|x| f64::from(x) + 1e8);
    let fit = kmeans::fit(device, points.view(), &Params::new(120).max_iter(1)).unwrap();
    let distances = fit.model.transform(device, points.view()).unwrap();
    let centroids = fit.model.centroids();
    for (row, x) in points.outer_iter().enumerate() {
        for (k, c) in centroids.outer_iter().enumerate() {
            let expected = lloyd::squared_distance(x, c).sqrt();
            let error = (distances[[row, k]] - expected).abs();
            // The centroids themselves come back rounded at 1e8.
            assert!(error <= 1e-7 * 20.0, "row {row}, centroid {k}: {error}");
        }
    }
}

fn score_is_inertia(device: &Device) {
    let (points, fit) = fitted(300, 7, 9, 1e4, 13);
    let score = fit.model.score(device, points.view(), None).unwrap();
    assert!((score + fit.inertia).abs() <= 1e-9 * fit.inertia, "{score} {}", fit.inertia);
    let twice = fit.model.score(device, points.view(), Some(&vec![2.0; 300])).unwrap();
    assert!((twice - 2.0 * score).abs() <= 1e-12 * twice.abs());
    let error = fit.model.score(device, points.view(), Some(&[1.0])).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "weights", .. }), "{error}");
}
