//! The collecting fold on bytes: what is above its row's limit there is above it in `f32` too, and is not multiplied again.
//!
//! The limit of a row is at least T + S for `count` of the columns seen (see [`super::cpu`]), and `value - S` is at most a
//! column's T however its product is added up: also where that is exact. A product of bytes gives a lower bound of the
//! exact value h - x . c ([`crate::tile::product::cpu::bytes`]), so a column whose bound is above the limit is none of the wanted. The few
//! others are multiplied in `f32` one by one, and go on as in a tile of `f32`. The bound on x . c holds for both directions
//! of a set with itself.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::cpu::{Block, Hit, Own, Packed, Taker};
use crate::simd::{ByteLevel, byte_level};
use crate::tile::bound::f32::norm_above;
use crate::tile::nearest::cpu::dot;
use crate::tile::product::cpu::bytes::{self, BytePanels, Column, lowered};
use crate::tile::product::cpu::kernel::{Back, Take, lanes};
use crate::tile::product::cpu::levels;

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

/// Whether windows of columns are packed as bytes.
pub(crate) struct Pays(bool);

impl Pays {
    /// For so many rows and columns, before anything is known of them.
    pub fn new(rows: usize, columns: usize, depth: usize) -> Self {
        let is_large = rows >= LEAST_ROWS && columns >= LEAST_COLUMNS;
        Self(is_large && bytes::DEPTHS.contains(&depth) && byte_level() != ByteLevel::Portable)
    }

    /// On any processor.
    #[cfg(test)]
    pub(crate) fn always() -> Self {
        Self(true)
    }

    /// Whether the next window is.
    pub fn packs(&self) -> bool {
        self.0
    }

    /// Learns what bytes left open of a window that so many rows met.
    pub fn learn(&mut self, packed: &Packed, rows: usize) {
        let Packed::Bytes(columns) = packed else { return };
        let products = rows as f64 * columns.half_norms.len() as f64;
        let opened = columns.opened.load(Ordering::Relaxed) as f64;
        if OF_BYTES * products + OPEN_COST * opened > products {
            tracing::debug!(
                opened,
                products,
                "bytes leave too many columns open; the f32 tile goes on alone"
            );
            self.0 = false;
        }
    }
}

/// Columns of a window as bytes, and as they are.
pub(crate) struct ByteColumns {
    depth: usize,
    pub(crate) panels: BytePanels,
    rows: Vec<f32>,
    half_norms: Vec<f32>,
    /// How often bytes did not decide.
    opened: AtomicUsize,
}

impl ByteColumns {
    /// Row-major rows of `depth` features with their half norms less their errors, none longer than its entry of `lengths`.
    pub fn new(depth: usize, rows: Vec<f32>, half_norms: Vec<f32>, lengths: &[f32]) -> Self {
        let panels = BytePanels::pack(depth, half_norms.len(), |column| Column {
            c: &rows[column * depth..(column + 1) * depth],
            length: lengths[column],
            residual: 0.0,
            half_norm: f64::from(half_norms[column]),
        });
        Self { depth, panels, rows, half_norms, opened: AtomicUsize::new(0) }
    }
}

impl Block {
    /// Meets one window of bytes; with `back` what the products say about the columns is handed over too.
    pub(crate) fn meet_bytes(
        &mut self,
        columns: &ByteColumns,
        taker: &mut Taker,
        back: Option<(&Own, &[f32])>,
        sums: &mut [f32],
    ) {
        let Self { x, limits, lengths, bytes, .. } = self;
        let (count, depth) = (limits.len(), columns.depth);
        if bytes.codes.is_empty() {
            bytes.encode(x, lengths, depth);
        }
        columns.panels.rests(bytes, lengths);
        let lowered = |own: &Own| own.half_norms.iter().map(|&half_norm| lowered(half_norm.into())).collect();
        let half_norms: Vec<f32> = back.map(|(own, _)| lowered(own)).unwrap_or_default();
        let on_bytes = back.map(|(_, limits)| Back { half_norms: &half_norms, limits });
        let mut opener = Opener { x, depth, columns, taker, back, opened: 0 };
        levels::collect_bytes(bytes, count, &columns.panels, limits, sums, on_bytes, &mut opener);
        columns.opened.fetch_add(opener.opened, Ordering::Relaxed);
    }
}

/// Multiplies in `f32` what bytes leave open.
struct Opener<'a, 'b> {
    x: &'a [f32],
    depth: usize,
    columns: &'a ByteColumns,
    taker: &'a mut Taker<'b>,
    back: Option<(&'a Own, &'a [f32])>,
    opened: usize,
}

impl Opener<'_, '_> {
    /// The products of a row with the columns of a mask.
    fn products(
        &mut self,
        row: usize,
        first_column: usize,
        mask: u32,
        mut each: impl FnMut(&mut Self, usize, usize, f32),
    ) {
        let depth = self.depth;
        self.opened += mask.count_ones() as usize;
        for lane in lanes(mask) {
            let at = first_column + lane;
            let c = &self.columns.rows[at * depth..(at + 1) * depth];
            each(self, lane, at, dot(&self.x[row * depth..(row + 1) * depth], c));
        }
    }
}

impl Take for Opener<'_, '_> {
    #[cold]
    fn take(&mut self, row: usize, limit: f32, first_column: usize, mask: u32, _bounds: &[f32]) -> f32 {
        let (mut values, mut inside) = ([0.0; 32], 0);
        self.products(row, first_column, mask, |own, lane, at, product| {
            values[lane] = own.columns.half_norms[at] - product;
            inside |= u32::from(values[lane] <= limit) << lane;
        });
        if inside == 0 { limit } else { self.taker.take(row, limit, first_column, inside, &values) }
    }

    #[cold]
    fn take_back(&mut self, row: usize, first_column: usize, mask: u32, _bounds: &[f32]) {
        let Some((rows, limits)) = self.back else { return };
        self.products(row, first_column, mask, |own, _, at, product| {
            let value = rows.half_norms[row] - product;
            if value <= limits[at] {
                own.taker.hits.push(Hit { row: row as u32, column: at as u32, value });
            }
        });
    }
}
