//! Columns on the host, prepared once per pass.

use std::borrow::Cow;
use std::collections::HashMap;

use rayon::prelude::*;

use crate::simd::widest;
use crate::tile::bound::f32::{Bound, Extent, HOST_UNIT, with_slack};
#[cfg(feature = "gpu")]
use crate::tile::bound::f32::{DEVICE_UNIT, rounding_of};

/// Columns in `f64`, their `f32` roundings, squared norms, and what the error bound needs.
///
/// Identical columns are merged: the tile sees only the one with the lowest index, which is the one ties go to.
pub(crate) struct Columns<'c> {
    /// Number of features.
    pub depth: usize,
    /// Index of each kept column among the given ones, ascending.
    pub given: Vec<u32>,
    /// Kept columns, row-major.
    pub exact: Cow<'c, [f64]>,
    /// `f32` roundings of `exact`.
    pub rounded: Vec<f32>,
    /// `|c|^2` of each kept column.
    squares: Vec<f64>,
    /// Upper bounds on |c| and |c~|, and on |c - c~|.
    sizes: Vec<(f64, f64)>,
    column_norm: f64,
    column_residual: f64,
}

/// What the nearest fold screens with.
pub(crate) struct Screen {
    /// Half norms less each column's own error.
    pub half_norms: Vec<f32>,
    /// Each column's own error.
    pub errors: Vec<f32>,
}

impl<'c> Columns<'c> {
    /// Prepares row-major columns of `depth` features.
    pub fn new(columns: &'c [f64], depth: usize) -> Self {
        let mut rounded = vec![0.0_f32; columns.len()];
        // A thread is only worth its while for some thousand elements.
        let each = columns.par_chunks_exact(depth).zip(rounded.par_chunks_exact_mut(depth));
        let each = each.with_min_len((1_usize << 13).div_ceil(depth));
        let prepared: Vec<Prepared> = each.map(|(column, rounded)| Prepared::of(column, rounded)).collect();
        // Hash of a column's bits to the kept ones that have it.
        let mut seen: HashMap<u64, Vec<u32>> = HashMap::with_capacity(prepared.len());
        let at = |index: u32| &columns[index as usize * depth..(index as usize + 1) * depth];
        let mut given = Vec::with_capacity(prepared.len());
        for (index, prepared) in (0..).zip(&prepared) {
            let kept = seen.entry(prepared.hash).or_default();
            if !kept.iter().any(|&other| at(other) == at(index)) {
                kept.push(index);
                given.push(index);
            }
        }
        let mut exact = Cow::Borrowed(columns);
        if given.len() < prepared.len() {
            exact = given.iter().flat_map(|&index| at(index)).copied().collect();
            rounded = exact.iter().map(|&c| c as f32).collect();
        }
        let kept = || given.iter().map(|&index| &prepared[index as usize]);
        let largest = |size: fn(&Prepared) -> f64| kept().fold(0.0_f64, |most, one| most.max(size(one)));
        Self {
            depth,
            rounded,
            squares: kept().map(|one| one.square).collect(),
            sizes: kept().map(|one| (one.norm, one.residual)).collect(),
            column_norm: largest(|one| one.norm),
            column_residual: largest(|one| one.residual),
            exact,
            given,
        }
    }

    /// Number of distinct columns.
    pub fn len(&self) -> usize {
        self.given.len()
    }

    /// `|c|^2` of each kept column.
    pub fn squares(&self) -> &[f64] {
        &self.squares
    }

    /// At least the length of a kept column, and of its `f32` rounding.
    pub fn length_above(&self, column: usize) -> f32 {
        with_slack(self.sizes[column].0)
    }

    /// At least the distance between a kept column and its `f32` rounding.
    pub fn residual_above(&self, column: usize) -> f32 {
        with_slack(self.sizes[column].1)
    }

    /// At least the length of every kept column.
    pub fn norm_above(&self) -> f32 {
        with_slack(self.column_norm)
    }

    /// The error bound of the host's tile, whose products go through `chain` additions, over rows up to `row_norm`
    /// long.
    pub fn bound(&self, chain: usize, row_norm: f32) -> Bound {
        Bound::of(&self.extent(HOST_UNIT, chain, row_norm))
    }

    /// The error bound of a device's tile: its operations round either way. `chain` is the depth where its compiler
    /// may add in any order.
    #[cfg(feature = "gpu")]
    pub fn device_bound(&self, chain: usize, row_norm: f32) -> Bound {
        Bound::of(&self.extent(DEVICE_UNIT, chain, row_norm))
    }

    /// The same for any columns up to `column_norm` long, on a device.
    #[cfg(feature = "gpu")]
    pub fn device_bound_up_to(&self, column_norm: f32, chain: usize, row_norm: f32) -> Bound {
        let of_these = self.extent(DEVICE_UNIT, chain, row_norm);
        let column_norm = of_these.column_norm.max(f64::from(column_norm));
        let column_residual = of_these.column_residual.max(rounding_of(column_norm, self.depth));
        Bound::of(&Extent { column_norm, column_residual, ..of_these })
    }

