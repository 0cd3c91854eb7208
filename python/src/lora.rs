//! Adapters, pools of them, and batches whose rows go through their own adapters.

use half::f16;
use ndarray::Ix2;
use numpy::{Element, PyArray2, PyReadwriteArray2, PyUntypedArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tilefold::Cancel;
use tilefold::lora::{self, Factors, Group, Module, PoolParams, Precision, Routes, Scalar};

use crate::errors::to_python;
use crate::guard::guarded;
use crate::layout::{Held, Readable, Writable, view_mut};
use crate::memory::filled;
use crate::{devices, work};

/// The routes of each row: (slot, scale), added in this order.
type Listed = Vec<Vec<(u32, f32)>>;
/// Name, inputs and outputs of a module.
type Sizes = (String, usize, usize);

/// Low-rank updates by the module that each applies to.
#[pyclass(frozen, module = "tilefold._core")]
pub(crate) struct LoraAdapter(lora::Adapter);

#[pymethods]
impl LoraAdapter {
    /// From (module, A, B, scale): A is rank x inputs, B outputs x rank, both float32 or both float16.
    #[new]
    fn new(updates: Vec<(String, Bound<'_, PyAny>, Bound<'_, PyAny>, f32)>) -> PyResult<Self> {
        guarded(|| {
            let mut adapter = lora::Adapter::default();
            for (module, a, b, scale) in updates {
                adapter.modules.insert(module, factors(&a, &b, scale)?);
            }
            Ok(Self(adapter))
        })
    }

    /// From a folder that PEFT wrote.
    #[staticmethod]
    fn read(py: Python<'_>, folder: &str) -> PyResult<Self> {
        guarded(|| Ok(Self(work::run(py, &Cancel::new(), || Ok(lora::read_adapter(folder)?.adapter))?)))
    }

    /// The same with weights of 16 bits (`float16`, `bfloat16`) or of `float32`.
    fn cast(&self, precision: &str) -> PyResult<Self> {
        guarded(|| Ok(Self(self.0.cast(precision_of(precision)?).map_err(to_python)?)))
    }

    /// Module, rank, inputs, outputs and scale of each update.
    fn updates(&self) -> Vec<(String, usize, usize, usize, f32)> {
        let described = |(name, update): (&String, &Factors)| {
            (name.clone(), update.rank(), update.inputs(), update.outputs(), update.scale())
        };
        self.0.modules.iter().map(described).collect()
    }

    /// A and B of a module in float32.
    fn weights<'py>(&self, py: Python<'py>, module: &str) -> PyResult<[Bound<'py, PyArray2<f32>>; 2]> {
        guarded(|| {
            let update = self.0.modules.get(module).ok_or_else(|| {
                PyValueError::new_err(format!(
                    "module: expected one that the adapter updates, got {module:?}"
                ))
            })?;
            let a = filled("A", (update.rank(), update.inputs()), |r, i| update.a(r, i))?;
            let b = filled("B", (update.outputs(), update.rank()), |o, r| update.b(o, r))?;
            Ok([PyArray2::from_owned_array(py, a), PyArray2::from_owned_array(py, b)])
        })
    }
}

/// Adapters by name, a budget's worth of them in device memory.
#[pyclass(frozen, module = "tilefold._core")]
pub(crate) struct LoraPool(lora::Pool);

#[pymethods]
impl LoraPool {
    #[new]
    fn new(
        py: Python<'_>,
        groups: Vec<(String, Vec<Sizes>)>,
        budget_bytes: u64,
        weights: &str,
        most_resident: usize,
        device: &str,
        falls_back: bool,
    ) -> PyResult<Self> {
        guarded(|| {
            let module = |(name, inputs, outputs)| Module { name, inputs, outputs };
            let group = |(name, modules): (String, Vec<Sizes>)| {
                Group::new(name, modules.into_iter().map(module).collect())
            };
            let params = PoolParams::new(groups.into_iter().map(group).collect())
                .budget_bytes(budget_bytes)
                .weights(precision_of(weights)?)
                .most_resident(most_resident);
            let device = if falls_back { devices::opened(py, device)? } else { devices::device(py, device)? };
            Ok(Self(work::run(py, &Cancel::new(), || lora::Pool::new(&device, params))?))
        })
    }

