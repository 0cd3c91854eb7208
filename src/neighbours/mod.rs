//! Exact neighbours: the k nearest or farthest rows, and all rows within a radius.
//!
//! ```
//! use tilefold::Device;
//! use tilefold::distance::Metric;
//! use tilefold::neighbours::{Params, nearest};
//!
//! let points = ndarray::array![[0.0_f32], [1.0], [5.0]];
//! let queries = ndarray::array![[0.9_f32], [4.0]];
//! let found = nearest(&Device::cpu(), points.view(), queries.view(), &Params::new(Metric::Euclidean, 2))?;
//! assert_eq!(found.indices, ndarray::array![[1, 0], [2, 1]]);
//! # Ok::<(), tilefold::Error>(())
//! ```
//!
//! # What holds for every result
//!
//! - Neighbours are those that the metric's formula in `f64` has on the rows as they were given, best first, ties in
//!   `f64` to the lowest index. Tiles of `f32`, or of `f16` on matrix units, only screen, under a proven bound: **the same
//!   bits on every device**, for any number of threads and any window, and for queries together or one by one.
//! - Values are the metric's in `f64`, rounded once to the result's type: `f32`, or `f64` where a table holds `f64` or
//!   32- or 64-bit integers. Two values that are apart in `f64` may round to the same `f32`.
//! - For [`InnerProduct`](crate::distance::Metric::InnerProduct), a similarity, the nearest have the largest values.
//! - NaN and infinity are refused, as are rows of zeros with [`Cosine`](crate::distance::Metric::Cosine) and values that
//!   the type cannot hold.
//! - No matrix of queries and points is ever made: points are prepared window by window.
//! - Every metric is taken, and screened: squared Euclidean, Euclidean, cosine and inner product by tiles of products, the
//!   others by the values of [`crate::distance`] in `f32` (`f64` for tables that need it) with their bound. Three kinds of
//!   pairs are measured one by one in `f64`: those in boxes that repeat, those of data for which the metric has no bound
//!   (numbers far outside the range of all others), and those under nan_euclidean.
//! - Under nan_euclidean, rows without a common feature are infinitely far apart: behind all others, and within no finite
//!   radius.
//! - GPUs screen under every metric. The CPU takes tables of `f64` under metrics that are no product, and tables for which
//!   a GPU has no bound (numbers below 2^-100 under metrics of ratios); the result's `device` says so.
//! - On the CPU, rows of one to three columns under Euclidean distances, Manhattan, Chebyshev and Minkowski, and places under
//!   haversine, are looked up in a uniform grid where that is faster; the results are the same bits.
//! - Sparse rows ([`Points::Sparse`]) are widened row by row for tiles of products, and in windows of at most 256 MiB for other
//!   values.
//! - If thousands of points tie with the k-th neighbour in `f32`, all of them are measured in `f64`: correct, but slow.
//!
//! Read in this order: [`Params`] and [`RadiusParams`], `reference` (the definition), `screening`, `screen` and `estimate` (what
//! tiles see, and why they can be trusted), `plan` (how it is cut), `fold` and `judge` (what is kept and decided), `cpu`,
//! `estimated`, `gpu`, `gpu_estimated`, and `grid`.

#[cfg(feature = "gpu")]
mod answered;
mod cells;
mod cpu;
mod estimate;
mod filter;
mod fold;
#[cfg(feature = "gpu")]
mod gpu;
mod graph;
mod grid;
mod judge;
mod order;
mod params;
mod perform;
mod plan;
mod problem;
mod reference;
mod results;
mod screen;
mod screening;
mod space;

pub use filter::{Filter, Filters};
pub use graph::{Graph, Symmetry};
pub use params::{LARGEST_COUNT, Params, Radius, RadiusParams};
pub use results::{Counts, Neighbours, Values, Within};

use crate::data::Points;
use crate::device::Device;
use crate::error::Result;

/// The `count` nearest points of every query.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for empty tables, unequal columns, or filters of the wrong length;
/// [`Error::Parameter`](crate::Error::Parameter) for a count of 0, above [`LARGEST_COUNT`] or above the points that a query
/// may have; [`Error::Value`](crate::Error::Value) for NaN, infinity, magnitudes beyond 1e300, a row of zeros with
/// [`Metric::Cosine`](crate::distance::Metric::Cosine), and values that the result's type cannot hold;
/// [`Error::TooLarge`](crate::Error::TooLarge) beyond `max_bytes` or the memory;
/// [`Error::Cancelled`](crate::Error::Cancelled); the device's errors.
pub fn nearest<'a, 'b>(
    device: &Device,
    points: impl Into<Points<'a>>,
    queries: impl Into<Points<'b>>,
    params: &Params,
) -> Result<Neighbours> {
    perform::nearest(device, &points.into(), Some(&queries.into()), params, false)
}

