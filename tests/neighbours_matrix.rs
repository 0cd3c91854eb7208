//! Neighbours whose lists are collected with f16 products: on the device's own matrix units, and with plain WGSL in place
//! of 16x16x16 ones. What must hold elsewhere must hold here, bit for bit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, Axis};
use tilefold::distance::Metric;
use tilefold::neighbours::{Filter, Filters, Neighbours, Params, nearest, nearest_of_each};
use tilefold::{Device, Points};

use crate::neighbours::{SCREENED, bits};
use crate::neighbours_exact::NearTies;
use crate::support::backends;
use crate::support::cases::{Draws, duplicates, uniform};
use crate::support::matrix::{self, on_both};

on_both! {
    neighbours_hold_at_every_boundary_of_the_tiles, many_steps_of_columns_are_exact,
    near_ties_are_decided_in_f64, near_ties_fail_without_bound, exact_ties_go_to_the_lowest_index,
    neighbours_hold_under_offsets_and_scales, neighbours_hold_for_features_of_mixed_scales,
    neighbours_hold_beside_outliers, filters_and_a_set_with_itself_are_exact, windows_change_no_bit,
    same_bits_as_without, what_is_lost_goes_on_in_f32, too_many_lost_end_the_screen
}

/// The neighbours, and those of the definition, which must be the same bits. Returns the share that was screened.
#[track_caller]
fn equal<'a>(
    device: &Device,
    points: impl Into<Points<'a>> + Copy,
    queries: impl Into<Points<'a>> + Copy,
    params: &Params,
) -> f64 {
    let found = nearest(device, points, queries, params).unwrap();
    let expected = nearest(&Device::reference(), points, queries, params).unwrap();
    assert_eq!(expected.screened, 0.0, "the definition screens nothing");
    same(&found, &expected, params);
    found.screened
}

#[track_caller]
fn same(found: &Neighbours, expected: &Neighbours, params: &Params) {
    assert!(bits(found) == bits(expected), "{params:?}: {:?}, not {:?}", found.indices, expected.indices);
}

/// Every size meets every other in turn, not all at once.
fn neighbours_hold_at_every_boundary_of_the_tiles(device: &Device) {
    let depths = [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 112, 127, 128, 129, 160, 161];
    let many = [40, 63, 64, 65, 127, 128, 129, 130, 255, 256, 257];
    let rows = [1, 7, 8, 9, 31, 63, 64, 65, 127, 128, 129];
    let counts = [1, 2, 7, 16, 33, 40];
    let mut screened = 0;
    let mut runs = 0;
    for (at, depth) in depths.into_iter().enumerate() {
        for turn in 0..3 {
            let (points, queries) = (many[(3 * at + 5 * turn) % 11], rows[(5 * at + 2 * turn) % 11]);
            let (metric, count) = (SCREENED[(at + turn) % 4], counts[(at + turn) % 6]);
            let (points, queries) = (
                uniform(points, depth, 1.0, (100 * depth + turn) as u64),
                uniform(queries, depth, 1.0, (100 * depth + turn + 50) as u64),
            );
            let params = Params::new(metric, count).farthest(turn == 2);
            screened += usize::from(equal(device, points.view(), queries.view(), &params) > 0.9);
            runs += 1;
        }
    }
    for points in [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33] {
        let (points, queries) = (uniform(points, 20, 1.0, 3), uniform(9, 20, 1.0, 4));
        let count = points.nrows().min(5);
        for metric in SCREENED {
            let share = equal(device, points.view(), queries.view(), &Params::new(metric, count));
            assert_eq!(share, 1.0, "{metric}: {} points", points.nrows());
        }
    }
    assert!(screened > runs * 9 / 10, "only {screened} of {runs} searches were screened");
}

/// The nearest come last: every step finds better ones.
fn many_steps_of_columns_are_exact(device: &Device) {
    let (mut points, queries) = (uniform(2600, 17, 1.0, 60), uniform(70, 17, 1.0, 61));
    for (row, mut point) in points.outer_iter_mut().enumerate() {
        point.mapv_inplace(|value| value + 3.0 * (1.0 - row as f32 / 2600.0));
    }
    for metric in SCREENED {
        for (count, farthest) in [(1, false), (10, true), (200, false)] {
            let params = Params::new(metric, count).farthest(farthest);
            let share = equal(device, points.view(), queries.view(), &params);
            assert!(share > 0.9, "{metric} {count}: {share}");
        }
    }
}

/// Below what `f32` tells apart, and below what `f16` does.
const NOISES: [f64; 2] = [3e-7, 3e-4];

