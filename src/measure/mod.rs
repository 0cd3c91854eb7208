//! Measurements: what a device can do at most, and what workloads take on it, verified before they are timed.
//!
//! Read in this order: [`roofs()`], [`Benchmark`] and [`run`], [`lora`] (one batch of adapters), [`verify()`], `record` (what a measurement leaves
//! behind).

mod benchmark;
mod data;
#[cfg(feature = "gpu")]
pub(crate) mod kernels;
mod kmeans;
pub mod lora;
mod machine;
mod multiply;
#[cfg(feature = "gpu")]
mod on_gpu;
mod products;
pub mod record;
mod roofs;
mod verify;

pub use benchmark::{Benchmark, Workload, run};
pub use data::DataSet;
pub use machine::{DeviceFacts, Machine, now};
pub use roofs::{Roofs, roofs};
pub use verify::{Planted, verify};
