//! The nearest and farthest against distances in `f64` that this file computes itself, on every backend: the same
//! indices, not merely equally good ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, ArrayView2, Axis, concatenate};
use tilefold::Device;
use tilefold::distance::{Matrix, Metric};
use tilefold::neighbours::{Neighbours, Params, nearest, nearest_of_each};

use crate::support::backends::on_every_backend;
use crate::support::cases::{duplicates, tail_shapes, ties, uniform};

/// Metrics that tiles screen.
pub const SCREENED: [Metric; 4] =
    [Metric::SquaredEuclidean, Metric::Euclidean, Metric::Cosine, Metric::InnerProduct];

on_every_backend!(
    shapes_around_every_boundary_are_exact,
    every_geometric_metric_is_exact,
    counts_up_to_all_points_are_exact,
    ties_go_to_the_lowest_index,
    whole_numbers_are_exact,
    sets_with_themselves_are_exact,
    neighbours_hold_under_offsets_and_scales,
    neighbours_hold_beside_far_outliers,
    every_element_type_is_exact,
    windows_and_parts_change_no_bit,
    nearly_equal_rows_are_told_apart,
    squares_that_underflow_are_ties,
);

/// The metric from its formula. Cosine distances of nearly equal rows are only needed to a tolerance.
pub fn value(metric: Metric, x: &[f64], y: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let differences = || x.iter().zip(y).map(|(x, y)| (x - y).abs());
    match metric {
        Metric::SquaredEuclidean => differences().map(|d| d * d).sum(),
        Metric::Euclidean => differences().map(|d| d * d).sum::<f64>().sqrt(),
        Metric::Cosine => 1.0 - dot(x, y) / (dot(x, x).sqrt() * dot(y, y).sqrt()),
        Metric::InnerProduct => dot(x, y),
        Metric::Manhattan => differences().sum(),
        Metric::Chebyshev => differences().fold(0.0, f64::max),
        other => panic!("{other}: no formula here"),
    }
}

/// Checks a certificate: no index twice, no value better than a chosen one left out, values as the formula has them.
///
/// `slack` is what formula and library may differ by in `f64`; 0 also demands ascending indices among equal values.
#[track_caller]
pub fn check(
    found: &Neighbours,
    (metric, farthest): (Metric, bool),
    points: &Array2<f64>,
    queries: &Array2<f64>,
    left_out: impl Fn(usize, usize) -> bool,
    slack: f64,
) {
    let sign = if (metric == Metric::InnerProduct) == farthest { 1.0 } else { -1.0 };
    assert_eq!(found.indices.nrows(), queries.nrows());
    let distances = found.distances.clone().into_f64();
    let is_single = matches!(found.distances, Matrix::F32(_));
    for (query, row) in queries.outer_iter().enumerate() {
        let row = row.to_vec();
        let values: Vec<f64> =
            points.outer_iter().map(|point| sign * value(metric, &row, &point.to_vec())).collect();
        let chosen: Vec<usize> = found.indices.row(query).iter().map(|&index| index as usize).collect();
        let mut is_chosen = vec![false; points.nrows()];
        for &index in &chosen {
            assert!(!is_chosen[index], "{metric}: query {query} has {index} twice");
            assert!(!left_out(query, index), "{metric}: query {query} has {index}");
            is_chosen[index] = true;
        }
        for pair in chosen.windows(2) {
            let (a, b) = (values[pair[0]], values[pair[1]]);
            let is_ordered =
                if slack == 0.0 { a < b || (a == b && pair[0] < pair[1]) } else { a <= b + slack };
            assert!(is_ordered, "{metric}: query {query}: {pair:?} {a} {b}");
        }
        let last = chosen[chosen.len() - 1];
        for index in (0..points.nrows()).filter(|&index| !is_chosen[index] && !left_out(query, index)) {
            let (a, b) = (values[last], values[index]);
            let is_worse = if slack == 0.0 { a < b || (a == b && last < index) } else { a <= b + slack };
            assert!(is_worse, "{metric}: query {query} left out {index}: {b}, and has {last}: {a}");
        }
        for (rank, &index) in chosen.iter().enumerate() {
            let (got, expected) = (distances[[query, rank]], sign * values[index]);
            let unit = if is_single { 6e-8 } else { 1e-15 };
            let allowed = slack + unit * expected.abs() + if is_single { 1e-45 } else { 0.0 };
            assert!((got - expected).abs() <= allowed, "{metric}: {query} {index}: {got} {expected}");
        }
    }
}

