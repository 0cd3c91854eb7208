//! The kernels of the nearest tile: rendered text, arguments, parameter structs.

use bytemuck::{Pod, Zeroable};

use super::render::render;
use super::shape::TileShape;
use crate::device::{Binding, Kernel};
use crate::error::Result;

/// Columns kept per listed row; a row with more is decided among all columns on the host.
pub(crate) const CANDIDATES: u32 = 15;

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct NearestParams {
    pub rows: u32,
    pub columns: u32,
    pub depth: u32,
    pub first_row: u32,
    pub first_column: u32,
    pub split_columns: u32,
    pub first_split: u32,
    pub stride: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct CertifyParams {
    pub rows: u32,
    pub splits: u32,
    pub stride: u32,
    pub first_row: u32,
    pub slope: f32,
    pub constant: f32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct CandidatesParams {
    pub rows: u32,
    pub columns: u32,
    pub depth: u32,
    pub first_listed: u32,
    pub first_column: u32,
    pub split_columns: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct RelabelParams {
    pub pairs: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct Partial {
    pub best: f32,
    pub second: f32,
    pub column: u32,
}

/// A row that its tile did not certify.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct Listed {
    pub row: u32,
    pub label: u32,
    pub before: u32,
    pub limit: f32,
}

const NEAREST: &[Binding] =
    &[Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const CERTIFY: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::Uniform,
];
const COLLECT: &[Binding] =
    &[Binding::Read, Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const RELABEL: &[Binding] = &[Binding::Read, Binding::ReadWrite, Binding::Uniform];

/// The nearest kernel of one shape.
pub(crate) fn nearest_kernel(shape: &TileShape) -> Result<Kernel> {
    let source = render("tile/nearest.wgsl", shape.context())?;
    Ok(Kernel { name: "nearest", entry: "nearest", source, bindings: NEAREST })
}

/// The certificate.
pub(crate) fn certify_kernel() -> Result<Kernel> {
    let source = render("tile/certify.wgsl", minijinja::context! {})?;
    Ok(Kernel { name: "certify", entry: "certify", source, bindings: CERTIFY })
}

/// The candidates kernel of one shape.
pub(crate) fn candidates_kernel(shape: &TileShape) -> Result<Kernel> {
    let context = minijinja::context! { candidates => CANDIDATES, ..shape.context() };
    let source = render("tile/candidates.wgsl", context)?;
    Ok(Kernel { name: "candidates", entry: "candidates", source, bindings: COLLECT })
}

/// The kernel that writes the host's decisions.
pub(crate) fn relabel_kernel() -> Result<Kernel> {
    let source = render("tile/relabel.wgsl", minijinja::context! {})?;
    Ok(Kernel { name: "relabel", entry: "relabel", source, bindings: RELABEL })
}