fn near_ties_are_decided_in_f64(device: &Device) {
    for (depth, noise) in [(24, NOISES[0]), (150, NOISES[0]), (24, NOISES[1]), (150, NOISES[1])] {
        let ties = NearTies::apart(depth, noise, depth as u64);
        for metric in SCREENED {
            assert_eq!(ties.wrong_nearest(device, metric, true), 0, "{metric}, {depth} columns");
            let params = Params::new(metric, 5);
            let share = equal(device, ties.points.view(), ties.queries.view(), &params);
            assert_eq!(share, 1.0, "{metric}: decided elsewhere");
        }
    }
}

/// The check above must be able to fail: without the bound the errors of `f16` decide. Points that it holds for equal are
/// all listed, so they differ by more here.
fn near_ties_fail_without_bound(device: &Device) {
    for depth in [24, 150] {
        let ties = NearTies::apart(depth, NOISES[1], depth as u64);
        for metric in SCREENED {
            let wrong = ties.wrong_nearest(device, metric, false);
            let single = ties.wrong_nearest(&device.clone().with_matrix_units(false), metric, false);
            println!("{metric}, {depth} columns: {wrong} of 60 are wrong without the bound, {single} in f32");
            assert!(wrong > 40, "{metric}: only {wrong} are wrong");
            assert!(single < wrong, "{metric}: as wrong in f32, {single}: nothing was screened in f16");
        }
    }
}

fn exact_ties_go_to_the_lowest_index(device: &Device) {
    let points = duplicates(300, 20, 60, 62);
    for metric in SCREENED {
        for includes_self in [true, false] {
            let params = Params::new(metric, 7).includes_self(includes_self);
            let found = nearest_of_each(device, points.view(), &params).unwrap();
            let expected = nearest_of_each(&Device::reference(), points.view(), &params).unwrap();
            same(&found, &expected, &params);
            assert!(found.screened > 0.99, "{metric}: {}", found.screened);
        }
    }
    // Whole numbers of few values: f16 holds them, and many distances are equal.
    let mut draws = Draws::new(9);
    let points = Array2::from_shape_simple_fn((150, 20), || draws.below(3) as f32);
    for metric in [Metric::SquaredEuclidean, Metric::Euclidean, Metric::InnerProduct] {
        equal(device, points.view(), points.slice(ndarray::s![..40, ..]), &Params::new(metric, 9));
    }
}

fn neighbours_hold_under_offsets_and_scales(device: &Device) {
    let (points, queries) = (uniform(200, 40, 1.0, 10), uniform(50, 40, 1.0, 11));
    for (scale, offset) in
        [(1.0, 1e3), (1.0, 1e6), (1e-30, 0.0), (1e-18, 0.0), (1e18, 0.0), (1e30, 0.0), (1e-3, 1e3)]
    {
        let shift = |rows: &Array2<f32>| rows.mapv(|value| f64::from(value) * scale + offset);
        let (points, queries) = (shift(&points), shift(&queries));
        let single = |rows: &Array2<f64>| rows.mapv(|value| value as f32);
        let (points_f32, queries_f32) = (single(&points), single(&queries));
        for metric in SCREENED {
            for farthest in [false, true] {
                let params = Params::new(metric, 6).farthest(farthest);
                let share = equal(device, points.view(), queries.view(), &params);
                // Shifted rows point in nearly one direction, whose products nearly agree.
                let is_shifted = offset != 0.0 && matches!(metric, Metric::Cosine | Metric::InnerProduct);
                assert!(share > 0.99 || is_shifted, "{metric} {scale:e} {offset:e}: {share}");
                // Squares of 1e30 are beyond results of f32.
                if scale < 1e30 {
                    equal(device, points_f32.view(), queries_f32.view(), &params);
                }
            }
        }
    }
}

/// One feature over a million times as large as the others; and features that differ by more than f16 spans.
fn neighbours_hold_for_features_of_mixed_scales(device: &Device) {
    let mut draws = Draws::new(12);
    for spread in [6, 20, 40] {
        let mut rows = |count: usize| {
            Array2::from_shape_fn((count, 33), |(_, column)| {
                draws.normal() as f32 * 2.0_f32.powi(-((column % spread) as i32))
            })
        };
        let (points, queries) = (rows(220), rows(40));
        for metric in SCREENED {
            equal(device, points.view(), queries.view(), &Params::new(metric, 8));
        }
    }
    let mut points = uniform(150, 24, 1.0, 13);
    points.column_mut(5).mapv_inplace(|value| value * 3e6);
    for metric in SCREENED {
        equal(device, points.view(), points.slice(ndarray::s![..60, ..]), &Params::new(metric, 5));
    }
}

