//! How much work one dispatch gets: watchdogs kill dispatches that run for seconds, and a cancel token is only polled
//! between them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Turns measured time per unit of work into rows for the next dispatch. A unit is whatever the caller counts
/// (multiplications, say), so that one pacer serves several shapes. Clones share what they learn.
#[derive(Clone, Debug)]
pub(crate) struct Pacer(Arc<Mutex<Pace>>);

/// What a pacer knows.
#[derive(Debug)]
struct Pace {
    units_per_second: Option<f64>,
    /// The most that one dispatch did in time.
    proven_units: f64,
    /// Whether a test said how fast the device is: what it measures is of no interest then.
    is_given: bool,
}

/// The pacers of one generation of a device, each for a kind of work: a device that was lost is paced anew.
#[derive(Default)]
pub(crate) struct Pacers(Mutex<HashMap<Work, Pacer>>);

/// What kernel, and the magnitudes of the sizes that its speed depends on.
type Work = (&'static str, [u32; 2]);

impl Pacers {
    /// The pacer of `work` with sizes of this magnitude, and with what it learnt before.
    pub(crate) fn of(&self, work: &'static str, sizes: [usize; 2]) -> Pacer {
        let magnitudes = sizes.map(|size| size.max(1).ilog2());
        let mut pacers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pacers.entry((work, magnitudes)).or_insert_with(Pacer::new).clone()
    }
}

impl Pacer {
    /// What one dispatch should take.
    pub(crate) const TARGET: Duration = Duration::from_millis(50);

    /// Units of the first dispatch: about 10 ms on the slowest device known, software Vulkan on two cores.
    pub(crate) const FIRST_UNITS: f64 = 2e7;

    /// Most that one dispatch may exceed those before.
    const GROWTH: f64 = 4.0;

    /// A pacer that has measured nothing and keeps what it learns to itself.
    pub(crate) fn new() -> Self {
        let proven_units = Self::FIRST_UNITS / Self::GROWTH;
        Self(Arc::new(Mutex::new(Pace { units_per_second: None, proven_units, is_given: false })))
    }

    /// A pacer for a device of a known speed.
    #[cfg(any(test, feature = "test-hooks"))]
    pub(crate) fn given(units_per_second: f64) -> Self {
        let proven_units = units_per_second * Self::TARGET.as_secs_f64();
        let pace = Pace { units_per_second: Some(units_per_second), proven_units, is_given: true };
        Self(Arc::new(Mutex::new(pace)))
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows for the next dispatch, of the `remaining` ones, where one row costs `units_per_row`. At least 1 while
    /// any remain.
    pub(crate) fn rows(&self, remaining: u64, units_per_row: f64) -> u64 {
        let pace = self.pace();
        let grown = pace.proven_units * Self::GROWTH;
        let units = match pace.units_per_second {
            None => grown,
            Some(speed) => grown.min(speed * Self::TARGET.as_secs_f64()),
        };
        // A float cast saturates, and NaN becomes 0: both end inside the range.
        let rows = (units / units_per_row.max(1.0)) as u64;
        rows.max(1).min(remaining)
    }

    /// Learns that a dispatch of `units` took `elapsed`.
    pub(crate) fn record(&self, units: f64, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        let mut pace = self.pace();
        if pace.is_given || !(units > 0.0 && units.is_finite() && seconds > 0.0) {
            return;
        }
        let speed = units / seconds;
        // A slow measurement counts at once, a fast one by half: a device shared with others must not be overrun. What ends
        // in a moment was launched and awaited for most of it: that shows no slowness.
        let is_momentary = elapsed < Self::TARGET / 10;
        pace.units_per_second = match pace.units_per_second {
            Some(known) if known < speed => Some((known + speed) / 2.0),
            known if is_momentary => known,
            _ => Some(speed),
        };
        pace.proven_units = if elapsed > Self::TARGET { units } else { pace.proven_units.max(units) };
    }

    /// Learns from a submission of which a dispatch of `units` was a part: nothing, unless even the dispatch took far longer
    /// than it should, because the device has become slower than it was.
    pub(crate) fn record_whole(&self, units: f64, elapsed: Duration) {
        if units > Self::FIRST_UNITS && elapsed > 4 * Self::TARGET {
            self.record(units, elapsed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_small_grows_fourfold_and_settles_at_the_target() {
        let pacer = Pacer::new();
        let units_per_row = 1e4;
        let speed = 1e12;
        let mut last = 0.0;
        for step in 0..20 {
            let rows = pacer.rows(u64::MAX, units_per_row);
            let units = rows as f64 * units_per_row;
            if step == 0 {
                assert!(units <= Pacer::FIRST_UNITS, "{units}");
            } else {
                assert!(units <= last * Pacer::GROWTH * 1.001, "{last} -> {units}");
            }
            last = units;
            pacer.record(units, Duration::from_secs_f64(units / speed));
        }
        let seconds = last / speed;
        assert!((0.04..=0.051).contains(&seconds), "{seconds}");
        pacer.record(last, Duration::from_secs(1));
        let slowed = pacer.rows(u64::MAX, units_per_row) as f64 * units_per_row;
        assert!(slowed <= last * 0.051, "a slow dispatch counts at once: {last} -> {slowed}");
    }

    #[test]
    fn rows_stay_within_what_remains_and_never_stall() {
        let pacer = Pacer::new();
        assert_eq!(pacer.rows(3, 1.0), 3);
        assert_eq!(pacer.rows(0, 1.0), 0);
        for odd in [f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(pacer.rows(10, odd).max(1), pacer.rows(10, odd), "{odd}");
        }
        pacer.record(1.0, Duration::from_secs(1000));
        assert_eq!(pacer.rows(10, 1e9), 1);
        pacer.record(0.0, Duration::ZERO);
        assert_eq!(pacer.rows(10, 1e9), 1, "nothing learnt from nothing");
    }

    #[test]
    fn a_submission_counts_only_where_it_is_far_too_slow() {
        let pacer = Pacer::new();
        let large = 10.0 * Pacer::FIRST_UNITS;
        pacer.record(large, Duration::from_millis(1));
        let before = pacer.rows(u64::MAX, 1.0);
        for (units, milliseconds) in [(large, 190), (Pacer::FIRST_UNITS, 10_000)] {
            pacer.record_whole(units, Duration::from_millis(milliseconds));
            assert_eq!(pacer.rows(u64::MAX, 1.0), before, "{units} in {milliseconds} ms");
        }
        pacer.record_whole(large, Duration::from_secs(1));
        assert!(pacer.rows(u64::MAX, 1.0) <= (large / 20.0) as u64);
    }

    #[test]
    fn small_work_takes_nothing_away_from_what_was_proven() {
        let pacer = Pacer::new();
        pacer.record(1e10, Duration::from_millis(1));
        let before = pacer.rows(u64::MAX, 1.0);
        pacer.record(10.0, Duration::from_millis(1));
        assert_eq!(pacer.rows(u64::MAX, 1.0), before);
        pacer.record(1e10, Duration::from_millis(10));
        let known = pacer.rows(u64::MAX, 1.0);
        pacer.record(10.0, Duration::from_millis(1));
        assert_eq!(pacer.rows(u64::MAX, 1.0), known);
    }

    #[test]
    #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
    fn a_device_keeps_what_was_learnt_of_a_kind_of_work_until_it_is_lost() {
        let gpu = crate::device::gpu::tests::open();
        let rows = |work, sizes| gpu.pacer(work, sizes).rows(u64::MAX, 1.0);
        let unknown = Pacer::new().rows(u64::MAX, 1.0);
        gpu.pacer("nearest", [128, 1000]).record(1e9, Duration::from_millis(1));
        let known = rows("nearest", [128, 1000]);
        assert!(known > unknown);
        assert_eq!(rows("nearest", [130, 900]), known, "sizes of the same magnitude");
        for (work, sizes) in [("collect", [128, 1000]), ("nearest", [64, 1000]), ("nearest", [128, 500])] {
            assert_eq!(rows(work, sizes), unknown, "{work} {sizes:?} is other work");
        }
        // Another thread, or another fit, finds the device busy.
        gpu.clone().pacer("nearest", [128, 1000]).record(1e9, Duration::from_secs(1));
        assert!(rows("nearest", [128, 1000]) < known / 10, "a slow measurement counts at once");
        gpu.pacer("nearest", [128, 1000]).record(1e9, Duration::from_millis(1));
        gpu.fail_call(1, crate::device::Fault::Lost);
        assert!(gpu.buffer("any", 4).is_err());
        gpu.recreate().unwrap();
        assert_eq!(rows("nearest", [128, 1000]), unknown, "a re-created device is paced anew");
    }

    #[test]
    #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
    fn a_given_pace_is_not_unlearnt() {
        let gpu = crate::device::gpu::tests::open();
        gpu.pace_as(1e14);
        let pacer = gpu.pacer("nearest", [2, 2]);
        pacer.record(1e6, Duration::from_secs(1));
        pacer.record_whole(1e9, Duration::from_secs(1));
        assert_eq!(pacer.rows(u64::MAX, 1.0), 5_000_000_000_000);
    }
}
