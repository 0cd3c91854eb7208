//! Packed bits on the CPU: counts of bits, which are integers, so that their order does not matter.

use ndarray::parallel::prelude::*;
use ndarray::{ArrayViewMut2, Axis};

use crate::cancel::Cancel;
use crate::device::CpuPool;
use crate::distance::bits::Bits;
use crate::distance::metric::Metric;
use crate::distance::real::Real;
use crate::error::Result;
use crate::simd::widest;

/// Rows of X that a task works on, with [`PANEL_WORDS`] of Y in the cache.
const BAND_ROWS: usize = 16;
/// Words of Y that stay in the cache for all rows of a band.
const PANEL_WORDS: usize = 4096;

/// Fills `out` with rows from `first_row` on.
pub(in crate::distance) fn fill<T: Real>(
    pool: &CpuPool,
    bits: &Bits,
    first_row: usize,
    mut out: ArrayViewMut2<T>,
    cancel: &Cancel,
) -> Result<()> {
    let panel = (PANEL_WORDS / bits.depth).max(1);
    pool.install(|| {
        out.axis_chunks_iter_mut(Axis(0), BAND_ROWS).into_par_iter().enumerate().try_for_each(
            |(band, mut out)| {
                for (index, mut out) in out.axis_chunks_iter_mut(Axis(1), panel).enumerate() {
                    cancel.check()?;
                    for (row, mut out) in out.outer_iter_mut().enumerate() {
                        let row = first_row + band * BAND_ROWS + row;
                        for (out, value) in out.iter_mut().zip(values(bits, row, index * panel)) {
                            *out = T::rounded(value);
                        }
                    }
                }
                Ok(())
            },
        )
    })
}

/// The values of a row with columns from `first` on.
pub(in crate::distance) fn values(bits: &Bits, row: usize, first: usize) -> impl Iterator<Item = f64> {
    let depth = bits.depth;
    let x = &bits.x[row * depth..(row + 1) * depth];
    bits.y()[first * depth..].chunks_exact(depth).map(move |y| measure(bits.metric, x, y))
}

fn measure(metric: Metric, x: &[u32], y: &[u32]) -> f64 {
    let [differ, either] = counts(x, y);
    match metric {
        Metric::BitJaccard if either == 0 => 0.0,
        Metric::BitJaccard => differ as f64 / either as f64,
        _ => differ as f64,
    }
}

widest! {
    /// Bits that differ, and bits that are set in one row at least.
    fn counts(x: &[u32], y: &[u32]) -> [u64; 2] = counts_body;
}

#[inline(always)]
fn counts_body(x: &[u32], y: &[u32]) -> [u64; 2] {
    // 32-bit counters for as many words as they hold.
    let mut total = [0_u64; 2];
    for (x, y) in x.chunks(1 << 24).zip(y.chunks(1 << 24)) {
        let (mut differ, mut either) = (0_u32, 0_u32);
        for (&x, &y) in x.iter().zip(y) {
            differ += (x ^ y).count_ones();
            either += (x | y).count_ones();
        }
        total = [total[0] + u64::from(differ), total[1] + u64::from(either)];
    }
    total
}
