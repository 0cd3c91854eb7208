//! The CPU tile: a register block of products, and the nearest fold on it while it is in registers.
//!
//! Plainly: `for row { for column { t = h[column] - sum over d of x[row, d] * c[column, d]; keep the best and the
//! second-best t } }`. What differs, and why it is safe:
//!
//! 1. `ROWS` x 2 vectors of products are held in registers, so one load of a centroid vector serves `ROWS` rows and
//!    one broadcast of a row element serves two vectors: the multiply-add ports stay busy.
//! 2. Centroids are packed as `[tile][d][2 * LANES]`, read front to back. Columns beyond the last carry a half norm
//!    so large that they never win.
//! 3. The depth is cut in chunks of at most [`CHUNK`], whose sums are added afterwards: the panel of a chunk stays in
//!    the first-level cache, and the chain of additions that the error bound pays for is shorter.
//! 4. Best, second and index are kept per lane, and merged over lanes once per row. A tie between two lanes makes
//!    best equal second, which certifies nothing, so the order of lanes cannot decide a label.

use super::panels::Panels;
use crate::simd::vector::Vector;
use crate::tile::nearest::cpu::Winner;

/// Features per chunk; depths up to half as much again are one chunk.
pub(crate) const CHUNK: usize = 256;
/// Half norm of columns that do not exist.
pub(crate) const ABSENT: f32 = 1e38;

/// Lane-wise state of the nearest fold: `LANES` values per row.
pub(crate) struct FoldState {
    pub best: Vec<f32>,
    pub second: Vec<f32>,
    /// Index of the vector that held the best value: `2 * tile + half`, exact in `f32` up to 2^24 vectors.
    pub vector: Vec<f32>,
    /// Sums of products, `2 * LANES` per row.
    pub sums: Vec<f32>,
    /// What the lanes of each row come to.
    pub winners: Vec<Winner>,
}

impl FoldState {
    /// Room for `rows` rows of vectors of at most 16 lanes.
    pub fn new(rows: usize) -> Self {
        let lanes = rows * 16;
        Self {
            best: vec![0.0; lanes],
            second: vec![0.0; lanes],
            vector: vec![0.0; lanes],
            sums: vec![0.0; 2 * lanes],
            winners: vec![Winner::default(); rows],
        }
    }
}

/// `ROWS` rows times one chunk of one tile: written to `sums`, or added to what stands there.
///
/// The products are stored in one place, right behind the loop: read through an index anywhere else, they would be
/// kept in memory instead of in registers.
///
/// # Safety
/// The processor has `V`'s instruction set; `x` is valid for `ROWS` rows `stride` apart and `depth` long, `panel` for
/// `depth * 2 * V::LANES` elements, `sums` for `ROWS * 2 * V::LANES`.
#[inline(always)]
unsafe fn product<V: Vector, const ROWS: usize>(
    x: *const f32,
    stride: usize,
    depth: usize,
    panel: *const f32,
    sums: *mut f32,
    adds: bool,
) {
    // SAFETY: all offsets stay inside what the caller promises.
    unsafe {
        let mut left = [V::splat(0.0); ROWS];
        let mut right = [V::splat(0.0); ROWS];
        let rows: [*const f32; ROWS] = std::array::from_fn(|row| x.add(row * stride));
        let mut panel = panel;
        for d in 0..depth {
            let (c_left, c_right) = (V::load(panel), V::load(panel.add(V::LANES)));
            panel = panel.add(2 * V::LANES);
            for row in 0..ROWS {
                let value = V::splat(*rows[row].add(d));
                left[row] = left[row].add_product(value, c_left);
                right[row] = right[row].add_product(value, c_right);
            }
        }
        if adds {
            for row in 0..ROWS {
                let at = sums.add(2 * row * V::LANES);
                left[row] = V::load(at).add(left[row]);
                right[row] = V::load(at.add(V::LANES)).add(right[row]);
            }
        }
        for row in 0..ROWS {
            let at = sums.add(2 * row * V::LANES);
            left[row].store(at);
            right[row].store(at.add(V::LANES));
        }
    }
}

