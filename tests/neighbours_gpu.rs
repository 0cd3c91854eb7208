//! What only the GPU path does: many steps of columns, lists that are too long, who is named.

use ndarray::{Axis, concatenate};
use tilefold::distance::Metric;
use tilefold::neighbours::{
    Filter, Filters, Params, RadiusParams, count_within, count_within_of_each, nearest, nearest_of_each,
    within, within_of_each,
};
use tilefold::{Device, Points};

use crate::neighbours::{SCREENED, bits};
use crate::support::backends::gpu;
use crate::support::cases::{duplicates, uniform};

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn steps_of_columns_change_no_bit() {
    let device = gpu();
    let (points, queries) = (uniform(2600, 6, 1.0, 60), uniform(70, 6, 1.0, 61));
    // The nearest come last: every step finds better ones.
    let mut towards = points.clone();
    for (row, mut point) in towards.outer_iter_mut().enumerate() {
        point.mapv_inplace(|value| value + 30.0 * (1.0 - row as f32 / 2600.0));
    }
    for metric in SCREENED {
        for count in [1, 10, 200, 1024] {
            for (points, farthest) in [(&points, false), (&towards, false), (&towards, true)] {
                let params = Params::new(metric, count).farthest(farthest);
                let found = nearest(&device, points.view(), queries.view(), &params).unwrap();
                let expected = nearest(&Device::cpu(), points.view(), queries.view(), &params).unwrap();
                assert_eq!(bits(&found), bits(&expected), "{metric} {count} {farthest}");
                assert_eq!(found.device, device.name());
            }
        }
    }
}

/// More columns in the band than a list keeps: those rows are decided on the host.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn rows_that_the_device_loses_are_found_on_the_host() {
    let device = gpu();
    let twins = duplicates(1500, 4, 3, 62);
    let points = concatenate(Axis(0), &[twins.view(), uniform(200, 4, 1.0, 63).view()]).unwrap();
    let queries = uniform(40, 4, 1.0, 64);
    for metric in SCREENED {
        for includes_self in [true, false] {
            let params = Params::new(metric, 7).includes_self(includes_self);
            let found = nearest_of_each(&device, points.view(), &params).unwrap();
            let expected = nearest_of_each(&Device::cpu(), points.view(), &params).unwrap();
            assert_eq!(bits(&found), bits(&expected), "{metric} {includes_self}");
        }
        let params = Params::new(metric, 7);
        let found = nearest(&device, points.view(), queries.view(), &params).unwrap();
        let expected = nearest(&Device::cpu(), points.view(), queries.view(), &params).unwrap();
        assert_eq!(bits(&found), bits(&expected), "{metric}");
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn who_searched_is_named() {
    let device = gpu();
    let points = uniform(30, 3, 1.0, 65);
    let wide = points.mapv(f64::from);
    let single = Points::from(points.view());
    let tables = [
        (Metric::Euclidean, &single, true),
        (Metric::Manhattan, &single, true),
        (Metric::Manhattan, &Points::from(wide.view()), false),
    ];
    for (metric, points, is_on_gpu) in tables {
        let around = within_of_each(&device, points.view(), &RadiusParams::new(metric, 0.5)).unwrap();
        let counted = count_within_of_each(&device, points.view(), &RadiusParams::new(metric, 0.5)).unwrap();
        let found = nearest_of_each(&device, points.view(), &Params::new(metric, 2)).unwrap();
        for name in [around.device, counted.device, found.device] {
            assert!(name.starts_with(&device.name()), "{name}");
            assert_eq!(name.contains("neighbours on cpu"), !is_on_gpu, "{name}");
        }
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn a_budget_too_small_is_told() {
    let device = gpu().with_memory_budget(4096);
    let points = uniform(300, 60, 1.0, 66);
    let outcome = nearest_of_each(&device, points.view(), &Params::new(Metric::Euclidean, 3));
    assert!(matches!(outcome, Err(tilefold::Error::TooLarge { .. })), "{outcome:?}");
    let outcome = within_of_each(&device, points.view(), &RadiusParams::new(Metric::Euclidean, 3.0));
    assert!(matches!(outcome, Err(tilefold::Error::TooLarge { .. })), "{outcome:?}");
}

/// Windows of few points and lists of few pairs: the rows go through the kernel again in groups whose pairs fit.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn windows_and_groups_change_no_bit_of_radii() {
    let device = gpu();
    let (points, queries) = (uniform(900, 7, 1.0, 67), uniform(300, 7, 1.0, 68));
    for (metric, radius) in [
        (Metric::SquaredEuclidean, 4.0),
        (Metric::Euclidean, f64::INFINITY),
        (Metric::Cosine, 0.7),
        (Metric::InnerProduct, 0.1),
    ] {
        let params = RadiusParams::new(metric, radius);
        let expected = within(&Device::cpu(), points.view(), queries.view(), &params).unwrap();
        assert!(expected.indices.len() > 20_000, "{metric}: {}", expected.indices.len());
        for window_bytes in [1 << 11, 1 << 13, 1 << 15, 1 << 28] {
            let narrow = device.clone().with_window_bytes(window_bytes);
            let found = within(&narrow, points.view(), queries.view(), &params).unwrap();
            assert_eq!((&found.offsets, &found.indices), (&expected.offsets, &expected.indices), "{metric}");
            assert_eq!(found.distances, expected.distances, "{metric} in windows of {window_bytes}");
            let counted = count_within(&narrow, points.view(), queries.view(), &params).unwrap();
            assert_eq!(
                counted.total as usize,
                expected.indices.len(),
                "{metric} in windows of {window_bytes}"
            );
            let each = within_of_each(&narrow, queries.view(), &params.clone().includes_self(false)).unwrap();
            let own = within_of_each(&Device::cpu(), queries.view(), &params.clone().includes_self(false));
            assert_eq!(each.indices, own.unwrap().indices, "{metric} in windows of {window_bytes}");
        }
    }
}

/// Counting alone lists hardly a pair, and leaves out a row's own place.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn counts_leave_out_a_rows_own_place() {
    let device = gpu();
    let points = uniform(400, 3, 1.0, 69);
    let ids: Vec<u32> = (0..400).filter(|id| id % 3 != 1).collect();
    for radius in [0.0, 0.5, 100.0] {
        let params = RadiusParams::new(Metric::Euclidean, radius).includes_self(false);
        let params = params.filters(Filters::for_all(Filter::Ids(ids.clone())));
        let counted = count_within_of_each(&device, points.view(), &params).unwrap();
        let expected = count_within_of_each(&Device::reference(), points.view(), &params).unwrap();
        assert_eq!(counted.counts, expected.counts, "{radius}");
    }
}
