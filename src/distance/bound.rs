//! How far a value that was measured in the element type may be from the metric's value in `f64` (`reference`).
//!
//! With u half the machine epsilon of the type that is measured in, and m the roundings of a sum (`plan`), values are
//! within the bounds of this slice's module and docs/decisions/0027-families-of-metrics.md of the exact ones. Added to that
//! is what the formula in `f64` itself loses: its sums are chains of D additions, its quotients, roots, powers and
//! logarithms a few roundings each, and where it changes from a series to logarithms they cancel to a two hundredth.
//!
//! Mahalanobis is a case of its own. Its formula adds D^2 terms of both signs, and the factor F that rows are transformed
//! with leaves a remainder: both put the *square* off by an absolute
//!
//! ```text
//! E = ((D^2 + 3) 2^-53 R + D (remainder + (D + 2) 2^-52 largest)) |x - y|^2      |d - d'| <= sqrt(E)
//! ```
//!
//! with R the largest sum of magnitudes in a row of the inverse covariance.
//!
//! Metrics that divide feature by feature, or take small powers, notice numbers that a type holds with fewer digits, or that
//! a device takes for 0, however small they are. Data with such numbers has no bound here.

use rayon::prelude::*;

use super::blocks::CHUNK;
use super::params::Constants;
use super::rows::ratio_scale_of;
use super::transform::Transform;
use super::{Domain, Metric};
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::{Scan, power_of_two, widen_row};
use crate::error::Result;

/// Half the machine epsilons.
const SINGLE: f64 = f32::EPSILON as f64 / 2.0;
const DOUBLE: f64 = f64::EPSILON / 2.0;
/// Below it values may become 0: twice the smallest normal `f32`.
const FLUSHED: f64 = 2.0 * f32::MIN_POSITIVE as f64;
/// Relative errors above it are no bound to work with.
const MOST: f64 = 0.125;
/// Features that `f32` counts without rounding.
const COUNTED: usize = 1 << 24;
/// Rows that one thread looks at at a time.
const BLOCK_ROWS: usize = 256;

/// `|value - d| <= relative * d + absolute`, with d the metric's value in `f64`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bound {
    pub relative: f64,
    pub absolute: f64,
}

/// Who measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    /// The CPU in `f32`.
    Single,
    /// The CPU in `f64`; values are rounded to `f32` then.
    Double,
    /// A GPU, whose compiler may reorder sums.
    #[cfg(feature = "gpu")]
    Gpu { keeps_order: bool },
}

/// What the bounds of some metrics need to know of the data.
#[derive(Debug, Clone)]
pub(crate) struct Spread {
    /// For each column at least the largest magnitude of value and offset, and the offset.
    columns: Vec<(f64, f64)>,
    /// The largest magnitude.
    largest: f64,
    /// The least one that is not 0, or infinity.
    least: f64,
}