    fn register(&self, py: Python<'_>, name: &str, adapter: &LoraAdapter) -> PyResult<u64> {
        guarded(|| work::run(py, &Cancel::new(), || self.0.register(name, adapter.0.clone())))
    }

    /// Registers a folder that is read when it is needed, each time anew.
    fn register_folder(&self, name: &str, folder: String) -> PyResult<u64> {
        guarded(|| Ok(self.0.register_source(name, move || Ok(lora::read_adapter(&folder)?.adapter))))
    }

    fn unregister(&self, name: &str) -> PyResult<()> {
        guarded(|| self.0.unregister(name).map_err(to_python))
    }

    fn pin(&self, name: &str, is_pinned: bool) -> PyResult<()> {
        guarded(|| self.0.pin(name, is_pinned).map_err(to_python))
    }

    fn unload(&self, name: &str) -> PyResult<bool> {
        guarded(|| self.0.unload(name).map_err(to_python))
    }

    fn prefetch(&self, names: Vec<String>) -> PyResult<()> {
        guarded(|| {
            self.0.prefetch(&words(&names));
            Ok(())
        })
    }

    fn is_resident(&self, name: &str) -> PyResult<bool> {
        guarded(|| Ok(self.0.is_resident(name)))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guarded(|| {
            let stats = self.0.stats();
            let found = PyDict::new(py);
            found.set_item("registered", stats.registered)?;
            found.set_item("resident", stats.resident)?;
            found.set_item("budget_bytes", stats.budget_bytes)?;
            found.set_item("resident_bytes", stats.resident_bytes)?;
            found.set_item("hits", stats.hits)?;
            found.set_item("misses", stats.misses)?;
            found.set_item("loads", stats.loads)?;
            found.set_item("evictions", stats.evictions)?;
            found.set_item("loaded_bytes", stats.loaded_bytes)?;
            found.set_item("load_seconds", stats.load_seconds)?;
            Ok(found)
        })
    }

    fn device_name(&self) -> PyResult<String> {
        guarded(|| Ok(self.0.device_name()))
    }

    fn lease(&self, py: Python<'_>, names: Vec<String>) -> PyResult<LoraLease> {
        guarded(|| {
            let lease = work::run(py, &Cancel::new(), || self.0.lease(&words(&names)))?;
            Ok(LoraLease(std::sync::Mutex::new(Some(lease))))
        })
    }
}

/// Adapters that stay in device memory until it is released.
#[pyclass(frozen, module = "tilefold._core")]
pub(crate) struct LoraLease(std::sync::Mutex<Option<lora::Lease>>);

impl LoraLease {
    fn get(&self) -> PyResult<lora::Lease> {
        let held = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        held.clone()
            .ok_or_else(|| PyValueError::new_err("lease: expected one that is held, got a released one"))
    }
}

#[pymethods]
impl LoraLease {
    fn generations(&self) -> PyResult<Vec<u64>> {
        let lease = self.get()?;
        Ok((0..lease.slots()).filter_map(|slot| lease.generation(slot)).collect())
    }

    /// Lets the adapters go; steps that were made keep them.
    fn release(&self) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }

    fn step(&self, py: Python<'_>, rows: Listed) -> PyResult<LoraStep> {
        guarded(|| {
            let (lease, routes) = (self.get()?, routes(rows)?);
            Ok(LoraStep(work::run(py, &Cancel::new(), || lease.step(&routes))?))
        })
    }
}

/// A batch, prepared once for all groups of modules.
#[pyclass(frozen, module = "tilefold._core")]
pub(crate) struct LoraStep(lora::Step);

