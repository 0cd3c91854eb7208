//! Sixteen lanes of `f32` on each instruction set, with loads that widen and stores that narrow.
//!
//! Every operation is exact or rounds once, to nearest with ties to even, so that all sets give the same bits.

use half::{bf16, f16};

use crate::lora::values::{Precision, Scalar};

#[cfg(target_arch = "aarch64")]
pub(super) mod neon;

/// Lanes of a vector, on every instruction set: the order of summation counts on it.
pub(super) const LANES: usize = 16;

/// [`LANES`] values of `f32`.
///
/// # Safety
/// Methods may only run on a processor with the instruction set the implementation names; the pointers must be valid
/// for [`LANES`] elements, aligned as those elements are.
pub(super) trait Vector: Copy {
    /// Whether 32 registers hold these vectors, so that tiles may be 4 by 4; otherwise 2 by 2.
    const MANY_REGISTERS: bool;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn load_f16(from: *const f16) -> Self;
    unsafe fn load_bf16(from: *const bf16) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn store_f16(self, to: *mut f16);
    unsafe fn store_bf16(self, to: *mut bf16);
    /// `self + a * b`, rounded once.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;

    /// Elements of any of the types, widened.
    ///
    /// # Safety
    /// As the trait says.
    #[inline(always)]
    unsafe fn widen<E: Scalar>(from: *const E) -> Self {
        // SAFETY: as the trait's contract; the precision says what `E` is.
        unsafe {
            match E::PRECISION {
                Precision::F32 => Self::load(from.cast()),
                Precision::F16 => Self::load_f16(from.cast()),
                Precision::Bf16 => Self::load_bf16(from.cast()),
            }
        }
    }

    /// Stores elements of any of the types, each the nearest.
    ///
    /// # Safety
    /// As the trait says.
    #[inline(always)]
    unsafe fn narrow<E: Scalar>(self, to: *mut E) {
        // SAFETY: as the trait's contract; the precision says what `E` is.
        unsafe {
            match E::PRECISION {
                Precision::F32 => self.store(to.cast()),
                Precision::F16 => self.store_f16(to.cast()),
                Precision::Bf16 => self.store_bf16(to.cast()),
            }
        }
    }
}

/// Plain Rust, for processors without an implementation of their own.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; LANES]);

impl Portable {
    #[inline(always)]
    unsafe fn widened<E: Scalar>(from: *const E) -> Self {
        // SAFETY: the caller promises `LANES` readable elements.
        Self(unsafe { from.cast::<[E; LANES]>().read() }.map(E::widen))
    }

    #[inline(always)]
    unsafe fn narrowed<E: Scalar>(self, to: *mut E) {
        // SAFETY: the caller promises `LANES` writable elements.
        unsafe { to.cast::<[E; LANES]>().write(self.0.map(E::narrow)) }
    }
}

impl Vector for Portable {
    const MANY_REGISTERS: bool = false;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; LANES])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as the trait's contract.
        unsafe { Self::widened(from) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        // SAFETY: as the trait's contract.
        unsafe { Self::widened(from) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        // SAFETY: as the trait's contract.
        unsafe { Self::widened(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as the trait's contract.
        unsafe { self.narrowed(to) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, to: *mut f16) {
        // SAFETY: as the trait's contract.
        unsafe { self.narrowed(to) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16) {
        // SAFETY: as the trait's contract.
        unsafe { self.narrowed(to) }
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // Without an instruction for it this is a library call: slow, but the same bits.
        Self(std::array::from_fn(|lane| a.0[lane].mul_add(b.0[lane], self.0[lane])))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use half::{bf16, f16};

    use super::Vector;

    /// AVX-512F.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(__m512);

    impl Vector for Avx512 {
        const MANY_REGISTERS: bool = true;
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: as the trait's contract.
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as the trait's contract.
            Self(unsafe { _mm512_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn load_f16(from: *const f16) -> Self {
            // SAFETY: as the trait's contract.
            Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) })
        }
        #[inline(always)]
        unsafe fn load_bf16(from: *const bf16) -> Self {
            // SAFETY: as the trait's contract. A bf16 is the upper half of an f32.
            unsafe {
                let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
                Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
            }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as the trait's contract.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn store_f16(self, to: *mut f16) {
            // SAFETY: as the trait's contract.
            unsafe {
                let narrow = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0);
                _mm256_storeu_si256(to.cast(), narrow);
            }
        }
        #[inline(always)]
        unsafe fn store_bf16(self, to: *mut bf16) {
            // SAFETY: as the trait's contract. Half a unit less one bit, and one more where the kept part is odd:
            // ties go to even. NaN stays NaN by its quiet bit.
            unsafe {
                let bits = _mm512_castps_si512(self.0);
                let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
                let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half));
                let quiet = _mm512_or_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(0x40));
                let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
                let kept = _mm512_mask_blend_epi32(is_nan, rounded, quiet);
                _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(kept));
            }
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: as the trait's contract.
            Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }
    }

    /// AVX2 with FMA and F16C: two registers.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(__m256, __m256);

    impl Vector for Avx2 {
        const MANY_REGISTERS: bool = false;
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: as the trait's contract.
            let value = unsafe { _mm256_set1_ps(value) };
            Self(value, value)
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as the trait's contract.
            unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
        }
        #[inline(always)]
        unsafe fn load_f16(from: *const f16) -> Self {
            // SAFETY: as the trait's contract.
            unsafe {
                let low = _mm256_cvtph_ps(_mm_loadu_si128(from.cast()));
                Self(low, _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast())))
            }
        }
        #[inline(always)]
        unsafe fn load_bf16(from: *const bf16) -> Self {
            // SAFETY: as the trait's contract.
            unsafe {
                let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
                let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(8).cast()));
                let low = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low));
                Self(low, _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)))
            }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as the trait's contract.
            unsafe {
                _mm256_storeu_ps(to, self.0);
                _mm256_storeu_ps(to.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn store_f16(self, to: *mut f16) {
            // SAFETY: as the trait's contract.
            unsafe {
                let low = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0);
                let high = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.1);
                _mm_storeu_si128(to.cast(), low);
                _mm_storeu_si128(to.add(8).cast(), high);
            }
        }
        #[inline(always)]
        unsafe fn store_bf16(self, to: *mut bf16) {
            // SAFETY: as the trait's contract.
            unsafe {
                let mixed = _mm256_packus_epi32(upper_halves(self.0), upper_halves(self.1));
                _mm256_storeu_si256(to.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(mixed));
            }
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: as the trait's contract.
            unsafe { Self(_mm256_fmadd_ps(a.0, b.0, self.0), _mm256_fmadd_ps(a.1, b.1, self.1)) }
        }
    }

    /// The nearest bf16 of each lane, in the lower half of its 32 bits: as in the wider one.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[inline(always)]
    unsafe fn upper_halves(value: __m256) -> __m256i {
        // SAFETY: as the caller promises.
        unsafe {
            let bits = _mm256_castps_si256(value);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
            let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, half));
            let quiet = _mm256_or_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(0x40));
            let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(value, value));
            _mm256_blendv_epi8(rounded, quiet, is_nan)
        }
    }
}
