//! The kernels of the fold that keeps all columns within a limit.

use minijinja::context;

use crate::kernel::{Kernel, kernels, shared};
use crate::tile::choice::shape::{Combine, TileShape};

shared! {
    struct WithinParams {
        rows: u32,
        columns: u32,
        depth: u32,
        /// First row of this dispatch.
        first_row: u32,
        /// Number of the first column.
        first_column: u32,
        /// Pairs that there is room for.
        room: u32,
    }

    struct SiftParams {
        /// First row of the values, and of the limits.
        first_row: u32,
        first_limit: u32,
        /// Columns of a row of values, all of which are met.
        columns: u32,
        /// Number of the first column.
        first_column: u32,
        /// Pairs that there is room for.
        room: u32,
    }

    /// What one row wants.
    struct Limits {
        /// Columns whose value is above it are not wanted.
        upper: f32,
        /// Columns whose value is below it with all their error are counted, not listed.
        lower: f32,
        /// A column that does not count for the row.
        left_out: u32,
    }
}

kernels! {
    /// The kernel of one shape.
    fn within_kernel(shape: &TileShape)
    for [shape in &crate::tile::choice::family::candidates(crate::tile::choice::family::Fold::Store)] {
        let structs = [WithinParams::WGSL, Limits::WGSL];
        Kernel::render("tile/within/within.wgsl", &structs, shape.context(Combine::Dot))
    }

    /// The kernel for values that were computed already.
    fn sift_kernel() {
        Kernel::render("tile/within/sift.wgsl", &[SiftParams::WGSL, Limits::WGSL], context! {})
    }
}
