//! Every value of a tile, stored: what tuning times for kernels that hand values out.

use crate::kernel::{Kernel, kernels, shared};
use crate::tile::choice::shape::{Combine, TileShape};

shared! {
    struct StoreParams {
        rows: u32,
        columns: u32,
        depth: u32,
        first_row: u32,
        first_column: u32,
        stride: u32,
        group_rows: u32,
    }
}

kernels! {
    /// The kernel that stores tile values.
    fn store_kernel(shape: &TileShape)
    for [shape in &crate::tile::choice::family::candidates(crate::tile::choice::family::Fold::Store)] {
        Kernel::render("tile/store/store.wgsl", &[StoreParams::WGSL], shape.context(Combine::Dot))
    }
}
