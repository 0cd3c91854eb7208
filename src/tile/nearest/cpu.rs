//! The CPU twin of the nearest tile: certified labels for one block of rows at a time.

use crate::simd::vector::Vector;
use crate::tile::bound::f32::{self as bound, ABSENT, Bound};
use crate::tile::operands::columns::{Columns, Screen, nearest_of};
use crate::tile::product::cpu::bytes::{BytePanels, ByteProduct, ByteRows};
use crate::tile::product::cpu::panels::{Panels, SingleProduct, values_of_tile};
use crate::tile::product::cpu::{ROW_GROUP, WIDEST_TILE, dot};
use crate::tile::product::{Fold, Product};

/// Products of the `f32` tile in the time of one of a row and a column by themselves.
const OPEN_COST: usize = 3;
/// And in that of one more product of bytes, as a fraction.
const AGAIN_COST: (usize, usize) = (3, 10);

/// What one thread needs to label a block of rows.
pub(crate) struct Scratch {
    lanes: LaneWinners,
    sums: Vec<f32>,
    /// A block in bytes, and some of its rows: `None` until bytes are asked.
    bytes: Option<[ByteRows; 2]>,
    /// Rows that bytes did not certify, with the largest value that their nearest column can have.
    unsure: Vec<(usize, f32)>,
    rows: Vec<f32>,
    values: Vec<f32>,
    uncertified: Vec<(usize, f32)>,
    candidates: [Vec<u32>; ROW_GROUP],
}

impl Scratch {
    /// Scratch for blocks of up to `rows` rows of `depth` features.
    pub fn new(rows: usize, depth: usize) -> Self {
        Self {
            lanes: LaneWinners::new(rows.next_multiple_of(ROW_GROUP)),
            sums: vec![0.0; rows.next_multiple_of(ROW_GROUP) * WIDEST_TILE],
            bytes: None,
            unsure: Vec::new(),
            rows: vec![0.0; ROW_GROUP * depth],
            values: vec![0.0; ROW_GROUP * WIDEST_TILE],
            uncertified: Vec::new(),
            candidates: Default::default(),
        }
    }
}