/// What [`value`] and the library may differ by.
pub fn slack(metric: Metric, points: &Array2<f64>) -> f64 {
    let largest = points.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let depth = points.ncols() as f64;
    match metric {
        Metric::Cosine => 4.0 * (depth + 4.0) * f64::EPSILON,
        // Sums in the same order have the same bits.
        Metric::SquaredEuclidean | Metric::Euclidean => 0.0,
        _ => depth * largest * largest * depth * f64::EPSILON,
    }
}

pub fn wide<T: Copy + Into<f64>>(rows: ArrayView2<T>) -> Array2<f64> {
    rows.mapv(Into::into)
}

/// All bits of a result.
pub fn bits(found: &Neighbours) -> (Vec<u32>, Vec<u64>) {
    let values = found.distances.clone().into_f64();
    (found.indices.iter().copied().collect(), values.iter().map(|value| value.to_bits()).collect())
}

fn shapes_around_every_boundary_are_exact(device: &Device) {
    for shape in tail_shapes() {
        let queries = uniform(shape.rows, shape.depth, 1.0, 1);
        let points = uniform(shape.others, shape.depth, 1.0, 2);
        for (metric, count) in [(Metric::SquaredEuclidean, 1), (Metric::InnerProduct, 5)] {
            let params = Params::new(metric, count.min(shape.others));
            let found = nearest(device, points.view(), queries.view(), &params).unwrap();
            let (points, queries) = (wide(points.view()), wide(queries.view()));
            check(&found, (metric, false), &points, &queries, |_, _| false, slack(metric, &points));
        }
    }
}

fn every_geometric_metric_is_exact(device: &Device) {
    let (points, queries) = (uniform(150, 19, 1.0, 3), uniform(40, 19, 1.0, 4));
    for metric in Metric::GEOMETRIC {
        for farthest in [false, true] {
            let params = Params::new(metric, 7).farthest(farthest);
            let found = nearest(device, points.view(), queries.view(), &params).unwrap();
            let (points, queries) = (wide(points.view()), wide(queries.view()));
            check(&found, (metric, farthest), &points, &queries, |_, _| false, slack(metric, &points));
            let reference = nearest(
                &Device::reference(),
                points.mapv(|v| v as f32).view(),
                queries.mapv(|v| v as f32).view(),
                &params,
            );
            assert_eq!(bits(&found), bits(&reference.unwrap()), "{metric}");
        }
    }
}

fn counts_up_to_all_points_are_exact(device: &Device) {
    let (points, queries) = (uniform(300, 6, 1.0, 5), uniform(9, 6, 1.0, 6));
    for metric in SCREENED {
        for count in [1, 2, 31, 32, 33, 64, 128, 129, 299, 300] {
            let params = Params::new(metric, count);
            let found = nearest(device, points.view(), queries.view(), &params).unwrap();
            assert_eq!(found.indices.dim(), (9, count));
            let (points, queries) = (wide(points.view()), wide(queries.view()));
            check(&found, (metric, false), &points, &queries, |_, _| false, slack(metric, &points));
        }
    }
}

fn ties_go_to_the_lowest_index(device: &Device) {
    let grid = ties(8, 3);
    for farthest in [false, true] {
        for metric in [Metric::SquaredEuclidean, Metric::Euclidean] {
            let params = Params::new(metric, 9).farthest(farthest);
            let found = nearest(device, grid.centroids.view(), grid.points.view(), &params).unwrap();
            let (points, queries) = (wide(grid.centroids.view()), wide(grid.points.view()));
            check(&found, (metric, farthest), &points, &queries, |_, _| false, 0.0);
        }
    }
    // Every point is equal to many others.
    let points = duplicates(700, 4, 3, 7);
    let found = nearest_of_each(device, points.view(), &Params::new(Metric::Cosine, 5)).unwrap();
    let same = |a: usize, b: usize| points.row(a) == points.row(b);
    for (row, indices) in found.indices.outer_iter().enumerate() {
        let expected: Vec<u32> = (0..700).filter(|&at| same(at, row)).take(5).map(|at| at as u32).collect();
        assert_eq!(indices.to_vec(), expected, "{row}");
    }
    let found = nearest_of_each(device, points.view(), &Params::new(Metric::SquaredEuclidean, 300)).unwrap();
    let points = wide(points.view());
    check(&found, (Metric::SquaredEuclidean, false), &points, &points, |_, _| false, 0.0);
}

