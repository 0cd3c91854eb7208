//! How a matrix is cut into blocks of rows, and how exact its entries are. Pure: sizes in, sizes out.
//!
//! # What an entry of the expanded form may be off by
//!
//! With u = 2^-24 (2^-53 in `f64`), depth D, sums over chunks of [`CHUNK`] features that are added in order, a product
//! goes through m = min(D, CHUNK) + ceil(D / CHUNK) + 1 roundings. With S = |x'|^2 + |y'|^2 of the rounded rows:
//!
//! ```text
//! 2 |fl(x'.y') - x'.y'| <= 2 gamma_m |x'| |y'| <= gamma_m S        gamma_m = m u / (1 - m u)
//! |fl(|x'|^2 + |y'|^2) - S| <= 2 u S,  the last subtraction: u d^2
//! rows rounded to x': |d(x', y')^2 - d(x, y)^2| <= 2 d u (|x| + |y|) + .. <= 3 u sqrt(S) d
//! ```
//!
//! An entry is kept where the result d^2 exceeds S * [`DIGITS_LOST`] = S / 16, so its relative error is at most
//! 16 (m + 2) u + 12 u + u, to first order: below **16 (m + 3) u**, half of that for Euclidean. Every other entry is
//! recomputed from differences of the original values, which are rounded once: (D + 4) u at most. A compiler that
//! reorders sums (Metal's fast-math) makes m up to D + 1. On GPUs `sqrt` may add 5 u.
//! Cosine distances are half the squared distance of unit rows: within (m + 8) u, absolutely.

use crate::error::{Error, Result};

/// Features of one chain of additions.
pub(crate) const CHUNK: usize = 64;
/// Share of `|x|^2 + |y|^2` below which a squared distance has lost too many digits.
pub(crate) const DIGITS_LOST: f64 = 1.0 / 16.0;
/// Most bytes of a block of rows, unless a single row is larger.
pub(crate) const BLOCK_BYTES: u64 = 64 << 20;

/// A matrix to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Rows of X.
    pub rows: usize,
    /// Rows of Y.
    pub columns: usize,
    /// Features of both.
    pub depth: usize,
}

impl Shape {
    /// Bytes of the whole matrix, if they are within `max_bytes`.
    pub(crate) fn matrix_bytes(&self, element_bytes: usize, max_bytes: Option<u64>) -> Result<u64> {
        let values = (self.rows as u64).saturating_mul(self.columns as u64);
        let needed_bytes = values.saturating_mul(element_bytes as u64);
        let limit_bytes = max_bytes.unwrap_or(isize::MAX as u64).min(isize::MAX as u64);
        if needed_bytes > limit_bytes {
            let what = format!("distances of {} x {} rows (stream them instead)", self.rows, self.columns);
            return Err(Error::TooLarge { what, needed_bytes, limit_bytes });
        }
        Ok(needed_bytes)
    }

    /// Rows of one streamed block: as many as [`BLOCK_BYTES`] and `max_bytes` hold, at least one.
    pub(crate) fn block_rows(&self, element_bytes: usize, max_bytes: Option<u64>) -> Result<usize> {
        let one_row = Self { rows: 1, ..*self };
        let row_bytes = one_row.matrix_bytes(element_bytes, max_bytes)?;
        let most = BLOCK_BYTES.min(max_bytes.unwrap_or(BLOCK_BYTES)) / row_bytes.max(1);
        Ok((most as usize).clamp(1, self.rows.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_a_stream_are_bounded() {
        let shape = Shape { rows: 1_000_000, columns: 1_000_000, depth: 8 };
        assert_eq!(shape.block_rows(4, None).unwrap(), 16);
        assert_eq!(shape.block_rows(8, Some(8_000_000)).unwrap(), 1);
        assert!(matches!(shape.block_rows(8, Some(7_999_999)), Err(Error::TooLarge { .. })));
        assert!(matches!(shape.matrix_bytes(4, Some(1 << 40)), Err(Error::TooLarge { .. })));
        let absurd = Shape { rows: usize::MAX, columns: usize::MAX, depth: 1 };
        assert!(matches!(absurd.matrix_bytes(4, None), Err(Error::TooLarge { .. })));
        assert_eq!(Shape { rows: 3, columns: 2, depth: 1 }.block_rows(4, None).unwrap(), 3);
    }
}
