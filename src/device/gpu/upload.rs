//! Bringing bytes to the device.
//!
//! A few bytes travel with the next submission. More of them go through a ring of mapped staging buffers that stay for
//! the next upload: the threads of the host fill one while the device copies another. Where the host's memory is not
//! the device's, drivers map staging buffers as write-combining memory, which is slow to read and to write in pieces:
//! rows are made in a thread's own cache and copied from there, in order, and nothing is ever read back.

use std::collections::VecDeque;
use std::ops::Range;
use std::ptr::NonNull;
use std::time::Instant;

use bytemuck::{Pod, Zeroable, cast_slice};
use rayon::prelude::*;

use super::buffers::{DeviceBuffer, Kind, Lease};
use super::context::{Context, Gpu, Live};
use crate::error::Result;

const OPERATION: &str = "writing a buffer";

/// What goes with the next submission: a copy of its own would cost more.
const SMALL_BYTES: usize = 64 << 10;
/// What one thread makes at a time. It stays in the thread's cache until it is copied.
const PIECE_BYTES: usize = 64 << 10;
/// What one submission copies. Larger chunks fill no faster, and the first use of a staging buffer zeroes it.
const CHUNK_BYTES: usize = 8 << 20;
/// Staging buffers that take turns: one is filled, one is copied, one waits for its submission to be noticed.
const RING: usize = 3;

/// Bytes to write, in units that are not divided, and one value of the caller's for each unit.
struct Upload<'u, S> {
    buffer: &'u DeviceBuffer,
    offset: u64,
    unit_bytes: usize,
    of_units: &'u mut [S],
}

