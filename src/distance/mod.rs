//! Distance matrices: every row of X with every row of Y, or X with itself.
//!
//! ```
//! use tilefold::Device;
//! use tilefold::distance::{Metric, Params, pairwise};
//!
//! let x = ndarray::array![[0.0_f32, 0.0], [3.0, 4.0]];
//! let found = pairwise(&Device::cpu(), x.view(), &Params::new(Metric::Euclidean))?;
//! assert_eq!(found.matrix.as_f32(), Some(&ndarray::array![[0.0, 5.0], [5.0, 0.0]]));
//! # Ok::<(), tilefold::Error>(())
//! ```
//!
//! # What holds for every value
//!
//! - Input of `f32`, `f16`, `bf16` and 8- and 16-bit integers gives `f32`. Where one table holds `f64` or 32- or 64-bit
//!   integers (those beyond 2^53 round to the nearest `f64`), or the caller's array is of `f64`, results are `f64`,
//!   computed in `f64` by the CPU also where the device is a GPU: GPUs have no fast `f64`.
//! - With u half the machine epsilon of that type, D features and m = min(D, 64) + ceil(D / 64) + 1: squared Euclidean is
//!   within a relative 16 (m + 3) u or (D + 4) u, whichever is larger, Euclidean within half of it plus 6 u;
//!   Manhattan within (m + 4) u, Chebyshev within 4 u; cosine within an absolute (m + 8) u; the inner product within
//!   (m + 4) u times the sum of |x y|. Added to that, in `f32`: D 2^-120 of the data's largest spread (its square for
//!   squared Euclidean, the largest |x| times the largest |y| for the inner product), since tiny numbers beside huge
//!   ones underflow. GPUs whose compiler reorders sums make m up
//!   to D + 1. Data far from the origin loses nothing: rows are centred, which is exact wherever it can be, and entries
//!   that would lose digits are computed from differences.
//! - The other metrics, by what they are computed as (`docs/decisions/0027-families-of-metrics.md` derives the bounds):
//!   *transformed to Euclidean* (seuclidean, mahalanobis, hellinger) 2 u more than Euclidean, and (D + 8) 2^-52 of the
//!   lengths of the two transformed rows, 2^-46 more of them in `f32`; *correlation* within an absolute (m + 16) u;
//!   *counts* (hamming, and all metrics of bits) 10 u, from counts that are exact; *sums of terms* canberra (m + 8) u,
//!   minkowski ((m + 16 + 8 log2 D) / p + 12) u, nan_euclidean ((m + 8) / 2 + 8) u and D 2^-60 of the spread in `f32`,
//!   jensenshannon (m + 60) / 2 u and an absolute 4 u, kldivergence (m + 48) u and an absolute 8 u; *ratios of sums*
//!   braycurtis and multiset_jaccard (2 m + 10) u; haversine 16 u and an absolute 8 u; bit_hamming exactly up to 2^24,
//!   bit_jaccard 6 u. GPUs may take numbers below 2^-126 as 0 throughout, but for hamming.
//! - Distances are never negative, and NaN only with nan_euclidean, where two rows have no feature in common. Equal rows
//!   have distance exactly 0, except with russellrao and the inner product, so the diagonal of X with itself is
//!   0; the matrix of X with itself is symmetric to the bit, except with kldivergence.
//! - A value depends on its two rows, the metric and the data's centring alone: blocks, windows and threads change no
//!   bit. Different devices may differ within the bounds.
//! - What the type cannot hold (at least 2^127 in `f32`) is an error, never infinity. Results too small round to 0.
//!
//! Read in this order: [`Metric`] and [`Params`], `domain` (which values a metric takes), `reference` (the definition),
//! `operands` (what tiles see, from `rows` and `transform`), `plan` and `windows` (how it is cut, and why the bounds
//! hold), `cpu` and `gpu`.

pub(crate) mod bits;
mod blocks;
pub(crate) mod bound;
mod cpu;
pub(crate) mod domain;
mod functions;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
#[cfg(feature = "gpu")]
mod gpu_or_cpu;
mod matrix;
mod metric;
mod operands;
mod params;
mod perform;
pub(crate) mod real;
pub(crate) mod reference;
mod row_maker;
mod rows;
mod tables;
pub(crate) mod tiles;
mod transform;

use ndarray::{Array2, ArrayViewMut2};

