//! Sparse rows give the bits of the same rows held dense; centroids of a named type are those of the input, in `f64`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, ArrayView2};
use tilefold::data::{Indices, SparseRows, SparseValues};
use tilefold::kmeans::{self, Params};
use tilefold::{Device, ElementType, Points};

use crate::support::backends::on_every_backend;
use crate::support::cases;

on_every_backend! { sparse_rows_are_dense_rows, centroids_are_means_of_the_input }

/// Rows of which about two thirds are 0, one of them altogether.
fn mostly_zero(rows: usize, columns: usize, shift: f32) -> Array2<f32> {
    let mut points = cases::uniform(rows, columns, 1.0, 300);
    points.mapv_inplace(|value| if value.abs() < 0.66 { 0.0 } else { value + shift });
    points.row_mut(3).fill(0.0);
    points
}

pub fn compressed(points: &Array2<f32>) -> (Vec<i64>, Vec<i32>, Vec<f32>) {
    let (mut starts, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
    for row in points.outer_iter() {
        for (column, &value) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
            indices.push(column as i32);
            values.push(value);
        }
        starts.push(values.len() as i64);
    }
    (starts, indices, values)
}

fn sparse_rows_are_dense_rows(device: &Device) {
    // Far from the origin the offset is not 0, and neither is the x' of what is not stored.
    for shift in [0.0, 50.0] {
        let points = mostly_zero(700, 19, shift);
        let (starts, indices, values) = compressed(&points);
        let double: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
        for values in [SparseValues::F32(&values), SparseValues::F64(&double)] {
            let rows = SparseRows::new(19, Indices::I64(&starts), Indices::I32(&indices), values).unwrap();
            let rows = Points::Sparse(rows);
            let params = Params::new(5).seed(8).weights((0..700).map(|row| 0.5 + (row % 7) as f64).collect());
            let dense = kmeans::fit(device, points.view(), &params).unwrap();
            let sparse = kmeans::fit(device, rows.view(), &params).unwrap();
            assert_eq!(sparse.model.centroids(), dense.model.centroids());
            assert_eq!((&sparse.labels, sparse.inertia), (&dense.labels, dense.inertia));
            let model = &dense.model;
            assert_eq!(model.predict(device, rows.view()).unwrap().labels, dense.labels);
            let distances = |points: Points| model.transform(device, points).unwrap();
            assert_eq!(distances(rows.view()), distances(points.view().into()));
            let score = |points: Points| model.score(device, points, None).unwrap();
            assert_eq!(score(rows), score(points.view().into()));
        }
    }
}

fn centroids_are_means_of_the_input(device: &Device) {
    // Neither the offset's grid nor 24 bits hold these values: x' rounds them.
    let points = Array2::from_shape_fn((900, 6), |(row, column)| {
        1000.0 + 10.0 * (row % 4) as f64 + (row as f64 * 0.7 + column as f64).sin() / 3.0
    });
    // Few iterations: the labels that led to the centroids differ from the final ones.
    for max_iter in [1, 2, 300] {
        let params = Params::new(7).seed(3).tol(0.0).max_iter(max_iter);
        let plain = kmeans::fit(device, points.view(), &params).unwrap();
        let fit = kmeans::fit(device, points.view(), &params.centroid_type(ElementType::F64)).unwrap();
        let centroids = fit.model.centroids();
        let largest = (&centroids - &plain.model.centroids()).mapv(f64::abs).fold(0.0_f64, |a, &b| a.max(b));
        assert!(largest > 0.0 && largest <= 40.0 * f64::from(f32::EPSILON), "{largest}");
        if fit.converged {
            let expected = means(points.view(), fit.labels.as_slice().unwrap(), 7);
            let error = (&centroids - &expected).mapv(f64::abs).fold(0.0_f64, |a, &b| a.max(b));
            // A mean of n terms, added in order: n u of the sum of magnitudes.
            assert!(error <= 900.0 * f64::EPSILON * 1040.0, "{error}");
        }
        // What is handed out is what the labels and distances are of.
        assert_eq!(fit.labels, fit.model.predict(device, points.view()).unwrap().labels);
        let own = fit.model.transform(device, centroids.view()).unwrap();
        assert!(own.diag().iter().all(|&distance| distance == 0.0), "{:?}", own.diag());
        let direct: f64 = points
            .outer_iter()
            .zip(&fit.labels)
            .map(|(x, &label)| (&x - &centroids.row(label as usize)).mapv(|d| d * d).sum())
            .sum();
        assert!((fit.inertia - direct).abs() <= 1e-10 * direct, "{} {direct}", fit.inertia);
    }
}

fn means(points: ArrayView2<f64>, labels: &[u32], n_clusters: usize) -> Array2<f64> {
    let mut means = Array2::zeros((n_clusters, points.ncols()));
    let mut counts = vec![0.0; n_clusters];
    for (row, &label) in points.outer_iter().zip(labels) {
        let mut mean = means.row_mut(label as usize);
        mean += &row;
        counts[label as usize] += 1.0;
    }
    for (mut mean, count) in means.outer_iter_mut().zip(counts) {
        mean /= count;
    }
    means
}
