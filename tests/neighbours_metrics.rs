//! Every metric, with its own parameters, packed bits and sparse rows, against the matrix of distances; and what each
//! refuses.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, ArrayView1, array, s};
use tilefold::data::{Indices, SparseRows, SparseValues};
use tilefold::distance::{self, Matrix, Metric, between};
use tilefold::neighbours::{
    Params, RadiusParams, count_within, nearest, nearest_of_each, nth_nearest, nth_nearest_of_each, within,
};
use tilefold::{Device, Error, Points};

use crate::distance_metrics::table;
use crate::kmeans_sparse::compressed;
use crate::neighbours::{SCREENED, bits};
use crate::support::backends::on_every_backend;
use crate::support::cases::{Draws, uniform};

on_every_backend!(
    every_metric_ranks_as_its_matrix,
    packed_bits_are_exact,
    sparse_rows_are_dense_rows,
    the_last_alone_is_the_last_of_all,
    parameters_are_refused,
    boxes_are_refused,
    missing_values_are_left_out,
    shells_are_refused,
    too_many_pairs_are_told_before_they_are_made,
);

/// Every metric that neighbours take and that rows of numbers have, with parameters where it needs them.
fn measures(columns: usize) -> Vec<distance::Params> {
    let weights: Vec<f64> = (0..columns).map(|column| column as f64 * 0.3).collect();
    let inverse = Array2::from_shape_fn((columns, columns), |(row, column)| {
        if row == column { 2.0 + row as f64 } else { 0.3 / (1.0 + row.abs_diff(column) as f64) }
    });
    let mut all = vec![distance::Params::new(Metric::Minkowski).p(3.0).weights(weights.clone())];
    for metric in Metric::ALL {
        let plain = distance::Params::new(metric);
        match metric {
            Metric::NanEuclidean | Metric::Haversine | Metric::BitHamming | Metric::BitJaccard => {}
            Metric::Minkowski => all.push(plain.p(1.5)),
            Metric::StandardizedEuclidean => {
                all.push(plain.variances(weights.iter().map(|weight| weight + 0.5).collect()));
            }
            Metric::Mahalanobis => all.push(plain.inverse_covariance(inverse.clone())),
            _ => all.push(plain),
        }
    }
    all
}

/// Rows that the metric takes.
fn rows(metric: Metric, count: usize, columns: usize, seed: u64) -> Array2<f64> {
    let mut draws = Draws::new(seed);
    let is_bits = matches!(
        metric,
        Metric::Jaccard
            | Metric::Dice
            | Metric::RogersTanimoto
            | Metric::RussellRao
            | Metric::SokalSneath
            | Metric::Yule
            | Metric::Matching
            | Metric::Hamming
    );
    Array2::from_shape_fn((count, columns), |_| {
        let value = draws.unit();
        if is_bits { value.round() } else { 0.01 + value }
    })
}

#[track_caller]
fn check_ranks(device: &Device, measure: &distance::Params, points: &Points, queries: &Points) {
    let matrix =
        between(&Device::reference(), queries.view(), points.view(), measure).unwrap().matrix.into_f64();
    let sign = if measure.metric == Metric::InnerProduct { -1.0 } else { 1.0 };
    for farthest in [false, true] {
        let params = Params::of(measure.clone(), 5).farthest(farthest);
        let found = nearest(device, points.view(), queries.view(), &params).unwrap();
        let values = found.distances.into_f64();
        for (row, indices) in found.indices.outer_iter().enumerate() {
            let sign = if farthest { -sign } else { sign };
            let mut order: Vec<usize> = (0..points.rows()).collect();
            order.sort_by(|&a, &b| {
                let (x, y) = (sign * matrix[[row, a]], sign * matrix[[row, b]]);
                x.partial_cmp(&y).unwrap().then(a.cmp(&b))
            });
            let expected: Vec<u32> = order.iter().take(5).map(|&index| index as u32).collect();
            assert_eq!(indices.to_vec(), expected, "{} {row} {farthest}", measure.metric);
            for (rank, &index) in indices.iter().enumerate() {
                assert_eq!(values[[row, rank]], matrix[[row, index as usize]], "{}", measure.metric);
            }
        }
    }
    // Halfway between two values, so that no rounding of the type of results decides.
    let mut all: Vec<f64> = matrix.iter().copied().collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    let at = all.len() / 3;
    let radius = f64::midpoint(all[at], all[(at + 1).min(all.len() - 1)]);
    let params = RadiusParams::of(measure.clone(), radius);
    let found = within(device, points.view(), queries.view(), &params).unwrap();
    let counted = count_within(device, points.view(), queries.view(), &params).unwrap();
    assert_eq!(counted.total as usize, found.indices.len());
    for row in 0..queries.rows() {
        let own = found.offsets[row] as usize..found.offsets[row + 1] as usize;
        let expected = (0..points.rows()).filter(|&index| sign * matrix[[row, index]] <= sign * radius);
        let expected: Vec<u32> = expected.map(|index| index as u32).collect();
        assert_eq!(found.indices[own], expected, "{} {row}", measure.metric);
    }
}

