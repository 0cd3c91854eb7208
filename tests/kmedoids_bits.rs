//! Medoids of matrices are the same bits on every device, in any number of threads and windows; those of points do not
//! depend on how much of their distances is held.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::Array2;
use tilefold::distance::{self, Metric, pairwise};
use tilefold::kmedoids::{Fit, Init, Method, Params, fit, fit_points};
use tilefold::{Cancel, Device, Error};

use crate::kmedoids::{apart, asymmetric, check, loss, methods, ties};
use crate::support::backends::{gpu, on_every_backend};
use crate::support::cases::{Draws, uniform};

on_every_backend!(
    points_have_the_bits_of_their_matrix,
    wrong_input_is_named,
    cancelling_ends_every_method,
    more_iterations_never_raise_the_loss
);

/// All that must not differ.
fn bits(found: &Fit) -> (&[usize], &[u32], u64, usize, usize, Option<u64>) {
    let silhouette = found.silhouette.map(f64::to_bits);
    (&found.medoids, found.labels.as_slice(), found.loss.to_bits(), found.n_iter, found.n_swaps, silhouette)
}

fn cases() -> Vec<(Array2<f32>, usize)> {
    let mut tiny = apart(70, 4);
    // Numbers that a device may take for 0.
    tiny.mapv_inplace(|d| d * 1e-39);
    let mut signed = asymmetric(90, 5);
    signed.mapv_inplace(|d| d - 0.5);
    vec![
        (apart(300, 1), 7),
        (ties(257, 2), 5),
        (asymmetric(301, 3), 12),
        (tiny, 3),
        (signed, 4),
        (ties(64, 6), 1),
        (apart(40, 7), 39),
    ]
}

