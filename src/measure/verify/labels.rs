//! k-means: labels equal to `f64`, and the same bits as the CPU.

use ndarray::{Array2, concatenate};

use super::battery::{Battery, Outcome, Planted, SIZES};
use crate::data::Points;
use crate::device::{Backend, Device};
use crate::error::Result;
use crate::kmeans::{Fit, Init, Params, fit};
use crate::measure::data::{choose_rows, uniform};
use crate::measure::record::Check;
use crate::measure::roofs::LARGE;
use crate::random::Stream;

pub(super) fn checks(battery: &Battery) -> Result<Vec<Check>> {
    let sizes = SIZES.into_iter();
    let on_each_axis = sizes.flat_map(|size| {
        [(size.max(6), 5, 7), (size.max(9), size.min(9), 3), (71, size.min(71), 5), (23, 4, size)]
    });
    // Enough rows and clusters for every tile shape.
    let shapes: Vec<(usize, usize, usize)> =
        on_each_axis.chain([(300, 129, 33), (1100, 65, 17), (129, 129, 64), (33_000, 128, 2)]).collect();
    Ok(vec![
        battery.check(
            "labels of near ties are those of f64",
            [(2, 3), (8, 5), (33, 17), (64, 40), (129, 12)],
            |(d, k)| near_ties(battery, d, k),
        )?,
        battery.check("labels at the boundaries of tiles", shapes, |(n, k, d)| {
            same_everywhere(battery, &uniform(n, d, (n * k + d) as u64), k, 2)
        })?,
        battery.check(
            "duplicates and exact ties go to the lowest index",
            [(1, 2), (5, 16), (40, 33)],
            |(distinct, d)| {
                let originals = uniform(distinct, d, 11);
                let rows =
                    Array2::from_shape_fn((150, d), |(row, column)| originals[(row * 7 % distinct, column)]);
                same_everywhere(battery, &rows, 8.min(distinct + 3), 3)
            },
        )?,
        battery.check("data far from the origin", [1e2_f32, 1e4, 1e6, -1e7], |offset| {
            same_everywhere(battery, &uniform(200, 19, 12).mapv(|value| value + offset), 7, 4)
        })?,
        battery.check("scales from 1e-30 to 1e15", [1e-30_f32, 1e-10, 1e8, 1e15], |scale| {
            same_everywhere(battery, &uniform(200, 19, 13).mapv(|value| value * scale), 7, 4)
        })?,
        battery.check("features of very different scales", [17, 64], |d| {
            let rows = uniform(150, d, 14);
            let scaled = Array2::from_shape_fn((150, d), |at| rows[at] * 10_f32.powi(at.1 as i32 % 9 - 4));
            same_everywhere(battery, &scaled, 6, 4)
        })?,
        battery.check("windows of rows change no bit", [256_u64, 4096, 65_536], |bytes| {
            let rows = uniform(333, 21, 15);
            let cut = Battery { device: &battery.device.clone().with_window_bytes(bytes), ..*battery };
            same_everywhere(&cut, &rows, 9, 3)
        })?,
        battery.check("element types", ["f64", "f16", "u8"], |name| {
            let rows = uniform(170, 18, 16);
            match name {
                "f64" => same_points(battery, rows.mapv(f64::from).view().into(), 6, 3),
                "f16" => same_points(battery, rows.mapv(half::f16::from_f32).view().into(), 6, 3),
                _ => {
                    same_points(battery, rows.mapv(|value| (127.0 * value + 128.0) as u8).view().into(), 6, 3)
                }
            }
        })?,
    ])
}

