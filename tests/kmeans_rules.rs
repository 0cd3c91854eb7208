//! The rules of the algorithm, as scikit-learn has them: empty clusters, convergence, weights, spherical mode, init.
//!
//! Cases named after scikit-learn take their numbers from its `cluster/tests/test_k_means.py` (BSD-3-Clause).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, Axis, array};
use tilefold::kmeans::{self, Fit, Init, Params};
use tilefold::{Device, Error};

use crate::kmeans::Case;
use crate::support::backends::on_every_backend;
use crate::support::cases::{self, BlobsShape, Draws};
use crate::support::lloyd;

on_every_backend! {
    results_are_those_of_scikit_learn, an_empty_cluster_moves_as_in_scikit_learn,
    empty_clusters_move_in_the_order_of_scikit_learn, tied_empty_clusters_move_as_in_scikit_learn,
    weighted_empty_clusters_move_as_in_scikit_learn, duplicates_converge_as_in_scikit_learn,
    clusters_beyond_the_distinct_points_stay_empty, far_first_centroids_take_the_farthest_rows,
    identical_points_are_one_cluster, two_distinct_points_are_two_clusters,
    a_tol_of_0_ends_when_no_label_changes, max_iter_is_reached, whole_weights_repeat_rows,
    scaled_weights_scale_only_the_inertia, zero_weights_do_not_matter, light_clusters_are_placed_right,
    spherical_fits_cluster_directions, empty_spherical_clusters_keep_finite_directions,
    n_init_keeps_the_best, seeds_reproduce, init_rows_are_distinct, init_finds_separated_blobs,
    a_warm_start_goes_on_where_a_fit_ended, prepared_data_serves_several_fits
}

#[track_caller]
fn fit(device: &Device, points: &Array2<f32>, params: &Params) -> Fit {
    kmeans::fit(device, points.view(), params).unwrap()
}

fn given(init: Array2<f64>) -> Params {
    Params::new(init.nrows()).init(Init::Centroids(init))
}

fn results_are_those_of_scikit_learn(device: &Device) {
    let points = array![[0.0_f32, 0.0], [0.5, 0.0], [0.5, 1.0], [1.0, 1.0]];
    let params = given(array![[0.0, 0.0], [1.0, 1.0]]).weights(vec![3.0, 1.0, 1.0, 3.0]);
    let fit = fit(device, &points, &params);
    assert_eq!(fit.labels.to_vec(), [0, 0, 1, 1]);
    assert_eq!((fit.inertia, fit.n_iter), (0.375, 2));
    assert_eq!(fit.model.centroids(), array![[0.125, 0.0], [0.875, 1.0]]);
}

fn an_empty_cluster_moves_as_in_scikit_learn(device: &Device) {
    let points = array![[0.0_f32, 0.0], [0.5, 0.0], [0.5, 1.0], [1.0, 1.0]];
    let fit = fit(device, &points, &given(array![[0.5, 0.5], [3.0, 3.0]]));
    assert!((fit.inertia - 0.25).abs() < 1e-14 && fit.n_iter == 3, "{} {}", fit.inertia, fit.n_iter);
    // Rows 0 and 3 are equally far; ties go to the highest row. scikit-learn's test takes either.
    assert_eq!(fit.labels.to_vec(), [0, 0, 1, 1]);
    assert_eq!(fit.model.centroids(), array![[0.25, 0.0], [0.75, 1.0]]);
}

/// scikit-learn's `test_nonuniform_strategies` of KBinsDiscretizer: centres in the middle of five bins, of which two are
/// empty, and three rows equally far from theirs. The rows 5 and 2 are taken, in this order.
fn tied_empty_clusters_move_as_in_scikit_learn(device: &Device) {
    let points = array![[0.0_f32], [0.5], [2.0], [3.0], [9.0], [10.0]];
    let params = given(array![[1.0], [3.0], [5.0], [7.0], [9.0]]);
    let first = fit(device, &points, &params.clone().max_iter(1));
    assert_eq!(first.model.centroids(), array![[0.25], [3.0], [10.0], [2.0], [9.0]]);
    let fit = fit(device, &points, &params);
    assert_eq!(fit.labels.to_vec(), [0, 0, 3, 1, 4, 2]);
}

