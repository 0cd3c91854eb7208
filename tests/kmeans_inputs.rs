//! Wrong inputs: a typed error that names the argument, what was expected and what came. Nothing panics.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, array, s};
use tilefold::kmeans::{self, Init, Params};
use tilefold::{Device, Error, Points};

use crate::support::backends::on_every_backend;
use crate::support::cases;

on_every_backend! {
    points_that_are_not_finite_are_refused, empty_points_are_refused,
    no_cluster_and_more_than_rows_are_refused, parameters_out_of_range_are_refused,
    wrong_weights_are_refused, wrong_init_is_refused, predict_refuses_wrong_points,
    predict_refuses_values_beyond_the_range, extreme_integers_are_labelled_right
}

fn points() -> Array2<f32> {
    cases::uniform(50, 3, 1.0, 90)
}

#[track_caller]
fn refused<'a>(device: &Device, points: impl Into<Points<'a>>, params: &Params, words: &[&str]) -> Error {
    let error = kmeans::fit(device, points, params).expect_err("must be refused");
    told(&error, words);
    error
}

#[track_caller]
fn told(error: &Error, words: &[&str]) {
    let message = error.to_string();
    assert!(message.len() < 300, "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in {message:?}");
    }
}

fn points_that_are_not_finite_are_refused(device: &Device) {
    let fit = kmeans::fit(device, points().view(), &Params::new(4)).unwrap();
    let round = kmeans::fit(device, points().view(), &Params::new(4).spherical(true)).unwrap();
    for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (row, column) in [(0, 0), (49, 2), (17, 1)] {
            let mut bad = points();
            bad[[row, column]] = value;
            let place = format!("points[{row}, {column}]");
            let words = [place.as_str(), "a finite number"];
            let error = refused(device, bad.view(), &Params::new(4), &words);
            assert!(matches!(error, Error::Value { argument: "points", .. }));
            refused(device, bad.view(), &Params::new(4).spherical(true), &words);
            refused(device, bad.mapv(f64::from).view(), &Params::new(4), &words);
            refused(device, bad.mapv(half::f16::from_f32).view(), &Params::new(4), &words);
            for model in [&fit.model, &round.model] {
                told(&model.predict(device, bad.view()).unwrap_err(), &words);
            }
        }
    }
    // The first one in reading order is named, also where a later block has one.
    let mut bad = cases::uniform(5000, 3, 1.0, 91);
    bad[[4999, 0]] = f32::NAN;
    bad[[1234, 2]] = f32::INFINITY;
    refused(device, bad.view(), &Params::new(4), &["points[1234, 2]", "inf"]);
}

fn empty_points_are_refused(device: &Device) {
    let fit = kmeans::fit(device, points().view(), &Params::new(4)).unwrap();
    for (rows, columns) in [(0, 3), (5, 0), (0, 0)] {
        let empty = Array2::<f32>::zeros((rows, columns));
        let got = format!("{rows} x {columns}");
        let error = refused(device, empty.view(), &Params::new(1), &["points", "at least 1 row", &got]);
        assert!(matches!(error, Error::Shape { argument: "points", .. }));
        assert!(matches!(
            fit.model.predict(device, empty.view()),
            Err(Error::Shape { argument: "points", .. })
        ));
        assert!(kmeans::Data::new(device, empty.view(), &Params::new(1)).is_err());
    }
}

fn no_cluster_and_more_than_rows_are_refused(device: &Device) {
    for k in [0, 51, usize::MAX] {
        let got = format!("got {k}");
        let error = refused(device, points().view(), &Params::new(k), &["n_clusters", "1 to 50", &got]);
        assert!(matches!(error, Error::Parameter { name: "n_clusters", .. }));
    }
    for k in [1, 50] {
        assert!(kmeans::fit(device, points().view(), &Params::new(k)).is_ok());
    }
}

fn parameters_out_of_range_are_refused(device: &Device) {
    refused(device, points().view(), &Params::new(2).max_iter(0), &["max_iter", "at least 1", "got 0"]);
    refused(device, points().view(), &Params::new(2).n_init(0), &["n_init", "at least 1", "got 0"]);
    for tol in [-1e-300, f64::NAN, f64::INFINITY] {
        refused(device, points().view(), &Params::new(2).tol(tol), &["tol", "finite", &format!("{tol:?}")]);
    }
}

fn wrong_weights_are_refused(device: &Device) {
    let with = |weights: Vec<f64>| Params::new(4).weights(weights);
    for length in [0, 49, 51] {
        let got = length.to_string();
        refused(device, points().view(), &with(vec![1.0; length]), &["weights", "50 weights", &got]);
    }
    for value in [-1.0, -1e-300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut weights = vec![1.0; 50];
        weights[33] = value;
        let error = refused(device, points().view(), &with(weights), &["weights[33", "at least 0"]);
        assert!(matches!(error, Error::Value { argument: "weights", row: 33, .. }));
    }
    refused(device, points().view(), &with(vec![0.0; 50]), &["weights", "above 0", "all zero"]);
    refused(device, points().view(), &with(vec![-0.0; 50]), &["weights", "above 0"]);
    // Three rows have weight: k-means++ and given centroids manage four clusters, random rows cannot.
    let few: Vec<f64> = (0..50).map(|row| f64::from(u8::from(row < 3))).collect();
    assert!(kmeans::fit(device, points().view(), &with(few.clone())).is_ok());
    refused(device, points().view(), &with(few).init(Init::Random), &["weights", "n_clusters = 4", "got 3"]);
}

