//! Which rows need a look: bounds are moved along with the centroids, rows that stay are passed over, the others are
//! ordered by label.

use rayon::prelude::*;

use super::bounds::{Margin, Moves, moved_away, moved_closer};
use crate::cancel::Cancel;
use crate::error::Result;

/// Rows per block of the scan.
const BLOCK_ROWS: usize = 16_384;

/// Bounds of all rows, and the rows that need a look: 16 bytes per row.
#[derive(Default)]
pub(crate) struct Bounds {
    /// On the distance to the centroid of the label, from above.
    pub upper: Vec<f32>,
    /// On the distance to all others, from below.
    pub lower: Vec<f32>,
    /// Rows that need a look, block by block.
    found: Vec<u32>,
    /// The same by label, ascending within a label.
    order: Vec<u32>,
    /// Where the rows of each label begin in `order`.
    starts: Vec<u32>,
}

/// Rows of one label in [`Bounds::order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The label.
    pub label: u32,
    /// First place.
    pub start: usize,
    /// Behind the last.
    pub end: usize,
}

/// Labels, bounds and ordered rows, borrowed together.
pub(crate) struct Parts<'a> {
    pub upper: &'a mut [f32],
    pub lower: &'a mut [f32],
    pub order: &'a [u32],
}

impl Bounds {
    /// Bounds for `rows` rows.
    pub fn new(rows: usize) -> Self {
        Self { upper: vec![0.0; rows], lower: vec![0.0; rows], ..Self::default() }
    }

    /// Moves all bounds and finds the rows that they do not decide, whose lower bounds are left as they were. Returns how
    /// many.
    pub fn scan(&mut self, labels: &[u32], moves: &Moves, margin: Margin, cancel: &Cancel) -> Result<usize> {
        self.found.resize(labels.len(), 0);
        let blocks: Vec<Result<usize>> = self
            .upper
            .par_chunks_mut(BLOCK_ROWS)
            .zip(self.lower.par_chunks_mut(BLOCK_ROWS))
            .zip(labels.par_chunks(BLOCK_ROWS).zip(self.found.par_chunks_mut(BLOCK_ROWS)))
            .enumerate()
            .map(|(block, ((upper, lower), (labels, found)))| {
                cancel.check()?;
                Ok(scan_block(block * BLOCK_ROWS, labels, upper, lower, moves, margin, found))
            })
            .collect();
        let counts = blocks.into_iter().collect::<Result<Vec<usize>>>()?;
        Ok(self.sort(labels, moves.shifts.len(), &counts))
    }

    /// Orders what was found by label, counting.
    fn sort(&mut self, labels: &[u32], n_clusters: usize, counts: &[usize]) -> usize {
        let found = || {
            let blocks = self.found.chunks(BLOCK_ROWS).zip(counts);
            blocks.flat_map(|(found, &count)| &found[..count]).copied()
        };
        self.starts.clear();
        self.starts.resize(n_clusters + 1, 0);
        for row in found() {
            self.starts[labels[row as usize] as usize + 1] += 1;
        }
        for label in 0..n_clusters {
            self.starts[label + 1] += self.starts[label];
        }
        let total = counts.iter().sum();
        self.order.resize(total, 0);
        for row in found() {
            let start = &mut self.starts[labels[row as usize] as usize];
            self.order[*start as usize] = row;
            *start += 1;
        }
        total
    }

    /// Labels that have rows to look at, in pieces of at most `most` rows.
    pub fn segments(&self, most: usize) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut start = 0;
        // Sorting moved each start to its end.
        for (label, &end) in self.starts.iter().enumerate() {
            let end = end as usize;
            while start < end {
                let next = end.min(start + most);
                segments.push(Segment { label: label as u32, start, end: next });
                start = next;
            }
        }
        segments
    }

    /// For the rows of segments.
    pub fn parts(&mut self) -> Parts<'_> {
        Parts { upper: &mut self.upper, lower: &mut self.lower, order: &self.order }
    }
}

fn scan_block(
    first: usize,
    labels: &[u32],
    upper: &mut [f32],
    lower: &mut [f32],
    moves: &Moves,
    margin: Margin,
    found: &mut [u32],
) -> usize {
    let mut count = 0;
    for (index, ((&label, upper), lower)) in labels.iter().zip(upper).zip(lower).enumerate() {
        *upper = moved_away(*upper, moves.shifts[label as usize]);
        let moved = moved_closer(*lower, moves.of_others(label));
        let is_decided = margin.decides(*upper, moved);
        // Written always and counted sometimes: no branch to guess.
        found[count] = (first + index) as u32;
        count += usize::from(!is_decided);
        *lower = if is_decided { moved } else { *lower };
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_in_doubt_come_by_label() {
        let rows = 40_000;
        let labels: Vec<u32> = (0..rows as u32).map(|row| row % 3).collect();
        let mut bounds = Bounds::new(rows);
        bounds.upper.fill(1.0);
        bounds.lower.fill(3.0);
        for row in (0..rows).step_by(7) {
            bounds.lower[row] = 1.5;
        }
        let mut moves = Moves::default();
        moves.measure(&[0.0, 0.0, 0.0, 0.0], &[0.25, 0.0, 0.5, 0.0], 1);
        let found = bounds.scan(&labels, &moves, Margin::new(false), &Cancel::new()).unwrap();
        assert_eq!(found, rows.div_ceil(7));
        let segments = bounds.segments(1000);
        let order = bounds.parts().order;
        let mut seen = vec![false; rows];
        for segment in &segments {
            let rows = &order[segment.start..segment.end];
            assert!(rows.len() <= 1000 && rows.windows(2).all(|pair| pair[0] < pair[1]));
            for &row in rows {
                assert_eq!(labels[row as usize], segment.label);
                assert!(!std::mem::replace(&mut seen[row as usize], true));
            }
        }
        assert!((0..rows).all(|row| seen[row] == (row % 7 == 0)));
        assert!(bounds.upper[0] >= 1.25 && bounds.upper[1] >= 1.0 && bounds.upper[2] >= 1.5);
        assert!(bounds.lower[0] == 1.5 && bounds.lower[2] <= 2.75, "{:?}", &bounds.lower[..3]);
    }
}