fn every_metric_ranks_as_its_matrix(device: &Device) {
    for measure in measures(9) {
        let (points, queries) = (rows(measure.metric, 70, 9, 90), rows(measure.metric, 21, 9, 91));
        check_ranks(device, &measure, &points.view().into(), &queries.view().into());
    }
}

fn packed_bits_are_exact(device: &Device) {
    let mut draws = Draws::new(92);
    // One query has no bit set, one point neither; one point equals a query.
    let mut words =
        |count: usize| Array2::from_shape_fn((count, 3), |_| (draws.bits() & draws.bits()) as u32);
    let (mut points, mut queries) = (words(90), words(20));
    points.row_mut(7).fill(0);
    queries.row_mut(3).fill(0);
    queries.row_mut(4).assign(&points.row(50));
    let bytes = |rows: &Array2<u32>| {
        Array2::from_shape_fn((rows.nrows(), 12), |(row, at)| rows[[row, at / 4]].to_le_bytes()[at % 4])
    };
    let (few_points, few_queries) = (bytes(&points), bytes(&queries));
    for metric in [Metric::BitHamming, Metric::BitJaccard] {
        let params = Params::new(metric, 11);
        let found = nearest(device, points.view(), queries.view(), &params).unwrap();
        for (row, query) in queries.outer_iter().enumerate() {
            let value = |point: ndarray::ArrayView1<u32>| {
                let count = |of: fn(u32, u32) -> u32| -> u32 {
                    point.iter().zip(query).map(|(&x, &y)| of(x, y).count_ones()).sum()
                };
                let (only, either) = (f64::from(count(|x, y| x ^ y)), f64::from(count(|x, y| x | y)));
                if metric == Metric::BitHamming {
                    only
                } else if only == 0.0 {
                    0.0
                } else {
                    only / either
                }
            };
            let mut all: Vec<(f64, u32)> = points.outer_iter().map(value).zip(0..).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let expected: Vec<u32> = all.iter().take(11).map(|&(_, index)| index).collect();
            assert_eq!(found.indices.row(row).to_vec(), expected, "{metric} {row}");
        }
        let again = nearest(device, few_points.view(), few_queries.view(), &params).unwrap();
        assert_eq!(bits(&again), bits(&found), "{metric}: bytes are as words");
        assert!(matches!(found.distances, Matrix::F32(_)));
        let each = nearest_of_each(device, points.view(), &params.includes_self(false)).unwrap();
        assert!(
            each.indices.outer_iter().enumerate().all(|(row, own)| own.iter().all(|&i| i as usize != row))
        );
    }
    let outcome = nearest(device, few_points.view(), queries.view(), &Params::new(Metric::BitHamming, 1));
    assert!(matches!(outcome, Err(Error::Shape { argument: "queries", .. })), "{outcome:?}");
    let floats = points.mapv(|v| v as f32);
    let outcome = nearest_of_each(device, floats.view(), &Params::new(Metric::BitJaccard, 1));
    assert!(matches!(outcome, Err(Error::Shape { argument: "points", .. })), "{outcome:?}");
}

fn sparse_rows_are_dense_rows(device: &Device) {
    let mut dense = uniform(120, 14, 1.0, 93);
    dense.mapv_inplace(|value| if value.abs() < 0.6 { 0.0 } else { value });
    dense.column_mut(3).fill(0.5);
    let (starts, indices, values) = compressed(&dense);
    let (starts, indices) = (Indices::I64(&starts), Indices::I32(&indices));
    let sparse = Points::Sparse(SparseRows::new(14, starts, indices, SparseValues::F32(&values)).unwrap());
    let some = dense.slice(s![..30, ..]);
    for metric in SCREENED {
        let params = Params::new(metric, 6);
        let found = nearest(device, sparse.view(), some, &params).unwrap();
        let expected = nearest(device, dense.view(), some, &params).unwrap();
        assert_eq!(bits(&found), bits(&expected), "{metric}");
        let params = RadiusParams::new(metric, 0.9);
        let found = within(device, dense.view(), sparse.view(), &params).unwrap();
        let expected = within(device, dense.view(), dense.view(), &params).unwrap();
        assert_eq!((found.offsets, found.indices), (expected.offsets, expected.indices), "{metric}");
    }
}