/// One far row makes the scale of all, and so the residuals of the others, large.
fn neighbours_hold_beside_outliers(device: &Device) {
    for size in [1e2_f32, 1e4, 1e8] {
        let mut points = uniform(200, 20, 1.0, 14);
        points.row_mut(17).fill(size);
        for metric in SCREENED {
            for farthest in [false, true] {
                let params = Params::new(metric, 5).farthest(farthest);
                equal(device, points.view(), points.slice(ndarray::s![..40, ..]), &params);
            }
        }
    }
}

fn filters_and_a_set_with_itself_are_exact(device: &Device) {
    let points = uniform(260, 24, 1.0, 15);
    let thirds = |rest: u32| Filter::Ids((0..260).filter(|id| id % 3 == rest).collect());
    let groups = Filters::per_query(vec![thirds(0), thirds(1), thirds(2)], (0..260).map(|q| q % 3).collect());
    for metric in SCREENED {
        for filters in [Filters::for_all(thirds(1)), groups.clone()] {
            for includes_self in [true, false] {
                let params = Params::new(metric, 6).filters(filters.clone()).includes_self(includes_self);
                let found = nearest_of_each(device, points.view(), &params).unwrap();
                let expected = nearest_of_each(&Device::reference(), points.view(), &params).unwrap();
                same(&found, &expected, &params);
                assert!(found.screened > 0.99, "{metric}: {}", found.screened);
            }
        }
    }
}

fn windows_change_no_bit(device: &Device) {
    let (points, queries) = (uniform(900, 40, 1.0, 16), uniform(300, 40, 1.0, 17));
    let params = Params::new(Metric::Euclidean, 10);
    let expected = nearest(&Device::reference(), points.view(), queries.view(), &params).unwrap();
    // Of 64 points at least; rows one by one, where the list of a row is longer than the window.
    for window_bytes in [1 << 10, 1 << 15, 1 << 17, 1 << 20] {
        let device = device.clone().with_window_bytes(window_bytes);
        let some = if window_bytes < 1 << 15 { 12 } else { 300 };
        let queries = queries.slice(ndarray::s![..some, ..]);
        let found = nearest(&device, points.view(), queries, &params).unwrap();
        assert_eq!(found.indices, expected.indices.slice(ndarray::s![..some, ..]), "{window_bytes}");
        // Lists of so few points hold more than they are worth, and the tile of f32 may go on.
        assert!(found.screened > 0.0, "{window_bytes}: {}", found.screened);
    }
}

fn same_bits_as_without(device: &Device) {
    let (points, queries) = (uniform(700, 100, 1.0, 18), uniform(130, 100, 1.0, 19));
    for metric in SCREENED {
        let params = Params::new(metric, 12);
        let with = nearest(device, points.view(), queries.view(), &params).unwrap();
        assert_eq!(with.screened, 1.0, "{metric}");
        assert_eq!(with.device, device.name());
        for other in [device.clone().with_matrix_units(false), backends::cpu()] {
            let without = nearest(&other, points.view(), queries.view(), &params).unwrap();
            assert_eq!(without.screened, 0.0);
            same(&with, &without, &params);
        }
    }
}

/// A crowd of points that `f32` tells apart and `f16` does not, each in a direction of its own, and as many others.
/// They come in turns, five of the crowd and three others: a list would be full of the crowd before any other came.
fn crowd() -> Array2<f32> {
    let (crowd, others) = (uniform(1500, 24, 1e-2, 20), uniform(900, 24, 1.0, 21));
    Array2::from_shape_fn((2400, 24), |(row, column)| match (row / 8, row % 8) {
        (turn, place @ 0..5) => 1.0 + crowd[[5 * turn + place, column]],
        (turn, place) => others[[3 * turn + place - 5, column]],
    })
}

/// So many rows of the crowd, and so many others.
fn rows_of_crowd(in_crowd: usize, others: usize) -> (Vec<usize>, Vec<usize>) {
    let is_in_crowd = |row: &usize| row % 8 < 5;
    let rows = || 0..2400_usize;
    let others = rows().filter(|row| !is_in_crowd(row)).take(others);
    (rows().filter(is_in_crowd).take(in_crowd).collect(), others.collect())
}

