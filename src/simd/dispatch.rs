//! Chooses the instruction set once per piece of work: everything below is inlined into one function per set.
//!
//! Work is of as many sorts as there are traits of vectors, by what it asks of the processor beside arithmetic in `f32`.

use super::Level;
use super::vector::pair::Pair;
use super::vector::{self, ByteVector, HalfVector, Vector};

/// Declares a sort of work, and the function that does it: for each level the features that the processor reported, the
/// vectors, and how many rows a block of registers has.
macro_rules! dispatch {
    ($(#[$meta:meta])* $sort:ident: $vector:ident, $run:ident;
     $avx512:tt => $wide:ty, $wide_rows:literal; $avx2:tt => $narrow:ty, $narrow_rows:literal;
     neon => $neon:ty, $neon_rows:literal; portable => $portable:ty, $portable_rows:literal) => {
        $(#[$meta])*
        pub(crate) trait $sort {
            /// Does it, with blocks of `ROWS` rows.
            ///
            /// # Safety
            /// The processor has `V`'s instruction set, and what was packed for vectors was packed for `V::LANES`.
            /// Implementations are `#[inline(always)]`: only so do they get that instruction set.
            unsafe fn run<V: $vector, const ROWS: usize>(self);
        }

        /// Does the work with the vectors of a level of this processor, at which its operands were packed.
        pub(crate) fn $run(level: Level, work: impl $sort) {
            match level {
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => {
                    #[target_feature(enable = $avx512)]
                    unsafe fn run(work: impl $sort) {
                        // SAFETY: as this function's caller promises.
                        unsafe { work.run::<$wide, $wide_rows>() }
                    }
                    // SAFETY: the level says that the processor reported these features.
                    unsafe { run(work) }
                }
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => {
                    #[target_feature(enable = $avx2)]
                    unsafe fn run(work: impl $sort) {
                        // SAFETY: as this function's caller promises.
                        unsafe { work.run::<$narrow, $narrow_rows>() }
                    }
                    // SAFETY: as above.
                    unsafe { run(work) }
                }
                // SAFETY: every processor of this kind has NEON.
                #[cfg(target_arch = "aarch64")]
                Level::Neon => unsafe { work.run::<$neon, $neon_rows>() },
                // SAFETY: plain Rust runs anywhere.
                Level::Portable => unsafe { work.run::<$portable, $portable_rows>() },
            }
        }
    };
}

dispatch! {
    /// What is done on any vectors, at [`super::level`].
    OnVectors: Vector, run;
    "avx512f" => vector::x86::Avx512, 12;
    "avx2,fma" => vector::x86::Avx2, 6;
    neon => Pair<vector::neon::Neon>, 6;
    portable => vector::Portable, 4
}
dispatch! {
    /// What is done on vectors that multiply bytes, at [`super::byte_level`].
    OnByteVectors: ByteVector, run_on_bytes;
    "avx512f,avx512vnni" => vector::x86::Avx512, 12;
    "avx2,fma,avxvnni" => vector::x86::Avx2, 6;
    neon => vector::Portable, 4;
    portable => vector::Portable, 4
}
dispatch! {
    /// What is done on 8 lanes that multiply bytes, at [`super::byte_level`]: for fewer columns than a wide vector has lanes.
    OnFewBytes: ByteVector, run_on_few_bytes;
    "avx512f,avx512vl,avx512vnni,avx2,fma" => vector::x86::Avx512Half, 12;
    "avx2,fma,avxvnni" => vector::x86::Avx2, 6;
    neon => vector::Portable, 4; portable => vector::Portable, 4
}
dispatch! {
    /// What is done on 16 lanes that convert halves, at [`super::half_level`].
    OnHalfVectors: HalfVector, run_on_halves;
    "avx512f,avx512dq,avx512vl,avx512bw" => vector::x86::Avx512, 4;
    "avx2,fma,f16c" => Pair<vector::x86::Avx2>, 2;
    neon => Pair<Pair<vector::neon::Neon>>, 2;
    portable => Pair<vector::Portable>, 2
}
