//! The kernels that measure a device: streams through its memory, and chains of multiply-adds.

use bytemuck::{Pod, Zeroable};
use minijinja::context;

use crate::device::{Binding, Kernel};
use crate::error::Result;
use crate::tile::product::render::render;

/// Of the copy and of the write.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub(crate) struct StreamParams {
    pub vectors: u32,
    pub across: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub(crate) struct MultiplyParams {
    pub rounds: u32,
    pub factor: f32,
    pub term: f32,
    pub padding: u32,
}

/// Invocations of a workgroup.
pub(crate) const LANES: u32 = 128;
/// Chains of an invocation, four `f32` each: enough to hide the latency of a multiply-add alone.
pub(crate) const CHAINS: u32 = 8;
/// Steps of a round.
pub(crate) const UNROLLED: u32 = 8;

/// Workgroups that copy or write so many vectors.
pub(crate) fn stream_workgroups(vectors: u32) -> u32 {
    vectors.div_ceil(4 * LANES)
}

/// The kernel that copies.
pub(crate) fn copy_kernel() -> Result<Kernel> {
    let source = render("measure/copy.wgsl", context! { invocations => LANES })?;
    let bindings = &[Binding::Read, Binding::ReadWrite, Binding::Uniform];
    Ok(Kernel { name: "copy", entry: "copy", source, bindings })
}

/// The kernel that writes.
pub(crate) fn write_kernel() -> Result<Kernel> {
    let source = render("measure/write.wgsl", context! { invocations => LANES })?;
    Ok(Kernel { name: "write", entry: "write", source, bindings: &[Binding::ReadWrite, Binding::Uniform] })
}

/// The kernel that multiplies and adds in registers.
pub(crate) fn multiply_kernel() -> Result<Kernel> {
    let context = context! { invocations => LANES, chains => CHAINS, unrolled => UNROLLED };
    let source = render("measure/multiply.wgsl", context)?;
    let bindings = &[Binding::ReadWrite, Binding::Uniform];
    Ok(Kernel { name: "multiply", entry: "multiply", source, bindings })
}
