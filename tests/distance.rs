//! Distance matrices: what holds on every backend.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use ndarray::{Array2, ArrayView2, s};
use tilefold::distance::{
    Distances, Matrix, MatrixView, Metric, Params, between, between_into, pairwise, pairwise_into, stream,
};
use tilefold::{Cancel, Device, Error, Points};

use crate::support::backends::on_every_backend;
use crate::support::cases::{Draws, Shape, duplicates, tail_shapes, uniform};
use crate::support::compare::{MARKER, Wide, close, must};

on_every_backend! {
    tails_agree_with_the_definition, distances_hold_far_from_the_origin, distances_hold_at_any_scale,
    distances_hold_for_wide_ranges_within_one_table, equal_rows_are_at_0_and_a_matrix_is_symmetric,
    f64_tables_give_f64_distances, f64_distances_hold_far_out, integers_and_half_floats_are_their_f64_values,
    blocks_change_no_bit, callers_arrays_are_filled_and_nothing_beside_them, wrong_input_is_named,
    results_beyond_f32_are_errors, cancelling_ends_at_the_next_block
}

const U32: f64 = f32::EPSILON as f64 / 2.0;
const U64: f64 = f64::EPSILON / 2.0;

fn metrics() -> impl Iterator<Item = (Metric, Params)> {
    Metric::GEOMETRIC.into_iter().map(|metric| (metric, Params::new(metric)))
}

/// The documented bound of one entry; `oracle` is its value, in units of u. Rows are original input.
fn bound(metric: Metric, x: &[f64], y: &[f64], oracle: f64, unit: f64, spread: f64) -> f64 {
    let depth = x.len() as f64;
    let m = depth.min(64.0) + (depth / 64.0).ceil() + 1.0;
    let sum = |term: &dyn Fn(f64, f64) -> f64| x.iter().zip(y).map(|(&x, &y)| term(x, y)).sum::<f64>();
    let square = (16.0 * (m + 3.0)).max(depth + 4.0);
    // What underflows beside the largest values: 2^-120 of the spread in f32. In f64, magnitudes here are far from it.
    let lost = if unit == U32 { depth * 2.0_f64.powi(-120) } else { 0.0 };
    // Results below the smallest normal number may be flushed.
    let flushed = if unit == U32 { 2.0 * f64::from(f32::MIN_POSITIVE) } else { 0.0 };
    let value = match metric {
        Metric::SquaredEuclidean => square * unit * oracle + lost * spread * spread,
        Metric::Euclidean => (square / 2.0 + 6.0) * unit * oracle + lost * spread,
        Metric::Cosine => (m + 8.0) * unit,
        Metric::InnerProduct => (m + 4.0) * unit * sum(&|x, y| (x * y).abs()) + lost * spread * spread,
        Metric::Manhattan => (m + 4.0) * unit * oracle + lost * spread,
        _ => 4.0 * unit * oracle + lost * spread,
    };
    value + flushed
}

/// Sum with the error of every addition carried along (Neumaier).
pub fn compensated(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut error) = (0.0_f64, 0.0_f64);
    for term in terms {
        let next = sum + term;
        error += if sum.abs() >= term.abs() { (sum - next) + term } else { (term - next) + sum };
        sum = next;
    }
    sum + error
}

/// The oracle: written apart from the crate's reference, sums compensated.
fn oracle(metric: Metric, x: &[f64], y: &[f64]) -> f64 {
    let pairs = || x.iter().zip(y).map(|(&x, &y)| (x, y));
    match metric {
        Metric::SquaredEuclidean => compensated(pairs().map(|(x, y)| (x - y) * (x - y))),
        Metric::Euclidean => compensated(pairs().map(|(x, y)| (x - y) * (x - y))).sqrt(),
        Metric::Cosine => {
            let length = |row: &[f64]| compensated(row.iter().map(|x| x * x)).sqrt();
            let (a, b) = (length(x), length(y));
            compensated(pairs().map(|(x, y)| (x / a - y / b) * (x / a - y / b))) / 2.0
        }
        Metric::InnerProduct => compensated(pairs().map(|(x, y)| x * y)),
        Metric::Manhattan => compensated(pairs().map(|(x, y)| (x - y).abs())),
        _ => pairs().map(|(x, y)| (x - y).abs()).fold(0.0, f64::max),
    }
}

