//! The CPU twin of the nearest tile: certified labels for one block of rows at a time.

use crate::tile::product::cpu::bytes::{BytePanels, ByteRows};
use crate::tile::product::cpu::kernel::FoldState;
use crate::tile::product::cpu::levels::{fold, tile_values};
use crate::tile::product::cpu::panels::Panels;

use super::exact;
use crate::simd::widest;
use crate::tile::bound::f32::{self as bound, Bound};
use crate::tile::operands::columns::{Codebook, Screen};

/// Blocks of rows are multiples of this, and uncertified rows are rechecked this many at a time: a multiple of every
/// kernel's own count.
pub(crate) const ROW_GROUP: usize = 24;

/// Products of the `f32` tile in the time of one of a row and a column by themselves.
const OPEN_COST: usize = 3;
/// And in that of one more product of bytes, as a fraction.
const AGAIN_COST: (usize, usize) = (3, 10);

/// What one thread needs to label a block of rows.
pub(crate) struct Scratch {
    state: FoldState,
    bytes: ByteRows,
    /// Rows that bytes did not certify, with the largest value that their nearest column can have.
    unsure: Vec<(usize, f32)>,
    /// Some of them.
    gathered: ByteRows,
    rows: Vec<f32>,
    values: Vec<f32>,
    uncertified: Vec<(usize, f32)>,
    candidates: [Vec<u32>; ROW_GROUP],
}

impl Scratch {
    /// Scratch for blocks of up to `rows` rows of `depth` features.
    pub fn new(rows: usize, depth: usize) -> Self {
        Self {
            state: FoldState::new(rows.next_multiple_of(ROW_GROUP)),
            bytes: ByteRows::default(),
            unsure: Vec::new(),
            gathered: ByteRows::default(),
            rows: vec![0.0; ROW_GROUP * depth],
            values: vec![0.0; ROW_GROUP * 32],
            uncertified: Vec::new(),
            candidates: Default::default(),
        }
    }
}

/// The columns of a nearest tile on the CPU.
pub(crate) struct NearestTile<'a> {
    /// The centroids.
    pub book: &'a Codebook<'a>,
    /// The centroids, packed with the half norms of `screen`.
    pub panels: &'a Panels,
    /// Their shifted half norms and errors.
    pub screen: &'a Screen,
    /// The error bound of this tile.
    pub bound: Bound,
    /// All centroids as bytes, which label most rows.
    pub bytes: Option<&'a BytePanels>,
    /// Off only in tests, which must then fail: rows whose gap is inside the bound keep the tile's label.
    pub recheck: bool,
    /// Where only some centroids were packed: which, in the order of the panels.
    pub columns: Option<&'a [u32]>,
    /// How many tiles of the panels count.
    pub tiles: usize,
}

/// How many rows were decided how, the others by the `f32` tile.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Labelled {
    /// Certified by bytes.
    pub screened: usize,
    /// What bytes left to do, in products of a row and a column by the `f32` tile; nothing without bytes.
    pub left_by_bytes: usize,
    /// In `f64`.
    pub rechecked: usize,
}

/// Where the distances of labelled rows go: for each row an upper bound on the distance to its label's centroid, and a
/// lower bound on the distance to every other centroid of the tile, both between x'.
pub(crate) struct Reach<'a> {
    /// To the label's centroid.
    pub upper: &'a mut [f32],
    /// To the others.
    pub lower: &'a mut [f32],
}

impl<'a> NearestTile<'a> {
    /// All centroids of a codebook.
    pub fn all(book: &'a Codebook<'a>, panels: &'a Panels, screen: &'a Screen, bound: Bound) -> Self {
        Self { book, panels, screen, bound, bytes: None, recheck: true, columns: None, tiles: panels.tiles }
    }

    /// Number of centroids that count.
    pub fn len(&self) -> usize {
        self.columns.map_or(self.book.len(), <[u32]>::len).min(self.tiles * self.panels.width)
    }

    /// The column of the codebook behind a column of the panels.
    #[inline(always)]
    fn column(&self, packed: usize) -> usize {
        self.columns.map_or(packed, |columns| columns[packed] as usize)
    }

