//! tilefold clusters vectors on any GPU and on the CPU.

mod cancel;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod data;
mod device;
mod error;
pub mod kmeans;
mod random;
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
#[doc(hidden)]
pub mod shaders;
mod simd;
mod tile;

pub use cancel::Cancel;
pub use data::{ElementType, Points, Table};
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
#[doc(hidden)]
pub use device::Fault;
pub use device::{Adapter, Device, DeviceType, Limits, adapters};
pub use error::{Error, Result};

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadmeExamples;
