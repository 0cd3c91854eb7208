//! Certified labels for any rows under given centroids, block by block on the CPU: predict, and k-means||.

use rayon::prelude::*;

use super::cpu::block_rows;
use super::problem::{norm_above, row_square};
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::Frame;
use crate::error::Result;
use crate::tile::codebook::Codebook;
use crate::tile::cpu::{NearestTile, Panels, Scratch};

/// Rows and the frame they are read in.
pub(crate) struct Rows<'a, 'd> {
    /// The argument's name, for errors.
    pub argument: &'static str,
    /// The rows.
    pub points: &'a Points<'d>,
    /// Their frame.
    pub frame: &'a Frame,
    /// Polled once per block.
    pub cancel: &'a Cancel,
}

/// One labelled block.
pub(crate) struct Block<'a> {
    /// Index of its first row.
    pub start: usize,
    /// Its rows as x'.
    pub x: &'a [f32],
    /// Their labels.
    pub labels: &'a [u32],
    /// How many were decided in `f64`.
    pub rechecked: u64,
}

/// Labels all rows; `visit` turns each block into a result, and those come back in order.
pub(crate) fn blocks<R: Send>(
    rows: &Rows,
    book: &Codebook,
    visit: impl Fn(Block) -> R + Sync,
) -> Result<Vec<R>> {
    let panels = Panels::new(book);
    let (total, columns) = (rows.points.rows(), rows.points.columns());
    let block = block_rows(columns);
    (0..total.div_ceil(block))
        .into_par_iter()
        .map_init(
            || (vec![0.0; block * columns], vec![0.0; block], vec![0; block], Scratch::new(block, columns)),
            |(x, norms, labels, scratch), index| {
                rows.cancel.check()?;
                let start = index * block;
                let count = block.min(total - start);
                rows.frame.load(rows.argument, rows.points, start, &mut x[..count * columns])?;
                let mut largest = 0.0_f32;
                for (norm, x) in norms.iter_mut().zip(x[..count * columns].chunks_exact(columns)) {
                    *norm = norm_above(row_square(x));
                    largest = largest.max(*norm);
                }
                let bound = book.bound(panels.chain(), largest);
                let tile = NearestTile { book, panels: &panels, bound, recheck: true };
                let rechecked = tile.label(x, &norms[..count], &mut labels[..count], scratch) as u64;
                Ok(visit(Block { start, x: &x[..count * columns], labels: &labels[..count], rechecked }))
            },
        )
        .collect()
}
