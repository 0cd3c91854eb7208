//! All rows in bytes: a quarter of what has to be read to see that no candidate is near.
//!
//! A row x is s q + e with whole numbers q of at most 127 in magnitude, a candidate c is t p + f likewise. So
//!
//! ```text
//! x . c = s t (q . p) + s q . f + e . c <= s t (q . p) + (|x| + |e|) |f| + |e| |c|
//! ```
//!
//! where q . p is exact in `i32`. `screen.rs` shows that a candidate matters only where x . c is above a share of the row
//! and a share of the candidate: where the right side is not above them either, the row needs no further look. With four
//! bytes to a step of the processor (VNNI) this is also the quicker product.
//!
//! The right side is evaluated in `f32`. Its terms stay below 4 |x| |c| + 2 |e| |c| + the shares, and it takes fewer than ten
//! operations, so its error is below 2^-18 |x| |c| + 2^-20 of the shares: |e| is taken larger by 2^-16 |x|, and each
//! share smaller by 2^-19 of itself. 2^-100 is taken off for what underflows.

#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use rayon::prelude::*;

use super::screen::{LANES, Lanes, Screen};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::kmeans::problem::{Problem, SUM_BLOCK, norm_above, row_square};
use crate::simd::{Level, byte_level};
use crate::tile::operands::bytes::{self, BIAS, Encoded, STEP, encode};

/// Fewer centroids than this do not pay for the copy.
const LEAST_CENTROIDS: usize = 32;
/// Most bytes of the copy.
const MOST_BYTES: usize = 2 << 30;
/// Candidates in one vector.
const WIDTH: usize = 8;
/// Rows whose sums are kept in registers together.
const GROUP: usize = 8;

/// Rows in bytes.
pub(super) struct Coarse {
    /// Bytes of a row: whole steps.
    stride: usize,
    /// q + [`BIAS`], row by row.
    codes: Vec<u8>,
    /// s and |e| of each row.
    parts: Vec<Encoded>,
}

/// The candidates of one step in bytes.
pub(super) struct Targets {
    /// `[vector][step][lane][feature of the step]`.
    panels: Vec<[[i8; STEP]; WIDTH]>,
    /// What the bias of a row adds to its products.
    biases: [i32; LANES],
    scales: Lanes,
    /// Upper bounds on |f|.
    rests: Lanes,
    /// Upper bounds on |c|.
    norms: Lanes,
    /// Lower bounds on the candidates' shares; lanes without a candidate let no row pass.
    shares: Lanes,
    /// How many lanes are used.
    used: usize,
}

/// A lower bound on a share, as `f32`.
fn share_below(share: f64) -> f32 {
    (share - share.abs() * 2.0_f64.powi(-19) - 2.0_f64.powi(-100)) as f32
}

impl Coarse {
    /// A copy of all rows, where it pays for `count` centroids and there is room for it.
    pub fn new(problem: &Problem, count: usize, cancel: &Cancel) -> Result<Option<Self>> {
        if count < LEAST_CENTROIDS || byte_level() == Level::Portable {
            return Ok(None);
        }
        Self::of(problem, cancel)
    }

    fn of(problem: &Problem, cancel: &Cancel) -> Result<Option<Self>> {
        let (rows, columns) = (problem.rows, problem.columns);
        let stride = bytes::stride(columns);
        let mut coarse = Self { stride, codes: Vec::new(), parts: vec![Encoded::default(); rows] };
        let bytes =
            rows.checked_mul(stride).filter(|&bytes| bytes <= MOST_BYTES && columns <= bytes::MOST_FEATURES);
        let Some(bytes) = bytes.filter(|&bytes| coarse.codes.try_reserve_exact(bytes).is_ok()) else {
            return Ok(None);
        };
        coarse.codes.resize(bytes, BIAS);
        let blocks =
            coarse.codes.par_chunks_mut(SUM_BLOCK * stride).zip(coarse.parts.par_chunks_mut(SUM_BLOCK));
        blocks.enumerate().try_for_each_init(
            || vec![0.0; columns],
            |x, (block, (codes, parts))| {
                cancel.check()?;
                for (index, (codes, parts)) in codes.chunks_exact_mut(stride).zip(parts).enumerate() {
                    let row = block * SUM_BLOCK + index;
                    problem.load_one(row, x)?;
                    *parts = encode(x, problem.norms[row], codes);
                }
                Ok(())
            },
        )?;
        Ok(Some(coarse))
    }

