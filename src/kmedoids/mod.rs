//! Clustering around medoids: k of the objects such that the dissimilarities of all objects to the nearest of them are
//! small in sum.
//!
//! ```
//! use tilefold::Device;
//! use tilefold::kmedoids::{Params, fit_points};
//!
//! let points = ndarray::array![[0.0_f32], [1.0], [2.0], [9.0], [10.0]];
//! let fit = fit_points(&Device::cpu(), points.view(), &Params::new(2))?;
//! assert_eq!(fit.loss, 3.0);
//! assert_eq!(fit.labels[0], fit.labels[2]);
//! # Ok::<(), tilefold::Error>(())
//! ```
//!
//! # What holds for every result
//!
//! - For given dissimilarities medoids, labels, loss and silhouette are **the same bits on every device** and for any
//!   number of threads: sums are integers on a grid of powers of two (see `grid`), which has 61 - log2(n) bits for the
//!   largest magnitude, or of as many words as all digits need. Between points the values of the matrix are those of [`distance`](crate::distance) on the device
//!   that makes it, which differ within its bounds.
//! - Ties go to the lowest candidate, then to the lowest place among the medoids; labels to the lowest cluster.
//! - The loss is within n 2^-62 n M of the exact sum, M the largest magnitude, and every swap lowers it: searches end.
//!   Where that is more than 2^-30 of the loss, or of a cluster's part of it (see `digits`), every sum is exact (see `exact`).
//! - Matrices of `f32`, `f64` and `i32`, symmetric or not, square or the packed lower triangle. NaN is refused, and infinity
//!   where a method cannot use it ([`Dissimilarities`]).
//! - The methods are those of the papers named at [`Method`]; candidates are looked at in order of their index.
//! - GPUs perform the swaps of [`Method::FasterPam`] and [`Method::Pam`] on matrices of `f32` that fit their memory; all
//!   else is the processor's, and the result's `device` says so.
//!
//! Read in this order: [`Params`], `reference` (the definition), `objective` (what a swap changes), `state` (what is known
//! of the nearest medoids), `swaps` (the searches), `problem` (the methods), `points` (what is held of the distances).

mod alternate;
mod assignment;
mod by_reference;
mod columns;
mod digits;
mod dissimilarities;
mod entry;
mod exact;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
mod grid;
mod init;
mod integer;
mod objective;
mod one_batch;
mod params;
mod perform;
mod points;
mod problem;
mod random;
mod reference;
mod results;
mod state;
mod swaps;

pub use dissimilarities::{Dissimilarities, Number};
pub use params::{Init, Method, Params};
pub use results::{Fit, Seconds};

use crate::data::Points;
use crate::device::Device;
use crate::error::Result;

/// Clusters objects by given dissimilarities.
///
/// `minimise over medoids M, |M| = k: sum over o of min over m in M of d(o, m)`, by the method of the parameters.
///
/// ```
/// use tilefold::kmedoids::{Dissimilarities, Init, Method, Params, fit};
/// let apart = ndarray::array![[0, 1, 9], [1, 0, 9], [9, 9, 0]];
/// let params = Params::new(2).method(Method::Pam).init(Init::Build);
/// let found = fit(&tilefold::Device::cpu(), apart.view(), &params)?;
/// assert_eq!((found.medoids, found.loss), (vec![0, 2], 1.0));
/// # Ok::<(), tilefold::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for a matrix that is not square or empty, and first medoids of the wrong number;
/// [`Error::Value`](crate::Error::Value) for NaN, for negative values where silhouettes are maximised, and for infinity there, below 0
/// and with [`Method::OneBatch`];
/// [`Error::Parameter`](crate::Error::Parameter) for a number of clusters of 0 or above that of the objects and for
/// parameters of a method out of their range; [`Error::Cancelled`](crate::Error::Cancelled); the device's errors.
pub fn fit<'a>(
    device: &Device,
    dissimilarities: impl Into<Dissimilarities<'a>>,
    params: &Params,
) -> Result<Fit> {
    perform::fit(device, &dissimilarities.into(), params)
}

/// Clusters points by their distances under the metric of the parameters.
///
/// # Errors
/// As [`fit`] and [`distance::pairwise`](crate::distance::pairwise);
/// [`Error::TooLarge`](crate::Error::TooLarge) beyond `max_bytes` with
/// [`Metric::KullbackLeibler`](crate::distance::Metric::KullbackLeibler), which is not symmetric, and for the matrix of
/// [`Method::OneBatch`].
pub fn fit_points<'a>(device: &Device, points: impl Into<Points<'a>>, params: &Params) -> Result<Fit> {
    points::fit(device, &points.into(), params)
}
