//! When a pruned pass is tried: by what passes took, never by what they find. The choice changes time and no bit.

use crate::kmeans::params::Prune;
use crate::tile::trials::Trials;

/// Dense passes after a trial that did not pay, at first and at most.
const WAITS: [u32; 2] = [2, 64];
/// Below this many products of features a pass is too short to be worth a clock.
const LEAST_WORK: f64 = 4e6;
/// A pruned pass goes on if it promises to take at most this share of a dense one.
const WORTH: f64 = 0.95;

/// What is known about the passes of a fit.
#[derive(Debug)]
pub(crate) struct Schedule {
    mode: Prune,
    /// Seconds of the last dense pass.
    dense_seconds: f64,
    trials: Trials,
}

impl Schedule {
    /// For passes of `rows` rows with `n_clusters` centroids of `columns` features.
    pub fn new(mode: Prune, rows: usize, columns: usize, n_clusters: usize) -> Self {
        let is_short = (rows as f64) * (columns as f64) * (n_clusters as f64) < LEAST_WORK;
        let mode = match mode {
            Prune::Auto if is_short => Prune::Never,
            _ if n_clusters == 1 => Prune::Never,
            mode => mode,
        };
        Self { mode, dense_seconds: f64::INFINITY, trials: Trials::new(WAITS[0], WAITS[1]) }
    }

    /// Whether any pass may be pruned.
    pub fn is_on(&self) -> bool {
        self.mode != Prune::Never
    }

    /// Whether the pass after `passes` more dense ones is to be tried.
    fn tries_after(&self, passes: u32) -> bool {
        match self.mode {
            Prune::Never => false,
            Prune::Always => true,
            Prune::Auto => self.trials.is_due_after(passes),
        }
    }

    /// Whether the coming pass is to be pruned.
    pub fn tries_now(&self) -> bool {
        self.tries_after(0)
    }

    /// Whether the coming pass, a dense one, has to leave bounds behind.
    pub fn needs_bounds(&self) -> bool {
        self.tries_after(1)
    }

    /// Whether a pass that did `share` of its work in `seconds`, after `fixed` seconds of scanning, should be ended.
    pub fn gives_up(&self, fixed: f64, seconds: f64, share: f64) -> bool {
        self.mode == Prune::Auto && fixed + seconds / share > WORTH * self.dense_seconds
    }

    /// A dense pass took this long.
    pub fn was_dense(&mut self, seconds: f64) {
        self.dense_seconds = seconds;
        self.trials.wait();
    }

    /// A pruned pass was given up; the dense pass that follows it counts as the first one to wait for.
    pub fn gave_up(&mut self) {
        self.trials.failed();
    }

    /// A pruned pass came to its end.
    pub fn was_pruned(&mut self) {
        self.trials.paid();
    }

    /// New centroids that have nothing to do with the last ones.
    pub fn restart(&mut self) {
        self.trials.paid();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(mode: Prune, pruned_seconds: f64, count: usize) -> (usize, usize) {
        let mut schedule = Schedule::new(mode, 100_000, 128, 1000);
        let (mut pruned, mut given_up, mut has_bounds) = (0, 0, false);
        for _ in 0..count {
            if has_bounds && schedule.tries_now() {
                if !schedule.gives_up(0.0, pruned_seconds / 16.0, 1.0 / 16.0) {
                    schedule.was_pruned();
                    pruned += 1;
                    continue;
                }
                schedule.gave_up();
                given_up += 1;
            }
            has_bounds = schedule.needs_bounds();
            schedule.was_dense(1.0);
        }
        (pruned, given_up)
    }

    #[test]
    fn what_pays_goes_on_and_what_does_not_is_tried_ever_less() {
        assert_eq!(passes(Prune::Auto, 0.5, 20), (19, 0));
        assert_eq!(passes(Prune::Auto, 1.2, 20), (0, 4));
        assert_eq!(passes(Prune::Auto, 1.2, 300), (0, 9));
        assert_eq!(passes(Prune::Always, 1.2, 20), (19, 0));
        assert_eq!(passes(Prune::Never, 0.1, 20), (0, 0));
    }
}
