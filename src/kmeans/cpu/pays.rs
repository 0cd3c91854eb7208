//! Whether a screen pays: the work that it does not remove is done again by the next stage.

/// A screen that leaves more than this share of the work costs more than it saves.
const WORTHWHILE: f64 = 0.7;

/// Skips a screen for `rest` turns after it removed less than 30 % of the work.
pub(crate) struct Use {
    rest: usize,
    turns: usize,
}

impl Use {
    /// For a screen that is skipped for `rest` turns after each failure.
    pub fn new(rest: usize) -> Self {
        Self { rest, turns: 0 }
    }

    /// Whether the screen is used in this turn.
    pub fn now(&self) -> bool {
        self.turns == 0
    }

    /// Learns from a turn in which the screen left `left` of `all` work items; a turn without it counts down.
    pub fn learn(&mut self, [all, left]: [usize; 2]) {
        self.turns = match self.turns {
            0 if Self::is_worthless([all, left]) => self.rest,
            turns => turns.saturating_sub(1),
        };
    }

    /// Whether a screen that left `left` of `all` work items costs more than it saves.
    pub fn is_worthless([all, left]: [usize; 2]) -> bool {
        left as f64 > WORTHWHILE * all as f64
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