    /// Labels `labels.len()` rows: `x` holds them row-major, followed by padding up to a multiple of [`ROW_GROUP`];
    /// `norms` are upper bounds of their lengths.
    pub fn label(
        &self,
        x: &[f32],
        norms: &[f32],
        labels: &mut [u32],
        mut reach: Option<Reach>,
        scratch: &mut Scratch,
    ) -> Labelled {
        scratch.uncertified.clear();
        let (mut screened, mut left_by_bytes) = (0, 0);
        match self.bytes {
            None => {
                fold(x, labels.len(), self.panels, self.tiles, &mut scratch.state);
                for row in 0..labels.len() {
                    let winner = scratch.state.winners[row];
                    self.settle(row, winner, norms, labels, &mut reach, &mut scratch.uncertified);
                }
            }
            Some(bytes) => {
                left_by_bytes = self.label_by_bytes(bytes, x, norms, labels, &mut reach, scratch);
                screened = labels.len() - scratch.unsure.len();
            }
        }
        if self.recheck {
            self.recheck_rows(x, labels, reach, scratch);
        }
        Labelled { screened, left_by_bytes, rechecked: scratch.uncertified.len() }
    }

    /// Labels the rows that bytes certify; of the others the columns that bytes leave open are multiplied in `f32`.
    /// Returns what that took, in products of the tile.
    fn label_by_bytes(
        &self,
        bytes: &BytePanels,
        x: &[f32],
        norms: &[f32],
        labels: &mut [u32],
        reach: &mut Option<Reach>,
        scratch: &mut Scratch,
    ) -> usize {
        let depth = self.book.depth;
        let mut open = 0;
        let Scratch { state, bytes: rows, unsure, gathered, values, candidates, uncertified, .. } = scratch;
        bytes.fold(&x[..labels.len() * depth], norms, rows, state);
        unsure.clear();
        for (row, (label, &norm)) in labels.iter_mut().zip(norms).enumerate() {
            let winner = state.winners[row];
            let gap = bytes.gap(winner.column, norm, rows.rests[row]);
            if winner.second - winner.best > gap {
                *label = self.book.given[winner.column];
                if let Some(reach) = reach {
                    reach.upper[row] = bound::distance_above(norm, winner.best, gap);
                    reach.lower[row] = bound::distance_below(norm, winner.second, 0.0);
                }
            } else {
                unsure.push((row, winner.best + gap));
            }
        }
        for unsure in unsure.chunks(ROW_GROUP) {
            bytes.gather(rows, unsure.iter().map(|&(row, _)| row), gathered);
            bytes.collect(gathered, unsure, values, candidates);
            for (&(row, limit), columns) in unsure.iter().zip(candidates.iter()) {
                open += columns.len();
                let mut winner = Winner { column: 0, best: f32::INFINITY, second: f32::INFINITY };
                for &column in columns {
                    let at = column as usize;
                    let product = dot(
                        &x[row * depth..(row + 1) * depth],
                        &self.book.rounded[at * depth..(at + 1) * depth],
                    );
                    let value = self.screen.half_norms[at] - product;
                    winner.second = winner.second.min(value.max(winner.best));
                    if value < winner.best {
                        (winner.best, winner.column) = (value, at);
                    }
                }
                self.settle(row, winner, norms, labels, reach, uncertified);
                // The columns that were left out have values above the limit.
                if let Some(reach) = reach {
                    reach.lower[row] = reach.lower[row].min(bound::distance_below(norms[row], limit, 0.0));
                }
            }
        }
        OPEN_COST * open + AGAIN_COST.0 * unsure.len() * self.book.len() / AGAIN_COST.1
    }

    /// Labels a row by its winner where the gap certifies it; else it is left for `f64`.
    #[inline(always)]
    fn settle(
        &self,
        row: usize,
        winner: Winner,
        norms: &[f32],
        labels: &mut [u32],
        reach: &mut Option<Reach>,
        uncertified: &mut Vec<(usize, f32)>,
    ) {
        let norm = norms[row];
        let column = self.column(winner.column);
        labels[row] = self.book.given[column];
        let (error, shared) = (self.screen.errors[column], self.bound.shared(norm));
        let gap = 2.0 * (shared + error);
        let is_certified = winner.second - winner.best > gap;
        if !is_certified {
            uncertified.push((row, winner.best + gap));
        }
        if let Some(reach) = reach {
            // A row that is not certified may get another label: then the best is one of the others.
            let other = if is_certified { winner.second } else { winner.best };
            reach.upper[row] = bound::distance_above(norm, winner.best, shared + 2.0 * error);
            reach.lower[row] = bound::distance_below(norm, other, shared);
        }
    }

