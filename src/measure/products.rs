//! Distance matrices and inner products of two tables.

use std::time::Instant;

use super::benchmark::{Benchmark, Repeated, profiled, repeated, times, wrong};
use super::data::{Rows, uniform};
use super::record::{Run, Verified};
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::raw_row;
use crate::device::Device;
use crate::distance::{Matrix, Metric, Params, between};
use crate::error::Result;
use crate::random::Stream;

/// Entries that are computed again.
const CHECKED: usize = 4096;

pub(super) fn run(device: &Device, benchmark: &Benchmark, metric: Metric, cancel: &Cancel) -> Result<Run> {
    let Benchmark { n, d, k, .. } = *benchmark;
    // Rows are made up by the device's threads: there may be no others.
    let (x, y) = device.host_pool()?.install(|| (uniform(n, d, 8), uniform(k, d, 9)));
    let (x, y) = (Rows::new(x, &benchmark.dtype)?, Rows::new(y, &benchmark.dtype)?);
    let params = Params::new(metric).cancel(cancel.clone());
    let matrix = || between(device, x.points(), y.points(), &params);

    let (found, parts) = profiled(device, matrix)?;
    let verified = verify(device, metric, [&x.points(), &y.points()], &found.matrix)?;
    drop(found);
    let Repeated { wall, counters } = repeated(device, benchmark, cancel, || {
        let begin = Instant::now();
        matrix()?;
        Ok(begin.elapsed().as_secs_f64())
    })?;
    let (rows, features, columns) = (n as f64, d as f64, k as f64);
    Ok(Run {
        data: metric.name().to_owned(),
        flops: 2.0 * rows * features * columns,
        bytes: 4.0 * ((rows + columns) * features + rows * columns),
        verified,
        seconds: times(parts, wall),
        counters,
        ..Run::default()
    })
}

/// Compares entries with their definition in `f64`, within the bounds of [`crate::distance`].
pub(super) fn verify<'a>(
    device: &Device,
    metric: Metric,
    [x, y]: [&Points<'a>; 2],
    matrix: &Matrix,
) -> Result<Verified> {
    let (rows, columns) = (x.rows(), y.rows());
    let of = rows as u64 * columns as u64;
    let checked = of.min(CHECKED as u64);
    let draws = Stream::new(7, 6);
    let of_tables = Tables::of(device, x, y);
    let mut worst = 0.0_f64;
    for index in 0..checked {
        // All of a small matrix, drawn entries of a large one.
        let at = if checked == of { index } else { (draws.unit(index) * of as f64) as u64 };
        let (row, column) = ((at / columns as u64) as usize, (at % columns as u64) as usize);
        let (value, unit) = match matrix {
            Matrix::F32(values) => (f64::from(values[(row, column)]), 2.0_f64.powi(-24)),
            Matrix::F64(values) => (values[(row, column)], 2.0_f64.powi(-53)),
        };
        let entry = Entry::of(metric, &raw_row(x, row), &raw_row(y, column));
        let error = (value - entry.value).abs();
        let bound = entry.bound(metric, &of_tables, unit);
        let share = if error == 0.0 { 0.0 } else { error / bound };
        if !(share <= 1.0) {
            let reason = format!(
                "{metric}[{row}, {column}] is {value:e}, the definition says {:e} within {bound:e}",
                entry.value
            );
            return Err(wrong(device, "measuring distances", reason));
        }
        worst = worst.max(share);
    }
    Ok(Verified { checked, of, worst_share: Some(worst) })
}

/// What the definition says of two rows.
struct Entry {
    value: f64,
    /// Sum of |x y|.
    magnitude: f64,
}

impl Entry {
    fn of(metric: Metric, x: &[f64], y: &[f64]) -> Self {
        let sum = |term: fn(f64, f64) -> f64| x.iter().zip(y).map(|(&x, &y)| term(x, y)).sum::<f64>();
        let square = |of: &[f64]| of.iter().map(|value| value * value).sum::<f64>();
        let value = match metric {
            Metric::SquaredEuclidean => sum(|x, y| (x - y) * (x - y)),
            Metric::Euclidean => sum(|x, y| (x - y) * (x - y)).sqrt(),
            Metric::Cosine => 1.0 - sum(|x, y| x * y) / (square(x) * square(y)).sqrt(),
            Metric::InnerProduct => sum(|x, y| x * y),
            Metric::Manhattan => sum(|x, y| (x - y).abs()),
            Metric::Chebyshev => x.iter().zip(y).fold(0.0, |most, (x, y)| (x - y).abs().max(most)),
            // Benchmarks are of the metrics of geometry; NaN verifies nothing.
            _ => f64::NAN,
        };
        Self { value, magnitude: sum(|x, y| (x * y).abs()) }
    }

    /// The bound that the distance slice promises, and the roundings of this definition itself.
    fn bound(&self, metric: Metric, tables: &Tables, unit: f64) -> f64 {
        let d = tables.depth as f64;
        let chained = tables.depth.min(64) as f64 + tables.depth.div_ceil(64) as f64 + 1.0;
        let m = if tables.reorders { d + 1.0 } else { chained };
        let square = (16.0 * (m + 3.0)).max(d + 4.0) * unit;
        let own = (d + 8.0) * 2.0_f64.powi(-53);
        let underflow = d * 2.0_f64.powi(-120);
        match metric {
            Metric::SquaredEuclidean => {
                (square + own) * self.value + underflow * tables.spread * tables.spread
            }
            Metric::Euclidean => (square / 2.0 + 6.0 * unit + own) * self.value + underflow * tables.spread,
            Metric::Cosine => (m + 8.0) * unit + own,
            Metric::InnerProduct => {
                ((m + 4.0) * unit + own) * self.magnitude + underflow * tables.largest[0] * tables.largest[1]
            }
            Metric::Manhattan => ((m + 4.0) * unit + own) * self.value + underflow * tables.spread,
            _ => (4.0 * unit + own) * self.value + underflow * tables.spread,
        }
    }
}

/// What the bounds need of both tables and of the device.
struct Tables {
    depth: usize,
    /// Largest difference of any two values.
    spread: f64,
    /// Largest magnitude in X and in Y.
    largest: [f64; 2],
    /// Whether the device's compiler may reorder sums: all but Vulkan's.
    reorders: bool,
}

impl Tables {
    fn of<'a>(device: &Device, x: &Points<'a>, y: &Points<'a>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let largest = [x, y].map(|points| {
            let mut largest = 0.0_f64;
            for row in 0..points.rows() {
                for value in raw_row(points, row) {
                    (low, high) = (low.min(value), high.max(value));
                    largest = largest.max(value.abs());
                }
            }
            largest
        });
        let name = device.name();
        let reorders = name.ends_with(']') && !name.ends_with("[vulkan]");
        Self { depth: x.columns(), spread: high - low, largest, reorders }
    }
}
