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
        // SAFETY: plain Rust runs anywhere.
        Level::Portable => unsafe { work.run::<vector::Portable>() },
    }
}
