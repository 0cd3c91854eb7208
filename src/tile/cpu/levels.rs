//! The kernels of the CPU tile, compiled for each instruction set and chosen at run time.

use super::kernel::{self, Back, FoldState, Take};
use super::panels::Panels;
use super::vector;
use crate::simd::{Level, level};

/// Folds rows over the first `tiles` tiles.
pub(super) fn fold(x: &[f32], rows: usize, panels: &Panels, tiles: usize, state: &mut FoldState) {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            #[target_feature(enable = "avx512f")]
            unsafe fn run(x: &[f32], groups: usize, panels: &Panels, tiles: usize, state: &mut FoldState) {
                // SAFETY: as this function's caller promises.
                unsafe { kernel::fold::<vector::x86::Avx512, 12>(x, groups, panels, tiles, state) }
            }
            // SAFETY: `level` saw AVX-512F; the panels were packed at the same level.
            unsafe { run(x, rows.div_ceil(12), panels, tiles, state) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            #[target_feature(enable = "avx2,fma")]
            unsafe fn run(x: &[f32], groups: usize, panels: &Panels, tiles: usize, state: &mut FoldState) {
                // SAFETY: as this function's caller promises.
                unsafe { kernel::fold::<vector::x86::Avx2, 6>(x, groups, panels, tiles, state) }
            }
            // SAFETY: `level` saw AVX2 and FMA; the panels were packed at the same level.
            unsafe { run(x, rows.div_ceil(6), panels, tiles, state) }
        }
        // SAFETY: plain Rust runs anywhere.
        Level::Portable => unsafe {
            kernel::fold::<vector::Portable, 4>(x, rows.div_ceil(4), panels, tiles, state)
        },
    }
}

/// Tile values of [`ROW_GROUP`] rows with the columns of one tile.
pub(super) fn tile_values(x: &[f32], tile: usize, panels: &Panels, values: &mut [f32]) {
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

/// The collecting fold over rows and all tiles of the panels.
pub(super) fn collect(
    x: &[f32],
    rows: usize,
    panels: &Panels,
    limits: &mut [f32],
    sums: &mut [f32],
    back: Option<Back>,
    taker: &mut dyn Take,
) {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            #[target_feature(enable = "avx512f")]
            unsafe fn run(
                x: &[f32],
                groups: usize,
                panels: &Panels,
                limits: &mut [f32],
                sums: &mut [f32],
                back: Option<Back>,
                taker: &mut dyn Take,
            ) {
                // SAFETY: as this function's caller promises.
                unsafe {
                    kernel::collect::<vector::x86::Avx512, 12>(x, groups, panels, limits, sums, back, taker)
                }
            }
            // SAFETY: `level` saw AVX-512F; the panels were packed at the same level.
            unsafe { run(x, rows.div_ceil(12), panels, limits, sums, back, taker) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            #[target_feature(enable = "avx2,fma")]
            unsafe fn run(
                x: &[f32],
                groups: usize,
                panels: &Panels,
                limits: &mut [f32],
                sums: &mut [f32],
                back: Option<Back>,
                taker: &mut dyn Take,
            ) {
                // SAFETY: as this function's caller promises.
                unsafe {
                    kernel::collect::<vector::x86::Avx2, 6>(x, groups, panels, limits, sums, back, taker)
                }
            }
            // SAFETY: `level` saw AVX2 and FMA; the panels were packed at the same level.
            unsafe { run(x, rows.div_ceil(6), panels, limits, sums, back, taker) }
        }
        // SAFETY: plain Rust runs anywhere.
        Level::Portable => unsafe {
            kernel::collect::<vector::Portable, 4>(x, rows.div_ceil(4), panels, limits, sums, back, taker)
        },
    }
}