/// The `count` nearest of a set's rows for each of them, itself included or not. Errors as [`nearest`].
///
/// ```
/// use tilefold::distance::Metric;
/// use tilefold::neighbours::{Params, nearest_of_each};
/// let points = ndarray::array![[0.0_f32], [1.0], [5.0]];
/// let params = Params::new(Metric::SquaredEuclidean, 1).includes_self(false);
/// let found = nearest_of_each(&tilefold::Device::cpu(), points.view(), &params)?;
/// assert_eq!(found.indices, ndarray::array![[1], [0], [1]]);
/// # Ok::<(), tilefold::Error>(())
/// ```
pub fn nearest_of_each<'a>(
    device: &Device,
    points: impl Into<Points<'a>>,
    params: &Params,
) -> Result<Neighbours> {
    perform::nearest(device, &points.into(), None, params, false)
}

/// The `count`-th nearest point of every query alone, one column: no memory goes to those before it. Errors as [`nearest`].
///
/// ```
/// use tilefold::distance::Metric;
/// use tilefold::neighbours::{Params, nth_nearest};
/// let points = ndarray::array![[0.0_f32], [1.0], [5.0]];
/// let params = Params::new(Metric::Euclidean, 2);
/// let found = nth_nearest(&tilefold::Device::cpu(), points.view(), ndarray::array![[0.9_f32]].view(), &params)?;
/// assert_eq!(found.indices, ndarray::array![[0]]);
/// # Ok::<(), tilefold::Error>(())
/// ```
pub fn nth_nearest<'a, 'b>(
    device: &Device,
    points: impl Into<Points<'a>>,
    queries: impl Into<Points<'b>>,
    params: &Params,
) -> Result<Neighbours> {
    perform::nearest(device, &points.into(), Some(&queries.into()), params, true)
}

/// The `count`-th nearest of a set's rows for each of them alone. Errors as [`nearest`].
pub fn nth_nearest_of_each<'a>(
    device: &Device,
    points: impl Into<Points<'a>>,
    params: &Params,
) -> Result<Neighbours> {
    perform::nearest(device, &points.into(), None, params, true)
}

/// All points within a radius of every query, or within a shell ([`RadiusParams::beyond`]): counted first, so that a result
/// that is too large is known before it is made.
///
/// ```
/// use tilefold::distance::Metric;
/// use tilefold::neighbours::{RadiusParams, within};
/// let points = ndarray::array![[0.0_f32], [1.0], [5.0]];
/// let queries = ndarray::array![[0.5_f32], [9.0]];
/// let params = RadiusParams::new(Metric::Euclidean, 1.0);
/// let found = within(&tilefold::Device::cpu(), points.view(), queries.view(), &params)?;
/// assert_eq!((found.offsets, found.indices), (vec![0, 2, 2], vec![0, 1]));
/// # Ok::<(), tilefold::Error>(())
/// ```
///
/// # Errors
/// As [`nearest`], with [`Error::Parameter`](crate::Error::Parameter) for a radius that is NaN, or negative where distances
/// are not, and [`Error::Shape`](crate::Error::Shape) for radii that are not one per query.
pub fn within<'a, 'b>(
    device: &Device,
    points: impl Into<Points<'a>>,
    queries: impl Into<Points<'b>>,
    params: &RadiusParams,
) -> Result<Within> {
    perform::within(device, &points.into(), Some(&queries.into()), params)
}

/// All rows of a set within a radius of each of them, itself included or not. Errors as [`within`].
pub fn within_of_each<'a>(
    device: &Device,
    points: impl Into<Points<'a>>,
    params: &RadiusParams,
) -> Result<Within> {
    perform::within(device, &points.into(), None, params)
}

/// How many points lie within a radius of every query. Errors as [`within`].
pub fn count_within<'a, 'b>(
    device: &Device,
    points: impl Into<Points<'a>>,
    queries: impl Into<Points<'b>>,
    params: &RadiusParams,
) -> Result<Counts> {
    perform::count(device, &points.into(), Some(&queries.into()), params)
}

/// How many rows of a set lie within a radius of each of them. Errors as [`within`].
pub fn count_within_of_each<'a>(
    device: &Device,
    points: impl Into<Points<'a>>,
    params: &RadiusParams,
) -> Result<Counts> {
    perform::count(device, &points.into(), None, params)
}
