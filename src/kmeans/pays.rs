//! Whether a screen pays: what it does not decide has to be looked at again.

/// A screen that leaves more than this share of the rows undecided is not worth its work.
const WORTHWHILE: f64 = 0.7;

/// When a screen is used: it rests for some turns where it left most rows undecided.
pub(super) struct Use {
    rest: usize,
    left: usize,
}

impl Use {
    /// Of a screen that rests for `rest` turns.
    pub fn new(rest: usize) -> Self {
        Self { rest, left: 0 }
    }

    /// Whether it is used in this turn.
    pub fn now(&self) -> bool {
        self.left == 0
    }

    /// Learns from a turn in which it left `undecided` of `rows`.
    pub fn learn(&mut self, [rows, undecided]: [usize; 2]) {
        self.left = match self.left {
            0 if Self::is_worthless([rows, undecided]) => self.rest,
            left => left.saturating_sub(1),
        };
    }

    /// Whether it left too many.
    pub fn is_worthless([rows, undecided]: [usize; 2]) -> bool {
        undecided as f64 > WORTHWHILE * rows as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_rests_and_is_tried_again() {
        let mut screen = Use::new(2);
        screen.learn([100, 70]);
        assert!(screen.now());
        screen.learn([100, 71]);
        for _ in 0..2 {
            assert!(!screen.now());
            screen.learn([0, 0]);
        }
        assert!(screen.now());
    }
}
