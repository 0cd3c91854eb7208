//! What is asked of a device, counted where it is asked.

use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::device::counters::{BUCKETS, Counters, bucket_of, median_seconds};

/// Counters that all threads add to.
pub(crate) struct Tally {
    pub(crate) submissions: Count,
    pub(crate) waits: Count,
    pub(crate) uploaded_bytes: Count,
    pub(crate) downloaded_bytes: Count,
    pub(crate) buffers: Count,
    pub(crate) small_writes: Count,
    pub(crate) bind_groups: Count,
    pub(crate) dispatches: Count,
    pub(crate) templates: Count,
    pub(crate) translations: Count,
    clock: HostClock,
}

/// One counter.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The time from an answer to the next submission, without waits between.
struct HostClock {
    start: Instant,
    /// When the last answer came, in nanoseconds after the start; 0 where a submission or a wait came after it.
    answered: AtomicU64,
    /// Time before a further wait.
    earlier: AtomicU64,
    nanoseconds: Count,
    histogram: [AtomicU64; BUCKETS],
}

impl HostClock {
    fn now(&self) -> u64 {
        (self.start.elapsed().as_nanos() as u64).max(1)
    }

    /// Ends the time after the last answer.
    fn stop(&self) -> u64 {
        match self.answered.swap(0, Relaxed) {
            0 => 0,
            answered => self.now().saturating_sub(answered),
        }
    }

    /// Ends all time since a submission.
    fn take(&self) -> u64 {
        self.stop() + self.earlier.swap(0, Relaxed)
    }
}

impl Default for Tally {
    fn default() -> Self {
        let clock = HostClock {
            start: Instant::now(),
            answered: AtomicU64::new(0),
            earlier: AtomicU64::new(0),
            nanoseconds: Count::default(),
            histogram: from_fn(|_| AtomicU64::new(0)),
        };
        Self {
            submissions: Count::default(),
            waits: Count::default(),
            uploaded_bytes: Count::default(),
            downloaded_bytes: Count::default(),
            buffers: Count::default(),
            small_writes: Count::default(),
            bind_groups: Count::default(),
            dispatches: Count::default(),
            templates: Count::default(),
            translations: Count::default(),
            clock,
        }
    }
}

impl Tally {
    /// What was counted so far. Ends the host time that is under way: what follows may be the caller's own work.
    pub(crate) fn snapshot(&self) -> Counters {
        self.clock.take();
        let histogram: Vec<u64> = self.clock.histogram.iter().map(|count| count.load(Relaxed)).collect();
        Counters {
            submissions: self.submissions.get(),
            waits: self.waits.get(),
            uploaded_bytes: self.uploaded_bytes.get(),
            downloaded_bytes: self.downloaded_bytes.get(),
            buffers: self.buffers.get(),
            small_writes: self.small_writes.get(),
            bind_groups: self.bind_groups.get(),
            dispatches: self.dispatches.get(),
            templates: self.templates.get(),
            translations: self.translations.get(),
            answers: histogram.iter().sum(),
            host_seconds: 1e-9 * self.clock.nanoseconds.get() as f64,
            host_median_seconds: median_seconds(&histogram),
            histogram,
        }
    }

    /// Counts a wait, which ends when the result is dropped.
    pub(crate) fn waiting(&self) -> Waiting<'_> {
        self.waits.add(1);
        self.clock.earlier.fetch_add(self.clock.stop(), Relaxed);
        Waiting(self)
    }

    /// Counts a submission that was made just now.
    pub(crate) fn submitted(&self) {
        self.submissions.add(1);
        let nanoseconds = self.clock.take();
        if nanoseconds > 0 {
            self.clock.nanoseconds.add(nanoseconds);
            self.clock.histogram[bucket_of(nanoseconds)].fetch_add(1, Relaxed);
        }
    }
}

/// A wait for the device.
pub(crate) struct Waiting<'a>(&'a Tally);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let clock = &self.0.clock;
        clock.answered.store(clock.now(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn host_time_leaves_waits_and_the_callers_own_work_out() {
        let (tally, short, long) = (Tally::default(), Duration::from_millis(2), Duration::from_millis(300));
        // Nothing was answered before the first submission.
        tally.submitted();
        drop(tally.waiting());
        sleep(short);
        {
            let _waiting = tally.waiting();
            sleep(long);
        }
        sleep(short);
        tally.submitted();
        // The second of two submissions follows no answer.
        tally.submitted();
        drop(tally.waiting());
        let before = tally.snapshot();
        assert_eq!((before.submissions, before.waits, before.answers), (3, 3, 1));
        let range = 2.0 * short.as_secs_f64()..long.as_secs_f64();
        assert!(range.contains(&before.host_seconds), "{before:?}");
        let error = (before.host_median_seconds - before.host_seconds).abs();
        assert!(error <= before.host_seconds / 16.0, "{before:?}");
        sleep(long);
        tally.submitted();
        let spent = tally.snapshot().since(&before);
        assert_eq!((spent.submissions, spent.answers, spent.host_seconds), (1, 0, 0.0));
    }
}
