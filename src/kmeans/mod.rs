//! k-means: Lloyd's algorithm with labels equal to `f64` and the same bits on every device.
//!
//! Read in this order: [`fit`] and [`Params`], `reference` (the definition), `lloyd` (the iteration), `cpu` and `gpu`
//! (one pass over the rows), `grid` (exact sums), `prune` and `gpu_prune` (rows and centroids that a pass leaves out).

mod checkpoint;
mod codec;
mod cpu;
mod finish;
mod fit;
#[cfg(feature = "gpu")]
mod gpu;
#[cfg(feature = "gpu")]
mod gpu_at_once;
#[cfg(feature = "gpu")]
pub(crate) mod gpu_kernels;
#[cfg(feature = "gpu")]
mod gpu_label;
#[cfg(feature = "gpu")]
mod gpu_prune;
#[cfg(feature = "gpu")]
mod gpu_sums;
#[cfg(all(test, feature = "gpu"))]
mod gpu_tests;
mod grid;
mod init;
mod label;
mod lloyd;
mod model;
mod params;
mod pays;
#[cfg(feature = "gpu")]
mod plan;
mod problem;
mod prune;
mod reference;
mod relocate;
mod runs;

pub use fit::{Data, Fit, Seconds, first_centroids, fit};
pub use lloyd::Iteration;
pub use model::{LARGEST_TOP, Labels, Model, Nearest};
pub use params::{Callback, Control, Init, Params, Progress, Prune};
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
#[doc(hidden)]
pub use plan::Update;
