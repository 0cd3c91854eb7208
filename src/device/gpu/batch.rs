//! Work for a GPU, recorded first and encoded in one submission.
//!
//! A batch borrows its buffers until it is submitted. After that there is one queue: whatever uses a buffer later,
//! also a later owner out of the pool, runs later.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::buffers::{DeviceBuffer, Kind, Lease, Owner, Slice};
use super::context::{Context, Gpu, Live, lock};
use super::flight::{Finished, InFlight, Reads, TICKS_BYTES};
use super::pipeline_cache::Pipeline;
use super::profile::Stage;
use crate::error::Result;

/// Parameter slots start at multiples of this: the largest alignment that any backend asks for.
const SLOT_BYTES: usize = 256;

/// Steps that one submission performs in order. Each step sees what the steps before it wrote.
pub(crate) struct Batch<'a> {
    pub(super) gpu: Gpu,
    pub(super) live: Arc<Live>,
    pub(super) stage: Stage,
    pub(super) steps: Vec<Step<'a>>,
    pub(super) params: Vec<u8>,
}

/// Parameter slots for what is recorded into a caller's encoder: they are never reused, since nobody tells when the
/// caller submits.
#[derive(Default)]
pub(crate) struct Arena {
    leases: Vec<Lease>,
    used: u64,
}

impl Arena {
    /// Bytes of one lease: some hundred dispatches.
    const LEASE_BYTES: u64 = 64 << 10;

    fn take(&mut self, gpu: &Gpu, live: &Arc<Live>, bytes: u64) -> Result<(&Lease, u64)> {
        let has_room = self.leases.last().is_some_and(|lease| {
            lease.live.generation == live.generation && self.used + bytes <= lease.capacity()
        });
        if !has_room {
            let size = bytes.max(Self::LEASE_BYTES);
            let lease = Lease::new(&gpu.context, live, Kind::Uniform, "recorded parameters", size, u64::MAX)?;
            lease.spoil();
            self.leases.push(lease);
            self.used = 0;
        }
        let base = self.used;
        self.used += bytes;
        Ok((&self.leases[self.leases.len() - 1], base))
    }
}

/// What a submission performs.
pub(super) enum Step<'a> {
    Dispatch { pipeline: Arc<Pipeline>, bindings: Vec<Slice<'a>>, params: Range<u64>, workgroups: [u32; 3] },
    Clear { slice: Slice<'a> },
}

impl Step<'_> {
    fn is_dispatch(&self) -> bool {
        matches!(self, Self::Dispatch { .. })
    }
}

impl Gpu {
    /// An empty batch.
    pub(crate) fn batch<'a>(&self, stage: impl Into<Stage>) -> Batch<'a> {
        let (live, stage) = (self.context.live(), stage.into());
        Batch { gpu: self.clone(), live, stage, steps: Vec::new(), params: Vec::new() }
    }

    /// The bytes of each range, after all work submitted before: one submission and one wait.
    pub(crate) fn read(&self, ranges: &[(&DeviceBuffer, Range<u64>)]) -> Result<Vec<Vec<u8>>> {
        self.batch("read").submit_and_read(ranges)
    }
}

