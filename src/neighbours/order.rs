//! Which of two neighbours comes first.

use std::cmp::Ordering;

use super::reference::Neighbour;
use crate::distance::Metric;

/// Whether small or large values are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Small ones first.
    Ascending,
    /// Large ones first.
    Descending,
}

impl Order {
    /// The nearest first, or the farthest: a distance is near where it is small, a similarity where it is large.
    pub fn of(metric: Metric, farthest: bool) -> Self {
        if (metric == Metric::InnerProduct) == farthest { Self::Ascending } else { Self::Descending }
    }

    /// Better values before worse ones, equal ones by index. Values are never NaN.
    pub fn compare(self, a: &Neighbour, b: &Neighbour) -> Ordering {
        let by_value = a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal);
        let by_value = if self == Self::Ascending { by_value } else { by_value.reverse() };
        by_value.then(a.index.cmp(&b.index))
    }

    /// Whether a value is at least as good as `limit`.
    pub fn reaches(self, value: f64, limit: f64) -> bool {
        if self == Self::Ascending { value <= limit } else { value >= limit }
    }
}
