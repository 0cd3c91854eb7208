//! The few vector operations of the CPU's kernels, for each instruction set.

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod pair;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use half::{bf16, f16};

/// Methods of one expression each, with the contract of the trait that they implement; those that keep it anyhow follow `safe`.
macro_rules! methods {
    (safe $(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? { $body:expr })*) => {$(
        #[inline(always)]
        unsafe fn $name($($argument: $type),*) $(-> $result)? { $body }
    )*};
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? { $body:expr })*) => {$(
        #[inline(always)]
        unsafe fn $name($($argument: $type),*) $(-> $result)? {
            // SAFETY: as the trait's contract.
            unsafe { $body }
        }
    )*};
}
use methods;

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

/// Lanes of `f32` from and to values of 16 bits. Every operation is exact or rounds once, to nearest with ties to even, so
/// that all sets give the same bits.
///
/// # Safety
/// As [`Vector`]; the processor also has the conversions that the implementation names.
pub(crate) trait HalfVector: Vector {
    unsafe fn load_f16(from: *const f16) -> Self;
    unsafe fn load_bf16(from: *const bf16) -> Self;
    unsafe fn store_f16(self, to: *mut f16);
    unsafe fn store_bf16(self, to: *mut bf16);
    /// `self + a * b`, rounded once.
    #[inline(always)]
    unsafe fn add_fused(self, a: Self, b: Self) -> Self {
        // SAFETY: as the trait's contract.
        unsafe { self.add_product(a, b) }
    }
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
    methods! {
        fn load(from: *const f32) -> Self { Self(from.cast::<[f32; 8]>().read_unaligned()) }
        fn store(self: Self, to: *mut f32) { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    methods! { safe
        fn splat(value: f32) -> Self { Self([value; 8]) }
        fn add_product(self: Self, a: Self, b: Self) -> Self {
            self.zip(a.zip(b, |a, b| a * b), |sum, product| sum + product)
        }
        fn add(self: Self, other: Self) -> Self { self.zip(other, |a, b| a + b) }
        fn sub(self: Self, other: Self) -> Self { self.zip(other, |a, b| a - b) }
        fn min(self: Self, other: Self) -> Self { self.zip(other, |a, b| if a < b { a } else { b }) }
        fn max(self: Self, other: Self) -> Self { self.zip(other, |a, b| if a > b { a } else { b }) }
        fn select_less(a: Self, b: Self, yes: Self, no: Self) -> Self {
            Self(std::array::from_fn(|lane| if a.0[lane] < b.0[lane] { yes.0[lane] } else { no.0[lane] }))
        }
        fn at_most(a: Self, b: Self) -> u32 {
            (0..8).fold(0, |mask, lane| mask | u32::from(a.0[lane] <= b.0[lane]) << lane)
        }
    }
}

impl ByteVector for Portable {
    type Whole = [i32; 8];
    methods! {
        fn load_bytes(from: *const i8) -> [i32; 8] { from.cast::<[i32; 8]>().read_unaligned() }
        fn add_products(sums: [i32; 8], codes: *const u8, bytes: [i32; 8]) -> [i32; 8] {{
            let codes = codes.cast::<[u8; 4]>().read();
            let add = |sum: i32, (code, byte): (u8, u8)| sum + i32::from(code) * i32::from(byte as i8);
            let product = |lane: usize| codes.into_iter().zip(bytes[lane].to_ne_bytes()).fold(sums[lane], add);
            std::array::from_fn(product)
        }}
        fn rounded(sums: [i32; 8], biases: *const i32) -> Self {{
            let biases = biases.cast::<[i32; 8]>().read_unaligned();
            Self(std::array::from_fn(|lane| (sums[lane] - biases[lane]) as f32))
        }}
    }
    methods! { safe
        fn zero() -> [i32; 8] { [0; 8] }
        fn mul(self: Self, other: Self) -> Self { self.zip(other, |a, b| a * b) }
    }
}

impl HalfVector for Portable {
    methods! {
        fn load_f16(from: *const f16) -> Self { Self(from.cast::<[f16; 8]>().read().map(f16::to_f32)) }
        fn load_bf16(from: *const bf16) -> Self { Self(from.cast::<[bf16; 8]>().read().map(bf16::to_f32)) }
        fn store_f16(self: Self, to: *mut f16) { to.cast::<[f16; 8]>().write(self.0.map(f16::from_f32)) }
        fn store_bf16(self: Self, to: *mut bf16) { to.cast::<[bf16; 8]>().write(self.0.map(bf16::from_f32)) }
    }
    methods! { safe
        // Without an instruction for it this is a library call: slow, but the same bits.
        fn add_fused(self: Self, a: Self, b: Self) -> Self {
            Self(std::array::from_fn(|lane| a.0[lane].mul_add(b.0[lane], self.0[lane])))
        }
    }
}
