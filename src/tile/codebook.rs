//! The columns of a nearest tile: centroids prepared once per pass.

use std::collections::HashMap;

#[cfg(feature = "gpu")]
use super::bound::DEVICE_UNIT;
use super::bound::{Bound, Extent, HOST_UNIT};

/// Centroids in `f64`, their `f32` roundings, half squared norms, and what the error bound needs.
///
/// Identical centroids are merged: the tile sees only the one with the lowest index, which is the one ties go to.
pub(crate) struct Codebook {
    /// Number of features.
    pub depth: usize,
    /// Index of each kept centroid among the given ones, ascending.
    pub given: Vec<u32>,
    /// Kept centroids, row-major.
    pub exact: Vec<f64>,
    /// `f32` roundings of `exact`.
    pub rounded: Vec<f32>,
    /// `f32(|c|^2 / 2)` of each kept centroid.
    pub half_norms: Vec<f32>,
    /// `|c|^2` of each kept centroid.
    squares: Vec<f64>,
    /// Upper bounds on |c| and |c~|, and on |c - c~|.
    sizes: Vec<(f64, f64)>,
    centroid_norm: f64,
    centroid_residual: f64,
}

/// What the nearest fold screens with.
pub(crate) struct Screen {
    /// Half norms less each column's own error.
    pub half_norms: Vec<f32>,
    /// Each column's own error.
    pub errors: Vec<f32>,
}

impl Codebook {
    /// Prepares row-major centroids of `depth` features.
    pub fn new(centroids: &[f64], depth: usize) -> Self {
        let count = centroids.len() / depth;
        let mut seen: HashMap<Vec<u64>, ()> = HashMap::with_capacity(count);
        let mut book = Self {
            depth,
            given: Vec::with_capacity(count),
            exact: Vec::with_capacity(centroids.len()),
            rounded: Vec::with_capacity(centroids.len()),
            half_norms: Vec::with_capacity(count),
            squares: Vec::with_capacity(count),
            sizes: Vec::with_capacity(count),
            centroid_norm: 0.0,
            centroid_residual: 0.0,
        };
        for (index, centroid) in centroids.chunks_exact(depth).enumerate() {
            // Adding 0.0 turns -0.0 into 0.0, which is the same point.
            let bits = centroid.iter().map(|c| (c + 0.0).to_bits()).collect();
            if seen.insert(bits, ()).is_none() {
                book.keep(index as u32, centroid);
            }
        }
        book
    }

    fn keep(&mut self, index: u32, centroid: &[f64]) {
        let (mut squares, mut rounded_squares, mut residual) = (0.0_f64, 0.0_f64, 0.0_f64);
        for &c in centroid {
            let rounded = c as f32;
            let difference = c - f64::from(rounded);
            squares += c * c;
            rounded_squares += f64::from(rounded) * f64::from(rounded);
            residual += difference * difference;
            self.rounded.push(rounded);
        }
        self.given.push(index);
        self.exact.extend_from_slice(centroid);
        self.half_norms.push((0.5 * squares) as f32);
        self.squares.push(squares);
        // Rounding of these f64 sums is covered by the slack that `Bound` adds.
        let (norm, residual) = (squares.max(rounded_squares).sqrt(), residual.sqrt());
        self.sizes.push((norm, residual));
        self.centroid_norm = self.centroid_norm.max(norm);
        self.centroid_residual = self.centroid_residual.max(residual);
    }

    /// Number of distinct centroids.
    pub fn len(&self) -> usize {
        self.given.len()
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
        let error = |&(centroid_norm, centroid_residual): &(f64, f64)| {
            Extent { centroid_norm, centroid_residual, ..*extent }.column_error()
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
            centroid_norm: self.centroid_norm,
            centroid_residual: self.centroid_residual,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_centroids_are_merged_to_the_lowest_index() {
        let book = Codebook::new(&[1.0, 2.0, 0.0, 3.0, 1.0, 2.0, -0.0, 3.0, 5.0, 5.0], 2);
        assert_eq!(book.given, [0, 1, 4]);
        assert_eq!(book.rounded, [1.0, 2.0, 0.0, 3.0, 5.0, 5.0]);
        assert_eq!(book.half_norms, [2.5, 4.5, 25.0]);
    }
}
