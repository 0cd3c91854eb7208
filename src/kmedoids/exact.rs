//! Sums that lose no digit, whatever lies between the smallest and the largest dissimilarity. They take several words each,
//! so a search goes this way only where the grid would lose digits that matter ([`super::digits`]).
//!
//! One unit is a power of two that every dissimilarity is a multiple of. Infinity is a number that all finite ones together
//! do not reach: of two sums the one with fewer infinite terms is smaller, and among those the finite rest decides.

use std::cmp::Ordering;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub};

use rayon::prelude::*;

use super::columns::Columns;
use super::entry::Entry;
use super::grid::Grid;
use super::integer::{Integer, Units};
use crate::data::frame::{exponent_above, power_of_two};
use crate::error::{Error, Result};

/// Words for every matrix of `f32`, and for one of `f64` unless its numbers lie more than some 2^230 apart.
pub(super) const FEW: usize = 6;
/// Words for every matrix of `f64`.
pub(super) const MANY: usize = 34;
/// The lowest bit of an `f64`.
const LOWEST: i32 = -1074;
/// Bits of a sum beside those of its terms: signs, and a difference of sums.
const SPARE_BITS: i32 = 4;

/// A number of `N` words, the lowest first, in two's complement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Words<const N: usize>([u64; N]);

impl<const N: usize> Words<N> {
    /// `mantissa` times a power of two.
    #[inline(always)]
    fn shifted(mantissa: u64, by: u32) -> Self {
        let mut words = [0; N];
        let (word, bit) = ((by / 64) as usize, by % 64);
        let wide = u128::from(mantissa) << bit;
        if let Some(low) = words.get_mut(word) {
            *low = wide as u64;
        }
        if let Some(high) = words.get_mut(word + 1) {
            *high = (wide >> 64) as u64;
        }
        Self(words)
    }

    fn is_negative(self) -> bool {
        self.0[N - 1] >> 63 != 0
    }

    /// The nearest `f64` to the number times 2^exponent.
    fn value(self, exponent: i32) -> f64 {
        let magnitude = if self.is_negative() { -self } else { self };
        let Some(top) = magnitude.0.iter().rposition(|&word| word != 0) else { return 0.0 };
        // The highest 64 bits, the last of which says whether anything follows: more than rounding to 53 needs.
        let below = if top > 0 { magnitude.0[top - 1] } else { 0 };
        let zeros = magnitude.0[top].leading_zeros();
        let wide = ((u128::from(magnitude.0[top]) << 64) | u128::from(below)) << zeros;
        let rest = magnitude.0[..top.saturating_sub(1)].iter().any(|&word| word != 0) || wide as u64 != 0;
        let rounded = ((wide >> 64) as u64 | u64::from(rest)) as f64;
        let exponent = exponent + 64 * top as i32 - zeros as i32;
        // In steps that are numbers of an f64; only the last can leave its range.
        let near = exponent.clamp(-1000, 900);
        let value = rounded * power_of_two(near) * power_of_two((exponent - near).clamp(-1000, 1000));
        if self.is_negative() { -value } else { value }
    }
}

impl<const N: usize> Default for Words<N> {
    fn default() -> Self {
        Self::ZERO
    }
}

impl<const N: usize> Add for Words<N> {
    type Output = Self;
    #[inline(always)]
    #[expect(clippy::suspicious_arithmetic_impl, reason = "a carry is one of two")]
    fn add(mut self, other: Self) -> Self {
        let mut carries = false;
        for (word, other) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = word.overflowing_add(other);
            let (sum, second) = sum.overflowing_add(u64::from(carries));
            (*word, carries) = (sum, first | second);
        }
        self
    }
}

impl<const N: usize> Neg for Words<N> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self(self.0.map(|word| !word)) + Self::shifted(1, 0)
    }
}

impl<const N: usize> Sub for Words<N> {
    type Output = Self;
    #[inline(always)]
    #[expect(clippy::suspicious_arithmetic_impl, reason = "a borrow is one of two")]
    fn sub(mut self, other: Self) -> Self {
        let mut borrows = false;
        for (word, other) in self.0.iter_mut().zip(other.0) {
            let (difference, first) = word.overflowing_sub(other);
            let (difference, second) = difference.overflowing_sub(u64::from(borrows));
            (*word, borrows) = (difference, first | second);
        }
        self
    }
}

impl<const N: usize> AddAssign for Words<N> {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl<const N: usize> Sum for Words<N> {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        numbers.fold(Self::ZERO, Self::add)
    }
}

impl<const N: usize> Ord for Words<N> {
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, others) = (self.0[N - 1] as i64, other.0[N - 1] as i64);
        own.cmp(&others).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

impl<const N: usize> PartialOrd for Words<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<const N: usize> Integer for Words<N> {
    const ZERO: Self = Self([0; N]);
    const MAX: Self = {
        let mut words = [u64::MAX; N];
        words[N - 1] = u64::MAX >> 1;
        Self(words)
    };

    #[inline(always)]
    fn times(self, weight: u32) -> Self {
        if weight == 1 {
            return self;
        }
        // Modulo 2^(64 N) the signs need no care.
        let mut carried = 0;
        Self(self.0.map(|word| {
            let wide = u128::from(word) * u128::from(weight) + carried;
            carried = wide >> 64;
            wide as u64
        }))
    }
}

