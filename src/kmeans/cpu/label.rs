//! Certified labels for any rows under given centroids, block by block on the CPU: predict, and k-means||.

use rayon::prelude::*;

use super::{block_rows, is_worth};
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::Frame;
use crate::error::Result;
use crate::kmeans::problem::{norm_above, row_square};
use crate::memory::{self, area, scratch};
use crate::tile::collect::cpu::{self as collect, Packed, Sums};
use crate::tile::nearest::cpu::{Labelled, NearestTile, Scratch};
use crate::tile::operands::columns::{Columns, squared_distance};
use crate::tile::product::bytes_pay;
use crate::tile::product::cpu::bytes::BytePanels;
use crate::tile::product::cpu::panels::Panels;
use crate::tile::trials::Trials;

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
    /// How they were decided.
    pub labelled: Labelled,
}

/// What all threads hold, and the centroids as panels.
fn ask_for_blocks(book: &Columns) -> Result<()> {
    let columns = book.depth;
    let at_work = scratch::<f32>(rayon::current_num_threads(), 2 * block_rows(columns) + 32, columns);
    memory::ask(
        &format!("the work on rows with {columns} columns"),
        &[at_work, area::<f64>(book.len(), columns.saturating_add(8))],
    )
}

/// Labels all rows; `visit` turns each block into a result, and those come back in order.
pub(crate) fn blocks<R: Send>(
    rows: &Rows,
    book: &Columns,
    visit: impl Fn(Block) -> R + Sync,
) -> Result<Vec<R>> {
    ask_for_blocks(book)?;
    let chain = Panels::chain(book.depth);
    let screen = book.screen(chain);
    let panels = Panels::new(book, &screen.half_norms);
    // Rows are much alike: where bytes leave too much of one block to do, they are not asked again.
    let (bytes, trials) = (
        bytes_pay(rows.points.rows(), book.len(), book.depth).then(|| BytePanels::of(book)),
        Trials::until_one_fails(),
    );
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
                let bound = book.bound(chain, largest);
                let bytes = bytes.as_ref().filter(|_| trials.is_due());
                let tile = NearestTile { bytes, ..NearestTile::all(book, &panels, &screen, bound) };
                let labelled = tile.label(x, &norms[..count], &mut labels[..count], None, scratch);
                if bytes.is_some() && !is_worth([count * book.len(), labelled.left_by_bytes]) {
                    trials.failed();
                }
                Ok(visit(Block { start, x: &x[..count * columns], labels: &labels[..count], labelled }))
            },
        )
        .collect()
}

/// The `count` nearest centroids of one row, nearest first, ties to the lowest index.
pub(crate) struct Top {
    /// Indices of centroids.
    pub indices: Vec<u32>,
    /// Squared distances between x', in `f64`.
    pub squared: Vec<f64>,
}

/// The `count` nearest of the distinct centroids of each row: lists hold those that may be, `f64` decides.
pub(crate) fn top(rows: &Rows, book: &Columns, count: usize) -> Result<Vec<Top>> {
    ask_for_blocks(book)?;
    let of_row = size_of::<Top>() + 2 * size_of::<(f64, u32)>() * count + 64;
    let found = area::<u8>(rows.points.rows(), of_row);
    memory::ask("the nearest centroids of each row", &[found.saturating_mul(2)])?;
    let chain = Panels::chain(book.depth);
    let screen = book.screen(chain);
    let packed = Packed::Single(Panels::new(book, &screen.half_norms));
    let numbers: Vec<u32> = (0..book.len() as u32).collect();
    let columns = collect::Columns { packed: &packed, errors: &screen.errors, numbers: &numbers };
    let (total, depth) = (rows.points.rows(), rows.points.columns());
    let rows_each = block_rows(depth);
    let blocks: Vec<Result<Vec<Top>>> = (0..total.div_ceil(rows_each))
        .into_par_iter()
        .map_init(Sums::default, |sums, index| {
            rows.cancel.check()?;
            let start = index * rows_each;
            let here = rows_each.min(total - start);
            let mut block = collect::Block::new(here, depth);
            rows.frame.load(rows.argument, rows.points, start, &mut block.x[..here * depth])?;
            for (list, x) in block.lists.iter_mut().zip(block.x.chunks_exact(depth)) {
                let norm = norm_above(row_square(x));
                list.gap = 2.0 * f64::from(book.bound(chain, norm).shared(norm));
            }
            block.collect(&columns, Some(count), sums);
            (0..here).for_each(|row| block.tighten(row, count));
            let decided = block.x.chunks_exact(depth).zip(&block.lists).map(|(x, list)| {
                decide(x, list.entries.iter().map(|entry| entry.column as usize), book, count)
            });
            Ok(decided.collect())
        })
        .collect();
    let mut all = Vec::with_capacity(total);
    for block in blocks {
        all.extend(block?);
    }
    Ok(all)
}

/// The `count` nearest among some columns, decided in `f64`.
pub(crate) fn decide(x: &[f32], columns: impl Iterator<Item = usize>, book: &Columns, count: usize) -> Top {
    let mut found: Vec<(f64, u32)> = columns
        .map(|column| {
            let start = column * x.len();
            (squared_distance(x, &book.exact[start..start + x.len()]), book.given[column])
        })
        .collect();
    found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    found.truncate(count);
    Top { indices: found.iter().map(|f| f.1).collect(), squared: found.iter().map(|f| f.0).collect() }
}