fn every_bit_is_the_same_on(device: &Device, cases: &[(Array2<f32>, usize)]) {
    let cpu = Device::cpu_with_threads(1).unwrap();
    for (matrix, count) in cases {
        let count = *count;
        for method in [Method::FasterPam, Method::Pam] {
            let params = Params::new(count).method(method).seed(9);
            let expected = fit(&cpu, matrix.view(), &params).unwrap();
            let found = fit(device, matrix.view(), &params).unwrap();
            assert_eq!(bits(&found), bits(&expected), "{method:?}, {count} of {}", matrix.nrows());
            check(&found, &matrix.view());
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for threads in [2, 5] {
        every_bit_is_the_same_on(&Device::cpu_with_threads(threads).unwrap(), &cases());
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
#[cfg_attr(not(feature = "gpu"), ignore = "built without the feature gpu")]
fn the_gpu_changes_no_bit() {
    let device = gpu();
    every_bit_is_the_same_on(&device, &cases());
    let found = fit(&device, apart(30, 8).view(), &Params::new(3)).unwrap();
    assert_eq!(found.device, device.name());
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
#[cfg_attr(not(feature = "gpu"), ignore = "built without the feature gpu")]
fn windows_of_the_gpu_change_no_bit() {
    let device = gpu().with_window_bytes(16_000);
    every_bit_is_the_same_on(&device, &[(asymmetric(130, 19), 6), (ties(97, 20), 4)]);
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
#[cfg_attr(not(feature = "gpu"), ignore = "built without the feature gpu")]
fn more_medoids_than_workgroup_memory_holds_change_no_bit() {
    let device = gpu();
    let many = apart(1040, 10);
    let params = Params::new(1030).max_iter(1);
    let (found, expected) =
        (fit(&device, many.view(), &params).unwrap(), fit(&Device::cpu(), many.view(), &params).unwrap());
    assert_eq!(bits(&found), bits(&expected));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
#[cfg_attr(not(feature = "gpu"), ignore = "built without the feature gpu")]
fn what_the_gpu_does_not_hold_is_done_by_the_cpu() {
    let device = gpu().with_memory_budget(50_000);
    let matrix = apart(200, 11);
    let found = fit(&device, matrix.view(), &Params::new(4)).unwrap();
    assert!(found.device.contains("; swaps on cpu"), "{}", found.device);
    assert_eq!(bits(&found), bits(&fit(&Device::cpu(), matrix.view(), &Params::new(4)).unwrap()));
}

#[test]
fn columns_that_are_made_anew_give_the_same() {
    let points = uniform(110, 6, 1.0, 12);
    let device = Device::cpu();
    for metric in [Metric::Euclidean, Metric::Canberra] {
        for method in methods(&device) {
            for init in [Init::Random, Init::Build, Init::Lab, Init::PlusPlus, Init::Heuristic] {
                let params = Params::new(4).method(method).init(init).metric(distance::Params::new(metric));
                let held = fit_points(&device, points.view(), &params).unwrap();
                if matches!(method, Method::OneBatch { .. }) {
                    continue;
                }
                let made = fit_points(&device, points.view(), &params.max_bytes(20_000)).unwrap();
                assert_eq!(
                    (&held.medoids, &held.labels),
                    (&made.medoids, &made.labels),
                    "{metric} {method:?}"
                );
                // Only the spacing of the grid may differ.
                assert!((held.loss - made.loss).abs() <= 1e-12 * held.loss);
            }
        }
    }
}

/// Points that every metric takes: counts, probabilities, latitudes, bits.
fn points_for(metric: Metric) -> Array2<f32> {
    let mut draws = Draws::new(13);
    let columns = if metric == Metric::Haversine { 2 } else { 8 };
    let is_bits = matches!(
        metric,
        Metric::Jaccard
            | Metric::Dice
            | Metric::RogersTanimoto
            | Metric::RussellRao
            | Metric::SokalSneath
            | Metric::Yule
            | Metric::Matching
    );
    let mut points = Array2::from_shape_fn((60, columns), |_| {
        if is_bits { draws.below(2) as f32 } else { draws.unit() as f32 + 0.05 }
    });
    if is_bits {
        points.column_mut(0).fill(1.0);
    }
    for mut row in points.outer_iter_mut() {
        let sum = row.sum();
        if matches!(metric, Metric::KullbackLeibler | Metric::JensenShannon | Metric::Hellinger) {
            row.mapv_inplace(|value| value / sum);
        }
    }
    points
}

fn points_have_the_bits_of_their_matrix(device: &Device) {
    for metric in Metric::ALL {
        if metric == Metric::InnerProduct || metric.name().starts_with("bit_") {
            continue;
        }
        let points = points_for(metric);
        let mut of = distance::Params::new(metric);
        if metric == Metric::StandardizedEuclidean {
            of = of.variances(vec![0.5; 8]);
        }
        if metric == Metric::Mahalanobis {
            of = of.inverse_covariance(Array2::eye(8));
        }
        let matrix = pairwise(device, points.view(), &of).unwrap().matrix;
        let matrix = matrix.as_f32().unwrap().clone();
        let params = Params::new(5).metric(of.clone());
        let found = fit_points(device, points.view(), &params).unwrap();
        check(&found, &matrix.view());
        let given = fit(device, matrix.view(), &params).unwrap();
        assert_eq!(bits(&found), bits(&given), "{metric}");
        if device.name() != "reference" {
            let sampled = Method::OneBatch { size: Some(20) };
            let params = Params::new(5).method(sampled).metric(of.clone());
            let found = fit_points(device, points.view(), &params).unwrap();
            let expected = loss(&matrix.view(), &found.medoids);
            assert!((found.loss - expected).abs() <= 1e-4 * expected, "{metric}");
        }
    }
}

#[test]
fn packed_bits_are_points_too() {
    let mut draws = Draws::new(14);
    let words = Array2::from_shape_fn((50, 2), |_| draws.bits() as u32);
    let params = Params::new(4).metric(distance::Params::new(Metric::BitHamming));
    let found = fit_points(&Device::cpu(), words.view(), &params).unwrap();
    let plain =
        |i: usize, j: usize| (0..2).map(|at| (words[[i, at]] ^ words[[j, at]]).count_ones()).sum::<u32>();
    let matrix = Array2::from_shape_fn((50, 50), |(i, j)| plain(i, j) as f32);
    check(&found, &matrix.view());
    let sampled = params.method(Method::OneBatch { size: Some(30) });
    let found = fit_points(&Device::cpu(), words.view(), &sampled).unwrap();
    check(&found, &matrix.view());
}

#[track_caller]
fn is_parameter(outcome: Result<Fit, Error>, named: &str) {
    match outcome {
        Err(Error::Parameter { name, .. }) => assert_eq!(name, named),
        other => panic!("{other:?}"),
    }
}

fn wrong_input_is_named(device: &Device) {
    let matrix = apart(9, 15);
    let fitted = |params: Params| fit(device, matrix.view(), &params);
    is_parameter(fitted(Params::new(0)), "n_clusters");
    is_parameter(fitted(Params::new(10)), "n_clusters");
    is_parameter(fitted(Params::new(1).method(Method::FasterMsc)), "n_clusters");
    is_parameter(fitted(Params::new(3).method(Method::DynMsc { fewest: 1 })), "fewest");
    is_parameter(fitted(Params::new(3).method(Method::DynMsc { fewest: 4 })), "fewest");
    is_parameter(fitted(Params::new(3).method(Method::Clara { samples: 0, size: None })), "samples");
    is_parameter(fitted(Params::new(3).method(Method::Clara { samples: 1, size: Some(2) })), "size");
    is_parameter(fitted(Params::new(3).method(Method::Clara { samples: 1, size: Some(10) })), "size");
    is_parameter(fitted(Params::new(3).method(Method::OneBatch { size: Some(0) })), "size");
    is_parameter(fitted(Params::new(3).method(Method::Clarans { searches: 0, patience: None })), "searches");
    is_parameter(fitted(Params::new(2).init(Init::Given(vec![1, 1]))), "init");
    is_parameter(fitted(Params::new(2).init(Init::Given(vec![1, 9]))), "init");
    let shape = fitted(Params::new(2).init(Init::Given(vec![1])));
    assert!(matches!(shape, Err(Error::Shape { argument: "init", .. })), "{shape:?}");
    let square = fit(device, matrix.slice(ndarray::s![.., ..8]), &Params::new(2));
    assert!(matches!(square, Err(Error::Shape { argument: "dissimilarities", .. })), "{square:?}");
    let empty = fit(device, Array2::<f32>::zeros((0, 0)).view(), &Params::new(1));
    assert!(matches!(empty, Err(Error::Shape { argument: "dissimilarities", .. })), "{empty:?}");
    for wrong in [f32::NAN, f32::NEG_INFINITY] {
        let mut matrix = matrix.clone();
        matrix[[7, 3]] = wrong;
        let outcome = fit(device, matrix.view(), &Params::new(2));
        assert!(matches!(outcome, Err(Error::Value { row: 7, column: 3, .. })), "{outcome:?}");
    }
    let mut negative = matrix.clone();
    negative[[2, 5]] = -1.0;
    let outcome = fit(device, negative.view(), &Params::new(2).method(Method::PamMedSil));
    assert!(matches!(outcome, Err(Error::Value { row: 2, column: 5, .. })), "{outcome:?}");
    assert_eq!(fit(device, negative.view(), &Params::new(2)).unwrap().silhouette, None);
    let points = uniform(20, 3, 1.0, 16);
    let similar = Params::new(2).metric(distance::Params::new(Metric::InnerProduct));
    is_parameter(fit_points(device, points.view(), &similar), "metric");
    let mut spoiled = points.clone();
    spoiled[[17, 2]] = f32::NAN;
    for method in methods(device) {
        let outcome = fit_points(device, spoiled.view(), &Params::new(2).method(method));
        let is_named = matches!(outcome, Err(Error::Value { argument: "points", row: 17, column: 2, .. }));
        // The reference has no sampled methods, and says so.
        assert!(is_named, "{method:?}: {outcome:?}");
    }
    let triangle = tilefold::kmedoids::Dissimilarities::lower_triangle(4, &[1.0_f32; 5]).map(|_| ());
    assert!(matches!(triangle, Err(Error::Shape { .. })), "{triangle:?}");
    let skewed = Params::new(2).metric(distance::Params::new(Metric::KullbackLeibler)).max_bytes(100);
    let outcome = fit_points(device, points_for(Metric::KullbackLeibler).view(), &skewed);
    assert!(matches!(outcome, Err(Error::TooLarge { .. })), "{outcome:?}");
}

fn cancelling_ends_every_method(device: &Device) {
    let cancel = Cancel::new();
    cancel.cancel();
    for method in methods(device) {
        let params = Params::new(3).method(method).cancel(cancel.clone());
        let outcome = fit(device, apart(50, 17).view(), &params);
        assert!(matches!(outcome, Err(Error::Cancelled)), "{method:?}: {outcome:?}");
    }
}

fn more_iterations_never_raise_the_loss(device: &Device) {
    let matrix = apart(60, 18);
    for method in [Method::FasterPam, Method::Pam, Method::Alternating, Method::FasterMsc, Method::PamMedSil]
    {
        let mut last = f64::INFINITY;
        for most in 0..4 {
            let found = fit(device, matrix.view(), &Params::new(6).method(method).max_iter(most)).unwrap();
            assert!(found.n_iter <= most && (most > 0 || !found.converged));
            let is_of_silhouettes = matches!(method, Method::FasterMsc | Method::PamMedSil);
            let sum = if is_of_silhouettes { -found.silhouette.unwrap() } else { found.loss };
            assert!(sum <= last, "{method:?}");
            last = sum;
            check(&found, &matrix.view());
        }
    }
}
