//! The collecting fold: for each row the columns that may be among its `count` least, or all that are within a limit.
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

use super::bytes::ByteColumns;
use crate::simd::widest;
use crate::tile::nearest::cpu::ROW_GROUP;
use crate::tile::product::cpu::bytes::ByteRows;
use crate::tile::product::cpu::kernel::{ABSENT, Back, Take, lanes};
use crate::tile::product::cpu::levels;
use crate::tile::product::cpu::panels::Panels;

/// Above every value that a column can have, and below that of a column that does not exist.
pub(crate) const NO_LIMIT: f32 = 5e37;
/// Entries that a list takes beyond those that are wanted before the limit is lowered again.
const SPARE: usize = 64;

/// A column that may be wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
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
    pub entries: Vec<Entry>,
    /// 2 S: the row's share in the difference of two values.
    pub gap: f64,
    /// What of a value's magnitude belongs to it too.
    pub slope: f64,
    /// A column that does not count for this row.
    pub left_out: Option<u32>,
    /// Number of entries at which the limit is lowered.
    due: usize,
}

/// Columns of one window with half norms less each column's own error.
pub(crate) enum Packed {
    /// For a tile of `f32`.
    Single(Panels),
    /// For one of bytes, which opens few of them.
    Bytes(ByteColumns),
}

impl Packed {
    /// Columns per tile.
    fn width(&self) -> usize {
        match self {
            Self::Single(panels) => panels.width,
            Self::Bytes(columns) => columns.panels.width,
        }
    }
}

/// Columns of one window.
pub(crate) struct Columns<'a> {
    /// What rows meet.
    pub packed: &'a Packed,
    /// Each column's own error.
    pub errors: &'a [f32],
    /// Number of each column among all.
    pub numbers: &'a [u32],
}

/// A block of rows and what they found so far.
pub(crate) struct Block {
    /// Row-major, padded to a multiple of [`ROW_GROUP`].
    pub x: Vec<f32>,
    /// One per row; rows of padding have one that nothing keeps.
    pub limits: Vec<f32>,
    /// One per row.
    pub lists: Vec<List>,
    /// At least the length of each row, where windows of bytes are met.
    pub lengths: Vec<f32>,
    /// The rows as bytes, once a window of bytes was met.
    pub(crate) bytes: ByteRows,
}

/// What a thread needs beside its blocks.
#[derive(Default)]
pub(crate) struct Sums(Vec<f32>);

impl Block {
    /// `rows` rows of `depth` features, still to be filled, without limits.
    pub fn new(rows: usize, depth: usize) -> Self {
        let padded = rows.next_multiple_of(ROW_GROUP);
        let mut limits = vec![NO_LIMIT; rows];
        limits.resize(padded, f32::NEG_INFINITY);
        let lists = (0..rows).map(|_| List::default()).collect();
        let lengths = vec![0.0; rows];
        Self { x: vec![0.0; padded * depth], limits, lists, lengths, bytes: ByteRows::default() }
    }

    /// Meets one window of columns. `count` is how many least columns are wanted; `None` wants all within the limits, which
    /// then stay.
    pub fn collect(&mut self, columns: &Columns, count: Option<usize>, sums: &mut Sums) {
        self.meet(columns, count, None, sums, &mut Vec::new());
    }

    /// As [`Self::collect`] for columns of the same set that this block is of: what the products say about the columns goes
    /// to `hits`, as row of the block and entry of a column of the window. `limits` are the columns'.
    pub fn collect_both(
        &mut self,
        columns: &Columns,
        count: usize,
        own: &Own,
        limits: &mut Vec<f32>,
        sums: &mut Sums,
        hits: &mut Vec<Hit>,
    ) {
        limits.resize(limits.len().next_multiple_of(columns.packed.width()), f32::NEG_INFINITY);
        self.meet(columns, Some(count), Some((own, limits)), sums, hits);
    }

    fn meet(
        &mut self,
        columns: &Columns,
        count: Option<usize>,
        back: Option<(&Own, &[f32])>,
        Sums(sums): &mut Sums,
        hits: &mut Vec<Hit>,
    ) {
        sums.resize(self.limits.len() * columns.packed.width(), 0.0);
        let mut lists = std::mem::take(&mut self.lists);
        let mut taker = Taker { lists: &mut lists, columns, count, hits };
        match columns.packed {
            Packed::Single(panels) => {
                let (rows, limits) = (taker.lists.len(), &mut self.limits);
                let back = back.map(|(own, limits)| Back { half_norms: &own.half_norms, limits });
                levels::collect(&self.x, rows, panels, limits, sums, back, &mut taker);
            }
            Packed::Bytes(columns) => self.meet_bytes(columns, &mut taker, back, sums),
        }
        self.lists = lists;
    }

