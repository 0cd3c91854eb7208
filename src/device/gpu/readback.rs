//! Bringing large results to the host: chunk after chunk through a ring of staging buffers that stay for the next read.
//! The threads of the host take one chunk out of its mapped buffer, straight to where it belongs, while the device copies
//! the next ones.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytemuck::{Pod, pod_collect_to_vec, try_cast_slice};
use rayon::prelude::*;

use super::buffers::{DeviceBuffer, Kind, Lease};
use super::context::{Context, Gpu, Live};
use super::flight::Mapping;
use crate::error::Result;

const OPERATION: &str = "reading results";

/// What one submission copies.
const CHUNK_BYTES: usize = 8 << 20;
/// Staging buffers that take turns: one is read, the others are filled.
const RING: usize = 3;

/// A chunk on its way: which parts it has.
struct Chunk {
    staging: Lease,
    first: usize,
    parts: usize,
}

/// A buffer's elements in parts that are not divided, of `part_elements` each but the last one.
struct Parts<'b> {
    buffer: &'b DeviceBuffer,
    elements: usize,
    part_elements: usize,
    /// Of one chunk.
    chunk_parts: usize,
}

impl Gpu {
    /// Hands out the first `elements` elements of `buffer`, as they are after all work submitted before, in parts of
    /// `part_elements`: `take` gets a part's elements and its value of `to`, on any thread.
    ///
    /// # Errors
    /// The device's, and of those of `take` the one of the first part.
    pub(crate) fn read_parts<T: Pod + Send + Sync, S: Send>(
        &self,
        buffer: &DeviceBuffer,
        elements: usize,
        part_elements: usize,
        to: &mut [S],
        take: impl Fn(&[T], &mut S) -> Result<()> + Sync,
    ) -> Result<()> {
        const { assert!(size_of::<T>().is_multiple_of(4), "chunks begin at multiples of 4 bytes") };
        let context = &self.context;
        let live = context.generation_of(buffer, OPERATION)?;
        let bytes = (elements as u64).saturating_mul(size_of::<T>() as u64);
        let part_elements = part_elements.max(1);
        if bytes > buffer.size_bytes() || to.len() != elements.div_ceil(part_elements) {
            let got = format!("{bytes} bytes in {} parts of a buffer of {}", to.len(), buffer.size_bytes());
            return Err(context.refused(OPERATION, got));
        }
        let chunk_parts = (CHUNK_BYTES / (part_elements * size_of::<T>())).max(1);
        let parts = Parts { buffer, elements, part_elements, chunk_parts };
        let mut under_way: VecDeque<Chunk> = VecDeque::with_capacity(RING);
        let (mut asked, mut idle) = (0, None);
        for (index, to) in to.chunks_mut(chunk_parts).enumerate() {
            let first = index * chunk_parts;
            while asked < parts.elements.div_ceil(part_elements) && under_way.len() < RING {
                let chunk = parts.ask::<T>(context, &live, asked, idle.take())?;
                asked += chunk.parts;
                under_way.push_back(chunk);
            }
            let Some(mut chunk) = under_way.pop_front() else { break };
            debug_assert_eq!((chunk.first, chunk.parts), (first, to.len()), "chunks come in order");
            context.await_mapping(&live, &mut chunk.staging, wgpu::MapMode::Read, OPERATION)?;
            parts.take_chunk(context, &mut chunk, to, &take)?;
            idle = Some(chunk.staging);
        }
        Ok(())
    }
}

