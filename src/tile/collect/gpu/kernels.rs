//! The kernels of the collecting fold.

use minijinja::context;

use crate::kernel::{Kernel, kernels, shared};
use crate::tile::choice::shape::{Combine, TileShape};

shared! {
    /// What a collecting tile is called with, whatever its product: in `f32` a workgroup owns one tile of columns, nothing is
    /// scaled back and no row has a residual.
    struct CollectParams {
        rows: u32,
        columns: u32,
        depth: u32,
        /// First row of this dispatch.
        first_row: u32,
        /// Number of the first column.
        first_column: u32,
        split_columns: u32,
        /// Entries that a list has room for.
        room: u32,
        unscale: f32,
        ratio: f32,
    }

    struct TightenParams { first_row: u32, count: u32, room: u32, most: u32, slope: f32 }

    struct DeliverParams {
        first_row: u32,
        rows: u32,
        room: u32,
        /// Columns that a row of the result has room for.
        kept: u32,
    }

    struct KeepParams {
        /// The list of the first row of values.
        first_list: u32,
        /// Columns of a row of values; the first of this dispatch, and how many.
        stride: u32,
        start: u32,
        columns: u32,
        /// Number of the first column.
        first_column: u32,
        /// Entries that a list has room for.
        room: u32,
        sign: f32,
    }
}

kernels! {
    /// The kernel that collects columns within the limits, of one shape.
    fn collect_kernel(shape: &TileShape)
    for [shape in &crate::tile::choice::family::candidates(crate::tile::choice::family::Fold::Store)] {
        Kernel::render("tile/collect/collect.wgsl", &[CollectParams::WGSL], shape.context(Combine::Dot))
    }

    /// The kernel that keeps values within the limits, whatever computed them.
    fn keep_kernel() {
        Kernel::render("tile/collect/keep.wgsl", &[KeepParams::WGSL], context! {})
    }

    /// The kernel that lowers limits.
    fn tighten_kernel() {
        Kernel::render("tile/collect/tighten.wgsl", &[TightenParams::WGSL], context! {})
    }

    /// The kernel that hands out the lists.
    fn deliver_kernel() {
        Kernel::render("tile/collect/deliver.wgsl", &[DeliverParams::WGSL], context! {})
    }
}
