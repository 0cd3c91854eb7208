//! Exact sums of the rows of each cluster on the GPU. They stay there from pass to pass: what a pass adds and takes away
//! are the rows whose label is not the one that they are summed under. `plan.rs` chooses among three ways to do that,
//! which all give the same integers.
//!
//! - sorted: `count`, `scan` and `scatter` order the moves by cluster, `sum` adds each cluster's neighbours in registers;
//! - direct: `transfer` adds each move to the sums;
//! - private: `transfer` adds moves to copies of all sums in workgroup memory, and those to the sums.
//!
//! Where the rows are few, a pass is one submission, labels and sums, with one wait: the device sums by its tile's labels.
//! Rows that the host then labels otherwise are moved in the sums that came back; on the device they follow in the next
//! pass, like every row whose label is not the one that it is summed under.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytemuck::{bytes_of, pod_read_unaligned};
use rayon::prelude::*;

use super::GpuPasses;
use super::kernels::{
    ROWS_PER_WORKGROUP, RowsParams, SumParams, TransferParams, count_kernel, features_across,
    moves_per_workgroup, scan_kernel, scatter_kernel, sum_kernel, transfer_kernel,
};
use super::plan::{Shape, Update, UpdatePlan};
use crate::device::{Batch, DeviceBuffer, Gpu, Pipeline, Stage};
use crate::error::Result;
use crate::kmeans::lloyd::Pass;
use crate::kmeans::problem::{Grid, Sums};
use crate::tile::nearest::gpu::single_submission::{Answer, Moved, Settled};
use crate::tile::nearest::gpu::{Task, Window};
use crate::tile::operands::gpu::columns::DeviceColumns;

/// Workgroups of `transfer` at most, each with its copy of the sums to be added in the end.
const TRANSFER_WORKGROUPS: u32 = 2048;
/// Workgroups of `sum` along the moves at most; they take further moves in turns.
const SUM_WORKGROUPS: u64 = 1 << 15;

/// Rows on the device with what the sums depend on.
pub(crate) struct Labelled<'a> {
    /// The rows.
    pub window: &'a Window,
    /// One weight per row.
    pub weights: Option<&'a DeviceBuffer>,
    /// The label of each row.
    pub labels: &'a DeviceBuffer,
    /// For each row the label under which it is part of the sums, plus one, or 0.
    pub summed: &'a DeviceBuffer,
}

/// Sums of the rows of each cluster.
pub(crate) struct Summer {
    count: Arc<Pipeline>,
    scan: Arc<Pipeline>,
    scatter: Arc<Pipeline>,
    sum: Arc<Pipeline>,
    direct: Arc<Pipeline>,
    private: Arc<Pipeline>,
    counts: DeviceBuffer,
    starts: DeviceBuffer,
    totals: DeviceBuffer,
    exponents: DeviceBuffer,
    sums: DeviceBuffer,
    shape: Shape,
}

impl Summer {
    pub fn new(gpu: &Gpu, shape: &Shape, grid: &Grid) -> Result<Self> {
        let (clusters, features) = (shape.n_clusters as u64, shape.summed());
        let mut exponents = grid.exponents.clone();
        if shape.weighted {
            exponents.push(grid.weight_exponent());
        }
        let across = features_across(features as usize);
        Ok(Self {
            count: gpu.pipeline(&count_kernel(shape.n_clusters)?)?,
            scan: gpu.pipeline(&scan_kernel()?)?,
            scatter: gpu.pipeline(&scatter_kernel()?)?,
            sum: gpu.pipeline(&sum_kernel(across, shape.weighted)?)?,
            direct: gpu.pipeline(&transfer_kernel(across, false, shape.weighted)?)?,
            private: gpu.pipeline(&transfer_kernel(across, true, shape.weighted)?)?,
            counts: gpu.buffer("counts", 4 * clusters)?,
            starts: gpu.buffer("starts", 4 * clusters)?,
            totals: gpu.buffer("totals", 4 * clusters)?,
            exponents: gpu.filled("exponents", &exponents)?,
            sums: gpu.buffer("sums", 8 * clusters * features)?,
            shape: *shape,
        })
    }

    /// The sums, and the rows of each cluster.
    pub fn sums(&self) -> [&DeviceBuffer; 2] {
        [&self.sums, &self.totals]
    }