#[pymethods]
impl LoraStep {
    /// Adds the updates of a group to `y`, one array per module of it.
    fn apply(
        &self,
        py: Python<'_>,
        group: usize,
        x: &Bound<'_, PyAny>,
        y: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        guarded(|| {
            let readable = taken("x", x)?;
            if let Some(x) = readable.hold::<f32, Ix2>("x")? {
                return self.onto(py, group, &x, &y);
            }
            match readable.hold::<f16, Ix2>("x")? {
                Some(x) => self.onto(py, group, &x, &y),
                None => Err(wrong_type("x")),
            }
        })
    }
}

impl LoraStep {
    fn onto<X: Scalar + Element>(
        &self,
        py: Python<'_>,
        group: usize,
        x: &Held<'_, X, Ix2>,
        y: &[Bound<'_, PyAny>],
    ) -> PyResult<()> {
        let arrays = y
            .iter()
            .map(|y| y.cast::<PyUntypedArray>().cloned().map_err(|_| wrong_type("y")))
            .collect::<PyResult<Vec<_>>>()?;
        let writable = Writable::several("y", &arrays)?;
        if let Some(y) = hold_all::<f32>(&writable)? {
            self.run(py, group, x, y)?;
        } else if let Some(y) = hold_all::<f16>(&writable)? {
            self.run(py, group, x, y)?;
        } else {
            return Err(wrong_type("y"));
        }
        writable.iter().try_for_each(Writable::finish)
    }

    fn run<X: Scalar + Element, Y: Scalar + Element>(
        &self,
        py: Python<'_>,
        group: usize,
        x: &Held<'_, X, Ix2>,
        mut y: Vec<PyReadwriteArray2<'_, Y>>,
    ) -> PyResult<()> {
        let x = x.as_array();
        let mut y: Vec<_> = y.iter_mut().map(view_mut).collect();
        work::run(py, &Cancel::new(), || self.0.apply(group, x, &mut y))
    }
}

fn factors(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>, scale: f32) -> PyResult<Factors> {
    let (a, b) = (taken("A", a)?, taken("B", b)?);
    if let (Some(a), Some(b)) = (a.hold::<f32, Ix2>("A")?, b.hold::<f32, Ix2>("B")?) {
        return Factors::new(a.as_array(), b.as_array(), scale).map_err(to_python);
    }
    let (Some(a), Some(b)) = (a.hold::<f16, Ix2>("A")?, b.hold::<f16, Ix2>("B")?) else {
        return Err(wrong_type("A and B"));
    };
    Factors::new(a.as_array(), b.as_array(), scale).map_err(to_python)
}

fn taken<'py>(argument: &str, object: &Bound<'py, PyAny>) -> PyResult<Readable<'py>> {
    Readable::new(object.cast::<PyUntypedArray>().map_err(|_| wrong_type(argument))?)
}

/// All arrays for writing, `None` where one has another type.
fn hold_all<'py, T: Element>(arrays: &[Writable<'py>]) -> PyResult<Option<Vec<PyReadwriteArray2<'py, T>>>> {
    arrays.iter().map(|array| array.hold::<T>("y")).collect()
}

fn wrong_type(argument: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{argument}: expected two-dimensional arrays, all of float32 or all of float16"
    ))
}

fn precision_of(name: &str) -> PyResult<Precision> {
    match name {
        "float32" => Ok(Precision::F32),
        "float16" => Ok(Precision::F16),
        "bfloat16" => Ok(Precision::Bf16),
        _ => Err(PyValueError::new_err(format!(
            "weights: expected float32, float16 or bfloat16, got {name:?}"
        ))),
    }
}

fn routes(rows: Listed) -> PyResult<Routes> {
    let mut routes = Routes::new();
    for row in rows {
        routes.push_scaled(&row).map_err(to_python)?;
    }
    Ok(routes)
}

fn words(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}
