//! What work asked of a GPU: counted for every run, with or without a profile.

use serde::{Deserialize, Serialize};

/// What was asked of a GPU since it was opened, or between two snapshots. Unlike times, most of these are the same on every
/// adapter, so a driver on the CPU shows them too.
///
/// An answer is the end of a wait. Host time is what passes from an answer to the end of the next submission, without
/// further waits between: the device has nothing new to do meanwhile. A snapshot ends what is being timed, so that time
/// between two calls of the library is nobody's. Threads that share a GPU share its counters.
///
/// ```
/// use tilefold::{Device, kmeans};
///
/// let rows = ndarray::array![[0.0_f32, 0.0], [0.0, 1.0], [9.0, 9.0], [9.0, 8.0]];
/// let device = Device::auto();
/// let before = device.counters().unwrap_or_default();
/// kmeans::fit(&device, rows.view(), &kmeans::Params::new(2))?;
/// // Nothing where the work stayed on the CPU, as so little does.
/// if let Some(counters) = device.counters() {
///     let spent = counters.since(&before);
///     println!("{} submissions, {} waits", spent.submissions, spent.waits);
/// }
/// # Ok::<(), tilefold::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Counters {
    /// Submissions.
    pub submissions: u64,
    /// Times the host waited for the device.
    pub waits: u64,
    /// Bytes that the host sent: rows, columns, parameters.
    pub uploaded_bytes: u64,
    /// Bytes that the device sent, in whole words.
    pub downloaded_bytes: u64,
    /// Buffers that were made: none where the pool had one.
    pub buffers: u64,
    /// Small writes, for each of which wgpu makes a staging buffer.
    pub small_writes: u64,
    /// Bind groups that were made.
    pub bind_groups: u64,
    /// Dispatches.
    pub dispatches: u64,
    /// Kernels that were rendered from their templates.
    pub templates: u64,
    /// Kernels that were translated from WGSL by naga.
    pub translations: u64,
    /// Answers that a submission followed.
    pub answers: u64,
    /// Host time after these, in seconds.
    pub host_seconds: f64,
    /// The median of it, within a sixteenth.
    pub host_median_seconds: f64,
    /// Host times by size: see [`bucket_of`].
    #[serde(skip)]
    pub(crate) histogram: Vec<u64>,
}

impl Counters {
    /// What was asked after `earlier`, a snapshot of the same device.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bucket: usize| earlier.histogram.get(bucket).copied().unwrap_or(0);
        let histogram: Vec<u64> =
            self.histogram.iter().enumerate().map(|(at, count)| count.saturating_sub(before(at))).collect();
        Self {
            submissions: self.submissions.saturating_sub(earlier.submissions),
            waits: self.waits.saturating_sub(earlier.waits),
            uploaded_bytes: self.uploaded_bytes.saturating_sub(earlier.uploaded_bytes),
            downloaded_bytes: self.downloaded_bytes.saturating_sub(earlier.downloaded_bytes),
            buffers: self.buffers.saturating_sub(earlier.buffers),
            small_writes: self.small_writes.saturating_sub(earlier.small_writes),
            bind_groups: self.bind_groups.saturating_sub(earlier.bind_groups),
            dispatches: self.dispatches.saturating_sub(earlier.dispatches),
            templates: self.templates.saturating_sub(earlier.templates),
            translations: self.translations.saturating_sub(earlier.translations),
            answers: self.answers.saturating_sub(earlier.answers),
            host_seconds: (self.host_seconds - earlier.host_seconds).max(0.0),
            host_median_seconds: median_seconds(&histogram),
            histogram,
        }
    }
}

/// Buckets for all times of 64 bits.
#[cfg(any(feature = "gpu", test))]
pub(crate) const BUCKETS: usize = 496;

/// The bucket of a time: eight for every power of two, one for each of the first eight nanoseconds.
#[cfg(any(feature = "gpu", test))]
pub(crate) fn bucket_of(nanoseconds: u64) -> usize {
    if nanoseconds < 8 {
        return nanoseconds as usize;
    }
    let power = nanoseconds.ilog2();
    8 * (power as usize - 2) + (nanoseconds >> (power - 3)) as usize % 8
}

/// The middle of a bucket's times.
fn middle_nanoseconds(bucket: usize) -> f64 {
    if bucket < 8 {
        return bucket as f64;
    }
    let (power, eighth) = (bucket / 8 + 2, bucket % 8);
    (8.5 + eighth as f64) * 2.0_f64.powi(power as i32 - 3)
}

/// The median of what a histogram counted; 0 where that is nothing.
pub(crate) fn median_seconds(histogram: &[u64]) -> f64 {
    let total: u64 = histogram.iter().sum();
    let mut seen = 0;
    let middle = histogram.iter().position(|&count| {
        seen += count;
        count > 0 && 2 * seen >= total
    });
    middle.map_or(0.0, |bucket| 1e-9 * middle_nanoseconds(bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_lies_within_a_sixteenth_of_its_bucket() {
        let mut last = 0;
        for power in 0..64 {
            for offset in [0, 1, 3, 5] {
                let time = (1_u64 << power) | ((1_u64 << power) / 8 * offset);
                let bucket = bucket_of(time);
                assert!(bucket >= last && bucket < BUCKETS, "{time}: {bucket} after {last}");
                last = bucket;
                let error = (middle_nanoseconds(bucket) - time as f64).abs();
                assert!(error <= time as f64 / 16.0, "{time}: {error}");
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_difference_counts_what_came_between() {
        let mut earlier = Counters { waits: 3, host_seconds: 1.0, ..Counters::default() };
        earlier.histogram = vec![0; BUCKETS];
        earlier.histogram[bucket_of(1_000_000)] = 5;
        let mut later = earlier.clone();
        (later.waits, later.host_seconds) = (7, 1.5);
        later.histogram[bucket_of(1000)] = 3;
        let spent = later.since(&earlier);
        assert_eq!((spent.waits, spent.host_seconds), (4, 0.5));
        assert!((spent.host_median_seconds - 1e-6).abs() <= 1e-6 / 16.0, "{spent:?}");
        assert_eq!(median_seconds(&[]), 0.0);
        assert_eq!(later.since(&Counters::default()).waits, 7);
        assert_eq!(Counters::default().since(&later), Counters { histogram: vec![], ..Counters::default() });
    }
}