fn empty_clusters_move_in_the_order_of_scikit_learn(device: &Device) {
    let points = array![[-10.0_f32], [-9.5], [-9.0], [-8.5], [-8.0], [-1.0], [1.0], [9.0], [9.5], [10.0]];
    let fit = fit(device, &points, &given(array![[-10.0], [-10.0], [-10.0]]).max_iter(1));
    // The farthest row goes to the first empty cluster, the next to the second; the first mean is -36 / 8.
    assert_eq!(fit.model.centroids(), array![[-4.5], [10.0], [9.5]]);
    assert_eq!(fit.labels.to_vec(), [0, 0, 0, 0, 0, 0, 0, 2, 2, 1]);
    assert_eq!((fit.n_iter, fit.converged), (1, false));
}

fn weighted_empty_clusters_move_as_in_scikit_learn(device: &Device) {
    let params = given(array![[-1.0], [10.0]]).weights(vec![1.9, 0.1]);
    let fit = fit(device, &array![[-1.0_f32], [1.0]], &params);
    assert_eq!(fit.labels.to_vec(), [0, 1]);
    assert_eq!(fit.model.centroids(), array![[-1.0], [1.0]]);
}

fn duplicates_converge_as_in_scikit_learn(device: &Device) {
    let points = array![[0.0_f32, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]];
    let fit = fit(device, &points, &given(points.mapv(f64::from)));
    assert_eq!((fit.n_iter, fit.converged, fit.inertia), (1, true, 0.0));
    assert_eq!(fit.cluster_sizes, [1, 2, 0, 1, 1]);
}

fn clusters_beyond_the_distinct_points_stay_empty(device: &Device) {
    let points = array![[0.0_f32, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]];
    for init in [Init::PlusPlus, Init::Random, Init::Parallel] {
        let fit = fit(device, &points, &Params::new(4).init(init));
        assert_eq!(fit.inertia, 0.0);
        assert_eq!(fit.cluster_sizes.iter().filter(|&&size| size > 0).count(), 3);
        assert_eq!(fit.labels[2], fit.labels[3]);
    }
}

fn far_first_centroids_take_the_farthest_rows(device: &Device) {
    // Every centroid but one starts empty; each takes one of the farthest rows.
    let mut case = Case::new(cases::uniform(80, 3, 1.0, 41), 5);
    for k in 1..5 {
        case.init.row_mut(k).fill(1e4 * k as f32);
    }
    assert!(case.check(device, 1, 0.0) && case.check(device, 300, 0.0));
    let fit = fit(device, &case.points, &case.params(300, 0.0));
    assert!(fit.cluster_sizes.iter().all(|&size| size > 0), "{:?}", fit.cluster_sizes);
}

fn identical_points_are_one_cluster(device: &Device) {
    for value in [0.0_f32, 1.0, 1e-40, -3e38] {
        let points = Array2::from_elem((30, 4), value);
        for init in [Init::PlusPlus, Init::Random, Init::Parallel] {
            let fit = fit(device, &points, &Params::new(3).init(init));
            assert_eq!((fit.inertia, fit.converged), (0.0, true), "{value}");
            assert!(fit.labels.iter().all(|&label| label == 0), "{value}");
            assert_eq!(fit.model.centroids(), Array2::from_elem((3, 4), f64::from(value)));
        }
    }
}

fn two_distinct_points_are_two_clusters(device: &Device) {
    let points = Array2::from_shape_fn((40, 3), |(row, column)| (row % 2 * (column + 1)) as f32);
    for init in [Init::PlusPlus, Init::Random, Init::Parallel] {
        let fit = fit(device, &points, &Params::new(3).init(init));
        assert_eq!((fit.inertia, fit.converged), (0.0, true));
        assert_eq!(fit.cluster_sizes.iter().filter(|&&size| size == 20).count(), 2);
        assert!((0..40).all(|row| fit.labels[row] == fit.labels[row % 2]));
    }
}

fn a_tol_of_0_ends_when_no_label_changes(device: &Device) {
    let case = Case::new(cases::uniform(200, 5, 1.0, 43), 8);
    let fit = fit(device, &case.points, &case.params(300, 0.0));
    assert!(fit.converged && fit.n_iter < 300);
    let (last, before) = (fit.history[fit.n_iter - 1], fit.history[fit.n_iter - 2]);
    assert!(last.changed == 0 && before.changed > 0, "{before:?} {last:?}");
    assert_eq!(fit.history[0].changed, 200);
    // The iteration before is not enough, and further ones change nothing.
    let shorter = kmeans::fit(device, case.points.view(), &case.params(fit.n_iter - 1, 0.0)).unwrap();
    assert!(!shorter.converged && shorter.n_iter == fit.n_iter - 1);
    let exact = kmeans::fit(device, case.points.view(), &case.params(fit.n_iter, 0.0)).unwrap();
    assert_eq!((exact.converged, &exact.model, &exact.labels), (true, &fit.model, &fit.labels));
}