/// Compares a result with the oracle, entry by entry.
#[track_caller]
fn check(metric: Metric, x: &Array2<f64>, y: &Array2<f64>, found: &Matrix) {
    let spread = x.iter().chain(y).fold(0.0_f64, |most, value| most.max(value.abs()));
    let columns = y.nrows();
    let pair = |index: usize| (row(x, index / columns), row(y, index % columns));
    let expected: Vec<f64> = (0..x.nrows() * columns)
        .map(|index| {
            let (x, y) = pair(index);
            oracle(metric, x, y)
        })
        .collect();
    let limit = |unit: f64| {
        let expected = &expected;
        move |index: usize| {
            let (x, y) = pair(index);
            bound(metric, x, y, expected[index], unit, spread)
        }
    };
    println!("{metric} {} x {} of {}", x.nrows(), columns, x.ncols());
    match found {
        Matrix::F32(found) => must(close(&expected, found.as_slice().unwrap(), limit(U32))),
        Matrix::F64(found) => {
            let found: Vec<Wide> = found.iter().map(|&value| Wide(value)).collect();
            must(close(&expected, &found, limit(U64)));
        }
    }
}

pub fn row(array: &Array2<f64>, index: usize) -> &[f64] {
    array.slice(s![index, ..]).to_slice().unwrap()
}

pub fn widened(array: &Array2<f32>) -> Array2<f64> {
    array.mapv(f64::from)
}

/// The bits of all values.
pub fn bits(found: &Distances) -> Vec<u64> {
    match &found.matrix {
        Matrix::F32(array) => array.iter().map(|value| u64::from(value.to_bits())).collect(),
        Matrix::F64(array) => array.iter().map(|value| value.to_bits()).collect(),
    }
}

fn tails_agree_with_the_definition(device: &Device) {
    for Shape { rows, others, depth } in tail_shapes() {
        let x = uniform(rows, depth, 1.0, 1);
        let y = uniform(others, depth, 1.0, 2);
        for (metric, params) in metrics() {
            let found = between(device, x.view(), y.view(), &params).unwrap();
            check(metric, &widened(&x), &widened(&y), &found.matrix);
        }
    }
}

fn distances_hold_far_from_the_origin(device: &Device) {
    for offset in [1e4, 1e6, -1.6e7] {
        let near = uniform(70, 20, 5.0, 3);
        let x = near.mapv(|value| (f64::from(value) + offset) as f32);
        for (metric, params) in metrics().filter(|(metric, _)| *metric != Metric::Cosine) {
            let found = pairwise(device, x.view(), &params).unwrap();
            check(metric, &widened(&x), &widened(&x), &found.matrix);
            let found = between(device, x.slice(s![..9, ..]), x.slice(s![40.., ..]), &params).unwrap();
            let (x, y) = (x.slice(s![..9, ..]).to_owned(), x.slice(s![40.., ..]).to_owned());
            check(metric, &widened(&x), &widened(&y), &found.matrix);
        }
    }
}

fn distances_hold_at_any_scale(device: &Device) {
    for scale in [1e-30, 1e-18, 1.0, 1e15, 1e18, 1e30] {
        let x = uniform(35, 9, scale, 4);
        let y = uniform(33, 9, 0.3 * scale, 5);
        for (metric, params) in metrics() {
            let squares = matches!(metric, Metric::SquaredEuclidean | Metric::InnerProduct);
            if squares && scale > 1e18 {
                continue;
            }
            let found = between(device, x.view(), y.view(), &params).unwrap();
            check(metric, &widened(&x), &widened(&y), &found.matrix);
        }
    }
    // Scales of X and Y of their own.
    let (x, y) = (uniform(5, 9, 1e-30, 6), uniform(6, 9, 1e30, 7));
    for metric in [Metric::InnerProduct, Metric::Cosine, Metric::Manhattan] {
        let found = between(device, x.view(), y.view(), &Params::new(metric)).unwrap();
        check(metric, &widened(&x), &widened(&y), &found.matrix);
    }
}