fn whole_numbers_are_exact(device: &Device) {
    let points = uniform(260, 33, 200.0, 8).mapv(|v| v.abs() as u8);
    let queries = uniform(50, 33, 200.0, 9).mapv(|v| v.abs() as u8);
    for metric in [Metric::SquaredEuclidean, Metric::Euclidean, Metric::InnerProduct] {
        let found = nearest(device, points.view(), queries.view(), &Params::new(metric, 12)).unwrap();
        check(&found, (metric, false), &wide(points.view()), &wide(queries.view()), |_, _| false, 0.0);
    }
}

fn sets_with_themselves_are_exact(device: &Device) {
    let points = uniform(130, 11, 1.0, 10);
    for metric in SCREENED {
        for includes_self in [true, false] {
            let params = Params::new(metric, 4).includes_self(includes_self);
            let found = nearest_of_each(device, points.view(), &params).unwrap();
            let points = wide(points.view());
            let left_out = |query, index| !includes_self && query == index;
            check(&found, (metric, false), &points, &points, left_out, slack(metric, &points));
            if metric != Metric::InnerProduct {
                let firsts = found.indices.column(0);
                let own = firsts.iter().enumerate().filter(|&(row, &index)| row == index as usize).count();
                assert_eq!(own, if includes_self { 130 } else { 0 }, "{metric}");
            }
        }
    }
}

fn neighbours_hold_under_offsets_and_scales(device: &Device) {
    for (scale, offset) in [(1.0, 1e6), (1e-30, 0.0), (1e15, 0.0), (1e-3, -1e4)] {
        let points = uniform(90, 8, scale, 11).mapv(|v| v + offset);
        let queries = uniform(20, 8, scale, 12).mapv(|v| v + offset);
        for metric in SCREENED {
            let found = nearest(device, points.view(), queries.view(), &Params::new(metric, 5)).unwrap();
            let (points, queries) = (wide(points.view()), wide(queries.view()));
            check(&found, (metric, false), &points, &queries, |_, _| false, slack(metric, &points));
        }
    }
}

/// Rows whose differences vanish in `f32` beside the spread of the data.
fn neighbours_hold_beside_far_outliers(device: &Device) {
    let mut points = uniform(200, 5, 1e-4, 13);
    points.row_mut(77).fill(1e4);
    let queries = uniform(15, 5, 1e-4, 14);
    for metric in [Metric::SquaredEuclidean, Metric::Euclidean] {
        for farthest in [false, true] {
            let params = Params::new(metric, 3).farthest(farthest);
            let found = nearest(device, points.view(), queries.view(), &params).unwrap();
            let (points, queries) = (wide(points.view()), wide(queries.view()));
            check(&found, (metric, farthest), &points, &queries, |_, _| false, 0.0);
        }
    }
}

fn every_element_type_is_exact(device: &Device) {
    let (points, queries) = (uniform(70, 9, 100.0, 15), uniform(13, 9, 100.0, 16));
    let double = wide(points.view()).mapv(|v| v * std::f64::consts::PI);
    for metric in SCREENED {
        let params = Params::new(metric, 6);
        let found = nearest(device, double.view(), queries.view(), &params).unwrap();
        assert!(matches!(found.distances, Matrix::F64(_)));
        check(
            &found,
            (metric, false),
            &double,
            &wide(queries.view()),
            |_, _| false,
            slack(metric, &double) + 1e-9,
        );
        macro_rules! whole {
            ($($type:ty),*) => {$({
                let points = points.mapv(|v| v.abs() as $type);
                let found = nearest(device, points.view(), queries.view(), &params).unwrap();
                let wide_points = points.mapv(|v| v as f64);
                let slack = slack(metric, &wide_points) + if metric == Metric::InnerProduct { 1e-9 } else { 0.0 };
                check(&found, (metric, false), &wide_points, &wide(queries.view()), |_, _| false, slack);
            })*};
        }
        whole!(u8, i8, u16, i16, u32, i32, u64, i64);
        let half = points.mapv(half::f16::from_f32);
        let found = nearest(device, half.view(), queries.view(), &params).unwrap();
        check(
            &found,
            (metric, false),
            &half.mapv(f64::from),
            &wide(queries.view()),
            |_, _| false,
            slack(metric, &double),
        );
    }
}

