//! How much work one dispatch gets: watchdogs kill dispatches that run for seconds, and a cancel token is only polled
//! between them.

use std::time::Duration;

/// Turns measured time per unit of work into rows for the next dispatch. A unit is whatever the caller counts
/// (multiplications, say), so that one pacer serves several shapes.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    target: Duration,
    units_per_second: Option<f64>,
    last_units: f64,
}

impl Pacer {
    /// What one dispatch should take.
    pub(crate) const TARGET: Duration = Duration::from_millis(50);

    /// Units of the first dispatch: about 10 ms on the slowest device known, software Vulkan on two cores.
    pub(crate) const FIRST_UNITS: f64 = 2e7;

    /// Most that one dispatch may exceed the one before.
    const GROWTH: f64 = 4.0;

    /// A pacer that has measured nothing.
    pub(crate) fn new() -> Self {
        Self { target: Self::TARGET, units_per_second: None, last_units: Self::FIRST_UNITS / Self::GROWTH }
    }

    /// Rows for the next dispatch, of the `remaining` ones, where one row costs `units_per_row`. At least 1 while
    /// any remain.
    pub(crate) fn rows(&self, remaining: u64, units_per_row: f64) -> u64 {
        let grown = self.last_units * Self::GROWTH;
        let units = match self.units_per_second {
            None => grown,
            Some(speed) => grown.min(speed * self.target.as_secs_f64()),
        };
        // A float cast saturates, and NaN becomes 0: both end inside the range.
        let rows = (units / units_per_row.max(1.0)) as u64;
        rows.max(1).min(remaining)
    }

    /// Learns that a dispatch of `units` took `elapsed`.
    pub(crate) fn record(&mut self, units: f64, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        if !(units > 0.0 && units.is_finite() && seconds > 0.0) {
            return;
        }
        let speed = units / seconds;
        // A slow measurement counts at once, a fast one by half: a device shared with others must not be overrun.
        self.units_per_second = Some(match self.units_per_second {
            Some(known) if known < speed => (known + speed) / 2.0,
            _ => speed,
        });
        self.last_units = units;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_small_grows_fourfold_and_settles_at_the_target() {
        let mut pacer = Pacer::new();
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
        let mut pacer = Pacer::new();
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
}
