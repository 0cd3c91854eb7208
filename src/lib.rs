//! tilefold clusters vectors on any GPU and on the CPU.

mod cancel;
pub mod data;
mod device;
pub mod distance;
mod error;
pub mod kmeans;
mod random;
mod simd;
mod tile;

pub use cancel::Cancel;
pub use data::{ElementType, Points, Table};
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
#[doc(hidden)]
pub use device::Fault;
pub use device::{Adapter, Device, DeviceType, Limits, adapters};
pub use error::{Error, Result};

/// A rendered kernel, for the project's own tests; nothing outside may rely on it.
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
#[doc(hidden)]
#[derive(Debug)]
pub struct Shader {
    /// What it does and for which sizes.
    pub name: String,
    /// Entry point.
    pub entry: &'static str,
    /// The rendered text.
    pub source: String,
    /// Fields of the Rust mirror of the struct `Params`, with their offsets.
    pub params: &'static [(&'static str, usize)],
    /// Size of that mirror.
    pub params_bytes: usize,
}

/// Every kernel that a plan can choose, rendered.
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
#[doc(hidden)]
pub fn shaders() -> Result<Vec<Shader>> {
    distance::shaders()
}
