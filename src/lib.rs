//! tilefold works on rows of vectors, on any GPU (Vulkan, Metal, DX12 through wgpu) and on the CPU: k-means, clustering
//! around medoids, exact neighbours, distance matrices, and batches that mix many LoRA adapters. Labels and neighbours
//! equal those of `f64` arithmetic, and k-means, medoids of a matrix and neighbours have the same bits on every device.
//!
//! Start with [`kmeans::fit`], [`kmedoids::fit`], [`neighbours::nearest`], [`distance::pairwise`] or [`lora::Pool`];
//! [`Device`] says where the work runs, [`Table`] opens files.

mod cancel;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod data;
mod device;
pub mod distance;
mod error;
#[cfg(feature = "gpu")]
mod kernel;
pub mod kmeans;
pub mod kmedoids;
pub mod lora;
pub mod measure;
mod memory;
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
pub use device::{Adapter, Counters, Device, DeviceType, Limits, MatrixUnits, adapters};
pub use error::{Error, Result};
#[cfg(feature = "gpu")]
pub use tile::product::units::{UnitsState, units_state};

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadmeExamples;

/// And so are those of the page on adapters.
#[cfg(doctest)]
#[doc = include_str!("../docs/adapters.md")]
pub struct AdapterExamples;
