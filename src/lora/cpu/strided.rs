//! Arrays with any strides, as tasks share them.

use super::vector::{LANES, Vector};
use crate::lora::values::Scalar;

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
    pub unsafe fn read<V: Vector>(self, row: usize, column: usize, count: usize) -> V {
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
    pub unsafe fn write<V: Vector>(self, row: usize, column: usize, count: usize, values: V) {
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