/// The columns of a nearest tile on the CPU.
pub(crate) struct NearestTile<'a> {
    /// The centroids.
    pub book: &'a Columns<'a>,
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
    pub fn all(book: &'a Columns<'a>, panels: &'a Panels, screen: &'a Screen, bound: Bound) -> Self {
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
                let product = SingleProduct { x, panels: self.panels };
                product.fold(labels.len(), 0..self.tiles, &mut scratch.sums, &mut scratch.lanes);
                for row in 0..labels.len() {
                    let winner = scratch.lanes.winners[row];
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
        let Scratch { lanes, sums, bytes: in_bytes, unsure, values, candidates, uncertified, .. } = scratch;
        let [rows, gathered] = in_bytes.get_or_insert_default();
        rows.encode(&x[..labels.len() * depth], norms, depth);
        bytes.set_rho(rows, norms.iter().copied());
        let product = ByteProduct { rows, panels: bytes };
        product.fold(labels.len(), 0..bytes.tiles, sums, &mut *lanes);
        unsure.clear();
        for (row, (label, &norm)) in labels.iter_mut().zip(norms).enumerate() {
            let winner = lanes.winners[row];
            let gap = bytes.gap(winner.column, norm, rows.rho[row]);
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
            gathered.gather(rows, unsure.iter().map(|&(row, _)| row), depth);
            bytes.set_rho(gathered, unsure.iter().map(|&(row, _)| norms[row]));
            let product = ByteProduct { rows: gathered, panels: bytes };
            within(product, (bytes.tiles, bytes.width), unsure, [sums, values], candidates);
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
        let Scratch { rows, sums, values, uncertified, candidates, .. } = scratch;
        for gathered in uncertified.chunks(ROW_GROUP) {
            for (to, &(row, _)) in rows.chunks_exact_mut(depth).zip(gathered) {
                to.copy_from_slice(&x[row * depth..(row + 1) * depth]);
            }
            let product = SingleProduct { x: rows, panels: self.panels };
            within(product, (self.tiles, self.panels.width), gathered, [sums, values], candidates);
            for ((found, &(row, _)), x) in candidates.iter().zip(gathered).zip(rows.chunks_exact(depth)) {
                let columns = found.iter().map(|&column| self.column(column as usize) as u32);
                let (column, squared) = nearest_of(x, columns, &self.book.exact);
                labels[row] = self.book.given[column as usize];
                if let Some(reach) = &mut reach {
                    reach.upper[row] = bound::root_above(squared);
                }
            }
        }
    }
}

/// The columns of up to [`ROW_GROUP`] rows whose value is at most the row's limit, which is below absent columns, in the order
/// of the panels: `sizes` are their tiles and the width of one.
fn within(
    product: impl Product,
    sizes: (usize, usize),
    limits: &[(usize, f32)],
    [sums, values]: [&mut Vec<f32>; 2],
    candidates: &mut [Vec<u32>; ROW_GROUP],
) {
    let (tiles, width) = sizes;
    candidates.iter_mut().for_each(Vec::clear);
    for tile in 0..tiles {
        values_of_tile(product, limits.len(), tile, sums, values);
        for ((found, &(_, limit)), values) in
            candidates.iter_mut().zip(limits).zip(values.chunks_exact(width))
        {
            // Most tiles have none.
            let lower = |least, &value| if value < least { value } else { least };
            if values.iter().fold(f32::INFINITY, lower) <= limit {
                let inside = (0..width).filter(|&column| values[column] <= limit);
                found.extend(inside.map(|column| (tile * width + column) as u32));
            }
        }
    }
}

/// What the fold found for one row: the column of the least value, that value, and the least of all others.
#[derive(Debug, Clone, Copy, Default)]
struct Winner {
    column: usize,
    best: f32,
    second: f32,
}

/// The nearest fold: best, second and index are kept per lane, `LANES` values per row, and merged over lanes once per row.
/// A tie between two lanes makes best equal second, which certifies nothing, so the order of lanes cannot decide a label.
struct LaneWinners {
    best: Vec<f32>,
    second: Vec<f32>,
    /// Index of the vector that held the best value: `2 * tile + half`, exact in `f32` up to 2^24 vectors.
    vector: Vec<f32>,
    /// What the lanes of each row come to.
    winners: Vec<Winner>,
}

impl LaneWinners {
    /// Room for `rows` rows of vectors of at most 16 lanes.
    fn new(rows: usize) -> Self {
        let lanes = || vec![0.0; rows * WIDEST_TILE / 2];
        Self { best: lanes(), second: lanes(), vector: lanes(), winners: vec![Winner::default(); rows] }
    }
}

impl Fold for &mut LaneWinners {
    #[inline(always)]
    fn begin<V: Vector>(&mut self, rows: usize, _columns: usize) {
        let lanes = rows * V::LANES;
        assert!(self.vector.len() >= lanes && self.winners.len() >= rows);
        self.best[..lanes].fill(2.0 * ABSENT);
        self.second[..lanes].fill(2.0 * ABSENT);
    }

    #[inline(always)]
    unsafe fn keep<V: Vector, const ROWS: usize>(
        &mut self,
        sums: *const f32,
        first: usize,
        tile: usize,
        half_norms: *const f32,
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            let halves = [V::load(half_norms), V::load(half_norms.add(V::LANES))];
            let index = [V::splat((2 * tile) as f32), V::splat((2 * tile + 1) as f32)];
            for row in 0..ROWS {
                let at = (first + row) * V::LANES;
                let mut best = V::load(self.best.as_ptr().add(at));
                let mut second = V::load(self.second.as_ptr().add(at));
                let mut vector = V::load(self.vector.as_ptr().add(at));
                for half in 0..2 {
                    let value = halves[half].sub(V::load(sums.add((2 * row + half) * V::LANES)));
                    vector = V::select_less(value, best, index[half], vector);
                    second = second.min(best.max(value));
                    best = best.min(value);
                }
                best.store(self.best.as_mut_ptr().add(at));
                second.store(self.second.as_mut_ptr().add(at));
                vector.store(self.vector.as_mut_ptr().add(at));
            }
        }
    }

    #[inline(always)]
    unsafe fn finish<V: Vector>(&mut self, rows: usize) {
        for row in 0..rows {
            let at = row * V::LANES;
            // SAFETY: as the caller promises.
            let (best, second, lane) = unsafe {
                V::two_least(V::load(self.best.as_ptr().add(at)), V::load(self.second.as_ptr().add(at)))
            };
            let column = self.vector[at + lane] as usize * V::LANES + lane;
            self.winners[row] = Winner { column, best, second };
        }
    }
}

#[cfg(test)]
mod tests;
