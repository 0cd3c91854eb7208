//! The collecting fold on the CPU: blocks of rows meet windows of columns, and lists keep what may be wanted ([`super::lists`]).
//!
//! Where the processor multiplies bytes, what is above its row's limit there is above it in `f32` too, and is not multiplied
//! again: the limit of a row is at least T + S for `count` of the columns seen, and `value - S` is at most a column's T
//! however its product is added up: also where that is exact. A product of bytes gives a lower bound of the exact value
//! h - x . c ([`crate::tile::product::cpu::bytes`]), so a column whose bound is above the limit is none of the wanted. The few
//! others are multiplied in `f32` one by one, and go on as in a tile of `f32`. The bound on x . c holds for both directions
//! of a set with itself.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::lists::{Candidate, List, first_within};
use crate::simd::vector::Vector;
use crate::tile::bound::f32::{ABSENT, NO_LIMIT, next_f32, norm_above};
use crate::tile::product::cpu::bytes::{BytePanels, ByteProduct, ByteRows, Column, lowered, tile_width};
use crate::tile::product::cpu::panels::{Panels, SingleProduct};
use crate::tile::product::cpu::{ROW_GROUP, WIDEST_TILE, dot};
use crate::tile::product::{Fold, Product, bytes_are_quicker};
use crate::tile::trials::Trials;

/// Rows below which encoding the columns does not pay.
const LEAST_ROWS: usize = 64;
/// Columns below which most are met before there is a limit.
const LEAST_COLUMNS: usize = 512;
/// Products of bytes in the time of one of `f32` in a tile, and products of a tile in that of one by itself.
const OF_BYTES: f64 = 0.4;
const OPEN_COST: f64 = 3.0;
/// Shorter rows count as so long: roundings of their features may be as large as they are.
const LEAST_LENGTH: f32 = 1e-30;

/// At least the length of a row, and of its rounding, whose square this is.
pub(crate) fn length_of(square: f64) -> f32 {
    norm_above(square).max(LEAST_LENGTH)
}

/// Trials of windows packed as bytes, for so many rows and columns, before anything is known of them.
pub(crate) fn trials_of_bytes(rows: usize, columns: usize, depth: usize) -> Trials {
    let is_large = rows >= LEAST_ROWS && columns >= LEAST_COLUMNS;
    if is_large && bytes_are_quicker(depth) { Trials::until_one_fails() } else { Trials::never() }
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

    /// Whether it was worth it to pack them so, now that so many rows met them.
    pub fn pays(&self, rows: usize) -> bool {
        let Self::Bytes(columns) = self else { return true };
        let products = rows as f64 * columns.half_norms.len() as f64;
        let opened = columns.opened.load(Ordering::Relaxed) as f64;
        let pays = OF_BYTES * products + OPEN_COST * opened <= products;
        if !pays {
            tracing::debug!(
                opened,
                products,
                "bytes leave too many columns open; the f32 tile goes on alone"
            );
        }
        pays
    }
}

/// Columns of a window as bytes, and as they are.
pub(crate) struct ByteColumns {
    depth: usize,
    panels: BytePanels,
    rows: Vec<f32>,
    half_norms: Vec<f32>,
    /// How often bytes did not decide.
    opened: AtomicUsize,
}