    /// The grid of the sums, as exponents of 2.
    pub fn exponents(&self) -> &DeviceBuffer {
        &self.exponents
    }

    /// Empties the sums: no row is part of them any more.
    pub fn clear(&self, gpu: &Gpu, summed: &[DeviceBuffer]) -> Result<()> {
        let mut batch = gpu.batch(Stage::Sums);
        batch.clear(&self.totals)?;
        batch.clear(&self.sums)?;
        for summed in summed {
            batch.clear(summed)?;
        }
        batch.submit()
    }

    /// Records what brings the sums up to the labels of one window. `scratch` is memory for at least one move per row of a
    /// small window; what it holds is lost.
    pub fn record<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        plan: &UpdatePlan,
        rows: &Labelled<'a>,
        scratch: &'a DeviceBuffer,
    ) -> Result<()> {
        match plan.how {
            Update::Sorted => self.sorted(batch, plan, rows, scratch),
            Update::Direct => self.transfer(batch, &self.direct, rows),
            Update::Private => self.transfer(batch, &self.private, rows),
        }
    }

    fn sorted<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        plan: &UpdatePlan,
        rows: &Labelled<'a>,
        scratch: &'a DeviceBuffer,
    ) -> Result<()> {
        let n_clusters = self.shape.n_clusters as u32;
        let step = plan.rows_per_round(scratch.size_bytes() / 4);
        let total = rows.window.rows as u32;
        for first_row in (0..total).step_by(step as usize) {
            let params = RowsParams { first_row, rows: step.min(total - first_row), n_clusters };
            batch.clear(&self.counts)?;
            let counted = [rows.labels.whole(), rows.summed.whole(), self.counts.whole()];
            let workgroups = [params.rows.div_ceil(ROWS_PER_WORKGROUP), 1, 1];
            batch.dispatch(&self.count, &counted, bytes_of(&params), workgroups)?;
            let scanned = [self.counts.whole(), self.starts.whole()];
            batch.dispatch(&self.scan, &scanned, bytes_of(&params), [1, 1, 1])?;
            let workgroups = params.rows.div_ceil(256);
            let across = workgroups.min(1 << 15);
            let scattered = [rows.labels.whole(), rows.summed.whole(), self.starts.whole(), scratch.whole()];
            let workgroups = [across, workgroups.div_ceil(across), 1];
            batch.dispatch(&self.scatter, &scattered, bytes_of(&params), workgroups)?;
            self.add_moves(batch, plan.moves_of(params.rows, self.shape.rows), rows, scratch)?;
        }
        Ok(())
    }

    /// Adds the moves that lie in order. `expected` of them fill the workgroups once.
    fn add_moves<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        expected: u64,
        rows: &Labelled<'a>,
        order: &'a DeviceBuffer,
    ) -> Result<()> {
        let features = self.shape.summed() as u32;
        let across = features_across(features as usize);
        let mut bindings = vec![
            rows.window.x.whole(),
            order.whole(),
            self.starts.whole(),
            self.exponents.whole(),
            self.sums.whole(),
            self.totals.whole(),
        ];
        bindings.extend(rows.weights.map(DeviceBuffer::whole));
        let (n_clusters, depth) = (self.shape.n_clusters as u32, self.shape.columns as u32);
        let params = SumParams { n_clusters, depth, features };
        let workgroups = expected.div_ceil(u64::from(moves_per_workgroup(across))).clamp(1, SUM_WORKGROUPS);
        let workgroups = [workgroups as u32, features.div_ceil(across), 1];
        batch.dispatch(&self.sum, &bindings, bytes_of(&params), workgroups)
    }

    fn transfer<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        pipeline: &Arc<Pipeline>,
        rows: &Labelled<'a>,
    ) -> Result<()> {
        let mut bindings = vec![
            rows.window.x.whole(),
            rows.labels.whole(),
            rows.summed.whole(),
            self.exponents.whole(),
            self.sums.whole(),
            self.totals.whole(),
        ];
        bindings.extend(rows.weights.map(DeviceBuffer::whole));
        let count = rows.window.rows as u32;
        let rows_per_workgroup = count.div_ceil(TRANSFER_WORKGROUPS).next_multiple_of(256);
        let params = TransferParams {
            rows: count,
            rows_per_workgroup,
            n_clusters: self.shape.n_clusters as u32,
            depth: self.shape.columns as u32,
            features: self.shape.summed() as u32,
        };
        batch.dispatch(pipeline, &bindings, bytes_of(&params), [count.div_ceil(rows_per_workgroup), 1, 1])
    }

    /// What has to come back for [`Self::take`].
    pub fn ranges(&self) -> [(&DeviceBuffer, Range<u64>); 2] {
        [&self.sums, &self.totals].map(|buffer| (buffer, 0..buffer.size_bytes()))
    }

    /// The sums from the bytes that came back.
    pub fn take(&self, bytes: &[&[u8]], into: &mut Sums) {
        let columns = self.shape.columns;
        let row_bytes = 8 * self.shape.summed() as usize;
        let least = crate::kmeans::means::fewest_clusters(columns);
        let rows = bytes[0].par_chunks_exact(row_bytes).zip(bytes[1].par_chunks_exact(4));
        let clusters = into.totals.par_chunks_exact_mut(columns).zip(&mut into.weights);
        clusters.zip(rows).with_min_len(least).for_each(|((totals, weight), (row, count))| {
            let (row, behind) = row.split_at(8 * columns);
            for (total, bytes) in totals.iter_mut().zip(row.chunks_exact(8)) {
                *total = pod_read_unaligned(bytes);
            }
            *weight = match behind {
                [] => i64::from(pod_read_unaligned::<u32>(count)),
                weight => pod_read_unaligned(weight),
            };
        });
    }

    /// Brings the sums to the host.
    pub fn read(&self, gpu: &Gpu, into: &mut Sums) -> Result<()> {
        gpu.batch("read").submit_and_take(&self.ranges(), |bytes| self.take(bytes, into))
    }
}

