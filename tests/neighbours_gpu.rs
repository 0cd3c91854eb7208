//! What only the GPU path does: many steps of columns, lists that are too long, who is named.

use ndarray::{Axis, concatenate};
use tilefold::Device;
use tilefold::distance::Metric;
use tilefold::neighbours::{Params, RadiusParams, nearest, nearest_of_each, within};

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
    let found =
        within(&device, points.view(), points.view(), &RadiusParams::new(Metric::Euclidean, 0.5)).unwrap();
    assert!(
        found.device.starts_with(&device.name()) && found.device.contains("neighbours on cpu"),
        "{}",
        found.device
    );
    let found = nearest_of_each(&device, points.view(), &Params::new(Metric::Manhattan, 2)).unwrap();
    assert!(found.device.contains("neighbours on cpu"), "{}", found.device);
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn a_budget_too_small_is_told() {
    let device = gpu().with_memory_budget(4096);
    let points = uniform(300, 60, 1.0, 66);
    let outcome = nearest_of_each(&device, points.view(), &Params::new(Metric::Euclidean, 3));
    assert!(matches!(outcome, Err(tilefold::Error::TooLarge { .. })), "{outcome:?}");
}