impl<'a> Batch<'a> {
    /// Runs `workgroups` of `pipeline`. `bindings` are its arguments without the last one, where that is the
    /// parameter struct: `params` holds its bytes. Nothing is done where a dimension is 0.
    pub(crate) fn dispatch(
        &mut self,
        pipeline: &Arc<Pipeline>,
        bindings: &[Slice<'a>],
        params: &[u8],
        workgroups: [u32; 3],
    ) -> Result<()> {
        const OPERATION: &str = "recording a dispatch";
        let context = &self.gpu.context;
        context.check_alive(&self.live, OPERATION)?;
        let name = pipeline.name;
        let expected = pipeline.bindings.len() - usize::from(pipeline.has_params());
        if pipeline.generation != self.live.generation {
            return Err(context.lost(OPERATION, "the pipeline was compiled before the device was re-created"));
        }
        if bindings.len() != expected || params.is_empty() == pipeline.has_params() {
            let got = format!("{name}: {} arguments and {} parameter bytes", bindings.len(), params.len());
            return Err(context.refused(OPERATION, got));
        }
        for slice in bindings {
            self.check_range(slice, OPERATION)?;
        }
        let most = self.live.limits.max_workgroups_per_dimension;
        if workgroups.iter().any(|count| *count > most) {
            return Err(
                context.refused(OPERATION, format!("{name}: {workgroups:?} workgroups, limit {most}"))
            );
        }
        if workgroups.contains(&0) {
            return Ok(());
        }
        let (step, largest) = (self.live.limits.min_offset_alignment, self.live.limits.max_binding_bytes);
        for Slice { offset, bytes, .. } in bindings {
            if *bytes == 0 || *bytes > largest || !offset.is_multiple_of(u64::from(step)) {
                let got =
                    format!("{name}: {bytes} bytes at {offset}; binding limit {largest}, steps of {step}");
                return Err(context.refused(OPERATION, got));
            }
        }
        let start = self.params.len();
        self.params.extend_from_slice(params);
        // A uniform binding's size is a multiple of 16, its offset of a slot.
        let end = start + params.len().next_multiple_of(16);
        self.params.resize(start + params.len().next_multiple_of(SLOT_BYTES), 0);
        self.steps.push(Step::Dispatch {
            pipeline: Arc::clone(pipeline),
            bindings: bindings.to_vec(),
            params: start as u64..end as u64,
            workgroups,
        });
        Ok(())
    }

    /// Sets all of `buffer` to zero.
    pub(crate) fn clear(&mut self, buffer: &'a DeviceBuffer) -> Result<()> {
        self.clear_part(buffer.whole())
    }

    /// Sets a part of a buffer to zero; it begins and ends at multiples of 4.
    pub(crate) fn clear_part(&mut self, slice: Slice<'a>) -> Result<()> {
        self.check_range(&slice, "recording a clear")?;
        self.steps.push(Step::Clear { slice });
        Ok(())
    }

    /// Hands the steps to the device without waiting for them.
    pub(crate) fn submit(self) -> Result<()> {
        if self.gpu.profile().is_on() {
            return self.perform(&[], true, |_| ()).map(|_| ());
        }
        self.launch(&[], false).map(|_| ())
    }

    /// Performs the steps and waits. Returns how long the device worked, by its own clock where it has one, else
    /// the time from the submission to its end.
    pub(crate) fn submit_and_wait(self) -> Result<Duration> {
        self.perform(&[], true, |_| ()).map(|finished| finished.elapsed)
    }

    /// Performs the steps and returns the bytes of each range as they are then.
    pub(crate) fn submit_and_read(self, ranges: &[(&DeviceBuffer, Range<u64>)]) -> Result<Vec<Vec<u8>>> {
        self.submit_and_take(ranges, |bytes| bytes.iter().map(|bytes| bytes.to_vec()).collect())
    }

    /// Performs the steps and hands the bytes of each range, as they are then, to `take` where they lie: of no
    /// particular alignment.
    pub(crate) fn submit_and_take<R>(
        self,
        ranges: &[(&DeviceBuffer, Range<u64>)],
        take: impl FnOnce(&[&[u8]]) -> R,
    ) -> Result<R> {
        let is_timed = self.gpu.profile().is_on();
        self.perform(ranges, is_timed, take).map(|finished| finished.taken)
    }

    /// Performs the steps and waits for them, timed by the device's clock where that is wanted and there is one.
    fn perform<R>(
        self,
        ranges: &[(&DeviceBuffer, Range<u64>)],
        is_timed: bool,
        take: impl FnOnce(&[&[u8]]) -> R,
    ) -> Result<Finished<R>> {
        let has_dispatches = self.steps.iter().any(Step::is_dispatch);
        let (gpu, stage) = (self.gpu.clone(), self.stage);
        let is_timed = is_timed && has_dispatches && self.live.limits.has_timestamps;
        let finished = self.launch(ranges, is_timed)?.finish(take)?;
        if has_dispatches {
            gpu.profile().add_batch(stage, finished.elapsed);
        }
        Ok(finished)
    }

    /// Records the steps into the caller's encoder; they run when the caller submits it. The buffers of this crate
    /// that they name are not handed out again. `arena` outlives the submission.
    pub(crate) fn encode_into(self, encoder: &mut wgpu::CommandEncoder, arena: &mut Arena) -> Result<()> {
        const OPERATION: &str = "recording into an encoder";
        let Self { gpu, live, .. } = &self;
        for step in &self.steps {
            match step {
                Step::Dispatch { bindings, .. } => bindings.iter().for_each(spoil),
                Step::Clear { slice } => spoil(slice),
            }
        }
        let params = if self.params.is_empty() {
            None
        } else {
            let (lease, base) = arena.take(gpu, live, self.params.len() as u64)?;
            gpu.context.guarded(live, "writing parameters", 0, || {
                gpu.context.send(live, &lease.raw, base, &self.params);
            })?;
            Some((lease, base))
        };
        gpu.context.guarded(live, OPERATION, 0, || self.encode(encoder, params, None))
    }

    /// Refuses a slice that leaves its buffer or whose buffer is not of this batch's device.
    fn check_range(&self, slice: &Slice<'_>, operation: &'static str) -> Result<()> {
        let context = &self.gpu.context;
        // Parts of the caller's buffers were checked when they were made.
        let Owner::Ours(buffer) = slice.owner else { return Ok(()) };
        let live = &buffer.lease.live;
        context.check_alive(&self.live, operation)?;
        context.check_alive(live, operation)?;
        if live.generation != self.live.generation {
            return Err(context.refused(operation, "the buffer belongs to another device"));
        }
        let size = buffer.size_bytes();
        if slice.offset.checked_add(slice.bytes).is_none_or(|end| end > size) {
            let got = format!("{} bytes at {} of a buffer of {size}", slice.bytes, slice.offset);
            return Err(context.refused(operation, got));
        }
        Ok(())
    }

    fn launch(self, ranges: &[(&DeviceBuffer, Range<u64>)], is_timed: bool) -> Result<InFlight> {
        const OPERATION: &str = "submitting work";
        let Self { gpu, live, stage, .. } = &self;
        let label = stage.label();
        let context = &gpu.context;
        for (buffer, range) in ranges {
            let bytes = range.end.checked_sub(range.start).unwrap_or(u64::MAX);
            self.check_range(&buffer.slice(range.start, bytes), OPERATION)?;
        }
        let lease = |kind, bytes| Lease::new(context, live, kind, label, bytes, u64::MAX);
        let mut head = 0;
        let timer = if is_timed {
            head = TICKS_BYTES;
            Some((lock(&live.timers).pop(), lease(Kind::Ticks, TICKS_BYTES)?))
        } else {
            None
        };
        let reads = Reads::plan(ranges, head);
        let staging =
            if reads.staging_bytes > 0 { Some(lease(Kind::Staging, reads.staging_bytes)?) } else { None };
        let params = if self.params.is_empty() {
            None
        } else {
            let params = lease(Kind::Uniform, self.params.len() as u64)?;
            context.guarded(live, "writing parameters", 0, || {
                context.send(live, &params.raw, 0, &self.params);
            })?;
            Some(params)
        };
        let started = Instant::now();
        let (submission, timer) = context.guarded(live, OPERATION, 0, || {
            let mut encoder =
                live.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) });
            let timer = timer.map(|(queries, ticks)| (queries.unwrap_or_else(|| new_timer(live)), ticks));
            let slots = params.as_ref().map(|lease| (lease, 0));
            self.encode(&mut encoder, slots, timer.as_ref().map(|(queries, _)| queries));
            if let Some(staging) = &staging {
                if let Some((queries, ticks)) = &timer {
                    encoder.resolve_query_set(queries, 0..2, &ticks.raw, 0);
                    encoder.copy_buffer_to_buffer(&ticks.raw, 0, &staging.raw, 0, TICKS_BYTES);
                }
                reads.encode(&mut encoder, ranges, &staging.raw);
                context.tally.downloaded_bytes.add(reads.staging_bytes);
            }
            (context.submit(live, encoder.finish()), timer)
        })?;
        if let Some((queries, _)) = timer {
            lock(&live.timers).push(queries);
        }
        let (context, live) = (Arc::clone(context), Arc::clone(live));
        Ok(InFlight { context, live, submission, staging, reads, is_timed, started })
    }

    fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        params: Option<(&Lease, u64)>,
        timer: Option<&wgpu::QuerySet>,
    ) {
        // Neighbouring dispatches share a pass; the first pass starts the clock and the last one stops it.
        let passes: Vec<&[Step<'_>]> =
            self.steps.chunk_by(|a, b| a.is_dispatch() && b.is_dispatch()).collect();
        let first = passes.iter().position(|steps| steps[0].is_dispatch());
        let last = passes.iter().rposition(|steps| steps[0].is_dispatch());
        for (at, steps) in passes.iter().enumerate() {
            match &steps[0] {
                Step::Clear { slice } => {
                    // Every buffer's capacity is a multiple of 4.
                    let bytes = slice.bytes.next_multiple_of(4);
                    encoder.clear_buffer(slice.raw(), slice.offset, Some(bytes));
                }
                Step::Dispatch { .. } => {
                    let start = (Some(at) == first).then_some(0);
                    let end = (Some(at) == last).then_some(1);
                    let is_edge = start.is_some() || end.is_some();
                    let timestamp_writes =
                        timer.filter(|_| is_edge).map(|query_set| wgpu::ComputePassTimestampWrites {
                            query_set,
                            beginning_of_pass_write_index: start,
                            end_of_pass_write_index: end,
                        });
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                        label: Some(self.stage.label()),
                        timestamp_writes,
                    });
                    for step in *steps {
                        self.encode_dispatch(&mut pass, step, params);
                    }
                }
            }
        }
    }

    fn encode_dispatch(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        step: &Step<'_>,
        params: Option<(&Lease, u64)>,
    ) {
        let Step::Dispatch { pipeline, bindings, params: slot, workgroups: [x, y, z] } = step else { return };
        let slots = params.map(|(lease, base)| (lease, base + slot.start..base + slot.end));
        let group = bind(&self.gpu.context, &self.live, pipeline, bindings, slots);
        self.gpu.context.tally.dispatches.add(1);
        pass.set_pipeline(&pipeline.raw);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(*x, *y, *z);
    }
}

