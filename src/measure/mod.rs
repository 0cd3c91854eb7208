//! Measurements: what a device can do at most.

#[cfg(feature = "gpu")]
pub(crate) mod kernels;
mod multiply;
#[cfg(feature = "gpu")]
pub(crate) mod on_gpu;
mod roofs;

pub use roofs::{Roofs, roofs};
