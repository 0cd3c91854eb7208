//! Where f32 alone gives wrong labels: near ties, offsets, extreme scales. Labels must be exact there too.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, Axis, concatenate};
use tilefold::Device;
use tilefold::kmeans::{self, Fit, Init, Params};

use crate::kmeans::Case;
use crate::support::backends::on_every_backend;
use crate::support::cases::{self, BlobsShape, Draws};
use crate::support::lloyd::{self, Problem};

on_every_backend! {
    near_ties_are_decided_in_f64, labels_hold_where_half_norms_round_apart, near_ties_fail_without_recheck,
    predict_decides_near_ties_in_f64, ties_of_equal_centroids_go_to_the_lowest_index,
    labels_hold_far_from_the_origin, labels_hold_where_an_offset_leaves_few_digits,
    powers_of_two_change_only_the_units, an_outlier_gets_a_cluster_of_its_own,
    labels_hold_for_features_of_mixed_scales, labels_hold_for_denormals, labels_hold_at_the_extremes_of_f64
}

/// Whole numbers below 2^22 whose nearest centroids differ by far less than an f32 product can tell.
struct NearTies {
    /// Anchors first, which are the centroids, then the rows between two of them.
    points: Array2<f32>,
    anchors: Array2<f32>,
    /// Exact, in integers.
    labels: Vec<u32>,
}

impl NearTies {
    fn new(columns: usize, n_clusters: usize, rows: usize, seed: u64) -> Self {
        let mut draws = Draws::new(seed);
        // Even coordinates, so that midpoints are whole; in column 0 anchors differ little, so that one step along it
        // moves the balance of two anchors by little.
        let anchors = Array2::from_shape_fn((n_clusters, columns), |(_, column)| match column {
            0 => 2.0 * draws.below(4) as f32,
            _ => 2.0 * (draws.below(1 << 21) as f32 - f32::from(1_u16 << 10) * 1024.0),
        });
        let between = Array2::from_shape_fn((rows, 3), |(_, which)| match which {
            0 => draws.below(n_clusters),
            1 => draws.below(n_clusters),
            _ => draws.below(9),
        });
        let ties = Array2::from_shape_fn((rows, columns), |(row, column)| {
            let (left, right) = (anchors[(between[(row, 0)], column)], anchors[(between[(row, 1)], column)]);
            let step = if column == 0 { between[(row, 2)] as f32 - 4.0 } else { 0.0 };
            (left + right) / 2.0 + step
        });
        let points = concatenate![Axis(0), anchors, ties];
        let exact: Vec<(u32, i128)> =
            points.outer_iter().map(|x| lloyd::exact_nearest(x, &anchors)).collect();
        // f64 agrees with the integers, so the definition has one answer.
        for (x, &(label, _)) in points.outer_iter().zip(&exact) {
            let x = x.mapv(f64::from);
            let distances: Vec<f64> = anchors
                .outer_iter()
                .map(|c| lloyd::squared_distance(x.view(), c.mapv(f64::from).view()))
                .collect();
            let best = distances.iter().copied().fold(f64::INFINITY, f64::min);
            assert_eq!(distances.iter().position(|&distance| distance == best), Some(label as usize));
        }
        let near = exact.iter().filter(|&&(_, gap)| gap <= 8 * 16).count();
        let tied = exact.iter().filter(|&&(_, gap)| gap == 0).count();
        println!("{near} near ties of which {tied} exact");
        assert!(2 * near > rows && 20 * tied > rows, "{near} near ties of which {tied} exact in {rows} rows");
        Self { points, anchors, labels: exact.into_iter().map(|(label, _)| label).collect() }
    }

    /// Only the anchors have weight, so the centroids rest on them and the labels are those of the anchors.
    fn params(&self) -> Params {
        let count = self.anchors.nrows();
        let weights = (0..self.points.nrows()).map(|row| f64::from(u8::from(row < count))).collect();
        let init = Init::Centroids(self.anchors.mapv(f64::from));
        Params::new(count).init(init).weights(weights)
    }

    fn wrong(&self, labels: impl Iterator<Item = u32>) -> Vec<usize> {
        labels
            .zip(&self.labels)
            .enumerate()
            .filter(|(_, (got, label))| got != *label)
            .map(|(i, _)| i)
            .collect()
    }
}

/// Columns, clusters, rows.
const NEAR_TIES: [(usize, usize, usize); 4] = [(8, 5, 300), (33, 17, 300), (64, 40, 400), (300, 9, 200)];

