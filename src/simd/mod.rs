//! One plain function body, compiled for several instruction sets and chosen at run time.
//!
//! The bodies are ordinary Rust loops: Rust never contracts `a * b + c` and never reorders additions, so every
//! version gives the same bits. Only the width of the vectors differs.

pub(crate) mod vector;

use self::vector::pair::Pair;
use self::vector::{ByteVector, HalfVector, Vector};

/// Declares `fn $name` that runs `$body` with the widest vectors this processor has.
macro_rules! widest {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$generic:ident: $bound:path>)? ($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:path;) => {
        $(#[$meta])*
        $vis fn $name $(<$generic: $bound>)? ($($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2 $(<$generic: $bound>)? ($($argument: $type),*) $(-> $result)? { $body($($argument),*) }
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
                fn avx512 $(<$generic: $bound>)? ($($argument: $type),*) $(-> $result)? { $body($($argument),*) }
                match $crate::simd::level() {
                    // SAFETY: `level` saw the processor report these features.
                    $crate::simd::Level::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    $crate::simd::Level::Avx2 => return unsafe { avx2($($argument),*) },
                    $crate::simd::Level::Portable => {}
                }
            }
            $body($($argument),*)
        }
    };
}
pub(crate) use widest;

/// Sixteen lanes brought together, halves with halves, until one is left: a fixed tree.
#[inline(always)]
pub(crate) fn halved(mut lanes: [f32; 16], together: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] = together(lanes[lane], lanes[lane + half]);
        }
    }
    lanes[0]
}

/// The instruction sets the CPU path distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Whatever the build targets.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 128-bit vectors with fused multiply-add.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// The best level of this processor, detected once.
pub(crate) fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        use std::sync::OnceLock;
        static LEVEL: OnceLock<Level> = OnceLock::new();
        *LEVEL.get_or_init(|| {
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw");
            let narrow = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            match most().as_str() {
                "portable" => Level::Portable,
                "avx2" if narrow => Level::Avx2,
                _ if wide => Level::Avx512,
                _ if narrow => Level::Avx2,
                _ => Level::Portable,
            }
        })
    }
    #[cfg(target_arch = "aarch64")]
    {
        // No processor of this kind lacks it.
        if most() == "portable" { Level::Portable } else { Level::Neon }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    Level::Portable
}

/// The best level that may be used: for tests of the others, in a process of their own.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn most() -> String {
    #[cfg(any(test, feature = "test-hooks"))]
    return std::env::var("TILEFOLD_SIMD").unwrap_or_default();
    #[cfg(not(any(test, feature = "test-hooks")))]
    String::new()
}

/// The level of products of bytes, detected once: portable, and so slower than products of `f32`, where the processor has no
/// instruction that adds four products of bytes to a lane of 32 bits.
pub(crate) fn byte_level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        use std::sync::OnceLock;
        static LEVEL: OnceLock<Level> = OnceLock::new();
        *LEVEL.get_or_init(|| match level() {
            Level::Avx512 if is_x86_feature_detected!("avx512vnni") => Level::Avx512,
            Level::Avx2 if is_x86_feature_detected!("avxvnni") => Level::Avx2,
            _ => Level::Portable,
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    Level::Portable
}

/// The level of conversions of halves: portable where a processor has wide vectors but not those.
pub(crate) fn half_level() -> Level {
    with_halves(level())
}

/// This level, or the portable one where the processor lacks conversions of halves.
pub(crate) fn with_halves(level: Level) -> Level {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 if !is_x86_feature_detected!("f16c") => Level::Portable,
        level => level,
    }
}

/// Lanes of the tile's vectors at a level.
pub(crate) fn lanes(level: Level) -> usize {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => 16,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => 8,
        #[cfg(target_arch = "aarch64")]
        Level::Neon => 8,
        Level::Portable => 8,
    }
}

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
    /// What is done on any vectors, at [`level`].
    OnVectors: Vector, run;
    "avx512f" => vector::x86::Avx512, 12;
    "avx2,fma" => vector::x86::Avx2, 6;
    neon => Pair<vector::neon::Neon>, 6;
    portable => vector::Portable, 4
}
dispatch! {
    /// What is done on vectors that multiply bytes, at [`byte_level`].
    OnByteVectors: ByteVector, run_on_bytes;
    "avx512f,avx512vnni" => vector::x86::Avx512, 12;
    "avx2,fma,avxvnni" => vector::x86::Avx2, 6;
    neon => vector::Portable, 4;
    portable => vector::Portable, 4
}
dispatch! {
    /// What is done on 8 lanes that multiply bytes, at [`byte_level`]: for fewer columns than a wide vector has lanes.
    OnFewBytes: ByteVector, run_on_few_bytes;
    "avx512f,avx512vl,avx512vnni,avx2,fma" => vector::x86::Avx512Half, 12;
    "avx2,fma,avxvnni" => vector::x86::Avx2, 6;
    neon => vector::Portable, 4; portable => vector::Portable, 4
}
dispatch! {
    /// What is done on 16 lanes that convert halves, at [`half_level`].
    OnHalfVectors: HalfVector, run_on_halves;
    "avx512f,avx512dq,avx512vl,avx512bw" => vector::x86::Avx512, 4;
    "avx2,fma,f16c" => Pair<vector::x86::Avx2>, 2;
    neon => Pair<Pair<vector::neon::Neon>>, 2;
    portable => Pair<vector::Portable>, 2
}
