//! How far bounds on distances carry: every inequality that pruning rests on.
//!
//! The reference compares `fl64(|x - c|^2)`. Its terms are differences of an `f32` and an `f64`, each rounded once, squared
//! and added: a relative error of at most (D + 2) 2^-53 on a sum of positive numbers. So d(x, c) (1 + m) <= d(x, k)
//! with (1 + m)^2 > (1 + (D + 2) 2^-53) / (1 - (D + 2) 2^-53) decides the comparison, strictly; m = 2^-21 does for
//! depths up to 2^29. Squares below the range of `f64` lose more than that, so lower bounds below [`SMALLEST`]
//! decide nothing.

/// Factor that is larger than 1 by more than a few roundings to `f32`.
const UP: f32 = 1.0 + 1.0 / (1 << 21) as f32;
/// Its counterpart.
const DOWN: f32 = 1.0 - 1.0 / (1 << 21) as f32;
/// The margin of every comparison.
const MARGIN: f32 = 1.0 + 1.0 / (1 << 20) as f32;
/// Lower bounds below it decide nothing.
const SMALLEST: f32 = 1e-30;

/// The margin in use: only tests change it, to show what it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Margin(f32);

impl Margin {
    /// The margin that the proof asks for; `careless` is 5 % on the wrong side of it, for tests that must then fail.
    pub fn new(careless: bool) -> Self {
        Self(if careless { 0.95 } else { MARGIN })
    }

    /// What upper bounds are multiplied by before they are compared.
    #[cfg(feature = "gpu")]
    pub fn factor(self) -> f32 {
        self.0
    }

    /// A centroid at most `upper` away is chosen before all those at least `lower` away.
    #[inline(always)]
    pub fn decides(self, upper: f32, lower: f32) -> bool {
        upper * self.0 < lower && lower > SMALLEST
    }

    /// Centroids at least this far from the label's centroid cannot be nearest to a row at most `upper` away from that.
    #[inline(always)]
    pub fn reach(self, upper: f32) -> f32 {
        2.0 * upper * self.0 * self.0 + 2.0 * SMALLEST
    }
}

/// The upper bound after the centroid moved by at most `shift`.
#[inline(always)]
pub(crate) fn moved_away(upper: f32, shift: f32) -> f32 {
    (upper + shift) * UP
}

/// The lower bound after every other centroid moved by at most `shift`.
#[inline(always)]
pub(crate) fn moved_closer(lower: f32, shift: f32) -> f32 {
    ((lower - shift) * DOWN).max(0.0)
}

/// A lower bound on the distance to every centroid at least `apart` from the label's, of a row at most `upper` from that.
#[inline(always)]
pub(crate) fn beyond(apart: f32, upper: f32) -> f32 {
    moved_closer(apart, upper)
}

/// An `f32` at least the distance whose square was added up in `f64` in whatever order.
#[inline(always)]
pub(crate) fn length_above(square: f64) -> f32 {
    (square.sqrt() * f64::from(UP)) as f32
}

/// How far the centroids moved since the bounds were right.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// At least the distance each centroid moved.
    pub shifts: Vec<f32>,
    largest: f32,
    second: f32,
    of_largest: usize,
}

impl Moves {
    /// Measures the movement of row-major centroids of `depth` features.
    pub fn measure(&mut self, before: &[f64], after: &[f64], depth: usize) {
        self.shifts.clear();
        (self.largest, self.second, self.of_largest) = (0.0, 0.0, 0);
        for (at, (before, after)) in before.chunks_exact(depth).zip(after.chunks_exact(depth)).enumerate() {
            let mut parts = [0.0_f64; 8];
            for (before, after) in before.chunks(8).zip(after.chunks(8)) {
                for (part, (before, after)) in parts.iter_mut().zip(before.iter().zip(after)) {
                    *part += (before - after) * (before - after);
                }
            }
            let shift = length_above(parts.iter().sum());
            self.shifts.push(shift);
            if shift > self.largest {
                (self.second, self.largest, self.of_largest) = (self.largest, shift, at);
            } else {
                self.second = self.second.max(shift);
            }
        }
    }

    /// At least the distance that any centroid but this one moved.
    #[inline(always)]
    pub fn of_others(&self, label: u32) -> f32 {
        if label as usize == self.of_largest { self.second } else { self.largest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_largest_move_of_the_others() {
        let mut moves = Moves::default();
        moves.measure(&[0.0, 0.0, 1.0, 1.0, 2.0, 2.0], &[0.0, 3.0, 1.0, 1.0, 2.0, 1.0], 2);
        assert_eq!(moves.shifts[1], 0.0);
        assert!(moves.shifts[0] >= 3.0 && moves.shifts[0] < 3.00001);
        assert_eq!(moves.of_others(0), moves.shifts[2]);
        assert_eq!(moves.of_others(1), moves.shifts[0]);
    }

    proptest! {
        /// Rounded outwards, at every magnitude that a frame allows.
        #[test]
        fn bounds_hold_in_real_numbers(a in 0.0_f32..1.0, b in 0.0_f32..1.0, exponent in -120_i32..40) {
            let scale = 2.0_f32.powi(exponent);
            let (a, b) = (a * scale, b * scale);
            let (wide_a, wide_b) = (f64::from(a), f64::from(b));
            prop_assert!(f64::from(moved_away(a, b)) >= wide_a + wide_b);
            prop_assert!(f64::from(moved_closer(a, b)) <= (wide_a - wide_b).max(0.0));
            prop_assert!(f64::from(length_above(wide_a * wide_a)) >= wide_a * (1.0 - 1e-12));
            let margin = Margin::new(false);
            if margin.decides(a, b) {
                prop_assert!(wide_a * (1.0 + 2.0_f64.powi(-21)) < wide_b);
            }
            // What the ball leaves out is farther by the margin of a decision.
            let apart = f64::from(margin.reach(a));
            prop_assert!(wide_a * (1.0 + 2.0_f64.powi(-20)) <= apart - wide_a);
        }
    }
}
