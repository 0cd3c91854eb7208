//! The metrics beyond plain geometry: values within their bounds on every backend, around every boundary of tiles.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use ndarray::{Array1, Array2, s};
use tilefold::distance::{Matrix, MatrixView, Metric, Params, between, pairwise, stream};
use tilefold::{Device, Points};

use crate::distance::{bits, compensated, row, widened};
use crate::support::backends::on_every_backend;
use crate::support::cases::{Draws, Shape, tail_shapes};
use crate::support::compare::{Wide, close, must};

on_every_backend! {
    tails_agree_with_the_definition, chunks_agree_with_the_definition, f64_tables_give_f64_distances,
    near_pairs_keep_their_digits, equal_rows_are_at_0_and_a_matrix_is_symmetric,
    blocks_and_windows_change_no_bit, packed_bits_are_counted_exactly, haversine_holds_near_and_far,
    minkowski_holds_for_powers_of_all_sizes
}

pub const U32: f64 = f32::EPSILON as f64 / 2.0;
pub const U64: f64 = f64::EPSILON / 2.0;

/// The metrics of this file with parameters for rows of `depth` features; those of packed bits have a test of their own.
pub fn metrics(depth: usize) -> impl Iterator<Item = Params> {
    let others = Metric::ALL.into_iter().filter(move |metric| {
        let is_here = !Metric::GEOMETRIC.contains(metric) && !is_packed(*metric);
        // Places have two columns, and a row of one value has no spread.
        is_here
            && (*metric != Metric::Haversine || depth == 2)
            && (*metric != Metric::Correlation || depth > 1)
    });
    others.map(move |metric| with_parameters(metric, depth))
}

fn is_packed(metric: Metric) -> bool {
    matches!(metric, Metric::BitHamming | Metric::BitJaccard)
}

/// Parameters where the metric needs some: weights with a zero, an inverse covariance with a factor of small whole numbers.
pub fn with_parameters(metric: Metric, depth: usize) -> Params {
    let params = Params::new(metric);
    match metric {
        Metric::Minkowski => params.p(2.5).weights((0..depth).map(|d| ((d + 1) % 4) as f64).collect()),
        Metric::StandardizedEuclidean => params.variances((0..depth).map(|d| 0.25 + d as f64).collect()),
        Metric::Mahalanobis => {
            let factor = factor(depth);
            params.inverse_covariance(factor.dot(&factor.t()))
        }
        _ => params,
    }
}

/// A lower triangle of whole numbers near the diagonal.
fn factor(depth: usize) -> Array2<f64> {
    Array2::from_shape_fn((depth, depth), |(row, column)| match row.checked_sub(column) {
        Some(0) => 4.0,
        Some(1) => 1.0,
        Some(3) => -1.0,
        _ => 0.0,
    })
}

/// Rows that a metric takes, among them zeros, equal values, and what else is special to it.
pub fn table(metric: Metric, rows: usize, depth: usize, seed: u64) -> Array2<f32> {
    let mut draws = Draws::new(seed);
    let mut one = |row: usize, column: usize| match metric {
        Metric::MultisetJaccard | Metric::Hellinger | Metric::Canberra => {
            let value = draws.unit() * 4.0;
            if row == 2 || draws.below(5) == 0 { 0.0 } else { value }
        }
        Metric::JensenShannon => {
            let value = draws.unit();
            if column != row % depth && draws.below(5) == 0 { 0.0 } else { value + 0.01 }
        }
        Metric::KullbackLeibler => draws.unit() * 10.0_f64.powi(draws.below(4) as i32) + 1e-3,
        Metric::Hamming => draws.below(3) as f64,
        Metric::NanEuclidean => {
            let value = draws.normal();
            if row == 1 || draws.below(4) == 0 { f64::NAN } else { value }
        }
        Metric::Haversine => {
            let most = if column == 0 { std::f64::consts::FRAC_PI_2 } else { std::f64::consts::PI };
            (2.0 * draws.unit() - 1.0) * most
        }
        Metric::Jaccard
        | Metric::Dice
        | Metric::RogersTanimoto
        | Metric::RussellRao
        | Metric::SokalSneath
        | Metric::Yule
        | Metric::Matching => match row {
            0 => 0.0,
            3 => 1.0,
            _ => draws.below(2) as f64,
        },
        _ => draws.normal(),
    };
    Array2::from_shape_fn((rows, depth), |(row, column)| one(row, column) as f32)
}

