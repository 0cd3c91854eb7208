//! Pictures as SVG.

mod axis;
mod clusters;
mod panel;
mod policies;

pub use clusters::{Clusters, draw_clusters};
pub use policies::{PolicyRun, draw_policies};
