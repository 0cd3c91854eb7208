//! Lists of the columns that may be among the `count` least of a row, or of all that are within a limit.
//!
//! Plainly: `for column { if value <= limit { remember it; now and then lower the limit } }`. With the bounds of
//! [`crate::tile::bound::f32`] a column's exact value T lies in `value - S ..= value + 2 e + S`, where e is the column's error
//! and S the row's share. So the `count`-th least of `value + 2 e`, plus S, is at least the `count`-th least T of the
//! columns seen, and no column whose value is above that plus S is among the `count` least. The limit only falls, and a
//! column that is left out is worse than `count` others: where the columns are cut decides nothing.
//!
//! Values that were measured elsewhere come with an error that grows with them: T lies in `value -+ (r T + a)`, so the
//! limit is `t + slope |t| + gap` with t the `count`-th least value, `slope` = 2 r / (1 - r) and `gap` = 2 a (1 + slope).
//! Whether T is a distance, or the negative of one because the farthest are wanted, the same formula holds.

use crate::simd::widest;
use crate::tile::bound::f32::next_f32;

/// Candidates that a list takes beyond those that are wanted before the limit is lowered again.
const SPARE: usize = 64;

/// A column that may be wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Its shifted value.
    pub value: f32,
    /// At least its value and twice its error.
    pub upper: f32,
    /// Its number among all columns.
    pub column: u32,
}

/// What one row has found.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// In no order.
    pub entries: Vec<Candidate>,
    /// 2 S: the row's share in the difference of two values.
    pub gap: f64,
    /// What of a value's magnitude belongs to it too.
    pub slope: f64,
    /// A column that does not count for this row.
    pub left_out: Option<u32>,
    /// Number of candidates at which the limit is lowered.
    due: usize,
}

impl List {
    /// Puts a candidate into the list, unless it does not count for the row.
    pub fn push(&mut self, candidate: Candidate) {
        if self.left_out != Some(candidate.column) {
            self.entries.push(candidate);
        }
    }

    /// Whether the limit is to be lowered, where `count` columns are wanted.
    pub fn is_due(&self, count: usize) -> bool {
        self.entries.len() >= self.due.max(count + SPARE)
    }

    /// The limit that the entries allow; drops those above it.
    pub fn tighten(&mut self, limit: f32, count: usize) -> f32 {
        let mut lower = limit;
        if self.entries.len() >= count {
            let (_, last, _) =
                self.entries.select_nth_unstable_by(count - 1, |a, b| f32::total_cmp(&a.upper, &b.upper));
            let last = f64::from(last.upper);
            lower = limit.min(next_f32(last + self.slope * last.abs() + self.gap));
            self.entries.retain(|entry| entry.value <= lower);
        }
        self.due = self.entries.len() + count.max(SPARE);
        lower
    }
}

widest! {
    /// The first value that is at most the limit, or their number.
    pub(crate) fn first_within(values: &[f32], limit: f32) -> usize = first_within_body;
}

#[inline(always)]
fn first_within_body(values: &[f32], limit: f32) -> usize {
    let mut start = 0;
    for group in values.chunks(64) {
        let mut is_any = false;
        for value in group {
            is_any |= *value <= limit;
        }
        if is_any {
            return start + group.iter().position(|value| *value <= limit).unwrap_or(0);
        }
        start += group.len();
    }
    values.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tile::bound::f32::NO_LIMIT;

    /// Whatever the order of the values, the wanted ones stay.
    #[test]
    fn lists_keep_every_column_that_may_be_wanted() {
        for order in [1_u32, 7, 999] {
            let mut list = List { gap: 0.5, ..List::default() };
            let mut limit = NO_LIMIT;
            for index in 0..1000_u32 {
                let column = index * order % 1000;
                let value = (column / 4) as f32;
                if value <= limit {
                    list.entries.push(Candidate { value, upper: value, column });
                }
                if list.entries.len() >= 20 + list.due.min(60) {
                    limit = list.tighten(limit, 10);
                }
            }
            limit = list.tighten(limit, 10);
            assert_eq!(limit, 2.5, "four columns share a value: the tenth least is 2");
            let mut columns: Vec<u32> = list.entries.iter().map(|entry| entry.column).collect();
            columns.sort_unstable();
            assert_eq!(columns, (0..12).collect::<Vec<_>>(), "{order}");
        }
    }
}