/// The value by a formula written apart from the crate's reference, sums compensated.
fn oracle(params: &Params, x: &[f64], y: &[f64]) -> f64 {
    let pairs = || x.iter().zip(y).map(|(&x, &y)| (x, y));
    let sum = |term: &dyn Fn(f64, f64) -> f64| compensated(pairs().map(|(x, y)| term(x, y)));
    let depth = x.len() as f64;
    let ratio = |a: f64, b: f64| if a == 0.0 { 0.0 } else { a / b };
    let shares = |row: &[f64]| -> Vec<f64> {
        let total = compensated(row.iter().copied());
        row.iter().map(|value| value / total).collect()
    };
    let (both, only_x) = (sum(&|x, y| x * y), sum(&|x, y| x * (1.0 - y)));
    let only_y = sum(&|x, y| y * (1.0 - x));
    let only = only_x + only_y;
    match params.metric {
        Metric::Minkowski => {
            let (p, weights) = (params.p.unwrap(), params.weights.as_ref().unwrap());
            compensated(pairs().zip(weights).map(|((x, y), w)| w * (x - y).abs().powf(p))).powf(1.0 / p)
        }
        Metric::StandardizedEuclidean => {
            let variances = params.variances.as_ref().unwrap();
            compensated(pairs().zip(variances).map(|((x, y), v)| (x - y) * (x - y) / v)).sqrt()
        }
        Metric::Mahalanobis => {
            let difference: Array1<f64> = pairs().map(|(x, y)| x - y).collect();
            let z = factor(x.len()).t().dot(&difference);
            compensated(z.iter().map(|z| z * z)).sqrt()
        }
        Metric::Correlation => {
            let unit = |row: &[f64]| -> Vec<f64> {
                let mean = compensated(row.iter().copied()) / depth;
                let length = compensated(row.iter().map(|x| (x - mean) * (x - mean))).sqrt();
                row.iter().map(|x| (x - mean) / length).collect()
            };
            let (a, b) = (unit(x), unit(y));
            compensated(a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b))) / 2.0
        }
        Metric::Canberra => sum(&|x, y| ratio((x - y).abs(), x.abs() + y.abs())),
        Metric::BrayCurtis => ratio(sum(&|x, y| (x - y).abs()), sum(&|x, y| (x + y).abs())),
        Metric::MultisetJaccard => ratio(sum(&|x, y| (x - y).abs()), sum(&|x, y| x.max(y))),
        Metric::Hamming => sum(&|x, y| if x == y { 0.0 } else { 1.0 }) / depth,
        Metric::Matching => only / depth,
        Metric::Jaccard => ratio(only, both + only),
        Metric::Dice => ratio(only, 2.0 * both + only),
        Metric::RogersTanimoto => 2.0 * only / (depth + only),
        Metric::RussellRao => (depth - both) / depth,
        Metric::SokalSneath => ratio(2.0 * only, both + 2.0 * only),
        Metric::Yule => ratio(2.0 * only_x * only_y, both * (depth - both - only) + only_x * only_y),
        Metric::NanEuclidean => {
            let present: Vec<f64> = pairs().map(|(x, y)| x - y).filter(|value| !value.is_nan()).collect();
            (depth / present.len() as f64 * compensated(present.iter().map(|value| value * value))).sqrt()
        }
        Metric::Haversine => {
            let place = |row: &[f64]| {
                let (latitude, longitude) = (row[0].sin_cos(), row[1].sin_cos());
                [latitude.1 * longitude.1, latitude.1 * longitude.0, latitude.0]
            };
            let (a, b) = (place(x), place(y));
            let length = |of: &dyn Fn(f64, f64) -> f64| {
                a.iter().zip(&b).map(|(&a, &b)| of(a, b) * of(a, b)).sum::<f64>().sqrt()
            };
            2.0 * length(&|a, b| a - b).atan2(length(&|a, b| a + b))
        }
        Metric::Hellinger => sum(&|x, y| (x.sqrt() - y.sqrt()) * (x.sqrt() - y.sqrt()) / 2.0).sqrt(),
        Metric::JensenShannon => {
            let (p, q) = (shares(x), shares(y));
            let part = |p: f64, q: f64| {
                if p + q == 0.0 {
                    return 0.0;
                }
                let d = (p - q).abs() / (p + q);
                let rest = if d == 1.0 { 0.0 } else { (1.0 - d) * (-d).ln_1p() };
                (p + q) / 4.0 * ((1.0 + d) * d.ln_1p() + rest)
            };
            compensated(p.iter().zip(&q).map(|(&p, &q)| part(p, q))).sqrt()
        }
        Metric::KullbackLeibler => {
            let (p, q) = (shares(x), shares(y));
            compensated(p.iter().zip(&q).map(|(&p, &q)| if p == 0.0 { 0.0 } else { p * (p / q).ln() }))
        }
        other => panic!("{other} has no formula here"),
    }
}

