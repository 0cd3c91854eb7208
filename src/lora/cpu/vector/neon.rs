//! NEON, which every 64-bit ARM processor has: four registers to a vector.

use std::arch::aarch64::*;
use std::arch::asm;

use half::{bf16, f16};

use super::Vector;

/// NEON: four registers.
#[derive(Clone, Copy)]
pub(in super::super) struct Neon([float32x4_t; 4]);

/// The lower four of eight `f16`, widened. Inline, because the intrinsics for `f16` are newer than the oldest compiler
/// that builds this crate.
#[inline(always)]
fn widened_low(halves: uint16x8_t) -> float32x4_t {
    let wide;
    // SAFETY: an instruction of every 64-bit ARM processor, which reads and writes these registers alone.
    unsafe {
        asm!("fcvtl {:v}.4s, {:v}.4h", out(vreg) wide, in(vreg) halves, options(pure, nomem, nostack, preserves_flags));
    }
    wide
}

/// The upper four of eight `f16`, widened.
#[inline(always)]
fn widened_high(halves: uint16x8_t) -> float32x4_t {
    let wide;
    // SAFETY: as in `widened_low`.
    unsafe {
        asm!("fcvtl2 {:v}.4s, {:v}.8h", out(vreg) wide, in(vreg) halves, options(pure, nomem, nostack, preserves_flags));
    }
    wide
}

/// The nearest `f16` of four values, ties to even.
#[inline(always)]
fn narrowed(wide: float32x4_t) -> uint16x4_t {
    let halves;
    // SAFETY: as in `widened_low`.
    unsafe {
        asm!("fcvtn {:v}.4h, {:v}.4s", out(vreg) halves, in(vreg) wide, options(pure, nomem, nostack, preserves_flags));
    }
    halves
}

/// The nearest `bf16` of four values: half a unit less one bit, and one more where the kept part is odd, so that ties
/// go to even. NaN stays NaN by its quiet bit.
#[inline(always)]
fn upper_halves(value: float32x4_t) -> uint16x4_t {
    // SAFETY: every processor of this kind has NEON.
    unsafe {
        let bits = vreinterpretq_u32_f32(value);
        let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
        let rounded = vshrn_n_u32::<16>(vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff))));
        let quiet = vorr_u16(vshrn_n_u32::<16>(bits), vdup_n_u16(0x40));
        vbsl_u16(vmovn_u32(vceqq_f32(value, value)), rounded, quiet)
    }
}

impl Vector for Neon {
    const MANY_REGISTERS: bool = false;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: as the trait's contract.
        Self([unsafe { vdupq_n_f32(value) }; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as the trait's contract.
        Self(std::array::from_fn(|part| unsafe { vld1q_f32(from.add(4 * part)) }))
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        // SAFETY: as the trait's contract.
        let (low, high) = unsafe { (vld1q_u16(from.cast()), vld1q_u16(from.add(8).cast())) };
        Self([widened_low(low), widened_high(low), widened_low(high), widened_high(high)])
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        // SAFETY: as the trait's contract. A bf16 is the upper half of an f32.
        Self(std::array::from_fn(|part| unsafe {
            vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.add(4 * part).cast())))
        }))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for (part, value) in self.0.into_iter().enumerate() {
            // SAFETY: as the trait's contract.
            unsafe { vst1q_f32(to.add(4 * part), value) };
        }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut f16) {
        for (part, value) in self.0.into_iter().enumerate() {
            // SAFETY: as the trait's contract.
            unsafe { vst1_u16(to.add(4 * part).cast(), narrowed(value)) };
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16) {
        for (part, value) in self.0.into_iter().enumerate() {
            // SAFETY: as the trait's contract.
            unsafe { vst1_u16(to.add(4 * part).cast(), upper_halves(value)) };
        }
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: as the trait's contract.
        Self(std::array::from_fn(|part| unsafe { vfmaq_f32(self.0[part], a.0[part], b.0[part]) }))
    }
}
