//! Exact sums of the rows of each cluster on the GPU: a counting sort of the labels, then segmented integer sums.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable, bytes_of, cast_slice, pod_collect_to_vec};

use super::grid::{Grid, Sums};
use super::plan::Shape;
use crate::device::{Batch, Binding, DeviceBuffer, Gpu, Kernel, Pipeline};
use crate::error::Result;
use crate::tile::gpu::Window;
use crate::tile::render::render;

/// Rows per workgroup of `count`.
const ROWS_PER_WORKGROUP: u32 = 4096;
/// Most clusters that `count` counts in workgroup memory.
const SHARED_CLUSTERS: usize = 1024;
/// Invocations of `sum`: features times lanes.
const SUM_INVOCATIONS: u32 = 64;
/// Places in the order that one lane of `sum` adds.
const ROWS_PER_LANE: u32 = 64;

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct RowsParams {
    pub rows: u32,
    pub n_clusters: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct SumParams {
    pub rows: u32,
    pub depth: u32,
    pub features: u32,
    pub first_place: u32,
}

const COUNT: &[Binding] = &[Binding::Read, Binding::ReadWrite, Binding::Uniform];
const SCAN: &[Binding] = &[Binding::Read, Binding::ReadWrite, Binding::ReadWrite, Binding::Uniform];
const SCATTER: &[Binding] = &[Binding::Read, Binding::ReadWrite, Binding::ReadWrite, Binding::Uniform];
const SUM: &[Binding] =
    &[Binding::Read, Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];
const SUM_WEIGHTED: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Read,
    Binding::Uniform,
];

/// The counting kernel, with or without counts in workgroup memory.
pub(crate) fn count_kernel(n_clusters: usize) -> Result<Kernel> {
    let shared = if n_clusters <= SHARED_CLUSTERS { SHARED_CLUSTERS } else { 0 };
    let context = minijinja::context! { rows_per_workgroup => ROWS_PER_WORKGROUP, shared_clusters => shared };
    Ok(Kernel {
        name: "count",
        entry: "count",
        source: render("kmeans/count.wgsl", context)?,
        bindings: COUNT,
    })
}

/// The prefix sum of the counts.
pub(crate) fn scan_kernel() -> Result<Kernel> {
    let source = render("kmeans/scan.wgsl", minijinja::context! {})?;
    Ok(Kernel { name: "scan", entry: "scan", source, bindings: SCAN })
}

/// The kernel that orders rows by label.
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

/// Features per workgroup of `sum`.
fn sum_features(columns: usize) -> u32 {
    (columns.min(SUM_INVOCATIONS as usize) as u32).next_power_of_two()
}

/// Sums of the rows of each cluster.
pub(super) struct Summer {
    count: Arc<Pipeline>,
    scan: Arc<Pipeline>,
    scatter: Arc<Pipeline>,
    sum: Arc<Pipeline>,
    counts: DeviceBuffer,
    starts: DeviceBuffer,
    totals: DeviceBuffer,
    order: DeviceBuffer,
    exponents: DeviceBuffer,
    sums: DeviceBuffer,
    shape: Shape,
}

impl Summer {
    pub fn new(gpu: &Gpu, shape: &Shape, grid: &Grid, window_rows: usize) -> Result<Self> {
        let (clusters, features) = (shape.n_clusters as u64, shape.summed());
        let mut exponents = grid.exponents.clone();
        if shape.weighted {
            exponents.push(grid.weight_exponent());
        }
        let exponents_buffer = gpu.buffer("exponents", 4 * features)?;
        gpu.write(&exponents_buffer, 0, cast_slice(&exponents))?;
        Ok(Self {
            count: gpu.pipeline(&count_kernel(shape.n_clusters)?)?,
            scan: gpu.pipeline(&scan_kernel()?)?,
            scatter: gpu.pipeline(&scatter_kernel()?)?,
            sum: gpu.pipeline(&sum_kernel(sum_features(features as usize), shape.weighted)?)?,
            counts: gpu.buffer("counts", 4 * clusters)?,
            starts: gpu.buffer("starts", 4 * clusters)?,
            totals: gpu.buffer("totals", 4 * clusters)?,
            order: gpu.buffer("order", 4 * window_rows as u64)?,
            exponents: exponents_buffer,
            sums: gpu.buffer("sums", 8 * clusters * features)?,
            shape: *shape,
        })
    }

