//! The register block of products of bytes, and the folds on it.
//!
//! As in `kernel.rs`, with four features to a step and whole numbers to a lane. A tile is finished in one go: the sums
//! of any depth that bytes are used for are exact in 32 bits.

use super::bytes::{BytePanels, ByteRows};
use super::kernel::{self, Back, FoldState, Take};
use crate::simd::vector::ByteVector;
use crate::tile::operands::bytes::STEP;

/// Folds `groups * ROWS` rows over all tiles. The result stands in the winners of `state`.
///
/// # Safety
/// The processor has `V`'s instruction set, and `panels` was packed for `V::LANES`.
#[inline(always)]
pub(crate) unsafe fn fold<V: ByteVector, const ROWS: usize>(
    rows: &ByteRows,
    groups: usize,
    panels: &BytePanels,
    state: &mut FoldState,
) {
    let count = groups * ROWS;
    check::<V>(rows, count, panels);
    assert!(state.best.len() >= count * V::LANES && state.winners.len() >= count);
    kernel::begin::<V>(count, state);
    for tile in 0..panels.tiles {
        for group in 0..groups {
            // SAFETY: the assertions above; the sums of one group need the room of `ROWS` rows.
            unsafe {
                let sums = state.sums.as_mut_ptr();
                value::<V, ROWS>(rows, group * ROWS, panels, tile, sums);
                kernel::keep::<V, ROWS>(sums, tile, group, &panels.half_norms, state);
            }
        }
    }
    // SAFETY: the assertions above.
    unsafe { kernel::finish::<V>(count, state) }
}

/// The collecting fold of `kernel.rs` over `groups * ROWS` rows and all tiles, on lower bounds of the values.
///
/// # Safety
/// As [`fold`].
#[inline(always)]
pub(crate) unsafe fn collect<V: ByteVector, const ROWS: usize>(
    rows: &ByteRows,
    groups: usize,
    panels: &BytePanels,
    limits: &mut [f32],
    sums: &mut [f32],
    back: Option<Back>,
    taker: &mut dyn Take,
) {
    let (count, width) = (groups * ROWS, 2 * V::LANES);
    check::<V>(rows, count, panels);
    assert!(limits.len() >= count && sums.len() >= ROWS * width);
    assert!(back.is_none_or(|back| back.fits(count, panels.tiles * width)));
    let sums = sums.as_mut_ptr();
    for tile in 0..panels.tiles {
        for group in 0..groups {
            let limits = &mut limits[group * ROWS..(group + 1) * ROWS];
            // SAFETY: the assertions above.
            unsafe {
                value::<V, ROWS>(rows, group * ROWS, panels, tile, sums);
                kernel::hand_over::<V, ROWS>(sums, tile, group, &panels.half_norms, limits, taker);
                if let Some(back) = back {
                    kernel::hand_back::<V, ROWS>(sums, tile, group, back, taker);
                }
            }
        }
    }
}

/// The values of `groups * ROWS` rows with the columns of one tile: `values[row][column]`, the same bits that [`fold`] saw.
///
/// # Safety
/// As [`fold`].
#[inline(always)]
pub(crate) unsafe fn values<V: ByteVector, const ROWS: usize>(
    rows: &ByteRows,
    groups: usize,
    tile: usize,
    panels: &BytePanels,
    values: &mut [f32],
) {
    let width = 2 * V::LANES;
    check::<V>(rows, groups * ROWS, panels);
    assert!(tile < panels.tiles && values.len() >= groups * ROWS * width);
    let half_norms = &panels.half_norms[tile * width..(tile + 1) * width];
    for (group, values) in values.chunks_exact_mut(ROWS * width).take(groups).enumerate() {
        // SAFETY: the assertions above.
        unsafe { value::<V, ROWS>(rows, group * ROWS, panels, tile, values.as_mut_ptr()) };
        for values in values.chunks_exact_mut(width) {
            for (value, half_norm) in values.iter_mut().zip(half_norms) {
                *value = half_norm - *value;
            }
        }
    }
}

/// That rows and panels hold what kernels read.
#[inline(always)]
fn check<V: ByteVector>(rows: &ByteRows, count: usize, panels: &BytePanels) {
    let (stride, width) = (panels.stride, 2 * V::LANES);
    assert!(rows.codes.len() >= count * stride && rows.scales.len() >= count && rows.rests.len() >= count);
    assert!(panels.width == width && panels.packed.len() == panels.tiles * width * stride);
    assert!(
        [panels.scales.len(), panels.lengths.len(), panels.half_norms.len()] == [panels.tiles * width; 3]
    );
    assert!(panels.biases.len() == panels.tiles * width && stride % STEP == 0);
}

/// What is taken off the half squares: `s t (q . p) + rho |c|` of `ROWS` rows with one tile.
///
/// # Safety
/// As [`fold`]; `sums` is valid for `ROWS * 2 * V::LANES` elements.
#[inline(always)]
unsafe fn value<V: ByteVector, const ROWS: usize>(
    rows: &ByteRows,
    first: usize,
    panels: &BytePanels,
    tile: usize,
    sums: *mut f32,
) {
    let (stride, width) = (panels.stride, 2 * V::LANES);
    // SAFETY: `fold` asserted that rows and panels hold what is read.
    unsafe {
        let mut left = [V::zero(); ROWS];
        let mut right = [V::zero(); ROWS];
        let codes: [*const u8; ROWS] =
            std::array::from_fn(|row| rows.codes.as_ptr().add((first + row) * stride));
        let mut panel = panels.packed.as_ptr().add(tile * width * stride);
        for at in (0..stride).step_by(STEP) {
            let (p_left, p_right) = (V::load_bytes(panel), V::load_bytes(panel.add(STEP * V::LANES)));
            panel = panel.add(STEP * width);
            for row in 0..ROWS {
                left[row] = V::add_products(left[row], codes[row].add(at), p_left);
                right[row] = V::add_products(right[row], codes[row].add(at), p_right);
            }
        }
        put::<V, ROWS>(left, rows, first, panels, tile * width, sums);
        put::<V, ROWS>(right, rows, first, panels, tile * width + V::LANES, sums.add(V::LANES));
    }
}

/// Turns products with the columns from `column` on into values.
///
/// # Safety
/// As [`value`], for one vector in two.
#[inline(always)]
unsafe fn put<V: ByteVector, const ROWS: usize>(
    products: [V::Whole; ROWS],
    rows: &ByteRows,
    first: usize,
    panels: &BytePanels,
    column: usize,
    sums: *mut f32,
) {
    // SAFETY: `fold` asserted that rows and panels hold what is read.
    unsafe {
        let biases = panels.biases.as_ptr().add(column);
        let scales = V::load(panels.scales.as_ptr().add(column));
        let lengths = V::load(panels.lengths.as_ptr().add(column));
        for row in 0..ROWS {
            let scale = V::splat(*rows.scales.as_ptr().add(first + row));
            let rests = lengths.mul(V::splat(*rows.rests.as_ptr().add(first + row)));
            let product = V::rounded(products[row], biases).mul(scales);
            rests.add_product(product, scale).store(sums.add(2 * row * V::LANES));
        }
    }
}
