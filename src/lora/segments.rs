//! A batch sorted by adapter: computed once per step and used by every layer.

use std::ops::Range;

use super::routes::Routes;

/// Routes that share an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The adapter.
    pub slot: usize,
    /// Their positions in the sorted order.
    pub positions: Range<usize>,
}

/// Routes in the order of their adapters; the order of the rows is kept within an adapter. Rows stay where they are:
/// a position knows its row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segments {
    /// Row of each position.
    pub rows: Vec<u32>,
    /// Scale of each position.
    pub scales: Vec<f32>,
    /// One per adapter that the batch uses, in the order of the slots.
    pub segments: Vec<Segment>,
    /// The positions of row `r`, in the order of its routes, are `by_row[row_starts[r]..row_starts[r + 1]]`.
    pub by_row: Vec<u32>,
    /// As said above; one more than there are rows.
    pub row_starts: Vec<u32>,
    /// Whether some row has more than one route.
    pub has_several: bool,
}

impl Segments {
    /// Sorts the routes of the rows `range`; rows are counted from its start.
    pub(crate) fn new(routes: &Routes, range: Range<usize>) -> Self {
        let mut starts = vec![0_usize; routes.slots() + 1];
        let each = || range.clone().flat_map(|row| routes.of_row(row).iter().map(move |route| (row, route)));
        each().for_each(|(_, route)| starts[route.slot as usize + 1] += 1);
        for slot in 1..starts.len() {
            starts[slot] += starts[slot - 1];
        }
        let segments = (0..starts.len().saturating_sub(1))
            .map(|slot| Segment { slot, positions: starts[slot]..starts[slot + 1] })
            .filter(|segment| !segment.positions.is_empty())
            .collect();
        let count = starts.last().copied().unwrap_or(0);
        let mut sorted = Self {
            rows: vec![0; count],
            scales: vec![0.0; count],
            segments,
            by_row: Vec::with_capacity(count),
            row_starts: vec![0],
            has_several: false,
        };
        for row in range.clone() {
            for route in routes.of_row(row) {
                let position = starts[route.slot as usize];
                starts[route.slot as usize] += 1;
                sorted.rows[position] = (row - range.start) as u32;
                sorted.scales[position] = route.scale;
                sorted.by_row.push(position as u32);
            }
            sorted.has_several |= routes.of_row(row).len() > 1;
            sorted.row_starts.push(sorted.by_row.len() as u32);
        }
        sorted
    }

    /// Number of positions.
    pub(crate) fn count(&self) -> usize {
        self.rows.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sort_is_stable_and_complete() {
        let mut routes = Routes::of_slots([Some(2), None, Some(0), Some(2)]);
        routes.push_scaled(&[(2, 0.5), (0, 0.25)]).unwrap();
        let sorted = Segments::new(&routes, 0..5);
        assert_eq!(sorted.rows, [2, 4, 0, 3, 4]);
        assert_eq!(sorted.scales, [1.0, 0.25, 1.0, 1.0, 0.5]);
        let expected = [Segment { slot: 0, positions: 0..2 }, Segment { slot: 2, positions: 2..5 }];
        assert_eq!(sorted.segments, expected);
        assert_eq!((sorted.by_row, sorted.row_starts), (vec![2, 0, 3, 4, 1], vec![0, 1, 1, 2, 3, 5]));
        assert!(sorted.has_several);
        let part = Segments::new(&routes, 1..4);
        assert_eq!((part.rows, part.segments.len(), part.has_several), (vec![1, 2], 2, false));
        assert_eq!(Segments::new(&Routes::new(), 0..0).count(), 0);
    }
}