    /// Gathers uncertified rows, collects every centroid whose tile value is inside the band, decides in `f64`.
    fn recheck_rows(&self, x: &[f32], labels: &mut [u32], mut reach: Option<Reach>, scratch: &mut Scratch) {
        let depth = self.book.depth;
        let Scratch { rows, values, uncertified, candidates, .. } = scratch;
        for gathered in uncertified.chunks(ROW_GROUP) {
            for (to, &(row, _)) in rows.chunks_exact_mut(depth).zip(gathered) {
                to.copy_from_slice(&x[row * depth..(row + 1) * depth]);
            }
            candidates.iter_mut().for_each(Vec::clear);
            for tile in 0..self.tiles {
                tile_values(rows, tile, self.panels, values);
                let width = self.panels.width;
                let columns = width.min(self.len() - tile * width);
                for ((found, &(_, limit)), values) in
                    candidates.iter_mut().zip(gathered).zip(values.chunks_exact(width))
                {
                    let inside = (0..columns).filter(|&column| values[column] <= limit);
                    found.extend(inside.map(|column| self.column(tile * width + column) as u32));
                }
            }
            for ((found, &(row, _)), x) in candidates.iter().zip(gathered).zip(rows.chunks_exact(depth)) {
                let (column, squared) = exact::nearest(x, found.iter().copied(), &self.book.exact);
                labels[row] = self.book.given[column as usize];
                if let Some(reach) = &mut reach {
                    reach.upper[row] = bound::root_above(squared);
                }
            }
        }
    }
}

/// The tile values of a few rows with all columns, for folds that need more than the best.
pub(crate) struct Values {
    rows: Vec<f32>,
    tile: Vec<f32>,
    all: Vec<f32>,
}

impl Values {
    /// Room for [`ROW_GROUP`] rows.
    pub fn new(panels: &Panels) -> Self {
        Self {
            rows: vec![0.0; ROW_GROUP * panels.depth],
            tile: vec![0.0; ROW_GROUP * panels.width],
            all: vec![0.0; ROW_GROUP * panels.tiles * panels.width],
        }
    }

    /// Values of up to [`ROW_GROUP`] rows: one slice per row, `columns` values each.
    pub fn of(&mut self, x: &[f32], panels: &Panels, columns: usize) -> impl Iterator<Item = &[f32]> {
        let (width, stride) = (panels.width, panels.tiles * panels.width);
        self.rows[..x.len()].copy_from_slice(x);
        for tile in 0..panels.tiles {
            tile_values(&self.rows, tile, panels, &mut self.tile);
            for (all, values) in self.all.chunks_exact_mut(stride).zip(self.tile.chunks_exact(width)) {
                all[tile * width..(tile + 1) * width].copy_from_slice(values);
            }
        }
        self.all.chunks_exact(stride).take(x.len() / panels.depth).map(move |row| &row[..columns])
    }
}

widest! {
    /// `x . c`, summed in sixteen interleaved parts and those in order: no longer a chain than any tile's.
    pub(crate) fn dot(x: &[f32], c: &[f32]) -> f32 = dot_body;
}

#[inline(always)]
fn dot_body(x: &[f32], c: &[f32]) -> f32 {
    let mut parts = [0.0_f32; 16];
    let ((x, x_rest), (c, c_rest)) = (x.as_chunks::<16>(), c.as_chunks::<16>());
    for (x, c) in x.iter().zip(c) {
        for ((part, x), c) in parts.iter_mut().zip(x).zip(c) {
            *part += x * c;
        }
    }
    for ((part, x), c) in parts.iter_mut().zip(x_rest).zip(c_rest) {
        *part += x * c;
    }
    parts.iter().sum()
}

/// What the fold found for one row: the column of the least value, that value, and the least of all others.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Winner {
    pub column: usize,
    pub best: f32,
    pub second: f32,
}
