//! The order of what the first product makes: by route for callers, by module and position for backends.

use super::cpu;
use super::perform::{Shrunk, Step};
use super::segments::Segments;
use crate::error::Result;

/// The segment of each position.
pub(crate) fn segments_of(segments: &Segments) -> Vec<usize> {
    let numbered = segments.segments.iter().enumerate();
    numbered.flat_map(|(number, segment)| std::iter::repeat_n(number, segment.positions.len())).collect()
}

/// Where the values of a position begin in those of one module, and how many they are.
fn place(part: &cpu::Shrunk, segments: &Segments, segment: usize, position: usize, rank: usize) -> usize {
    part.starts[segment] + (position - segments.segments[segment].positions.start) * rank
}

/// From values by module and position to values by route.
pub(crate) fn gather<'r>(
    shrunk: &mut Shrunk,
    segments: &Segments,
    parts: &[cpu::Shrunk],
    ranks: impl Fn(usize) -> &'r [u32],
) {
    let of = segments_of(segments);
    let mut end = 0;
    for &position in &segments.by_row {
        let (position, segment) = (position as usize, of[position as usize]);
        for (part, &rank) in parts.iter().zip(ranks(segments.segments[segment].slot)) {
            let begin = place(part, segments, segment, position, rank as usize);
            let values = &part.values[begin..begin + rank as usize];
            shrunk.values_mut()[end..end + values.len()].copy_from_slice(values);
            end += values.len();
        }
    }
}

/// From values by route to values by module and position.
pub(crate) fn scatter<'r>(
    shrunk: &Shrunk,
    segments: &Segments,
    ranks: impl Fn(usize) -> &'r [u32],
    operands: &[Vec<Option<cpu::Operand<'_>>>],
) -> Result<Vec<cpu::Shrunk>> {
    let of = segments_of(segments);
    let parts = operands.iter().map(|operands| cpu::Shrunk::new(segments, operands));
    let mut parts = parts.collect::<Result<Vec<_>>>()?;
    let mut end = 0;
    for &position in &segments.by_row {
        let (position, segment) = (position as usize, of[position as usize]);
        for (part, &rank) in parts.iter_mut().zip(ranks(segments.segments[segment].slot)) {
            let rank = rank as usize;
            let begin = place(part, segments, segment, position, rank);
            part.values[begin..begin + rank].copy_from_slice(&shrunk.values()[end..end + rank]);
            end += rank;
        }
    }
    Ok(parts)
}

/// Values by route and module, for the reference.
pub(crate) fn by_module(shrunk: &Shrunk, step: &Step, group: usize) -> Vec<Vec<Vec<f64>>> {
    let mut end = 0;
    let routes = step.routes();
    let slots = (0..routes.rows()).flat_map(|row| routes.of_row(row)).map(|route| route.slot as usize);
    let ranks = step.module_ranks(group);
    slots
        .map(|slot| {
            let of_module = |rank: &u32| {
                let begin = end;
                end += *rank as usize;
                shrunk.values()[begin..end].iter().map(|value| f64::from(*value)).collect()
            };
            ranks(slot).iter().map(of_module).collect()
        })
        .collect()
}
