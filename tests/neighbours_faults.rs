//! Every device call of a search for neighbours fails in turn: see `support/faults.rs` for what must hold. The answer is
//! the same bits on every device, whatever part of it each of them found.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::Array2;
use tilefold::distance::Metric;
use tilefold::neighbours::{
    Filter, Filters, Graph, Neighbours, Params, RadiusParams, Symmetry, Within, count_within, nearest,
    nearest_of_each, within,
};
use tilefold::{Device, Result};

use crate::neighbours::bits;
use crate::support::cases::uniform;
use crate::support::faults::Work;

fn tables() -> (Array2<f32>, Array2<f32>) {
    (uniform(90, 5, 1.0, 31), uniform(40, 5, 1.0, 32))
}

/// Windows that hold lists of a part of the queries: some are answered before a later call fails.
fn in_windows(device: Device) -> Device {
    device.with_window_bytes(1 << 16)
}

fn nearest_survive(
    name: &str,
    least: u64,
    open: &dyn Fn(Device) -> Device,
    run: &dyn Fn(&Device) -> Result<Neighbours>,
) {
    let expected = run(&Device::cpu()).unwrap();
    Work {
        name,
        open,
        run,
        device: &|found: &Neighbours| found.device.clone(),
        is_right: &|found| bits(found) == bits(&expected) && (0.0..=1.0).contains(&found.screened),
    }
    .survives(least);
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn nearest_by_tiles_of_products() {
    let (points, queries) = tables();
    let params = Params::new(Metric::Euclidean, 5);
    nearest_survive("nearest", 15, &in_windows, &|device| {
        nearest(device, points.view(), queries.view(), &params)
    });
}

/// Filters make parts: one that is done is not searched again.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn nearest_in_several_parts() {
    let (points, _) = tables();
    let filters = vec![Filter::Ids((0..60).collect()), Filter::Ids((30..90).collect())];
    let filters = Filters::per_query(filters, (0..90).map(|query| query % 2).collect());
    let params = Params::new(Metric::InnerProduct, 4).filters(filters);
    nearest_survive("filtered", 15, &|device| device, &|device| {
        nearest_of_each(device, points.view(), &params)
    });
}

/// Plain WGSL stands for matrix units; what the units found is not searched again.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn nearest_by_matrix_units() {
    let (points, queries) = (uniform(90, 20, 1.0, 33), uniform(40, 20, 1.0, 34));
    let params = Params::new(Metric::Cosine, 5);
    let open = |device: Device| device.with_plain_matrices(16);
    nearest_survive("matrix units", 15, &open, &|device| {
        nearest(device, points.view(), queries.view(), &params)
    });
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn nearest_by_estimated_values() {
    let (points, queries) = tables();
    // Points come in two windows.
    let params = Params::new(Metric::Manhattan, 5).with_window(50);
    nearest_survive("estimates", 10, &in_windows, &|device| {
        nearest(device, points.view(), queries.view(), &params)
    });
}

/// The graph is made on the host of what a search found.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn graphs() {
    let (points, _) = tables();
    let params = Params::new(Metric::Cosine, 3).includes_self(false);
    let run = |device: &Device| -> Result<(Graph, String)> {
        let found = nearest_of_each(device, points.view(), &params)?;
        Ok((Graph::of_neighbours(&found, points.nrows(), Symmetry::Either), found.device))
    };
    let expected = run(&Device::cpu()).unwrap().0;
    Work {
        name: "a graph",
        open: &|device| device,
        run: &run,
        device: &|(_, device)| device.clone(),
        is_right: &|(graph, _)| *graph == expected,
    }
    .survives(10);
}

fn all_within_survive(metric: Metric, radius: f64) {
    let (points, queries) = tables();
    let params = RadiusParams::new(metric, radius);
    let run = |device: &Device| within(device, points.view(), queries.view(), &params);
    let all = |found: &Within| (found.offsets.clone(), found.indices.clone(), found.distances.clone());
    let expected = all(&run(&Device::cpu()).unwrap());
    assert!(expected.1.len() > 100, "{metric}: only {} within", expected.1.len());
    Work {
        name: &format!("within, {metric}"),
        open: &in_windows,
        run: &run,
        device: &|found: &Within| found.device.clone(),
        is_right: &|found| all(found) == expected,
    }
    .survives(20);
}

/// They are counted first, then found: both may fail.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn all_within_a_radius() {
    all_within_survive(Metric::Euclidean, 1.2);
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn all_within_a_radius_by_estimated_values() {
    all_within_survive(Metric::Canberra, 2.5);
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn counts_within_a_radius() {
    let (points, queries) = tables();
    let params = RadiusParams::new(Metric::SquaredEuclidean, 0.5);
    let run = |device: &Device| count_within(device, points.view(), queries.view(), &params);
    let expected = run(&Device::cpu()).unwrap().counts;
    Work {
        name: "counts",
        open: &in_windows,
        run: &run,
        device: &|found| found.device.clone(),
        is_right: &|found| found.counts == expected && found.total == expected.iter().sum::<u64>(),
    }
    .survives(10);
}
