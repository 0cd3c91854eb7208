//! So many rows, columns and features that processors with instructions for bytes screen with those: the bits of the
//! reference.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, Axis, concatenate};
use tilefold::Device;
use tilefold::distance::Metric;
use tilefold::neighbours::{Params, Radius, RadiusParams, nearest, nearest_of_each, within};

use crate::neighbours::{SCREENED, bits};
use crate::support::cases::{duplicates, uniform};

/// Queries, which are some of what is searched in windows.
const QUERIES: usize = 70;

#[track_caller]
fn check(name: &str, points: &Array2<f32>, queries: &Array2<f32>, metrics: &[Metric]) {
    for &metric in metrics {
        for (farthest, count) in [(false, 7), (true, 3)] {
            let params = Params::new(metric, count).farthest(farthest);
            let find =
                |device: &Device| bits(&nearest(device, points.view(), queries.view(), &params).unwrap());
            let expected = find(&Device::reference());
            // Cut into small windows, and not at all.
            assert_eq!(find(&Device::cpu()), expected, "{name}: {metric}, farthest {farthest}");
            let narrow = Device::cpu().with_window_bytes(16 << 10);
            assert_eq!(find(&narrow), expected, "{name}: {metric}, farthest {farthest}, in windows");
        }
    }
}

#[test]
fn sizes_around_vectors_are_exact() {
    for (rows, columns, depth) in [(64, 512, 48), (65, 513, 49), (70, 575, 63), (96, 608, 130), (71, 700, 50)]
    {
        let (points, queries) = (uniform(columns, depth, 1.0, 1), uniform(rows, depth, 1.0, 2));
        check(&format!("{rows} x {columns} x {depth}"), &points, &queries, &SCREENED);
    }
}

#[test]
fn offsets_scales_and_features_of_all_sizes_are_exact() {
    let (points, queries) = (uniform(560, 52, 1.0, 3), uniform(QUERIES, 52, 1.0, 4));
    for (scale, offset) in [(1e-20, 0.0), (1e18, 0.0), (1.0, 1e5), (1e-3, -7.0)] {
        let moved = |rows: &Array2<f32>| rows.mapv(|value| value * scale + offset);
        check(&format!("{scale:e} + {offset}"), &moved(&points), &moved(&queries), &SCREENED);
    }
    let mixed = |rows: &Array2<f32>| {
        let mut rows = rows.clone();
        for (column, mut values) in rows.axis_iter_mut(Axis(1)).enumerate() {
            values.mapv_inplace(|value| value * 10_f32.powi(column as i32 % 9 - 4));
        }
        rows
    };
    check("mixed features", &mixed(&points), &mixed(&queries), &SCREENED);
    // Rows of very different lengths, some of them nothing beside the others.
    let uneven = |rows: &Array2<f32>| {
        let mut rows = rows.clone();
        for (row, mut values) in rows.outer_iter_mut().enumerate() {
            values.mapv_inplace(|value| value * 10_f32.powi(-3 * (row as i32 % 8)));
        }
        rows
    };
    check("uneven rows", &uneven(&points), &uneven(&queries), &SCREENED);
    let product = [Metric::SquaredEuclidean, Metric::InnerProduct];
    let zeros = concatenate![Axis(0), Array2::zeros((5, 52)), points, Array2::zeros((5, 52))];
    check("rows of zeros", &zeros, &queries, &product);
}

#[test]
fn near_ties_and_equal_rows_are_exact() {
    let base = uniform(1, 64, 1.0, 5);
    let near = |count: usize, size: f64, seed: u64| {
        let noise = uniform(count, 64, size, seed);
        Array2::from_shape_fn((count, 64), |(row, column)| base[[0, column]] + noise[[row, column]])
    };
    let points = concatenate![Axis(0), uniform(300, 64, 1.0, 6), near(300, 3e-7, 7)];
    let queries = concatenate![Axis(0), uniform(40, 64, 1.0, 8), near(40, 1e-3, 9)];
    check("near ties", &points, &queries, &SCREENED);
    check("equal rows", &duplicates(600, 64, 20, 10), &duplicates(80, 64, 9, 10), &SCREENED);
}

#[test]
fn sets_with_themselves_are_exact() {
    for (rows, points) in [(700, uniform(700, 48, 1.0, 11)), (1300, duplicates(1300, 50, 1100, 12))] {
        for metric in SCREENED {
            for farthest in [false, true] {
                let params = Params::new(metric, 5).farthest(farthest).includes_self(false);
                let find = |device: &Device| bits(&nearest_of_each(device, points.view(), &params).unwrap());
                let expected = find(&Device::reference());
                assert_eq!(find(&Device::cpu()), expected, "{rows} rows, {metric}, farthest {farthest}");
            }
        }
    }
    // Several windows: rows and columns change places.
    let points = uniform(3300, 48, 1.0, 13);
    let params = Params::new(Metric::Euclidean, 6);
    let together = nearest_of_each(&Device::cpu(), points.view(), &params).unwrap();
    let apart = nearest(&Device::cpu(), points.view(), points.view(), &params).unwrap();
    assert_eq!(bits(&together), bits(&apart));
}

#[test]
fn radii_are_exact() {
    let (points, queries) = (uniform(600, 60, 1.0, 14), uniform(QUERIES, 60, 1.0, 15));
    for metric in SCREENED {
        // About as far as the fortieth and the four hundredth of a query.
        let params = Params::new(metric, 400);
        let found = nearest(&Device::reference(), points.view(), queries.view(), &params).unwrap();
        let distances = found.distances.into_f64();
        for rank in [0, 39, 399] {
            let params = RadiusParams::new(metric, Radius::One(distances[[3, rank]]));
            let find = |device: &Device| {
                let found = within(device, points.view(), queries.view(), &params).unwrap();
                (found.offsets, found.indices, found.distances.to_f64())
            };
            assert_eq!(find(&Device::cpu()), find(&Device::reference()), "{metric}, rank {rank}");
        }
    }
}
