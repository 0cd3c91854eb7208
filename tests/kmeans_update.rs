//! Every way in which a GPU brings sums up to the labels gives the bits of the CPU.

#![cfg(all(feature = "gpu", feature = "test-hooks"))]

use ndarray::{Array2, Axis, s};
use tilefold::kmeans::{self, Control, Init, Params, Update};
use tilefold::{Cancel, Device, Error};

use crate::kmeans_bits::same_bits;
use crate::support::backends;
use crate::support::cases::{self, BlobsShape};

/// Each way, from all rows and from those that changed; the sorted ones in one round and in many.
fn ways() -> Vec<(Update, bool, u32)> {
    let rounds = |afresh| [u32::MAX, 300, 37].map(|rows| (Update::Sorted, afresh, rows));
    let mut ways = [rounds(true), rounds(false)].concat();
    for afresh in [true, false] {
        ways.extend([Update::Direct, Update::Private].map(|how| (how, afresh, u32::MAX)));
    }
    ways
}

fn params(points: &Array2<f32>, n_clusters: usize) -> Params {
    let rows: Vec<usize> = (0..n_clusters).map(|k| k * points.nrows() / n_clusters).collect();
    let init = points.select(Axis(0), &rows).mapv(f64::from);
    Params::new(n_clusters).init(Init::Centroids(init)).max_iter(5).tol(0.0)
}

/// Few rows, so that many rounds are bearable.
fn problems() -> Vec<(&'static str, Array2<f32>, Params)> {
    let noise = cases::uniform(601, 5, 1.0, 200);
    let wide = cases::uniform(130, 201, 1.0, 201);
    let scaled = Array2::from_shape_fn((330, 7), |(row, column)| {
        let scale = 2.0_f32.powi([-120, -60, -3, 0, 20, 40, 60][column] - 30 * i32::from(row % 3 == 0));
        (cases_value(row, column) - 0.6) * scale
    });
    let weights = (0..601).map(|row| if row % 7 == 0 { 0.0 } else { 1e-9 * f64::from(row * row + 1) });
    let huge = {
        let mut points = cases::uniform(700, 3, 0.01, 202);
        points.slice_mut(s![..5, ..]).mapv_inplace(|x| x + 50.0);
        points
    };
    let blobs = BlobsShape { rows: 520, columns: 9, clusters: 6, spread: 3.0, offset: -1e3 };
    vec![
        ("noise", noise.clone(), params(&noise, 20)),
        ("weighted", noise.clone(), params(&noise, 33).weights(weights.collect())),
        ("spherical", noise.clone(), params(&noise, 9).spherical(true)),
        ("many sums", wide.clone(), params(&wide, 12)),
        ("one cluster", noise.clone(), params(&noise, 1)),
        ("a cluster per row", wide.clone(), params(&wide, 130)),
        ("one huge cluster", huge.clone(), params(&huge, 6)),
        ("scales", scaled.clone(), params(&scaled, 11)),
        ("blobs", cases::blobs(blobs, 203).points, Params::new(7).init(Init::Random).n_init(3).max_iter(8)),
        ("empty clusters", cases::duplicates(300, 4, 5, 204), Params::new(40).max_iter(4)),
    ]
}

fn cases_value(row: usize, column: usize) -> f32 {
    ((row * 7919 + column * 104_729) % 10_007) as f32 / 10_007.0
}

fn with(params: &Params, (how, afresh, rows): (Update, bool, u32)) -> Params {
    params.clone().with_update(how, afresh, rows)
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn every_way_gives_the_bits_of_the_cpu() {
    let device = backends::gpu();
    for (name, points, params) in problems() {
        let expected = kmeans::fit(&Device::cpu(), points.view(), &params).unwrap();
        assert!(expected.history.iter().skip(1).any(|i| i.changed > 0) || expected.n_iter < 4, "{name}");
        for way in ways() {
            let fit = kmeans::fit(&device, points.view(), &with(&params, way)).unwrap();
            same_bits(&fit, &expected, &format!("{name}, {way:?}"));
        }
        same_bits(&kmeans::fit(&device, points.view(), &params).unwrap(), &expected, name);
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn windows_and_streams_keep_what_is_summed() {
    let points = cases::uniform(12_000, 16, 1.0, 205);
    let weights = (0..12_000).map(|row| 0.5 + f64::from(row % 5)).collect();
    let plain = params(&points, 9);
    for params in [plain.clone(), plain.weights(weights)] {
        let expected = kmeans::fit(&Device::cpu(), points.view(), &params).unwrap();
        for way in ways().into_iter().filter(|&(_, _, rows)| rows != 37) {
            let device = backends::gpu();
            for device in [device.clone().with_window_bytes(100_000), device.with_memory_budget(550_000)] {
                let fit = kmeans::fit(&device, points.view(), &with(&params, way)).unwrap();
                same_bits(&fit, &expected, &format!("{way:?}"));
            }
        }
    }
}

/// Rows near ties are decided on the host, after the tile has given them a label.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn decisions_of_the_host_move_rows() {
    let cases::Ties { points, centroids } = cases::ties(24, 2);
    let init = Init::Centroids(centroids.mapv(f64::from));
    let params = Params::new(centroids.nrows()).init(init).max_iter(6).tol(0.0);
    let expected = kmeans::fit(&Device::cpu(), points.view(), &params).unwrap();
    let device = backends::gpu();
    for way in ways() {
        let fit = kmeans::fit(&device, points.view(), &with(&params, way)).unwrap();
        assert!(fit.rechecked > 0.05, "{}", fit.rechecked);
        same_bits(&fit, &expected, &format!("{way:?}"));
    }
}

/// A resumed fit and a second run on the same device begin with empty sums.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn resumed_fits_begin_with_empty_sums() {
    let points = cases::uniform(500, 6, 1.0, 206);
    let plain = params(&points, 12);
    let expected = kmeans::fit(&Device::cpu(), points.view(), &plain).unwrap();
    let device = backends::gpu();
    for way in ways() {
        let folder = tempfile::tempdir().unwrap();
        let kept = with(&plain, way).checkpoint(folder.path().join("state"));
        let cancel = Cancel::new();
        let token = cancel.clone();
        let stopped = kept.clone().cancel(cancel).callback(move |progress| {
            if progress.iteration == 3 {
                token.cancel();
            }
            Control::Continue
        });
        let error = kmeans::fit(&device, points.view(), &stopped).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
        let resumed = kmeans::fit(&device, points.view(), &kept).unwrap();
        same_bits(&resumed, &expected, &format!("{way:?}"));
    }
}
