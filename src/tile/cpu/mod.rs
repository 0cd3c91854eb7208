//! The CPU twin of the nearest tile: certified labels for one block of rows at a time.

mod kernel;
mod panels;
mod vector;

use kernel::FoldState;
pub(crate) use panels::Panels;

use super::bound::Bound;
use super::codebook::{Codebook, Screen};
use super::exact;
use crate::simd::{Level, level};

/// Blocks of rows are multiples of this, and uncertified rows are rechecked this many at a time: a multiple of every
/// kernel's own count.
pub(crate) const ROW_GROUP: usize = 24;

/// What one thread needs to label a block of rows.
pub(crate) struct Scratch {
    state: FoldState,
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
    pub book: &'a Codebook,
    /// The centroids, packed with the half norms of `screen`.
    pub panels: &'a Panels,
    /// Their shifted half norms and errors.
    pub screen: &'a Screen,
    /// The error bound of this tile.
    pub bound: Bound,
    /// Off only in tests, which must then fail: rows whose gap is inside the bound keep the tile's label.
    pub recheck: bool,
}

impl NearestTile<'_> {
    /// Labels `labels.len()` rows: `x` holds them row-major, followed by padding up to a multiple of [`ROW_GROUP`];
    /// `norms` are upper bounds of their lengths. Returns how many were rechecked in `f64`.
    pub fn label(&self, x: &[f32], norms: &[f32], labels: &mut [u32], scratch: &mut Scratch) -> usize {
        fold(x, labels.len(), self.panels, &mut scratch.state);
        scratch.uncertified.clear();
        let lanes = self.panels.width / 2;
        for (row, (label, &norm)) in labels.iter_mut().zip(norms).enumerate() {
            let winner = merge(&scratch.state, row, lanes);
            *label = self.book.given[winner.column];
            let gap = self.bound.gap_beside(norm, self.screen.errors[winner.column]);
            if !(winner.second - winner.best > gap) {
                scratch.uncertified.push((row, winner.best + gap));
            }
        }
        if self.recheck {
            self.recheck_rows(x, labels, scratch);
        }
        scratch.uncertified.len()
    }

    /// Gathers uncertified rows, collects every centroid whose tile value is inside the band, decides in `f64`.
    fn recheck_rows(&self, x: &[f32], labels: &mut [u32], scratch: &mut Scratch) {
        let depth = self.book.depth;
        let Scratch { rows, values, uncertified, candidates, .. } = scratch;
        for gathered in uncertified.chunks(ROW_GROUP) {
            for (to, &(row, _)) in rows.chunks_exact_mut(depth).zip(gathered) {
                to.copy_from_slice(&x[row * depth..(row + 1) * depth]);
            }
            candidates.iter_mut().for_each(Vec::clear);
            for tile in 0..self.panels.tiles {
                tile_values(rows, tile, self.panels, values);
                let width = self.panels.width;
                let columns = width.min(self.book.len() - tile * width);
                for ((found, &(_, limit)), values) in
                    candidates.iter_mut().zip(gathered).zip(values.chunks_exact(width))
                {
                    let inside = (0..columns).filter(|&column| values[column] <= limit);
                    found.extend(inside.map(|column| (tile * width + column) as u32));
                }
            }
            for ((found, &(row, _)), x) in candidates.iter().zip(gathered).zip(rows.chunks_exact(depth)) {
                let (column, _) = exact::nearest(x, found.iter().copied(), &self.book.exact);
                labels[row] = self.book.given[column as usize];
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

struct Winner {
    column: usize,
    best: f32,
    second: f32,
}

/// Merges the lanes of one row.
#[inline(always)]
fn merge(state: &FoldState, row: usize, lanes: usize) -> Winner {
    let at = row * lanes..(row + 1) * lanes;
    let (best, second, vector) = (&state.best[at.clone()], &state.second[at.clone()], &state.vector[at]);
    let mut winner = Winner { column: 0, best: f32::MAX, second: f32::MAX };
    let mut lane_of_best = 0;
    for lane in 0..lanes {
        let value = best[lane];
        winner.second = winner.second.min(second[lane]).min(winner.best.max(value));
        if value < winner.best {
            winner.best = value;
            lane_of_best = lane;
        }
    }
    winner.column = vector[lane_of_best] as usize * lanes + lane_of_best;
    winner
}

fn fold(x: &[f32], rows: usize, panels: &Panels, state: &mut FoldState) {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            #[target_feature(enable = "avx512f")]
            unsafe fn run(x: &[f32], groups: usize, panels: &Panels, state: &mut FoldState) {
                // SAFETY: as this function's caller promises.
                unsafe { kernel::fold::<vector::x86::Avx512, 12>(x, groups, panels, state) }
            }
            // SAFETY: `level` saw AVX-512F; the panels were packed at the same level.
            unsafe { run(x, rows.div_ceil(12), panels, state) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            #[target_feature(enable = "avx2,fma")]
            unsafe fn run(x: &[f32], groups: usize, panels: &Panels, state: &mut FoldState) {
                // SAFETY: as this function's caller promises.
                unsafe { kernel::fold::<vector::x86::Avx2, 6>(x, groups, panels, state) }
            }
            // SAFETY: `level` saw AVX2 and FMA; the panels were packed at the same level.
            unsafe { run(x, rows.div_ceil(6), panels, state) }
        }
        // SAFETY: plain Rust runs anywhere.
        Level::Portable => unsafe { kernel::fold::<vector::Portable, 4>(x, rows.div_ceil(4), panels, state) },
    }
}

/// Tile values of [`ROW_GROUP`] rows with the columns of one tile.
fn tile_values(x: &[f32], tile: usize, panels: &Panels, values: &mut [f32]) {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            #[target_feature(enable = "avx512f")]
            unsafe fn run(x: &[f32], tile: usize, panels: &Panels, values: &mut [f32]) {
                // SAFETY: as this function's caller promises.
                unsafe { kernel::values::<vector::x86::Avx512, 12>(x, tile, panels, values) }
            }
            for (x, values) in x.chunks(12 * panels.depth).zip(values.chunks_mut(12 * panels.width)) {
                // SAFETY: `level` saw AVX-512F; the panels were packed at the same level.
                unsafe { run(x, tile, panels, values) }
            }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            #[target_feature(enable = "avx2,fma")]
            unsafe fn run(x: &[f32], tile: usize, panels: &Panels, values: &mut [f32]) {
                // SAFETY: as this function's caller promises.
                unsafe { kernel::values::<vector::x86::Avx2, 6>(x, tile, panels, values) }
            }
            for (x, values) in x.chunks(6 * panels.depth).zip(values.chunks_mut(6 * panels.width)) {
                // SAFETY: `level` saw AVX2 and FMA; the panels were packed at the same level.
                unsafe { run(x, tile, panels, values) }
            }
        }
        Level::Portable => {
            for (x, values) in x.chunks(4 * panels.depth).zip(values.chunks_mut(4 * panels.width)) {
                // SAFETY: plain Rust runs anywhere.
                unsafe { kernel::values::<vector::Portable, 4>(x, tile, panels, values) }
            }
        }
    }
}
