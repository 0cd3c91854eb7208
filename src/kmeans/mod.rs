//! k-means: Lloyd's algorithm with labels equal to `f64` and the same bits on every device.
//!
//! Read in this order: [`fit`] and [`Params`], `reference` (the definition), `lloyd` (the iteration), `problem` (what
//! a fit knows of its rows, and exact sums), `cpu` and `gpu` (one pass over the rows), with `prune` in each (rows and
//! centroids that a pass leaves out).

mod by_reference;
mod checkpoint;
mod codec;
mod cpu;
mod fine;
mod fingerprint;
mod finish;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
mod init;
mod lloyd;
mod means;
mod members;
mod memory;
mod model;
mod params;
mod perform;
mod problem;
mod reference;
mod relocate;
mod results;

#[cfg(all(feature = "gpu", feature = "test-hooks"))]
#[doc(hidden)]
pub use gpu::plan::Update;
pub use lloyd::Iteration;
pub use model::{LARGEST_TOP, Labels, Model, Nearest};
pub use params::{Callback, Control, Init, Params, Progress, Prune};
pub use perform::{Data, first_centroids, fit};
pub use results::{Fit, Seconds};
