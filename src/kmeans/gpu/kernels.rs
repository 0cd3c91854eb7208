//! The kernels of the update step and of pruning.

use minijinja::context;

use super::plan::{PRIVATE_CLUSTERS, PRIVATE_SUMS};
use crate::kernel::{Kernel, kernels, shared};
use crate::tile::nearest::gpu::kernels::Listed;

/// Rows per workgroup of `count`.
pub(crate) const ROWS_PER_WORKGROUP: u32 = 4096;
/// Most clusters that `count` counts in workgroup memory.
const SHARED_CLUSTERS: usize = 1024;
/// Rows of a workgroup of `gauge`, invocations of each, and the steps in which their sums become one.
pub(crate) const GAUGE_ROWS: u32 = 16;
pub(crate) const GAUGE_LANES: u32 = 16;
const GAUGE_HALVES: [u32; 4] = [8, 4, 2, 1];
/// Invocations of `sum`: features times lanes.
const SUM_INVOCATIONS: u32 = 64;
/// Moves that one lane of `sum` adds at a time.
const ROWS_PER_LANE: u32 = 64;

shared! {
    struct RowsParams { first_row: u32, rows: u32, n_clusters: u32 }

    struct SumParams { n_clusters: u32, depth: u32, features: u32 }

    struct TransferParams { rows: u32, rows_per_workgroup: u32, n_clusters: u32, depth: u32, features: u32 }

    struct ShiftParams {
        rows: u32,
        n_clusters: u32,
        /// Workgroups along x.
        across: u32,
        /// The centroid that moved farthest of those that count, how far it moved, and the farthest that any other did.
        farthest: u32,
        largest: f32,
        second: f32,
    }

    struct DoubtParams {
        rows: u32,
        n_clusters: u32,
        /// Workgroups along x.
        across: u32,
        margin: f32,
    }

    struct GaugeParams {
        rows: u32,
        n_clusters: u32,
        /// Workgroups along x.
        across: u32,
        depth: u32,
        margin: f32,
        slack: f32,
        least: f32,
    }
}

kernels! {
    /// The kernel that moves bounds along with centroids.
    fn shift_kernel() {
        Kernel::render("kmeans/shift.wgsl", &[ShiftParams::WGSL], context! {})
    }

    /// The kernel that measures rows that bounds leave open.
    fn gauge_kernel() {
        let context = context! { rows => GAUGE_ROWS, lanes => GAUGE_LANES, halves => GAUGE_HALVES };
        Kernel::render("kmeans/gauge.wgsl", &[GaugeParams::WGSL], context)
    }

    /// The kernel that lists the rows that bounds leave open.
    fn doubt_kernel() {
        Kernel::render("kmeans/doubt.wgsl", &[DoubtParams::WGSL, Listed::WGSL], context! {})
    }

    /// The counting kernel, with or without counts in workgroup memory.
    fn count_kernel(n_clusters: usize) for [n_clusters in [1, usize::MAX]] {
        let shared = if n_clusters <= SHARED_CLUSTERS { SHARED_CLUSTERS } else { 0 };
        let context = context! { rows_per_workgroup => ROWS_PER_WORKGROUP, shared_clusters => shared };
        Kernel::render("kmeans/count.wgsl", &[RowsParams::WGSL], context)
    }

    /// The prefix sum of the counts.
    fn scan_kernel() {
        Kernel::render("kmeans/scan.wgsl", &[RowsParams::WGSL], context! {})
    }

    /// The kernel that orders moves by cluster.
    fn scatter_kernel() {
        Kernel::render("kmeans/scatter.wgsl", &[RowsParams::WGSL], context! {})
    }

    /// The segmented sum for workgroups of `features` features.
    fn sum_kernel(features: u32, weighted: bool)
    for [features in [1, 2, 4, 8, 16, 32, 64], weighted in [false, true]] {
        let lanes = SUM_INVOCATIONS / features;
        let context = context! { features, lanes, rows_per_lane => ROWS_PER_LANE, weighted };
        Kernel::render("kmeans/sum.wgsl", &[SumParams::WGSL], context)
    }

    /// The kernel that moves each row at once, `features` of its features side by side.
    fn transfer_kernel(features: u32, private: bool, weighted: bool)
    for [features in [1, 2, 4, 8, 16, 32, 64], private in [false, true], weighted in [false, true]] {
        let (private_sums, private_clusters) = if private { (PRIVATE_SUMS, PRIVATE_CLUSTERS) } else { (0, 0) };
        let context = context! { features, private_sums, private_clusters, weighted };
        Kernel::render("kmeans/transfer.wgsl", &[TransferParams::WGSL], context)
    }
}

/// Features that a workgroup works on side by side.
pub(crate) fn features_across(features: usize) -> u32 {
    (features.min(SUM_INVOCATIONS as usize) as u32).next_power_of_two()
}

/// Moves that a workgroup of `sum` takes at a time.
pub(crate) fn moves_per_workgroup(features_across: u32) -> u32 {
    SUM_INVOCATIONS / features_across * ROWS_PER_LANE
}
