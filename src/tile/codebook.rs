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
    centroid_norm: f64,
    centroid_residual: f64,
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
        // Rounding of these f64 sums is covered by the slack that `Bound` adds.
        self.centroid_norm = self.centroid_norm.max(squares.max(rounded_squares).sqrt());
        self.centroid_residual = self.centroid_residual.max(residual.sqrt());
    }

    /// Number of distinct centroids.
    pub fn len(&self) -> usize {
        self.given.len()
    }

    /// The error bound of the host's tile, whose products go through `chain` additions, over rows up to `row_norm`
    /// long.
    pub fn bound(&self, chain: usize, row_norm: f32) -> Bound {
        self.bound_with(HOST_UNIT, chain, row_norm)
    }

    /// The error bound of a device's tile: its operations round either way. `chain` is the depth where its compiler
    /// may add in any order.
    #[cfg(feature = "gpu")]
    pub fn device_bound(&self, chain: usize, row_norm: f32) -> Bound {
        self.bound_with(DEVICE_UNIT, chain, row_norm)
    }

    fn bound_with(&self, unit: f64, chain: usize, row_norm: f32) -> Bound {
        Bound::of(&Extent {
            depth: self.depth,
            chain,
            unit,
            row_norm: f64::from(row_norm),
            centroid_norm: self.centroid_norm,
            centroid_residual: self.centroid_residual,
        })
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
