//! AVX2 and AVX-512.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{ByteVector, HalfVector, Vector, methods};

/// 256 bits: AVX2 with FMA. Products of bytes need AVX-VNNI, or AVX-512's VNNI and VL where `IN_AVX512`.
#[derive(Clone, Copy)]
pub(crate) struct Narrow<const IN_AVX512: bool>(__m256);

/// As processors without AVX-512 have them; conversions need F16C.
pub(crate) type Avx2 = Narrow<false>;

/// Half of a vector of AVX-512, for tiles of few columns.
pub(crate) type Avx512Half = Narrow<true>;

/// AVX-512F; products of bytes need AVX-512 VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

impl<const IN_AVX512: bool> Vector for Narrow<IN_AVX512> {
    const LANES: usize = 8;
    methods! {
        fn splat(value: f32) -> Self { Self(_mm256_set1_ps(value)) }
        fn load(from: *const f32) -> Self { Self(_mm256_loadu_ps(from)) }
        fn store(self: Self, to: *mut f32) { _mm256_storeu_ps(to, self.0) }
        fn add_product(self: Self, a: Self, b: Self) -> Self { Self(_mm256_fmadd_ps(a.0, b.0, self.0)) }
        fn add(self: Self, other: Self) -> Self { Self(_mm256_add_ps(self.0, other.0)) }
        fn sub(self: Self, other: Self) -> Self { Self(_mm256_sub_ps(self.0, other.0)) }
        fn min(self: Self, other: Self) -> Self { Self(_mm256_min_ps(self.0, other.0)) }
        fn max(self: Self, other: Self) -> Self { Self(_mm256_max_ps(self.0, other.0)) }
        fn select_less(a: Self, b: Self, yes: Self, no: Self) -> Self {
            Self(_mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0)))
        }
        fn at_most(a: Self, b: Self) -> u32 {
            _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(a.0, b.0)) as u32
        }
    }
}

impl Vector for Avx512 {
    const LANES: usize = 16;
    methods! {
        fn splat(value: f32) -> Self { Self(_mm512_set1_ps(value)) }
        fn load(from: *const f32) -> Self { Self(_mm512_loadu_ps(from)) }
        fn store(self: Self, to: *mut f32) { _mm512_storeu_ps(to, self.0) }
        fn add_product(self: Self, a: Self, b: Self) -> Self { Self(_mm512_fmadd_ps(a.0, b.0, self.0)) }
        fn add(self: Self, other: Self) -> Self { Self(_mm512_add_ps(self.0, other.0)) }
        fn sub(self: Self, other: Self) -> Self { Self(_mm512_sub_ps(self.0, other.0)) }
        fn min(self: Self, other: Self) -> Self { Self(_mm512_min_ps(self.0, other.0)) }
        fn max(self: Self, other: Self) -> Self { Self(_mm512_max_ps(self.0, other.0)) }
        fn select_less(a: Self, b: Self, yes: Self, no: Self) -> Self {
            Self(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a.0, b.0), no.0, yes.0))
        }
        fn at_most(a: Self, b: Self) -> u32 { u32::from(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(a.0, b.0)) }
        fn two_least(best: Self, second: Self) -> (f32, f32, usize) {{
            let least = _mm512_reduce_min_ps(best.0);
            let lane = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(best.0, _mm512_set1_ps(least)).trailing_zeros();
            // In the lane of the least its own second remains.
            let others = _mm512_mask_mov_ps(best.0, 1 << lane, second.0);
            (least, _mm512_reduce_min_ps(_mm512_min_ps(others, second.0)), lane as usize)
        }}
    }
}

impl<const IN_AVX512: bool> ByteVector for Narrow<IN_AVX512> {
    type Whole = __m256i;
    methods! {
        fn zero() -> __m256i { _mm256_setzero_si256() }
        fn load_bytes(from: *const i8) -> __m256i { _mm256_loadu_si256(from.cast()) }
        fn add_products(sums: __m256i, codes: *const u8, bytes: __m256i) -> __m256i {{
            let codes = _mm256_set1_epi32(codes.cast::<i32>().read_unaligned());
            if IN_AVX512 {
                _mm256_dpbusd_epi32(sums, codes, bytes)
            } else {
                _mm256_dpbusd_avx_epi32(sums, codes, bytes)
            }
        }}
        fn rounded(sums: __m256i, biases: *const i32) -> Self {
            Self(_mm256_cvtepi32_ps(_mm256_sub_epi32(sums, _mm256_loadu_si256(biases.cast()))))
        }
        fn mul(self: Self, other: Self) -> Self { Self(_mm256_mul_ps(self.0, other.0)) }
    }
}

impl ByteVector for Avx512 {
    type Whole = __m512i;
    methods! {
        fn zero() -> __m512i { _mm512_setzero_si512() }
        fn load_bytes(from: *const i8) -> __m512i { _mm512_loadu_si512(from.cast()) }
        fn add_products(sums: __m512i, codes: *const u8, bytes: __m512i) -> __m512i {
            _mm512_dpbusd_epi32(sums, _mm512_set1_epi32(codes.cast::<i32>().read_unaligned()), bytes)
        }
        fn rounded(sums: __m512i, biases: *const i32) -> Self {
            Self(_mm512_cvtepi32_ps(_mm512_sub_epi32(sums, _mm512_loadu_si512(biases.cast()))))
        }
        fn mul(self: Self, other: Self) -> Self { Self(_mm512_mul_ps(self.0, other.0)) }
    }
}

// A bf16 is the upper half of an f32. To round to one, half a unit less one bit is added, and one more where the kept part is
// odd: ties go to even. NaN stays NaN by its quiet bit.

impl HalfVector for Avx2 {
    methods! {
        fn load_f16(from: *const f16) -> Self { Self(_mm256_cvtph_ps(_mm_loadu_si128(from.cast()))) }
        fn load_bf16(from: *const bf16) -> Self {{
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide)))
        }}
        fn store_f16(self: Self, to: *mut f16) {
            _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0))
        }
        fn store_bf16(self: Self, to: *mut bf16) {{
            let bits = _mm256_castps_si256(self.0);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
            let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, half));
            let quiet = _mm256_or_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(0x40));
            let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0));
            let kept = _mm256_blendv_epi8(rounded, quiet, is_nan);
            let (low, high) = (_mm256_castsi256_si128(kept), _mm256_extracti128_si256::<1>(kept));
            _mm_storeu_si128(to.cast(), _mm_packus_epi32(low, high));
        }}
    }
}

impl HalfVector for Avx512 {
    methods! {
        fn load_f16(from: *const f16) -> Self { Self(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
        fn load_bf16(from: *const bf16) -> Self {{
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }}
        fn store_f16(self: Self, to: *mut f16) {{
            let narrow = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0);
            _mm256_storeu_si256(to.cast(), narrow);
        }}
        fn store_bf16(self: Self, to: *mut bf16) {{
            let bits = _mm512_castps_si512(self.0);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
            let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half));
            let quiet = _mm512_or_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(0x40));
            let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            let kept = _mm512_mask_blend_epi32(is_nan, rounded, quiet);
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(kept));
        }}
    }
}
