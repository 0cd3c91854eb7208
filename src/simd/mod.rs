//! One plain function body, compiled for several instruction sets and chosen at run time.
//!
//! The bodies are ordinary Rust loops: Rust never contracts `a * b + c` and never reorders additions, so every
//! version gives the same bits. Only the width of the vectors differs.

pub(crate) mod dispatch;
pub(crate) mod vector;

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