impl ByteColumns {
    /// Row-major rows of `depth` features with their half norms less their errors, none longer than its entry of `lengths`.
    pub fn new(depth: usize, rows: Vec<f32>, half_norms: Vec<f32>, lengths: &[f32]) -> Self {
        let panels = BytePanels::pack(depth, tile_width(), half_norms.len(), |column| Column {
            c: &rows[column * depth..(column + 1) * depth],
            length: lengths[column],
            residual: 0.0,
            half_norm: f64::from(half_norms[column]),
        });
        Self { depth, panels, rows, half_norms, opened: AtomicUsize::new(0) }
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
    /// to `found`, as row of the block and entry of a column of the window. `limits` are the columns'.
    pub fn collect_both(
        &mut self,
        columns: &Columns,
        count: usize,
        terms: &RowTerms,
        limits: &mut Vec<f32>,
        sums: &mut Sums,
        found: &mut Vec<RowCandidate>,
    ) {
        limits.resize(limits.len().next_multiple_of(columns.packed.width()), f32::NEG_INFINITY);
        let half_norms = &terms.half_norms;
        self.meet(columns, Some(count), Some(Reverse { half_norms, limits }), sums, found);
    }

    fn meet(
        &mut self,
        columns: &Columns,
        count: Option<usize>,
        reverse: Option<Reverse>,
        Sums(sums): &mut Sums,
        found: &mut Vec<RowCandidate>,
    ) {
        let Self { x, limits, lists, lengths, bytes } = self;
        let (rows, width) = (lists.len(), columns.packed.width());
        sums.resize(limits.len() * width, 0.0);
        let mut keeper = Lists { lists, columns, count, found };
        match columns.packed {
            Packed::Single(panels) => {
                let fold = Collect { limits, reverse, sink: &mut keeper };
                SingleProduct { x, panels }.fold(rows, 0..panels.tiles, sums, fold);
            }
            Packed::Bytes(columns) => {
                if bytes.codes.is_empty() {
                    bytes.encode(x, lengths, columns.depth);
                }
                let panels = &columns.panels;
                panels.set_rho(bytes, lengths.iter().copied());
                let half_norms = reverse.map_or(&[][..], |reverse| reverse.half_norms);
                let half_norms: Vec<f32> = half_norms.iter().map(|&norm| lowered(norm.into())).collect();
                let on_bytes = reverse.map(|reverse| Reverse { half_norms: &half_norms, ..reverse });
                let mut opener = Opener { x, columns, keeper, reverse, opened: 0 };
                let fold = Collect { limits, reverse: on_bytes, sink: &mut opener };
                ByteProduct { rows: bytes, panels }.fold(rows, 0..panels.tiles, sums, fold);
                columns.opened.fetch_add(opener.opened, Ordering::Relaxed);
            }
        }
    }

    /// A row meets values that were measured elsewhere, of columns with these numbers.
    pub fn take(&mut self, row: usize, numbers: &[u32], values: &[f32], count: Option<usize>) {
        let (list, limit) = (&mut self.lists[row], &mut self.limits[row]);
        let mut start = 0;
        loop {
            start += first_within(&values[start..], *limit);
            let Some((&value, &column)) = values.get(start).zip(numbers.get(start)) else { return };
            start += 1;
            list.push(Candidate { value, upper: value, column });
            if let Some(count) = count.filter(|&count| list.is_due(count)) {
                *limit = list.tighten(*limit, count);
            }
        }
    }

    /// Adds a candidate to a row's list, where it is within the limit.
    pub fn add(&mut self, row: usize, candidate: Candidate, count: usize) {
        let (list, limit) = (&mut self.lists[row], &mut self.limits[row]);
        if candidate.value <= *limit {
            list.push(candidate);
            if list.is_due(count) {
                *limit = list.tighten(*limit, count);
            }
        }
    }

    /// Lowers the limit of one row as far as its candidates allow, and drops those above it.
    pub fn tighten(&mut self, row: usize, count: usize) {
        self.limits[row] = self.lists[row].tighten(self.limits[row], count);
    }
}

/// What the rows of a block are as columns.
pub(crate) struct RowTerms {
    /// Half norms less their errors, padded as the rows are.
    half_norms: Vec<f32>,
}

impl RowTerms {
    /// From the half norms of a block's rows.
    pub fn new(mut half_norms: Vec<f32>) -> Self {
        half_norms.resize(half_norms.len().next_multiple_of(ROW_GROUP), ABSENT);
        Self { half_norms }
    }
}

/// A row of a block that may be wanted by a column of a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowCandidate {
    /// The row, in its block.
    pub row: u32,
    /// The column, in its window.
    pub column: u32,
    /// The value of the row for that column.
    pub value: f32,
}

