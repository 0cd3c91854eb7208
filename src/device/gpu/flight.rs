//! What is under way on a device: handing work to it, waiting for it, and bringing results to the host. These calls are made
//! here alone, so that they are counted.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::buffers::{DeviceBuffer, Lease};
use super::context::{Context, Live};
use crate::error::Result;

/// Bytes of the two ticks around a timed batch; they lie at the start of its staging buffer.
pub(crate) const TICKS_BYTES: u64 = 16;

/// Where the ranges to read lie in the staging buffer. Copies are whole words, so a range is widened and cut again.
pub(crate) struct Reads {
    /// For each range: the first byte and the number of bytes in the staging buffer.
    spans: Vec<Range<usize>>,
    pub(crate) staging_bytes: u64,
}

impl Reads {
    /// Places `ranges` behind `head` bytes.
    pub(crate) fn plan(ranges: &[(&DeviceBuffer, Range<u64>)], head: u64) -> Self {
        let mut at = head;
        let spans = ranges
            .iter()
            .map(|(_, range)| {
                let start = at + range.start % 4;
                let end = start + (range.end - range.start);
                at = if range.is_empty() { at } else { end.next_multiple_of(4) };
                start as usize..end as usize
            })
            .collect();
        Self { spans, staging_bytes: at }
    }

    /// Copies the ranges into `staging`.
    pub(crate) fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        ranges: &[(&DeviceBuffer, Range<u64>)],
        staging: &wgpu::Buffer,
    ) {
        for ((buffer, range), span) in ranges.iter().zip(&self.spans) {
            if !range.is_empty() {
                let start = range.start - range.start % 4;
                let bytes = range.end.next_multiple_of(4) - start;
                let to = span.start as u64 - range.start % 4;
                encoder.copy_buffer_to_buffer(&buffer.lease.raw, start, staging, to, bytes);
            }
        }
    }
}

/// Whether the host has a buffer.
#[derive(Debug, Default)]
pub(crate) enum Mapping {
    /// The device has it.
    #[default]
    None,
    /// The host gets it once `after` has ended.
    Requested { answer: Receiver<bool>, after: Option<wgpu::SubmissionIndex> },
    /// The host has it.
    Done,
}

impl Lease {
    /// Asks for the buffer once `after`, the last submission that names it, has ended.
    pub(crate) fn request_mapping(&mut self, mode: wgpu::MapMode, after: Option<wgpu::SubmissionIndex>) {
        let (sender, answer) = channel();
        self.raw.map_async(mode, .., move |outcome| {
            // The receiver is gone only where the wait was given up.
            let _ = sender.send(outcome.is_ok());
        });
        *self.mapping() = Mapping::Requested { answer, after };
    }
}

/// A submission whose end is awaited.
pub(crate) struct InFlight {
    pub(crate) context: Arc<Context>,
    pub(crate) live: Arc<Live>,
    pub(crate) submission: wgpu::SubmissionIndex,
    pub(crate) staging: Option<Lease>,
    pub(crate) reads: Reads,
    pub(crate) is_timed: bool,
    pub(crate) started: Instant,
}

/// What a submission left behind.
pub(crate) struct Finished<R> {
    /// How long the device worked.
    pub(crate) elapsed: Duration,
    /// What was made of the results.
    pub(crate) taken: R,
}

impl InFlight {
    /// Waits for the end and hands out the bytes of each range.
    pub(crate) fn finish<R>(mut self, take: impl FnOnce(&[&[u8]]) -> R) -> Result<Finished<R>> {
        const OPERATION: &str = "reading results";
        let (context, live) = (&self.context, &self.live);
        let Some(staging) = &mut self.staging else {
            context.wait(live, self.submission, "waiting for work")?;
            let elapsed = self.started.elapsed();
            let nothing: Vec<&[u8]> = self.reads.spans.iter().map(|_| [].as_slice()).collect();
            return Ok(Finished { elapsed, taken: take(&nothing) });
        };
        let raw = staging.raw.clone();
        let (read, submission) = (wgpu::MapMode::Read, Some(self.submission));
        let outcome = context
            .guarded(live, OPERATION, 0, || staging.request_mapping(read, submission))
            .and_then(|()| context.await_mapping(live, staging, read, OPERATION));
        let elapsed = self.started.elapsed();
        let view = match outcome.and_then(|()| {
            raw.get_mapped_range(..).map_err(|error| context.refused(OPERATION, error.to_string()))
        }) {
            Ok(view) => view,
            Err(error) => {
                // It may still be mapped or about to be.
                staging.spoil();
                return Err(error);
            }
        };
        let bytes: Vec<&[u8]> = self.reads.spans.iter().map(|span| &view[span.clone()]).collect();
        let taken = take(&bytes);
        let ticks = if self.is_timed { device_time(live, &view) } else { None };
        drop(view);
        raw.unmap();
        *staging.mapping() = Mapping::None;
        Ok(Finished { elapsed: ticks.unwrap_or(elapsed), taken })
    }
}

