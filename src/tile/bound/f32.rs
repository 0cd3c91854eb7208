//! The proven bound on the error of a tile's values: what certifies the nearest column.
//!
//! A tile computes `t[j] = h[j] - fl(x . c~[j])`, where `c~` is the `f32` rounding of the `f64` column `c` and
//! `h[j] = f32(|c[j]|^2 / 2)`. Exact is `T[j] = |c[j]|^2 / 2 - x . c[j]`, and `|x - c[j]|^2 = |x|^2 + 2 T[j]`.
//! With u the unit of rounding and m the longest chain of roundings that one product goes through (Higham, *Accuracy
//! and Stability of Numerical Algorithms*, section 3.1; gamma = exp(m u) - 1 >= (1 + u)^m - 1 holds for any m),
//! whatever the order and fused or not:
//!
//! ```text
//! |t - T| <= |x| (gamma C + R)         products and their sum, and the rounding of the column
//!          + u H + u (H + |x| C)(1+..) the rounding of h and of the last subtraction
//!          + (D + 2) 2^-125 (1 + C + |x|) operands, products and sums that underflow, flushed to zero or not
//! C = max |c~|, R = max |c - c~|, H = max h
//! ```
//!
//! On the host u = 2^-24. WGSL, Vulkan and Metal leave open which of the two neighbours a result is rounded to, so on
//! devices u = 2^-23.
//!
//! One far column makes C, and so this bound, large for every row. So the nearest fold also uses a bound that gives
//! each column its own share. With g = gamma + u (1 + gamma) and g |x| |c| <= g (|x|^2 + |c|^2) / 2:
//!
//! ```text
//! |t[j] - T[j]| <= e[j] + g/2 |x|^2
//! e[j] = (g C[j] + R[j])^2 / 2g + 2 u h[j] + underflow, reference
//! ```
//!
//! The tile then computes `v[j] = t[j] - e[j]` (the shift is part of the half norms). So `T[j] >= v[j] - S` and
//! `T[j] <= v[j] + 2 e[j] + S`, where S is the smaller of `g/2 |x|^2` and the bound above, and the best column w is
//! certified if the second-best v exceeds its own by more than `2 (S + e[w])`. Otherwise the nearest column has a v
//! of at most `v[w] + 2 (S + e[w])`.
//!
//! The reference decides on `fl64(|x - c|^2)`, itself within (D + 4) 2^-53 (|x| + C)^2; that is added too, so a
//! certified column is the one the reference would choose, not merely the one real arithmetic would.

/// Half norm of columns that do not exist: above every value that a column can have, so that they never win.
pub(crate) const ABSENT: f32 = 1e38;
/// Above every value that a column can have, and below that of a column that does not exist.
pub(crate) const NO_LIMIT: f32 = 5e37;

/// At least `value` after a few more roundings in `f32` (the evaluation of the gap and of the difference it is
/// compared with), and finite.
pub(crate) fn with_slack(value: f64) -> f32 {
    (value * (1.0 + 1.0 / 1024.0) + f64::from(f32::MIN_POSITIVE)).min(f64::from(f32::MAX) / 1e8) as f32
}

/// The least `f32` that is not below `value`.
pub(crate) fn next_f32(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) < value { near.next_up() } else { near }
}

/// `|t - T| <= slope * |x| + constant` for every column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bound {
    /// Per unit of the row's length.
    pub slope: f32,
    /// Independent of the row.
    pub constant: f32,
    /// Per square of the row's length, beside each column's own error.
    pub square: f32,
}

/// The sizes that the bound depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Number of features.
    pub depth: usize,
    /// Longest chain of additions of one product.
    pub chain: usize,
    /// Largest relative error of one operation of the tile.
    pub unit: f64,
    /// Upper bound on |x| over the rows.
    pub row_norm: f64,
    /// Upper bound on |c| and |c~|.
    pub column_norm: f64,
    /// Upper bound on |c - c~|.
    pub column_residual: f64,
}