impl GpuPasses<'_, '_> {
    /// The pass over rows that are one window, if they are few enough.
    pub(crate) fn pass_in_one_submission(
        &mut self,
        columns: &DeviceColumns,
        update: &UpdatePlan,
        window: &Window,
        weights: Option<&DeviceBuffer>,
    ) -> Result<Option<Pass>> {
        let problem = self.problem;
        let load = |row: usize, x: &mut [f32]| problem.load(window.start + row, x);
        let (labels, summed) = (&self.labels[0], &self.summed[0]);
        let reach = self.pruner.as_ref().map(|pruner| pruner.reach(0));
        let task =
            Task { columns, largest_norm: problem.largest_norm, window, nearest: labels, reach, load: &load };
        let Some(at_once) = self.labeller.at_once(&task) else { return Ok(None) };
        let (summer, labeller, sums) = (&self.summer, &self.labeller, &mut self.sums);
        let mut batch = self.gpu.batch("pass");
        labeller.record(&mut batch, &task, at_once)?;
        let rows = Labelled { window, weights, labels, summed };
        summer.record(&mut batch, update, &rows, labeller.scratch())?;
        let [counters, listed, found] = labeller.ranges(at_once);
        let [values, totals] = summer.ranges();
        let begin = Instant::now();
        let answer = batch.submit_and_take(&[counters, listed, found, values, totals], |bytes| {
            summer.take(&bytes[3..], sums);
            Answer::of(at_once, bytes)
        })?;
        self.labeller.record_pace(&task, begin.elapsed());
        let settled = self.labeller.settle(&task, at_once, answer)?;
        #[cfg(test)]
        self.taken.count(&settled);
        match settled {
            Settled::AtOnce(labelled, moved) => {
                self.move_rows(window, &moved)?;
                Ok(Some(self.passed(labelled, window.rows)))
            }
            Settled::Again(labelled) => {
                self.update_window(update, window, weights, 0)?;
                self.summer.read(&self.gpu, &mut self.sums)?;
                Ok(Some(self.passed(labelled, window.rows)))
            }
        }
    }

    /// Moves rows in the sums that came back. Those on the device follow in the next pass, like every row whose label is
    /// not the one that it is summed under.
    fn move_rows(&mut self, window: &Window, moved: &[Moved]) -> Result<()> {
        let mut x = vec![0.0; self.problem.columns];
        for &Moved { row, from, to } in moved {
            let row = window.start + row as usize;
            self.problem.load(row, &mut x)?;
            self.problem.move_row(&x, row, Some(from), to, &mut self.sums);
        }
        Ok(())
    }
}
