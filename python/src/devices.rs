//! Devices by selector: opened at the first need, kept for the process, opened again in a forked child.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tilefold::{Cancel, Device};

use crate::guard::guarded;
use crate::work;

/// What this process opened. A lock is held only while the GIL is, so that no fork happens in between.
struct Opened {
    process: u32,
    /// 0 before the first use: then the environment is asked.
    threads: usize,
    devices: Option<HashMap<String, Device>>,
}

static OPENED: Mutex<Opened> = Mutex::new(Opened { process: 0, threads: 0, devices: None });

fn with_opened<T>(_: Python<'_>, look: impl FnOnce(&mut Opened) -> T) -> T {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if opened.process != process {
        // The parent's devices and threads are not here. Dropping them could wait for those threads.
        std::mem::forget(opened.devices.take());
        opened.process = process;
    }
    if opened.threads == 0 {
        opened.threads = default_threads();
    }
    look(&mut opened)
}

/// Threads that the environment asks for, else all of this process.
fn default_threads() -> usize {
    let asked =
        ["TILEFOLD_NUM_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"].into_iter().find_map(|name| {
            let text = std::env::var(name).ok()?;
            text.trim().parse().ok().filter(|threads| (1..=4096).contains(threads))
        });
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The device of a selector: `auto`, `cpu`, `cpu:4`, `reference`, `gpu`, or an adapter. `auto` too tells what a GPU fails:
/// `_devices.run_on` does then what the configuration says.
pub(crate) fn device(py: Python<'_>, selector: &str) -> PyResult<Device> {
    Ok(opened(py, selector)?.without_fallback())
}

/// The same, of which `auto` goes on with the CPU. Its threads are its own, never rayon's global ones, which a forked child
/// would wait for in vain.
pub(crate) fn opened(py: Python<'_>, selector: &str) -> PyResult<Device> {
    let key = selector.trim().to_lowercase();
    let (known, threads) =
        with_opened(py, |opened| (opened.devices.get_or_insert_default().get(&key).cloned(), opened.threads));
    if let Some(device) = known {
        return Ok(device);
    }
    let has_own_threads = key.starts_with("cpu:");
    let device = work::run(py, &Cancel::new(), || {
        let device = Device::select(selector)?;
        if has_own_threads { Ok(device) } else { device.with_threads(threads) }
    })?;
    // Two threads may have opened the same device: both use the first one.
    Ok(with_opened(py, |opened| opened.devices.get_or_insert_default().entry(key).or_insert(device).clone()))
}

/// The device that a selector names, in words; opens it.
#[pyfunction]
pub(crate) fn device_name(py: Python<'_>, selector: &str) -> PyResult<String> {
    guarded(|| {
        let device = device(py, selector)?;
        work::run(py, &Cancel::new(), || Ok(device.name()))
    })
}

/// Threads of the CPU path, and of the host's part of work on a GPU.
#[pyfunction]
pub(crate) fn threads(py: Python<'_>) -> PyResult<usize> {
    guarded(|| Ok(with_opened(py, |opened| opened.threads)))
}

/// Uses this many threads from now on; devices that are open are opened again at their next use.
#[pyfunction]
#[pyo3(signature = (count=None))]
pub(crate) fn use_threads(py: Python<'_>, count: Option<usize>) -> PyResult<()> {
    guarded(|| {
        let count = count.unwrap_or_else(default_threads);
        if !(1..=4096).contains(&count) {
            return Err(PyValueError::new_err(format!("threads: expected 1 to 4096, got {count}")));
        }
        let closed = with_opened(py, |opened| {
            if opened.threads == count {
                return None;
            }
            opened.threads = count;
            opened.devices.take()
        });
        // Closing a device may wait for it.
        py.detach(|| drop(closed));
        Ok(())
    })
}

/// The adapters of this machine, as dictionaries.
#[pyfunction]
pub(crate) fn adapters(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    guarded(|| {
        let found = work::run(py, &Cancel::new(), || Ok(tilefold::adapters()))?;
        found.iter().map(|adapter| describe(py, adapter)).collect()
    })
}

fn describe<'py>(py: Python<'py>, adapter: &tilefold::Adapter) -> PyResult<Bound<'py, PyDict>> {
    let limits = &adapter.limits;
    let sizes = PyDict::new(py);
    sizes.set_item("max_binding_bytes", limits.max_binding_bytes)?;
    sizes.set_item("max_buffer_bytes", limits.max_buffer_bytes)?;
    sizes.set_item("budget_bytes", limits.budget_bytes)?;
    sizes.set_item("window_bytes", limits.window_bytes)?;
    let dictionary = PyDict::new(py);
    dictionary.set_item("index", adapter.index)?;
    dictionary.set_item("name", &adapter.name)?;
    dictionary.set_item("selector", format!("{}:{}", adapter.backend, adapter.backend_index))?;
    dictionary.set_item("backend", &adapter.backend)?;
    dictionary.set_item("type", adapter.device_type.as_str())?;
    dictionary.set_item("vendor", adapter.vendor)?;
    dictionary.set_item("driver", format!("{} {}", adapter.driver, adapter.driver_info).trim())?;
    dictionary.set_item("pci_bus_id", &adapter.pci_bus_id)?;
    dictionary.set_item("features", &adapter.features)?;
    dictionary.set_item("limits", sizes)?;
    Ok(dictionary)
}