/// What the products of rows with columns say about the columns, where both are of one set.
#[derive(Clone, Copy)]
struct Reverse<'a> {
    /// The rows' own half norms, as columns have them.
    half_norms: &'a [f32],
    /// The limit of each column, padded to whole tiles with one that nothing keeps.
    limits: &'a [f32],
}

/// Who takes what the fold finds.
trait CandidateSink {
    /// One row's values with the columns from `first_column` on, of which those in `mask` are at most the row's `limit`.
    /// Returns the row's limit from now on.
    fn of_row(&mut self, row: usize, limit: f32, first_column: usize, mask: u32, values: &[f32]) -> f32;
    /// The same products the other way round, where rows and columns are of one set: the values of columns from
    /// `first_column` on with one row, of which those in `mask` are at most their column's limit.
    fn of_columns(&mut self, row: usize, first_column: usize, mask: u32, values: &[f32]);
}

/// The collecting fold: hands over the values that are at most their row's limit, column by column from the first on.
///
/// The limit of a row is compared with two vectors at once, and falls as the sink finds better columns: nearly every
/// comparison ends there, without a branch per value.
struct Collect<'a> {
    /// Of each row.
    limits: &'a mut [f32],
    reverse: Option<Reverse<'a>>,
    sink: &'a mut dyn CandidateSink,
}

impl Fold for Collect<'_> {
    #[inline(always)]
    fn begin<V: Vector>(&mut self, rows: usize, columns: usize) {
        let fits = |reverse: Reverse| reverse.half_norms.len() >= rows && reverse.limits.len() >= columns;
        assert!(self.limits.len() >= rows && self.reverse.is_none_or(fits));
    }

    #[inline(always)]
    unsafe fn keep<V: Vector, const ROWS: usize>(
        &mut self,
        sums: *const f32,
        first: usize,
        tile: usize,
        half_norms: *const f32,
    ) {
        let first_column = tile * 2 * V::LANES;
        // SAFETY: as the caller promises; a vector has at most 16 lanes.
        unsafe {
            let halves = [V::load(half_norms), V::load(half_norms.add(V::LANES))];
            for (row, limit) in self.limits[first..first + ROWS].iter_mut().enumerate() {
                let most = V::splat(*limit);
                let (mask, values) = at_most(halves, sums.add(2 * row * V::LANES), [most, most]);
                if mask != 0 {
                    *limit = self.sink.of_row(first + row, *limit, first_column, mask, &stored(values));
                }
            }
            let Some(reverse) = self.reverse else { return };
            let limits = reverse.limits.as_ptr().add(first_column);
            let most = [V::load(limits), V::load(limits.add(V::LANES))];
            for row in 0..ROWS {
                let half_norm = V::splat(*reverse.half_norms.as_ptr().add(first + row));
                let (mask, values) = at_most([half_norm, half_norm], sums.add(2 * row * V::LANES), most);
                if mask != 0 {
                    self.sink.of_columns(first + row, first_column, mask, &stored(values));
                }
            }
        }
    }
}

/// The values of one row with a tile, and a mask of those that are at most the limits.
///
/// # Safety
/// The processor has `V`'s instruction set; `sums` is valid for two vectors.
#[inline(always)]
unsafe fn at_most<V: Vector>(half_norms: [V; 2], sums: *const f32, limits: [V; 2]) -> (u32, [V; 2]) {
    // SAFETY: as the caller promises.
    unsafe {
        let left = half_norms[0].sub(V::load(sums));
        let right = half_norms[1].sub(V::load(sums.add(V::LANES)));
        (V::at_most(left, limits[0]) | V::at_most(right, limits[1]) << V::LANES, [left, right])
    }
}