impl Parts<'_> {
    /// Elements before part `part`.
    fn before(&self, part: usize) -> usize {
        (part * self.part_elements).min(self.elements)
    }

    /// Has the device copy the chunk that begins with part `first`, into `staging` or into a buffer of the pool.
    fn ask<T>(
        &self,
        context: &Context,
        live: &std::sync::Arc<Live>,
        first: usize,
        staging: Option<Lease>,
    ) -> Result<Chunk> {
        let parts = self.chunk_parts.min(self.elements.div_ceil(self.part_elements) - first);
        let start = (self.before(first) * size_of::<T>()) as u64;
        let bytes = (self.before(first + parts) * size_of::<T>()) as u64 - start;
        let mut staging = match staging {
            Some(staging) => staging,
            None => Lease::new(context, live, Kind::Staging, "read", bytes, u64::MAX)?,
        };
        let outcome = context.guarded(live, OPERATION, 0, || {
            let descriptor = wgpu::CommandEncoderDescriptor { label: Some("read") };
            let mut encoder = live.device.create_command_encoder(&descriptor);
            encoder.copy_buffer_to_buffer(&self.buffer.lease.raw, start, &staging.raw, 0, bytes);
            context.tally.downloaded_bytes.add(bytes);
            let submission = context.submit(live, encoder.finish());
            staging.request_mapping(wgpu::MapMode::Read, Some(submission));
        });
        if let Err(error) = outcome {
            staging.spoil();
            return Err(error);
        }
        Ok(Chunk { staging, first, parts })
    }

    /// Hands out the parts of a chunk that the host has, and gives the staging buffer back to the device.
    fn take_chunk<T: Pod + Send + Sync, S: Send>(
        &self,
        context: &Context,
        chunk: &mut Chunk,
        to: &mut [S],
        take: &(impl Fn(&[T], &mut S) -> Result<()> + Sync),
    ) -> Result<()> {
        let elements = self.before(chunk.first + chunk.parts) - self.before(chunk.first);
        let raw = chunk.staging.raw.clone();
        let view = raw.get_mapped_range(..(elements * size_of::<T>()) as u64).map_err(|error| {
            chunk.staging.spoil();
            context.refused(OPERATION, error.to_string())
        })?;
        // Drivers align mappings; that they do is not this crate's to assume.
        let values: Cow<'_, [T]> =
            try_cast_slice(&view).map_or_else(|_| pod_collect_to_vec(&view).into(), Cow::Borrowed);
        let taken: Vec<Result<()>> = values
            .par_chunks(self.part_elements)
            .zip(to.par_iter_mut())
            .map(|(values, to)| take(values, to))
            .collect();
        drop(values);
        drop(view);
        raw.unmap();
        *chunk.staging.mapping() = Mapping::None;
        // Whoever was fastest, the first part's error is told.
        taken.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gpu::tests::{Devices, fail_each_call, open};
    use crate::error::Error;

    fn element(at: usize) -> u32 {
        (at as u32).wrapping_mul(2_654_435_761) >> 3
    }

    /// Uploads elements and compares what comes back in parts.
    fn read(gpu: &Gpu, elements: usize, part_elements: usize) -> Result<()> {
        let buffer = gpu.buffer("elements", 4 * elements as u64 + 8)?;
        gpu.write_rows(&buffer, 1, &mut vec![(); elements], |first, to: &mut [u32], _| {
            to.iter_mut().enumerate().for_each(|(index, to)| *to = element(first + index));
            Ok(())
        })?;
        let mut back = vec![u32::MAX; elements];
        let mut parts: Vec<&mut [u32]> = back.chunks_mut(part_elements).collect();
        gpu.read_parts(&buffer, elements, part_elements, &mut parts, |values: &[u32], to| {
            to.copy_from_slice(values);
            Ok(())
        })?;
        let wrong = back.iter().enumerate().position(|(at, &value)| value != element(at));
        assert_eq!(wrong, None, "{elements} in parts of {part_elements}");
        Ok(())
    }

    #[test]
    #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
    fn parts_come_back_whole_and_in_order() {
        let gpu = open();
        let chunk = CHUNK_BYTES / 4;
        for (elements, part) in [
            (1, 1),
            (1000, 7),
            (1000, 1000),
            (1000, 1001),
            (chunk, 4096),
            (chunk + 1, 4096),
            ((RING + 2) * chunk + 3, 5000),
            (2 * chunk + 10, chunk + 5),
        ] {
            read(&gpu, elements, part).unwrap();
            assert_eq!(gpu.live_buffers(), 0, "{elements} in parts of {part}");
        }
        let buffer = gpu.buffer("small", 400).unwrap();
        for (elements, parts) in [(101, 101), (100, 99), (usize::MAX, 1)] {
            let refused = gpu.read_parts(&buffer, elements, 1, &mut vec![(); parts], |_: &[u32], ()| Ok(()));
            assert!(matches!(refused, Err(Error::DeviceRefused { .. })), "{refused:?}");
        }
        gpu.read_parts(&buffer, 0, 1, &mut [(); 0], |_: &[u32], ()| Ok(())).unwrap();
    }

    #[test]
    #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
    fn the_error_of_the_first_part_is_told_and_nothing_leaks() {
        let gpu = open();
        let (elements, part) = (3 * CHUNK_BYTES / 4, 1024);
        let buffer = gpu.buffer("elements", 4 * elements as u64).unwrap();
        let mut parts: Vec<usize> = (0..elements / part).collect();
        let refused_from = CHUNK_BYTES / 4 / part + 3;
        let outcome = gpu.read_parts(&buffer, elements, part, &mut parts, |_: &[u32], part| {
            if *part < refused_from { Ok(()) } else { Err(Error::parameter("part", "an early one", *part)) }
        });
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains(&refused_from.to_string()), "{message}");
        drop(buffer);
        assert_eq!(gpu.live_buffers(), 0);
        read(&gpu, elements, part).unwrap();
    }

    #[test]
    #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
    fn whichever_call_of_a_read_fails_nothing_leaks_and_the_next_one_comes_back() {
        let (elements, part) = ((RING + 1) * CHUNK_BYTES / 4, 5000);
        let next = |gpu: &Gpu| read(gpu, elements / 2, part);
        fail_each_call(Devices::Shared, |gpu| read(gpu, elements, part), next);
    }
}
