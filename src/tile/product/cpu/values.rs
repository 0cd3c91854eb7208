//! The fold that keeps every value.

use crate::simd::vector::Vector;
use crate::tile::product::cpu::ROW_GROUP;
use crate::tile::product::cpu::panels::{Panels, SingleProduct};
use crate::tile::product::{Fold, Product};

/// The values of rows with the columns of one tile: `values[row][column]`, the bits that every fold sees.
pub(crate) fn values_of_tile(
    product: impl Product,
    rows: usize,
    tile: usize,
    sums: &mut [f32],
    values: &mut [f32],
) {
    product.fold(rows, tile..tile + 1, sums, KeepAll(values));
}

struct KeepAll<'v>(&'v mut [f32]);

impl Fold for KeepAll<'_> {
    #[inline(always)]
    fn begin<V: Vector>(&mut self, rows: usize, _columns: usize) {
        assert!(self.0.len() >= rows * 2 * V::LANES);
    }

    #[inline(always)]
    unsafe fn keep<V: Vector, const ROWS: usize>(
        &mut self,
        sums: *const f32,
        first: usize,
        _tile: usize,
        half_norms: *const f32,
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            let values = self.0.as_mut_ptr().add(first * 2 * V::LANES);
            for vector in 0..2 {
                let half_norms = V::load(half_norms.add(vector * V::LANES));
                for row in 0..ROWS {
                    let at = (2 * row + vector) * V::LANES;
                    half_norms.sub(V::load(sums.add(at))).store(values.add(at));
                }
            }
        }
    }
}

/// The values of a few rows with all columns, for folds that need more than the best.
pub(crate) struct Values {
    rows: Vec<f32>,
    sums: Vec<f32>,
    tile: Vec<f32>,
    all: Vec<f32>,
}

impl Values {
    /// Room for [`ROW_GROUP`] rows.
    pub fn new(panels: &Panels) -> Self {
        Self {
            rows: vec![0.0; ROW_GROUP * panels.depth],
            sums: vec![0.0; ROW_GROUP * panels.width],
            tile: vec![0.0; ROW_GROUP * panels.width],
            all: vec![0.0; ROW_GROUP * panels.tiles * panels.width],
        }
    }

    /// Values of up to [`ROW_GROUP`] rows: one slice per row, `columns` values each.
    pub fn of(&mut self, x: &[f32], panels: &Panels, columns: usize) -> impl Iterator<Item = &[f32]> {
        let (width, stride, count) = (panels.width, panels.tiles * panels.width, x.len() / panels.depth);
        self.rows[..x.len()].copy_from_slice(x);
        for tile in 0..panels.tiles {
            let product = SingleProduct { x: &self.rows, panels };
            values_of_tile(product, count, tile, &mut self.sums, &mut self.tile);
            for (all, values) in self.all.chunks_exact_mut(stride).zip(self.tile.chunks_exact(width)) {
                all[tile * width..(tile + 1) * width].copy_from_slice(values);
            }
        }
        self.all.chunks_exact(stride).take(count).map(move |row| &row[..columns])
    }
}
