//! The proven bound on the error of a tile's values: what certifies a label.
//!
//! A tile computes `t[j] = h[j] - fl(x . c~[j])`, where `c~` is the `f32` rounding of the `f64` centroid `c` and
//! `h[j] = f32(|c[j]|^2 / 2)`. Exact is `T[j] = |c[j]|^2 / 2 - x . c[j]`, and `|x - c[j]|^2 = |x|^2 + 2 T[j]`.
//! With u the unit of rounding and m the longest chain of roundings that one product goes through (Higham, *Accuracy
//! and Stability of Numerical Algorithms*, section 3.1; gamma = exp(m u) - 1 >= (1 + u)^m - 1 holds for any m),
//! whatever the order and fused or not:
//!
//! ```text
//! |t - T| <= |x| (gamma C + R)         products and their sum, and the rounding of the centroid
//!          + u H + u (H + |x| C)(1+..) the rounding of h and of the last subtraction
//!          + (D + 2) 2^-125 (1 + C + |x|) operands, products and sums that underflow, flushed to zero or not
//! C = max |c~|, R = max |c - c~|, H = max h
//! ```
//!
//! On the host u = 2^-24. WGSL, Vulkan and Metal leave open which of the two neighbours a result is rounded to, so on
//! devices u = 2^-23.
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
    /// Largest relative error of one operation of the tile.
    pub unit: f64,
    /// Upper bound on |x| over the rows.
    pub row_norm: f64,
    /// Upper bound on |c| and |c~|.
    pub centroid_norm: f64,
    /// Upper bound on |c - c~|.
    pub centroid_residual: f64,
}

/// Relative error of one operation that rounds to nearest: half an ulp of 1 in `f32`.
pub(crate) const HOST_UNIT: f64 = 1.0 / (1_u64 << 24) as f64;
/// Relative error of one operation that rounds either way.
#[cfg(any(test, feature = "gpu"))]
pub(crate) const DEVICE_UNIT: f64 = 2.0 * HOST_UNIT;

impl Bound {
    /// The bound for a codebook, rounded up.
    pub fn of(extent: &Extent) -> Self {
        let unit = extent.unit;
        // Finite for any depth that memory holds: a gap stays far below the half norm of absent columns.
        let gamma = ((extent.chain + 1) as f64 * unit).exp_m1();
        let (c, half) = (extent.centroid_norm, 0.5 * extent.centroid_norm * extent.centroid_norm);
        let reference = (extent.depth + 4) as f64 * 2.0_f64.powi(-52);
        let underflow = (extent.depth + 2) as f64 * 2.0_f64.powi(-125);
        let rounding = c * (gamma + unit * (1.0 + gamma)) + extent.centroid_residual;
        let slope = rounding + reference * extent.row_norm + underflow;
        let constant = 2.0 * unit * half + reference * c * c + underflow * (1.0 + c);
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
        let base = Extent {
            depth: 8,
            chain: 8,
            unit: HOST_UNIT,
            row_norm: 1.0,
            centroid_norm: 1.0,
            centroid_residual: 0.0,
        };
        let bound = Bound::of(&base);
        let units = bound.slope / HOST_UNIT as f32;
        assert!(units > 9.0 && units < 12.0, "{bound:?}");
        for larger in [
            Extent { chain: 16, ..base },
            Extent { unit: DEVICE_UNIT, ..base },
            Extent { centroid_norm: 2.0, ..base },
            Extent { centroid_residual: 1e-6, ..base },
        ] {
            assert!(Bound::of(&larger).gap(1.0) > bound.gap(1.0), "{larger:?}");
        }
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
            centroid_norm: far,
            centroid_residual: 0.0,
        });
        assert!(f64::from(bound.gap(far as f32)) + 2.0 * far * far < 1e38, "{bound:?}");
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
                centroid_norm: norm,
                centroid_residual: 0.0,
            };
            let error = exact - f64::from(sum);
            let allowed = |unit| 0.5 * f64::from(Bound::of(&extent(unit)).gap(norm as f32));
            assert!(error <= allowed(DEVICE_UNIT), "depth {depth}: {error}");
            // The unit of rounding to nearest would not do.
            assert!(depth < 10 || error > 0.9 * allowed(HOST_UNIT), "depth {depth}: {error}");
        }
    }
}