fn max_iter_is_reached(device: &Device) {
    let case = Case::new(cases::uniform(400, 4, 1.0, 44), 30);
    for max_iter in [1, 2, 3] {
        let fit = fit(device, &case.points, &case.params(max_iter, 0.0));
        assert_eq!((fit.n_iter, fit.converged), (max_iter, false));
        // Labels and inertia are those of the returned centroids, not of the ones before.
        case.certify(&fit);
        let again = fit.model.predict(device, case.points.view()).unwrap();
        assert_eq!(again.labels, fit.labels);
        assert!(fit.inertia < fit.history.last().unwrap().inertia);
    }
}

fn whole_weights_repeat_rows(device: &Device) {
    let case = Case::new(cases::uniform(90, 6, 1.0, 45).mapv(|v| (v * 512.0).round()), 7);
    let times: Vec<usize> = (0..90).map(|row| 1 + row * 7 % 4).collect();
    let rows: Vec<usize> = (0..90).flat_map(|row| vec![row; times[row]]).collect();
    let weights = times.iter().map(|&times| times as f64).collect();
    let weighted = fit(device, &case.points, &case.params(300, 0.0).weights(weights));
    let repeated = fit(device, &case.points.select(Axis(0), &rows), &case.params(300, 0.0));
    assert_eq!(repeated.labels.to_vec(), rows.iter().map(|&row| weighted.labels[row]).collect::<Vec<_>>());
    assert!((weighted.inertia - repeated.inertia).abs() <= 1e-12 * repeated.inertia);
    let difference = weighted.model.centroids() - repeated.model.centroids();
    assert!(difference.iter().all(|d| d.abs() <= 1e-9), "{difference}");
    assert_eq!(weighted.n_iter, repeated.n_iter);
}

fn scaled_weights_scale_only_the_inertia(device: &Device) {
    let mut draws = Draws::new(46);
    let case = Case::new(cases::uniform(100, 5, 1.0, 46), 6);
    let weights: Vec<f64> = (0..100).map(|_| draws.unit()).collect();
    let plain = fit(device, &case.points, &case.params(20, 0.0).weights(weights.clone()));
    // Powers of two to the ends of f64; 1e-300 is one that is no power of two.
    for factor in [0.5, 2.0_f64.powi(-1000), 2.0_f64.powi(1000)] {
        let scaled = weights.iter().map(|weight| weight * factor).collect();
        let fit = fit(device, &case.points, &case.params(20, 0.0).weights(scaled));
        assert_eq!((&fit.labels, fit.model.centroids()), (&plain.labels, plain.model.centroids()));
        assert_eq!(fit.inertia, plain.inertia * factor);
    }
    let tiny = fit(device, &case.points, &case.params(20, 0.0).weights(vec![1e-300; 100]));
    let none = fit(device, &case.points, &case.params(20, 0.0));
    assert_eq!(tiny.labels, none.labels);
    assert!((tiny.inertia / 1e-300 - none.inertia).abs() <= 1e-6 * none.inertia);
}

fn zero_weights_do_not_matter(device: &Device) {
    let case = Case::new(cases::uniform(120, 5, 1.0, 47).mapv(|v| (v * 1024.0).round()), 6);
    let kept: Vec<usize> = (0..120).filter(|row| row % 3 != 1).collect();
    let weights = (0..120).map(|row| f64::from(u8::from(row % 3 != 1))).collect();
    let weighted = fit(device, &case.points, &case.params(300, 0.0).weights(weights));
    let without = fit(device, &case.points.select(Axis(0), &kept), &case.params(300, 0.0));
    let difference = weighted.model.centroids() - without.model.centroids();
    assert!(difference.iter().all(|d| d.abs() <= 1e-9), "{difference}");
    assert!((weighted.inertia - without.inertia).abs() <= 1e-12 * without.inertia);
    assert!(kept.iter().zip(&without.labels).all(|(&row, &label)| weighted.labels[row] == label));
    // No first centroid is a row of weight 0.
    for init in [Init::PlusPlus, Init::Random, Init::Parallel] {
        for seed in 0..5 {
            let weights: Vec<f64> = (0..120).map(|row| if row < 12 { 1.0 } else { 0.0 }).collect();
            let params = Params::new(10).init(init.clone()).n_init(1).max_iter(1).seed(seed).weights(weights);
            let fit = fit(device, &case.points, &params);
            // Twelve rows make ten clusters of one or a few: no centroid lies outside of their box.
            let used: std::collections::HashSet<u32> = fit.labels.iter().take(12).copied().collect();
            assert_eq!(used.len(), 10, "{init:?}, seed {seed}");
        }
    }
}

