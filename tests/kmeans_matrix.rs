//! Labels with a screen of f16 products: on the device's own matrix units, and with plain WGSL in place of 16x16x16
//! ones. What must hold elsewhere must hold here, bit for bit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, s};
use tilefold::kmeans::{self, Fit, Init, Params};
use tilefold::{Device, UnitsState, units_state};

use crate::kmeans_exact::*;
use crate::support::backends;
use crate::support::cases::{self, BlobsShape, Draws};
use crate::support::matrix::on_both;

on_both! {
    near_ties_are_decided_in_f64, labels_hold_where_half_norms_round_apart, near_ties_fail_without_recheck,
    predict_decides_near_ties_in_f64, ties_of_equal_centroids_go_to_the_lowest_index,
    labels_hold_far_from_the_origin, labels_hold_where_an_offset_leaves_few_digits,
    powers_of_two_change_only_the_units, an_outlier_gets_a_cluster_of_its_own,
    labels_hold_for_features_of_mixed_scales, labels_hold_for_denormals, labels_hold_at_the_extremes_of_f64,
    labels_hold_at_every_boundary_of_the_tiles, the_screen_does_most_of_the_work, same_bits_as_without,
    streamed_windows_change_no_bit, too_many_left_end_the_screen
}

/// A fit of one iteration from the first rows.
fn once(device: &Device, points: &Array2<f32>, k: usize) -> Fit {
    let init = Init::Centroids(points.slice(s![..k, ..]).mapv(f64::from));
    kmeans::fit(device, points.view(), &Params::new(k).init(init).max_iter(2).tol(0.0)).unwrap()
}

fn labels_hold_at_every_boundary_of_the_tiles(device: &Device) {
    let mut screened = 0;
    for (at, k) in [1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 128, 129, 130].into_iter().enumerate() {
        for (step, columns) in
            [1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 64, 65, 100, 129].into_iter().enumerate()
        {
            // Every size meets every other in turn, not all at once.
            if (at + step) % 3 != 0 {
                continue;
            }
            let rows = [130, 131, 191, 192, 193][(at + 2 * step) % 5];
            let points = cases::uniform(rows, columns, 1.0, (1000 * k + columns) as u64);
            let (ours, exact) = (once(device, &points, k), once(&Device::reference(), &points, k));
            assert_eq!(ours.labels, exact.labels, "k = {k}, {rows} x {columns}");
            assert_eq!(ours.model.centroids(), exact.model.centroids(), "k = {k}, {rows} x {columns}");
            screened += usize::from(ours.screened > 0.5);
        }
    }
    assert!(screened > 60, "only {screened} fits were screened");
}

fn blobs() -> Array2<f32> {
    let shape = BlobsShape { rows: 1500, columns: 40, clusters: 40, spread: 1.0, offset: 1e3 };
    cases::blobs(shape, 11).points
}

fn the_screen_does_most_of_the_work(device: &Device) {
    let fit = kmeans::fit(device, blobs().view(), &Params::new(40).seed(3)).unwrap();
    println!("{} screened, {} rechecked", fit.screened, fit.rechecked);
    assert!(fit.screened > 0.97 && fit.rechecked < 0.001, "{} {}", fit.screened, fit.rechecked);
    let labels = fit.model.predict(device, blobs().view()).unwrap();
    assert!(labels.screened > 0.97, "{}", labels.screened);
    assert_eq!(labels.labels, fit.labels);
}

fn same_bits_as_without(device: &Device) {
    let with = kmeans::fit(device, blobs().view(), &Params::new(40).seed(3)).unwrap();
    for other in [device.clone().with_matrix_units(false), backends::cpu()] {
        let without = kmeans::fit(&other, blobs().view(), &Params::new(40).seed(3)).unwrap();
        assert_eq!(without.screened, 0.0);
        assert_eq!(with.labels, without.labels);
        assert_eq!(with.model, without.model);
        assert_eq!(with.inertia.to_bits(), without.inertia.to_bits());
    }
}

fn streamed_windows_change_no_bit(device: &Device) {
    let points = blobs();
    let whole = kmeans::fit(device, points.view(), &Params::new(40).seed(3)).unwrap();
    let device = device.clone().with_window_bytes(37 * 4 * 40).with_memory_budget(3 << 19);
    let cut = kmeans::fit(&device, points.view(), &Params::new(40).seed(3)).unwrap();
    assert_eq!((&cut.labels, &cut.model), (&whole.labels, &whole.model));
    assert!(cut.screened > 0.97, "{}", cut.screened);
}

/// Rows that lie between two centroids are left to f32, and the screen is given up.
fn too_many_left_end_the_screen(device: &Device) {
    let mut draws = Draws::new(5);
    let points = Array2::from_shape_fn((400, 24), |(row, column)| match (row, column) {
        (0 | 1, 0) => 2.0 * row as f32 - 1.0,
        (0 | 1, _) => 1.0,
        (_, 0) => 1e-4 * (draws.below(9) as f32 - 4.0),
        _ => draws.below(100) as f32 / 50.0,
    });
    let params = |device: &Device| {
        let fit = kmeans::fit(device, points.view(), &Params::new(40).seed(1).max_iter(6).tol(0.0)).unwrap();
        (fit.labels, fit.model)
    };
    assert_eq!(params(device), params(&Device::cpu()));
    let two = once(device, &points, 2);
    let exact = once(&Device::reference(), &points, 2);
    assert_eq!(two.labels, exact.labels);
    assert!(two.history[0].screened < 0.75, "{}", two.history[0].screened);
    assert_eq!(two.history[1].screened, 0.0, "the screen goes on");
}

/// The self-test finds each fault that plain kernels can be given, and the screen is off then.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn a_fault_in_the_self_test_turns_the_units_off() {
    for size in [8, 16] {
        for fault in ["narrow sums", "lost products", "doubled sums"] {
            let device = backends::gpu().with_plain_matrices(size);
            assert!(matches!(units_state(&device).unwrap(), UnitsState::Passed(_)));
            device.plant_matrix_fault(fault);
            let state = units_state(&device).unwrap();
            assert!(matches!(&state, UnitsState::Failed(_, _)), "{fault}: {state:?}");
            println!("{size}, {fault}: {state:?}");
            let points = cases::uniform(200, 20, 1.0, 3);
            let fit = once(&device, &points, 40);
            assert_eq!(fit.screened, 0.0, "{fault}");
            assert_eq!(fit.labels, once(&Device::reference(), &points, 40).labels);
        }
    }
}

/// Neither software adapters nor the CPU are screened unless asked to.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn the_switch_decides() {
    let off = backends::gpu().with_matrix_units(false);
    assert_eq!(units_state(&off).unwrap(), UnitsState::Absent);
    assert_eq!(once(&off, &cases::uniform(200, 20, 1.0, 3), 40).screened, 0.0);
    assert_eq!(units_state(&Device::cpu().with_matrix_units(true)).unwrap(), UnitsState::Absent);
}
