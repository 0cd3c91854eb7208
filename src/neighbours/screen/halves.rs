//! Rows rounded to `f16` on the host, for a screen on matrix units.
//!
//! The bound of [`crate::tile::bound::f16`] is about a row x and a column c and what their rounding lost. Both are known
//! here in `f64`, as [`Screen::load`] prepares them, and they are rounded to `f16` from there, not by way of `f32`: the
//! lengths of what is lost hold every rounding but those of the preparation itself. Centring rounds a feature twice by 2^-53 of
//! itself; normalising does it with the length of a row, a sum of D squares, (D + 4) 2^-53 at most. A residual is enlarged by
//! 2^-23 of the row's length, which covers both for any D below 2^29, and what the sum of the lost squares rounds.
//!
//! So with r and R the enlarged residuals, `|x . c - x^ . c^| <= r C + n R + r R` holds for the rows as they stand in the
//! input, and with it all that follows there. S of a row is s n^2, and what the metric's own value in `f64` loses where it is
//! too small for all digits, as in `f32`: [`Screen::gap`] adds it, and takes s n^2 from the bound that [`Screen::half_bound`] makes.
//! Half norms are rounded from `f64`, as for a codebook; they are exact in the forms where they do not depend on the column.
//!
//! One power of two brings the longest row of both tables to at most 2^15.

use half::f16;

use super::{Form, Screen, Side};
use crate::data::Points;
use crate::tile::bound::f16::{Column, Factors};
use crate::tile::bound::f32::{Bound, DEVICE_UNIT, norm_above, with_slack};
use crate::tile::operands::gpu::half_columns::narrow;
use crate::tile::operands::gpu::half_rows::exponent_for;

/// How the rows of a call are rounded.
#[derive(Debug, Clone, Copy)]
pub(in crate::neighbours) struct Halves {
    /// Rows are multiplied by this power of two.
    pub exponent: i32,
    factors: Factors,
}

/// What the bound knows of a row.
#[derive(Debug, Clone, Copy)]
pub(in crate::neighbours) struct Rounded {
    /// Squared length.
    pub square: f64,
    /// At least the length.
    pub norm: f32,
    /// At least the length of what the rounding took away.
    pub residual: f32,
}

impl Screen {
    /// How this call's rows are rounded.
    pub fn halves(&self) -> Halves {
        Halves { exponent: exponent_for(self.largest_norm), factors: Factors::of(self.depth()) }
    }

    /// Prepares one row and rounds it into the first features of `out`. `wide` holds the row's features.
    pub fn load_half(
        &self,
        halves: Halves,
        side: Side,
        (points, row): (&Points, usize),
        wide: &mut [f64],
        out: &mut [f16],
    ) -> Rounded {
        let square = self.prepare(side, points, row, wide);
        let sign = self.sign_of(side);
        let scales = [sign * 2.0_f64.powi(halves.exponent), sign * 2.0_f64.powi(-halves.exponent)];
        let lost = narrow(wide, scales, out).sqrt();
        if !self.has_bound {
            return Rounded { square, norm: 0.0, residual: 0.0 };
        }
        let norm = norm_above(square);
        Rounded { square, norm, residual: with_slack(lost + DEVICE_UNIT * f64::from(norm)) }
    }

    /// Half norm of a column, and what the bound knows of it.
    pub fn half_column(&self, halves: Halves, rounded: &Rounded) -> (f64, Column) {
        let half = match self.form {
            Form::Centred => 0.5 * rounded.square,
            Form::Direction => 0.5,
            Form::Product => 0.0,
        };
        let column = if self.has_bound {
            halves.factors.column(f64::from(rounded.norm), f64::from(rounded.residual))
        } else {
            Column { per_residual: 0.0, per_norm: 0.0, constant: 0.0 }
        };
        (self.sign * half, column)
    }

    /// The bound whose share [`Screen::gap`] takes.
    pub fn half_bound(&self, halves: Halves) -> Bound {
        let (square, constant) =
            if self.has_bound { (halves.factors.square(), f32::MAX) } else { (0.0, 0.0) };
        Bound { slope: 0.0, constant, square }
    }
}