/// Clusters of small weight beside clusters of large weight are placed right.
fn light_clusters_are_placed_right(device: &Device) {
    let shape = BlobsShape { rows: 120, columns: 4, clusters: 3, spread: 0.3, offset: 0.0 };
    let made = cases::blobs(shape, 48);
    for light in [1e-3, 1e-6] {
        let weights = made.labels.iter().map(|&label| if label == 1 { light } else { 1.0 }).collect();
        let init: Vec<usize> =
            (0..3).map(|blob| made.labels.iter().position(|&label| label == blob).unwrap()).collect();
        let init = made.points.select(Axis(0), &init);
        let case = Case { points: made.points.clone(), init, weights: Some(weights) };
        assert!(case.check(device, 20, 0.0), "light weight {light}");
    }
}

fn unit(points: &Array2<f32>) -> Array2<f64> {
    let mut unit = points.mapv(f64::from);
    for mut row in unit.outer_iter_mut() {
        let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        row.mapv_inplace(|v| v / length);
    }
    unit
}

fn spherical_fits_cluster_directions(device: &Device) {
    let points = cases::uniform(150, 7, 5.0, 49);
    for init in [
        Init::PlusPlus,
        Init::Random,
        Init::Parallel,
        Init::Centroids(points.select(Axis(0), &[1, 2, 3, 4]).mapv(f64::from)),
    ] {
        let params = Params::new(4).init(init).spherical(true).tol(0.0);
        let fit = fit(device, &points, &params);
        let (rows, centroids) = (unit(&points), fit.model.centroids());
        assert!(fit.model.spherical() && fit.converged);
        for centroid in centroids.outer_iter() {
            let length = centroid.iter().map(|c| c * c).sum::<f64>().sqrt();
            assert!((length - 1.0).abs() < 1e-12, "centroid of length {length}");
        }
        for (x, &label) in rows.outer_iter().zip(&fit.labels) {
            let cosines: Vec<f64> = centroids.outer_iter().map(|c| c.dot(&x)).collect();
            let best = cosines.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!(cosines[label as usize] >= best - 1e-6, "{cosines:?} {label}");
        }
        let direct = lloyd::inertia(&rows, None, &centroids, &fit.labels.to_vec());
        assert!((fit.inertia - direct).abs() < 1e-5 * direct, "{} {direct}", fit.inertia);
        // Only directions count, in the fit and in predict.
        let longer = Array2::from_shape_fn(points.dim(), |(row, column)| {
            points[(row, column)] * 2.0_f32.powi(row as i32 % 40 - 20)
        });
        let again = kmeans::fit(device, longer.view(), &params).unwrap();
        assert_eq!((&again.labels, &again.model), (&fit.labels, &fit.model));
        assert_eq!(fit.model.predict(device, longer.view()).unwrap().labels, fit.labels);
    }
    let mut zero = points;
    zero.row_mut(17).fill(0.0);
    let error = kmeans::fit(device, zero.view(), &Params::new(4).spherical(true)).unwrap_err();
    assert!(matches!(error, Error::Value { argument: "points", row: 17, .. }), "{error}");
    assert!(error.to_string().contains("not all zeros"), "{error}");
}

fn empty_spherical_clusters_keep_finite_directions(device: &Device) {
    // All directions but one start empty; opposite directions cancel to a sum of length 0 and keep the old one.
    let points = array![[1.0_f32, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -3.0]];
    let init = array![[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]];
    let fit1 = fit(device, &points, &given(init).spherical(true));
    assert!(fit1.inertia.is_finite() && fit1.model.centroids().iter().all(|c| c.is_finite()));
    let fit2 = fit(device, &points.select(Axis(0), &[0, 1]), &given(array![[0.0, 1.0]]).spherical(true));
    assert_eq!(fit2.model.centroids(), array![[0.0, 1.0]]);
    assert_eq!(fit2.inertia, 4.0);
}

fn n_init_keeps_the_best(device: &Device) {
    let points = cases::uniform(150, 2, 1.0, 50);
    let params = |n_init| Params::new(12).init(Init::Random).n_init(n_init).max_iter(2).seed(9);
    let mut least = f64::INFINITY;
    for n_init in [1, 2, 5, 10] {
        let fit = fit(device, &points, &params(n_init));
        assert!(fit.inertia <= least, "n_init {n_init}");
        least = fit.inertia;
    }
    assert!(least < fit(device, &points, &params(1)).inertia, "ten runs found nothing better than one");
    // Random is run ten times by itself, the others once.
    let default = fit(device, &points, &Params::new(12).init(Init::Random).max_iter(2).seed(9));
    assert_eq!(default.inertia, least);
}

