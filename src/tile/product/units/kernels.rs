//! The kernels of the screen on matrix units.

use minijinja::context;

use super::shape::{MatrixTile, Placement};
#[cfg(feature = "test-hooks")]
use crate::device::MatrixUnits;
use crate::error::Result;
use crate::kernel::{Declaration, Kernel, kernels, shared};
use crate::tile::collect::gpu::kernels::CollectParams;
use crate::tile::nearest::gpu::kernels::{NearestParams, Partial};

shared! {
    struct NarrowParams {
        rows: u32,
        padded_rows: u32,
        depth: u32,
        /// Words of a row of halves.
        words: u32,
        /// Workgroups along x.
        across: u32,
        scale: f32,
        unscale: f32,
        slack: f32,
        least: f32,
    }
}

kernels! {
    /// The kernel that rounds rows to `f16`.
    fn narrow_kernel() {
        Kernel::render("tile/operands/narrow.wgsl", &[NarrowParams::WGSL], context! {})
    }

    /// The nearest kernel of one tile. A `fault` of the self-test makes a plain one wrong.
    fn nearest_kernel(tile: &MatrixTile, fault: &str) for [tile in &tested_tiles(), fault in [""]] {
        kernel(tile, "nearest", &[NearestParams::WGSL, Partial::WGSL], fault)
    }

    /// The kernel of one tile that collects columns within the limits. A `fault` as of [`nearest_kernel`].
    fn collect_kernel(tile: &MatrixTile, fault: &str) for [tile in &tested_tiles(), fault in [""]] {
        kernel(tile, "collect", &[CollectParams::WGSL], fault)
    }
}

/// The kernel of one tile that ends in a fold.
fn kernel(tile: &MatrixTile, fold: &str, structs: &[Declaration], fault: &str) -> Result<Kernel> {
    let (entry, template) = match tile.placement {
        Placement::Shared(_) => ("multiply_shared", "tile/product/units/shared.wgsl"),
        Placement::Held(_) => ("multiply_held", "tile/product/units/held.wgsl"),
        Placement::Streamed => ("multiply_streamed", "tile/product/units/streamed.wgsl"),
    };
    let kernel = Kernel::render(template, structs, context! { fold, ..tile.context(fault) })?;
    Ok(Kernel { name: entry, entry, ..kernel })
}

/// The tiles for units of every kind that adapters were seen to have, and for plain WGSL in their place.
#[cfg(feature = "test-hooks")]
fn tested_tiles() -> Vec<MatrixTile> {
    // lavapipe; Apple; NVIDIA and AMD, whose subgroups may also be larger; plain.
    let kinds =
        [(8, 8, false), (8, 32, false), (16, 32, false), (16, 64, false), (16, 32, true), (8, 32, true)];
    let tiles = |(size, subgroup, is_plain)| {
        let (smallest_subgroup, largest_subgroup) = (subgroup, subgroup);
        MatrixTile::all(&MatrixUnits {
            size,
            smallest_subgroup,
            largest_subgroup,
            reads_elements: true,
            is_plain,
        })
    };
    kinds.into_iter().flat_map(tiles).collect()
}
