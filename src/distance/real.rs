//! The two types that results can have.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Sub};

use super::functions;
use super::metric::Metric;
#[cfg(feature = "gpu")]
use ndarray::ArrayViewMut2;

#[cfg(feature = "gpu")]
use super::operands::Operands;
use crate::data::Points;
use crate::error::{Error, Result};

/// `f32` or `f64`.
pub(super) trait Real:
    bytemuck::Pod
    + Debug
    + Send
    + Sync
    + PartialOrd
    + Into<f64>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    const ZERO: Self;
    const ONE: Self;
    /// Whether this is `f64`.
    const IS_DOUBLE: bool;
    /// Results of at least this magnitude are refused.
    const LIMIT: f64;
    /// Exponents of scales stay within plus and minus this, so that a scale and its inverse are normal numbers.
    const EXPONENTS: i32;
    /// Sums of two squared norms below this may have lost digits to underflow.
    const TINY: Self;
    /// The smallest positive normal number.
    const SMALLEST: Self;
    /// Stands for a missing value in prepared rows.
    const MISSING: Self;
    /// Shares of a row's sum are multiplied by this power of two, so that small ones stay normal numbers.
    const SHARES: f64;
    /// Terms of a series in squares of at most 1/16.
    const TERMS: usize;
    /// The value rounded to this type.
    fn rounded(value: f64) -> Self;
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    /// ln of a positive normal number.
    fn natural_log(self) -> Self;
    /// ln(self / other) of positive normal numbers.
    fn log_ratio(self, other: Self) -> Self;
    /// The power of a number from 0 to about 1.
    fn power(self, p: Self) -> Self;
    /// The input as originals, where it can be borrowed.
    fn borrowed<'a>(points: &Points<'a>) -> Option<&'a [Self]>;
    /// The operands as those of `f32`, which GPUs work on, or unchanged where they are not.
    #[cfg(feature = "gpu")]
    fn single(
        operands: Operands<'_, Self>,
    ) -> std::result::Result<Operands<'_, f32>, Box<Operands<'_, Self>>>;
    /// The place of results as one of `f32`, where it is.
    #[cfg(feature = "gpu")]
    fn single_out(out: ArrayViewMut2<'_, Self>) -> Option<ArrayViewMut2<'_, f32>>;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const IS_DOUBLE: bool = false;
    const LIMIT: f64 = (1_u128 << 127) as f64;
    const EXPONENTS: i32 = 126;
    const TINY: Self = 1.0 / (1_u128 << 100) as f32;
    const SMALLEST: Self = Self::MIN_POSITIVE;
    const MISSING: Self = Self::MAX;
    const SHARES: f64 = (1_u128 << 100) as f64;
    const TERMS: usize = 6;
    fn rounded(value: f64) -> Self {
        value as Self
    }
    #[inline(always)]
    fn abs(self) -> Self {
        self.abs()
    }
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn natural_log(self) -> Self {
        functions::natural_log(self)
    }
    #[inline(always)]
    fn log_ratio(self, other: Self) -> Self {
        functions::log_ratio(self, other)
    }
    #[inline(always)]
    fn power(self, p: Self) -> Self {
        functions::power(self, p)
    }
    fn borrowed<'a>(_: &Points<'a>) -> Option<&'a [Self]> {
        None
    }
    #[cfg(feature = "gpu")]
    fn single(
        operands: Operands<'_, Self>,
    ) -> std::result::Result<Operands<'_, f32>, Box<Operands<'_, Self>>> {
        Ok(operands)
    }
    #[cfg(feature = "gpu")]
    fn single_out(out: ArrayViewMut2<'_, Self>) -> Option<ArrayViewMut2<'_, f32>> {
        Some(out)
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const IS_DOUBLE: bool = true;
    const LIMIT: f64 = Self::MAX;
    const EXPONENTS: i32 = 1000;
    const TINY: Self = 1e-270;
    const SMALLEST: Self = Self::MIN_POSITIVE;
    const MISSING: Self = Self::MAX;
    const SHARES: f64 = 1.0;
    const TERMS: usize = 13;
    fn rounded(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn abs(self) -> Self {
        self.abs()
    }
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    fn natural_log(self) -> Self {
        self.ln()
    }
    fn log_ratio(self, other: Self) -> Self {
        (self / other).ln()
    }
    fn power(self, p: Self) -> Self {
        self.powf(p)
    }
    fn borrowed<'a>(points: &Points<'a>) -> Option<&'a [Self]> {
        match points {
            Points::F64(view) => view.to_slice(),
            _ => None,
        }
    }
    #[cfg(feature = "gpu")]
    fn single(
        operands: Operands<'_, Self>,
    ) -> std::result::Result<Operands<'_, f32>, Box<Operands<'_, Self>>> {
        Err(Box::new(operands))
    }
    #[cfg(feature = "gpu")]
    fn single_out(_: ArrayViewMut2<'_, Self>) -> Option<ArrayViewMut2<'_, f32>> {
        None
    }
}

/// Whether a result is not too large for `T`, nor NaN.
pub(super) fn is_representable<T: Real>(value: f64) -> bool {
    value.abs() < T::LIMIT
}

/// Whether a metric may hand a value out. NaN is one only where rows with missing values have nothing in common.
pub(super) fn is_result<T: Real>(metric: Metric, value: f64) -> bool {
    is_representable::<T>(value) || (value.is_nan() && metric == Metric::NanEuclidean)
}

/// The error for a result that a metric may not hand out.
pub(super) fn refused_result<T: Real>(metric: Metric, row: usize, column: usize, got: f64) -> Error {
    let expected = match metric {
        Metric::KullbackLeibler => "a finite divergence: y may be 0 only where x is 0",
        Metric::BrayCurtis => "a finite value, but |x + y| sums to 0",
        _ => return too_large_a_result::<T>(row, column, got),
    };
    Error::Value { argument: "result", row, column, expected, got }
}

/// The error for a result beyond what its type holds.
fn too_large_a_result<T: Real>(row: usize, column: usize, got: f64) -> Error {
    let expected = if T::IS_DOUBLE {
        "a result that f64 holds: scale the input down"
    } else {
        "a result below 2^127: give f64 input, ask for f64 results, or scale the input down"
    };
    Error::Value { argument: "result", row, column, expected, got }
}

/// A result rounded to `f32`, or the error where that does not hold it.
pub(crate) fn rounded_f32(row: usize, column: usize, value: f64) -> Result<f32> {
    rounded(row, column, value)
}

/// A result as it is, or the error where it is infinite.
pub(crate) fn rounded_f64(row: usize, column: usize, value: f64) -> Result<f64> {
    rounded(row, column, value)
}

fn rounded<T: Real>(row: usize, column: usize, value: f64) -> Result<T> {
    if is_representable::<T>(value) {
        Ok(T::rounded(value))
    } else {
        Err(too_large_a_result::<T>(row, column, value))
    }
}
