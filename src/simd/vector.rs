//! The few vector operations of the CPU tile, for each instruction set.

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;

/// A vector of `LANES` `f32`.
///
/// # Safety
/// Methods may only run on a processor with the instruction set the implementation names; the pointers must be valid
/// for `LANES` elements.
pub(crate) trait Vector: Copy {
    const LANES: usize;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `self + a * b`, fused or not.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn min(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    /// Lane by lane: `if a < b { yes } else { no }`.
    unsafe fn select_less(a: Self, b: Self, yes: Self, no: Self) -> Self;
    /// Bit i: whether lane i of `a` is at most lane i of `b`.
    unsafe fn at_most(a: Self, b: Self) -> u32;
    /// The least of `best` and its lowest lane, and the least of `second` and the other lanes of `best`:
    /// `(least, second least, lane)`.
    #[inline(always)]
    unsafe fn two_least(best: Self, second: Self) -> (f32, f32, usize) {
        let (mut bests, mut seconds) = ([0.0_f32; 16], [0.0_f32; 16]);
        // SAFETY: vectors have at most 16 lanes.
        unsafe {
            best.store(bests.as_mut_ptr());
            second.store(seconds.as_mut_ptr());
        }
        let (mut least, mut next, mut lane_of_least) = (f32::MAX, f32::MAX, 0);
        for lane in 0..Self::LANES {
            next = next.min(seconds[lane]).min(least.max(bests[lane]));
            if bests[lane] < least {
                least = bests[lane];
                lane_of_least = lane;
            }
        }
        (least, next, lane_of_least)
    }
}

/// The same lanes of 32 bits as whole numbers: sums of products of bytes.
///
/// # Safety
/// As [`Vector`]; the processor also has the products of bytes that the implementation names.
pub(crate) trait ByteVector: Vector {
    /// `LANES` whole numbers, or `4 * LANES` bytes.
    type Whole: Copy;
    unsafe fn zero() -> Self::Whole;
    /// Four signed bytes for each lane.
    unsafe fn load_bytes(from: *const i8) -> Self::Whole;
    /// Adds the products of four unsigned bytes, the same for all lanes, with four signed ones of each lane.
    unsafe fn add_products(sums: Self::Whole, codes: *const u8, bytes: Self::Whole) -> Self::Whole;
    /// `sums - biases`, rounded.
    unsafe fn rounded(sums: Self::Whole, biases: *const i32) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
}

/// Plain Rust, for processors without an implementation of their own.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

impl Vector for Portable {
    const LANES: usize = 8;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises 8 readable elements.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises 8 writable elements.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        self.zip(a.zip(b, |a, b| a * b), |sum, product| sum + product)
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn select_less(a: Self, b: Self, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|lane| if a.0[lane] < b.0[lane] { yes.0[lane] } else { no.0[lane] }))
    }
    #[inline(always)]
    unsafe fn at_most(a: Self, b: Self) -> u32 {
        (0..Self::LANES).fold(0, |mask, lane| mask | u32::from(a.0[lane] <= b.0[lane]) << lane)
    }
}