use crate::data::Points;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::memory::zeros;
use blocks::Shape;
pub use matrix::{Distances, Filled, Matrix, MatrixView, MatrixViewMut, RowBlock};
pub(crate) use metric::Domain;
pub use metric::Metric;
pub(crate) use params::Constants;
pub use params::Params;
use perform::Engine;
use real::Real;
pub(crate) use row_maker::RowMaker;
use tables::Tables;
pub use tables::needs_f64;

/// The matrix of X (n x D) with itself: n x n.
///
/// # Errors
/// [`Error::Shape`] for no rows or columns, and tables of a shape or type that the metric does not take;
/// [`Error::Value`] for NaN, infinity, magnitudes beyond 1e300, what lies outside the domain of the [`Metric`], and
/// results that the type cannot hold; [`Error::Parameter`] for parameters of the metric that are missing or wrong;
/// [`Error::TooLarge`] beyond `max_bytes` or the memory; [`Error::Cancelled`]; the device's errors.
pub fn pairwise<'a>(device: &Device, x: impl Into<Points<'a>>, params: &Params) -> Result<Distances> {
    whole(device, &Tables::new(&x.into(), None)?, params)
}

/// The matrix of X (n x D) with Y (m x D): n x m. Errors as [`pairwise`], and [`Error::Shape`] for unequal columns.
///
/// ```
/// use tilefold::distance::{Metric, Params, between};
/// let (x, y) = (ndarray::array![[1_u8, 2]], ndarray::array![[4.0_f32, 6.0], [1.0, 2.0]]);
/// let params = Params::new(Metric::Manhattan);
/// let found = between(&tilefold::Device::cpu(), x.view(), y.view(), &params)?;
/// assert_eq!(found.matrix.as_f32(), Some(&ndarray::array![[7.0, 0.0]]));
/// # Ok::<(), tilefold::Error>(())
/// ```
pub fn between<'a, 'b>(
    device: &Device,
    x: impl Into<Points<'a>>,
    y: impl Into<Points<'b>>,
    params: &Params,
) -> Result<Distances> {
    whole(device, &Tables::new(&x.into(), Some(&y.into()))?, params)
}

/// As [`pairwise`], into an array of the caller's, in any layout. An array of `f64` asks for `f64` results.
///
/// # Errors
/// As [`pairwise`]; [`Error::Shape`] for an array of another shape, or of `f32` where the input asks for `f64`. After an
/// error the array holds values of no meaning.
pub fn pairwise_into<'a, 'o>(
    device: &Device,
    x: impl Into<Points<'a>>,
    params: &Params,
    out: impl Into<MatrixViewMut<'o>>,
) -> Result<Filled> {
    into(device, &Tables::new(&x.into(), None)?, params, out.into())
}

/// As [`between`], into an array of the caller's. Errors as [`pairwise_into`].
pub fn between_into<'a, 'b, 'o>(
    device: &Device,
    x: impl Into<Points<'a>>,
    y: impl Into<Points<'b>>,
    params: &Params,
    out: impl Into<MatrixViewMut<'o>>,
) -> Result<Filled> {
    into(device, &Tables::new(&x.into(), Some(&y.into()))?, params, out.into())
}

