//! NEON, which every 64-bit ARM processor has.

use std::arch::aarch64::*;
use std::arch::asm;

use half::{bf16, f16};

use super::{HalfVector, Vector, methods};

/// One register of 32: the sums of 6 rows by 4 registers take 24 of them.
#[derive(Clone, Copy)]
pub(crate) struct Neon(float32x4_t);

impl Vector for Neon {
    const LANES: usize = 4;
    methods! {
        fn splat(value: f32) -> Self { Self(vdupq_n_f32(value)) }
        fn load(from: *const f32) -> Self { Self(vld1q_f32(from)) }
        fn store(self: Self, to: *mut f32) { vst1q_f32(to, self.0) }
        fn add_product(self: Self, a: Self, b: Self) -> Self { Self(vfmaq_f32(self.0, a.0, b.0)) }
        fn add(self: Self, other: Self) -> Self { Self(vaddq_f32(self.0, other.0)) }
        fn sub(self: Self, other: Self) -> Self { Self(vsubq_f32(self.0, other.0)) }
        fn min(self: Self, other: Self) -> Self { Self(vminq_f32(self.0, other.0)) }
        fn max(self: Self, other: Self) -> Self { Self(vmaxq_f32(self.0, other.0)) }
        fn select_less(a: Self, b: Self, yes: Self, no: Self) -> Self {
            Self(vbslq_f32(vcltq_f32(a.0, b.0), yes.0, no.0))
        }
        fn at_most(a: Self, b: Self) -> u32 {
            vaddvq_u32(vandq_u32(vcleq_f32(a.0, b.0), vld1q_u32([1, 2, 4, 8].as_ptr())))
        }
    }
}

impl HalfVector for Neon {
    methods! {
        // Inline, because the intrinsics for `f16` are newer than the oldest compiler that builds this crate.
        fn load_f16(from: *const f16) -> Self {{
            let halves = vld1_u16(from.cast());
            let wide: float32x4_t;
            asm!("fcvtl {:v}.4s, {:v}.4h", out(vreg) wide, in(vreg) halves, options(pure, nomem, nostack, preserves_flags));
            Self(wide)
        }}
        // A bf16 is the upper half of an f32.
        fn load_bf16(from: *const bf16) -> Self {
            Self(vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.cast()))))
        }
        fn store_f16(self: Self, to: *mut f16) {{
            let halves: uint16x4_t;
            asm!("fcvtn {:v}.4h, {:v}.4s", out(vreg) halves, in(vreg) self.0, options(pure, nomem, nostack, preserves_flags));
            vst1_u16(to.cast(), halves);
        }}
        // Half a unit less one bit is added, and one more where the kept part is odd, so that ties go to even. NaN stays NaN by
        // its quiet bit.
        fn store_bf16(self: Self, to: *mut bf16) {{
            let bits = vreinterpretq_u32_f32(self.0);
            let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let rounded = vshrn_n_u32::<16>(vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff))));
            let quiet = vorr_u16(vshrn_n_u32::<16>(bits), vdup_n_u16(0x40));
            vst1_u16(to.cast(), vbsl_u16(vmovn_u32(vceqq_f32(self.0, self.0)), rounded, quiet));
        }}
    }
}