/// Relative error of one operation that rounds to nearest: half an ulp of 1 in `f32`.
pub(crate) const HOST_UNIT: f64 = 1.0 / (1_u64 << 24) as f64;
/// Relative error of one operation that rounds either way.
#[cfg(any(test, feature = "gpu"))]
pub(crate) const DEVICE_UNIT: f64 = 2.0 * HOST_UNIT;

impl Bound {
    /// The bound for all columns, rounded up.
    pub fn of(extent: &Extent) -> Self {
        let Terms { g, reference, underflow } = extent.terms();
        let (c, half) = (extent.column_norm, 0.5 * extent.column_norm * extent.column_norm);
        let slope = g * c + extent.column_residual + reference * extent.row_norm + underflow;
        let constant = 2.0 * extent.unit * half + reference * c * c + underflow * (1.0 + c);
        let square = 0.5 * g + reference + underflow;
        Self { slope: with_slack(slope), constant: with_slack(constant), square: with_slack(square) }
    }

    /// Twice the bound for one row, for tiles without shifted half norms.
    #[cfg(test)]
    pub fn gap(&self, row_norm: f32) -> f32 {
        2.0 * (self.slope * row_norm + self.constant)
    }

    /// S: the share of one row in the error of every column, beside the column's own.
    #[inline(always)]
    pub fn shared(&self, row_norm: f32) -> f32 {
        (self.square * row_norm * row_norm).min(self.slope * row_norm + self.constant)
    }

    /// A gap above it certifies the nearest column of one row, where `error` is that of the best column.
    #[cfg(test)]
    pub fn gap_beside(&self, row_norm: f32, error: f32) -> f32 {
        2.0 * (self.shared(row_norm) + error)
    }
}

/// Relative slack for a handful of roundings to `f32`.
const SLACK: f64 = 1.0 / (1 << 22) as f64;
/// Relative slack for a handful of roundings to `f64`, and for the sums of squares that norms come from.
const SLACK_WIDE: f64 = 1.0 / (1_u64 << 40) as f64;
/// Lengths below it count as 0 where a lower bound is wanted: there `f32` has no relative precision left.
const SMALLEST_LENGTH: f32 = 1e-30;

/// At least |x - c| for a row of at most this norm and a column whose exact value T is at most `value + error`.
#[inline(always)]
pub(crate) fn distance_above(row_norm: f32, value: f32, error: f32) -> f32 {
    let norm = f64::from(row_norm);
    let square = norm * norm * (1.0 + SLACK_WIDE) + 2.0 * (f64::from(value) + f64::from(error));
    root_above(square.max(0.0))
}

/// At most |x - c| for a row whose norm is this one as [`norm_above`] made it and a column whose exact value T is at least
/// `value - error`.
#[inline(always)]
pub(crate) fn distance_below(row_norm: f32, value: f32, error: f32) -> f32 {
    let norm = if row_norm > SMALLEST_LENGTH { f64::from(row_norm) * NORM_BELOW } else { 0.0 };
    let square = norm * norm * (1.0 - SLACK_WIDE) + 2.0 * (f64::from(value) - f64::from(error));
    (square.max(0.0).sqrt() * (1.0 - SLACK)) as f32
}

/// A tile value above which a column is at least `distance` from a row whose norm is this one as [`norm_above`] made it,
/// where exact values T are at least `value - error`.
pub(crate) fn value_beyond(row_norm: f32, distance: f32, error: f32) -> f32 {
    let norm = if row_norm > SMALLEST_LENGTH { f64::from(row_norm) * NORM_BELOW } else { 0.0 };
    let distance = f64::from(distance) * (1.0 + SLACK);
    let (apart, square) = (distance * distance, norm * norm * (1.0 - SLACK_WIDE));
    let value = 0.5 * (apart - square) + f64::from(error);
    (value + SLACK * (apart + square + f64::from(error))) as f32
}

/// An `f32` at least the square root of a sum of squares in `f64`.
#[inline(always)]
pub(crate) fn root_above(square: f64) -> f32 {
    (square.sqrt() * (1.0 + SLACK)) as f32
}

