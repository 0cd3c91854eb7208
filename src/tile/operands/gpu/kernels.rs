//! The kernels that make columns on the device.

use minijinja::context;

use crate::kernel::{Kernel, kernels, shared};

shared! {
    struct ColumnsParams {
        depth: u32,
        quadratic: f32,
        linear: f32,
        constant: f32,
    }

    struct HalfColumnsParams {
        depth: u32,
        /// Words of a column of halves.
        words: u32,
        exponent: i32,
        unscale: f32,
        ratio: f32,
        /// Of the lengths' product, and of a column's squared length.
        relative: f32,
        quadratic: f32,
        underflow: f32,
        slack: f32,
        least: f32,
    }
}

kernels! {
    /// The kernel that makes columns of `f32`.
    fn columns_kernel() {
        Kernel::render("tile/operands/columns.wgsl", &[ColumnsParams::WGSL], context! {})
    }

    /// The kernel that makes columns of `f16`.
    fn half_columns_kernel() {
        Kernel::render("tile/operands/half_columns.wgsl", &[HalfColumnsParams::WGSL], context! {})
    }
}
