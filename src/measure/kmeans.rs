//! k-means from given first centroids: every device does the same iterations.

use std::time::Instant;

use rayon::prelude::*;

use super::benchmark::{Benchmark, Repeated, profiled, repeated, times, wrong};
use super::data::{Rows, choose_rows};
use super::record::{Run, Spread, Verified};
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::raw_row;
use crate::device::Device;
use crate::error::Result;
use crate::kmeans::{Data, Fit, Init, Params};

/// Multiplications that a check of labels may take; at least [`LEAST_ROWS`] rows are checked.
const CHECK_PRODUCTS: usize = 300_000_000;
const LEAST_ROWS: usize = 64;

pub(super) fn run(device: &Device, benchmark: &Benchmark, cancel: &Cancel) -> Result<Run> {
    let Benchmark { n, d, k, .. } = *benchmark;
    // Rows are made up by the device's threads: there may be no others.
    let rows = device.host_pool()?.install(|| benchmark.data.rows(n, d, k))?;
    let rows = Rows::new(rows, &benchmark.dtype)?;
    let points = rows.points();
    let chosen: Vec<f64> = choose_rows(n, k).into_iter().flat_map(|row| raw_row(&points, row)).collect();
    let first = ndarray::Array2::from_shape_vec((k, d), chosen)
        .map_err(|error| crate::Error::shape("init", format!("{k} x {d}"), error))?;
    let params = Params::new(k)
        .init(Init::Centroids(first))
        .max_iter(benchmark.iterations)
        .tol(0.0)
        .cancel(cancel.clone());
    let fit_once = || -> Result<Fit> { Data::new(device, points.view(), &params)?.fit(&params) };

    let (fit, mut parts) = profiled(device, fit_once)?;
    let verified = verify(device, &points, &fit)?;
    let on_gpu = parts.kernel.is_some();
    let (mut upload, mut iterate) = (Vec::new(), Vec::new());
    let Repeated { wall, counters } = repeated(device, benchmark, cancel, || {
        let begin = Instant::now();
        let timed = fit_once()?;
        let elapsed = begin.elapsed().as_secs_f64();
        // A profile sends work to a GPU piece by piece: what is timed is held to what was verified.
        if timed.labels != fit.labels || timed.inertia.to_bits() != fit.inertia.to_bits() {
            let reason = format!("inertia {} here, {} under the profile", timed.inertia, fit.inertia);
            return Err(wrong(device, "repeating a fit", reason));
        }
        upload.push(timed.seconds.upload);
        iterate.push(timed.seconds.iterate);
        Ok(elapsed)
    })?;
    parts.upload = Some(Spread::of(&upload).median);
    let in_kernels: f64 = parts.stages.values().sum();
    if on_gpu {
        // Of the profiled run, as the kernels are: centroids on the host, decisions in f64, waiting.
        parts.stages.insert("other".to_owned(), (fit.seconds.iterate - in_kernels).max(0.0));
    } else {
        let iterate = Spread::of(&iterate).median;
        parts.kernel = Some(iterate);
        parts.stages.insert("iterate".to_owned(), iterate);
    }
    parts.stages.insert(
        "upload".to_owned(),
        fit.seconds.upload - parts.compile.unwrap_or(0.0).min(fit.seconds.upload),
    );
    parts.stages.insert("init".to_owned(), fit.seconds.init);

    // Labels of the returned centroids are one more pass, unless the last iteration moved nothing.
    let is_settled = fit.history.last().is_some_and(|last| last.shift == 0.0);
    let passes = (fit.n_iter + usize::from(!is_settled)) as f64;
    let (rows, features, clusters) = (n as f64, d as f64, k as f64);
    Ok(Run {
        data: benchmark.data.name().to_owned(),
        iterations: Some(fit.n_iter as u64),
        mode: Some(if benchmark.until_converged { "converged" } else { "fixed" }.to_owned()),
        flops: 2.0 * rows * features * clusters * passes,
        bytes: passes * (4.0 * rows * features + 4.0 * rows + 12.0 * clusters * features),
        verified,
        rechecked: Some(fit.rechecked),
        inertia: Some(fit.inertia),
        products: Some(fit.history.iter().map(|done| done.products as f64 / (rows * clusters)).collect()),
        seconds: times(parts, wall),
        counters,
        ..Run::default()
    })
}

/// Compares labels with the definition: all of them, or as many evenly spread ones as the time allows.
pub(super) fn verify(device: &Device, points: &Points, fit: &Fit) -> Result<Verified> {
    let (rows, per_row) = (points.rows(), fit.model.n_clusters() * fit.model.columns());
    let checked = (CHECK_PRODUCTS / per_row.max(1)).max(LEAST_ROWS).min(rows);
    let wrong_row =
        (0..checked).into_par_iter().map(|at| (at as u128 * rows as u128 / checked as u128) as usize);
    let is_wrong =
        |found: &Result<(usize, u32)>| found.as_ref().map_or(true, |&(row, label)| fit.labels[row] != label);
    let wrong_row = wrong_row.map(|row| Ok((row, fit.model.nearest_by_definition(points, row)?)));
    let wrong_row = device.host_pool()?.install(|| wrong_row.find_any(is_wrong));
    if let Some(found) = wrong_row {
        let (row, label) = found?;
        let reason = format!("row {row} has label {}, the definition says {label}", fit.labels[row]);
        return Err(wrong(device, "labelling", reason));
    }
    Ok(Verified { checked: checked as u64, of: rows as u64, worst_share: None })
}