fn windows_and_parts_change_no_bit(device: &Device) {
    let (points, queries) = (uniform(900, 17, 1.0, 17), uniform(60, 17, 1.0, 18));
    for metric in SCREENED {
        let params = Params::new(metric, 10);
        let whole = nearest(device, points.view(), queries.view(), &params).unwrap();
        for window_bytes in [8192, 20_000, 50_000] {
            let narrow = device.clone().with_window_bytes(window_bytes);
            let found = nearest(&narrow, points.view(), queries.view(), &params).unwrap();
            assert_eq!(bits(&found), bits(&whole), "{metric} in windows of {window_bytes}");
        }
        // Queries one by one, in any company, and on other devices.
        for query in [0, 31, 59] {
            let alone = queries.select(Axis(0), &[query]);
            let found = nearest(device, points.view(), alone.view(), &params).unwrap();
            assert_eq!(found.indices.row(0), whole.indices.row(query), "{metric}");
            let found = nearest(&Device::cpu(), points.view(), alone.view(), &params).unwrap();
            assert_eq!(found.indices.row(0), whole.indices.row(query), "{metric}");
        }
        // Points part by part, merged by value and index.
        let cuts = [0, 1, 129, 400, 900];
        let mut merged: Vec<Vec<(f64, u32)>> = vec![Vec::new(); 60];
        for part in cuts.windows(2) {
            let some = points.slice(ndarray::s![part[0]..part[1], ..]);
            let params = Params::new(metric, 10.min(part[1] - part[0]));
            let found = nearest(device, some, queries.view(), &params).unwrap();
            let values = found.distances.into_f64();
            for ((row, rank), index) in found.indices.indexed_iter() {
                merged[row].push((values[[row, rank]], index + part[0] as u32));
            }
        }
        let expected = whole.distances.clone().into_f64();
        for (row, all) in merged.iter_mut().enumerate() {
            let sign = if metric == Metric::InnerProduct { -1.0 } else { 1.0 };
            all.sort_by(|a, b| (sign * a.0).total_cmp(&(sign * b.0)).then(a.1.cmp(&b.1)));
            for (rank, &(value, index)) in all.iter().take(10).enumerate() {
                assert_eq!(value.to_bits(), expected[[row, rank]].to_bits(), "{metric} {row} {rank}");
                assert_eq!(index, whole.indices[[row, rank]], "{metric} {row} {rank}");
            }
        }
    }
}

/// Candidates that differ in the last bits of `f32`, more than a list's spare room of them.
fn nearly_equal_rows_are_told_apart(device: &Device) {
    let base = uniform(1, 24, 1.0, 19);
    let noise = uniform(600, 24, 3e-8, 20);
    let near = Array2::from_shape_fn((600, 24), |(row, column)| base[[0, column]] + noise[[row, column]]);
    let points = concatenate(Axis(0), &[uniform(100, 24, 1.0, 21).view(), near.view()]).unwrap();
    let queries = uniform(12, 24, 1.0, 22);
    for metric in SCREENED {
        for farthest in [false, true] {
            let params = Params::new(metric, 20).farthest(farthest);
            let found = nearest(device, points.view(), queries.view(), &params).unwrap();
            let (points, queries) = (wide(points.view()), wide(queries.view()));
            check(&found, (metric, farthest), &points, &queries, |_, _| false, slack(metric, &points));
        }
    }
}

