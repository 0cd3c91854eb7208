//! The private module `tilefold._core`: arrays in, the library's work without the GIL, arrays out.
//!
//! Every function is `guard::guarded`, so that a panic becomes `tilefold.InternalError`; work that takes time goes
//! through `work::run`, which releases the GIL and listens for Ctrl-C. The Python files beside it are the public side.

mod arrays;
mod command;
mod devices;
mod distance;
mod errors;
mod guard;
mod kmeans;
mod kmedoids;
mod layout;
mod lora;
mod memory;
mod nearest;
mod neighbours;
mod work;

use pyo3::prelude::*;

/// What `tilefold` is made of.
#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::command::run_command;
    #[pymodule_export]
    use super::devices::{adapters, device_name, threads, use_threads};
    #[pymodule_export]
    use super::distance::{distances, nearest_rows};
    #[pymodule_export]
    use super::errors::{DeviceError, DeviceMemoryError, DeviceNotFoundError, InternalError};
    #[pymodule_export]
    use super::kmeans::{Fit, Model, first_centroids, fit};
    #[pymodule_export]
    use super::kmedoids::{MedoidsFit, fit_medoids};
    #[pymodule_export]
    use super::lora::{LoraAdapter, LoraLease, LoraPool, LoraStep};
    #[pymodule_export]
    use super::neighbours::{nearest_neighbours, neighbours_within};
    #[pymodule_export]
    use super::{_panic_for_test, version};

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::guard::quiet_panics();
        Ok(())
    }
}

/// The version of the package.
#[pyfunction]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Panics, here or on a worker's thread: for the test that a panic stays an exception.
#[pyfunction]
fn _panic_for_test(py: Python<'_>, on_worker: bool) -> PyResult<()> {
    guard::guarded(|| {
        if on_worker {
            return work::run(py, &tilefold::Cancel::new(), || panic!("a planted panic of a worker"));
        }
        panic!("a planted panic")
    })
}