fn distances_hold_for_wide_ranges_within_one_table(device: &Device) {
    // Each entry has a magnitude of its own, so that no centring is exact, and pairs lie at all distances.
    let mut draws = Draws::new(8);
    let x = Array2::from_shape_simple_fn((60, 12), || {
        let magnitude = 10.0_f64.powf(draws.unit() * 30.0 - 24.0);
        (draws.normal() * magnitude) as f32
    });
    // Two far groups of near rows: the expanded form loses all digits within a group.
    let groups = Array2::from_shape_fn((60, 12), |(row, column)| {
        let offset = if row % 2 == 0 { 0.0 } else { 1e5 };
        offset + 1e-3 * x[[row, column]].clamp(-1.0, 1.0)
    });
    for (metric, params) in metrics() {
        for x in [&x, &groups] {
            let found = pairwise(device, x.view(), &params).unwrap();
            check(metric, &widened(x), &widened(x), &found.matrix);
        }
    }
}

fn equal_rows_are_at_0_and_a_matrix_is_symmetric(device: &Device) {
    for (rows, depth) in [(130, 67), (65, 3), (1, 5)] {
        let x = duplicates(rows, depth, rows.div_ceil(3), 9);
        for (metric, params) in metrics() {
            let found = pairwise(device, x.view(), &params).unwrap();
            let found = found.matrix.as_f32().unwrap();
            for ((i, j), value) in found.indexed_iter() {
                let mirrored = found[[j, i]];
                assert_eq!(value.to_bits(), mirrored.to_bits(), "{metric} [{i}, {j}]: {value} {mirrored}");
                if metric != Metric::InnerProduct {
                    assert!(*value >= 0.0, "{metric} [{i}, {j}]: {value}");
                    let equal = x.row(i) == x.row(j);
                    assert_eq!(*value == 0.0, equal, "{metric} [{i}, {j}]: {value}");
                    assert!(!equal || value.to_bits() == 0, "{metric} [{i}, {j}]: {value}");
                }
            }
        }
        for (metric, params) in metrics() {
            let wide = pairwise(device, widened(&x).view(), &params).unwrap();
            let wide = wide.matrix.as_f64().unwrap();
            for ((i, j), value) in wide.indexed_iter() {
                assert_eq!(value.to_bits(), wide[[j, i]].to_bits(), "{metric} [{i}, {j}]");
                let is_zero = metric == Metric::InnerProduct || x.row(i) != x.row(j) || *value == 0.0;
                assert!(is_zero, "{metric} [{i}, {j}]: {value}");
            }
        }
    }
    let opposite = ndarray::array![[1.0_f32, 3.0, -2.0], [-2.0, -6.0, 4.0]];
    let found = pairwise(device, opposite.view(), &Params::new(Metric::Cosine)).unwrap();
    let value = found.matrix.as_f32().unwrap()[[0, 1]];
    assert!(value <= 2.0 && value > 1.999_999, "{value}");
}

fn f64_tables_give_f64_distances(device: &Device) {
    let mut draws = Draws::new(10);
    let x = Array2::from_shape_simple_fn((70, 131), || draws.normal());
    let y = Array2::from_shape_simple_fn((40, 131), || draws.normal());
    for (metric, params) in metrics() {
        let found = between(device, x.view(), y.view(), &params).unwrap();
        check(metric, &x, &y, &found.matrix);
        // A table of f32 beside one of f64 is not rounded further.
        let single = x.mapv(|value| value as f32);
        let found = between(device, single.view(), y.view(), &params).unwrap();
        assert!(found.matrix.as_f64().is_some());
        check(metric, &widened(&single), &y, &found.matrix);
    }
}

