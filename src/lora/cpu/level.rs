//! Chooses the instruction set once per task: everything below is inlined into one function per set.

use super::vector::{self, Vector};
use crate::simd::{self, Level};

/// What can be done with any vectors.
pub(super) trait Work {
    /// Does it.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set. Implementations are `#[inline(always)]`: only so do they get it.
    unsafe fn run<V: Vector>(self);
}

/// The best level of this processor for these kernels.
pub(super) fn best() -> Level {
    supported(simd::level())
}

/// This level, or the portable one where the processor lacks half-precision conversions.
pub(super) fn supported(level: Level) -> Level {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 if !is_x86_feature_detected!("f16c") => Level::Portable,
        level => level,
    }
}

/// Does the work with the vectors of `level`, which came from [`supported`].
pub(super) fn run(level: Level, work: impl Work) {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
            unsafe fn run(work: impl Work) {
                // SAFETY: as this function's caller promises.
                unsafe { work.run::<vector::x86::Avx512>() }
            }
            // SAFETY: the level says that the processor reports these features.
            unsafe { run(work) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn run(work: impl Work) {
                // SAFETY: as this function's caller promises.
                unsafe { work.run::<vector::x86::Avx2>() }
            }
            // SAFETY: as above.
            unsafe { run(work) }
        }
        // SAFETY: every processor of this kind has NEON.
        #[cfg(target_arch = "aarch64")]
        Level::Neon => unsafe { work.run::<vector::neon::Neon>() },
        // SAFETY: plain Rust runs anywhere.
        Level::Portable => unsafe { work.run::<vector::Portable>() },
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::super::tests::levels;
    use super::super::vector::LANES;
    use super::*;
    use crate::lora::values::Scalar;

    /// Every 16-bit value widens, and values of every size and of every remainder narrow, as the definition says.
    #[test]
    fn conversions_are_exact() {
        struct Widen<'a, E>(&'a [E], &'a mut [f32]);
        impl<E: Scalar> Work for Widen<'_, E> {
            #[inline(always)]
            unsafe fn run<V: Vector>(self) {
                for (from, to) in self.0.chunks_exact(LANES).zip(self.1.chunks_exact_mut(LANES)) {
                    // SAFETY: both chunks hold a whole vector.
                    unsafe { V::widen(from.as_ptr()).store(to.as_mut_ptr()) };
                }
            }
        }
        struct Narrow<'a, E>(&'a [f32], &'a mut [E]);
        impl<E: Scalar> Work for Narrow<'_, E> {
            #[inline(always)]
            unsafe fn run<V: Vector>(self) {
                for (from, to) in self.0.chunks_exact(LANES).zip(self.1.chunks_exact_mut(LANES)) {
                    // SAFETY: both chunks hold a whole vector.
                    unsafe { V::load(from.as_ptr()).narrow(to.as_mut_ptr()) };
                }
            }
        }
        fn both<E: Scalar>() {
            let all: Vec<E> =
                (0..=u16::MAX).map(|bits| bytemuck::pod_read_unaligned(&bits.to_ne_bytes())).collect();
            let is_same = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            let wide: Vec<f32> =
                (0..1_u32 << 22).map(|step| f32::from_bits(step * 1021 + step % 7)).collect();
            for level in levels() {
                let mut widened = vec![0.0; all.len()];
                run(level, Widen(&all, &mut widened));
                assert!(all.iter().zip(&widened).all(|(from, &to)| is_same(from.widen(), to)), "{level:?}");
                for from in [&widened, &wide] {
                    let mut narrowed = vec![E::narrow(1.0); from.len()];
                    run(level, Narrow(from, &mut narrowed));
                    let right = |(&from, to): (&f32, &E)| is_same(E::narrow(from).widen(), to.widen());
                    assert!(from.iter().zip(&narrowed).all(right), "{level:?}");
                }
            }
        }
        both::<f16>();
        both::<bf16>();
    }
}
