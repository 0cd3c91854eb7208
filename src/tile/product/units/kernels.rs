//! The kernels of the screen on matrix units: rendered text, arguments, parameter structs.

use bytemuck::{Pod, Zeroable};

use super::shape::{Kind, MatrixTile};
use crate::device::{Binding, Kernel};
use crate::error::Result;
use crate::tile::product::render::render;

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct NarrowParams {
    pub rows: u32,
    pub padded_rows: u32,
    pub depth: u32,
    pub words: u32,
    pub across: u32,
    pub scale: f32,
    pub unscale: f32,
    pub slack: f32,
    pub least: f32,
}

const NARROW: &[Binding] = &[Binding::Read, Binding::ReadWrite, Binding::ReadWrite, Binding::Uniform];
const NEAREST: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Uniform,
];
const COLLECT: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Uniform,
];
const CERTIFY: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::Read,
    Binding::Uniform,
];

/// The kernel that rounds rows to `f16`.
pub(crate) fn narrow_kernel() -> Result<Kernel> {
    let source = render("tile/operands/narrow.wgsl", minijinja::context! {})?;
    Ok(Kernel { name: "narrow", entry: "narrow", source, bindings: NARROW })
}

/// The nearest kernel of one tile. A `fault` of the self-test makes a plain one wrong.
pub(crate) fn nearest_kernel(tile: &MatrixTile, fault: &str) -> Result<Kernel> {
    kernel(tile, "nearest", NEAREST, fault)
}

/// The kernel of one tile that collects columns within the limits. A `fault` as of [`nearest_kernel`].
pub(crate) fn collect_kernel(tile: &MatrixTile, fault: &str) -> Result<Kernel> {
    kernel(tile, "collect", COLLECT, fault)
}

/// The kernel of one tile that ends in a fold.
fn kernel(tile: &MatrixTile, fold: &str, bindings: &'static [Binding], fault: &str) -> Result<Kernel> {
    let (entry, template) = match tile.kind {
        Kind::Shared(_) => ("multiply_shared", "tile/product/units/shared.wgsl"),
        Kind::Held(_) => ("multiply_held", "tile/product/units/held.wgsl"),
        Kind::Streamed => ("multiply_streamed", "tile/product/units/streamed.wgsl"),
    };
    let source = render(template, minijinja::context! { fold, ..tile.context(fault) })?;
    Ok(Kernel { name: entry, entry, source, bindings })
}

/// The certificate under the bound of `f16` products.
pub(crate) fn certify_kernel() -> Result<Kernel> {
    let source =
        render("tile/nearest/certify.wgsl", minijinja::context! { halves => true, listed => false })?;
    Ok(Kernel { name: "matrix_certify", entry: "certify", source, bindings: CERTIFY })
}