    /// Candidates of a step, packed by feature, with their screen.
    pub fn targets(&self, packed: &[Lanes], used: usize, screen: &Screen) -> Targets {
        let steps = self.stride / STEP;
        let mut targets = Targets {
            panels: vec![[[0; STEP]; WIDTH]; steps * used.div_ceil(WIDTH)],
            biases: [0; LANES],
            scales: [0.0; LANES],
            rests: [0.0; LANES],
            norms: [0.0; LANES],
            shares: [f32::MAX; LANES],
            used,
        };
        let (mut candidate, mut codes) = (vec![0.0; packed.len()], vec![BIAS; self.stride]);
        for lane in 0..used {
            candidate.iter_mut().zip(packed).for_each(|(value, lanes)| *value = lanes[lane]);
            let norm = norm_above(row_square(&candidate));
            let Encoded { scale, remainder: rest } = encode(&candidate, norm, &mut codes);
            let panels = &mut targets.panels[lane / WIDTH * steps..][..steps];
            targets.biases[lane] = bytes::column(&codes, |step, bytes| panels[step][lane % WIDTH] = bytes);
            targets.scales[lane] = scale;
            targets.rests[lane] = rest;
            targets.norms[lane] = norm;
            targets.shares[lane] = share_below(screen.candidate_share(lane));
        }
        targets
    }

    /// Drops the rows of `index` that no candidate is near to: what a row is worth comes from `share`.
    pub fn keep_near(
        &self,
        problem: &Problem,
        targets: &Targets,
        index: &mut Vec<usize>,
        share: impl Fn(usize) -> f64,
    ) {
        let mut kept = 0;
        for from in (0..index.len()).step_by(GROUP) {
            let count = GROUP.min(index.len() - from);
            // A group that is not full repeats its last row.
            let rows: [usize; GROUP] = std::array::from_fn(|at| index[from + at.min(count - 1)]);
            let mut group = Group { rows, shares: [0.0; GROUP], lengths: [0.0; GROUP] };
            for (at, &row) in rows.iter().enumerate() {
                group.shares[at] = share_below(share(row));
                group.lengths[at] = problem.norms[row] + self.parts[row].remainder;
            }
            let near = self.near(targets, &group);
            for (at, &row) in rows[..count].iter().enumerate() {
                index[kept] = row;
                kept += usize::from(near >> at & 1 == 1);
            }
        }
        index.truncate(kept);
    }

    /// A bit for each row of a group that some candidate may be near to.
    fn near(&self, targets: &Targets, group: &Group) -> u32 {
        match byte_level() {
            // SAFETY: the processor was seen to have these instructions.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { x86::avx512(self, targets, group) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { x86::avx(self, targets, group) },
            _ => self.near_plainly(targets, group),
        }
    }

    /// What the kernels compute, without their instructions.
    fn near_plainly(&self, targets: &Targets, group: &Group) -> u32 {
        let is_near = |at: usize, lane: usize| {
            let row = group.rows[at];
            let codes = self.codes[row * self.stride..][..self.stride].chunks_exact(STEP);
            let panels = targets.panels[lane / WIDTH * (self.stride / STEP)..].iter();
            let product = |(codes, panel): (&[u8], &[[i8; STEP]; WIDTH])| {
                let pairs = codes.iter().zip(&panel[lane % WIDTH]);
                pairs.map(|(&code, &p)| i32::from(code) * i32::from(p)).sum::<i32>()
            };
            let product = (codes.zip(panels).map(product).sum::<i32>() - targets.biases[lane]) as f32;
            let Encoded { scale, remainder: rest } = self.parts[row];
            let rests = rest * targets.norms[lane] + group.lengths[at] * targets.rests[lane];
            let above = product * targets.scales[lane] * scale + rests - targets.shares[lane];
            !(above <= group.shares[at])
        };
        let near = |at: &usize| (0..targets.used).any(|lane| is_near(*at, lane));
        (0..GROUP).filter(near).fold(0, |mask, at| mask | 1 << at)
    }
}

/// Rows that are compared with all candidates together.
struct Group {
    rows: [usize; GROUP],
    /// Lower bounds on the rows' shares.
    shares: [f32; GROUP],
    /// Upper bounds on |x| + |e|.
    lengths: [f32; GROUP],
}