/// Time between the two ticks at the start of `bytes`; `None` where the clock did not advance.
fn device_time(live: &Live, bytes: &[u8]) -> Option<Duration> {
    let tick = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let ticks = tick(8)?.checked_sub(tick(0)?).filter(|ticks| *ticks > 0)?;
    let nanoseconds = ticks as f64 * f64::from(live.queue.get_timestamp_period());
    Duration::try_from_secs_f64(nanoseconds * 1e-9).ok()
}

impl Context {
    /// Hands commands to the device.
    pub(crate) fn submit(&self, live: &Live, commands: wgpu::CommandBuffer) -> wgpu::SubmissionIndex {
        let submission = live.queue.submit([commands]);
        self.tally.submitted();
        submission
    }

    /// Sends bytes with the next submission.
    pub(crate) fn send(&self, live: &Live, raw: &wgpu::Buffer, at: u64, bytes: &[u8]) {
        live.queue.write_buffer(raw, at, bytes);
        self.tally.small_writes.add(1);
        self.tally.uploaded_bytes.add(bytes.len() as u64);
    }

    /// Waits until `submission` has ended.
    pub(crate) fn wait(
        &self,
        live: &Live,
        submission: wgpu::SubmissionIndex,
        operation: &'static str,
    ) -> Result<()> {
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        let _waiting = self.tally.waiting();
        self.poll(live, wait, operation)
    }

    /// Waits for all work of the device and lets it free what is no longer used; failures show at the next call.
    pub(crate) fn settle(&self, live: &Live) {
        let _waiting = self.tally.waiting();
        if let Err(error) = self.poll(live, wgpu::PollType::wait_indefinitely(), "waiting for work") {
            tracing::debug!(%error, "waiting for the device failed");
        }
    }

    fn poll(&self, live: &Live, wait: wgpu::PollType, operation: &'static str) -> Result<()> {
        self.check_alive(live, operation)?;
        // wgpu panics where the driver reports a loss during a wait; to the caller that is an error like any other.
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live.device.poll(wait)));
        match polled {
            Ok(Ok(_)) => {}
            // A submission that the device does not know was swallowed by its loss.
            Ok(Err(error)) => live.loss.raise(error.to_string()),
            Err(_) => live.loss.raise("the driver failed during a wait"),
        }
        self.check_alive(live, operation)
    }

    /// Waits until the host has `staging`, and asks for it first where nobody did.
    pub(crate) fn await_mapping(
        &self,
        live: &Live,
        staging: &mut Lease,
        mode: wgpu::MapMode,
        operation: &'static str,
    ) -> Result<()> {
        if matches!(staging.mapping(), Mapping::None) {
            self.guarded(live, operation, 0, || staging.request_mapping(mode, None))?;
        }
        if let Mapping::Requested { answer, after } = staging.mapping() {
            let outcome = match answer.try_recv() {
                Ok(true) => Ok(()),
                _ => self.wait_for_answer(live, answer, after.take(), operation),
            };
            if let Err(error) = outcome {
                // It may be mapped at any time.
                staging.spoil();
                return Err(error);
            }
            *staging.mapping() = Mapping::Done;
        }
        Ok(())
    }

    /// Waits for the answer of a mapping. Where its submission has ended already, another thread's poll may be the one
    /// that delivers it, a moment after ours returned.
    fn wait_for_answer(
        &self,
        live: &Live,
        answer: &Receiver<bool>,
        after: Option<wgpu::SubmissionIndex>,
        operation: &'static str,
    ) -> Result<()> {
        const STEP: Duration = Duration::from_millis(20);
        const STEPS: usize = 500;
        match after {
            Some(submission) => self.wait(live, submission, operation)?,
            None => self.poll(live, wgpu::PollType::Poll, operation)?,
        }
        if answer.try_recv() == Ok(true) {
            return Ok(());
        }
        let _waiting = self.tally.waiting();
        for _ in 0..STEPS {
            match answer.recv_timeout(STEP) {
                Ok(true) => return Ok(()),
                Ok(false) | Err(RecvTimeoutError::Disconnected) => {
                    // The submission ended, so only a loss keeps its buffer from the host.
                    live.loss.raise("a buffer could not be mapped");
                    break;
                }
                Err(RecvTimeoutError::Timeout) => self.poll(live, wgpu::PollType::Poll, operation)?,
            }
        }
        self.check_alive(live, operation)?;
        Err(self.lost(operation, "no answer"))
    }
}