pub fn near_ties_are_decided_in_f64(device: &Device) {
    for (columns, k, rows) in NEAR_TIES {
        let ties = NearTies::new(columns, k, rows, columns as u64);
        let fit = kmeans::fit(device, ties.points.view(), &ties.params()).unwrap();
        assert_eq!(fit.model.centroids(), ties.anchors.mapv(f64::from), "the anchors must rest");
        let wrong = ties.wrong(fit.labels.iter().copied());
        assert!(wrong.is_empty(), "{columns} columns, k = {k}: rows {wrong:?} are wrong");
        if device.name() != "reference" {
            assert!(fit.rechecked > 0.3, "only {} of the rows were rechecked", fit.rechecked);
        }
    }
}

/// Centroids `(p, q)` and `(p, q + 1)` whose half squared norms f32 rounds to different sides: their tile values differ
/// by far more than products with the short row `(0, q + 1)` err, and the wrong one is smaller.
pub fn labels_hold_where_half_norms_round_apart(device: &Device) {
    let half_norm = |p: i64, q: i64| ((p * p + q * q) as f64 / 2.0) as f32;
    let mut found = 0;
    for p in 3_000_000..3_000_020_i64 {
        let Some(q) = (100..3000).find(|&q| half_norm(p, q) != half_norm(p, q + 1)) else { continue };
        found += 1;
        let anchors =
            Array2::from_shape_vec((2, 2), vec![p as f32, q as f32, p as f32, (q + 1) as f32]).unwrap();
        let row = Array2::from_shape_vec((1, 2), vec![0.0, (q + 1) as f32]).unwrap();
        // The mirrored points keep the centre of the data at the origin.
        let points = concatenate![Axis(0), anchors, row, anchors.mapv(|v| -v), row.mapv(|v| -v)];
        let init = Init::Centroids(anchors.mapv(f64::from));
        let params = Params::new(2).init(init).weights(vec![1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        let fit = kmeans::fit(device, points.view(), &params).unwrap();
        let expected: Vec<u32> = points.outer_iter().map(|x| lloyd::exact_nearest(x, &anchors).0).collect();
        assert_eq!(expected[2], 1);
        assert_eq!(fit.labels.to_vec(), expected, "({p}, {q})");
    }
    assert!(found > 5, "only {found} pairs round apart");
}

/// The check above must be able to fail: without the recheck f32 decides, wrongly.
#[cfg(feature = "test-hooks")]
pub fn near_ties_fail_without_recheck(device: &Device) {
    for (columns, k, rows) in NEAR_TIES {
        let ties = NearTies::new(columns, k, rows, columns as u64);
        let fit = kmeans::fit(device, ties.points.view(), &ties.params().without_recheck()).unwrap();
        let wrong = ties.wrong(fit.labels.iter().copied()).len();
        println!("{columns} columns, k = {k}: {wrong} of {rows} wrong without the recheck");
        match device.name().as_str() {
            "reference" => assert_eq!(wrong, 0, "the reference has nothing to recheck"),
            _ => assert!(wrong > 20, "{columns} columns, k = {k}: only {wrong} of {rows} rows are wrong"),
        }
    }
}

#[cfg(not(feature = "test-hooks"))]
pub fn near_ties_fail_without_recheck(_: &Device) {}

pub fn predict_decides_near_ties_in_f64(device: &Device) {
    for (columns, k, rows) in NEAR_TIES {
        let ties = NearTies::new(columns, k, rows, 100 + columns as u64);
        let params = Params::new(k).init(Init::Centroids(ties.anchors.mapv(f64::from)));
        let model = kmeans::fit(device, ties.anchors.view(), &params).unwrap().model;
        let labels = model.predict(device, ties.points.view()).unwrap();
        let wrong = ties.wrong(labels.labels.iter().copied());
        assert!(wrong.is_empty(), "{columns} columns, k = {k}: rows {wrong:?} are wrong");
    }
}

pub fn ties_of_equal_centroids_go_to_the_lowest_index(device: &Device) {
    // Centroids 1, 3 and 4 are one point, as are 0 and 5: the lower index has the rows.
    let anchors =
        ndarray::array![[0.0_f32, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 0.0], [4.0, -0.0], [-0.0, 0.0]];
    let points =
        concatenate![Axis(0), anchors, ndarray::array![[2.0_f32, 0.0], [0.0, 2.0], [2.0, 2.0], [4.0, 4.0]]];
    let mut weights = vec![0.0; points.nrows()];
    weights[..3].fill(1.0);
    let params = Params::new(6).init(Init::Centroids(anchors.mapv(f64::from))).weights(weights).max_iter(1);
    let fit = kmeans::fit(device, points.view(), &params).unwrap();
    assert_eq!(fit.labels.to_vec(), [0, 1, 2, 1, 1, 0, 0, 0, 0, 1]);
}

/// Labels and inertia of far-off blobs equal those of the same f32 values moved back to the origin.
pub fn labels_hold_far_from_the_origin(device: &Device) {
    for (offset, spread) in [(1e4, 1.0), (1e6, 1.0), (-1e6, 0.5), (1e6, 3.0)] {
        let shape = BlobsShape { rows: 300, columns: 8, clusters: 5, spread, offset };
        let case = Case::new(cases::blobs(shape, 77).points, 9);
        let back = |array: &Array2<f32>| array.mapv(|value| f64::from(value) - offset);
        for max_iter in [1, 5, 300] {
            let (points, init) = (back(&case.points), back(&case.init));
            let oracle = lloyd::lloyd(&Problem { points, init, weights: None, max_iter, tol: 0.0 });
            assert!(oracle.margin > 1e-12, "offset {offset}: margin {}", oracle.margin);
            let fit = kmeans::fit(device, case.points.view(), &case.params(max_iter, 0.0)).unwrap();
            assert_eq!(fit.labels.to_vec(), oracle.labels, "offset {offset}, {max_iter} iterations");
            assert!((fit.inertia - oracle.inertia).abs() <= 1e-9 * oracle.inertia, "offset {offset}");
            predict_gives_the_labels(device, &fit, &case.points);
        }
    }
}

#[track_caller]
fn predict_gives_the_labels(device: &Device, fit: &Fit, points: &Array2<f32>) {
    let labels = fit.model.predict(device, points.view()).unwrap().labels;
    assert_eq!(labels, fit.labels);
    let f64s = fit.model.predict(device, points.mapv(f64::from).view()).unwrap().labels;
    assert_eq!(f64s, fit.labels);
}

/// At 1e8 an f32 holds multiples of 8: many rows coincide, and whatever is left must still be right.
pub fn labels_hold_where_an_offset_leaves_few_digits(device: &Device) {
    let shape = BlobsShape { rows: 200, columns: 3, clusters: 4, spread: 2.0, offset: 1e8 };
    let case = Case::new(cases::blobs(shape, 5).points, 4);
    let fit = kmeans::fit(device, case.points.view(), &case.params(300, 0.0)).unwrap();
    case.certify(&fit);
    predict_gives_the_labels(device, &fit, &case.points);
    // In f64 the same offset costs nothing that matters.
    let wide = cases::blobs(BlobsShape { offset: 0.0, ..shape }, 5).points.mapv(|v| f64::from(v) + 1e8);
    let fit = kmeans::fit(device, wide.view(), &Params::new(4).seed(1)).unwrap();
    let near = kmeans::fit(device, wide.mapv(|v| v - 1e8).view(), &Params::new(4).seed(1)).unwrap();
    assert_eq!(fit.labels, near.labels);
}

/// A power of two changes nothing but the units.
pub fn powers_of_two_change_only_the_units(device: &Device) {
    let shape = BlobsShape { rows: 120, columns: 5, clusters: 4, spread: 1.0, offset: 0.0 };
    let case = Case::new(cases::blobs(shape, 3).points, 6);
    let plain = kmeans::fit(device, case.points.view(), &case.params(20, 1e-4)).unwrap();
    case.certify(&plain);
    for exponent in [-100, -60, -20, -1, 1, 20, 60, 100, 124] {
        let factor = 2.0_f32.powi(exponent);
        let scaled = Case::new(case.points.mapv(|v| v * factor), 6);
        let fit = kmeans::fit(device, scaled.points.view(), &scaled.params(20, 1e-4)).unwrap();
        assert_eq!(fit.labels, plain.labels, "2^{exponent}");
        assert_eq!((fit.n_iter, fit.converged), (plain.n_iter, plain.converged), "2^{exponent}");
        let factor = f64::from(factor);
        assert_eq!(fit.inertia, plain.inertia * factor * factor, "2^{exponent}");
        assert_eq!(fit.model.centroids(), plain.model.centroids() * factor, "2^{exponent}");
        predict_gives_the_labels(device, &fit, &scaled.points);
    }
    for factor in [1e-30_f32, 1e-19, 1e19, 1e30] {
        let scaled = Case::new(case.points.mapv(|v| v * factor), 6);
        assert!(scaled.check(device, 20, 1e-4), "{factor}");
    }
}

pub fn an_outlier_gets_a_cluster_of_its_own(device: &Device) {
    for far in [1e6_f32, 1e12, 1e20, 3e38] {
        let mut case = Case::new(cases::uniform(100, 4, 1.0, 8), 2);
        case.points.row_mut(57).fill(far);
        case.init.row_mut(1).fill(far);
        let fit = kmeans::fit(device, case.points.view(), &case.params(10, 0.0)).unwrap();
        case.certify(&fit);
        let expected: Vec<u32> = (0..100).map(|row| u32::from(row == 57)).collect();
        assert_eq!(fit.labels.to_vec(), expected, "outlier {far}");
        assert!(fit.inertia.is_finite() && fit.model.centroids().iter().all(|c| c.is_finite()));
        // Chosen by k-means++, the outlier gets a cluster of its own too.
        let own = kmeans::fit(device, case.points.view(), &Params::new(2).seed(3)).unwrap();
        assert_eq!(own.labels.iter().filter(|&&label| label == own.labels[57]).count(), 1, "outlier {far}");
    }
}

pub fn labels_hold_for_features_of_mixed_scales(device: &Device) {
    let factors = [1e6_f32, 1.0, 1e-6, 1e-12, 1e3];
    let points = cases::uniform(140, 5, 1.0, 9);
    let points = Array2::from_shape_fn(points.dim(), |(row, column)| points[(row, column)] * factors[column]);
    assert!(Case::new(points, 8).check(device, 10, 0.0));
    // The small features alone decide where the large ones are constant.
    let mut points = cases::uniform(140, 3, 1e-9, 10);
    points.column_mut(1).fill(1e9);
    assert!(Case::new(points, 5).check(device, 10, 0.0));
}

pub fn labels_hold_for_denormals(device: &Device) {
    for scale in [1e-40, 1e-44] {
        let case = Case::new(cases::uniform(90, 3, scale, 14), 4);
        assert!(case.points.iter().all(|v| v.abs() < f32::MIN_POSITIVE));
        let fit = kmeans::fit(device, case.points.view(), &case.params(10, 0.0)).unwrap();
        // Multiples of 2^-149: the same problem in whole numbers.
        let whole = Case {
            points: case.points.mapv(|v| (f64::from(v) * 2.0_f64.powi(149)) as f32),
            init: case.init.mapv(|v| (f64::from(v) * 2.0_f64.powi(149)) as f32),
            weights: None,
        };
        let expected = kmeans::fit(device, whole.points.view(), &whole.params(10, 0.0)).unwrap();
        whole.certify(&expected);
        assert_eq!(fit.labels, expected.labels);
        assert_eq!(fit.n_iter, expected.n_iter);
        predict_gives_the_labels(device, &fit, &case.points);
    }
    // Denormal beside normal: the small feature cannot matter, nor harm.
    let mut points = cases::uniform(60, 2, 1.0, 15);
    points.column_mut(1).mapv_inplace(|v| v * 1e-40);
    assert!(Case::new(points, 3).check(device, 10, 0.0));
}

/// Beyond the range of f32, and where squares leave that of f64.
pub fn labels_hold_at_the_extremes_of_f64(device: &Device) {
    let shape = BlobsShape { rows: 120, columns: 5, clusters: 4, spread: 1.0, offset: 0.0 };
    let case = Case::new(cases::blobs(shape, 3).points, 6);
    let points = case.points.mapv(f64::from);
    let plain = kmeans::fit(device, points.view(), &case.params(20, 1e-4)).unwrap();
    for exponent in [-980, -600, -300, 300, 600, 980] {
        let factor = 2.0_f64.powi(exponent);
        let scaled = points.mapv(|v| v * factor);
        let init = Init::Centroids(case.init.mapv(|v| f64::from(v) * factor));
        let fit = kmeans::fit(device, scaled.view(), &case.params(20, 1e-4).init(init)).unwrap();
        assert_eq!(fit.labels, plain.labels, "2^{exponent}");
        assert_eq!((fit.n_iter, fit.converged), (plain.n_iter, plain.converged), "2^{exponent}");
        assert_eq!(fit.model.centroids(), plain.model.centroids() * factor, "2^{exponent}");
        assert_eq!(fit.model.predict(device, scaled.view()).unwrap().labels, fit.labels, "2^{exponent}");
    }
    // Far off and huge: the spread still decides.
    let huge = points.mapv(|v| 1e200 + v * 1e190);
    let fit = kmeans::fit(device, huge.view(), &Params::new(4).seed(1)).unwrap();
    let near = kmeans::fit(device, points.view(), &Params::new(4).seed(1)).unwrap();
    let pairs = |fit: &Fit| {
        (0..120).map(|row| fit.labels.iter().position(|l| *l == fit.labels[row])).collect::<Vec<_>>()
    };
    assert_eq!(pairs(&fit), pairs(&near));
    let error = kmeans::fit(device, points.mapv(|v| v * 1e300).view(), &Params::new(4)).unwrap_err();
    assert!(error.to_string().contains("1e300"), "{error}");
}
