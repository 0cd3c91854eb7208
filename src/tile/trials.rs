//! When something is tried that may not pay, such as a screen: what it costs is the business of whoever tries it. The choice
//! changes time and no bit.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Turns to wait until the next trial, after a trial that did not pay as many as patience says, which then doubles up to
/// the longest. Atomic, because blocks of rows on many threads may share it.
#[derive(Debug)]
pub(crate) struct Trials {
    wait: AtomicU32,
    patience: AtomicU32,
    /// What patience is after a trial that paid.
    shortest: u32,
    longest: u32,
}

impl Trials {
    /// The first trial is due at once.
    pub fn new(shortest: u32, longest: u32) -> Self {
        Self { wait: AtomicU32::new(0), patience: AtomicU32::new(shortest), shortest, longest }
    }

    /// Trials until the first that does not pay.
    pub fn until_one_fails() -> Self {
        Self::new(u32::MAX, u32::MAX)
    }

    /// No trial at all.
    pub fn never() -> Self {
        let trials = Self::until_one_fails();
        trials.failed();
        trials
    }

    /// Whether this turn is a trial.
    pub fn is_due(&self) -> bool {
        self.is_due_after(0)
    }

    /// Whether the turn after `turns` more is one.
    pub fn is_due_after(&self, turns: u32) -> bool {
        self.wait.load(Relaxed) <= turns
    }

    /// A turn was none.
    pub fn wait(&self) {
        self.wait.store(self.wait.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// A trial paid.
    pub fn paid(&self) {
        self.wait.store(0, Relaxed);
        self.patience.store(self.shortest, Relaxed);
    }

    /// A trial did not pay.
    pub fn failed(&self) {
        let patience = self.patience.load(Relaxed);
        self.wait.store(patience, Relaxed);
        self.patience.store(patience.saturating_mul(2).min(self.longest), Relaxed);
    }

    /// After a turn: where it was a trial, whether that paid.
    pub fn learn(&self, has_paid: bool) {
        match (self.is_due(), has_paid) {
            (false, _) => self.wait(),
            (true, true) => self.paid(),
            (true, false) => self.failed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The turns that were trials, none of which pays but those in `pays`.
    fn tried(trials: &Trials, turns: u32, pays: &[u32]) -> Vec<u32> {
        let tried = |turn: &u32| {
            let is_due = trials.is_due();
            trials.learn(pays.contains(turn));
            is_due
        };
        (0..turns).filter(tried).collect()
    }

    #[test]
    fn what_does_not_pay_is_tried_ever_less() {
        assert_eq!(tried(&Trials::new(2, 2), 10, &[]), [0, 3, 6, 9]);
        assert_eq!(tried(&Trials::new(2, 8), 40, &[]), [0, 3, 8, 17, 26, 35]);
        assert_eq!(tried(&Trials::new(2, 8), 20, &[8]), [0, 3, 8, 9, 12, 17]);
        assert_eq!(tried(&Trials::until_one_fails(), 9, &[0, 1]), [0, 1, 2]);
        assert!(tried(&Trials::never(), 9, &[0, 1]).is_empty());
    }
}
