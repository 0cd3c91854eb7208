//! The whole numbers that sums of dissimilarities are made of: `i64` on a grid ([`super::grid`]), or as many words as
//! every digit of the input needs ([`super::exact`]).

use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub};

/// A signed whole number.
pub(super) trait Integer:
    Copy
    + Default
    + Ord
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Sum
{
    const ZERO: Self;
    /// Larger than every sum.
    const MAX: Self;
    /// The number so many times.
    fn times(self, weight: u32) -> Self;
}

impl Integer for i64 {
    const ZERO: Self = 0;
    const MAX: Self = Self::MAX;
    #[inline(always)]
    fn times(self, weight: u32) -> Self {
        Self::from(weight) * self
    }
}

/// What one of a whole number stands for.
pub(super) trait Units: Copy + Send + Sync {
    type Integer: Integer;
    /// Those of ratios, which are at most 1, of so many objects.
    fn of_ratios(objects: usize) -> Self;
    /// The value in units.
    fn integer(self, value: f64) -> Self::Integer;
    /// What stands for infinity.
    fn infinity(self) -> Self::Integer;
    /// What an integer stands for.
    fn value(self, integer: Self::Integer) -> f64;
    /// The grid, where sums are `i64`: what GPUs perform.
    fn grid(self) -> Option<super::grid::Grid>;
}