fn the_last_alone_is_the_last_of_all(device: &Device) {
    let (points, queries) = (uniform(200, 5, 1.0, 94), uniform(30, 5, 1.0, 95));
    for metric in [Metric::Euclidean, Metric::Manhattan] {
        for count in [1, 2, 17] {
            let params = Params::new(metric, count);
            let all = nearest(device, points.view(), queries.view(), &params).unwrap();
            let last = nth_nearest(device, points.view(), queries.view(), &params).unwrap();
            assert_eq!(last.indices, all.indices.slice(s![.., count - 1..]));
            let (got, expected) = (last.distances.into_f64(), all.distances.into_f64());
            assert_eq!(got, expected.slice(s![.., count - 1..]));
            let each =
                nth_nearest_of_each(device, points.view(), &params.clone().includes_self(false)).unwrap();
            let all = nearest_of_each(device, points.view(), &params.includes_self(false)).unwrap();
            assert_eq!(each.indices, all.indices.slice(s![.., count - 1..]));
        }
    }
    // One value and one index for each query, whatever the count.
    let params = Params::new(Metric::Euclidean, 17).max_bytes(30 * 8);
    assert!(nth_nearest(device, points.view(), queries.view(), &params).is_ok());
}

#[track_caller]
fn refuses(outcome: Result<impl std::fmt::Debug, Error>, expected: &str) {
    let message = outcome.unwrap_err().to_string();
    assert!(message.starts_with(expected), "{message} instead of {expected}");
}

/// By a formula of its own; rows without a common feature are infinitely far apart.
fn missing_values_are_left_out(device: &Device) {
    let metric = Metric::NanEuclidean;
    let points = table(metric, 60, 5, 71);
    let queries = table(metric, 20, 5, 72);
    let value = |x: ArrayView1<f32>, y: ArrayView1<f32>| {
        let both: Vec<f64> =
            x.iter().zip(y).map(|(x, y)| f64::from(*x) - f64::from(*y)).filter(|d| !d.is_nan()).collect();
        let sum: f64 = both.iter().map(|d| d * d).sum();
        if both.is_empty() { f64::INFINITY } else { (5.0 / both.len() as f64 * sum).sqrt() }
    };
    for farthest in [false, true] {
        let params = Params::new(metric, 60).farthest(farthest);
        let found = nearest(device, points.view(), queries.view(), &params).unwrap();
        let distances = found.distances.into_f64();
        let mut apart = 0;
        for (row, x) in queries.outer_iter().enumerate() {
            let values: Vec<f64> = points.outer_iter().map(|y| value(x, y)).collect();
            let mut order: Vec<usize> = (0..60).collect();
            let sign = if farthest { -1.0 } else { 1.0 };
            order.sort_by(|&a, &b| (sign * values[a]).total_cmp(&(sign * values[b])));
            let indices: Vec<usize> = found.indices.row(row).iter().map(|&index| index as usize).collect();
            assert_eq!(indices, order, "query {row}, farthest {farthest}");
            for (&index, &distance) in order.iter().zip(distances.row(row)) {
                let (expected, is_apart) = (values[index], values[index].is_infinite());
                apart += usize::from(is_apart);
                assert!(
                    distance == expected || (distance - expected).abs() <= 1e-6 * expected,
                    "{distance} {expected}"
                );
            }
        }
        assert!(apart > 50, "row 1 of either table has no value: {apart}");
    }
    let radius = RadiusParams::new(metric, 1e30);
    let found = within(device, points.view(), queries.view(), &radius).unwrap();
    let finite = |x: ArrayView1<f32>| points.outer_iter().filter(|y| value(x, *y).is_finite()).count();
    assert_eq!(found.indices.len(), queries.outer_iter().map(finite).sum::<usize>());
    let mut wrong = queries.clone();
    wrong[[3, 1]] = f32::INFINITY;
    refuses(nearest(device, points.view(), wrong.view(), &Params::new(metric, 1)), "queries[3, 1]");
}