/// Folds `groups * ROWS` rows over the first `tiles` tiles. The result stands in the winners of `state`.
///
/// # Safety
/// The processor has `V`'s instruction set, and `panels` was packed for `V::LANES`.
#[inline(always)]
pub(crate) unsafe fn fold<V: Vector, const ROWS: usize>(
    x: &[f32],
    groups: usize,
    panels: &Panels,
    tiles: usize,
    state: &mut FoldState,
) {
    let depth = panels.depth;
    let rows = groups * ROWS;
    assert!(x.len() >= rows * depth && state.best.len() >= rows * V::LANES && panels.width == 2 * V::LANES);
    assert!(tiles <= panels.tiles && state.winners.len() >= rows);
    begin::<V>(rows, state);
    for tile in 0..tiles {
        for chunk in 0..panels.chunks {
            let (start, length) = panels.chunk(chunk);
            let panel = panels.tile(tile)[start * 2 * V::LANES..].as_ptr();
            for group in 0..groups {
                // With one chunk the sums are used at once: one small buffer, always in cache.
                let at = if panels.chunks == 1 { 0 } else { group * ROWS * 2 * V::LANES };
                // SAFETY: the assertion above, and `Panels` holds `depth * 2 * LANES` elements per tile.
                unsafe {
                    let rows = x.as_ptr().add(group * ROWS * depth + start);
                    let sums = state.sums.as_mut_ptr().add(at);
                    product::<V, ROWS>(rows, depth, length, panel, sums, chunk > 0);
                    if chunk + 1 == panels.chunks {
                        keep::<V, ROWS>(sums, tile, group, &panels.half_norms, state);
                    }
                }
            }
        }
    }
    // SAFETY: the assertions above.
    unsafe { finish::<V>(rows, state) }
}

/// Nothing found yet for `rows` rows.
pub(crate) fn begin<V: Vector>(rows: usize, state: &mut FoldState) {
    state.best[..rows * V::LANES].fill(2.0 * ABSENT);
    state.second[..rows * V::LANES].fill(2.0 * ABSENT);
}

/// What the lanes of each row come to.
///
/// # Safety
/// As [`fold`]; the state has room for the rows.
#[inline(always)]
pub(crate) unsafe fn finish<V: Vector>(rows: usize, state: &mut FoldState) {
    for row in 0..rows {
        let at = row * V::LANES;
        // SAFETY: as the caller promises.
        let (best, second, lane) = unsafe {
            V::two_least(V::load(state.best.as_ptr().add(at)), V::load(state.second.as_ptr().add(at)))
        };
        let column = state.vector[at + lane] as usize * V::LANES + lane;
        state.winners[row] = Winner { column, best, second };
    }
}

/// Updates the lane-wise best, second and index of one group of rows with one finished tile.
///
/// # Safety
/// As [`fold`]; the state has room for the rows, `half_norms` holds 2 * LANES per tile.
#[inline(always)]
pub(crate) unsafe fn keep<V: Vector, const ROWS: usize>(
    sums: *const f32,
    tile: usize,
    group: usize,
    half_norms: &[f32],
    state: &mut FoldState,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let half_norms = half_norms.as_ptr().add(tile * 2 * V::LANES);
        let halves = [V::load(half_norms), V::load(half_norms.add(V::LANES))];
        let index = [V::splat((2 * tile) as f32), V::splat((2 * tile + 1) as f32)];
        for row in 0..ROWS {
            let at = (group * ROWS + row) * V::LANES;
            let mut best = V::load(state.best.as_ptr().add(at));
            let mut second = V::load(state.second.as_ptr().add(at));
            let mut vector = V::load(state.vector.as_ptr().add(at));
            for half in 0..2 {
                let value = halves[half].sub(V::load(sums.add((2 * row + half) * V::LANES)));
                vector = V::select_less(value, best, index[half], vector);
                second = second.min(best.max(value));
                best = best.min(value);
            }
            best.store(state.best.as_mut_ptr().add(at));
            second.store(state.second.as_mut_ptr().add(at));
            vector.store(state.vector.as_mut_ptr().add(at));
        }
    }
}

