//! The command line inside the wheel.

use std::ffi::OsString;
use std::io::Write;

use pyo3::prelude::*;

use crate::guard::guarded;

/// Runs the command with these arguments, the first being its own name, and returns its exit code. It handles Ctrl-C
/// itself, as the command outside of Python does: call it as the process's only purpose.
#[pyfunction]
pub(crate) fn run_command(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<u8> {
    guarded(|| {
        Ok(py.detach(|| {
            let code = tilefold::cli::run_with(arguments);
            // Nobody else does at the end of a process that is not Rust's. Who closed the pipe does not want the rest.
            let _ = std::io::stdout().flush();
            code
        }))
    })
}
