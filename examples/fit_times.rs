//! Fits the rows of a file from given first centroids each time a line comes in, and prints what that took: the
//! library's side of `scripts/python-cost`.
//!
//! ```sh
//! cargo run --release --example fit_times -- x.npy init.npy 10 < lines
//! ```
//!
//! Each answer is `{"seconds":..,"inertia":..,"n_iter":..,"extra_bytes":..}`; the bytes are those of the process's memory
//! beyond what it held before the fit, at their most, where Linux tells.

use std::io::{BufRead, stdin};
use std::path::PathBuf;
use std::time::Instant;

use ndarray::Array2;
use tilefold::data::{ReadOptions, Table};
use tilefold::kmeans::{self, Init, Params};
use tilefold::{Device, Points};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [x, init, iterations] = arguments.as_slice() else {
        return Err("usage: fit_times X.npy INIT.npy ITERATIONS".into());
    };
    let in_memory = ReadOptions::default().in_memory(true);
    let rows = Table::open_with(PathBuf::from(x), &in_memory)?;
    let init = Table::open_with(PathBuf::from(init), &in_memory)?;
    let Points::F32(first) = init.points() else { return Err("INIT.npy: expected f32".into()) };
    let first: Array2<f64> = first.mapv(f64::from);
    let params =
        Params::new(first.nrows()).init(Init::Centroids(first)).max_iter(iterations.parse()?).tol(0.0);
    let device = Device::cpu();
    for line in stdin().lock().lines() {
        line?;
        let before = memory("VmRSS:");
        // Linux forgets the peak so far.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let begin = Instant::now();
        let fit = kmeans::fit(&device, rows.points(), &params)?;
        let seconds = begin.elapsed().as_secs_f64();
        let extra_bytes = memory("VmHWM:").saturating_sub(before);
        let (inertia, n_iter) = (fit.inertia, fit.n_iter);
        println!(
            r#"{{"seconds":{seconds},"inertia":{inertia},"n_iter":{n_iter},"extra_bytes":{extra_bytes}}}"#
        );
    }
    Ok(())
}

/// Bytes that a line of the process's status tells, 0 where there is none.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}