/// Makes the bytes of some units: gets the first one's index, their values, scratch memory and the place of the bytes.
trait Fill<T, S>: Fn(usize, &mut [S], &mut Vec<T>, wgpu::WriteOnly<'_, [u8]>) -> Result<()> + Sync {}

impl<T, S, F> Fill<T, S> for F where
    F: Fn(usize, &mut [S], &mut Vec<T>, wgpu::WriteOnly<'_, [u8]>) -> Result<()> + Sync
{
}

impl Gpu {
    /// A buffer that holds `values`.
    pub(crate) fn filled<T: Pod>(&self, label: &'static str, values: &[T]) -> Result<DeviceBuffer> {
        let bytes = bytemuck::cast_slice(values);
        let buffer = self.buffer(label, bytes.len() as u64)?;
        self.write(&buffer, 0, bytes)?;
        Ok(buffer)
    }

    /// Copies `bytes` into `buffer` from `offset` (a multiple of 4) on, before any batch submitted later. The length
    /// is a multiple of 4 unless the bytes reach the buffer's end.
    pub(crate) fn write(&self, buffer: &DeviceBuffer, offset: u64, bytes: &[u8]) -> Result<()> {
        let context = &self.context;
        let live = context.generation_of(buffer, OPERATION)?;
        check_place(context, buffer, offset, bytes.len())?;
        if bytes.len() > SMALL_BYTES {
            let mut units = vec![(); bytes.len()];
            let upload = Upload { buffer, offset, unit_bytes: 1, of_units: &mut units };
            return self.stream(upload, &|first, units: &mut [()], _: &mut Vec<u8>, mut to| {
                to.copy_from_slice(&bytes[first..first + units.len()]);
                Ok(())
            });
        }
        let begin = Instant::now();
        context.guarded(&live, OPERATION, 0, || {
            write_padded(context, &live, &buffer.lease.raw, offset, bytes)
        })?;
        self.profile().add_upload(begin, bytes.len());
        Ok(())
    }

    /// Fills `buffer` with rows of `row_elements`, as many as `of_rows` has values, before any batch submitted later.
    /// `load` makes some of them on any thread: it gets the first one's index, their elements, which hold anything
    /// before, and their values of `of_rows`.
    ///
    /// # Errors
    /// The device's, and of those of `load` the one of the first rows.
    pub(crate) fn write_rows<T: Pod + Send + Sync, S: Send>(
        &self,
        buffer: &DeviceBuffer,
        row_elements: usize,
        of_rows: &mut [S],
        load: impl Fn(usize, &mut [T], &mut [S]) -> Result<()> + Sync,
    ) -> Result<()> {
        const { assert!(size_of::<T>().is_multiple_of(4), "chunks begin at multiples of 4 bytes") };
        let unit_bytes = row_elements * size_of::<T>();
        let total = unit_bytes.saturating_mul(of_rows.len());
        self.context.generation_of(buffer, OPERATION)?;
        check_place(&self.context, buffer, 0, total)?;
        if total <= SMALL_BYTES {
            let mut rows = vec![T::zeroed(); row_elements * of_rows.len()];
            load(0, &mut rows, of_rows)?;
            return self.write(buffer, 0, cast_slice(&rows));
        }
        let upload = Upload { buffer, offset: 0, unit_bytes, of_units: of_rows };
        self.stream(upload, &|first, of_rows: &mut [S], scratch: &mut Vec<T>, mut to| {
            scratch.resize(row_elements * of_rows.len(), Zeroable::zeroed());
            load(first, scratch, of_rows)?;
            to.copy_from_slice(cast_slice(scratch));
            Ok(())
        })
    }

    /// Fills and copies chunk after chunk.
    fn stream<T: Send, S: Send>(&self, upload: Upload<'_, S>, fill: &impl Fill<T, S>) -> Result<()> {
        let Upload { buffer, offset, unit_bytes, of_units } = upload;
        let (context, live) = (&self.context, self.context.generation_of(buffer, OPERATION)?);
        let begin = Instant::now();
        let total = unit_bytes * of_units.len();
        // Units are whole in a piece, pieces are whole in a chunk.
        let piece_units = (PIECE_BYTES / unit_bytes).max(1);
        let chunk_units = (CHUNK_BYTES / (piece_units * unit_bytes)).max(1) * piece_units;
        let chunk_bytes = (chunk_units * unit_bytes).min(total);
        // Powers of two, so that uploads of other sizes find these buffers; a single unit may be larger.
        let staging_bytes =
            if chunk_bytes > CHUNK_BYTES { chunk_bytes } else { chunk_bytes.next_power_of_two() } as u64;
        let mut ring: VecDeque<Lease> = VecDeque::with_capacity(RING);
        for (index, units) in of_units.chunks_mut(chunk_units).enumerate() {
            let first = index * chunk_units;
            let turned = if index < RING { None } else { ring.pop_front() };
            let mut staging = match turned {
                Some(staging) => staging,
                None => Lease::new(context, &live, Kind::Upload, "upload", staging_bytes, u64::MAX)?,
            };
            context.await_mapping(&live, &mut staging, wgpu::MapMode::Write, OPERATION)?;
            let bytes = units.len() * unit_bytes;
            fill_mapped(context, &staging, first, unit_bytes, piece_units, units, fill)?;
            let at = offset + (first * unit_bytes) as u64;
            self.copy_chunk(&live, &mut staging, buffer, at..at + bytes.next_multiple_of(4) as u64)?;
            ring.push_back(staging);
        }
        self.profile().add_upload(begin, total);
        Ok(())
    }

    /// Has the device copy a filled staging buffer, and asks for its mapping again once that is done.
    fn copy_chunk(
        &self,
        live: &Live,
        staging: &mut Lease,
        buffer: &DeviceBuffer,
        range: Range<u64>,
    ) -> Result<()> {
        let outcome = self.context.guarded(live, OPERATION, 0, || {
            staging.raw.unmap();
            let descriptor = wgpu::CommandEncoderDescriptor { label: Some("upload") };
            let mut encoder = live.device.create_command_encoder(&descriptor);
            let bytes = range.end - range.start;
            encoder.copy_buffer_to_buffer(&staging.raw, 0, &buffer.lease.raw, range.start, bytes);
            self.context.tally.uploaded_bytes.add(bytes);
            let submission = self.context.submit(live, encoder.finish());
            staging.request_mapping(wgpu::MapMode::Write, Some(submission));
        });
        if outcome.is_err() {
            // Whether it is mapped is not known.
            staging.spoil();
        }
        outcome
    }
}

/// Fills a mapped staging buffer with units from `first` on, piece by piece on all threads.
fn fill_mapped<T: Send, S: Send>(
    context: &Context,
    staging: &Lease,
    first: usize,
    unit_bytes: usize,
    piece_units: usize,
    units: &mut [S],
    fill: &impl Fill<T, S>,
) -> Result<()> {
    let bytes = units.len() * unit_bytes;
    let mut view = staging
        .raw
        .get_mapped_range_mut(..bytes.next_multiple_of(4) as u64)
        .map_err(|error| context.refused(OPERATION, error.to_string()))?;
    let mut all = view.slice(..);
    // A copy is whole words: what is behind the last byte belongs to no one, but must not be anyone's either.
    all.slice(bytes..).fill(0);
    let start = Start(all.as_raw_ptr().cast::<u8>());
    let filled: Vec<Result<()>> = units
        .par_chunks_mut(piece_units)
        .enumerate()
        .map_init(Vec::new, |scratch, (index, units)| {
            let at = index * piece_units;
            // SAFETY: `view` lives until all pieces are done and holds `bytes` bytes, of which pieces are disjoint parts.
            let to = unsafe { start.part(at * unit_bytes, units.len() * unit_bytes) };
            fill(first + at, units, scratch, to)
        })
        .collect();
    // Whoever was fastest, the first rows' error is told.
    filled.into_iter().collect()
}

/// Where a mapped buffer begins.
struct Start(NonNull<u8>);

// SAFETY: the pointer is only used by `part`, whose callers write to disjoint parts.
unsafe impl Sync for Start {}

impl Start {
    /// A part of the mapped bytes.
    ///
    /// # Safety
    /// The part lies in the mapped bytes, which outlive the result, and nobody else writes to it.
    unsafe fn part<'m>(&self, offset: usize, bytes: usize) -> wgpu::WriteOnly<'m, [u8]> {
        // SAFETY: promised by the caller.
        unsafe { wgpu::WriteOnly::new(NonNull::slice_from_raw_parts(self.0.add(offset), bytes)) }
    }
}

/// Refuses bytes that leave their buffer or that are no whole words.
fn check_place(context: &Context, buffer: &DeviceBuffer, offset: u64, bytes: usize) -> Result<()> {
    let end = offset.checked_add(bytes as u64);
    let fits = end.is_some_and(|end| end <= buffer.size_bytes());
    let ends_whole = bytes.is_multiple_of(4) || end == Some(buffer.size_bytes());
    if fits && offset.is_multiple_of(4) && ends_whole {
        return Ok(());
    }
    let got = format!("{bytes} bytes at {offset} of a buffer of {}", buffer.size_bytes());
    Err(context.refused(OPERATION, got))
}

/// A write whose length is rounded up to 4; the buffer's capacity always is.
fn write_padded(context: &Context, live: &Live, raw: &wgpu::Buffer, at: u64, bytes: &[u8]) {
    let whole = bytes.len() - bytes.len() % 4;
    if whole > 0 {
        context.send(live, raw, at, &bytes[..whole]);
    }
    if whole < bytes.len() {
        let mut tail = [0_u8; 4];
        tail[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
        context.send(live, raw, at + whole as u64, &tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gpu::tests::{Devices, fail_each_call, open};
    use crate::error::Error;

    /// Element `column` of a row.
    fn element(row: usize, column: usize) -> u32 {
        (row as u32).wrapping_mul(2_654_435_761) ^ column as u32
    }

    fn rows_of(first: usize, columns: usize, to: &mut [u32], of_rows: &mut [usize]) {
        for (index, (row, of_row)) in to.chunks_exact_mut(columns).zip(of_rows).enumerate() {
            row.iter_mut().enumerate().for_each(|(column, to)| *to = element(first + index, column));
            *of_row = first + index;
        }
    }

    /// Uploads rows and compares what came to the device.
    fn upload(gpu: &Gpu, columns: usize, rows: usize) -> Result<()> {
        let bytes = 4 * (rows * columns) as u64;
        // A guard behind the rows, which stays as it is.
        let buffer = gpu.buffer("rows", bytes + 64)?;
        gpu.write(&buffer, bytes, &[0xa5; 64])?;
        let mut of_rows = vec![usize::MAX; rows];
        gpu.write_rows(&buffer, columns, &mut of_rows, |first, to, of_rows| {
            rows_of(first, columns, to, of_rows);
            Ok(())
        })?;
        let read = gpu.read(&[(&buffer, 0..bytes + 64)])?;
        let (head, guard) = read[0].split_at(bytes as usize);
        assert_eq!(guard, [0xa5; 64], "{columns} x {rows}");
        let wrong = head.chunks_exact(4).enumerate().position(|(at, word)| {
            word != element(at / columns, at % columns).to_le_bytes() || of_rows[at / columns] != at / columns
        });
        assert_eq!(wrong, None, "{columns} x {rows}");
        Ok(())
    }

    #[test]
    #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
    fn rows_arrive_whatever_divides_them() {
        let gpu = open();
        let chunk = CHUNK_BYTES / 4;
        // Rows that no piece and no chunk ends with, rows larger than a piece, rows larger than a chunk.
        for (columns, rows) in [
            (1, 1),
            (3, SMALL_BYTES / 12),
            (3, SMALL_BYTES / 12 + 1),
            (1, chunk - 1),
            (1, chunk + 1),
            (7, (RING + 2) * chunk / 7),
            (20_011, 500),
            (chunk + 5, 2),
        ] {
            upload(&gpu, columns, rows).unwrap();
            assert_eq!(gpu.live_buffers(), 0, "{columns} x {rows}");
        }
    }

    #[test]
    #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
    fn uploads_at_once_keep_apart() {
        let gpu = open();
        std::thread::scope(|scope| {
            for columns in [5, 6, 7] {
                let gpu = gpu.clone();
                scope.spawn(move || upload(&gpu, columns, CHUNK_BYTES / 12).unwrap());
            }
        });
        assert_eq!(gpu.live_buffers(), 0);
    }

    #[test]
    #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
    fn the_error_of_the_first_rows_is_told() {
        let gpu = open();
        let rows = 3 * CHUNK_BYTES / 4;
        let refused_from = CHUNK_BYTES / 4 + 17;
        let buffer = gpu.buffer("rows", 4 * rows as u64).unwrap();
        let outcome =
            gpu.write_rows(&buffer, 1, &mut vec![(); rows], |first, to: &mut [u32], _| {
                match (first..first + to.len()).find(|&row| row >= refused_from) {
                    Some(row) => Err(Error::parameter("row", "an early one", row)),
                    None => Ok(()),
                }
            });
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains(&refused_from.to_string()), "{message}");
        drop(buffer);
        assert_eq!(gpu.live_buffers(), 0);
        upload(&gpu, 3, CHUNK_BYTES / 6).unwrap();
        let small = gpu.buffer("small", 400).unwrap();
        for rows in [101, usize::MAX] {
            let refused = gpu.write_rows(&small, 1, &mut vec![(); rows], |_, _: &mut [u32], _| Ok(()));
            assert!(matches!(refused, Err(Error::DeviceRefused { .. })), "{refused:?}");
        }
    }

    #[test]
    #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
    fn whichever_call_of_an_upload_fails_nothing_leaks_and_the_next_one_arrives() {
        let (columns, rows) = (5, (RING + 1) * CHUNK_BYTES / 20);
        let next = |gpu: &Gpu| upload(gpu, columns, rows / 2);
        let calls = fail_each_call(Devices::Shared, |gpu| upload(gpu, columns, rows), next);
        assert!(calls > 2 * RING as u64, "{calls} calls");
    }
}
