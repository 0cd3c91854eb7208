//! What every element type of a table can do.

use half::{bf16, f16};

/// A number that widens to `f64`. 64-bit integers beyond 2^53 round to the nearest `f64`, as NumPy does.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// The value in `f64`.
    fn widen(self) -> f64;
}

macro_rules! lossless {
    ($($type:ty),*) => {$(impl Element for $type {
        #[inline(always)]
        fn widen(self) -> f64 { f64::from(self) }
    })*};
}
lossless!(f32, f64, f16, bf16, u8, i8, u16, i16, u32, i32);

impl Element for u64 {
    #[inline(always)]
    fn widen(self) -> f64 {
        self as f64
    }
}

impl Element for i64 {
    #[inline(always)]
    fn widen(self) -> f64 {
        self as f64
    }
}