    /// What the host's nearest fold screens with.
    pub fn screen(&self, chain: usize) -> Screen {
        self.screen_with(&self.extent(HOST_UNIT, chain, 0.0))
    }

    /// What a device's nearest fold screens with.
    #[cfg(feature = "gpu")]
    pub fn device_screen(&self, chain: usize) -> Screen {
        self.screen_with(&self.extent(DEVICE_UNIT, chain, 0.0))
    }

    fn screen_with(&self, extent: &Extent) -> Screen {
        let error = |&(column_norm, column_residual): &(f64, f64)| {
            Extent { column_norm, column_residual, ..*extent }.column_error()
        };
        let errors: Vec<f32> = self.sizes.iter().map(error).collect();
        let shifted = |(squares, &error): (&f64, &f32)| (0.5 * squares - f64::from(error)) as f32;
        Screen { half_norms: self.squares.iter().zip(&errors).map(shifted).collect(), errors }
    }

    fn extent(&self, unit: f64, chain: usize, row_norm: f32) -> Extent {
        Extent {
            depth: self.depth,
            chain,
            unit,
            row_norm: f64::from(row_norm),
            column_norm: self.column_norm,
            column_residual: self.column_residual,
        }
    }
}

/// What one column alone decides.
struct Prepared {
    hash: u64,
    /// `|c|^2`.
    square: f64,
    /// Upper bound on |c| and |c~|. Rounding of the sums here is covered by the slack that [`Bound`] adds.
    norm: f64,
    /// |c - c~|.
    residual: f64,
}

impl Prepared {
    /// Of a column, whose `f32` rounding it writes.
    fn of(column: &[f64], rounded: &mut [f32]) -> Self {
        let ([square, rounded_square, residual], hash) = round(column, rounded);
        let (norm, residual) = (square.max(rounded_square).sqrt(), residual.sqrt());
        Self { hash, square, norm, residual }
    }
}

widest! {
    /// Rounds to `f32`. The squared lengths of the column, of its rounding and of their difference, each summed in eight
    /// interleaved parts and those in order; and a hash of the rounding, which equal points share.
    fn round(column: &[f64], rounded: &mut [f32]) -> ([f64; 3], u64) = round_body;
}

#[inline(always)]
fn round_body(column: &[f64], rounded: &mut [f32]) -> ([f64; 3], u64) {
    let mut sums = [[0.0_f64; 8]; 3];
    let mut hashes = [0x9e37_79b9_u32; 8];
    for (column, rounded) in column.chunks(8).zip(rounded.chunks_mut(8)) {
        for (at, (&c, to)) in column.iter().zip(rounded).enumerate() {
            *to = c as f32;
            let near = f64::from(*to);
            let difference = c - near;
            sums[0][at] += c * c;
            sums[1][at] += near * near;
            sums[2][at] += difference * difference;
            // Adding 0.0 turns -0.0 into 0.0.
            let mixed = (hashes[at] ^ (*to + 0.0).to_bits()).wrapping_mul(0x85eb_ca6b);
            hashes[at] = mixed ^ (mixed >> 15);
        }
    }
    let add =
        |sum: u64, &part: &u32| (sum ^ u64::from(part)).wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(23);
    (sums.map(|parts| parts.iter().sum()), hashes.iter().fold(0, add))
}

/// `sum over d of (x[d] - c[d])^2`, added in the order of d.
pub(crate) fn squared_distance(x: &[f32], column: &[f64]) -> f64 {
    let mut sum = 0.0;
    for (&x, &c) in x.iter().zip(column) {
        let difference = f64::from(x) - c;
        sum += difference * difference;
    }
    sum
}

/// The candidate nearest to `x`, ties to the lowest index. `candidates` are indices of `columns`.
pub(crate) fn nearest_of(x: &[f32], candidates: impl Iterator<Item = u32>, columns: &[f64]) -> (u32, f64) {
    let mut best = (u32::MAX, f64::INFINITY);
    for index in candidates {
        let start = index as usize * x.len();
        let distance = squared_distance(x, &columns[start..start + x.len()]);
        if distance < best.1 || (distance == best.1 && index < best.0) {
            best = (index, distance);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_columns_are_merged_to_the_lowest_index() {
        let book = Columns::new(&[1.0, 2.0, 0.0, 3.0, 1.0, 2.0, -0.0, 3.0, 5.0, 5.0], 2);
        assert_eq!(book.given, [0, 1, 4]);
        assert_eq!(book.rounded, [1.0, 2.0, 0.0, 3.0, 5.0, 5.0]);
        assert_eq!(book.squares, [5.0, 9.0, 50.0]);
    }
}
