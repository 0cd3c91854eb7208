//! Products on the CPU, in `f32` and in bytes, of many rows or of one, and the fold that keeps all of them.

pub(crate) mod bytes;
pub(crate) mod panels;

use crate::simd::widest;

/// Blocks of rows are multiples of this, and few rows are gathered this many at a time: a multiple of every kernel's own
/// count.
pub(crate) const ROW_GROUP: usize = 24;
/// Most columns of a tile: two of the widest vectors.
pub(crate) const WIDEST_TILE: usize = 32;

widest! {
    /// `x . c`, summed in sixteen interleaved parts and those in order: no longer a chain than any tile's.
    pub(crate) fn dot(x: &[f32], c: &[f32]) -> f32 = dot_body;
}

#[inline(always)]
fn dot_body(x: &[f32], c: &[f32]) -> f32 {
    let mut parts = [0.0_f32; 16];
    let ((x, x_rest), (c, c_rest)) = (x.as_chunks::<16>(), c.as_chunks::<16>());
    for (x, c) in x.iter().zip(c) {
        for ((part, x), c) in parts.iter_mut().zip(x).zip(c) {
            *part += x * c;
        }
    }
    for ((part, x), c) in parts.iter_mut().zip(x_rest).zip(c_rest) {
        *part += x * c;
    }
    parts.iter().sum()
}
