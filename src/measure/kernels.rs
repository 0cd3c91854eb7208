//! The kernels that measure a device: streams through its memory, and chains of multiply-adds.

use minijinja::context;

use crate::kernel::{Kernel, kernels, shared};

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

shared! {
    /// Of the copy and of the write.
    struct StreamParams {
        /// Vectors of 16 bytes.
        vectors: u32,
        /// Workgroups along x.
        across: u32,
    }

    struct MultiplyParams {
        /// Rounds of [`UNROLLED`] steps.
        rounds: u32,
        /// 1, which the compiler cannot know.
        factor: f32,
        /// 1.
        term: f32,
        padding: u32,
    }
}

kernels! {
    /// The kernel that copies.
    fn copy_kernel() {
        Kernel::render("measure/copy.wgsl", &[StreamParams::WGSL], context! { invocations => LANES })
    }

    /// The kernel that writes.
    fn write_kernel() {
        Kernel::render("measure/write.wgsl", &[StreamParams::WGSL], context! { invocations => LANES })
    }

    /// The kernel that multiplies and adds in registers.
    fn multiply_kernel() {
        let context = context! { invocations => LANES, chains => CHAINS, unrolled => UNROLLED };
        Kernel::render("measure/multiply.wgsl", &[MultiplyParams::WGSL], context)
    }
}
