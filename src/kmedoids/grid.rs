//! Sums of dissimilarities are exact: every value is rounded once to a multiple of a power of two and added as an
//! integer. So a loss, and the gain of a swap, do not depend on the order of the objects, the threads or the device, and a
//! loss that must fall with every swap ends every search.
//!
//! With W the sum of the objects' weights and M the largest magnitude, values become integers of at most
//! 2^(61 - ceil(log2 W)), so that a sum over all objects stays within 2^61 and the difference of two within 2^62. For a
//! million objects that leaves 41 bits, more than an `f32` has.

use super::integer::Units;
use crate::data::frame::{exponent_above, power_of_two};

/// The spacing of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grid {
    exponent: i32,
    /// Two powers of two: the product alone may be no number of an `f64`.
    scales: [f64; 2],
}

/// Values up to here are rounded by adding this and a half of it, which is exact to the nearest integer, ties to even.
const ROUNDED_BY_ADDING: f64 = (1_u64 << 51) as f64;

impl Grid {
    /// The finest grid for values up to `largest` in magnitude, of objects that weigh `weight` together.
    pub fn new(largest: f64, weight: u64) -> Self {
        let bits = 61 - weight.max(1).next_power_of_two().trailing_zeros() as i32;
        let exponent = if largest > 0.0 { bits - exponent_above(largest) } else { 0 };
        Self { exponent, scales: [power_of_two(exponent / 2), power_of_two(exponent - exponent / 2)] }
    }

    /// The exponent of the spacing, a power of two.
    pub fn unit(self) -> i32 {
        -self.exponent
    }
}

impl Units for Grid {
    type Integer = i64;

    fn of_ratios(objects: usize) -> Self {
        Self::new(1.0, objects as u64)
    }

    #[inline(always)]
    fn integer(self, value: f64) -> i64 {
        let scaled = value * self.scales[0] * self.scales[1];
        if scaled.abs() < ROUNDED_BY_ADDING {
            const MAGIC: f64 = ROUNDED_BY_ADDING * 3.0;
            ((scaled + MAGIC) - MAGIC) as i64
        } else {
            scaled.round_ties_even() as i64
        }
    }

    /// What has infinity in it is not summed on a grid, and a medoid that does not exist cancels: any number does.
    #[inline(always)]
    fn infinity(self) -> i64 {
        0
    }

    fn value(self, integer: i64) -> f64 {
        integer as f64 / self.scales[0] / self.scales[1]
    }

    fn grid(self) -> Option<Grid> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stay_within_bounds_and_values_are_the_nearest_multiples() {
        for (largest, weight) in
            [(1.0, 1), (3.5e38, 10_000), (1e-300, 3), (5e-324, 1), (7e300, 1 << 30), (0.1, 1_000_000)]
        {
            let grid = Grid::new(largest, weight);
            let integer = grid.integer(largest);
            assert!(integer > 0 && i128::from(integer) * i128::from(weight) <= 1 << 61, "{largest} {weight}");
            assert!((grid.value(integer) - largest).abs() <= largest * 1e-9);
            assert_eq!(grid.integer(-largest), -integer);
            assert_eq!(grid.integer(0.0), 0);
        }
        let halves = Grid { exponent: 0, scales: [1.0; 2] };
        assert_eq!([0.5, 1.5, 2.5, -0.5, -1.5].map(|value| halves.integer(value)), [0, 2, 2, 0, -2]);
        let large = ROUNDED_BY_ADDING + 0.5;
        assert_eq!(halves.integer(large), ROUNDED_BY_ADDING as i64);
    }

    #[test]
    fn whole_numbers_are_exact() {
        let grid = Grid::new(f64::from(i32::MAX), 100_000);
        for value in [0, 1, 77, i32::MAX - 1, i32::MAX, -5] {
            assert_eq!(grid.value(grid.integer(f64::from(value))), f64::from(value));
        }
    }
}
