//! What a scan adds up of every column: one vector per quantity, so that rows are added as wide as the processor can.

use crate::simd::widest;

/// Lowest bit of zero.
pub(super) const NO_BIT: i64 = 4096;

widest! {
    pub(super) fn add_extents(rows: &[f64], min: &mut [f64], max: &mut [f64], lowest_bits: &mut [i64]) = add_extents_body;
}

#[inline(always)]
fn add_extents_body(rows: &[f64], min: &mut [f64], max: &mut [f64], lowest_bits: &mut [i64]) {
    for row in rows.chunks_exact(min.len()) {
        let extents = min.iter_mut().zip(max.iter_mut()).zip(lowest_bits.iter_mut());
        for (&value, ((min, max), lowest)) in row.iter().zip(extents) {
            *min = if value < *min { value } else { *min };
            *max = if value > *max { value } else { *max };
            *lowest = (*lowest).min(lowest_bit(value));
        }
    }
}

widest! {
    pub(super) fn add_sums(rows: &[f64], pivot: &[f64], unit: f64, sum: &mut [f64], squares: &mut [f64]) = add_sums_body;
}

#[inline(always)]
fn add_sums_body(rows: &[f64], pivot: &[f64], unit: f64, sum: &mut [f64], squares: &mut [f64]) {
    for row in rows.chunks_exact(pivot.len()) {
        let sums = sum.iter_mut().zip(squares.iter_mut());
        for ((&value, pivot), (sum, square)) in row.iter().zip(pivot).zip(sums) {
            let difference = (value - pivot) * unit;
            *sum += difference;
            *square += difference * difference;
        }
    }
}

/// Exponent of the lowest set bit of a finite number; [`NO_BIT`] for zero, which restricts nothing.
#[inline(always)]
fn lowest_bit(value: f64) -> i64 {
    const TWO_52: f64 = (1_u64 << 52) as f64;
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i64;
    let mantissa = bits & ((1 << 52) - 1) | u64::from(exponent != 0) << 52;
    // The lowest bit alone, as a number: its exponent says which bit it is, and vectors have that at hand.
    let lowest = mantissa & mantissa.wrapping_neg();
    let number = f64::from_bits(TWO_52.to_bits() + lowest) - TWO_52;
    let place = (number.to_bits() >> 52) as i64 - 1023;
    if mantissa == 0 { NO_BIT } else { place + exponent.max(1) - 1075 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::frame::power_of_two;

    #[test]
    fn lowest_bits() {
        assert_eq!(lowest_bit(0.75), -2);
        assert_eq!(lowest_bit(5e-324), -1074);
        assert_eq!([lowest_bit(0.0), lowest_bit(-0.0)], [NO_BIT; 2]);
        for exponent in [-1022, -600, -1, 0, 1, 52, 600, 1023] {
            let value = power_of_two(exponent);
            // One bit; all 53 bits; the lowest bit of a number without a leading one.
            assert_eq!(lowest_bit(-value), i64::from(exponent));
            assert_eq!(
                lowest_bit(f64::from_bits(value.to_bits() | ((1 << 52) - 1))),
                i64::from(exponent) - 52
            );
            assert_eq!(lowest_bit(f64::from_bits(value.to_bits() | 0b1010_0000)), i64::from(exponent) - 47);
        }
    }
}
