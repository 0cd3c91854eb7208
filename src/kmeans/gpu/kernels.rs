//! The kernels of the update step: rendered text, arguments, parameter structs.

use bytemuck::{Pod, Zeroable};

use super::plan::{PRIVATE_CLUSTERS, PRIVATE_SUMS};
use crate::device::{Binding, Kernel};
use crate::error::Result;
use crate::tile::product::render::render;

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

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct RowsParams {
    pub first_row: u32,
    pub rows: u32,
    pub n_clusters: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct SumParams {
    pub n_clusters: u32,
    pub depth: u32,
    pub features: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct TransferParams {
    pub rows: u32,
    pub rows_per_workgroup: u32,
    pub n_clusters: u32,
    pub depth: u32,
    pub features: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct ShiftParams {
    pub rows: u32,
    pub n_clusters: u32,
    pub across: u32,
    pub farthest: u32,
    pub largest: f32,
    pub second: f32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct DoubtParams {
    pub rows: u32,
    pub n_clusters: u32,
    pub across: u32,
    pub margin: f32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct GaugeParams {
    pub rows: u32,
    pub n_clusters: u32,
    pub across: u32,
    pub depth: u32,
    pub margin: f32,
    pub slack: f32,
    pub least: f32,
}

const GAUGE: &[Binding] =
    &[Binding::Read, Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const SHIFT: &[Binding] = &[Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const DOUBT: &[Binding] =
    &[Binding::Read, Binding::Read, Binding::ReadWrite, Binding::ReadWrite, Binding::Uniform];
const COUNT: &[Binding] = &[Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const SCAN: &[Binding] = &[Binding::Read, Binding::ReadWrite, Binding::Uniform];
const SCATTER: &[Binding] =
    &[Binding::Read, Binding::ReadWrite, Binding::ReadWrite, Binding::ReadWrite, Binding::Uniform];
const SUM: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::Uniform,
];
const SUM_WEIGHTED: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::Read,
    Binding::Uniform,
];
const TRANSFER: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Read,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::Uniform,
];
const TRANSFER_WEIGHTED: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Read,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::Read,
    Binding::Uniform,
];

/// The kernel that moves bounds along with centroids.
pub(crate) fn shift_kernel() -> Result<Kernel> {
    let source = render("kmeans/shift.wgsl", minijinja::context! {})?;
    Ok(Kernel { name: "shift", entry: "shift", source, bindings: SHIFT })
}

/// The kernel that measures rows that bounds leave open.
pub(crate) fn gauge_kernel() -> Result<Kernel> {
    let context = minijinja::context! { rows => GAUGE_ROWS, lanes => GAUGE_LANES, halves => GAUGE_HALVES };
    let source = render("kmeans/gauge.wgsl", context)?;
    Ok(Kernel { name: "gauge", entry: "gauge", source, bindings: GAUGE })
}

/// The kernel that lists the rows that bounds leave open.
pub(crate) fn doubt_kernel() -> Result<Kernel> {
    let source = render("kmeans/doubt.wgsl", minijinja::context! {})?;
    Ok(Kernel { name: "doubt", entry: "doubt", source, bindings: DOUBT })
}

/// The counting kernel, with or without counts in workgroup memory.
pub(crate) fn count_kernel(n_clusters: usize) -> Result<Kernel> {
    let shared = if n_clusters <= SHARED_CLUSTERS { SHARED_CLUSTERS } else { 0 };
    let context = minijinja::context! { rows_per_workgroup => ROWS_PER_WORKGROUP, shared_clusters => shared };
    let source = render("kmeans/count.wgsl", context)?;
    Ok(Kernel { name: "count", entry: "count", source, bindings: COUNT })
}

/// The prefix sum of the counts.
pub(crate) fn scan_kernel() -> Result<Kernel> {
    let source = render("kmeans/scan.wgsl", minijinja::context! {})?;
    Ok(Kernel { name: "scan", entry: "scan", source, bindings: SCAN })
}

/// The kernel that orders moves by cluster.
pub(crate) fn scatter_kernel() -> Result<Kernel> {
    let source = render("kmeans/scatter.wgsl", minijinja::context! {})?;
    Ok(Kernel { name: "scatter", entry: "scatter", source, bindings: SCATTER })
}

/// The segmented sum for workgroups of `features` features.
pub(crate) fn sum_kernel(features: u32, weighted: bool) -> Result<Kernel> {
    let lanes = SUM_INVOCATIONS / features;
    let context = minijinja::context! { features, lanes, rows_per_lane => ROWS_PER_LANE, weighted };
    let bindings = if weighted { SUM_WEIGHTED } else { SUM };
    Ok(Kernel { name: "sum", entry: "sum", source: render("kmeans/sum.wgsl", context)?, bindings })
}

/// The kernel that moves each row at once, `features` of its features side by side.
pub(crate) fn transfer_kernel(features: u32, private: bool, weighted: bool) -> Result<Kernel> {
    let (private_sums, private_clusters) = if private { (PRIVATE_SUMS, PRIVATE_CLUSTERS) } else { (0, 0) };
    let context = minijinja::context! { features, private_sums, private_clusters, weighted };
    let source = render("kmeans/transfer.wgsl", context)?;
    let bindings = if weighted { TRANSFER_WEIGHTED } else { TRANSFER };
    Ok(Kernel { name: "transfer", entry: "transfer", source, bindings })
}

/// Features that a workgroup works on side by side.
pub(crate) fn features_across(features: usize) -> u32 {
    (features.min(SUM_INVOCATIONS as usize) as u32).next_power_of_two()
}

/// Moves that a workgroup of `sum` takes at a time.
pub(crate) fn moves_per_workgroup(features_across: u32) -> u32 {
    SUM_INVOCATIONS / features_across * ROWS_PER_LANE
}

/// Every variant that a plan can choose, with what distinguishes it.
#[cfg(feature = "test-hooks")]
pub(crate) fn kernels() -> Result<Vec<(String, Kernel)>> {
    let mut all = vec![
        ("few clusters".to_owned(), count_kernel(1)?),
        ("many clusters".to_owned(), count_kernel(usize::MAX)?),
        (String::new(), shift_kernel()?),
        (String::new(), gauge_kernel()?),
        (String::new(), doubt_kernel()?),
        (String::new(), scan_kernel()?),
        (String::new(), scatter_kernel()?),
    ];
    for features in [1, 2, 4, 8, 16, 32, 64] {
        for (weighted, kind) in [(false, ""), (true, ", weighted")] {
            let variant = format!("{features} features{kind}");
            all.push((variant.clone(), sum_kernel(features, weighted)?));
            all.push((format!("{variant}, private"), transfer_kernel(features, true, weighted)?));
            all.push((variant, transfer_kernel(features, false, weighted)?));
        }
    }
    Ok(all)
}