    /// A row meets values that were measured elsewhere, of columns with these numbers.
    pub fn take(&mut self, row: usize, numbers: &[u32], values: &[f32], count: Option<usize>) {
        let mut start = 0;
        loop {
            let (list, limit) = (&mut self.lists[row], &mut self.limits[row]);
            start += first_within(&values[start..], *limit);
            let Some((&value, &column)) = values.get(start).zip(numbers.get(start)) else { return };
            start += 1;
            if list.left_out != Some(column) {
                list.entries.push(Entry { value, upper: value, column });
                if let Some(count) = count
                    && list.entries.len() >= list.due.max(count + SPARE)
                {
                    *limit = list.tighten(*limit, count);
                }
            }
        }
    }

    /// Adds an entry to a row's list, where it is within the limit.
    pub fn add(&mut self, row: usize, entry: Entry, count: usize) {
        let (list, limit) = (&mut self.lists[row], &mut self.limits[row]);
        if entry.value <= *limit {
            list.entries.push(entry);
            if list.entries.len() >= list.due.max(count + SPARE) {
                *limit = list.tighten(*limit, count);
            }
        }
    }

    /// Lowers the limit of one row as far as its entries allow, and drops those above it.
    pub fn tighten(&mut self, row: usize, count: usize) {
        self.limits[row] = self.lists[row].tighten(self.limits[row], count);
    }
}

/// What the rows of a block are as columns.
pub(crate) struct Own {
    /// Half norms less their errors, padded as the rows are.
    pub half_norms: Vec<f32>,
}

impl Own {
    /// From the half norms of a block's rows.
    pub fn new(mut half_norms: Vec<f32>) -> Self {
        half_norms.resize(half_norms.len().next_multiple_of(ROW_GROUP), ABSENT);
        Self { half_norms }
    }
}

/// A row of a block that may be wanted by a column of a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit {
    /// The row, in its block.
    pub row: u32,
    /// The column, in its window.
    pub column: u32,
    /// The value of the row for that column.
    pub value: f32,
}

/// Puts what is within the limits into lists.
pub(crate) struct Taker<'a> {
    lists: &'a mut [List],
    columns: &'a Columns<'a>,
    count: Option<usize>,
    pub hits: &'a mut Vec<Hit>,
}

impl Take for Taker<'_> {
    #[cold]
    fn take(&mut self, row: usize, limit: f32, first_column: usize, mask: u32, values: &[f32]) -> f32 {
        let Self { lists, columns, count, .. } = self;
        let Some(list) = lists.get_mut(row) else { return limit };
        for lane in lanes(mask) {
            let (value, at) = (values[lane], first_column + lane);
            let column = columns.numbers[at];
            if list.left_out != Some(column) {
                let upper = rounded_up(f64::from(value) + 2.0 * f64::from(columns.errors[at]));
                list.entries.push(Entry { value, upper, column });
            }
        }
        match *count {
            Some(count) if list.entries.len() >= list.due.max(count + SPARE) => list.tighten(limit, count),
            _ => limit,
        }
    }

    #[cold]
    fn take_back(&mut self, row: usize, first_column: usize, mask: u32, values: &[f32]) {
        for lane in lanes(mask) {
            self.hits.push(Hit {
                row: row as u32,
                column: (first_column + lane) as u32,
                value: values[lane],
            });
        }
    }
}

impl List {
    /// The limit that the entries allow; drops those above it.
    fn tighten(&mut self, limit: f32, count: usize) -> f32 {
        let mut lower = limit;
        if self.entries.len() >= count {
            let (_, last, _) =
                self.entries.select_nth_unstable_by(count - 1, |a, b| f32::total_cmp(&a.upper, &b.upper));
            let last = f64::from(last.upper);
            lower = limit.min(rounded_up(last + self.slope * last.abs() + self.gap));
            self.entries.retain(|entry| entry.value <= lower);
        }
        self.due = self.entries.len() + count.max(SPARE);
        lower
    }
}

widest! {
    /// The first value that is at most the limit, or their number.
    fn first_within(values: &[f32], limit: f32) -> usize = first_within_body;
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

/// The least `f32` that is not below `value`.
pub(crate) fn rounded_up(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) < value { near.next_up() } else { near }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roundings_are_upwards() {
        for value in [0.0, 1.0, 1.0 + 1e-12, -1.0 - 1e-12, -1.0 + 1e-12, 1e-50, -1e-50] {
            let rounded = f64::from(rounded_up(value));
            assert!(rounded >= value && rounded - value <= value.abs() * 1.2e-7 + 1e-44, "{value} {rounded}");
        }
    }

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
                    list.entries.push(Entry { value, upper: value, column });
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