/// Values that vanish in `f64` are ties, however far apart a tile sees the rows.
fn squares_that_underflow_are_ties(device: &Device) {
    for (scale, farthest) in [(1e-155, false), (1e-162, false), (1e-162, true), (1e-170, false)] {
        let points = wide(uniform(120, 5, 1.0, 25).view()).mapv(|v| v * scale);
        let queries = wide(uniform(30, 5, 1.0, 26).view()).mapv(|v| v * scale);
        for metric in [Metric::SquaredEuclidean, Metric::Euclidean, Metric::InnerProduct] {
            let params = Params::new(metric, 6).farthest(farthest);
            let found = nearest(device, points.view(), queries.view(), &params).unwrap();
            let expected = nearest(&Device::reference(), points.view(), queries.view(), &params).unwrap();
            assert_eq!(bits(&found), bits(&expected), "{metric} {scale:e}");
            let itself = nearest_of_each(device, points.view(), &params).unwrap();
            let expected = nearest_of_each(&Device::reference(), points.view(), &params).unwrap();
            assert_eq!(bits(&itself), bits(&expected), "{metric} {scale:e}");
        }
    }
}

/// The windows of a set that is searched with itself serve rows and columns alike: the same as two sets.
#[test]
fn a_large_set_with_itself_is_as_two_sets() {
    let device = Device::cpu_with_threads(3).unwrap();
    let points = uniform(3300, 5, 1.0, 23);
    for farthest in [false, true] {
        for (metric, rows, count) in [
            (Metric::SquaredEuclidean, &points, 12),
            (Metric::Cosine, &points, 12),
            (Metric::InnerProduct, &points, 12),
        ] {
            let params = Params::new(metric, count).farthest(farthest);
            let together = nearest_of_each(&device, rows.view(), &params).unwrap();
            let apart = nearest(&device, rows.view(), rows.view(), &params).unwrap();
            assert_eq!(bits(&together), bits(&apart), "{metric} {farthest}");
            let alone = nearest_of_each(&device, rows.view(), &params.clone().includes_self(false)).unwrap();
            let wider = Params::new(metric, count + 1).farthest(farthest);
            let wider = nearest(&device, rows.view(), rows.view(), &wider).unwrap();
            for (row, found) in alone.indices.outer_iter().enumerate() {
                let others = wider.indices.row(row);
                let expected: Vec<u32> =
                    others.iter().copied().filter(|&index| index as usize != row).take(count).collect();
                assert_eq!(found.to_vec(), expected, "{metric} {farthest} {row}");
            }
        }
    }
}

/// More equal rows than a list holds: they are decided on between windows.
#[test]
fn thousands_of_equal_rows_come_by_index() {
    let twins = duplicates(4300, 2, 1, 24);
    let params = Params::new(Metric::Euclidean, 5).includes_self(false);
    let together = nearest_of_each(&Device::cpu(), twins.view(), &params).unwrap();
    for (row, found) in together.indices.outer_iter().enumerate() {
        let expected: Vec<u32> = (0..7).filter(|&index| index as usize != row).take(5).collect();
        assert_eq!(found.to_vec(), expected, "{row}");
    }
    let queries = twins.slice(ndarray::s![..40, ..]);
    let apart = nearest(&Device::cpu(), twins.view(), queries, &params).unwrap();
    assert!(apart.indices.outer_iter().all(|found| found.to_vec() == [0, 1, 2, 3, 4]));
}

/// Whole numbers, so the formula's distances are exact and so must the indices be.
#[test]
#[cfg_attr(without_data, ignore = "TILEFOLD_DATA is not set")]
fn the_nearest_of_sift_are_exact() {
    let folder = std::env::var_os("TILEFOLD_DATA").expect("TILEFOLD_DATA names the folder of the data");
    let path = std::path::Path::new(&folder).join("sift-5k.tsv");
    // The last column is a number of the row.
    let options = tilefold::data::ReadOptions::default().columns(0..128);
    let table = tilefold::Table::open_with(path, &options).unwrap();
    let tilefold::Points::F64(points) = table.points() else { panic!("text is f64") };
    let points = points.mapv(|value| value as f32);
    let some = points.slice(ndarray::s![..;25, ..]);
    let found =
        nearest(&Device::cpu(), points.view(), some, &Params::new(Metric::SquaredEuclidean, 10)).unwrap();
    let queries = wide(some);
    check(&found, (Metric::SquaredEuclidean, false), &wide(points.view()), &queries, |_, _| false, 0.0);
    let each =
        nearest_of_each(&Device::cpu(), points.view(), &Params::new(Metric::SquaredEuclidean, 10)).unwrap();
    assert_eq!(each.indices.slice(ndarray::s![..;25, ..]), found.indices);
}
