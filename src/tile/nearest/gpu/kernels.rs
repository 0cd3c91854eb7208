//! The kernels of the tile's folds and of their certificate: rendered text, arguments, parameter structs.

use bytemuck::{Pod, Zeroable};

use crate::device::{Binding, Kernel};
use crate::error::Result;
use crate::tile::choice::shape::{Combine, TileShape};
use crate::tile::product::render::render;

/// Columns kept per listed row; a row with more is decided among all columns on the host.
pub(crate) const ROOM: u32 = 15;

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
    pub unscale: f32,
    pub ratio: f32,
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
    pub square: f32,
    pub ratio: f32,
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
    pub counter: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct StoreParams {
    pub rows: u32,
    pub columns: u32,
    pub depth: u32,
    pub first_row: u32,
    pub first_column: u32,
    pub stride: u32,
    pub group_rows: u32,
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
    pub nearest: u32,
    pub before: u32,
    pub limit: f32,
}

const NEAREST: &[Binding] =
    &[Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const NEAREST_LISTED: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Read,
    Binding::Read,
    Binding::Uniform,
];
const CERTIFY_LISTED: &[Binding] = &[
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
const CERTIFY: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::Uniform,
];
const REACH: &[Binding] =
    &[Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const REACH_HALVES: &[Binding] =
    &[Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Read, Binding::Uniform];
const REACH_LISTED: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Read,
    Binding::Read,
    Binding::Uniform,
];
const APPROACH: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Read,
    Binding::Read,
    Binding::Uniform,
];
const APPROACH_HALVES: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Uniform,
];
const CANDIDATES: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Read,
    Binding::Uniform,
];
const STORE: &[Binding] =
    &[Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const RELABEL: &[Binding] = &[Binding::Read, Binding::ReadWrite, Binding::Uniform];

/// The nearest kernel of one shape, for all rows of a window or for those of a list.
pub(crate) fn nearest_kernel(shape: &TileShape, is_listed: bool) -> Result<Kernel> {
    let context = minijinja::context! { listed => is_listed, ..shape.context(Combine::Dot) };
    let source = render("tile/nearest/nearest.wgsl", context)?;
    let bindings = if is_listed { NEAREST_LISTED } else { NEAREST };
    let name = if is_listed { "nearest_listed" } else { "nearest" };
    Ok(Kernel { name, entry: "nearest", source, bindings })
}

/// The certificate of all rows of a window or of those of a list.
pub(crate) fn certify_kernel(is_listed: bool) -> Result<Kernel> {
    let context = minijinja::context! { halves => false, listed => is_listed };
    let source = render("tile/nearest/certify.wgsl", context)?;
    let bindings = if is_listed { CERTIFY_LISTED } else { CERTIFY };
    let name = if is_listed { "certify_listed" } else { "certify" };
    Ok(Kernel { name, entry: "certify", source, bindings })
}

/// What a pass leaves bounds on distances for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// All rows of a window, by the `f32` tile.
    Window,
    /// All rows of a window, by matrix units.
    Halves,
    /// The rows of a list, by the `f32` tile.
    Listed,
}

/// The kernel that keeps bounds on distances.
pub(crate) fn reach_kernel(of: Reached) -> Result<Kernel> {
    let (name, bindings) = match of {
        Reached::Window => ("reach", REACH),
        Reached::Halves => ("matrix_reach", REACH_HALVES),
        Reached::Listed => ("reach_listed", REACH_LISTED),
    };
    let context = minijinja::context! { halves => of == Reached::Halves, listed => of == Reached::Listed };
    Ok(Kernel { name, entry: "reach", source: render("tile/nearest/reach.wgsl", context)?, bindings })
}

/// The kernel that brings bounds up to what a few columns say, by the `f32` tile or by matrix units.
pub(crate) fn approach_kernel(halves: bool) -> Result<Kernel> {
    let (name, bindings) = if halves { ("matrix_approach", APPROACH_HALVES) } else { ("approach", APPROACH) };
    let source = render("tile/nearest/approach.wgsl", minijinja::context! { halves })?;
    Ok(Kernel { name, entry: "approach", source, bindings })
}

/// The candidates kernel of one shape.
pub(crate) fn candidates_kernel(shape: &TileShape) -> Result<Kernel> {
    let context = minijinja::context! { room => ROOM, ..shape.context(Combine::Dot) };
    let source = render("tile/nearest/candidates.wgsl", context)?;
    Ok(Kernel { name: "candidates", entry: "candidates", source, bindings: CANDIDATES })
}

/// The kernel that stores tile values.
pub(crate) fn store_kernel(shape: &TileShape) -> Result<Kernel> {
    let source = render("tile/store/store.wgsl", shape.context(Combine::Dot))?;
    Ok(Kernel { name: "store", entry: "store", source, bindings: STORE })
}

/// The kernel that writes the host's decisions.
pub(crate) fn relabel_kernel() -> Result<Kernel> {
    let source = render("tile/nearest/relabel.wgsl", minijinja::context! {})?;
    Ok(Kernel { name: "relabel", entry: "relabel", source, bindings: RELABEL })
}