fn f64_distances_hold_far_out(device: &Device) {
    let mut draws = Draws::new(11);
    for (offset, scale) in [(1e6, 1.0), (0.0, 1e150), (0.0, 1e-150), (-1e12, 1e-3)] {
        let x = Array2::from_shape_simple_fn((40, 12), || offset + scale * draws.normal());
        for (metric, params) in metrics() {
            if offset != 0.0 && metric == Metric::Cosine {
                continue;
            }
            let found = pairwise(device, x.view(), &params).unwrap();
            check(metric, &x, &x, &found.matrix);
        }
    }
}

fn integers_and_half_floats_are_their_f64_values(device: &Device) {
    let mut draws = Draws::new(12);
    let bytes = Array2::from_shape_simple_fn((33, 40), || draws.below(256) as u8);
    let shorts = Array2::from_shape_simple_fn((20, 40), || draws.below(60_000) as u16);
    let longs = Array2::from_shape_simple_fn((20, 40), || draws.below(1 << 52) as i64);
    let halves = Array2::from_shape_simple_fn((20, 40), || half::f16::from_f64(draws.normal()));
    for (metric, params) in metrics() {
        let x = bytes.mapv(f64::from);
        for (points, y) in [
            (Points::from(shorts.view()), shorts.mapv(f64::from)),
            (Points::from(longs.view()), longs.mapv(|value| value as f64)),
            (Points::from(halves.view()), halves.mapv(f64::from)),
        ] {
            let is_wide = points.element_type() == tilefold::ElementType::I64;
            let found = between(device, bytes.view(), points, &params).unwrap();
            assert_eq!(found.matrix.as_f64().is_some(), is_wide);
            check(metric, &x, &y, &found.matrix);
        }
    }
    // Small integers are exact in every precision.
    let found = pairwise(device, bytes.view(), &Params::new(Metric::SquaredEuclidean)).unwrap();
    let x = bytes.mapv(f64::from);
    for ((i, j), &value) in found.matrix.as_f32().unwrap().indexed_iter() {
        assert_eq!(f64::from(value), oracle(Metric::SquaredEuclidean, row(&x, i), row(&x, j)), "[{i}, {j}]");
    }
}