fn wrong_init_is_refused(device: &Device) {
    let with = |init: Array2<f64>| Params::new(4).init(Init::Centroids(init));
    for (rows, columns) in [(3, 3), (5, 3), (4, 2), (4, 4), (0, 3), (4, 0)] {
        let got = format!("{rows} x {columns}");
        refused(device, points().view(), &with(Array2::zeros((rows, columns))), &["init", "4 x 3", &got]);
    }
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut init = Array2::ones((4, 3));
        init[[2, 1]] = value;
        refused(device, points().view(), &with(init), &["init[2, 1]", "a finite number"]);
    }
    let mut far = Array2::ones((4, 3));
    far[[3, 0]] = 1e30;
    refused(device, points().view(), &with(far.clone()), &["init[3, 0]", "2^40 times the spread"]);
    far[[3, 0]] = f64::MAX;
    refused(device, points().view(), &with(far), &["init[3, 0]", "2^40 times the spread"]);
    let mut zero = Array2::ones((4, 3));
    zero.row_mut(1).fill(0.0);
    refused(device, points().view(), &with(zero).spherical(true), &["init[1, 0]", "not all zeros"]);
}

fn predict_refuses_wrong_points(device: &Device) {
    let model = kmeans::fit(device, points().view(), &Params::new(4)).unwrap().model;
    for columns in [1, 2, 4] {
        let error = model.predict(device, Array2::<f32>::zeros((5, columns)).view()).unwrap_err();
        told(&error, &["points", "3 columns", &format!("{columns} columns")]);
        assert!(matches!(error, Error::Shape { argument: "points", .. }));
    }
    let round = kmeans::fit(device, points().view(), &Params::new(4).spherical(true)).unwrap().model;
    let mut zero = points();
    zero.row_mut(31).fill(0.0);
    let error = round.predict(device, zero.view()).unwrap_err();
    told(&error, &["points[31, 0]", "not all zeros"]);
}

fn predict_refuses_values_beyond_the_range(device: &Device) {
    let model = kmeans::fit(device, points().view(), &Params::new(4)).unwrap().model;
    for value in [1e13_f64, -1e30, 1e300, -f64::MAX] {
        let mut far = points().mapv(f64::from);
        far[[8, 2]] = value;
        let error = model.predict(device, far.view()).unwrap_err();
        told(&error, &["points[8, 2]", "2^40 times the spread"]);
    }
    // Just inside the range labels are still those of f64.
    let far = array![[1e11_f32, 0.0, 0.0], [0.0, -1e11, 0.0], [5e11, 5e11, -5e11]];
    let labels = model.predict(device, far.view()).unwrap().labels;
    let centroids = model.centroids();
    for (x, &label) in far.outer_iter().zip(&labels) {
        // |x - c|^2 - |x|^2 = |c|^2 - 2 x.c, without the |x|^2 that would swallow it.
        let value = |c: ndarray::ArrayView1<f64>| c.dot(&c) - 2.0 * c.dot(&x.mapv(f64::from));
        let best = centroids.outer_iter().map(value).fold(f64::INFINITY, f64::min);
        let chosen = value(centroids.row(label as usize));
        assert!(chosen <= best + 1e-12 * best.abs(), "{x}: {chosen} {best}");
    }
    let mut huge = points().mapv(f64::from);
    huge[[8, 2]] = 1.1e300;
    refused(device, huge.view(), &Params::new(4), &["points[8, 2]", "at most 1e300"]);
}

fn extreme_integers_are_labelled_right(device: &Device) {
    let wide = array![[i64::MIN, i64::MAX], [i64::MAX, i64::MIN], [0, 0], [i64::MIN + 1, i64::MAX - 1]];
    let fit = kmeans::fit(device, wide.view(), &Params::new(3).seed(1)).unwrap();
    assert_eq!(fit.labels[0], fit.labels[3]);
    assert_eq!(fit.cluster_sizes.iter().filter(|&&size| size > 0).count(), 3);
    let large = array![[u64::MAX, 0], [u64::MAX - 1, 1], [0, u64::MAX], [1, u64::MAX]];
    let fit = kmeans::fit(device, large.view(), &Params::new(2).seed(1)).unwrap();
    assert!(
        fit.labels[0] == fit.labels[1] && fit.labels[2] == fit.labels[3] && fit.labels[0] != fit.labels[2]
    );
    let signed = array![[i32::MIN], [i32::MAX], [i32::MIN + 1], [i32::MAX - 1]];
    let fit = kmeans::fit(device, signed.view(), &Params::new(2)).unwrap();
    // Neighbours that far from the others coincide: tiles hold 24 bits of the spread.
    assert!(fit.inertia <= 1.0 && fit.labels[0] == fit.labels[2] && fit.labels[1] == fit.labels[3]);
    // Minus zero is zero.
    let zeros = array![[0.0_f32, 1.0], [-0.0, 1.0], [0.0, -1.0], [-0.0, -1.0]];
    let fit = kmeans::fit(device, zeros.slice(s![.., ..]), &Params::new(2)).unwrap();
    assert!(fit.labels[0] == fit.labels[1] && fit.labels[2] == fit.labels[3] && fit.inertia == 0.0);
}
