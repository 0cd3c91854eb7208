//! Properties over random shapes and values, on the CPU.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, Axis};
use proptest::prelude::*;
use tilefold::Device;
use tilefold::kmeans::{self, Fit, Init, Params};

use crate::support::cases::Draws;
use crate::support::compare::{self, Distances, must};
use crate::support::lloyd;
use crate::support::random;

/// Whole numbers of few bits, noise, few distinct values, or a wide range of magnitudes; and the number of clusters.
fn problems() -> impl Strategy<Value = (Array2<f32>, usize)> {
    (1_usize..90, 1_usize..40, 0_u8..4).prop_flat_map(|(rows, columns, kind)| {
        let value = match kind {
            0 => (-50_i32..50).prop_map(|v| v as f32).boxed(),
            1 => (-1.0_f32..1.0).boxed(),
            2 => prop::sample::select(vec![-1.5_f32, 0.0, -0.0, 0.25, 3.0]).boxed(),
            _ => (-1.0_f32..1.0, -30_i32..30).prop_map(|(v, e)| v * 2.0_f32.powi(e)).boxed(),
        };
        let values = prop::collection::vec(value, rows * columns);
        (values.prop_map(move |v| Array2::from_shape_vec((rows, columns), v).unwrap()), 1..=rows)
    })
}

/// Whole numbers, no row twice, and few clusters, which seldom run empty.
fn distinct_whole_numbers() -> impl Strategy<Value = (Array2<f32>, usize)> {
    (5_usize..90, 2_usize..40).prop_flat_map(|(rows, columns)| {
        let values = prop::collection::vec((-50_i32..50).prop_map(|v| v as f32), rows * columns);
        let points = values.prop_map(move |values| {
            let mut points = Array2::from_shape_vec((rows, columns), values).unwrap();
            points.column_mut(0).iter_mut().enumerate().for_each(|(row, value)| *value = row as f32);
            points
        });
        (points, 1_usize..5)
    })
}

fn params(points: &Array2<f32>, k: usize, max_iter: usize) -> Params {
    let init = points.select(Axis(0), &(0..k).map(|c| c * points.nrows() / k).collect::<Vec<_>>());
    Params::new(k).init(Init::Centroids(init.mapv(f64::from))).max_iter(max_iter).tol(0.0)
}

fn fit(points: &Array2<f32>, params: &Params) -> Fit {
    kmeans::fit(&Device::cpu(), points.view(), params).unwrap()
}

