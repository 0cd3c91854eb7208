//! All rows in bytes: a quarter of what has to be read to see that no candidate is near.
//!
//! `screen.rs` shows that a candidate c matters only where x . c is above a share of the row and a share of the candidate.
//! Candidates are packed as the columns of a byte tile are, with their shares in the place of half squares: then v
//! ([`crate::tile::product::cpu::bytes`]) is at most the candidate's share less x . c. Where it is above the row's share,
//! negated, for every candidate, the row needs no further look. With four bytes to a step of the processor (VNNI) this is also
//! the quicker product.
//!
//! A candidate's share is at most |c|^2 / 2, so what that proof says of half squares holds for shares too. The row's share, which
//! is compared but not added to, is made smaller by 2^-19 of itself for its conversion; 2^-100 is taken off both for what
//! underflows.

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use super::screen::{Lanes, Screen};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::kmeans::problem::{Problem, SUM_BLOCK, norm_above, row_square};
use crate::simd::vector::ByteVector;
use crate::simd::{Level, OnFewBytes, byte_level, run_on_few_bytes};
use crate::tile::operands::bytes::{self, BIAS, encode};
use crate::tile::product::cpu::bytes::{BytePanels, ByteRows, Column, multiply};

/// Fewer centroids than this do not pay for the copy.
const LEAST_CENTROIDS: usize = 32;
/// Most bytes of the copy.
const MOST_BYTES: usize = 2 << 30;
/// Lanes of a tile: most steps have about as many candidates.
const FEW_LANES: usize = 8;
/// 2^-100.
const UNDERFLOW: f64 = 1.0 / (1_u128 << 100) as f64;

/// Rows in bytes.
pub(super) struct ByteScreen {
    rows: ByteRows,
    depth: usize,
    level: Level,
}

/// Rows that are compared with all candidates of a step.
struct Near<'a> {
    rows: &'a ByteRows,
    candidates: &'a BytePanels,
    /// What v is at most where a candidate may be near.
    limits: &'a [f32],
    /// Whether some candidate may be.
    is_near: &'a mut [bool],
}

impl ByteScreen {
    /// A copy of all rows, where it pays for `count` centroids and there is room for it.
    pub fn new(problem: &Problem, count: usize, cancel: &Cancel) -> Result<Option<Self>> {
        if count < LEAST_CENTROIDS || byte_level() == Level::Portable {
            return Ok(None);
        }
        Self::of(problem, cancel)
    }

    fn of(problem: &Problem, cancel: &Cancel) -> Result<Option<Self>> {
        let (count, depth) = (problem.rows, problem.columns);
        let stride = bytes::stride(depth);
        let mut rows =
            ByteRows { scales: vec![0.0; count], remainders: vec![0.0; count], ..ByteRows::default() };
        let bytes =
            count.checked_mul(stride).filter(|&bytes| bytes <= MOST_BYTES && depth <= bytes::MOST_FEATURES);
        let Some(bytes) = bytes.filter(|&bytes| rows.codes.try_reserve_exact(bytes).is_ok()) else {
            return Ok(None);
        };
        rows.codes.resize(bytes, BIAS);
        let sides = rows.scales.par_chunks_mut(SUM_BLOCK).zip(rows.remainders.par_chunks_mut(SUM_BLOCK));
        rows.codes.par_chunks_mut(SUM_BLOCK * stride).zip(sides).enumerate().try_for_each_init(
            || vec![0.0; depth],
            |x, (block, (codes, (scales, remainders)))| {
                cancel.check()?;
                let sides = scales.iter_mut().zip(remainders);
                for (index, (codes, (scale, remainder))) in
                    codes.chunks_exact_mut(stride).zip(sides).enumerate()
                {
                    let row = block * SUM_BLOCK + index;
                    problem.load_one(row, x)?;
                    let encoded = encode(x, problem.norms[row], codes);
                    (*scale, *remainder) = (encoded.scale, encoded.remainder);
                }
                Ok(())
            },
        )?;
        Ok(Some(Self { rows, depth, level: byte_level() }))
    }

    /// Candidates of a step, packed by feature, with their screen. Few as they are, a tile is one vector of them.
    pub fn candidates(&self, packed: &[Lanes], used: usize, screen: &Screen) -> BytePanels {
        let depth = self.depth;
        let mut rows = vec![0.0; used * depth];
        for (lane, row) in rows.chunks_exact_mut(depth).enumerate() {
            row.iter_mut().zip(packed).for_each(|(value, lanes)| *value = lanes[lane]);
        }
        BytePanels::pack(depth, FEW_LANES, used, |lane| {
            let c = &rows[lane * depth..(lane + 1) * depth];
            let half_norm = screen.candidate_share(lane) - UNDERFLOW;
            Column { c, length: norm_above(row_square(c)), residual: 0.0, half_norm }
        })
    }

    /// Drops the rows of `index` that no candidate is near to: what a row is worth comes from `share`, and `gathered` is
    /// overwritten.
    pub fn keep_near(
        &self,
        problem: &Problem,
        candidates: &BytePanels,
        index: &mut Vec<usize>,
        gathered: &mut ByteRows,
        share: impl Fn(usize) -> f64,
    ) {
        gathered.gather(&self.rows, index.iter().copied(), self.depth);
        candidates.set_rho(gathered, index.iter().map(|&row| problem.norms[row]));
        let limit = |&row: &usize| {
            let share = share(row);
            -((share - share.abs() * 2.0_f64.powi(-19) - UNDERFLOW) as f32)
        };
        let limits: Vec<f32> = index.iter().map(limit).collect();
        let mut is_near = vec![false; index.len()];
        run_on_few_bytes(
            self.level,
            Near { rows: gathered, candidates, limits: &limits, is_near: &mut is_near },
        );
        let mut is_near = is_near.into_iter();
        index.retain(|_| is_near.next() == Some(true));
    }
}

impl OnFewBytes for Near<'_> {
    #[inline(always)]
    unsafe fn run<V: ByteVector, const ROWS: usize>(self) {
        let Self { rows, candidates, limits, is_near } = self;
        candidates.check(rows, limits.len().next_multiple_of(ROWS), V::LANES);
        let mut sums = [[0.0_f32; FEW_LANES]; ROWS];
        let sums = sums.as_mut_ptr().cast::<f32>();
        for (group, (limits, is_near)) in limits.chunks(ROWS).zip(is_near.chunks_mut(ROWS)).enumerate() {
            for tile in 0..candidates.tiles {
                // SAFETY: `check` saw rows and tiles, and a vector has as many lanes as `sums`.
                unsafe {
                    multiply::<V, ROWS, 1>(rows, group * ROWS, candidates, tile, sums);
                    let shares = V::load(candidates.half_norms.as_ptr().add(tile * V::LANES));
                    for (row, (&limit, is_near)) in limits.iter().zip(&mut *is_near).enumerate() {
                        let values = shares.sub(V::load(sums.add(row * V::LANES)));
                        *is_near |= V::at_most(values, V::splat(limit)) != 0;
                    }
                }
            }
        }
    }
}
