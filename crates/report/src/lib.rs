//! What the command draws: results as one HTML page that needs no network, and pictures as SVG.
//!
//! [`page`] takes records as `tilefold bench`, `tune` and `verify` write them; [`draw_clusters`] and [`draw_policies`] take
//! plain numbers. Nothing here measures, computes on data or reads a file.

mod page;
mod plot;
mod record;
mod words;

pub use page::page;
pub use plot::{Clusters, PolicyRun, draw_clusters, draw_policies};
pub use words::{grouped, plural};
