//! Whether a screen pays: what it leaves open has to be looked at again.

/// A screen that leaves more than this share of the work to do is not worth its own.
const WORTHWHILE: f64 = 0.7;

/// When a screen is used: it rests for some turns where it left most of the work to do.
pub(crate) struct Use {
    rest: usize,
    turns: usize,
}

impl Use {
    /// Of a screen that rests for `rest` turns.
    pub fn new(rest: usize) -> Self {
        Self { rest, turns: 0 }
    }

    /// Whether it is used in this turn.
    pub fn now(&self) -> bool {
        self.turns == 0
    }

    /// Learns from a turn in which it left `left` of `all` to do.
    pub fn learn(&mut self, [all, left]: [usize; 2]) {
        self.turns = match self.turns {
            0 if Self::is_worthless([all, left]) => self.rest,
            turns => turns.saturating_sub(1),
        };
    }

    /// Whether it left too much.
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
