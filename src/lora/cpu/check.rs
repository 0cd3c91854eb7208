//! What the CPU path refuses.

use super::operands::{Operand, Shrunk, Target, rank};
use crate::error::{Error, Result};
use crate::lora::segments::Segments;

/// An array has one row per row of the batch.
pub(super) fn rows(argument: &'static str, segments: &Segments, rows: usize) -> Result<()> {
    let expected = segments.row_starts.len().saturating_sub(1);
    if rows == expected { Ok(()) } else { Err(shape(argument, "rows", expected, rows)) }
}

/// x fits every A that the batch uses.
pub(super) fn inputs(segments: &Segments, operands: &[Option<Operand>], width: usize) -> Result<()> {
    used(segments, operands, |operand| {
        if operand.a.width == width { Ok(()) } else { Err(shape("x", "columns", operand.a.width, width)) }
    })
}

/// y fits the batch and every B that it uses.
pub(super) fn target<Y>(segments: &Segments, target: &Target<Y>) -> Result<()> {
    rows("y", segments, target.y.nrows())?;
    let width = target.y.ncols();
    used(segments, &target.operands, |Operand { a, b, .. }| match b.width == width {
        true if a.rank == b.rank => Ok(()),
        true => Err(shape("B", "rank vectors, as A has", a.rank, b.rank)),
        false => Err(shape("y", "columns", b.width, width)),
    })
}

/// The values of the first product are laid out as these segments and operands ask.
pub(super) fn shrunk(segments: &Segments, operands: &[Option<Operand>], shrunk: &Shrunk) -> Result<()> {
    let mut end = 0;
    let mut fits = shrunk.starts.len() == segments.segments.len() + 1 && shrunk.starts[0] == 0;
    for (at, segment) in segments.segments.iter().enumerate() {
        end += segment.positions.len() * rank(operands, segment.slot);
        fits &= shrunk.starts.get(at + 1) == Some(&end);
    }
    if fits && shrunk.values.len() == end {
        return Ok(());
    }
    Err(shape("shrunk", "values, laid out as this batch asks", end, shrunk.values.len()))
}

fn used(
    segments: &Segments,
    operands: &[Option<Operand>],
    check: impl Fn(&Operand) -> Result<()>,
) -> Result<()> {
    for segment in &segments.segments {
        match operands.get(segment.slot) {
            None => {
                return Err(Error::parameter(
                    "slot",
                    format!("a slot below {}", operands.len()),
                    segment.slot,
                ));
            }
            Some(None) => {}
            Some(Some(operand)) => check(operand)?,
        }
    }
    Ok(())
}

fn shape(argument: &'static str, what: &str, expected: usize, got: usize) -> Error {
    Error::shape(argument, format!("{expected} {what}"), got)
}