/// An `f32` at least the length whose square this is, and at most a little more: [`NORM_BELOW`] times it is below.
pub(crate) fn norm_above(square: f64) -> f32 {
    (square.sqrt() * (1.0 + 1.0 / (1 << 20) as f64)) as f32
}

/// (1 + 2^-20) (1 + 2^-24) times it is below 1.
const NORM_BELOW: f64 = 1.0 - 1.0 / (1 << 20) as f64 - 1.0 / (1 << 23) as f64;

/// Factors that every bound shares.
struct Terms {
    /// Of |x| |c|.
    g: f64,
    /// Of |x|^2 and |c|^2, for the reference's own rounding.
    reference: f64,
    /// Absolute.
    underflow: f64,
}

/// At least what rounding to `f32` takes from a vector of this length.
#[cfg(feature = "gpu")]
pub(crate) fn rounding_of(length: f64, depth: usize) -> f64 {
    HOST_UNIT * length + (depth as f64).sqrt() * 2.0_f64.powi(-149)
}

impl Extent {
    fn terms(&self) -> Terms {
        // Finite for any depth that memory holds: a gap stays far below the half norm of absent columns.
        let gamma = ((self.chain + 1) as f64 * self.unit).exp_m1();
        Terms {
            g: gamma + self.unit * (1.0 + gamma),
            reference: (self.depth + 4) as f64 * 2.0_f64.powi(-52),
            underflow: (self.depth + 2) as f64 * 2.0_f64.powi(-125),
        }
    }

    /// Quadratic, linear and constant factor of a polynomial in a column's length that is at least its e[j] after a few
    /// roundings in `f32`, whatever rounding took from it.
    #[cfg(feature = "gpu")]
    pub fn column_error_by_length(&self) -> [f32; 3] {
        let Terms { g, reference, underflow } = self.terms();
        let (per_length, least) = (g + HOST_UNIT, rounding_of(0.0, self.depth));
        let quadratic = per_length * per_length / (2.0 * g) + self.unit + reference;
        let linear = per_length * least / g + underflow;
        let constant = least * least / (2.0 * g) + 2.0 * underflow;
        [quadratic, linear, constant].map(with_slack)
    }