/// Two vectors, one behind the other.
///
/// # Safety
/// The processor has `V`'s instruction set.
#[inline(always)]
unsafe fn stored<V: Vector>([left, right]: [V; 2]) -> [f32; WIDEST_TILE] {
    let mut values = [0.0_f32; WIDEST_TILE];
    // SAFETY: a vector has at most half as many lanes.
    unsafe {
        left.store(values.as_mut_ptr());
        right.store(values.as_mut_ptr().add(V::LANES));
    }
    values
}

/// The lanes of a mask, in ascending order.
fn lanes(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(lane)
    })
}

/// Puts what is within the limits into lists.
struct Lists<'a> {
    lists: &'a mut [List],
    columns: &'a Columns<'a>,
    count: Option<usize>,
    found: &'a mut Vec<RowCandidate>,
}

impl CandidateSink for Lists<'_> {
    #[cold]
    fn of_row(&mut self, row: usize, limit: f32, first_column: usize, mask: u32, values: &[f32]) -> f32 {
        let Self { lists, columns, count, .. } = self;
        let Some(list) = lists.get_mut(row) else { return limit };
        for lane in lanes(mask) {
            let (value, at) = (values[lane], first_column + lane);
            let upper = next_f32(f64::from(value) + 2.0 * f64::from(columns.errors[at]));
            list.push(Candidate { value, upper, column: columns.numbers[at] });
        }
        match *count {
            Some(count) if list.is_due(count) => list.tighten(limit, count),
            _ => limit,
        }
    }

    #[cold]
    fn of_columns(&mut self, row: usize, first_column: usize, mask: u32, values: &[f32]) {
        self.found.extend(lanes(mask).map(|lane| RowCandidate {
            row: row as u32,
            column: (first_column + lane) as u32,
            value: values[lane],
        }));
    }
}

/// Multiplies in `f32` what bytes leave open.
struct Opener<'a, 'b> {
    x: &'a [f32],
    columns: &'a ByteColumns,
    keeper: Lists<'b>,
    reverse: Option<Reverse<'a>>,
    opened: usize,
}

impl Opener<'_, '_> {
    /// The values of a row with the columns of a mask, and those of them that are within limits; `sides` gives what a column's
    /// product is taken off, and its limit.
    fn open(
        &mut self,
        row: usize,
        first_column: usize,
        mask: u32,
        sides: impl Fn(usize) -> (f32, f32),
    ) -> (u32, [f32; WIDEST_TILE]) {
        let depth = self.columns.depth;
        self.opened += mask.count_ones() as usize;
        let (mut inside, mut values) = (0, [0.0; WIDEST_TILE]);
        for lane in lanes(mask) {
            let at = first_column + lane;
            let c = &self.columns.rows[at * depth..(at + 1) * depth];
            let (half_norm, limit) = sides(at);
            values[lane] = half_norm - dot(&self.x[row * depth..(row + 1) * depth], c);
            inside |= u32::from(values[lane] <= limit) << lane;
        }
        (inside, values)
    }
}

impl CandidateSink for Opener<'_, '_> {
    #[cold]
    fn of_row(&mut self, row: usize, limit: f32, first_column: usize, mask: u32, _bounds: &[f32]) -> f32 {
        let columns = self.columns;
        let (inside, values) = self.open(row, first_column, mask, |at| (columns.half_norms[at], limit));
        if inside == 0 { limit } else { self.keeper.of_row(row, limit, first_column, inside, &values) }
    }

    #[cold]
    fn of_columns(&mut self, row: usize, first_column: usize, mask: u32, _bounds: &[f32]) {
        let Some(Reverse { half_norms, limits }) = self.reverse else { return };
        let (inside, values) = self.open(row, first_column, mask, |at| (half_norms[row], limits[at]));
        self.keeper.of_columns(row, first_column, inside, &values);
    }
}

#[cfg(test)]
mod tests;