/// The documented bound of one entry; `oracle` is its value, in units of u. Rows are original input.
fn bound(params: &Params, x: &[f64], y: &[f64], oracle: f64, unit: f64) -> f64 {
    let depth = x.len() as f64;
    let m = depth.min(64.0) + (depth / 64.0).ceil() + 1.0;
    let square = (16.0 * (m + 3.0)).max(depth + 4.0);
    let is_single = unit == U32;
    let spread = x.iter().chain(y).filter(|value| !value.is_nan()).fold(0.0_f64, |most, v| most.max(v.abs()));
    let magnitude =
        |of: &dyn Fn(usize) -> f64| (0..x.len()).map(of).fold(0.0, |sum: f64, v| sum + v * v).sqrt();
    let roots = (square / 2.0 + 8.0) * unit * oracle;
    // Transformed rows are rounded in f64; in f32 two parts hold 2^-48 of them.
    let transformed =
        |length: f64| ((depth + 8.0) * 2.0 * U64 + if is_single { 2.0_f64.powi(-46) } else { 0.0 }) * length;
    let flushed = if is_single { 2.0 * f64::from(f32::MIN_POSITIVE) } else { 0.0 };
    let value = match params.metric {
        Metric::Correlation => (m + 16.0) * unit,
        Metric::StandardizedEuclidean => {
            let variances = params.variances.as_ref().unwrap();
            roots + transformed(magnitude(&|d| 4.0 * spread / variances[d].sqrt()))
        }
        Metric::Mahalanobis => roots + transformed(magnitude(&|_| 6.0 * 4.0 * spread)),
        Metric::Hellinger => roots + transformed(magnitude(&|_| 2.0 * spread.sqrt())),
        Metric::Canberra => (m + 8.0) * unit * oracle,
        Metric::BrayCurtis | Metric::MultisetJaccard => (2.0 * m + 10.0) * unit * oracle,
        Metric::Minkowski => {
            let p = params.p.unwrap();
            ((m + 16.0 + 8.0 * depth.log2()) / p + 12.0) * unit * oracle + depth * 2.0_f64.powi(-120) * spread
        }
        Metric::NanEuclidean => {
            ((m + 8.0) / 2.0 + 8.0) * unit * oracle
                + depth * 2.0_f64.powi(if is_single { -60 } else { -500 }) * spread
        }
        Metric::Haversine => (16.0 * oracle + 8.0) * unit,
        Metric::JensenShannon => ((m + 60.0) / 2.0 * oracle + 4.0) * unit,
        Metric::KullbackLeibler => ((m + 48.0) * oracle + 8.0) * unit,
        // Counts are exact.
        _ => 10.0 * unit * oracle,
    };
    value + flushed
}

