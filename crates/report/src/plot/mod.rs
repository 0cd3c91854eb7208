//! Pictures as SVG.

mod axis;
mod clusters;
mod panel;
mod policies;

pub use clusters::{Clusters, draw_clusters};
pub use policies::{PolicyRun, draw_policies};

const WIDTH: f64 = 1240.0;
/// Paul Tol's "muted" colours, told apart by readers with any colour vision (Tol, SRON/EPS/TN/09-002, 2021), and grey.
const COLOURS: [&str; 10] = [
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499",
    "#777777",
];
