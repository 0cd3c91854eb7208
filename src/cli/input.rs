//! What the subcommands read, and the device they run on.

use std::path::Path;

use ndarray::{Array1, Array2};

use super::args::{Read, Run, YesNo};
use super::failure::Failure;
use super::process;
use crate::data::frame::raw_row;
use crate::data::{Points, ReadOptions, Table};
use crate::device::Device;
use crate::error::Result;
use crate::memory;

/// More threads than any machine has cores.
const MOST_THREADS: usize = 4096;

/// Opens a table; `argument` names it in errors.
pub(super) fn table(argument: &'static str, path: &Path, read: &Read) -> std::result::Result<Table, Failure> {
    let mut options = ReadOptions::default().cancel(process::interrupt());
    if let Some(columns) = read.columns.clone() {
        options = options.columns(columns);
    }
    if let Some(delimiter) = read.delimiter {
        options = options.delimiter(delimiter);
    }
    if let Some(header) = read.header {
        options = options.header(header == YesNo::Yes);
    }
    Table::open_with(path, &options).map_err(Failure::about(argument))
}

/// The device with its threads and caps.
pub(super) fn device(run: &Run) -> std::result::Result<Device, Failure> {
    if let Some(threads) = run.threads {
        if threads == 0 || threads > MOST_THREADS {
            return Err(Failure::usage("--threads", &format!("1 to {MOST_THREADS}"), threads));
        }
        if run.device.trim().to_lowercase().starts_with("cpu:") {
            let got = format!("{threads} beside --device {}", run.device);
            return Err(Failure::usage("--threads", "one number of threads", got));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.map_err(|error| Failure::usage("--threads", "threads that the system can start", error))?;
    }
    let mut device = Device::select(&run.device)?;
    // Before a progress bar takes the only thread that starts.
    device.host_pool()?;
    if let Some(bytes) = run.memory_budget {
        device = device.with_memory_budget(bytes);
    }
    if let Some(bytes) = run.window_bytes {
        device = device.with_window_bytes(bytes);
    }
    Ok(device)
}

/// Some rows of a table in `f64`.
pub(super) fn rows_as_f64(points: &Points, rows: &[usize]) -> Result<Array2<f64>> {
    let mut wide = memory::zeros("rows in f64", rows.len(), points.columns())?;
    for (mut wide, &row) in wide.outer_iter_mut().zip(rows) {
        wide.assign(&Array1::from(raw_row(points, row)));
    }
    Ok(wide)
}