impl ByteVector for Portable {
    type Whole = [i32; 8];
    #[inline(always)]
    unsafe fn zero() -> [i32; 8] {
        [0; 8]
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const i8) -> [i32; 8] {
        // SAFETY: the caller promises 32 readable bytes.
        unsafe { from.cast::<[i32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn add_products(sums: [i32; 8], codes: *const u8, bytes: [i32; 8]) -> [i32; 8] {
        // SAFETY: the caller promises four readable bytes.
        let codes = unsafe { codes.cast::<[u8; 4]>().read() };
        let add = |sum: i32, (code, byte): (u8, u8)| sum + i32::from(code) * i32::from(byte as i8);
        let product = |lane: usize| codes.into_iter().zip(bytes[lane].to_ne_bytes()).fold(sums[lane], add);
        std::array::from_fn(product)
    }
    #[inline(always)]
    unsafe fn rounded(sums: [i32; 8], biases: *const i32) -> Self {
        // SAFETY: the caller promises 8 readable elements.
        let biases = unsafe { biases.cast::<[i32; 8]>().read_unaligned() };
        Self(std::array::from_fn(|lane| (sums[lane] - biases[lane]) as f32))
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    use super::{ByteVector, Vector};
    use std::arch::x86_64::*;

    /// AVX2 with FMA.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256);

    /// AVX-512F.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    macro_rules! vector {
        ($type:ident, $lanes:literal, $set1:ident, $load:ident, $store:ident, $fma:ident, $add:ident, $sub:ident,
         $min:ident, $max:ident, |$a:ident, $b:ident, $yes:ident, $no:ident| $select:expr,
         |$c:ident, $d:ident| $at_most:expr $(, $more:item)*) => {
            impl Vector for $type {
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn splat(value: f32) -> Self {
                    // SAFETY: as the trait's contract.
                    Self(unsafe { $set1(value) })
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    // SAFETY: as the trait's contract.
                    Self(unsafe { $load(from) })
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: as the trait's contract.
                    unsafe { $store(to, self.0) }
                }
                #[inline(always)]
                unsafe fn add_product(self, a: Self, b: Self) -> Self {
                    // SAFETY: as the trait's contract.
                    Self(unsafe { $fma(a.0, b.0, self.0) })
                }
                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    // SAFETY: as the trait's contract.
                    Self(unsafe { $add(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn sub(self, other: Self) -> Self {
                    // SAFETY: as the trait's contract.
                    Self(unsafe { $sub(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn min(self, other: Self) -> Self {
                    // SAFETY: as the trait's contract.
                    Self(unsafe { $min(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn max(self, other: Self) -> Self {
                    // SAFETY: as the trait's contract.
                    Self(unsafe { $max(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn select_less($a: Self, $b: Self, $yes: Self, $no: Self) -> Self {
                    // SAFETY: as the trait's contract.
                    Self(unsafe { $select })
                }
                #[inline(always)]
                unsafe fn at_most($c: Self, $d: Self) -> u32 {
                    // SAFETY: as the trait's contract.
                    unsafe { $at_most }
                }
                $($more)*
            }
        };
    }

    vector!(
        Avx2,
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_min_ps,
        _mm256_max_ps,
        |a, b, yes, no| _mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0)),
        |a, b| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(a.0, b.0)) as u32
    );
    vector!(
        Avx512,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_min_ps,
        _mm512_max_ps,
        |a, b, yes, no| _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a.0, b.0), no.0, yes.0),
        |a, b| u32::from(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(a.0, b.0)),
        #[inline(always)]
        unsafe fn two_least(best: Self, second: Self) -> (f32, f32, usize) {
            // SAFETY: as the trait's contract.
            unsafe {
                let least = _mm512_reduce_min_ps(best.0);
                let lane = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(best.0, _mm512_set1_ps(least)).trailing_zeros();
                // In the lane of the least its own second remains.
                let others = _mm512_mask_mov_ps(best.0, 1 << lane, second.0);
                (least, _mm512_reduce_min_ps(_mm512_min_ps(others, second.0)), lane as usize)
            }
        }
    );

    macro_rules! byte_vector {
        ($type:ident, $whole:ident, $zero:ident, $load:ident, $set1:ident, $dot:ident, $sub:ident, $convert:ident, $mul:ident) => {
            impl ByteVector for $type {
                type Whole = $whole;
                #[inline(always)]
                unsafe fn zero() -> $whole {
                    // SAFETY: as the trait's contract.
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn load_bytes(from: *const i8) -> $whole {
                    // SAFETY: as the trait's contract.
                    unsafe { $load(from.cast()) }
                }
                #[inline(always)]
                unsafe fn add_products(sums: $whole, codes: *const u8, bytes: $whole) -> $whole {
                    // SAFETY: as the trait's contract.
                    unsafe { $dot(sums, $set1(codes.cast::<i32>().read_unaligned()), bytes) }
                }
                #[inline(always)]
                unsafe fn rounded(sums: $whole, biases: *const i32) -> Self {
                    // SAFETY: as the trait's contract.
                    Self(unsafe { $convert($sub(sums, $load(biases.cast()))) })
                }
                #[inline(always)]
                unsafe fn mul(self, other: Self) -> Self {
                    // SAFETY: as the trait's contract.
                    Self(unsafe { $mul(self.0, other.0) })
                }
            }
        };
    }

    byte_vector!(
        Avx2,
        __m256i,
        _mm256_setzero_si256,
        _mm256_loadu_si256,
        _mm256_set1_epi32,
        _mm256_dpbusd_avx_epi32,
        _mm256_sub_epi32,
        _mm256_cvtepi32_ps,
        _mm256_mul_ps
    );
    byte_vector!(
        Avx512,
        __m512i,
        _mm512_setzero_si512,
        _mm512_loadu_si512,
        _mm512_set1_epi32,
        _mm512_dpbusd_epi32,
        _mm512_sub_epi32,
        _mm512_cvtepi32_ps,
        _mm512_mul_ps
    );
}
