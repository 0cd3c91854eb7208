//! One pass of Lloyd's algorithm on the CPU: certified labels and exact sums, block by block.
//!
//! Blocks of rows are read, centred, multiplied and folded while they are in cache; sums are updated only for rows
//! whose label changed, which is exact because they are integers.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::grid::Sums;
use super::lloyd::{Pass, Passes};
use super::problem::Problem;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::tile::codebook::Codebook;
use crate::tile::cpu::{NearestTile, Panels, ROW_GROUP, Scratch};

/// Bytes of a block of rows: half of a small second-level cache.
const BLOCK_BYTES: usize = 192 * 1024;

/// Rows per block for rows of `columns` features.
pub(crate) fn block_rows(columns: usize) -> usize {
    (BLOCK_BYTES / (4 * columns)).clamp(ROW_GROUP, 16 * ROW_GROUP) / ROW_GROUP * ROW_GROUP
}

/// Labels and sums on the CPU.
pub(crate) struct Cpu<'p, 'd> {
    problem: &'p Problem<'d>,
    labels: Vec<u32>,
    sums: Sums,
    workers: Vec<Mutex<Worker>>,
    cancel: Cancel,
    recheck: bool,
}

/// What one thread owns.
struct Worker {
    x: Vec<f32>,
    before: Vec<u32>,
    scratch: Scratch,
    sums: Sums,
}

impl<'p, 'd> Cpu<'p, 'd> {
    /// To be created and used inside the thread pool it runs on.
    pub fn new(problem: &'p Problem<'d>, n_clusters: usize, cancel: Cancel, recheck: bool) -> Self {
        let (rows, columns) = (block_rows(problem.columns), problem.columns);
        let worker = |_| {
            Mutex::new(Worker {
                x: vec![0.0; rows * columns],
                before: vec![0; rows],
                scratch: Scratch::new(rows, columns),
                sums: Sums::new(n_clusters, columns),
            })
        };
        Self {
            problem,
            labels: vec![u32::MAX; problem.rows],
            sums: Sums::new(n_clusters, columns),
            workers: (0..rayon::current_num_threads()).map(worker).collect(),
            cancel,
            recheck,
        }
    }
}

impl Passes for Cpu<'_, '_> {
    fn reset(&mut self) -> Result<()> {
        self.labels.fill(u32::MAX);
        self.sums.weights.fill(0);
        self.sums.totals.fill(0);
        Ok(())
    }

    fn assign(&mut self, book: &Codebook) -> Result<Pass> {
        let problem = self.problem;
        let chain = Panels::chain(problem.columns);
        let screen = book.screen(chain);
        let panels = Panels::new(book, &screen.half_norms);
        let bound = book.bound(chain, problem.largest_norm);
        let tile = NearestTile { book, panels: &panels, screen: &screen, bound, recheck: self.recheck };
        let rows = block_rows(problem.columns);
        let (workers, cancel) = (&self.workers, &self.cancel);
        let pass = self
            .labels
            .par_chunks_mut(rows)
            .enumerate()
            .map(|(block, labels)| {
                cancel.check()?;
                let worker = &workers[rayon::current_thread_index().unwrap_or(0) % workers.len()];
                // A poisoned worker means another block panicked; its buffers are still valid to overwrite.
                let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
                worker.pass_block(problem, &tile, block * rows, labels)
            })
            .try_reduce(Pass::default, |a, b| Ok(a.plus(b)))?;
        for worker in &mut self.workers {
            self.sums.take(&mut worker.get_mut().unwrap_or_else(PoisonError::into_inner).sums);
        }
        Ok(pass)
    }

    fn sums(&self) -> &Sums {
        &self.sums
    }

    fn labels(&mut self) -> Result<Vec<u32>> {
        Ok(self.labels.clone())
    }
}

impl Worker {
    fn pass_block(
        &mut self,
        problem: &Problem,
        tile: &NearestTile,
        start: usize,
        labels: &mut [u32],
    ) -> Result<Pass> {
        let (count, columns) = (labels.len(), problem.columns);
        problem.load(start, &mut self.x[..count * columns])?;
        self.before[..count].copy_from_slice(labels);
        let rechecked = tile.label(&self.x, &problem.norms[start..start + count], labels, &mut self.scratch);
        let mut changed = 0;
        for (index, (&label, &before)) in labels.iter().zip(&self.before).enumerate() {
            if label == before {
                continue;
            }
            changed += 1;
            let x = &self.x[index * columns..(index + 1) * columns];
            let weight = problem.weight(start + index);
            problem.grid.add(x, weight, 1, label, &mut self.sums);
            if before != u32::MAX {
                problem.grid.add(x, weight, -1, before, &mut self.sums);
            }
        }
        Ok(Pass { changed, rechecked: rechecked as u64 })
    }
}
