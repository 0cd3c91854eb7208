//! The proven bound on the error of a tile's values: what certifies a label.
//!
//! A tile computes `t[j] = h[j] - fl(x . c~[j])`, where `c~` is the `f32` rounding of the `f64` centroid `c` and
//! `h[j] = f32(|c[j]|^2 / 2)`. Exact is `T[j] = |c[j]|^2 / 2 - x . c[j]`, and `|x - c[j]|^2 = |x|^2 + 2 T[j]`.
//! With u = 2^-24 and m the longest chain of additions that one product goes through (Higham, *Accuracy and Stability
//! of Numerical Algorithms*, section 3.1: gamma = m u / (1 - m u)), whatever the order and fused or not:
//!
//! ```text
//! |t - T| <= |x| (gamma C + R)         products and their sum, and the rounding of the centroid
//!          + u H + u (H + |x| C)(1+..) the rounding of h and of the last subtraction
//!          + (D + 2) 2^-125 (1 + C + |x|) operands, products and sums that underflow, flushed to zero or not
//! C = max |c~|, R = max |c - c~|, H = max h
//! ```
//!
//! The reference decides on `fl64(|x - c|^2)`, itself within (D + 4) 2^-53 (|x| + C)^2; that is added too, so a
//! certified label is the one the reference would choose, not merely the one real arithmetic would.

/// `|t - T| <= slope * |x| + constant` for every centroid of a codebook.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bound {
    /// Per unit of the row's length.
    pub slope: f32,
    /// Independent of the row.
    pub constant: f32,
}

/// The sizes that the bound depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Number of features.
    pub depth: usize,
    /// Longest chain of additions of one product.
    pub chain: usize,
    /// Upper bound on |x| over the rows.
    pub row_norm: f64,
    /// Upper bound on |c| and |c~|.
    pub centroid_norm: f64,
    /// Upper bound on |c - c~|.
    pub centroid_residual: f64,
}

/// Half an ulp of 1 in `f32`.
const UNIT: f64 = 1.0 / (1_u64 << 24) as f64;

impl Bound {
    /// The bound for a codebook, rounded up.
    pub fn of(extent: &Extent) -> Self {
        let chain = (extent.chain + 1) as f64 * UNIT;
        // Chains so long that the first-order bound breaks down certify nothing: every row is rechecked.
        let gamma = if chain < 0.5 { chain / (1.0 - chain) } else { f64::from(f32::MAX) };
        let (c, half) = (extent.centroid_norm, 0.5 * extent.centroid_norm * extent.centroid_norm);
        let reference = (extent.depth + 4) as f64 * 2.0_f64.powi(-52);
        let underflow = (extent.depth + 2) as f64 * 2.0_f64.powi(-125);
        let rounding = c * (gamma + UNIT * (1.0 + gamma)) + extent.centroid_residual;
        let slope = rounding + reference * extent.row_norm + underflow;
        let constant = 2.0 * UNIT * half + reference * c * c + underflow * (1.0 + c);
        Self { slope: rounded_up(slope), constant: rounded_up(constant) }
    }

    /// Twice the bound for one row: a gap above it certifies the row's label.
    #[inline(always)]
    pub fn gap(&self, row_norm: f32) -> f32 {
        2.0 * (self.slope * row_norm + self.constant)
    }
}

/// At least `value` after a few more roundings in `f32` (the evaluation of the gap and of the difference it is
/// compared with), and finite.
pub(crate) fn rounded_up(value: f64) -> f32 {
    (value * (1.0 + 1.0 / 1024.0) + f64::from(f32::MIN_POSITIVE)).min(f64::from(f32::MAX) / 1e8) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_every_extent() {
        let base = Extent { depth: 8, chain: 8, row_norm: 1.0, centroid_norm: 1.0, centroid_residual: 0.0 };
        let bound = Bound::of(&base);
        assert!(bound.slope > 9.0 * UNIT as f32 && bound.slope < 12.0 * UNIT as f32, "{bound:?}");
        for larger in [
            Extent { chain: 16, ..base },
            Extent { centroid_norm: 2.0, ..base },
            Extent { centroid_residual: 1e-6, ..base },
        ] {
            assert!(Bound::of(&larger).gap(1.0) > bound.gap(1.0), "{larger:?}");
        }
        assert!(Bound::of(&Extent { chain: 1 << 24, ..base }).gap(1.0) > 1e20);
    }
}
