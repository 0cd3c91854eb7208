//! Steps that the device performs many times: bound once, sent as often as wanted, without a byte of the host's in between.
//!
//! Each dispatch is as large as a table on the device says, so that a kernel which empties the table ends everything that
//! was already sent. Kernels that write the table are dispatched as recorded: they have to see for themselves that the end has come.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::batch::{Batch, Step, bind};
use super::buffers::{DeviceBuffer, Kind, Lease, Slice};
use super::context::{Context, Gpu, Live};
use super::flight::{InFlight, Reads};
use super::pipeline_cache::Pipeline;
use super::profile::Stage;
use crate::error::Result;

/// Dispatches of a program at most.
pub(crate) const MOST_DISPATCHES: u32 = 256;
/// Bytes of a size: three numbers of workgroups and a word that nobody reads.
const SIZE_BYTES: u64 = 16;

/// Steps that are sent together, bound to their arguments.
pub(crate) struct Program<'a> {
    gpu: Gpu,
    live: Arc<Live>,
    stage: Stage,
    steps: Vec<Bound<'a>>,
    table: &'a DeviceBuffer,
    /// Kept as long as the groups that name it.
    _params: Option<Lease>,
}

enum Bound<'a> {
    Dispatch {
        pipeline: Arc<Pipeline>,
        group: wgpu::BindGroup,
        workgroups: [u32; 3],
        /// Where the table has its size.
        size: Option<u64>,
    },
    Clear(Slice<'a>),
}

/// Passes that are encoded and wait to be sent.
pub(crate) struct Encoded {
    context: Arc<Context>,
    live: Arc<Live>,
    commands: wgpu::CommandBuffer,
    staging: Lease,
    reads: Reads,
}

/// Passes under way.
pub(crate) struct Sent(InFlight);

impl Gpu {
    /// Room for the sizes of a program's dispatches.
    pub(crate) fn size_table(&self) -> Result<DeviceBuffer> {
        self.buffer_of(Kind::Sizes, "sizes", u64::from(MOST_DISPATCHES) * SIZE_BYTES)
    }
}

impl<'a> Batch<'a> {
    /// Binds the recorded steps for many passes, whose dispatches are as large as `table` says; it starts with the sizes
    /// that were recorded. Returns how many there are too.
    pub(crate) fn into_program(self, table: &'a DeviceBuffer) -> Result<Program<'a>> {
        const OPERATION: &str = "binding a program";
        let Self { gpu, live, stage, steps, params } = self;
        let context = &gpu.context;
        let lease = |bytes| Lease::new(context, &live, Kind::Uniform, "program", bytes, u64::MAX);
        let slots = if params.is_empty() { None } else { Some(lease(params.len() as u64)?) };
        if let Some(slots) = &slots {
            context.guarded(&live, "writing parameters", 0, || {
                live.queue.write_buffer(&slots.raw, 0, &params)
            })?;
        }
        let is_table = |slice: &Slice<'_>| std::ptr::eq(slice.raw(), &raw const table.lease.raw);
        let mut sizes: Vec<[u32; 4]> = Vec::new();
        let bound = context.guarded(&live, OPERATION, 0, || {
            let bind_step = |step: Step<'a>| match step {
                Step::Clear { slice } => Bound::Clear(slice),
                Step::Dispatch { pipeline, bindings, params, workgroups } => {
                    let group = bind(
                        context,
                        &live,
                        &pipeline,
                        &bindings,
                        slots.as_ref().map(|lease| (lease, params)),
                    );
                    let size = (!bindings.iter().any(is_table)).then(|| {
                        let [x, y, z] = workgroups;
                        sizes.push([x, y, z, 0]);
                        (sizes.len() as u64 - 1) * SIZE_BYTES
                    });
                    Bound::Dispatch { pipeline, group, workgroups, size }
                }
            };
            steps.into_iter().map(bind_step).collect::<Vec<_>>()
        })?;
        if sizes.len() > MOST_DISPATCHES as usize {
            let got = format!("{} dispatches, limit {MOST_DISPATCHES}", sizes.len());
            return Err(context.refused(OPERATION, got));
        }
        gpu.write(table, 0, bytemuck::cast_slice(&sizes))?;
        Ok(Program { gpu, live, stage, steps: bound, table, _params: slots })
    }
}

impl Program<'_> {
    /// Encodes all steps `passes` times, after `cleared` was set to zero. What lies in `ranges` then is read.
    pub(crate) fn encoded(
        &self,
        passes: u32,
        cleared: &[&DeviceBuffer],
        ranges: &[(&DeviceBuffer, Range<u64>)],
    ) -> Result<Encoded> {
        const OPERATION: &str = "encoding passes";
        let Self { gpu, live, stage, .. } = self;
        let context = &gpu.context;
        context.check_alive(live, OPERATION)?;
        let label = stage.label();
        let reads = Reads::plan(ranges, 0);
        let staging = Lease::new(context, live, Kind::Staging, label, reads.staging_bytes, u64::MAX)?;
        let commands = context.guarded(live, OPERATION, 0, || {
            let mut encoder =
                live.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) });
            for buffer in cleared {
                encoder.clear_buffer(&buffer.lease.raw, 0, None);
            }
            for _ in 0..passes {
                self.encode(&mut encoder);
            }
            reads.encode(&mut encoder, ranges, &staging.raw);
            encoder.finish()
        })?;
        let (context, live) = (Arc::clone(context), Arc::clone(live));
        Ok(Encoded { context, live, commands, staging, reads })
    }

    fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let neighbours =
            |a: &Bound<'_>, b: &Bound<'_>| matches!((a, b), (Bound::Dispatch { .. }, Bound::Dispatch { .. }));
        for steps in self.steps.chunk_by(neighbours) {
            if let [Bound::Clear(slice)] = steps {
                let bytes = slice.bytes.next_multiple_of(4);
                encoder.clear_buffer(slice.raw(), slice.offset, Some(bytes));
                continue;
            }
            let label = Some(self.stage.label());
            let descriptor = wgpu::ComputePassDescriptor { label, timestamp_writes: None };
            let mut pass = encoder.begin_compute_pass(&descriptor);
            for step in steps {
                let Bound::Dispatch { pipeline, group, workgroups: [x, y, z], size } = step else { continue };
                pass.set_pipeline(&pipeline.raw);
                pass.set_bind_group(0, group, &[]);
                match size {
                    Some(at) => pass.dispatch_workgroups_indirect(&self.table.lease.raw, *at),
                    None => pass.dispatch_workgroups(*x, *y, *z),
                }
                self.gpu.context.tally.dispatches.add(1);
            }
        }
    }
}

impl Encoded {
    /// Hands the passes to the device.
    pub(crate) fn send(self) -> Result<Sent> {
        let Self { context, live, commands, staging, reads } = self;
        let started = Instant::now();
        let submission = context.guarded(&live, "submitting work", 0, || context.submit(&live, commands))?;
        context.tally.downloaded_bytes.add(reads.staging_bytes);
        Ok(Sent(InFlight {
            context,
            live,
            submission,
            staging: Some(staging),
            reads,
            is_timed: false,
            started,
        }))
    }
}

impl Sent {
    /// Waits for the end and hands out the bytes of each range.
    pub(crate) fn finish<R>(self, take: impl FnOnce(&[&[u8]]) -> R) -> Result<R> {
        Ok(self.0.finish(take)?.taken)
    }

    /// When it was sent.
    pub(crate) fn sent(&self) -> Instant {
        self.0.started
    }
}
