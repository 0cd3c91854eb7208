//! The rows of a block that a step looks at: chosen, read, screened, measured.

use std::ops::Range;

use super::plus_plus::{LANES, Lanes};
use super::screen::Screen;
use crate::error::Result;
use crate::kmeans::problem::Problem;
use crate::simd::widest;
use crate::tile::product::cpu::bytes::ByteRows;

/// Rows of one block.
#[derive(Default)]
pub(super) struct Rows {
    /// Which rows, in their order.
    pub index: Vec<usize>,
    /// Room for the rows; it only grows.
    x: Vec<f32>,
    /// Distances of each to the candidates.
    pub distances: Vec<Lanes>,
    keep: Vec<bool>,
    /// Some of them in bytes.
    pub in_bytes: ByteRows,
}

impl Rows {
    /// Chooses the wanted rows of a block.
    pub fn choose(&mut self, block: Range<usize>, wanted: impl Fn(usize) -> bool) {
        self.index.clear();
        self.index.extend(block.filter(|&row| wanted(row)));
    }

    /// Reads the chosen rows of a block, or the whole block where most are chosen: the others change nothing, and rows
    /// that lie together are read faster.
    pub fn read(&mut self, problem: &Problem, block: Range<usize>) -> Result<()> {
        let columns = problem.columns;
        let whole = 4 * self.index.len() >= 3 * block.len();
        if whole {
            self.index.clear();
            self.index.extend(block.clone());
        }
        let used = self.index.len() * columns;
        if self.x.len() < used {
            self.x.resize(used, 0.0);
        }
        if whole {
            return problem.load(block.start, &mut self.x[..used]);
        }
        for (&row, x) in self.index.iter().zip(self.x.chunks_exact_mut(columns)) {
            problem.load(row, x)?;
        }
        Ok(())
    }

    /// Keeps the rows that some candidate may improve, from what was read.
    pub fn screen(&mut self, problem: &Problem, closest: &[f32], screen: &Screen, packed: &[Lanes]) {
        let columns = problem.columns;
        let Self { index, x, distances, keep, .. } = self;
        let rows = index.iter().map(|&row| (problem.norms[row], closest[row]));
        screen.may_gain(&x[..index.len() * columns], packed, rows, distances, keep);
        let mut kept = 0;
        for (from, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
            if from != kept {
                index[kept] = index[from];
                x.copy_within(from * columns..(from + 1) * columns, kept * columns);
            }
            kept += 1;
        }
        index.truncate(kept);
    }

    /// Measures the distances of what is left.
    pub fn measure(&mut self, columns: usize, packed: &[Lanes]) {
        self.distances.resize(self.index.len(), [0.0; LANES]);
        distances(&self.x[..self.index.len() * columns], packed, &mut self.distances);
    }
}

widest! {
    fn distances(x: &[f32], packed: &[Lanes], out: &mut [Lanes]) = distances_body;
}

/// `out[row][lane] = sum over d of (x[row, d] - packed[d][lane])^2`, in the order of d.
#[inline(always)]
fn distances_body(x: &[f32], packed: &[Lanes], out: &mut [Lanes]) {
    const GROUP: usize = 4;
    let depth = packed.len();
    let mut groups = out.chunks_exact_mut(GROUP);
    let mut rows = x.chunks_exact(GROUP * depth);
    for (out, rows) in groups.by_ref().zip(rows.by_ref()) {
        let mut sums = [[0.0_f32; LANES]; GROUP];
        for (d, lanes) in packed.iter().enumerate() {
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = rows[row * depth + d];
                for (sum, &lane) in sums.iter_mut().zip(lanes) {
                    let difference = x - lane;
                    *sum += difference * difference;
                }
            }
        }
        out.copy_from_slice(&sums);
    }
    for (out, row) in groups.into_remainder().iter_mut().zip(rows.remainder().chunks_exact(depth)) {
        let mut sums = [0.0_f32; LANES];
        for (&x, lanes) in row.iter().zip(packed) {
            for (sum, &lane) in sums.iter_mut().zip(lanes) {
                let difference = x - lane;
                *sum += difference * difference;
            }
        }
        *out = sums;
    }
}
