//! Logarithms and powers of `f32` in plain arithmetic, without branches: compilers make vectors of them, which they do
//! not of calls of the system's library. The GPU's text uses the same formulas.

/// Bits of the `f32` below the square root of one half: mantissas are taken between it and twice it.
const ROOT_OF_HALF: u32 = 0x3f35_04f3;
/// ln 2 in two parts; the first has 9 bits, so that its product with an exponent is exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;

/// A positive normal number as (mantissa in [sqrt(1/2), sqrt(2)), exponent).
#[inline(always)]
fn parts(value: f32) -> (f32, f32) {
    let shifted = value.to_bits().wrapping_sub(ROOT_OF_HALF);
    let exponent = (shifted as i32) >> 23;
    (f32::from_bits((shifted & 0x007f_ffff) + ROOT_OF_HALF), exponent as f32)
}

/// The logarithm of `a / b`, of numbers within a factor of 2, and `exponent` times ln 2 more: with z = (a - b) / (a +
/// b), ln(a / b) = 2 (z + z^3 / 3 + ..). |z| is at most 1/3, so that what follows z^19 is below 2^-34 of it.
#[inline(always)]
fn log_of_parts(a: f32, b: f32, exponent: f32) -> f32 {
    let z = (a - b) / (a + b);
    let square = z * z;
    let mut series = 1.0 / 19.0;
    for odd in [17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * square + 1.0 / odd;
    }
    exponent * LN_2_HIGH + (2.0 * z * series + exponent * LN_2_LOW)
}

/// ln `value`, of a positive normal number, within 4 u of it.
#[inline(always)]
pub(super) fn natural_log(value: f32) -> f32 {
    let (mantissa, exponent) = parts(value);
    log_of_parts(mantissa, 1.0, exponent)
}

/// ln(`a / b`) of positive normal numbers, also where the ratio leaves the range of `f32`; within 4 u of it or
/// of 1, whichever is more: exponents may cancel near 1.
#[inline(always)]
pub(super) fn log_ratio(a: f32, b: f32) -> f32 {
    let ((a, a_exponent), (b, b_exponent)) = (parts(a), parts(b));
    log_of_parts(a, b, a_exponent - b_exponent)
}

/// `value^p` of a value of about 1 at most and a positive p; 0 where the value or the power is below 2^-126. Within
/// (4 + 8 |log2 of the power|) u of it.
#[inline(always)]
pub(super) fn power(value: f32, p: f32) -> f32 {
    let exponent = natural_log(value) * std::f32::consts::LOG2_E * p;
    let is_zero = !(value >= f32::MIN_POSITIVE && exponent >= -126.0);
    let exponent = if is_zero { 0.0 } else { exponent };
    // Adding and taking off 1.5 * 2^23 rounds to a whole number.
    let rounder = 12_582_912.0;
    let whole = (exponent + rounder) - rounder;
    let rest = (exponent - whole) * std::f32::consts::LN_2;
    // e^rest, |rest| at most 0.35: what follows rest^7 / 7! is below 2^-27.
    let mut series = 1.0 / 7.0;
    for factor in [6.0, 5.0, 4.0, 3.0, 2.0, 1.0] {
        series = (series * rest + 1.0) / factor;
    }
    let power = (series * rest + 1.0) * f32::from_bits(((whole as i32 + 127) << 23) as u32);
    if is_zero { 0.0 } else { power }
}

#[cfg(test)]
mod tests {
    use super::*;

    const U: f64 = f32::EPSILON as f64 / 2.0;

    /// Numbers of all magnitudes, close together near 1.
    fn values() -> impl Iterator<Item = f32> {
        let wide = (1_u32..254 << 8).map(|step| f32::from_bits((step << 15) + (1 << 23)));
        let near_one = (0..4096).map(|step| f32::from_bits(0x3f7f_f000 + 2 * step));
        wide.chain(near_one)
    }

    #[test]
    fn logarithms_are_within_their_bound() {
        for value in values() {
            let exact = f64::from(value).ln();
            let error = (f64::from(natural_log(value)) - exact).abs();
            assert!(error <= 4.0 * U * exact.abs(), "ln {value:e}: {error:e}");
            for other in [2e-38_f32, 0.7, 1.0, 3.0, 1e38] {
                let exact = (f64::from(value) / f64::from(other)).ln();
                let error = (f64::from(log_ratio(value, other)) - exact).abs();
                assert!(error <= 4.0 * U * exact.abs().max(1.0), "ln {value:e} / {other:e}: {error:e}");
            }
        }
    }

    #[test]
    fn powers_are_within_their_bound() {
        for value in values().filter(|&value| value <= 1.0) {
            for p in [0.1_f32, 0.5, 1.0, 1.5, 3.0, 17.0, 400.0] {
                let exact = f64::from(value).powf(f64::from(p));
                let found = f64::from(power(value, p));
                let bound = (4.0 + 8.0 * exact.log2().abs()) * U * exact;
                let is_flushed = found == 0.0 && exact < 2.0_f64.powi(-125);
                assert!((found - exact).abs() <= bound || is_flushed, "{value:e}^{p}: {found:e} {exact:e}");
            }
        }
        assert_eq!((power(0.0, 0.5), power(1.0, 3.0)), (0.0, 1.0));
    }
}