/// Queries in the crowd are lost to f16. So few are the host's; more are the f32 tile's, and all others are not.
fn what_is_lost_goes_on_in_f32(device: &Device) {
    let points = crowd();
    let params = Params::new(Metric::SquaredEuclidean, 8);
    for (in_crowd, others) in [(1, 60), (9, 400), (80, 60)] {
        let (crowd, rest) = rows_of_crowd(in_crowd, others);
        let queries = points.select(Axis(0), &[crowd, rest].concat());
        let found = nearest(device, points.view(), queries.view(), &params).unwrap();
        let expected = nearest(&backends::cpu(), points.view(), queries.view(), &params).unwrap();
        same(&found, &expected, &params);
        let share = others as f64 / (in_crowd + others) as f64;
        assert!((found.screened - share).abs() < 1e-9, "{in_crowd} of {others}: {}", found.screened);
    }
}

/// A first block of queries that f16 loses: the f32 tile goes on with all blocks, on the device.
fn too_many_lost_end_the_screen(device: &Device) {
    let points = crowd();
    // Blocks of a few tens of queries, whose lists are as long as a window allows.
    let device = device.clone().with_window_bytes(1 << 20);
    let params = Params::new(Metric::SquaredEuclidean, 8);
    let search = |device: &Device, rows: Vec<usize>| {
        let queries = points.select(Axis(0), &rows);
        let before = device.device_calls();
        let found = nearest(device, points.view(), queries.view(), &params).unwrap();
        let calls = device.device_calls() - before;
        let expected = nearest(&backends::cpu(), points.view(), queries.view(), &params).unwrap();
        same(&found, &expected, &params);
        (found.screened, calls)
    };
    let (crowd, rest) = rows_of_crowd(150, 150);
    let (lost_first, lost_last) = ([crowd.clone(), rest.clone()].concat(), [rest, crowd].concat());
    let (share, calls) = search(&device, lost_first.clone());
    assert_eq!(share, 0.0, "the screen goes on");
    let (none, calls_of_f32) = search(&device.clone().with_matrix_units(false), lost_first);
    assert_eq!(none, 0.0);
    assert!(calls > calls_of_f32, "{calls} and {calls_of_f32}: the host went on, not the f32 tile");
    let (share, _) = search(&device, lost_last);
    assert!(share > 0.3 && share <= 0.5, "{share}");
}

/// Plain matrices of 8, beside the device's own.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn neighbours_hold_at_every_boundary_of_plain_matrices_of_8() {
    neighbours_hold_at_every_boundary_of_the_tiles(&backends::gpu().with_plain_matrices(8));
}

/// Units that fail their self-test collect nothing.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn a_fault_in_the_self_test_turns_the_units_off() {
    let points = uniform(200, 20, 1.0, 22);
    let params = Params::new(Metric::Cosine, 5);
    let search = |device: &Device| equal(device, points.view(), points.slice(ndarray::s![..30, ..]), &params);
    for fault in ["narrow sums", "lost products", "doubled sums"] {
        let device = backends::gpu().with_plain_matrices(8);
        assert_eq!(search(&device), 1.0);
        device.plant_matrix_fault(fault);
        assert_eq!(search(&device), 0.0, "{fault}");
    }
}

/// Neither software adapters nor the CPU are screened so unless asked to.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn the_switch_decides() {
    let points = uniform(100, 20, 1.0, 23);
    for device in [backends::gpu().with_matrix_units(false), Device::cpu().with_matrix_units(true)] {
        let params = Params::new(Metric::SquaredEuclidean, 3);
        assert_eq!(equal(&device, points.view(), points.view(), &params), 0.0, "{}", device.name());
    }
}

/// On real data f16 leaves nothing: lists of the ten nearest of SIFT hold few columns beside those.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
#[cfg_attr(without_data, ignore = "TILEFOLD_DATA is not set")]
fn sift_is_screened() {
    let folder = std::env::var_os("TILEFOLD_DATA").expect("TILEFOLD_DATA names the folder of the data");
    let path = std::path::Path::new(&folder).join("sift-5k.tsv");
    // The last column is a number of the row.
    let options = tilefold::data::ReadOptions::default().columns(0..128);
    let table = tilefold::Table::open_with(path, &options).unwrap();
    let Points::F64(points) = table.points() else { panic!("text is f64") };
    let points = points.mapv(|value| value as f32);
    let queries = points.slice(ndarray::s![..;150, ..]);
    let params = Params::new(Metric::SquaredEuclidean, 10);
    assert_eq!(equal(&matrix::units(), points.view(), queries, &params), 1.0);
}
