//! The kernel of the fold that keeps all columns within a limit: rendered text, arguments, parameter structs.

use bytemuck::{Pod, Zeroable};

use crate::device::{Binding, Kernel};
use crate::error::Result;
use crate::tile::choice::shape::{Combine, TileShape};
use crate::tile::product::render::render;

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct WithinParams {
    pub rows: u32,
    pub columns: u32,
    pub depth: u32,
    pub first_row: u32,
    pub first_column: u32,
    pub room: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct SiftParams {
    pub first_row: u32,
    pub first_limit: u32,
    pub columns: u32,
    pub first_column: u32,
    pub room: u32,
}

/// What one row wants.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct Limits {
    /// Columns whose value is above it are not wanted.
    pub upper: f32,
    /// Columns whose value is below it with all their error are counted, not listed.
    pub lower: f32,
    /// A column that does not count.
    pub left_out: u32,
}

const WITHIN: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::Uniform,
];

/// The kernel of one shape.
pub(crate) fn within_kernel(shape: &TileShape) -> Result<Kernel> {
    let source = render("tile/within/within.wgsl", shape.context(Combine::Dot))?;
    Ok(Kernel { name: "within", entry: "within", source, bindings: WITHIN })
}

const SIFT: &[Binding] =
    &[Binding::Read, Binding::Read, Binding::ReadWrite, Binding::ReadWrite, Binding::Uniform];

/// The kernel for values that were computed already.
pub(crate) fn sift_kernel() -> Result<Kernel> {
    let source = render("tile/within/sift.wgsl", minijinja::context! {})?;
    Ok(Kernel { name: "sift", entry: "sift", source, bindings: SIFT })
}
