//! The kernels of the CPU tile, compiled for each instruction set and chosen at run time.

use super::bytes::{BytePanels, ByteRows};
use super::kernel::{self, Back, FoldState, Take};
use super::kernel_bytes;
use super::panels::Panels;
use crate::simd::vector::{self, ByteVector, Vector};
use crate::simd::{ByteLevel, Level, byte_level, level};

/// What a kernel does with any vectors, `ROWS` rows at a time.
trait Work {
    /// Does it.
    ///
    /// # Safety
    /// The processor has `V`'s instruction set, and the panels were packed for `V::LANES`. Implementations are
    /// `#[inline(always)]`: only so do they get that instruction set.
    unsafe fn run<V: Vector, const ROWS: usize>(self);
}

/// Does the work with the widest vectors of this processor. [`crate::tile::nearest::cpu::ROW_GROUP`] is a multiple of each number of rows.
fn run(work: impl Work) {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            #[target_feature(enable = "avx512f")]
            unsafe fn run(work: impl Work) {
                // SAFETY: as this function's caller promises.
                unsafe { work.run::<vector::x86::Avx512, 12>() }
            }
            // SAFETY: `level` saw AVX-512F; panels are packed at the same level.
            unsafe { run(work) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            #[target_feature(enable = "avx2,fma")]
            unsafe fn run(work: impl Work) {
                // SAFETY: as this function's caller promises.
                unsafe { work.run::<vector::x86::Avx2, 6>() }
            }
            // SAFETY: `level` saw AVX2 and FMA; panels are packed at the same level.
            unsafe { run(work) }
        }
        // SAFETY: every processor of this kind has NEON; panels are packed at the same level.
        #[cfg(target_arch = "aarch64")]
        Level::Neon => unsafe { work.run::<vector::neon::Neon, 6>() },
        // SAFETY: plain Rust runs anywhere; panels are packed at the same level.
        Level::Portable => unsafe { work.run::<vector::Portable, 4>() },
    }
}

/// Folds rows over the first `tiles` tiles.
pub(crate) fn fold(x: &[f32], rows: usize, panels: &Panels, tiles: usize, state: &mut FoldState) {
    run(Fold { x, rows, panels, tiles, state });
}

struct Fold<'a> {
    x: &'a [f32],
    rows: usize,
    panels: &'a Panels,
    tiles: usize,
    state: &'a mut FoldState,
}

impl Work for Fold<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const ROWS: usize>(self) {
        let groups = self.rows.div_ceil(ROWS);
        // SAFETY: as the trait's contract.
        unsafe { kernel::fold::<V, ROWS>(self.x, groups, self.panels, self.tiles, self.state) }
    }
}

/// What a kernel does with bytes on any vectors, `ROWS` rows at a time.
trait ByteWork {
    /// Does it.
    ///
    /// # Safety
    /// As [`Work::run`].
    unsafe fn run<V: ByteVector, const ROWS: usize>(self);
}

/// Does the work with the widest products of bytes of this processor.
fn run_on_bytes(work: impl ByteWork) {
    match byte_level() {
        #[cfg(target_arch = "x86_64")]
        ByteLevel::Avx512 => {
            #[target_feature(enable = "avx512f,avx512vnni")]
            unsafe fn run(work: impl ByteWork) {
                // SAFETY: as this function's caller promises.
                unsafe { work.run::<vector::x86::Avx512, 12>() }
            }
            // SAFETY: `byte_level` saw these features; panels are packed at the same level.
            unsafe { run(work) }
        }
        #[cfg(target_arch = "x86_64")]
        ByteLevel::Avx => {
            #[target_feature(enable = "avx2,fma,avxvnni")]
            unsafe fn run(work: impl ByteWork) {
                // SAFETY: as this function's caller promises.
                unsafe { work.run::<vector::x86::Avx2, 6>() }
            }
            // SAFETY: as above.
            unsafe { run(work) }
        }
        // SAFETY: plain Rust runs anywhere; panels are packed at the same level.
        ByteLevel::Portable => unsafe { work.run::<vector::Portable, 4>() },
    }
}

/// Folds rows of bytes over all tiles.
pub(crate) fn fold_bytes(rows: &ByteRows, count: usize, panels: &BytePanels, state: &mut FoldState) {
    run_on_bytes(FoldBytes { rows, count, panels, state });
}

