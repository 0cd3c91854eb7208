//! Sums of two `f64`, about 106 bits: what results are held against where `f64` itself is on trial.
//!
//! Knuth's sum of two numbers and its rounding error; the error of a product by one fused multiply-add.

use std::cmp::Ordering;

/// `high + low`, where `low` is at most half a unit in the last place of `high`.
#[derive(Debug, Clone, Copy)]
pub struct Wide {
    high: f64,
    low: f64,
}

impl Wide {
    pub const ZERO: Self = Self { high: 0.0, low: 0.0 };

    /// `a + b`, exactly.
    fn sum(a: f64, b: f64) -> Self {
        let high = a + b;
        let of_b = high - a;
        Self { high, low: (a - (high - of_b)) + (b - of_b) }
    }

    /// `a - b`, exactly.
    pub fn difference(a: f64, b: f64) -> Self {
        Self::sum(a, -b)
    }

    /// `a * b`, exactly where nothing underflows.
    pub fn product(a: f64, b: f64) -> Self {
        let high = a * b;
        Self { high, low: a.mul_add(b, -high) }
    }

    pub fn squared(self) -> Self {
        let square = Self::product(self.high, self.high);
        Self::sum(square.high, square.low + 2.0 * self.high * self.low)
    }

    pub fn plus(self, other: Self) -> Self {
        let sum = Self::sum(self.high, other.high);
        let low = Self::sum(self.low, other.low);
        let first = Self::sum(sum.high, sum.low + low.high);
        Self::sum(first.high, first.low + low.low)
    }

    pub fn minus(self, other: Self) -> Self {
        self.plus(Self { high: -other.high, low: -other.low })
    }

    pub fn to_f64(self) -> f64 {
        self.high + self.low
    }

    pub fn compared(self, other: Self) -> Ordering {
        self.high.total_cmp(&other.high).then(self.low.total_cmp(&other.low))
    }
}

impl From<f64> for Wide {
    fn from(high: f64) -> Self {
        Self { high, low: 0.0 }
    }
}

#[test]
fn what_f64_drops_is_kept() {
    let large = Wide::from(1e20).plus(Wide::from(1.0)).plus(Wide::from(-1e20));
    assert_eq!(large.to_f64(), 1.0);
    let (a, b) = (1.0 + f64::EPSILON, 1.0 - f64::EPSILON);
    assert_eq!(Wide::product(a, b).minus(Wide::from(1.0)).to_f64(), -f64::EPSILON * f64::EPSILON);
    let (power, square) = (2.0_f64.powi(50), 2.0_f64.powi(100));
    assert_eq!(Wide::difference(power, -1.0).squared().minus(Wide::from(square)).to_f64(), 2.0 * power + 1.0);
    assert_eq!(Wide::from(1.0).compared(Wide::difference(1.0, 1e-30)), Ordering::Greater);
}