impl Spread {
    /// Of tables that were scanned together.
    pub fn of(tables: &[(&'static str, &Points)], scan: &Scan, cancel: &Cancel) -> Result<Self> {
        let reach = |largest: &f64| largest / scan.frame.scale * (1.0 + 1e-6);
        let columns = scan.largest.iter().map(reach).zip(scan.frame.offset.iter().copied()).collect();
        let (mut largest, mut least) = (0.0_f64, f64::INFINITY);
        for (_, points) in tables {
            let block = |block: usize| {
                cancel.check()?;
                let mut wide = vec![0.0; points.columns()];
                let (mut largest, mut least) = (0.0_f64, f64::INFINITY);
                for row in block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(points.rows()) {
                    widen_row(points, row, &mut wide);
                    for value in &wide {
                        let size = value.abs();
                        largest = largest.max(size);
                        least = if size == 0.0 { least } else { least.min(size) };
                    }
                }
                Ok((largest, least))
            };
            let blocks = (0..points.rows().div_ceil(BLOCK_ROWS)).into_par_iter().map(block);
            for (block_largest, block_least) in blocks.collect::<Result<Vec<_>>>()? {
                (largest, least) = (largest.max(block_largest), least.min(block_least));
            }
        }
        Ok(Self { columns, largest, least })
    }

    /// The largest difference of two values of a column.
    fn widest(&self) -> f64 {
        self.columns.iter().fold(0.0_f64, |widest, (reach, _)| widest.max(2.0 * reach))
    }

    /// The root of the sum over columns of `of` the largest magnitude less the offset, and the offset.
    fn length(&self, of: impl Fn(usize, f64, f64) -> f64) -> f64 {
        let columns = self.columns.iter().enumerate();
        columns.map(|(column, &(reach, offset))| of(column, reach, offset)).sum::<f64>().sqrt()
    }

    /// Whether every number that is not 0 is at least this share of the largest.
    fn is_within(&self, exponent: i32) -> bool {
        self.largest == 0.0 || self.least >= self.largest * power_of_two(exponent)
    }

    /// Whether nothing that the metric notices is lost to the type's range.
    fn suits(&self, metric: Metric, constants: &Constants, arithmetic: Arithmetic) -> bool {
        let is_double = arithmetic == Arithmetic::Double;
        let largest = power_of_two(480);
        if is_double && !(self.largest <= largest && (self.largest == 0.0 || self.least >= 1.0 / largest)) {
            return false;
        }
        match metric {
            Metric::Canberra | Metric::BrayCurtis | Metric::MultisetJaccard if !is_double => {
                let scale = ratio_scale_of::<f32>(self.largest, self.columns.len());
                let is_exact = scale >= 1.0 && arithmetic == Arithmetic::Single;
                is_exact || self.largest == 0.0 || self.least * scale >= power_of_two(-100)
            }
            // Which values are infinite must be told apart exactly.
            Metric::KullbackLeibler => self.is_within(if is_double { -800 } else { -170 }),
            Metric::Minkowski => match constants {
                Constants::Power { p, .. } if *p < 1.0 => self.is_within(if is_double { -800 } else { -70 }),
                _ => true,
            },
            _ => true,
        }
    }
}

impl Bound {
    /// For rows of `depth` features. `None` where there is none that is of use, and for the metrics that have a tile of
    /// their own wherever values are screened: squared Euclidean, Euclidean, cosine, inner product.
    pub fn of(
        metric: Metric,
        constants: &Constants,
        depth: usize,
        arithmetic: Arithmetic,
        spread: &Spread,
    ) -> Result<Option<Self>> {
        if metric.domain() != Domain::Packed && !spread.suits(metric, constants, arithmetic) {
            return Ok(None);
        }
        let is_double = arithmetic == Arithmetic::Double;
        let unit = if is_double { DOUBLE } else { SINGLE };
        let d = depth as f64;
        let m = match arithmetic {
            #[cfg(feature = "gpu")]
            Arithmetic::Gpu { keeps_order: false } => d + 1.0,
            _ => depth.min(CHUNK) as f64 + depth.div_ceil(CHUNK) as f64 + 1.0,
        };
        // What small differences beside large ones lose.
        let lost = if is_double { 0.0 } else { d * power_of_two(-120) * spread.widest() };
        let part = |relative: f64, absolute: f64| Self { relative, absolute };
        let euclidean = |length: f64| {
            let square = (16.0 * (m + 3.0)).max(d + 4.0);
            let parts = if is_double { 0.0 } else { power_of_two(-46) };
            let lost = if is_double { 0.0 } else { d * power_of_two(-120) };
            let transformed = ((d + 10.0) * 2.0 * DOUBLE + parts + lost) * 2.0 * length;
            part((square / 2.0 + 8.0) * unit + (d + 16.0) * DOUBLE, transformed)
        };
        let bound = match (metric, constants) {
            (Metric::Manhattan, _) => part((m + 4.0) * unit + (d + 2.0) * DOUBLE, lost),
            (Metric::Chebyshev, _) => part(4.0 * unit + 2.0 * DOUBLE, lost),
            (Metric::Minkowski, Constants::Power { p, weights }) => {
                let weights = weights.iter().flatten().map(|weight| weight.powf(1.0 / p));
                let weight = weights.fold(1.0, f64::max);
                let own = ((m + 16.0 + 8.0 * d.log2()) / p + 12.0) * unit;
                part(own + ((d + 16.0) / p + 16.0) * DOUBLE, lost * weight)
            }
            (_, Constants::Variances(variances)) => {
                euclidean(spread.length(|column, reach, _| reach / variances[column] * reach))
            }
            (_, Constants::Inverse(inverse)) => {
                let length = spread.length(|_, reach, _| reach * reach);
                let trace = inverse.diag().sum().max(0.0);
                let sums = inverse.outer_iter().map(|row| row.iter().map(|value| value.abs()).sum::<f64>());
                let largest = inverse.diag().iter().fold(0.0_f64, |largest, &value| largest.max(value));
                let remainder = match Transform::of(metric, constants)? {
                    Some(Transform::Factor { remainder, .. }) => remainder,
                    _ => 0.0,
                };
                let square = (d * d + 3.0) * DOUBLE * sums.fold(0.0, f64::max)
                    + d * (remainder + (d + 2.0) * 2.0 * DOUBLE * largest);
                let own = euclidean(length * trace.sqrt());
                part(own.relative, own.absolute + 2.0 * square.sqrt() * length)
            }
            (Metric::Hellinger, _) => euclidean(spread.length(|_, reach, offset| reach + offset.abs())),
            (Metric::Correlation, _) => part((d + 4.0) * DOUBLE, (m + 16.0) * unit),
            (Metric::Canberra, _) => part((m + 8.0) * unit + (d + 8.0) * DOUBLE, 0.0),
            (Metric::BrayCurtis | Metric::MultisetJaccard, _) => {
                part((2.0 * m + 10.0) * unit + (2.0 * d + 10.0) * DOUBLE, 0.0)
            }
            (Metric::Haversine, _) => part(16.0 * (unit + DOUBLE), 8.0 * (unit + DOUBLE)),
            (Metric::JensenShannon, _) => {
                part((m + 60.0) / 2.0 * unit + (d + 600.0) * DOUBLE, 4.0 * (unit + DOUBLE))
            }
            (Metric::KullbackLeibler, _) => {
                part((m + 48.0) * unit + (d + 600.0) * DOUBLE, 8.0 * (unit + DOUBLE))
            }
            (Metric::BitHamming | Metric::BitJaccard, _) => part(6.0 * SINGLE + 2.0 * DOUBLE, 0.0),
            (metric, _) if counts(metric) && (is_double || depth < COUNTED) => {
                part(10.0 * unit + 4.0 * DOUBLE, 0.0)
            }
            _ => return Ok(None),
        };
        // Values of f64 are rounded to f32; results too small for all digits may become 0.
        let rounding = if is_double { 2.0 * SINGLE } else { 0.0 };
        let bound = part(bound.relative + rounding, bound.absolute + FLUSHED);
        Ok((bound.relative <= MOST && bound.absolute.is_finite()).then_some(bound))
    }
}

/// Whether results are ratios of numbers of features.
fn counts(metric: Metric) -> bool {
    metric.domain() == Domain::Bits || metric == Metric::Hamming
}
