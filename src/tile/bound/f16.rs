//! The proven bound on the error of tiles of `f16` products.
//!
//! A row x (of `f32`) and a column c (of `f64`) enter as x^ and c^, their scaled roundings to `f16` scaled back; what
//! is not a normal number there is 0, so that devices which flush and devices which do not see the same operands. The
//! lengths of what is lost are known: r = |x - x^| for each row, computed by the device with upward slack
//! (`shaders/tile/operands/narrow.wgsl`), and R = |c - c^| for each column, by the host in `f64`. With n >= |x|, C >= |c|:
//!
//! ```text
//! |x . c - x^ . c^| <= r C + n R + r R
//! ```
//!
//! Products of two `f16` are exact in `f32`. How matrix units add them is not documented everywhere: known ones add a
//! few products at a time (four at least) to the sum, aligned to the largest and cut off at 2^-23 of it, and cut off the
//! result once more. So with D products each of the D/4 steps, rounded up, errs by at most six such cuts of all that was added,
//!
//! ```text
//! |sum - x^ . c^| <= gamma |x^| |c^|, gamma = exp(m q) - 1, m = 3 D / 2 + 6, q = 2^-23, |x^| <= n + r, |c^| <= C + R
//! ```
//!
//! which also covers any order of single additions, rounded either way. The fold computes h - w A - sum, four roundings
//! with the scaling back, of terms that are at most h + w A + (n + r)(C + R). With g = gamma + 4 q (1 + gamma):
//!
//! ```text
//! |t - T| <= r A + n B + k,  A = (C + R)(1 + g),  B = R + g (C + R),  k = 3 q C^2 + reference, underflow
//! ```
//!
//! One factor per row and one per column are enough for the fold: for any ratio > 0, r A + n B <= w A' with
//! w = r + ratio n and A' = max(A, B / ratio). The ratio is the median of B / A over the columns, since the relative
//! rounding of most columns is nearly the same.
//!
//! The fold's v = t - w A' - k is a lower bound of T, and T <= v + 2 (w A' + k), each beside s n^2 for the reference's
//! own rounding (see `crate::tile::bound::f32`, whose T this is). So the best column is certified where the second-best v
//! exceeds its own by more than `2 (w A' + k + s n^2)`, with its own A' and k.
//!
//! Lists of neighbours ([`crate::tile::collect::gpu`]) hold both ends of each pair, v and `u = v + 2 (w A' + k)`, and the argument of
//! [`crate::tile::collect::lists`] needs no more: the count-th least u, plus 2 S, is a limit that no wanted column's v exceeds.
//! In `f32` w goes through two roundings, `w A'` through one, and both through two more on their way into v and u: below
//! 13 q of `w A' + k`. A' and k are stored 2^-10 larger than they must be (`with_slack`), so that v is below and u above even so; what
//! the last sum of u rounds is added where limits are lowered (`shaders/tile/collect/tighten.wgsl`).

use crate::tile::bound::f32::{DEVICE_UNIT, with_slack};

/// Factors that all columns of a depth share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factors {
    /// g of the module's text.
    g: f64,
    reference: f64,
    underflow: f64,
}

/// What the bound knows of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Column {
    /// A: per unit of the row's residual.
    pub per_residual: f64,
    /// B: per unit of the row's length.
    pub per_norm: f64,
    /// k: independent of the row.
    pub constant: f64,
}

/// Upper bound of the additions' relative error, by [`Factors::of`]'s text.
pub(crate) fn additions(depth: usize) -> f64 {
    ((1.5 * depth as f64 + 6.0) * DEVICE_UNIT).exp_m1()
}

impl Factors {
    /// Those of `depth` features.
    pub fn of(depth: usize) -> Self {
        let gamma = additions(depth);
        Self {
            g: gamma + 4.0 * DEVICE_UNIT * (1.0 + gamma),
            reference: (depth + 4) as f64 * 2.0_f64.powi(-52),
            underflow: (depth + 4) as f64 * 2.0_f64.powi(-125),
        }
    }

    /// A column of this length that lost `residual`.
    pub fn column(&self, norm: f64, residual: f64) -> Column {
        let reach = norm + residual;
        Column {
            per_residual: reach * (1.0 + self.g),
            per_norm: residual + self.g * reach,
            constant: (3.0 * DEVICE_UNIT + self.reference) * norm * norm + self.underflow * (4.0 + reach),
        }
    }

    /// What a device makes [`Column`] with: g, what k has of the square of a column's length, and what it has of underflow; rounded up.
    #[cfg(feature = "gpu")]
    pub fn on_device(&self) -> [f32; 3] {
        [self.g, 3.0 * DEVICE_UNIT + self.reference, self.underflow].map(with_slack)
    }

    /// s: per square of a row's length.
    pub fn square(&self) -> f32 {
        with_slack(self.reference + self.underflow)
    }
}

/// The ratio of all columns, rounded up.
pub(crate) fn ratio(columns: &[Column]) -> f32 {
    let mut ratios: Vec<f64> = columns
        .iter()
        .filter(|column| column.per_residual > 0.0)
        .map(|column| column.per_norm / column.per_residual)
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    with_slack(ratios.get(ratios.len() / 2).copied().unwrap_or(2.0_f64.powi(-12)))
}

impl Column {
    /// A' under a ratio.
    pub fn weight(&self, ratio: f32) -> f32 {
        with_slack(self.per_residual.max(self.per_norm / f64::from(ratio)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_cover_both_terms_of_every_column() {
        let factors = Factors::of(128);
        let sizes = [(1.0, 2e-4), (1e-6, 1e-9), (0.0, 0.0), (3.0, 3.0), (1e9, 1e5)];
        let columns: Vec<Column> =
            sizes.iter().map(|&(norm, residual)| factors.column(norm, residual)).collect();
        let ratio = ratio(&columns);
        for column in &columns {
            for (r, n) in [(0.0, 1.0), (1e-4, 1.0), (1.0, 1.0), (1e-9, 1e3)] {
                let exact = r * column.per_residual + n * column.per_norm;
                let used = (r + f64::from(ratio) * n) * f64::from(column.weight(ratio));
                assert!(exact <= used, "{column:?} {r} {n}");
            }
        }
        let typical = factors.column(1.0, 2.0_f64.powi(-12));
        let ratio = super::ratio(&[typical, factors.column(0.3, 1.1 * 0.3 * 2.0_f64.powi(-12)), columns[0]]);
        let used = (2.0_f64.powi(-12) + f64::from(ratio)) * f64::from(typical.weight(ratio));
        let exact = 2.0_f64.powi(-12) * typical.per_residual + typical.per_norm;
        assert!(used < 1.3 * exact, "the price of one factor is small: {used} for {exact}");
    }

    #[test]
    fn grows_with_depth_and_residual() {
        let [less, more] = [64, 128].map(|depth| Factors::of(depth).column(1.0, 1e-4));
        assert!(more.per_norm > less.per_norm && more.per_residual > less.per_residual);
        let lossier = Factors::of(64).column(1.0, 2e-4);
        assert!(lossier.per_norm > less.per_norm + 0.9e-4);
        assert!(additions(784) > 784.0 * DEVICE_UNIT);
    }
}
