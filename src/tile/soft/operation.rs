//! The operations, and what a CPU makes of them.

use super::kernels::SoftCase;

/// A function of `shaders/common/soft.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Add,
    /// Of numbers without a sign.
    AddPositive,
    Subtract,
    Multiply,
    Divide,
    /// Of a number without a sign.
    Root,
    Less,
    Negate,
    /// By the power of two that the low word of the second operand says.
    Scale,
    /// Of the low word.
    FromF32,
    FromU32,
    FromI64,
    ToF32,
}

impl Operation {
    pub(crate) const ALL: [Self; 13] = [
        Self::Add,
        Self::AddPositive,
        Self::Subtract,
        Self::Multiply,
        Self::Divide,
        Self::Root,
        Self::Less,
        Self::Negate,
        Self::Scale,
        Self::FromF32,
        Self::FromU32,
        Self::FromI64,
        Self::ToF32,
    ];

    /// The case of two operands, where the operation is defined for them.
    pub(crate) fn case(self, a: u64, b: u64) -> Option<SoftCase> {
        let (x, y) = (f64::from_bits(a), f64::from_bits(b));
        let is_defined = match self {
            Self::Add | Self::Subtract | Self::Multiply | Self::Less => x.is_finite() && y.is_finite(),
            Self::AddPositive => x.is_finite() && y.is_finite() && (a | b) >> 63 == 0,
            Self::Divide => x.is_finite() && y.is_finite() && y != 0.0,
            Self::Root => x.is_finite() && a >> 63 == 0,
            Self::Negate | Self::Scale | Self::ToF32 => x.is_finite(),
            Self::FromF32 => f32::from_bits(a as u32).is_finite(),
            Self::FromU32 | Self::FromI64 => true,
        };
        let [a_low, a_high, b_low, b_high] = [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32];
        is_defined.then_some(SoftCase { operation: self as u32, a_low, a_high, b_low, b_high })
    }

    /// The bits that a CPU computes.
    fn on_host(self, a: u64, b: u64) -> u64 {
        let (x, y) = (f64::from_bits(a), f64::from_bits(b));
        match self {
            Self::Add | Self::AddPositive => (x + y).to_bits(),
            Self::Subtract => (x - y).to_bits(),
            Self::Multiply => (x * y).to_bits(),
            Self::Divide => (x / y).to_bits(),
            Self::Root => x.sqrt().to_bits(),
            Self::Less => u64::from(x < y),
            Self::Negate => (-x).to_bits(),
            Self::Scale => scaled(x, b as u32 as i32).to_bits(),
            Self::FromF32 => f64::from(f32::from_bits(a as u32)).to_bits(),
            Self::FromU32 => f64::from(a as u32).to_bits(),
            Self::FromI64 => (a as i64 as f64).to_bits(),
            Self::ToF32 => u64::from((x as f32).to_bits()),
        }
    }
}

impl SoftCase {
    /// What a CPU makes of it: low and high word.
    pub(crate) fn expected(&self) -> [u32; 2] {
        let word = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let bits = Operation::ALL[self.operation as usize]
            .on_host(word(self.a_low, self.a_high), word(self.b_low, self.b_high));
        [bits as u32, (bits >> 32) as u32]
    }
}

/// `x * 2^exponent`, rounded once.
fn scaled(x: f64, exponent: i32) -> f64 {
    const FIELD: u64 = 0x7ff << 52;
    let power = |exponent: i32| f64::from_bits(((exponent + 1023) as u64) << 52);
    if x == 0.0 {
        return x;
    }
    // A subnormal number becomes a normal one first, then all become a fraction from 1 to 2.
    let (x, exponent) =
        if x.is_normal() { (x, exponent) } else { (x * power(64), exponent.saturating_sub(64)) };
    let fraction = f64::from_bits((x.to_bits() & !FIELD) | power(0).to_bits());
    let own = ((x.to_bits() & FIELD) >> 52) as i32 - 1023;
    match exponent.clamp(-4096, 4096) + own {
        1024.. => fraction * f64::INFINITY,
        normal @ -1022.. => fraction * power(normal),
        // The first product is exact.
        small => fraction * power(-1000) * power((small + 1000).max(-1000)),
    }
}