proptest! {
    #![proptest_config(random::cases(96))]

    /// No centroid is nearer than the labelled one; centroids are the means of their rows.
    #[test]
    fn labels_are_nearest_and_centroids_are_means((points, k) in problems(), max_iter in 1_usize..20) {
        let fit = fit(&points, &params(&points, k, max_iter));
        let wide = points.mapv(f64::from);
        let distances = lloyd::all_distances(&wide, &fit.model.centroids());
        let largest = distances.iter().copied().fold(0.0, f64::max);
        let table = Distances { values: &distances, columns: k };
        must(compare::nearest(table, &fit.labels.to_vec(), |_| 1e-6 * largest));
        // An empty cluster that takes a row in the last iteration moves centroids although no label changed.
        let rests = fit.history.last().is_some_and(|last| last.shift == 0.0);
        if rests && fit.cluster_sizes.iter().all(|&size| size > 0) {
            let scale = wide.iter().fold(0.0_f64, |scale, v| scale.max(v.abs()));
            for cluster in 0..k {
                let rows: Vec<usize> = (0..points.nrows()).filter(|&row| fit.labels[row] == cluster as u32).collect();
                let mean = wide.select(Axis(0), &rows).mean_axis(Axis(0)).unwrap();
                for (got, expected) in fit.model.centroids().row(cluster).iter().zip(&mean) {
                    prop_assert!((got - expected).abs() <= 1e-6 * scale, "{} {}", got, expected);
                }
            }
        }
    }

    /// Whole numbers leave no excuse: the label is the lowest of the exactly nearest, and sums are exact.
    #[test]
    fn whole_numbers_are_exact(
        values in prop::collection::vec(-9_i32..9, 4 * 60),
        columns in prop::sample::select(vec![1_usize, 2, 3, 4, 6, 8]),
        k in 1_usize..12,
    ) {
        let rows = values.len() / columns;
        let values = values[..rows * columns].iter().map(|&v| v as f32).collect();
        let points = Array2::from_shape_vec((rows, columns), values).unwrap();
        let first = points.slice(ndarray::s![..k, ..]).to_owned();
        // The given centroids rest: only their own rows have weight.
        let mut distinct: Vec<usize> = (0..k).filter(|&c| (0..c).all(|b| first.row(b) != first.row(c))).collect();
        distinct.sort();
        let centroids = first.select(Axis(0), &distinct);
        let weights = (0..rows).map(|row| f64::from(u8::from(distinct.contains(&row)))).collect();
        let init = Init::Centroids(centroids.mapv(f64::from));
        let rested = fit(&points, &Params::new(distinct.len()).init(init).weights(weights));
        prop_assert_eq!(rested.model.centroids(), centroids.mapv(f64::from));
        for (row, x) in points.outer_iter().enumerate() {
            prop_assert_eq!(rested.labels[row], lloyd::exact_nearest(x, &centroids).0);
        }
        // One cluster: its centroid is the correctly rounded mean, up to the last addition of the offset.
        let one = fit(&points, &params(&points, 1, 1));
        for (column, &got) in one.model.centroids().row(0).iter().enumerate() {
            let sum: i64 = points.column(column).iter().map(|&v| v as i64).sum();
            let mean = sum as f64 / rows as f64;
            prop_assert!((got - mean).abs() <= 4e-15 * (1.0 + mean.abs()), "{} {}", got, mean);
        }
    }

    /// The order of the rows does not matter: the same centroids, to the bit, and the labels go along.
    #[test]
    fn permuted_rows_permute_labels((points, k) in distinct_whole_numbers(), seed in any::<u64>()) {
        // Relocated rows are chosen by row number among equally far ones, and only whole numbers add to the same
        // offset in any order: problems without the one and with the other must agree in every bit.
        let never_empty = |max_iter| {
            fit(&points, &params(&points, k, max_iter)).cluster_sizes.iter().all(|&size| size > 0)
        };
        prop_assume!((1..=6).all(never_empty));
        let mut draws = Draws::new(seed);
        let mut order: Vec<usize> = (0..points.nrows()).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, draws.below(last + 1));
        }
        let params = params(&points, k, 6);
        let (plain, permuted) = (fit(&points, &params), fit(&points.select(Axis(0), &order), &params));
        let labels: Vec<u32> = order.iter().map(|&row| plain.labels[row]).collect();
        prop_assert_eq!(permuted.labels.to_vec(), labels);
        prop_assert_eq!(&permuted.model.centroids(), &plain.model.centroids());
        prop_assert_eq!(permuted.n_iter, plain.n_iter);
    }

    /// Powers of two change the unit and nothing else.
    #[test]
    fn powers_of_two_scale_everything((points, k) in problems(), exponent in -60_i32..60) {
        let factor = 2.0_f32.powi(exponent);
        let scaled = points.mapv(|v| v * factor);
        let (plain, scaled) = (fit(&points, &params(&points, k, 6)), fit(&scaled, &params(&scaled, k, 6)));
        prop_assert_eq!(&plain.labels, &scaled.labels);
        prop_assert_eq!(plain.model.centroids() * f64::from(factor), scaled.model.centroids());
        prop_assert_eq!(plain.inertia * f64::from(factor).powi(2), scaled.inertia);
        prop_assert_eq!(plain.n_iter, scaled.n_iter);
    }

    /// The definition and the fast path label alike, up to decisions that rounding takes.
    #[test]
    fn the_reference_agrees((points, k) in problems()) {
        let params = params(&points, k, 1);
        let fast = fit(&points, &params);
        let definition = kmeans::fit(&Device::reference(), points.view(), &params).unwrap();
        let size: f64 = points.iter().map(|&v| f64::from(v).powi(2)).sum();
        prop_assert!((fast.inertia - definition.inertia).abs() <= 1e-6 * definition.inertia + 1e-12 * size);
        let wide = points.mapv(f64::from);
        let distances = lloyd::all_distances(&wide, &definition.model.centroids());
        let largest = distances.iter().copied().fold(0.0, f64::max);
        let table = Distances { values: &distances, columns: k };
        must(compare::nearest(table, &fast.labels.to_vec(), |_| 1e-12 * largest));
    }
}