/// Compares a result with the oracle, entry by entry. Where the oracle is NaN, NaN is asked for.
#[track_caller]
pub fn check(params: &Params, x: &Array2<f64>, y: &Array2<f64>, found: &Matrix) {
    let columns = y.nrows();
    let pair = |index: usize| (row(x, index / columns), row(y, index % columns));
    let mut expected: Vec<f64> =
        (0..x.nrows() * columns).map(|at| oracle(params, pair(at).0, pair(at).1)).collect();
    let mut found = found.clone();
    println!("{} {} x {} of {}", params.metric, x.nrows(), columns, x.ncols());
    if params.metric == Metric::NanEuclidean {
        let mut replace = |at: usize, is_nan: bool| {
            assert_eq!(is_nan, expected[at].is_nan(), "[{at}]: {}", expected[at]);
            if is_nan {
                expected[at] = 0.0;
            }
            is_nan
        };
        match &mut found {
            Matrix::F32(values) => values.iter_mut().enumerate().for_each(|(at, value)| {
                if replace(at, value.is_nan()) {
                    *value = 0.0;
                }
            }),
            Matrix::F64(values) => values.iter_mut().enumerate().for_each(|(at, value)| {
                if replace(at, value.is_nan()) {
                    *value = 0.0;
                }
            }),
        }
    }
    let limit = |unit: f64| {
        let expected = &expected;
        move |index: usize| bound(params, pair(index).0, pair(index).1, expected[index], unit)
    };
    match &found {
        Matrix::F32(found) => must(close(&expected, found.as_slice().unwrap(), limit(U32))),
        Matrix::F64(found) => {
            let found: Vec<Wide> = found.iter().map(|&value| Wide(value)).collect();
            must(close(&expected, &found, limit(U64)));
        }
    }
}

fn tails_agree_with_the_definition(device: &Device) {
    for Shape { rows, others, depth } in tail_shapes() {
        for params in metrics(depth) {
            let (x, y) = (table(params.metric, rows, depth, 31), table(params.metric, others, depth, 32));
            let found = between(device, x.view(), y.view(), &params).unwrap();
            check(&params, &widened(&x), &widened(&y), &found.matrix);
        }
    }
}

fn chunks_agree_with_the_definition(device: &Device) {
    for (rows, others, depth) in [(9, 6, 2), (6, 70, 192), (70, 6, 193), (5, 5, 1000)] {
        for params in metrics(depth) {
            let (x, y) = (table(params.metric, rows, depth, 33), table(params.metric, others, depth, 34));
            let found = between(device, x.view(), y.view(), &params).unwrap();
            check(&params, &widened(&x), &widened(&y), &found.matrix);
        }
    }
}

fn f64_tables_give_f64_distances(device: &Device) {
    for (rows, others, depth) in [(40, 23, 131), (12, 9, 2)] {
        for params in metrics(depth) {
            let (x, y) = (table(params.metric, rows, depth, 35), table(params.metric, others, depth, 36));
            let (x, y) = (widened(&x), widened(&y));
            let found = between(device, x.view(), y.view(), &params).unwrap();
            assert!(found.matrix.as_f64().is_some());
            check(&params, &x, &y, &found.matrix);
        }
    }
}