/// Hands the matrix of X with Y (with itself for `None`) to `sink` in blocks of rows, in order: for matrices larger than
/// the memory. A block has at most 64 MiB (and at most `max_bytes`), unless a single row has more. An error of `sink`
/// ends the work and is returned.
///
/// Blocks that were handed out stay as they are where [`Device::auto`]'s GPU fails later on: the CPU goes on with the block
/// that failed, and `device` says from which row. Values of the two devices differ within the bounds, so such a matrix of X
/// with itself is symmetric within them.
///
/// ```
/// use tilefold::distance::{MatrixView, Metric, Params, stream};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("matrix.npy");
/// let x = ndarray::array![[0.0_f32], [1.0], [3.0]];
/// let mut file = tilefold::data::NpyRowWriter::<f32>::create(&path, 3, 3)?;
/// stream(&tilefold::Device::cpu(), x.view(), None, &Params::new(Metric::Euclidean), |block| {
///     if let MatrixView::F32(rows) = &block.values {
///         file.write_rows(rows.to_slice().unwrap_or_default())?;
///     }
///     Ok(())
/// })?;
/// file.commit()?;
/// # assert_eq!(tilefold::data::Table::open(&path)?.rows(), 3);
/// # Ok::<(), tilefold::Error>(())
/// ```
///
/// # Errors
/// As [`between`], and those of `sink`.
pub fn stream<'a, 'b>(
    device: &Device,
    x: impl Into<Points<'a>>,
    y: Option<Points<'b>>,
    params: &Params,
    mut sink: impl FnMut(RowBlock<'_>) -> Result<()>,
) -> Result<Filled> {
    stream_tables(device, &Tables::new(&x.into(), y.as_ref())?, params, &mut sink)
}

/// Behind [`stream`] nothing depends on the caller's types, so that no crate compiles the engine for itself.
fn stream_tables(
    device: &Device,
    tables: &Tables,
    params: &Params,
    sink: &mut dyn FnMut(RowBlock<'_>) -> Result<()>,
) -> Result<Filled> {
    if tables.need_f64(params.metric) {
        stream_of::<f64>(device, tables, params, |first_row, rows| {
            sink(RowBlock { first_row, values: MatrixView::F64(rows.view()) })
        })
    } else {
        stream_of::<f32>(device, tables, params, |first_row, rows| {
            sink(RowBlock { first_row, values: MatrixView::F32(rows.view()) })
        })
    }
}

/// The parameters of a metric for rows of `depth` features, with all that a call would refuse about them.
pub(crate) fn constants(params: &Params, depth: usize) -> Result<Constants> {
    let constants = params.constants(depth)?;
    transform::Transform::of(params.metric, &constants)?;
    Ok(constants)
}

fn whole(device: &Device, tables: &Tables, params: &Params) -> Result<Distances> {
    if tables.need_f64(params.metric) {
        let (array, device) = whole_of(device, tables, params)?;
        Ok(Distances { matrix: Matrix::F64(array), device })
    } else {
        let (array, device) = whole_of(device, tables, params)?;
        Ok(Distances { matrix: Matrix::F32(array), device })
    }
}

fn whole_of<T: Real>(device: &Device, tables: &Tables, params: &Params) -> Result<(Array2<T>, String)> {
    let shape = tables.shape();
    shape.matrix_bytes(size_of::<T>(), params.max_bytes)?;
    let mut array = zeros("distances", shape.rows, shape.columns)?;
    let filled = fill(device, tables, params, array.view_mut())?;
    Ok((array, filled.device))
}

fn into(device: &Device, tables: &Tables, params: &Params, out: MatrixViewMut) -> Result<Filled> {
    let Shape { rows, columns, .. } = tables.shape();
    if out.dim() != (rows, columns) {
        let got = format!("{} x {}", out.dim().0, out.dim().1);
        return Err(Error::shape("out", format!("{rows} x {columns}"), got));
    }
    let needs_f64 = tables.need_f64(params.metric);
    match out {
        MatrixViewMut::F64(out) => fill(device, tables, params, out),
        MatrixViewMut::F32(_) if needs_f64 => {
            Err(Error::shape("out", "an array of f64, as the input asks for", "an array of f32"))
        }
        MatrixViewMut::F32(out) => fill(device, tables, params, out),
    }
}

fn fill<T: Real>(device: &Device, tables: &Tables, params: &Params, out: ArrayViewMut2<T>) -> Result<Filled> {
    let mut engine = Engine::new(device, tables, params)?;
    engine.fill(0, out)?;
    Ok(engine.filled())
}

fn stream_of<T: Real>(
    device: &Device,
    tables: &Tables,
    params: &Params,
    mut sink: impl FnMut(usize, &Array2<T>) -> Result<()>,
) -> Result<Filled> {
    let shape = tables.shape();
    let block_rows = shape.block_rows(size_of::<T>(), params.max_bytes)?;
    let mut engine = Engine::new(device, tables, params)?;
    let mut block: Array2<T> = zeros("a block of distances", block_rows, shape.columns)?;
    for first_row in (0..shape.rows).step_by(block_rows) {
        params.cancel.check()?;
        let rows = block_rows.min(shape.rows - first_row);
        if rows < block_rows {
            block = zeros("a block of distances", rows, shape.columns)?;
        }
        engine.fill(first_row, block.view_mut())?;
        sink(first_row, &block)?;
    }
    Ok(engine.filled())
}
