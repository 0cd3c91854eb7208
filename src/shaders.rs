//! Every kernel that any plan can choose, for the tests that validate them without a GPU.

use crate::device::{Binding, Kernel, MatrixUnits};
use crate::error::Result;
use crate::tile::choice::choose::LISTED;
use crate::tile::choice::family::{Fold, candidates};
use crate::tile::collect::gpu::kernels as kernels_collect;
use crate::tile::nearest::gpu::kernels;
use crate::tile::product::units as matrix;
use crate::tile::product::units::shape::MatrixTile;
use crate::tile::within::kernels as kernels_within;
use crate::{distance, kmeans, kmedoids, lora, measure};

/// One rendered kernel.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Shader {
    /// Its name, with what distinguishes the variant.
    pub name: String,
    /// Rendered WGSL.
    pub source: String,
    /// Entry point.
    pub entry: &'static str,
    /// For each argument whether it is `read`, `read_write` or `uniform`.
    pub bindings: Vec<&'static str>,
}

/// A Rust struct that a kernel sees.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Mirror {
    /// Name in Rust and in WGSL.
    pub name: &'static str,
    /// Size in Rust.
    pub size: usize,
    /// Fields with their offsets in Rust.
    pub fields: Vec<(&'static str, usize)>,
}

/// Lists the fields of `#[repr(C)]` structs with their offsets.
macro_rules! mirrors {
    ($($path:path { $($field:ident),* $(,)? })*) => {
        vec![$(Mirror {
            name: stringify!($path).rsplit("::").next().map_or("", str::trim),
            size: size_of::<$path>(),
            fields: vec![$((stringify!($field), std::mem::offset_of!($path, $field))),*],
        }),*]
    };
}

/// Structs shared with WGSL.
pub fn mirrors() -> Vec<Mirror> {
    mirrors! {
        distance::gpu::kernels::MeasureParams {
            first_row, rows, columns, depth, units, most, group_rows, kind, parts,
        }
        distance::gpu::kernels::AccumulateParams {
            first_row, rows, columns, depth, unit, most, power, weighted,
        }
        kernels::NearestParams {
            rows, columns, depth, first_row, first_column, split_columns, first_split, stride,
        }
        kernels::CertifyParams { rows, splits, stride, first_row, slope, constant, square }
        kernels::CandidatesParams { rows, columns, depth, first_listed, first_column, split_columns, counter }
        matrix::kernels::NarrowParams {
            rows, padded_rows, depth, words, across, scale, unscale, slack, least,
        }
        matrix::kernels::MatrixNearestParams {
            rows, columns, depth, first_row, first_column, split_columns, first_split, stride, unscale, ratio,
        }
        matrix::kernels::MatrixCollectParams {
            rows, columns, depth, first_row, first_column, split_columns, room, unscale, ratio,
        }
        matrix::kernels::MatrixCertifyParams { rows, splits, stride, first_row, ratio, square }
        kernels_collect::CollectParams { rows, columns, depth, first_row, first_column, room }
        kernels_collect::TightenParams { first_row, count, room, most, slope }
        kernels_collect::KeepParams { first_list, stride, start, columns, first_column, room, sign }
        kernels_collect::DeliverParams { first_row, rows, room, kept }
        kernels_within::WithinParams { rows, columns, depth, first_row, first_column, room }
        kernels_within::SiftParams { first_row, first_limit, columns, first_column, room }
        kernels_within::Limits { upper, lower, left_out }
        kernels::RelabelParams { pairs }
        kernels::Partial { best, second, column }
        kernels::Listed { row, label, before, limit }
        kernels::StoreParams { rows, columns, depth, first_row, first_column, stride, group_rows }
        kernels::ShortlistParams { columns, stride, count, room, first_row, slope, constant }
        lora::gpu::kernels::ShrinkParams {
            inputs, x_stride, x_first, blocks, blocks_per_plane, rank_groups, first_chunk, chunks, chunks_across, positions, rows_at,
            stride, group, groups, slab, page_shift, slots_at, by_row_at, used_at, used,
        }
        lora::gpu::kernels::ExpandParams {
            planes, positions, stride, first_chunk, chunks, chunks_across, rows_at, scales_at, slots_at, by_row_at,
            group, groups, slab, page_shift, projections, padding, targets,
        }
        measure::kernels::StreamParams { vectors, across }
        measure::kernels::MultiplyParams { rounds, factor, term, padding }
        kmeans::gpu::kernels::RowsParams { first_row, rows, n_clusters }
        kmeans::gpu::kernels::ShiftParams { rows, n_clusters, across, farthest, largest, second }
        kmeans::gpu::kernels::DoubtParams { rows, n_clusters, across, margin }
        kmeans::gpu::kernels::GaugeParams { rows, n_clusters, across, depth, margin, slack, least }
        kmeans::gpu::kernels::SumParams { n_clusters, depth, features }
        kmedoids::gpu::kernels::Control { next, since, together, swaps, found, candidate, place, padding }
        kmedoids::gpu::kernels::GainParams { objects, places, held, first, end, across, unit }
        kmedoids::gpu::kernels::ChooseParams { candidates, end, most_together }
        kmedoids::gpu::kernels::BringParams { objects, first, end }
        kmedoids::gpu::kernels::ExchangeParams { objects, places, unit }
        kmeans::gpu::kernels::TransferParams { rows, rows_per_workgroup, n_clusters, depth, features }
    }
}

