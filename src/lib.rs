//! tilefold clusters vectors with k-means and computes distance matrices on any GPU (Vulkan, Metal, DX12 through wgpu)
//! and on the CPU. Labels equal those of `f64` arithmetic, and k-means gives the same bits on every device.
//!
//! Start with [`kmeans::fit`], [`distance::pairwise`], [`Device`] and [`Table`].

mod cancel;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod data;
mod device;
pub mod distance;
mod error;
pub mod kmeans;
pub mod kmedoids;
pub mod lora;
pub mod measure;
pub mod neighbours;
mod random;
mod setters;
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
#[cfg(feature = "gpu")]
pub use device::wgpu;
pub use device::{Adapter, Device, DeviceType, Limits, MatrixUnits, adapters};
pub use error::{Error, Result};
#[cfg(feature = "gpu")]
pub use tile::product::units::{UnitsState, units_state};

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadmeExamples;