    /// e[j]: the error of a column with this norm and residual, beside the row's share.
    pub fn column_error(&self) -> f32 {
        let Terms { g, reference, underflow } = self.terms();
        let (c, share) = (self.column_norm, g * self.column_norm + self.column_residual);
        let rounding = share * share / (2.0 * g) + self.unit * c * c;
        with_slack(rounding + reference * c * c + underflow * (2.0 + c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Of a row and a column on a line through the origin, whose tile value is off by the whole error.
        #[test]
        fn distances_are_rounded_outwards(x in -1.0_f64..1.0, c in -1.0_f64..1.0, error in 0.0_f32..1e-3) {
            let norm = norm_above(x * x);
            let (value, distance) = ((0.5 * c * c - x * c) as f32, (x - c).abs());
            let error = error + value.abs() * 1e-7 + 1e-38;
            prop_assert!(f64::from(distance_above(norm, value - 0.9 * error, error)) >= distance);
            prop_assert!(f64::from(distance_below(norm, value + 0.9 * error, error)) <= distance);
            let least = distance_below(norm, value + 0.9 * error, error);
            prop_assert!(value + 0.9 * error <= value_beyond(norm, least, error) || least > distance as f32);
            // What lies above the cut is far enough.
            let cut = value_beyond(norm, 0.5, error);
            prop_assert!(value - 0.9 * error <= cut || distance >= 0.5);
        }
    }

    #[test]
    fn grows_with_every_extent() {
        let base = Extent {
            depth: 8,
            chain: 8,
            unit: HOST_UNIT,
            row_norm: 1.0,
            column_norm: 1.0,
            column_residual: 0.0,
        };
        let bound = Bound::of(&base);
        let units = bound.slope / HOST_UNIT as f32;
        assert!(units > 9.0 && units < 12.0, "{bound:?}");
        for larger in [
            Extent { chain: 16, ..base },
            Extent { unit: DEVICE_UNIT, ..base },
            Extent { column_norm: 2.0, ..base },
            Extent { column_residual: 1e-6, ..base },
        ] {
            assert!(Bound::of(&larger).gap(1.0) > bound.gap(1.0), "{larger:?}");
            assert!(larger.column_error() > base.column_error(), "{larger:?}");
        }
        assert!(Bound::of(&Extent { chain: 16, ..base }).square > bound.square);
    }

    /// The deepest rows a binding of 4 GiB can hold, at the farthest a frame lets them lie.
    #[test]
    fn absent_columns_stay_outside_any_band() {
        let far = 2.0_f64.powi(40) * 2.0_f64.powi(12);
        let bound = Bound::of(&Extent {
            depth: 1 << 24,
            chain: 1 << 24,
            unit: DEVICE_UNIT,
            row_norm: far,
            column_norm: far,
            column_residual: 0.0,
        });
        assert!(f64::from(bound.gap(far as f32)) + 2.0 * far * far < 1e38, "{bound:?}");
    }

    /// A far column widens the band of its own column only.
    #[test]
    fn one_far_column_does_not_spoil_the_others() {
        let near = Extent {
            depth: 32,
            chain: 32,
            unit: HOST_UNIT,
            row_norm: 1.0,
            column_norm: 1.0,
            column_residual: 0.0,
        };
        let with_far = Bound::of(&Extent { column_norm: 1e6, ..near });
        let alone = Bound::of(&near);
        let error = near.column_error();
        assert!(with_far.gap(1.0) > 1e5 * alone.gap(1.0));
        assert_eq!(with_far.gap_beside(1.0, error), 2.0 * (alone.square + error));
        assert!(with_far.gap_beside(1.0, error) < 1.1 * alone.gap(1.0), "the price is small");
        // A row far from all columns is better off with the other bound.
        assert!(alone.gap_beside(1e4, error) < 2e-2 * 2.0 * alone.square * 1e8);
    }

    /// A device that cuts results off, as the rules of WGSL allow, loses almost a unit in every addition.
    #[test]
    fn covers_rounding_towards_zero() {
        let cut = |value: f64| {
            let nearest = value as f32;
            if f64::from(nearest.abs()) > value.abs() {
                f32::from_bits(nearest.to_bits() - 1)
            } else {
                nearest
            }
        };
        for depth in [2_usize, 10, 100, 5000] {
            let small = 0.999_f32 * 2.0_f32.powf(-11.5);
            let row: Vec<f32> = (0..depth).map(|d| if d == 0 { 1.0 } else { small }).collect();
            let (mut sum, mut exact) = (0.0_f32, 0.0_f64);
            for &x in &row {
                let product = f64::from(x) * f64::from(x);
                exact += product;
                sum = cut(f64::from(sum) + f64::from(cut(product)));
            }
            let norm = exact.sqrt();
            let extent = |unit| Extent {
                depth,
                chain: depth,
                unit,
                row_norm: norm,
                column_norm: norm,
                column_residual: 0.0,
            };
            let error = exact - f64::from(sum);
            let allowed = |unit| 0.5 * f64::from(Bound::of(&extent(unit)).gap(norm as f32));
            assert!(error <= allowed(DEVICE_UNIT), "depth {depth}: {error}");
            // The unit of rounding to nearest would not do.
            assert!(depth < 10 || error > 0.9 * allowed(HOST_UNIT), "depth {depth}: {error}");
        }
    }

    #[test]
    fn the_next_f32_is_not_below() {
        for value in [0.0, 1.0, 1.0 + 1e-12, -1.0 - 1e-12, -1.0 + 1e-12, 1e-50, -1e-50] {
            let rounded = f64::from(next_f32(value));
            assert!(rounded >= value && rounded - value <= value.abs() * 1.2e-7 + 1e-44, "{value} {rounded}");
        }
    }
}