/// Pairs that are much nearer to each other than the data is wide, and data far from the origin.
fn near_pairs_keep_their_digits(device: &Device) {
    for params in metrics(20).filter(|params| {
        use Metric::{
            Canberra, Hellinger, Mahalanobis, Minkowski, MultisetJaccard, NanEuclidean, StandardizedEuclidean,
        };
        let near = [
            StandardizedEuclidean,
            Mahalanobis,
            Hellinger,
            Minkowski,
            NanEuclidean,
            Canberra,
            MultisetJaccard,
        ];
        near.contains(&params.metric)
    }) {
        let base = table(params.metric, 12, 20, 37);
        let mut draws = Draws::new(38);
        // Rows in groups of three, with relative differences of 0, 1e-6 and 1e-3.
        let x = Array2::from_shape_fn((36, 20), |(row, column)| {
            let change = [0.0, 1e-6, 1e-3][row % 3] * draws.normal();
            (f64::from(base[[row / 3, column]]) * (1.0 + change)) as f32
        });
        let found = pairwise(device, x.view(), &params).unwrap();
        check(&params, &widened(&x), &widened(&x), &found.matrix);
        let far = x.mapv(|value| value + 4096.0);
        let found = pairwise(device, far.view(), &params).unwrap();
        check(&params, &widened(&far), &widened(&far), &found.matrix);
    }
}

fn equal_rows_are_at_0_and_a_matrix_is_symmetric(device: &Device) {
    for (rows, depth) in [(66, 70), (12, 2)] {
        for params in metrics(depth) {
            let metric = params.metric;
            let mut x = table(metric, rows, depth, 39);
            for copy in 0..rows / 3 {
                let original = x.row(copy + 2).to_owned();
                x.row_mut(rows - 1 - copy).assign(&original);
            }
            let single = pairwise(device, x.view(), &params).unwrap().matrix.into_f64();
            let double = pairwise(device, widened(&x).view(), &params).unwrap().matrix.into_f64();
            for found in [single, double] {
                for ((i, j), value) in found.indexed_iter() {
                    let mirrored = found[[j, i]];
                    let is_mirrored =
                        value.to_bits() == mirrored.to_bits() || value.is_nan() && mirrored.is_nan();
                    assert!(is_mirrored || !metric.is_symmetric(), "{metric} [{i}, {j}]: {value} {mirrored}");
                    assert!(*value >= 0.0 || value.is_nan(), "{metric} [{i}, {j}]: {value}");
                    if metric.is_zero_for_equal_rows() && x.row(i) == x.row(j) {
                        assert!(value.to_bits() == 0, "{metric} [{i}, {j}]: {value}");
                    }
                }
            }
        }
    }
}

fn blocks_and_windows_change_no_bit(device: &Device) {
    for depth in [70, 2] {
        for params in metrics(depth) {
            let x = table(params.metric, 90, depth, 40);
            let whole = pairwise(device, x.view(), &params).unwrap();
            let mut values = Vec::new();
            stream(device, x.view(), None, &params.clone().max_bytes(17 * 90 * 4), |block| {
                let MatrixView::F32(rows) = &block.values else { panic!("f32 input") };
                values.extend(rows.iter().map(|value| u64::from(value.to_bits())));
                Ok(())
            })
            .unwrap();
            assert_eq!(values, bits(&whole), "{}", params.metric);
            let narrow = device.clone().with_window_bytes(9000);
            let found = pairwise(&narrow, x.view(), &params).unwrap();
            assert_eq!(bits(&found), bits(&whole), "{} in windows", params.metric);
        }
    }
}

