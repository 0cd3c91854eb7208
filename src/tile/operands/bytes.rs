//! Rows in whole numbers of 8 bits: x = s q + e, q of at most 127 in magnitude.

use crate::simd::{halved, widest};

/// Features in one step of a product of bytes.
pub(crate) const STEP: usize = 4;
/// What makes the byte of a row unsigned, as the processor wants it.
pub(crate) const BIAS: u8 = 128;
/// Most features: remainders stay shorter than their rows, and products fit 32 bits.
pub(crate) const MOST_FEATURES: usize = 1 << 15;
/// A row whose largest value is below this is all remainder, so that nothing underflows.
const LEAST: f32 = 1.0 / (1 << 30) as f32;

/// s of a row, and an upper bound on |e|.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Encoded {
    pub scale: f32,
    pub remainder: f32,
}

/// Bytes of an encoded row: whole steps.
pub(crate) fn stride(depth: usize) -> usize {
    depth.next_multiple_of(STEP)
}

/// Writes q + [`BIAS`] of a row that is at most `norm` long; bytes beyond the row become those of 0.
///
/// The remainder is a sum of squares in sixteen parts, at most 2^11 each: its root is right to 2^-13. It is taken larger by
/// 2^-10, and by 2^-16 of the row for what is lost below the smallest numbers and for the roundings of whoever uses it.
pub(crate) fn encode(x: &[f32], norm: f32, codes: &mut [u8]) -> Encoded {
    let [scale, square] = parts(x, codes);
    if scale == 0.0 {
        return Encoded { scale, remainder: norm };
    }
    Encoded { scale, remainder: square.sqrt() * (1.0 + 1.0 / 1024.0) + norm * 2.0_f32.powi(-16) }
}

widest! {
    /// s and |e|^2; a step of 0 says that the row is all remainder.
    fn parts(x: &[f32], codes: &mut [u8]) -> [f32; 2] = parts_body;
}

#[inline(always)]
fn parts_body(x: &[f32], codes: &mut [u8]) -> [f32; 2] {
    const PARTS: usize = 16;
    let (chunks, rest) = x.as_chunks::<PARTS>();
    let mut largest = [0.0_f32; PARTS];
    for chunk in chunks {
        for (largest, x) in largest.iter_mut().zip(chunk) {
            *largest = largest.max(x.abs());
        }
    }
    let largest = rest.iter().fold(halved(largest, f32::max), |largest, x| largest.max(x.abs()));
    let (used, beyond) = codes.split_at_mut(x.len());
    beyond.fill(BIAS);
    if largest < LEAST {
        used.fill(BIAS);
        return [0.0, 0.0];
    }
    let (scale, inverse) = (largest / 127.0, 127.0 / largest);
    let mut squares = [0.0_f32; PARTS];
    // Adding this rounds to a whole number, whose last byte is that of q + BIAS: there `f32` has steps of 1.
    const WHOLE: f32 = 1.5 * (1 << 23) as f32 + BIAS as f32;
    let one = |x: f32, code: &mut u8, square: &mut f32| {
        let moved = x * inverse + WHOLE;
        *code = moved.to_bits() as u8;
        let remainder = x - (moved - WHOLE) * scale;
        *square += remainder * remainder;
    };
    let (codes, codes_of_rest) = used.as_chunks_mut::<PARTS>();
    for (chunk, codes) in chunks.iter().zip(codes) {
        for ((&x, code), square) in chunk.iter().zip(codes).zip(&mut squares) {
            one(x, code, square);
        }
    }
    for ((&x, code), square) in rest.iter().zip(codes_of_rest).zip(&mut squares) {
        one(x, code, square);
    }
    [scale, halved(squares, |a, b| a + b)]
}

/// p of an encoded column, step by step. Returns what the bias of rows adds to its products.
pub(crate) fn column(codes: &[u8], mut put: impl FnMut(usize, [i8; STEP])) -> i32 {
    let mut sum = 0;
    for (step, codes) in codes.as_chunks::<STEP>().0.iter().enumerate() {
        let bytes = codes.map(|code| code.wrapping_sub(BIAS) as i8);
        sum += bytes.iter().map(|&byte| i32::from(byte)).sum::<i32>();
        put(step, bytes);
    }
    sum * i32::from(BIAS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Bytes and remainder say where the row is: for rows of all sizes, tiny ones and zeros.
    #[test]
    fn a_row_is_within_its_remainder() {
        for depth in [1, 3, 4, 15, 16, 17, 100, 1000] {
            for exponent in [0, -20, -29, -31, -60, -149] {
                for flat in [false, true] {
                    let draws = Stream::new(depth as u64, 0);
                    let value = |at: usize| if flat { 1.0 } else { draws.unit(at as u64) - 0.5 };
                    let x: Vec<f32> =
                        (0..depth).map(|at| (value(at) * 2.0_f64.powi(exponent)) as f32).collect();
                    let norm = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                    let mut codes = vec![7; stride(depth)];
                    let Encoded { scale, remainder } =
                        encode(&x, ((norm * 1.0001) as f32).next_up(), &mut codes);
                    let q = |code: u8| f64::from(code) - f64::from(BIAS);
                    let square =
                        |(&x, &code): (&f32, &u8)| (f64::from(x) - f64::from(scale) * q(code)).powi(2);
                    let left = x.iter().zip(&codes).map(square).sum::<f64>().sqrt();
                    assert!(
                        left <= f64::from(remainder),
                        "{depth} features, 2^{exponent}: {left} {remainder}"
                    );
                    assert!(
                        codes.iter().all(|&code| code > 0) && codes[depth..].iter().all(|&code| code == BIAS)
                    );
                    // Nor is the remainder much longer than it has to be, at most half a step per feature.
                    let most = 0.51 * f64::from(scale) * (depth as f64).sqrt() + norm * 1e-4;
                    assert!(scale == 0.0 || f64::from(remainder) <= most, "{depth} features, 2^{exponent}");
                }
            }
        }
    }
}