struct FoldBytes<'a> {
    rows: &'a ByteRows,
    count: usize,
    panels: &'a BytePanels,
    state: &'a mut FoldState,
}

impl ByteWork for FoldBytes<'_> {
    #[inline(always)]
    unsafe fn run<V: ByteVector, const ROWS: usize>(self) {
        let groups = self.count.div_ceil(ROWS);
        // SAFETY: as the trait's contract.
        unsafe { kernel_bytes::fold::<V, ROWS>(self.rows, groups, self.panels, self.state) }
    }
}

/// The values of rows of bytes with the columns of one tile.
pub(crate) fn values_of_bytes(
    rows: &ByteRows,
    count: usize,
    tile: usize,
    panels: &BytePanels,
    values: &mut [f32],
) {
    run_on_bytes(ValuesOfBytes { rows, count, tile, panels, values });
}

struct ValuesOfBytes<'a> {
    rows: &'a ByteRows,
    count: usize,
    tile: usize,
    panels: &'a BytePanels,
    values: &'a mut [f32],
}

impl ByteWork for ValuesOfBytes<'_> {
    #[inline(always)]
    unsafe fn run<V: ByteVector, const ROWS: usize>(self) {
        let groups = self.count.div_ceil(ROWS);
        // SAFETY: as the trait's contract.
        unsafe { kernel_bytes::values::<V, ROWS>(self.rows, groups, self.tile, self.panels, self.values) }
    }
}

/// The collecting fold over rows of bytes and all tiles of the panels.
pub(crate) fn collect_bytes(
    rows: &ByteRows,
    count: usize,
    panels: &BytePanels,
    limits: &mut [f32],
    sums: &mut [f32],
    back: Option<Back>,
    taker: &mut dyn Take,
) {
    run_on_bytes(CollectBytes { rows, count, panels, limits, sums, back, taker });
}

struct CollectBytes<'a> {
    rows: &'a ByteRows,
    count: usize,
    panels: &'a BytePanels,
    limits: &'a mut [f32],
    sums: &'a mut [f32],
    back: Option<Back<'a>>,
    taker: &'a mut dyn Take,
}

impl ByteWork for CollectBytes<'_> {
    #[inline(always)]
    unsafe fn run<V: ByteVector, const ROWS: usize>(self) {
        let Self { rows, count, panels, limits, sums, back, taker } = self;
        let groups = count.div_ceil(ROWS);
        // SAFETY: as the trait's contract.
        unsafe { kernel_bytes::collect::<V, ROWS>(rows, groups, panels, limits, sums, back, taker) }
    }
}

/// Tile values of rows with the columns of one tile.
pub(crate) fn tile_values(x: &[f32], tile: usize, panels: &Panels, values: &mut [f32]) {
    run(Values { x, tile, panels, values });
}

struct Values<'a> {
    x: &'a [f32],
    tile: usize,
    panels: &'a Panels,
    values: &'a mut [f32],
}

impl Work for Values<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const ROWS: usize>(self) {
        let Self { x, tile, panels, values } = self;
        for (x, values) in x.chunks(ROWS * panels.depth).zip(values.chunks_mut(ROWS * panels.width)) {
            // SAFETY: as the trait's contract.
            unsafe { kernel::values::<V, ROWS>(x, tile, panels, values) }
        }
    }
}

/// The collecting fold over rows and all tiles of the panels.
pub(crate) fn collect(
    x: &[f32],
    rows: usize,
    panels: &Panels,
    limits: &mut [f32],
    sums: &mut [f32],
    back: Option<Back>,
    taker: &mut dyn Take,
) {
    run(Collect { x, rows, panels, limits, sums, back, taker });
}

struct Collect<'a> {
    x: &'a [f32],
    rows: usize,
    panels: &'a Panels,
    limits: &'a mut [f32],
    sums: &'a mut [f32],
    back: Option<Back<'a>>,
    taker: &'a mut dyn Take,
}

impl Work for Collect<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const ROWS: usize>(self) {
        let Self { x, rows, panels, limits, sums, back, taker } = self;
        // SAFETY: as the trait's contract.
        unsafe { kernel::collect::<V, ROWS>(x, rows.div_ceil(ROWS), panels, limits, sums, back, taker) }
    }
}
