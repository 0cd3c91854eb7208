//! Objects drawn without putting them back.

use crate::random::Draws;

/// `count` of the numbers below `limit`, in the order in which they were drawn: the first steps of a shuffle
/// (Fisher and Yates) of which only what moved is kept.
pub(super) fn distinct(limit: usize, count: usize, draws: &mut Draws) -> Vec<usize> {
    let mut moved = std::collections::HashMap::new();
    let draw = |step: usize| {
        let at = step + draws.below((limit - step) as u64) as usize;
        let drawn = moved.get(&at).copied().unwrap_or(at);
        let here = moved.get(&step).copied().unwrap_or(step);
        moved.insert(at, here);
        drawn
    };
    (0..count).map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_draws_are_distinct_and_reach_every_number() {
        let mut draws = Draws::new(3, 0);
        let mut all = distinct(100, 100, &mut draws);
        assert_ne!(all, (0..100).collect::<Vec<_>>());
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        let mut seen = [0; 10];
        for _ in 0..2000 {
            for drawn in distinct(10, 3, &mut draws) {
                seen[drawn] += 1;
            }
        }
        // Each is drawn 600 times on average, with a deviation of about 20.
        assert!(seen.iter().all(|times| (480..720).contains(times)), "{seen:?}");
    }
}
