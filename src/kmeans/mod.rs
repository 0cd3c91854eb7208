//! k-means: Lloyd's algorithm with labels equal to `f64` and the same bits on every device.
//!
//! Read in this order: [`fit`] and [`Params`], `reference` (the definition), `lloyd` (the iteration), `cpu` and `gpu`
//! (one pass over the rows), `grid` (exact sums), `prune` and `gpu_prune` (rows and centroids that a pass leaves out).

mod checkpoint;
mod codec;
mod cpu;
mod finish;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
mod grid;
mod init;
mod lloyd;
mod model;
mod params;
mod perform;
mod problem;
mod reference;
mod relocate;
mod runs;

#[cfg(all(feature = "gpu", feature = "test-hooks"))]
#[doc(hidden)]
pub use gpu::plan::Update;
pub use lloyd::Iteration;
pub use model::{LARGEST_TOP, Labels, Model, Nearest};
pub use params::{Callback, Control, Init, Params, Progress, Prune};
pub use perform::{Data, Fit, Seconds, first_centroids, fit};