/// The arguments of a dispatch; `slots` is where its parameters lie.
pub(super) fn bind(
    context: &Context,
    live: &Live,
    pipeline: &Pipeline,
    bindings: &[Slice<'_>],
    slots: Option<(&Lease, Range<u64>)>,
) -> wgpu::BindGroup {
    let argument = |buffer, offset, bytes: u64| {
        // A binding's size is a multiple of 4; so is every buffer's capacity.
        let size = wgpu::BufferSize::new(bytes.next_multiple_of(4));
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size })
    };
    let mut resources: Vec<wgpu::BindingResource<'_>> =
        bindings.iter().map(|slice| argument(slice.raw(), slice.offset, slice.bytes)).collect();
    if pipeline.has_params()
        && let Some((lease, slot)) = slots
    {
        resources.push(argument(&lease.raw, slot.start, slot.end - slot.start));
    }
    let entries: Vec<wgpu::BindGroupEntry<'_>> =
        (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
    context.tally.bind_groups.add(1);
    live.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(pipeline.name),
        layout: &pipeline.layout,
        entries: &entries,
    })
}

/// A buffer of this crate's that is used in a way of which nobody tells the end.
fn spoil(slice: &Slice<'_>) {
    if let Owner::Ours(buffer) = slice.owner {
        buffer.lease.spoil();
    }
}

fn new_timer(live: &Live) -> wgpu::QuerySet {
    live.device.create_query_set(&wgpu::QuerySetDescriptor {
        label: Some("ticks"),
        ty: wgpu::QueryType::Timestamp,
        count: 2,
    })
}
