//! Every device call of a search for medoids fails in turn: see `support/faults.rs` for what must hold. Coordinates are
//! small whole numbers, so distances, and with them medoids, are the same bits on every device.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::Array2;
use tilefold::distance::{self, Metric};
use tilefold::kmedoids::{Fit, Method, Params, fit, fit_points};
use tilefold::{Device, Result};

use crate::kmedoids::apart;
use crate::support::cases::Draws;
use crate::support::faults::Work;

fn survive(name: &str, least: u64, run: &dyn Fn(&Device) -> Result<Fit>) {
    let expected = run(&Device::cpu()).unwrap();
    Work {
        name,
        open: &|device| device,
        run,
        device: &|found: &Fit| found.device.clone(),
        is_right: &|found| {
            (&found.medoids, &found.labels, found.loss.to_bits(), found.n_swaps)
                == (&expected.medoids, &expected.labels, expected.loss.to_bits(), expected.n_swaps)
        },
    }
    .survives(least);
}

fn points() -> Array2<f32> {
    let mut draws = Draws::new(41);
    Array2::from_shape_fn((24, 4), |_| draws.below(50) as f32)
}

fn manhattan() -> distance::Params {
    distance::Params::new(Metric::Manhattan)
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn eager_swaps_of_given_matrices() {
    let matrix = apart(24, 42);
    let params = Params::new(3).method(Method::FasterPam).max_iter(2).seed(3);
    survive("FasterPAM", 12, &|device| fit(device, matrix.view(), &params));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn best_swaps_of_given_matrices() {
    let matrix = apart(24, 43);
    let params = Params::new(3).method(Method::Pam).max_iter(2).seed(3);
    survive("PAM", 12, &|device| fit(device, matrix.view(), &params));
}

/// The matrix is made first, then searched: both may fail.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn points_whose_matrix_is_held() {
    let points = points();
    let params = Params::new(3).metric(manhattan()).max_iter(2).seed(3);
    survive("points", 15, &|device| fit_points(device, points.view(), &params));
}

/// Columns are made anew when they are needed; those of one search are all of one device.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn points_whose_columns_are_made_anew() {
    let points = points();
    let params = Params::new(3).metric(manhattan()).max_iter(1).max_bytes(1000).seed(3);
    survive("columns", 6, &|device| fit_points(device, points.view(), &params));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn one_batch_of_points() {
    let points = points();
    let params = Params::new(3).metric(manhattan()).method(Method::OneBatch { size: Some(20) }).seed(3);
    survive("one batch", 6, &|device| fit_points(device, points.view(), &params));
}
