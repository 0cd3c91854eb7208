//! The two types of dissimilarities that swaps are computed in.

use ndarray::ArrayViewMut2;

use super::exact::{Exact, FEW, MANY, Span};
use super::integer::Units;
use crate::distance::MatrixViewMut;
use crate::error::Result;
use crate::simd::widest;

/// `f32` or `f64`.
pub(super) trait Entry: bytemuck::Pod + PartialOrd + Default + Send + Sync {
    /// Larger than every dissimilarity.
    const INFINITY: Self;
    /// Units for every matrix of this type.
    type Widest: Units;
    /// Those for one of this span, of objects that weigh `weight` together.
    fn widest(span: &Span, weight: u64) -> Result<Self::Widest>;
    /// The value in `f64`.
    fn wide(self) -> f64;
    /// A place for a matrix of this type.
    fn place(out: ArrayViewMut2<'_, Self>) -> MatrixViewMut<'_>;
    /// The slice as one of `f32`, where it is.
    #[cfg(feature = "gpu")]
    fn as_f32(values: &[Self]) -> Option<&[f32]>;
    /// Appends the positions where a value is below its limit.
    fn below(values: &[Self], limits: &[Self], found: &mut Vec<u32>);
}

impl Entry for f32 {
    const INFINITY: Self = Self::INFINITY;
    type Widest = Exact<FEW>;
    fn widest(span: &Span, weight: u64) -> Result<Exact<FEW>> {
        Exact::of_any(span, weight)
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn place(out: ArrayViewMut2<'_, Self>) -> MatrixViewMut<'_> {
        MatrixViewMut::F32(out)
    }
    #[cfg(feature = "gpu")]
    fn as_f32(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }
    fn below(values: &[Self], limits: &[Self], found: &mut Vec<u32>) {
        below_f32(values, limits, found);
    }
}

impl Entry for f64 {
    const INFINITY: Self = Self::INFINITY;
    type Widest = Exact<MANY>;
    fn widest(span: &Span, weight: u64) -> Result<Exact<MANY>> {
        Exact::of_any(span, weight)
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    fn place(out: ArrayViewMut2<'_, Self>) -> MatrixViewMut<'_> {
        MatrixViewMut::F64(out)
    }
    #[cfg(feature = "gpu")]
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }
    fn below(values: &[Self], limits: &[Self], found: &mut Vec<u32>) {
        below_f64(values, limits, found);
    }
}

/// Appends the positions where a value is below its limit.
#[inline(always)]
fn below<T: Entry>(values: &[T], limits: &[T], found: &mut Vec<u32>) {
    const LANES: usize = 32;
    let (blocks, rest) = values.as_chunks::<LANES>();
    let (limit_blocks, rest_limits) = limits.as_chunks::<LANES>();
    for (index, (values, limits)) in blocks.iter().zip(limit_blocks).enumerate() {
        let mut is_below = 0_u32;
        for lane in 0..LANES {
            is_below |= u32::from(values[lane] < limits[lane]) << lane;
        }
        while is_below != 0 {
            found.push((index * LANES) as u32 + is_below.trailing_zeros());
            is_below &= is_below - 1;
        }
    }
    let start = blocks.len() * LANES;
    let tail = rest.iter().zip(rest_limits).enumerate();
    found.extend(tail.filter(|(_, (value, limit))| value < limit).map(|(at, _)| (start + at) as u32));
}

widest! {
    /// [`below`] with the widest vectors.
    fn below_f32(values: &[f32], limits: &[f32], found: &mut Vec<u32>) = below;
}

widest! {
    /// [`below`] with the widest vectors.
    fn below_f64(values: &[f64], limits: &[f64], found: &mut Vec<u32>) = below;
}
