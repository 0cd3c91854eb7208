//! Arrays with any strides, as tasks share them.

use super::tasks::LANES;
use crate::lora::values::{Precision, Scalar};
use crate::simd::vector::HalfVector;

/// Loads that widen and stores that narrow.
pub(super) trait Elements: HalfVector {
    /// Elements of any of the types, widened.
    ///
    /// # Safety
    /// As [`HalfVector`] says; the pointer is aligned as its elements are.
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
    /// As [`Self::widen`].
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

impl<V: HalfVector> Elements for V {}

/// An array that tasks use side by side: they read x, and write rows and columns of y that are theirs alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strided<Y> {
    /// Element `[0, 0]`.
    pub first: *mut Y,
    /// Elements from a row to the next, and from a column to the next.
    pub strides: [isize; 2],
}

// SAFETY: what the pointer leads to is read by all, or used by one task alone.
unsafe impl<Y: Send + Sync> Send for Strided<Y> {}
// SAFETY: as above.
unsafe impl<Y: Send + Sync> Sync for Strided<Y> {}

impl<Y: Scalar> Strided<Y> {
    /// `count` values of a row, widened; the other lanes hold zeros.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set; the elements exist and are the task's own.
    #[inline(always)]
    pub unsafe fn read<V: HalfVector>(self, row: usize, column: usize, count: usize) -> V {
        // SAFETY: as the caller promises.
        unsafe {
            let from = self.element(row, column);
            if count == LANES && self.strides[1] == 1 {
                return V::widen(from);
            }
            let mut buffer = [Y::narrow(0.0); LANES];
            for at in 0..count {
                buffer[at] = *from.offset(at as isize * self.strides[1]);
            }
            V::widen(buffer.as_ptr())
        }
    }

    /// Rounds the first `count` lanes to values of a row.
    ///
    /// # Safety
    /// As [`Self::read`].
    #[inline(always)]
    pub unsafe fn write<V: HalfVector>(self, row: usize, column: usize, count: usize, values: V) {
        // SAFETY: as the caller promises.
        unsafe {
            let to = self.element(row, column);
            if count == LANES && self.strides[1] == 1 {
                values.narrow(to);
                return;
            }
            let mut buffer = [Y::narrow(0.0); LANES];
            values.narrow(buffer.as_mut_ptr());
            for at in 0..count {
                *to.offset(at as isize * self.strides[1]) = buffer[at];
            }
        }
    }

    /// # Safety
    /// The element exists.
    #[inline(always)]
    unsafe fn element(self, row: usize, column: usize) -> *mut Y {
        // SAFETY: as the caller promises.
        unsafe { self.first.offset(row as isize * self.strides[0] + column as isize * self.strides[1]) }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::super::tests::levels;
    use super::*;
    use crate::simd::{OnHalfVectors, run_on_halves};

    /// Every 16-bit value widens, and values of every size and of every remainder narrow, as the definition says.
    #[test]
    fn conversions_are_exact() {
        struct Widen<'a, E>(&'a [E], &'a mut [f32]);
        impl<E: Scalar> OnHalfVectors for Widen<'_, E> {
            #[inline(always)]
            unsafe fn run<V: HalfVector, const BLOCK: usize>(self) {
                for (from, to) in self.0.chunks_exact(LANES).zip(self.1.chunks_exact_mut(LANES)) {
                    // SAFETY: both chunks hold a whole vector.
                    unsafe { V::widen(from.as_ptr()).store(to.as_mut_ptr()) };
                }
            }
        }
        struct Narrow<'a, E>(&'a [f32], &'a mut [E]);
        impl<E: Scalar> OnHalfVectors for Narrow<'_, E> {
            #[inline(always)]
            unsafe fn run<V: HalfVector, const BLOCK: usize>(self) {
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
                run_on_halves(level, Widen(&all, &mut widened));
                assert!(all.iter().zip(&widened).all(|(from, &to)| is_same(from.widen(), to)), "{level:?}");
                for from in [&widened, &wide] {
                    let mut narrowed = vec![E::narrow(1.0); from.len()];
                    run_on_halves(level, Narrow(from, &mut narrowed));
                    let right = |(&from, to): (&f32, &E)| is_same(E::narrow(from).widen(), to.widen());
                    assert!(from.iter().zip(&narrowed).all(right), "{level:?}");
                }
            }
        }
        both::<f16>();
        both::<bf16>();
    }
}
