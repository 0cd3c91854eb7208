//! The readers of the command, for tests that give them damaged files.

use std::path::Path;

use super::{routes, simulate_files};
use crate::cli::failure::Failure;
use crate::error::{Error, Result};

fn refused(path: &Path) -> impl Fn(Failure) -> Error {
    move |failure| Error::Format {
        path: path.to_owned(),
        expected: "another file".into(),
        got: failure.message,
    }
}

/// How many routes the file of `--routes` holds, for 8 rows and the adapters `en`, `de` and `0`.
pub fn read_routes(path: &Path) -> Result<usize> {
    let names = ["en", "de", "0"].map(str::to_owned);
    routes::Listed::read(path, &names, 8, &crate::cancel::Cancel::new()).map(|listed| listed.count())
}

/// The trace of `--trace`, as it is written.
pub fn read_trace(path: &Path) -> Result<String> {
    simulate_files::read_trace(path).map(|trace| trace.to_csv()).map_err(refused(path))
}

/// How many points the file of `--lora-cost` holds.
pub fn read_points(path: &Path) -> Result<usize> {
    simulate_files::read_points(path).map(|points| points.len()).map_err(refused(path))
}