/// The whole of a stream.
fn streamed(device: &Device, x: ArrayView2<f32>, params: &Params) -> (Vec<f32>, usize) {
    let (mut values, mut blocks) = (Vec::new(), 0);
    let filled = stream(device, x, None, params, |block| {
        let MatrixView::F32(rows) = &block.values else { panic!("f32 input") };
        assert_eq!((block.first_row * x.nrows(), rows.ncols()), (values.len(), x.nrows()));
        values.extend_from_slice(rows.to_slice().unwrap());
        blocks += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!((filled.rows, filled.columns), (x.nrows(), x.nrows()));
    (values, blocks)
}

fn blocks_change_no_bit(device: &Device) {
    let x = uniform(150, 90, 1.0, 13);
    for (metric, params) in metrics() {
        let whole = pairwise(device, x.view(), &params).unwrap();
        let expected = whole.matrix.as_f32().unwrap().as_slice().unwrap();
        let (values, blocks) = streamed(device, x.view(), &params);
        assert_eq!((values.as_slice(), blocks), (expected, 1), "{metric}");
        for rows in [1, 7, 64, 149] {
            let params = params.clone().max_bytes(rows * 150 * 4 + 3);
            let (values, blocks) = streamed(device, x.view(), &params);
            assert_eq!(blocks, 150_u64.div_ceil(rows) as usize, "{metric}");
            assert_eq!(values, expected, "{metric} in blocks of {rows}");
        }
        for window_bytes in [4096, 20_000, 50_000] {
            let device = device.clone().with_window_bytes(window_bytes);
            let found = pairwise(&device, x.view(), &params).unwrap();
            assert_eq!(bits(&found), bits(&whole), "{metric} in windows of {window_bytes}");
        }
        let found = between(device, x.view(), x.view(), &params).unwrap();
        assert_eq!(bits(&found), bits(&whole), "{metric}: X as Y");
    }
}

fn callers_arrays_are_filled_and_nothing_beside_them(device: &Device) {
    let (x, y) = (uniform(40, 6, 1.0, 14), uniform(31, 6, 1.0, 15));
    for (metric, params) in metrics() {
        let expected = between(device, x.view(), y.view(), &params).unwrap();
        let expected = expected.matrix.as_f32().unwrap();
        // Every second row of the left part of a larger array: what lies between is not touched.
        let mut out = Array2::from_elem((80, 40), MARKER);
        let filled =
            between_into(device, x.view(), y.view(), &params, out.slice_mut(s![..;2, ..31])).unwrap();
        assert_eq!((filled.rows, filled.columns), (40, 31));
        assert_eq!(out.slice(s![..;2, ..31]), expected, "{metric}");
        let untouched = |view: ArrayView2<f32>| view.iter().all(|v| v.to_bits() == MARKER.to_bits());
        assert!(untouched(out.slice(s![1..;2, ..])) && untouched(out.slice(s![.., 31..])), "{metric}");
        // Columns first.
        let mut out = Array2::from_elem((31, 40), MARKER);
        between_into(device, x.view(), y.view(), &params, out.view_mut().reversed_axes()).unwrap();
        assert_eq!(out.t(), expected, "{metric}");
        // f64 results of f32 input.
        let mut out = Array2::from_elem((40, 40), f64::NAN);
        pairwise_into(device, x.view(), &params, out.view_mut()).unwrap();
        check(metric, &widened(&x), &widened(&x), &Matrix::F64(out));
    }
    let params = Params::new(Metric::Euclidean);
    let mut narrow = Array2::<f32>::zeros((40, 39));
    let message = pairwise_into(device, x.view(), &params, narrow.view_mut()).unwrap_err().to_string();
    assert_eq!(message, "out: expected 40 x 40, got 40 x 39");
    let mut single = Array2::<f32>::zeros((40, 40));
    let outcome = pairwise_into(device, widened(&x).view(), &params, single.view_mut());
    assert!(matches!(outcome, Err(Error::Shape { argument: "out", .. })), "{outcome:?}");
}

fn wrong_input_is_named(device: &Device) {
    let good = uniform(6, 4, 1.0, 16);
    for (metric, params) in metrics() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = good.clone();
            x[[3, 2]] = bad;
            let refused = |outcome: Result<Distances, Error>, name: &str| match outcome {
                Err(Error::Value { argument, row: 3, column: 2, .. }) => assert_eq!(argument, name),
                other => panic!("{metric}: {other:?}"),
            };
            refused(pairwise(device, x.view(), &params), "x");
            refused(between(device, good.view(), x.view(), &params), "y");
        }
        let narrow = good.slice(s![.., ..3]);
        let outcome = between(device, good.view(), narrow, &params);
        assert!(matches!(outcome, Err(Error::Shape { argument: "y", .. })), "{metric}: {outcome:?}");
        for empty in [good.slice(s![..0, ..]), good.slice(s![.., ..0])] {
            let outcome = pairwise(device, empty, &params);
            assert!(matches!(outcome, Err(Error::Shape { argument: "x", .. })), "{metric}: {outcome:?}");
        }
        match pairwise(device, good.view(), &params.clone().max_bytes(6 * 6 * 4 - 1)) {
            Err(Error::TooLarge { needed_bytes: 144, limit_bytes: 143, .. }) => {}
            other => panic!("{metric}: {other:?}"),
        }
        assert!(pairwise(device, good.view(), &params.clone().max_bytes(144)).is_ok());
        let outcome = stream(device, good.view(), None, &params.max_bytes(23), |_| Ok(()));
        assert!(matches!(outcome, Err(Error::TooLarge { needed_bytes: 24, .. })), "{metric}: {outcome:?}");
    }
    let mut x = good.clone();
    x.row_mut(5).fill(0.0);
    match between(device, good.view(), x.view(), &Params::new(Metric::Cosine)) {
        Err(Error::Value { argument: "y", row: 5, expected, .. }) => assert!(expected.contains("zeros")),
        other => panic!("{other:?}"),
    }
    let sink_error = || Error::Shape { argument: "sink", expected: "more".into(), got: "less".into() };
    let outcome = stream(device, good.view(), None, &Params::new(Metric::Euclidean), |_| Err(sink_error()));
    assert!(matches!(outcome, Err(Error::Shape { argument: "sink", .. })), "{outcome:?}");
}

