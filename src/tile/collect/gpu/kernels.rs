//! The kernels of the collecting fold: rendered text, arguments, parameter structs.

use bytemuck::{Pod, Zeroable};

use crate::device::{Binding, Kernel};
use crate::error::Result;
use crate::tile::choice::shape::{Combine, TileShape};
use crate::tile::product::render::render;

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct CollectParams {
    pub rows: u32,
    pub columns: u32,
    pub depth: u32,
    pub first_row: u32,
    pub first_column: u32,
    pub split_columns: u32,
    pub room: u32,
    pub unscale: f32,
    pub ratio: f32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct TightenParams {
    pub first_row: u32,
    pub count: u32,
    pub room: u32,
    pub most: u32,
    pub slope: f32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct DeliverParams {
    pub first_row: u32,
    pub rows: u32,
    pub room: u32,
    pub kept: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct KeepParams {
    pub first_list: u32,
    pub stride: u32,
    pub start: u32,
    pub columns: u32,
    pub first_column: u32,
    pub room: u32,
    pub sign: f32,
}

const COLLECT: &[Binding] =
    &[Binding::Read, Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const KEEP: &[Binding] = &[Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const TIGHTEN: &[Binding] = &[Binding::Read, Binding::ReadWrite, Binding::ReadWrite, Binding::Uniform];
const DELIVER: &[Binding] = &[Binding::Read, Binding::ReadWrite, Binding::Uniform];

/// The kernel that collects columns within the limits, of one shape.
pub(crate) fn collect_kernel(shape: &TileShape) -> Result<Kernel> {
    let source = render("tile/collect/collect.wgsl", shape.context(Combine::Dot))?;
    Ok(Kernel { name: "collect", entry: "collect", source, bindings: COLLECT })
}

/// The kernel that keeps values within the limits, whatever computed them.
pub(crate) fn keep_kernel() -> Result<Kernel> {
    let source = render("tile/collect/keep.wgsl", minijinja::context! {})?;
    Ok(Kernel { name: "keep", entry: "keep", source, bindings: KEEP })
}

/// The kernel that lowers limits.
pub(crate) fn tighten_kernel() -> Result<Kernel> {
    let source = render("tile/collect/tighten.wgsl", minijinja::context! {})?;
    Ok(Kernel { name: "tighten", entry: "tighten", source, bindings: TIGHTEN })
}

/// The kernel that hands out the lists.
pub(crate) fn deliver_kernel() -> Result<Kernel> {
    let source = render("tile/collect/deliver.wgsl", minijinja::context! {})?;
    Ok(Kernel { name: "deliver", entry: "deliver", source, bindings: DELIVER })
}