/// Who takes what the collecting fold finds.
pub(crate) trait Take {
    /// One row's values with the columns from `first_column` on, of which those in `mask` are at most the row's `limit`.
    /// Returns the row's limit from now on.
    fn take(&mut self, row: usize, limit: f32, first_column: usize, mask: u32, values: &[f32]) -> f32;
    /// The same products the other way round, where rows and columns are of one set: the values of columns from
    /// `first_column` on with one row, of which those in `mask` are at most their column's limit.
    fn take_back(&mut self, row: usize, first_column: usize, mask: u32, values: &[f32]);
}

/// The lanes of a mask, in ascending order.
pub(crate) fn lanes(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(lane)
    })
}

/// What the products of rows with columns say about the columns, where both are of one set.
#[derive(Clone, Copy)]
pub(crate) struct Back<'a> {
    /// The rows' own half norms, as columns have them.
    pub half_norms: &'a [f32],
    /// The limit of each column, padded to whole tiles with one that nothing keeps.
    pub limits: &'a [f32],
}

impl Back<'_> {
    /// Whether it knows so many rows and columns.
    pub fn fits(&self, rows: usize, columns: usize) -> bool {
        self.half_norms.len() >= rows && self.limits.len() >= columns
    }
}

/// The collecting fold over `groups * ROWS` rows and all tiles: hands over the values that are at most their row's
/// limit, column by column from the first on. Values are those that [`values`] gives.
///
/// The limit of a row is compared with two vectors at once, and falls as `taker` finds better columns: nearly every
/// comparison ends there, without a branch per value.
///
/// # Safety
/// As [`fold`].
#[inline(always)]
pub(crate) unsafe fn collect<V: Vector, const ROWS: usize>(
    x: &[f32],
    groups: usize,
    panels: &Panels,
    limits: &mut [f32],
    sums: &mut [f32],
    back: Option<Back>,
    taker: &mut dyn Take,
) {
    let (depth, width) = (panels.depth, 2 * V::LANES);
    let rows = groups * ROWS;
    assert!(x.len() >= rows * depth && limits.len() >= rows && panels.width == width);
    assert!(sums.len() >= if panels.chunks == 1 { ROWS } else { rows } * width);
    assert!(back.is_none_or(|back| back.fits(rows, panels.tiles * width)));
    for tile in 0..panels.tiles {
        for chunk in 0..panels.chunks {
            let (start, length) = panels.chunk(chunk);
            let panel = panels.tile(tile)[start * width..].as_ptr();
            for group in 0..groups {
                let at = if panels.chunks == 1 { 0 } else { group * ROWS * width };
                // SAFETY: the assertions above, and `Panels` holds `depth * 2 * LANES` elements per tile.
                unsafe {
                    let x = x.as_ptr().add(group * ROWS * depth + start);
                    let sums = sums.as_mut_ptr().add(at);
                    product::<V, ROWS>(x, depth, length, panel, sums, chunk > 0);
                    if chunk + 1 == panels.chunks {
                        let limits = &mut limits[group * ROWS..(group + 1) * ROWS];
                        hand_over::<V, ROWS>(sums, tile, group, &panels.half_norms, limits, taker);
                        if let Some(back) = back {
                            hand_back::<V, ROWS>(sums, tile, group, back, taker);
                        }
                    }
                }
            }
        }
    }
}

