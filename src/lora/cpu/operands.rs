//! What the two products read and make, and what types of activations can do with them.

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::device::CpuPool;
use crate::error::Result;
use crate::lora::rows::Rows;
use crate::lora::segments::Segments;
use crate::memory::zeroed;
use crate::simd::Level;

/// The update of one slot for one projection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a> {
    /// The rows of A.
    pub a: &'a Rows,
    /// The columns of B.
    pub b: &'a Rows,
    /// Multiplied with the scale of the route.
    pub scale: f32,
}

/// One projection: its updates by slot, none where the adapter does not name the module, and what they are added to.
#[derive(Debug)]
pub(crate) struct Target<'a, Y> {
    /// Updates by slot.
    pub operands: Vec<Option<Operand<'a>>>,
    /// `[rows, outputs]`.
    pub y: ArrayViewMut2<'a, Y>,
}

/// What the first product made for one projection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shrunk {
    /// Segment after segment, in each position after position, in each as many values as the slot's rank.
    pub values: Vec<f32>,
    /// Where the values of each segment begin; one more than there are segments.
    pub starts: Vec<usize>,
}

impl Shrunk {
    /// Zeros in the shape that these segments and operands give.
    pub(crate) fn new(segments: &Segments, operands: &[Option<Operand>]) -> Result<Self> {
        let mut starts = Vec::with_capacity(segments.segments.len() + 1);
        starts.push(0);
        let mut end = 0;
        for segment in &segments.segments {
            end += segment.positions.len() * rank(operands, segment.slot);
            starts.push(end);
        }
        Ok(Self { values: zeroed("the first product", end, 1)?, starts })
    }
}

/// The rank of a slot's update, 0 without one.
pub(super) fn rank(operands: &[Option<Operand>], slot: usize) -> usize {
    operands[slot].map_or(0, |operand| operand.a.rank)
}

/// What the CPU does with one type of activations. Callers of the library name the type; kernels behind a method of the type
/// are compiled here, not again in each of their crates.
#[expect(private_interfaces, reason = "nobody outside can name the trait: it also seals `Scalar`")]
pub trait OnCpu: Sized {
    /// The first product for several projections of the same rows.
    fn shrink_at(
        level: Level,
        pool: &CpuPool,
        segments: &Segments,
        x: ArrayView2<'_, Self>,
        projections: &[&[Option<Operand<'_>>]],
    ) -> Result<Vec<Shrunk>>;
    /// The second product for several projections.
    fn expand_at(
        level: Level,
        pool: &CpuPool,
        segments: &Segments,
        shrunk: &[Shrunk],
        targets: &mut [Target<'_, Self>],
    ) -> Result<()>;
}