fn results_beyond_f32_are_errors(device: &Device) {
    let mut x = uniform(40, 3, 1.0, 17);
    x[[17, 1]] = 1e30;
    for metric in [Metric::SquaredEuclidean, Metric::InnerProduct] {
        match pairwise(device, x.view(), &Params::new(metric)) {
            Err(error @ Error::Value { argument: "result", .. }) => {
                let text = error.to_string();
                assert!(text.contains("f64") && text.len() < 300, "{text}");
            }
            other => panic!("{metric}: {other:?}"),
        }
        let mut out = Array2::<f64>::zeros((40, 40));
        pairwise_into(device, x.view(), &Params::new(metric), out.view_mut()).expect("f64 holds it");
        check(metric, &widened(&x), &widened(&x), &Matrix::F64(out));
    }
    let found = pairwise(device, x.view(), &Params::new(Metric::Euclidean)).unwrap();
    check(Metric::Euclidean, &widened(&x), &widened(&x), &found.matrix);
    let huge = ndarray::array![[1e200, 0.0], [0.0, 1.0]];
    let outcome = pairwise(device, huge.view(), &Params::new(Metric::SquaredEuclidean));
    assert!(matches!(outcome, Err(Error::Value { argument: "result", .. })), "{outcome:?}");
}

fn cancelling_ends_at_the_next_block(device: &Device) {
    let x = uniform(50, 3, 1.0, 18);
    let cancel = Cancel::new();
    let params = Params::new(Metric::Euclidean).cancel(cancel.clone()).max_bytes(50 * 4 * 10);
    let mut blocks = 0;
    let outcome = stream(device, x.view(), None, &params, |_| {
        blocks += 1;
        cancel.cancel();
        Ok(())
    });
    assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
    assert_eq!(blocks, 1);
    let params = Params::new(Metric::Euclidean).cancel(cancel);
    assert!(matches!(pairwise(device, x.view(), &params), Err(Error::Cancelled)));
}

/// Every entry has one order of additions, whatever the number of threads and the cut: also in the GEMM crate's tiles.
#[test]
fn threads_change_no_bit() {
    let (x, y) = (uniform(300, 200, 1.0, 19), uniform(270, 200, 1.0, 20));
    for (metric, params) in metrics() {
        let one = Device::cpu_with_threads(1).unwrap();
        let expected = between(&one, x.view(), y.view(), &params).unwrap();
        let three = Device::cpu_with_threads(3).unwrap();
        assert_eq!(bits(&between(&three, x.view(), y.view(), &params).unwrap()), bits(&expected), "{metric}");
        for first in [1, 5, 127, 129, 299] {
            let part = between(&three, x.slice(s![first.., ..]), y.view(), &params).unwrap();
            // The frame of fewer rows may differ, so only metrics without one are compared row by row.
            if matches!(metric, Metric::InnerProduct | Metric::Cosine) {
                assert_eq!(bits(&part), bits(&expected)[first * 270..], "{metric} from row {first}");
            }
        }
    }
}

#[test]
fn the_device_is_named() {
    let x = uniform(3, 2, 1.0, 21);
    let params = Params::new(Metric::Euclidean);
    let device = Device::cpu_with_threads(2).unwrap();
    assert_eq!(pairwise(&device, x.view(), &params).unwrap().device, "cpu (2 threads)");
    assert_eq!(pairwise(&Device::reference(), x.view(), &params).unwrap().device, "reference");
}
