//! How a search for medoids fits a GPU. Pure: sizes and limits in, windows out.

use crate::device::Limits;
use crate::tile::windows::{next_rows, windows};

/// Most candidates that an eager search looks at together.
pub(crate) const MOST_TOGETHER: u32 = 512;
/// Entries of columns that one submission reads at most, beyond the first step: a few milliseconds of any GPU.
const ENTRIES_PER_SUBMISSION: u64 = 1 << 29;
/// The same of a software adapter, which reads a hundred times slower.
const ENTRIES_ON_SOFTWARE: u64 = 1 << 23;

/// How the columns are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Columns of the largest window; no other has fewer than one less.
    pub window: usize,
    /// Candidates that are looked at together at most.
    pub together: u32,
    /// Steps of one submission.
    pub steps: usize,
}

impl Plan {
    /// The plan for a matrix of this many objects and medoids, or `None` where it does not fit.
    pub fn new(objects: usize, places: usize, is_software: bool, limits: &Limits) -> Option<Self> {
        if objects > u32::MAX as usize {
            return None;
        }
        let (objects_bytes, places_bytes) = (4 * objects as u64, 4 * places as u64);
        let column_bytes = objects_bytes;
        let chosen_bytes = column_bytes.checked_mul(places as u64)?;
        // Near, limits, outcomes, the column that is exchanged, roles; and what belongs to medoids.
        let beside = 12 * objects_bytes + 4 * places_bytes + chosen_bytes;
        let needed = column_bytes.checked_mul(objects as u64)?.checked_add(beside)?;
        let most =
            limits.max_binding_bytes.min(limits.max_buffer_bytes).min(limits.window_bytes.max(column_bytes));
        if needed > limits.budget_bytes
            || chosen_bytes > limits.max_binding_bytes.min(limits.max_buffer_bytes)
            || 4 * objects_bytes > limits.max_binding_bytes
            || objects > limits.max_workgroups_per_dimension as usize * 256
        {
            return None;
        }
        let window = usize::try_from(most / column_bytes).ok()?.min(objects);
        if window == 0 {
            return None;
        }
        // Each takes a workgroup, so that there are no more than candidates.
        let together = MOST_TOGETHER.min(limits.max_workgroups_per_dimension).min(objects as u32);
        let entries = if is_software { ENTRIES_ON_SOFTWARE } else { ENTRIES_PER_SUBMISSION };
        let steps = entries / (u64::from(together) * objects as u64);
        let window = next_rows(objects, window, 1);
        Some(Self { window, together, steps: steps.clamp(1, 32) as usize })
    }

    /// First columns of all windows with the column after the last of each.
    pub fn windows(&self, objects: usize) -> impl Iterator<Item = (usize, usize)> {
        windows(objects, self.window, 1).map(|(first, count)| (first, first + count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_all_columns_within_the_limits() {
        let limits = Limits::for_tests();
        for (objects, places) in [(1, 1), (2, 2), (1000, 10), (6000, 100)] {
            let plan = Plan::new(objects, places, false, &limits).unwrap();
            let windows: Vec<_> = plan.windows(objects).collect();
            assert_eq!((windows[0].0, windows[windows.len() - 1].1), (0, objects));
            assert!(windows.windows(2).all(|pair| pair[0].1 == pair[1].0));
            assert!(
                windows.iter().all(|(first, end)| (plan.window - 1..=plan.window).contains(&(end - first)))
            );
            assert!(
                windows
                    .iter()
                    .all(|(first, end)| 4 * (end - first) * objects <= limits.max_binding_bytes as usize)
            );
            assert!((1..=32).contains(&plan.steps));
            assert!((1..=objects).contains(&(plan.together as usize)));
        }
        let small = Limits { budget_bytes: 1 << 20, ..limits };
        assert_eq!(Plan::new(600, 2, false, &small), None);
        assert_eq!(Plan::new(usize::MAX, 2, false, &small), None);
    }
}