/// Compares one group of rows of a finished tile with their limits.
///
/// # Safety
/// As [`fold`]; there are sums and limits for `ROWS` rows, and `half_norms` holds 2 * LANES per tile.
#[inline(always)]
pub(crate) unsafe fn hand_over<V: Vector, const ROWS: usize>(
    sums: *const f32,
    tile: usize,
    group: usize,
    half_norms: &[f32],
    limits: &mut [f32],
    taker: &mut dyn Take,
) {
    // SAFETY: as the caller promises; a vector has at most 16 lanes.
    unsafe {
        let half_norms = half_norms.as_ptr().add(tile * 2 * V::LANES);
        let halves = [V::load(half_norms), V::load(half_norms.add(V::LANES))];
        for (row, limit) in limits.iter_mut().enumerate().take(ROWS) {
            let at = sums.add(2 * row * V::LANES);
            let (left, right) = (halves[0].sub(V::load(at)), halves[1].sub(V::load(at.add(V::LANES))));
            let most = V::splat(*limit);
            let mask = V::at_most(left, most) | V::at_most(right, most) << V::LANES;
            if mask != 0 {
                let mut values = [0.0_f32; 32];
                left.store(values.as_mut_ptr());
                right.store(values.as_mut_ptr().add(V::LANES));
                *limit = taker.take(group * ROWS + row, *limit, tile * 2 * V::LANES, mask, &values);
            }
        }
    }
}

/// Compares the columns of a finished tile with their limits, for one group of rows.
///
/// # Safety
/// As [`hand_over`]; `back` fits the rows and columns.
#[inline(always)]
pub(crate) unsafe fn hand_back<V: Vector, const ROWS: usize>(
    sums: *const f32,
    tile: usize,
    group: usize,
    back: Back,
    taker: &mut dyn Take,
) {
    // SAFETY: as the caller promises; a vector has at most 16 lanes.
    unsafe {
        let limits = back.limits.as_ptr().add(tile * 2 * V::LANES);
        let most = [V::load(limits), V::load(limits.add(V::LANES))];
        for row in 0..ROWS {
            let half_norm = V::splat(*back.half_norms.as_ptr().add(group * ROWS + row));
            let at = sums.add(2 * row * V::LANES);
            let (left, right) = (half_norm.sub(V::load(at)), half_norm.sub(V::load(at.add(V::LANES))));
            let mask = V::at_most(left, most[0]) | V::at_most(right, most[1]) << V::LANES;
            if mask != 0 {
                let mut values = [0.0_f32; 32];
                left.store(values.as_mut_ptr());
                right.store(values.as_mut_ptr().add(V::LANES));
                taker.take_back(group * ROWS + row, tile * 2 * V::LANES, mask, &values);
            }
        }
    }
}

/// The tile values of `ROWS` rows with the columns of one tile: `values[row][column]`, the same bits that [`fold`] saw.
///
/// # Safety
/// As [`fold`].
#[inline(always)]
pub(crate) unsafe fn values<V: Vector, const ROWS: usize>(
    x: &[f32],
    tile: usize,
    panels: &Panels,
    values: &mut [f32],
) {
    let depth = panels.depth;
    let width = 2 * V::LANES;
    assert!(x.len() >= ROWS * depth && values.len() >= ROWS * width && panels.width == width);
    for chunk in 0..panels.chunks {
        let (start, length) = panels.chunk(chunk);
        let panel = panels.tile(tile)[start * width..].as_ptr();
        // SAFETY: the assertion above, and the sizes of `Panels`.
        unsafe {
            product::<V, ROWS>(x.as_ptr().add(start), depth, length, panel, values.as_mut_ptr(), chunk > 0);
        }
    }
    let half_norms = &panels.half_norms[tile * width..(tile + 1) * width];
    for values in values[..ROWS * width].chunks_exact_mut(width) {
        for (value, half_norm) in values.iter_mut().zip(half_norms) {
            *value = half_norm - *value;
        }
    }
}