/// Rows between two whole-number centroids, whose distances differ by far less than a product in `f32` can tell. Only
/// the centroids have weight, so that they rest.
fn near_ties(battery: &Battery, d: usize, k: usize) -> Outcome {
    const ROWS: usize = 300;
    let draws = Stream::new(7, (1000 * d + k) as u64);
    let below = |index: usize, end: u64| (draws.unit(index as u64) * end as f64).floor();
    // Even coordinates, so that midpoints are whole; along feature 0 they differ little, so that one step there moves
    // the balance of two centroids by little.
    let anchors = Array2::from_shape_fn((k, d), |(row, column)| match column {
        0 => (2.0 * below(row * d, 4)) as f32,
        _ => (2.0 * (below(row * d + column, 1 << 21) - f64::from(1 << 20))) as f32,
    });
    let first = k * d;
    let ties = Array2::from_shape_fn((ROWS, d), |(row, column)| {
        let [left, right] = [0, 1].map(|side| below(first + 3 * row + side, k as u64) as usize);
        let step = if column == 0 { below(first + 3 * row + 2, 9) - 4.0 } else { 0.0 };
        (anchors[(left, column)] + anchors[(right, column)]) / 2.0 + step as f32
    });
    let rows = concatenate![ndarray::Axis(0), anchors, ties];
    let weights = (0..rows.nrows()).map(|row| f64::from(u8::from(row < k))).collect();
    let params = Params::new(k).init(Init::Centroids(anchors.mapv(f64::from))).weights(weights);
    compare(battery, &rows.view().into(), &params)
}

fn same_everywhere(battery: &Battery, rows: &Array2<f32>, k: usize, iterations: usize) -> Outcome {
    same_points(battery, rows.view().into(), k, iterations)
}

fn same_points(battery: &Battery, points: Points, k: usize, iterations: usize) -> Outcome {
    compare(battery, &points, &from_rows(&points, k)?.max_iter(iterations))
}

/// Parameters of fits from `k` of the rows, without a tolerance.
pub(super) fn from_rows(points: &Points, k: usize) -> Result<Params> {
    let (n, d) = (points.rows(), points.columns());
    let chosen: Vec<f64> =
        choose_rows(n, k).into_iter().flat_map(|row| crate::data::frame::raw_row(points, row)).collect();
    let first = Array2::from_shape_vec((k, d), chosen)
        .map_err(|error| crate::Error::shape("init", format!("{k} x {d}"), error))?;
    Ok(Params::new(k).init(Init::Centroids(first)).tol(0.0))
}

/// A fit on the device against the definition and against the CPU.
pub(super) fn compare(battery: &Battery, points: &Points, params: &Params) -> Outcome {
    let params = params.clone().cancel(battery.cancel.clone());
    let mut planted = params.clone();
    planted.recheck = battery.planted != Some(Planted::Labels);
    let got = fit(battery.device, points.view(), &planted)?;
    let defined = fit(&Device::reference(), points.view(), &params)?;
    let shape = format!("{} x {}, k {}", points.rows(), points.columns(), params.n_clusters);
    if let Some(row) = (0..points.rows()).find(|&row| got.labels[row] != defined.labels[row]) {
        let (label, expected) = (got.labels[row], defined.labels[row]);
        return Ok(Some(format!("{shape}: row {row} has label {label}, f64 says {expected}")));
    }
    if got.n_iter != defined.n_iter {
        return Ok(Some(format!("{shape}: {} iterations, f64 takes {}", got.n_iter, defined.n_iter)));
    }
    if matches!(battery.device.resolve(&LARGE), Backend::Reference) {
        // Its sums are plain f64, without the grid.
        return Ok(None);
    }
    let on_cpu = fit(&Device::cpu(), points.view(), &params)?;
    Ok(bits(&got, &on_cpu).map(|what| format!("{shape}: {what} has other bits than on the CPU")))
}

/// The first part of two fits that differs in a bit.
fn bits(a: &Fit, b: &Fit) -> Option<&'static str> {
    if a.inertia.to_bits() != b.inertia.to_bits() {
        return Some("the inertia");
    }
    let (left, right) = (a.model.centroids(), b.model.centroids());
    if left.iter().zip(&right).any(|(a, b)| a.to_bits() != b.to_bits()) {
        return Some("a centroid");
    }
    (a.labels != b.labels).then_some("a label")
}