/// The tiles for units of every kind that adapters were seen to have, and for plain WGSL in their place.
fn matrix_tiles() -> Vec<(String, MatrixTile)> {
    // lavapipe; Apple; NVIDIA and AMD, whose subgroups may also be larger; plain.
    let kinds =
        [(8, 8, false), (8, 32, false), (16, 32, false), (16, 64, false), (16, 32, true), (8, 32, true)];
    let tiles = kinds.iter().flat_map(|&(size, subgroup, is_plain)| {
        let (smallest_subgroup, largest_subgroup) = (subgroup, subgroup);
        let units = MatrixUnits { size, smallest_subgroup, largest_subgroup, reads_elements: true, is_plain };
        let kind = if is_plain { "plain" } else { "units" };
        let name = format!("{kind} {size}x{size}, subgroups of {subgroup}");
        MatrixTile::all(&units).into_iter().map(move |tile| (name.clone(), tile))
    });
    tiles.collect()
}

/// Every variant of every kernel.
pub fn shaders() -> Result<Vec<Shader>> {
    let mut all = Vec::new();
    let mut add = |variant: String, kernel: Kernel| {
        let binding = |binding: &Binding| match binding {
            Binding::Read => "read",
            Binding::ReadWrite => "read_write",
            Binding::Uniform => "uniform",
        };
        all.push(Shader {
            name: format!("{} {variant}", kernel.name),
            source: kernel.source,
            entry: kernel.entry,
            bindings: kernel.bindings.iter().map(binding).collect(),
        });
    };
    for (variant, kernel) in distance::gpu::kernels::kernels()? {
        add(variant, kernel);
    }
    for shape in candidates(Fold::Nearest) {
        add(shape.variant(), kernels::nearest_kernel(&shape, false)?);
        add(shape.variant(), kernels::nearest_kernel(&shape, true)?);
    }
    for shape in LISTED {
        add(shape.variant(), kernels::candidates_kernel(&shape)?);
    }
    for shape in candidates(Fold::Store) {
        add(shape.variant(), kernels::store_kernel(&shape)?);
        add(shape.variant(), kernels_collect::collect_kernel(&shape)?);
        add(shape.variant(), kernels_within::within_kernel(&shape)?);
    }
    for (units, tile) in matrix_tiles() {
        let MatrixTile { depth_step, kind, .. } = tile;
        let variant = format!("{units}, step {depth_step}, {kind:?}");
        add(variant.clone(), matrix::kernels::nearest_kernel(&tile, "")?);
        add(variant, matrix::kernels::collect_kernel(&tile, "")?);
    }
    add(String::new(), matrix::kernels::narrow_kernel()?);
    add(String::new(), matrix::kernels::certify_kernel()?);
    add(String::new(), kernels::certify_kernel(false)?);
    add(String::new(), kernels::certify_kernel(true)?);
    for of in [kernels::Reached::Window, kernels::Reached::Halves, kernels::Reached::Listed] {
        add(String::new(), kernels::reach_kernel(of)?);
    }
    add(String::new(), kernels::approach_kernel(false)?);
    add(String::new(), kernels::approach_kernel(true)?);
    add(String::new(), kernels::relabel_kernel()?);
    add(String::new(), kernels::shortlist_kernel()?);
    add(String::new(), kernels_collect::tighten_kernel()?);
    add(String::new(), kernels_collect::deliver_kernel()?);
    add(String::new(), kernels_collect::keep_kernel()?);
    add(String::new(), kernels_within::sift_kernel()?);
    for (variant, kernel) in kmeans::gpu::kernels::kernels()? {
        add(variant, kernel);
    }
    for (variant, kernel) in kmedoids::gpu::kernels::kernels()? {
        add(variant, kernel);
    }
    add(String::new(), measure::kernels::copy_kernel()?);
    add(String::new(), measure::kernels::write_kernel()?);
    add(String::new(), measure::kernels::multiply_kernel()?);
    for (variant, kernel) in lora::gpu::kernels::kernels()? {
        add(variant, kernel);
    }
    Ok(all)
}