/// Units of which every dissimilarity is a whole number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exact<const N: usize> {
    /// One unit is 2^exponent.
    exponent: i32,
    /// The bit that stands for infinity, and the least bit of a sum that has it.
    infinity: u32,
}

impl<const N: usize> Exact<N> {
    /// Those of dissimilarities in a span, of objects that weigh `weight` together; `None` where so few words do not do.
    pub fn new(span: &Span, weight: u64) -> Option<Self> {
        let weight_bits = 64 - weight.max(1).leading_zeros() as i32;
        let infinity = span.highest - span.lowest + weight_bits + 2;
        let fits = infinity + weight_bits + SPARE_BITS <= 64 * N as i32
            && span.ratios() >= Self::of_ratios(0).exponent;
        fits.then_some(Self { exponent: span.lowest, infinity: infinity as u32 })
    }

    /// As [`Self::new`], with words for every matrix of up to 2^32 objects.
    pub fn of_any(span: &Span, weight: u64) -> Result<Self> {
        Self::new(span, weight).ok_or_else(|| {
            let (needed_bytes, limit_bytes) = (8 * N as u64 + 8, 8 * N as u64);
            Error::TooLarge { what: format!("a sum of {weight} objects"), needed_bytes, limit_bytes }
        })
    }
}

impl<const N: usize> Units for Exact<N> {
    type Integer = Words<N>;

    fn of_ratios(_: usize) -> Self {
        // A ratio is at most 1, and there are less than 2^32 objects.
        let bits = 64 * N as i32 - 32 - SPARE_BITS;
        Self { exponent: LOWEST.max(-bits), infinity: 64 * N as u32 - 2 }
    }

    #[inline(always)]
    fn integer(self, value: f64) -> Words<N> {
        let Some((mantissa, exponent)) = parts(value) else {
            return if value == 0.0 { Words::ZERO } else { self.infinity() };
        };
        let number = Words::shifted(mantissa, (exponent - self.exponent).max(0) as u32);
        if value < 0.0 { -number } else { number }
    }

    fn infinity(self) -> Words<N> {
        Words::shifted(1, self.infinity)
    }

    fn value(self, integer: Words<N>) -> f64 {
        // Finite terms reach at most half of it.
        if integer >= Words::shifted(1, self.infinity - 1) {
            f64::INFINITY
        } else {
            integer.value(self.exponent)
        }
    }

    fn grid(self) -> Option<Grid> {
        None
    }
}

/// An odd number and the exponent of the power of two that it is to be multiplied with; `None` for zero and infinity.
#[inline(always)]
fn parts(value: f64) -> Option<(u64, i32)> {
    if value == 0.0 || !value.is_finite() {
        return None;
    }
    let bits = value.to_bits();
    let (stored, fraction) = (((bits >> 52) & 0x7ff) as i32, bits & ((1 << 52) - 1));
    let mantissa = if stored == 0 { fraction } else { fraction | (1 << 52) };
    let zeros = mantissa.trailing_zeros();
    Some((mantissa >> zeros, stored.max(1) - 1075 + zeros as i32))
}

/// How far apart the digits of finite dissimilarities lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The lowest bit that is set in any.
    lowest: i32,
    /// No magnitude is above 2^highest.
    highest: i32,
    /// No magnitude but 0 is below 2^(least - 1).
    least: i32,
}

impl Span {
    const NOTHING: Self = Self { lowest: i32::MAX, highest: i32::MIN, least: i32::MAX };

    /// That of some numbers.
    pub fn of<T: Entry>(values: &[T]) -> Self {
        let with = |span: Self, &d: &T| match parts(d.wide()) {
            None => span,
            Some((_, lowest)) => {
                let above = exponent_above(d.wide().abs());
                Self {
                    lowest: span.lowest.min(lowest),
                    highest: span.highest.max(above),
                    least: span.least.min(above),
                }
            }
        };
        values.iter().fold(Self::NOTHING, with)
    }

    /// That of all columns.
    pub fn of_columns<T: Entry>(columns: &Columns<T>) -> Result<Self> {
        let mut span = Self::NOTHING;
        columns.for_each_block(|_, block| {
            let parts = block.par_chunks(columns.objects()).map(Self::of);
            span = span.and(parts.reduce(|| Self::NOTHING, Self::and));
            Ok(())
        })?;
        Ok(span.or_of_zeros())
    }

    /// Both.
    fn and(self, other: Self) -> Self {
        Self {
            lowest: self.lowest.min(other.lowest),
            highest: self.highest.max(other.highest),
            least: self.least.min(other.least),
        }
    }

    /// A span that is one of numbers even where all of them are 0.
    pub fn or_of_zeros(self) -> Self {
        if self == Self::NOTHING { Self { lowest: 0, highest: 0, least: 0 } } else { self }
    }

    /// Whether every number is a multiple of 2^exponent.
    pub fn is_multiple_of(&self, exponent: i32) -> bool {
        self.lowest >= exponent
    }

    /// The lowest bit that a ratio can have.
    fn ratios(&self) -> i32 {
        (self.least - self.highest - 55).max(LOWEST)
    }
}
