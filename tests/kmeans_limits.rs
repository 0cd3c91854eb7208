//! Where memory or the range of numbers is nearly exhausted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, s};
use tilefold::Device;
use tilefold::kmeans::{self, Data, Init, Params};

use crate::kmeans_bits::same_bits;
use crate::support::backends::on_every_backend;
use crate::support::cases::{self, Draws};

on_every_backend! {
    fits_share_the_memory_budget, inertia_holds_for_weights_of_many_sizes,
    predict_holds_far_from_the_training_data, sums_of_many_sizes_have_the_same_bits
}

/// Fits with few and with many clusters on the same points, and beside them, under a budget that holds the points and
/// few clusters only.
fn fits_share_the_memory_budget(device: &Device) {
    let points = cases::uniform(4096, 64, 1.0, 1);
    let params = |k: usize| {
        let init = Init::Centroids(points.slice(s![..k, ..]).mapv(f64::from));
        Params::new(k).init(init).max_iter(2)
    };
    let expected = [2, 700].map(|k| kmeans::fit(&Device::cpu(), points.view(), &params(k)).unwrap());
    for budget in [2_000_000, 2_500_000, 3_000_000] {
        let device = device.clone().with_memory_budget(budget);
        let data = Data::new(&device, points.view(), &Params::new(2)).unwrap();
        for (k, expected) in [2, 700, 2].into_iter().zip([0, 1, 0].map(|at| &expected[at])) {
            let shared = data.fit(&params(k)).unwrap_or_else(|error| panic!("{budget}, k = {k}: {error}"));
            assert_eq!(shared.labels, expected.labels, "{budget}, k = {k}");
        }
        // Another fit gets what the points above leave free.
        let beside = kmeans::fit(&device, points.view(), &params(2)).unwrap();
        assert_eq!(beside.labels, expected[0].labels);
        let labels = beside.model.predict(&device, points.view()).unwrap().labels;
        assert_eq!(labels, expected[0].labels);
    }
}

/// The heaviest row lies on the mean and adds nothing to the inertia: what is left is far below the weights' grid.
fn inertia_holds_for_weights_of_many_sizes(device: &Device) {
    let points = Array2::from_shape_fn((1001, 3), |(row, column)| {
        let (pair, sign) = (row.div_ceil(2) as f64, if row % 2 == 0 { 1.0 } else { -1.0 });
        if row == 0 { 0.0 } else { sign * (5.0 + (pair * 0.37 + column as f64).sin()) }
    });
    for tiny in [1e-6, 1e-9, 1e-12] {
        let weight = |row: usize| if row == 0 { 1.0 } else { tiny * (1.0 + (row as f64).sin().abs()) };
        let weights: Vec<f64> = (0..1001).map(weight).collect();
        let init = Init::Centroids(ndarray::array![[0.0; 3], [5.0; 3], [-5.0; 3]]);
        let params = Params::new(3).init(init).weights(weights.clone()).max_iter(5);
        let fit = kmeans::fit(device, points.view(), &params).unwrap();
        let centroids = fit.model.centroids();
        let exact: f64 = points
            .outer_iter()
            .zip(&fit.labels)
            .zip(&weights)
            .map(|((x, &label), weight)| {
                let centroid = centroids.row(label as usize);
                weight * x.iter().zip(centroid).map(|(x, c)| (x - c) * (x - c)).sum::<f64>()
            })
            .sum();
        assert!((fit.inertia - exact).abs() <= 1e-6 * exact, "{tiny}: {} and {exact}", fit.inertia);
    }
}

/// Points as far from the training data as the frame accepts, where one bound holds for all and none is certified.
fn predict_holds_far_from_the_training_data(device: &Device) {
    let points = cases::uniform(50, 3, 1.0, 2);
    for k in [1, 2, 33] {
        let model = kmeans::fit(&Device::cpu(), points.view(), &Params::new(k)).unwrap().model;
        for exponent in [0, 20, 30, 36, 37, 38] {
            let far = Array2::from_shape_fn((200, 3), |(row, column)| {
                ((row * 3 + column) as f32 * 0.71).sin() * 2.0_f32.powi(exponent)
            });
            let expected = model.predict(&Device::reference(), far.view()).unwrap().labels;
            assert_eq!(model.predict(device, far.view()).unwrap().labels, expected, "2^{exponent}, k = {k}");
        }
    }
}

/// Values and weights down to the smallest denormals, so that the device's integers shift both ways by any distance.
fn sums_of_many_sizes_have_the_same_bits(device: &Device) {
    let mut draws = Draws::new(9);
    for (round, span) in [0, 8, 30, 60, 140, 148].into_iter().enumerate() {
        let (rows, columns, k) = ([3, 257, 1025][round % 3], [1, 5, 64, 65][round % 4], 1 + round % 3);
        let mut fraction = || draws.below(1 << 24) as f32 / (1 << 24) as f32;
        let points = Array2::from_shape_fn((rows, columns), |(row, _)| {
            let smaller = if row == 0 { 0.0 } else { fraction() * span as f32 };
            (fraction() - 0.5) * 2.0_f32.powi(1 - smaller as i32)
        });
        let weight = |row: usize| 2.0_f64.powi(-((row * span / rows) as i32)) * (1.0 - row as f64 / 1e5);
        let init = Init::Centroids(points.slice(s![..k, ..]).mapv(f64::from));
        let plain = Params::new(k).init(init).max_iter(3).tol(0.0);
        let weighted = plain.clone().weights((0..rows).map(weight).collect());
        for params in [plain, weighted] {
            let fit = kmeans::fit(device, points.view(), &params).unwrap();
            if device.name() != "reference" {
                let expected = kmeans::fit(&Device::cpu(), points.view(), &params).unwrap();
                same_bits(&fit, &expected, &format!("{rows} x {columns}, 2^-{span}"));
            }
        }
    }
}
