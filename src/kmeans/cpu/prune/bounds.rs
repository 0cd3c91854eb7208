//! How far bounds on distances carry: every inequality that pruning rests on, and the bounds of all rows. They are moved
//! along with the centroids; rows that they decide are passed over, the others are ordered by label.
//!
//! The reference compares `fl64(|x - c|^2)`. Its terms are differences of an `f32` and an `f64`, each rounded once, squared
//! and added: a relative error of at most (D + 2) 2^-53 on a sum of positive numbers. So d(x, c) (1 + m) <= d(x, k)
//! with (1 + m)^2 > (1 + (D + 2) 2^-53) / (1 - (D + 2) 2^-53) decides the comparison, strictly; m = 2^-21 does for
//! depths up to 2^29. Squares below the range of `f64` lose more than that, so lower bounds below [`SMALLEST`]
//! decide nothing.

use rayon::prelude::*;

use crate::cancel::Cancel;
use crate::error::Result;
use crate::kmeans::means::squared_shift;

/// Rows per block of the scan.
const BLOCK_ROWS: usize = 16_384;
/// Factor that is larger than 1 by more than a few roundings to `f32`.
const UP: f32 = 1.0 + 1.0 / (1 << 21) as f32;
/// Its counterpart.
const DOWN: f32 = 1.0 - 1.0 / (1 << 21) as f32;
/// The margin of every comparison.
const MARGIN: f32 = 1.0 + 1.0 / (1 << 20) as f32;
/// Lower bounds below it decide nothing.
const SMALLEST: f32 = 1e-30;

/// The margin in use: only tests change it, to show what it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Margin(f32);

impl Margin {
    /// The margin that the proof asks for; `careless` is 5 % on the wrong side of it, for tests that must then fail.
    pub fn new(careless: bool) -> Self {
        Self(if careless { 0.95 } else { MARGIN })
    }

    /// What upper bounds are multiplied by before they are compared.
    #[cfg(feature = "gpu")]
    pub fn factor(self) -> f32 {
        self.0
    }

    /// A centroid at most `upper` away is chosen before all those at least `lower` away.
    #[inline(always)]
    pub fn decides(self, upper: f32, lower: f32) -> bool {
        upper * self.0 < lower && lower > SMALLEST
    }

    /// Centroids at least this far from the label's centroid cannot be nearest to a row at most `upper` away from that.
    #[inline(always)]
    pub fn reach(self, upper: f32) -> f32 {
        2.0 * upper * self.0 * self.0 + 2.0 * SMALLEST
    }
}

/// The upper bound after the centroid moved by at most `shift`.
#[inline(always)]
pub(crate) fn moved_away(upper: f32, shift: f32) -> f32 {
    (upper + shift) * UP
}

/// The lower bound after every other centroid moved by at most `shift`.
#[inline(always)]
pub(crate) fn moved_closer(lower: f32, shift: f32) -> f32 {
    ((lower - shift) * DOWN).max(0.0)
}

/// A lower bound on the distance to every centroid at least `apart` from the label's, of a row at most `upper` from that.
#[inline(always)]
pub(crate) fn beyond(apart: f32, upper: f32) -> f32 {
    moved_closer(apart, upper)
}

/// An `f32` at least the distance whose square was added up in `f64` in whatever order.
#[inline(always)]
pub(crate) fn length_above(square: f64) -> f32 {
    (square.sqrt() * f64::from(UP)) as f32
}

/// How far the centroids moved since the bounds were right.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// At least the distance each centroid moved.
    pub shifts: Vec<f32>,
    largest: f32,
    second: f32,
    of_largest: usize,
}

impl Moves {
    /// Measures the movement of row-major centroids of `depth` features.
    pub fn measure(&mut self, before: &[f64], after: &[f64], depth: usize) {
        self.shifts.clear();
        (self.largest, self.second, self.of_largest) = (0.0, 0.0, 0);
        for (at, (before, after)) in before.chunks_exact(depth).zip(after.chunks_exact(depth)).enumerate() {
            let shift = length_above(squared_shift(before, after));
            self.shifts.push(shift);
            if shift > self.largest {
                (self.second, self.largest, self.of_largest) = (self.largest, shift, at);
            } else {
                self.second = self.second.max(shift);
            }
        }
    }

    /// At least the distance that any centroid but this one moved.
    #[inline(always)]
    pub fn of_others(&self, label: u32) -> f32 {
        if label as usize == self.of_largest { self.second } else { self.largest }
    }
}

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
    use proptest::prelude::*;

    #[test]
    fn the_largest_move_of_the_others() {
        let mut moves = Moves::default();
        moves.measure(&[0.0, 0.0, 1.0, 1.0, 2.0, 2.0], &[0.0, 3.0, 1.0, 1.0, 2.0, 1.0], 2);
        assert_eq!(moves.shifts[1], 0.0);
        assert!(moves.shifts[0] >= 3.0 && moves.shifts[0] < 3.00001);
        assert_eq!(moves.of_others(0), moves.shifts[2]);
        assert_eq!(moves.of_others(1), moves.shifts[0]);
    }

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

    proptest! {
        /// Rounded outwards, at every magnitude that a frame allows.
        #[test]
        fn bounds_hold_in_real_numbers(a in 0.0_f32..1.0, b in 0.0_f32..1.0, exponent in -120_i32..40) {
            let scale = 2.0_f32.powi(exponent);
            let (a, b) = (a * scale, b * scale);
            let (wide_a, wide_b) = (f64::from(a), f64::from(b));
            prop_assert!(f64::from(moved_away(a, b)) >= wide_a + wide_b);
            prop_assert!(f64::from(moved_closer(a, b)) <= (wide_a - wide_b).max(0.0));
            prop_assert!(f64::from(length_above(wide_a * wide_a)) >= wide_a * (1.0 - 1e-12));
            let margin = Margin::new(false);
            if margin.decides(a, b) {
                prop_assert!(wide_a * (1.0 + 2.0_f64.powi(-21)) < wide_b);
            }
            // What the ball leaves out is farther by the margin of a decision.
            let apart = f64::from(margin.reach(a));
            prop_assert!(wide_a * (1.0 + 2.0_f64.powi(-20)) <= apart - wide_a);
        }
    }
}
