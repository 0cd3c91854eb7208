//! Rows rounded to `f16` on the device, beside the rows themselves.

use bytemuck::bytes_of;

use crate::data::frame::exponent_above;
use crate::device::{DeviceBuffer, Gpu};
use crate::error::Result;
use crate::tile::product::units::kernels::{NarrowParams, narrow_kernel};
use crate::tile::product::units::shape::MatrixTile;

/// Rows of a workgroup of `narrow`.
const ROWS_PER_WORKGROUP: u32 = 4;
/// Exponent of the largest scaled length. Elements are no longer than their row, so that none overflows `f16`, whose
/// largest number is just below 2^16.
const TOP: i32 = 15;
/// Largest shift of either scale: both together stay inside the exponents of `f32`.
const MOST_SHIFT: i32 = 60;

/// The `f16` rows of a window.
pub(crate) struct Halves {
    /// `[padded rows, padded depth]`.
    pub x: DeviceBuffer,
    /// Upper bounds on the lengths of x less its rounding.
    pub residuals: DeviceBuffer,
    /// The rows were multiplied by this power of two.
    pub exponent: i32,
    padded_depth: usize,
    tile_rows: u32,
}

/// The exponent that brings vectors up to `largest` long into the range of `f16`.
pub(crate) fn exponent_for(largest: f64) -> i32 {
    if largest > 0.0 { (TOP - exponent_above(largest)).clamp(-MOST_SHIFT, MOST_SHIFT) } else { 0 }
}

impl Halves {
    /// Room for `rows` rows of `depth`.
    pub fn new(gpu: &Gpu, tile: &MatrixTile, rows: usize, depth: usize) -> Result<Self> {
        let padded_depth = tile.padded_depth(depth);
        Ok(Self {
            x: gpu.buffer("halves", tile.padded_bytes(rows, depth))?,
            residuals: gpu.buffer("residuals", 4 * rows as u64)?,
            exponent: 0,
            padded_depth,
            tile_rows: tile.rows(),
        })
    }

    /// Bytes of device memory for `rows` rows in `windows` windows.
    pub fn bytes(tile: &MatrixTile, rows: u64, windows: u64, depth: usize) -> u64 {
        (rows + windows * u64::from(tile.rows())) * (2 * tile.padded_depth(depth) as u64 + 4)
    }

    /// Whether a tile can read them.
    pub fn serves(&self, tile: &MatrixTile, depth: usize) -> bool {
        self.padded_depth == tile.padded_depth(depth) && self.tile_rows == tile.rows()
    }

    /// Rounds `rows` rows of `x`, none longer than `largest`.
    pub fn fill(
        &mut self,
        gpu: &Gpu,
        x: &DeviceBuffer,
        rows: usize,
        depth: usize,
        largest: f32,
    ) -> Result<()> {
        self.exponent = exponent_for(f64::from(largest));
        let pipeline = gpu.pipeline(&narrow_kernel()?)?;
        let padded_rows = rows.next_multiple_of(self.tile_rows as usize) as u32;
        let workgroups = padded_rows.div_ceil(ROWS_PER_WORKGROUP);
        let across = workgroups.min(gpu.limits().max_workgroups_per_dimension);
        let params = NarrowParams {
            rows: rows as u32,
            padded_rows,
            depth: depth as u32,
            words: self.padded_depth as u32 / 2,
            across,
            scale: 2.0_f32.powi(self.exponent),
            unscale: 2.0_f32.powi(-self.exponent),
            // The sum of squares goes through depth + 16 roundings, its root through a few more.
            slack: 1.0 + (depth + 64) as f32 * 2.0_f32.powi(-23),
            least: (depth as f32).sqrt() * 2.0_f32.powi(-60),
        };
        let mut batch = gpu.batch("narrow");
        batch.dispatch(
            &pipeline,
            &[x.whole(), self.x.whole(), self.residuals.whole()],
            bytes_of(&params),
            [across, workgroups.div_ceil(across), 1],
        )?;
        batch.submit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_vector_fits_whatever_its_scale() {
        for largest in [1e-30, 1e-9, 0.3, 1.0, 1.5, 28.0, 1e12, 2.0_f64.powi(46)] {
            let scaled = largest * 2.0_f64.powi(exponent_for(largest));
            assert!(scaled <= 32768.0, "{largest}: {scaled}");
            assert!(scaled > 16383.0 || largest < 1e-13, "{largest}: {scaled}");
        }
        assert_eq!(exponent_for(0.0), 0);
        assert_eq!(exponent_for(1e-300), MOST_SHIFT);
    }
}