/// Counts of bits are whole numbers; ratios of them are rounded a few times.
fn packed_bits_are_counted_exactly(device: &Device) {
    let mut draws = Draws::new(41);
    for (rows, others, depth) in [(1, 1, 1), (70, 33, 3), (5, 130, 17), (33, 9, 65), (129, 66, 2)] {
        let mut words = |rows: usize| {
            Array2::from_shape_fn((rows, depth), |(row, _)| match row {
                1 => 0,
                2 => u32::MAX,
                _ => draws.bits() as u32,
            })
        };
        let (x, y) = (words(rows), words(others));
        let bytes = |words: &Array2<u32>| {
            Array2::from_shape_fn((words.nrows(), 4 * depth), |(row, column)| {
                words[[row, column / 4]].to_le_bytes()[column % 4]
            })
        };
        for metric in [Metric::BitHamming, Metric::BitJaccard] {
            let params = Params::new(metric);
            let expected: Vec<f64> = (0..rows * others)
                .map(|at| {
                    let count = |of: fn(u32, u32) -> u32| {
                        let pairs = x.row(at / others).to_vec().into_iter().zip(y.row(at % others).to_vec());
                        pairs.map(|(x, y)| f64::from(of(x, y).count_ones())).sum::<f64>()
                    };
                    let (differ, either) = (count(|x, y| x ^ y), count(|x, y| x | y));
                    match metric {
                        Metric::BitHamming => differ,
                        _ if either == 0.0 => 0.0,
                        _ => differ / either,
                    }
                })
                .collect();
            let found = between(device, x.view(), y.view(), &params).unwrap();
            let bound = |at: usize| if metric == Metric::BitHamming { 0.0 } else { 6.0 * U32 * expected[at] };
            must(close(&expected, found.matrix.as_f32().unwrap().as_slice().unwrap(), bound));
            let of_bytes = between(device, bytes(&x).view(), bytes(&y).view(), &params).unwrap();
            assert_eq!(bits(&of_bytes), bits(&found), "{metric}: bytes");
            let odd = bytes(&x);
            let odd = odd.slice(s![.., ..4 * depth - 3]);
            let narrow = pairwise(device, Points::from(odd), &params).unwrap().matrix.into_f64();
            assert!(narrow.iter().all(|value| *value >= 0.0) && narrow[[0, 0]] == 0.0);
        }
    }
}

fn haversine_holds_near_and_far(device: &Device) {
    use std::f32::consts::{FRAC_PI_2, PI};
    let places = ndarray::array![
        [0.0_f32, 0.0],
        [0.0, PI],
        [0.0, -PI],
        [1e-7, PI - 1e-7],
        [FRAC_PI_2, 0.3],
        [FRAC_PI_2, -2.0],
        [-FRAC_PI_2, 1.0],
        [0.8, 0.2],
        [0.8, 0.200_000_1],
        [0.800_000_1, 0.2],
        [-0.8, 0.2 - PI],
        [0.3, 2.0 * PI],
        [0.3, -2.0 * PI],
    ];
    let params = Params::new(Metric::Haversine);
    let found = pairwise(device, places.view(), &params).unwrap();
    check(&params, &widened(&places), &widened(&places), &found.matrix);
    let found = found.matrix.into_f64();
    let metres = 6_371_000.0 * found[[7, 8]];
    assert!(metres > 0.3 && metres < 0.7, "{metres}");
}

fn minkowski_holds_for_powers_of_all_sizes(device: &Device) {
    let mut draws = Draws::new(42);
    let x = Array2::from_shape_simple_fn((30, 12), || {
        (draws.normal() * 10.0_f64.powi(draws.below(12) as i32 - 6)) as f32
    });
    for p in [0.25, 0.5, 1.0, 1.3, 2.0, 3.0, 10.0, 300.0] {
        let params = Params::new(Metric::Minkowski).p(p);
        let found = pairwise(device, x.view(), &params).unwrap();
        // The oracle's own powers would leave the range of f64: it is taken of rows in units of the pair's largest difference.
        let found = found.matrix.into_f64();
        for ((i, j), &value) in found.indexed_iter() {
            let terms: Vec<f64> =
                (0..12).map(|d| (f64::from(x[[i, d]]) - f64::from(x[[j, d]])).abs()).collect();
            let largest = terms.iter().copied().fold(0.0, f64::max);
            let sum = terms
                .iter()
                .map(|term| if largest == 0.0 { 0.0 } else { (term / largest).powf(p) })
                .sum::<f64>();
            let expected = largest * sum.powf(1.0 / p);
            let m = 12.0 + 2.0;
            let bound = ((m + 16.0 + 8.0 * 12.0_f64.log2()) / p + 12.0) * U32 * expected;
            assert!((value - expected).abs() <= bound, "{p} [{i}, {j}]: {value} {expected} within {bound}");
        }
    }
}