    pub fn clear(&self, gpu: &Gpu) -> Result<()> {
        let mut batch = gpu.batch("clear sums");
        batch.clear(&self.totals)?;
        batch.clear(&self.sums)?;
        batch.submit()
    }

    /// Adds the rows of one window to the sums of their clusters.
    pub fn add(
        &self,
        gpu: &Gpu,
        window: &Window,
        weights: Option<&DeviceBuffer>,
        labels: &DeviceBuffer,
    ) -> Result<()> {
        let rows = window.rows as u32;
        let params = RowsParams { rows, n_clusters: self.shape.n_clusters as u32 };
        let mut batch = gpu.batch("sums");
        batch.clear(&self.counts)?;
        let workgroups = [rows.div_ceil(ROWS_PER_WORKGROUP), 1, 1];
        batch.dispatch(&self.count, &[labels.whole(), self.counts.whole()], bytes_of(&params), workgroups)?;
        let scanned = [self.counts.whole(), self.starts.whole(), self.totals.whole()];
        batch.dispatch(&self.scan, &scanned, bytes_of(&params), [1, 1, 1])?;
        let workgroups = rows.div_ceil(256);
        let across = workgroups.min(1 << 15);
        let scattered = [labels.whole(), self.starts.whole(), self.order.whole()];
        batch.dispatch(
            &self.scatter,
            &scattered,
            bytes_of(&params),
            [across, workgroups.div_ceil(across), 1],
        )?;
        self.add_sums(&mut batch, window, weights, labels)?;
        batch.submit()
    }

    fn add_sums<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        window: &'a Window,
        weights: Option<&'a DeviceBuffer>,
        labels: &'a DeviceBuffer,
    ) -> Result<()> {
        let features = self.shape.summed() as u32;
        let per_group = sum_features(features as usize);
        let places = SUM_INVOCATIONS / per_group * ROWS_PER_LANE;
        let mut bindings = vec![
            window.x.whole(),
            labels.whole(),
            self.order.whole(),
            self.exponents.whole(),
            self.sums.whole(),
        ];
        bindings.extend(weights.map(DeviceBuffer::whole));
        // Workgroups along one dimension are limited to 65,535.
        let step = places * (1 << 15);
        let rows = window.rows as u32;
        for first_place in (0..rows).step_by(step as usize) {
            let last = rows.min(first_place + step);
            let params = SumParams { rows: last, depth: self.shape.columns as u32, features, first_place };
            let workgroups = [(last - first_place).div_ceil(places), features.div_ceil(per_group), 1];
            batch.dispatch(&self.sum, &bindings, bytes_of(&params), workgroups)?;
        }
        Ok(())
    }

    pub fn read(&self, gpu: &Gpu, columns: usize, into: &mut Sums) -> Result<()> {
        let read = gpu
            .read(&[(&self.totals, 0..self.totals.size_bytes()), (&self.sums, 0..self.sums.size_bytes())])?;
        let totals: Vec<u32> = pod_collect_to_vec(&read[0]);
        let sums: Vec<i64> =
            pod_collect_to_vec::<u8, u64>(&read[1]).into_iter().map(|sum| sum as i64).collect();
        let features = self.shape.summed() as usize;
        for (cluster, row) in sums.chunks_exact(features).enumerate() {
            into.totals[cluster * columns..(cluster + 1) * columns].copy_from_slice(&row[..columns]);
            into.weights[cluster] =
                if features > columns { row[columns] } else { i64::from(totals[cluster]) };
        }
        Ok(())
    }
}
