//! What a burst keeps on the device, and the steps of one pass.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::bytes_of;

use super::kernels::{
    CentroidParams, ControlParams, GateParams, RING, RUNS, Record, Standing, TallyParams, centroid_kernel,
    control_kernel, gate_kernel, tally_kernel,
};
use crate::device::{Batch, DeviceBuffer, Gpu, Pipeline};
use crate::error::Result;
use crate::kmeans::gpu::plan::{Shape, UpdatePlan};
use crate::kmeans::gpu::sums::Labelled;
use crate::kmeans::gpu::{GpuPasses, Resident};
use crate::kmeans::lloyd::Start;
use crate::tile::nearest::gpu::Cascade;
use crate::tile::nearest::gpu::on_device::OnDevice;
use crate::tile::nearest::gpu::screen::most_left;
use crate::tile::nearest::gpu::single_submission::AtOnce;
use crate::tile::operands::gpu::columns::DeviceColumns;
use crate::tile::operands::gpu::maker::Maker;

/// What the burst keeps on the device.
pub(super) struct Buffers {
    pub centroids: DeviceBuffer,
    pub before: DeviceBuffer,
    parts: DeviceBuffer,
    standing: DeviceBuffer,
    history: DeviceBuffer,
    pub sizes: DeviceBuffer,
}

impl Buffers {
    pub fn new(gpu: &Gpu, start: &Start, shape: &Shape) -> Result<Self> {
        let standing = Standing { status: RUNS, is_first: u32::from(start.is_first), ..Standing::default() };
        Ok(Self {
            centroids: gpu.filled("centroids", start.centroids)?,
            before: gpu.filled("centroids before", start.centroids)?,
            parts: gpu.buffer("parts of clusters", 16 * shape.n_clusters as u64)?,
            standing: gpu.filled("standing", &[standing])?,
            history: gpu.buffer("history", size_of::<Record>() as u64 * u64::from(RING))?,
            sizes: gpu.size_table()?,
        })
    }

    /// Where the records of passes `first .. first + passes` lie.
    pub fn records(&self, first: u32, passes: u32) -> [(&DeviceBuffer, Range<u64>); 2] {
        let bytes = size_of::<Record>() as u64;
        let begin = u64::from(first % RING);
        let end = (begin + u64::from(passes)).min(u64::from(RING));
        let behind = u64::from(passes) - (end - begin);
        [(&self.history, begin * bytes..end * bytes), (&self.history, 0..behind * bytes)]
    }
}

/// The kernels of a burst.
pub(super) struct Kernels {
    pub on_device: OnDevice,
    maker: Maker,
    gate: Arc<Pipeline>,
    tally: Arc<Pipeline>,
    centroid: Arc<Pipeline>,
    control: Arc<Pipeline>,
}

impl Kernels {
    pub fn new(
        gpu: &Gpu,
        labeller: &Cascade,
        columns: &DeviceColumns,
        (shape, spherical): (&Shape, bool),
    ) -> Result<Self> {
        Ok(Self {
            on_device: OnDevice::new(gpu)?,
            maker: labeller.maker(columns)?,
            gate: gpu.pipeline(&gate_kernel()?)?,
            tally: gpu.pipeline(&tally_kernel()?)?,
            centroid: gpu.pipeline(&centroid_kernel(shape.weighted, spherical)?)?,
            control: gpu.pipeline(&control_kernel()?)?,
        })
    }
}

/// What the steps of a pass are made of.
pub(super) struct Recorder<'a, 'p, 'd> {
    pub passes: &'a GpuPasses<'p, 'd>,
    pub kernels: &'a Kernels,
    pub buffers: &'a Buffers,
    pub columns: &'a DeviceColumns<'a>,
    pub start: &'a Start<'a>,
}

impl<'a> Recorder<'a, '_, '_> {
    /// One pass: labels and sums window by window, then centroids, their columns, and whether another pass follows.
    pub fn record(&self, resident: &'a Resident, ways: &[AtOnce], plan: &UpdatePlan) -> Result<Batch<'a>> {
        let mut batch = self.passes.gpu.batch("burst");
        let mut counter = 0;
        for (index, &way) in ways.iter().enumerate() {
            if index > 0 {
                let arguments = [self.passes.labeller.counters().whole(), self.buffers.standing.whole()];
                let params = TallyParams { counter };
                batch.dispatch(&self.kernels.tally, &arguments, bytes_of(&params), [1, 1, 1])?;
            }
            counter = self.window(&mut batch, resident, (index, way), plan)?;
        }
        self.centroids(&mut batch)?;
        self.control(&mut batch, counter)?;
        Ok(batch)
    }

    /// Which of the counters tells how many rows its last tier left.
    fn window(
        &self,
        batch: &mut Batch<'a>,
        resident: &'a Resident,
        (index, way): (usize, AtOnce),
        plan: &UpdatePlan,
    ) -> Result<u32> {
        let Self { passes, kernels, buffers, columns, .. } = *self;
        let Buffers { centroids, standing, history, sizes, .. } = buffers;
        let task = passes.task(resident, columns, index);
        let mut counter = 0;
        kernels.on_device.record(&passes.labeller, batch, &task, (way, centroids), |batch, list| {
            counter = list.counter;
            let listed = way.listed.unwrap_or(task.window.rows as u32);
            let params = GateParams { listed, room: way.brought, counter, window: index as u32 };
            let arguments = [list.counters.whole(), standing.whole(), history.whole(), sizes.whole()];
            batch.dispatch(&kernels.gate, &arguments, bytes_of(&params), [1, 1, 1])
        })?;
        let rows = Labelled {
            window: task.window,
            weights: resident.weights.get(index),
            labels: task.nearest,
            summed: &passes.summed[index],
        };
        passes.summer.record(batch, plan, &rows, passes.labeller.scratch())?;
        Ok(counter)
    }

    fn centroids(&self, batch: &mut Batch<'a>) -> Result<()> {
        let Self { passes, kernels, buffers, columns, .. } = *self;
        let Buffers { centroids, before, parts, .. } = buffers;
        let [sums, totals] = passes.summer.sums();
        let arguments = [sums, totals, passes.summer.exponents(), centroids, before, parts];
        let shape = &passes.shape;
        let params = CentroidParams { depth: shape.columns as u32, features: shape.summed() as u32 };
        let workgroups = [shape.n_clusters as u32, 1, 1];
        let arguments = arguments.map(DeviceBuffer::whole);
        batch.dispatch(&kernels.centroid, &arguments, bytes_of(&params), workgroups)?;
        kernels.maker.record(batch, centroids, columns)
    }

    fn control(&self, batch: &mut Batch<'a>, counter: u32) -> Result<()> {
        let Self { passes, kernels, buffers, columns, start } = *self;
        let Buffers { parts, standing, history, sizes, .. } = buffers;
        let params = ControlParams {
            n_clusters: passes.shape.n_clusters as u32,
            counter,
            most_listed: columns
                .halves
                .as_ref()
                .map_or(u32::MAX, |_| most_left(passes.problem.rows as u64) as u32),
            padding: 0,
            total: words(passes.problem.total_square),
            tolerance: words(start.tolerance),
        };
        let arguments = [parts, passes.labeller.counters(), standing, history, sizes];
        let arguments = arguments.map(DeviceBuffer::whole);
        batch.dispatch(&kernels.control, &arguments, bytes_of(&params), [1, 1, 1])
    }
}

/// A number as two words, the low one first.
fn words(number: f64) -> [u32; 2] {
    let bits = number.to_bits();
    [bits as u32, (bits >> 32) as u32]
}