fn parameters_are_refused(device: &Device) {
    let points = rows(Metric::Euclidean, 12, 2, 96);
    let search = |measure| nearest_of_each(device, points.view(), &Params::of(measure, 2));
    let plain = distance::Params::new;
    refuses(search(plain(Metric::StandardizedEuclidean)), "variances: expected one variance per column");
    refuses(search(plain(Metric::StandardizedEuclidean).variances(vec![1.0, 0.0])), "variances[0, 1]");
    refuses(search(plain(Metric::Mahalanobis)), "inverse_covariance: expected a square matrix");
    let indefinite = array![[1.0, 2.0], [2.0, 1.0]];
    refuses(search(plain(Metric::Mahalanobis).inverse_covariance(indefinite)), "inverse_covariance");
    refuses(search(plain(Metric::Minkowski).p(0.0)), "p: expected a finite number above 0");
    refuses(search(plain(Metric::Minkowski).weights(vec![1.0])), "weights: expected 2");
    refuses(search(plain(Metric::Euclidean).p(2.0)), "p: expected metric minkowski");
    let radius = RadiusParams::of(plain(Metric::Mahalanobis), 1.0);
    refuses(within(device, points.view(), points.view(), &radius), "inverse_covariance");
    let mut zero = points.clone();
    zero.row_mut(5).fill(0.0);
    for metric in [Metric::Cosine, Metric::Correlation, Metric::JensenShannon, Metric::KullbackLeibler] {
        refuses(nearest(device, points.view(), zero.view(), &Params::new(metric, 1)), "queries[5, 0]");
    }
}

fn boxes_are_refused(device: &Device) {
    let points = rows(Metric::Euclidean, 12, 2, 97);
    let search = |metric, lengths: Vec<f64>| {
        nearest_of_each(device, points.view(), &Params::new(metric, 2).periodic(lengths))
    };
    assert!(search(Metric::Euclidean, vec![2.0, 3.0]).is_ok());
    refuses(search(Metric::Cosine, vec![2.0, 3.0]), "periodic: expected metric sqeuclidean, euclidean");
    refuses(search(Metric::Euclidean, vec![2.0]), "periodic: expected 2 lengths, one per column, got 1");
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refuses(search(Metric::Manhattan, vec![2.0, wrong]), "periodic[0, 1]: expected a length above 0");
    }
    refuses(
        search(Metric::Euclidean, vec![2.0, 1e-3]),
        "points[0, 1]: expected a coordinate within the periodic box",
    );
    let outside = array![[0.5, 0.5], [0.5, -0.1]];
    let params = Params::new(Metric::Euclidean, 2).periodic(vec![2.0, 2.0]);
    refuses(
        nearest(device, points.view(), outside.view(), &params),
        "queries[1, 1]: expected a coordinate within",
    );
}

fn shells_are_refused(device: &Device) {
    let points = rows(Metric::Euclidean, 12, 2, 98);
    let search = |params| within(device, points.view(), points.view(), &params);
    let euclidean = || RadiusParams::new(Metric::Euclidean, 1.0);
    assert!(search(euclidean().beyond(1.0)).unwrap().indices.is_empty());
    refuses(search(euclidean().beyond(1.5)), "beyond: expected at most 1, the radius of query 0, got 1.5");
    refuses(search(euclidean().beyond(f64::NAN)), "beyond: expected a number of at least 0");
    refuses(search(euclidean().beyond(-0.1)), "beyond: expected a number of at least 0");
    refuses(search(euclidean().beyond(vec![0.5])), "beyond: expected 12 values, one per query, got 1");
    let product = RadiusParams::new(Metric::InnerProduct, 0.2);
    refuses(
        search(product.clone().beyond(0.1)),
        "beyond: expected at least 0.2, the radius of query 0, got 0.1",
    );
    let shell = search(product.beyond(0.5)).unwrap().distances.to_f64();
    assert!(!shell.is_empty() && shell.iter().all(|value| *value >= 0.2 && *value < 0.5));
}

fn too_many_pairs_are_told_before_they_are_made(device: &Device) {
    let points = rows(Metric::Euclidean, 40, 3, 99);
    for metric in [Metric::Euclidean, Metric::Canberra] {
        let params = RadiusParams::new(metric, 1e9).max_bytes(40 * 40 * 12 - 1);
        match within(device, points.view(), points.view(), &params) {
            Err(Error::TooLarge { what, needed_bytes: 19_200, limit_bytes: 19_199 }) => {
                assert!(what.contains("1600"), "{what}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(count_within(device, points.view(), points.view(), &params).unwrap().total, 1600);
    }
}