fn seeds_reproduce(device: &Device) {
    let points = cases::uniform(200, 3, 1.0, 51);
    for init in [Init::PlusPlus, Init::Random, Init::Parallel] {
        let params = |seed| Params::new(9).init(init.clone()).n_init(1).max_iter(1).seed(seed);
        let fits = [3, 3, 4, u64::MAX].map(|seed| fit(device, &points, &params(seed)));
        assert_eq!(fits[0].model, fits[1].model, "{init:?}");
        assert_ne!(fits[0].model, fits[2].model, "{init:?}");
        assert_ne!(fits[0].model, fits[3].model, "{init:?}");
    }
}

fn init_rows_are_distinct(device: &Device) {
    for (rows, k) in [(40, 40), (40, 39), (300, 17), (2, 2), (1, 1)] {
        let points = cases::uniform(rows, 3, 1.0, 52);
        for init in [Init::PlusPlus, Init::Random, Init::Parallel] {
            for seed in 0..4 {
                let params = Params::new(k).init(init.clone()).n_init(1).max_iter(1).seed(seed);
                let fit = fit(device, &points, &params);
                // Distinct rows as first centroids leave no cluster empty in the first iteration.
                let used = fit.cluster_sizes.iter().filter(|&&size| size > 0).count();
                assert!(used * 10 >= k * 9, "{init:?}, seed {seed}: {:?}", fit.cluster_sizes);
                if k == rows {
                    assert_eq!((used, fit.inertia), (k, 0.0), "{init:?}, seed {seed}");
                }
            }
        }
    }
}

fn init_finds_separated_blobs(device: &Device) {
    let shape = BlobsShape { rows: 400, columns: 6, clusters: 10, spread: 0.1, offset: 100.0 };
    let made = cases::blobs(shape, 53);
    let init: Vec<usize> =
        (0..10).map(|blob| made.labels.iter().position(|&label| label == blob).unwrap()).collect();
    let best = fit(device, &made.points, &given(made.points.select(Axis(0), &init).mapv(f64::from))).inertia;
    for init in [Init::PlusPlus, Init::Parallel] {
        let good = (0..20)
            .filter(|&seed| {
                let params = Params::new(10).init(init.clone()).seed(seed);
                fit(device, &made.points, &params).inertia <= 1.3 * best
            })
            .count();
        println!("{init:?}: {good} of 20 seeds within 1.3 of the best");
        assert!(good >= 19, "{init:?}: {good} of 20 seeds within 1.3 of the best");
    }
}

fn a_warm_start_goes_on_where_a_fit_ended(device: &Device) {
    let points = cases::uniform(250, 5, 1.0, 54);
    let first = fit(device, &points, &Params::new(9).tol(0.0).seed(2));
    let again = fit(device, &points, &Params::new(9).tol(0.0).warm_start(first.model.centroids()));
    assert_eq!(again.labels, first.labels);
    assert!(again.converged && again.n_iter <= 2, "{} iterations", again.n_iter);
    assert!((again.inertia - first.inertia).abs() <= 1e-12 * first.inertia);
    let loose = fit(device, &points, &Params::new(9).warm_start(first.model.centroids()));
    assert_eq!((loose.n_iter, loose.converged), (1, true));
}

fn prepared_data_serves_several_fits(device: &Device) {
    let points = cases::uniform(160, 5, 1.0, 55);
    let weights: Vec<f64> = (0..160).map(|row| 1.0 + (row % 5) as f64).collect();
    let params = |k| Params::new(k).weights(weights.clone()).seed(3);
    let data = kmeans::Data::new(device, points.view(), &params(1)).unwrap();
    for k in [1, 7, 2, 40, 7] {
        let (one, own) = (data.fit(&params(k)).unwrap(), fit(device, &points, &params(k)));
        assert_eq!(
            (&one.labels, &one.model, &one.inertia),
            (&own.labels, &own.model, &own.inertia),
            "k = {k}"
        );
    }
    let error = data.fit(&params(2).spherical(true)).unwrap_err();
    assert!(matches!(error, Error::Parameter { name: "spherical", .. }), "{error}");
    assert!(matches!(data.fit(&params(161)), Err(Error::Parameter { name: "n_clusters", .. })));
}
