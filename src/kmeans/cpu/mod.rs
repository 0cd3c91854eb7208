//! One pass of Lloyd's algorithm on the CPU: certified labels and exact sums, block by block.
//!
//! Blocks of rows are read, centred, multiplied and folded while they are in cache; sums are updated only for rows
//! whose label changed, which is exact because they are integers. Where it pays a pass is pruned: see `prune`.

pub(crate) mod label;
pub(crate) mod prune;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rayon::prelude::*;

use self::prune::Pruning;
use self::prune::ball::Balls;
use super::lloyd::{Pass, Passes};
use super::params::{Params, Prune};
use super::problem::{Problem, SUM_BLOCK, Sums};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::memory::{self, area, copied, filled, scratch};
use crate::tile::bound::f32::Bound;
use crate::tile::nearest::cpu::{NearestTile, Reach, Scratch};
use crate::tile::operands::columns::{Columns, Screen};
use crate::tile::product::bytes_pay;
use crate::tile::product::cpu::ROW_GROUP;
use crate::tile::product::cpu::bytes::BytePanels;
use crate::tile::product::cpu::panels::Panels;
use crate::tile::trials::Trials;

/// Bytes of a block of rows: half of a small second-level cache.
const BLOCK_BYTES: usize = 192 * 1024;
/// Passes for which bytes rest where they left too much to do.
const REST_OF_BYTES: u32 = 8;
/// A screen that leaves more than this share of the work to do is not worth its own.
const MOST_LEFT: f64 = 0.7;

/// Rows per block for rows of `columns` features.
pub(crate) fn block_rows(columns: usize) -> usize {
    (BLOCK_BYTES / (4 * columns)).clamp(ROW_GROUP, 16 * ROW_GROUP) / ROW_GROUP * ROW_GROUP
}

/// Whether a screen was worth its own work: it left `left` of `all` to do.
pub(crate) fn is_worth([all, left]: [usize; 2]) -> bool {
    left as f64 <= MOST_LEFT * all as f64
}

/// Labels and sums on the CPU.
pub(crate) struct Cpu<'p, 'd> {
    problem: &'p Problem<'d>,
    labels: Vec<u32>,
    sums: Sums,
    workers: Vec<Mutex<Worker>>,
    panels: Panels,
    cancel: Cancel,
    recheck: bool,
    /// When dense passes look at rows in bytes first: `None` where that is never worth it.
    by_bytes: Option<Trials>,
    /// `None` where every pass is dense.
    pruning: Option<Pruning>,
}

/// What one thread owns.
struct Worker {
    x: Vec<f32>,
    before: Vec<u32>,
    scratch: Scratch,
    sums: Sums,
    /// Whether anything was added to the sums.
    has_sums: bool,
    /// What bytes left to do in this pass, in products.
    left_by_bytes: usize,
    balls: Option<Balls>,
}

/// A codebook with what the tile needs of it.
struct Prepared<'a> {
    book: &'a Columns<'a>,
    screen: Screen,
    bound: Bound,
}

impl<'p, 'd> Cpu<'p, 'd> {
    /// To be created and used inside the thread pool it runs on.
    pub fn new(problem: &'p Problem<'d>, params: &Params) -> Result<Self> {
        ask_for_passes(problem, params)?;
        let (rows, columns, n_clusters) = (block_rows(problem.columns), problem.columns, params.n_clusters);
        let worker = |_| {
            Mutex::new(Worker {
                x: vec![0.0; rows * columns],
                before: vec![0; rows],
                scratch: Scratch::new(rows, columns),
                sums: Sums::new(n_clusters, columns),
                has_sums: false,
                left_by_bytes: 0,
                balls: None,
            })
        };
        Ok(Self {
            problem,
            labels: filled("labels", problem.rows, u32::MAX)?,
            sums: Sums::new(n_clusters, columns),
            workers: (0..rayon::current_num_threads()).map(worker).collect(),
            panels: Panels::empty(columns),
            cancel: params.cancel.clone(),
            recheck: params.recheck,
            by_bytes: bytes_pay(problem.rows, n_clusters, columns)
                .then(|| Trials::new(REST_OF_BYTES, REST_OF_BYTES)),
            pruning: if params.prune == Prune::Never { None } else { Pruning::new(problem, params) },
        })
    }

    /// All rows with all centroids.
    fn dense(&mut self, prepared: &Prepared) -> Result<Pass> {
        let begin = Instant::now();
        let (problem, rows) = (self.problem, block_rows(self.problem.columns));
        let book = prepared.book;
        let is_by_bytes = bytes_pay(problem.rows, book.len(), book.depth)
            && self.by_bytes.as_ref().is_some_and(Trials::is_due);
        let bytes = is_by_bytes.then(|| BytePanels::of(book));
        let tile = NearestTile {
            recheck: self.recheck,
            bytes: bytes.as_ref(),
            ..NearestTile::all(prepared.book, &self.panels, &prepared.screen, prepared.bound)
        };
        let (workers, cancel) = (&self.workers, &self.cancel);
        let block = |block: usize, labels: &mut [u32], reach: Option<Reach>| {
            cancel.check()?;
            own(workers).pass_block(problem, &tile, block * rows, labels, reach)
        };
        let labels = self.labels.par_chunks_mut(rows).enumerate();
        let bounds = match &mut self.pruning {
            Some(pruning) => pruning.begin_dense(prepared.book),
            None => None,
        };
        let pass = if let Some(bounds) = bounds {
            let bounds = bounds.upper.par_chunks_mut(rows).zip(bounds.lower.par_chunks_mut(rows));
            labels
                .zip(bounds)
                .map(|((at, labels), (upper, lower))| block(at, labels, Some(Reach { upper, lower })))
                .try_reduce(Pass::default, |a, b| Ok(a.plus(b)))?
        } else {
            labels
                .map(|(at, labels)| block(at, labels, None))
                .try_reduce(Pass::default, |a, b| Ok(a.plus(b)))?
        };
        let all = if bytes.is_some() { problem.rows * prepared.book.len() } else { 0 };
        let left =
            workers_of(&mut self.workers).map(|worker| std::mem::take(&mut worker.left_by_bytes)).sum();
        if let Some(trials) = &self.by_bytes {
            trials.learn(is_worth([all, left]));
        }
        if let Some(pruning) = &mut self.pruning {
            pruning.schedule.was_dense(begin.elapsed().as_secs_f64());
        }
        Ok(pass)
    }
}

impl Passes for Cpu<'_, '_> {
    fn reset(&mut self) -> Result<()> {
        self.labels.fill(u32::MAX);
        self.sums.weights.fill(0);
        self.sums.totals.fill(0);
        if let Some(pruning) = &mut self.pruning {
            pruning.restart();
        }
        Ok(())
    }

    fn assign(&mut self, book: &Columns) -> Result<Pass> {
        let chain = Panels::chain(self.problem.columns);
        let screen = book.screen(chain);
        self.panels.pack(book, &screen.half_norms);
        let bound = book.bound(chain, self.problem.largest_norm);
        let prepared = Prepared { book, screen, bound };
        let pass = match self.pruning.as_ref().is_some_and(|pruning| pruning.is_due(book)) {
            false => self.dense(&prepared)?,
            true => match self.pruned(&prepared)? {
                Ok(pass) => pass,
                Err(begun) => begun.plus(self.dense(&prepared)?),
            },
        };
        for worker in workers_of(&mut self.workers) {
            if std::mem::take(&mut worker.has_sums) {
                self.sums.take(&mut worker.sums);
            }
        }
        Ok(pass)
    }

    fn sums(&self) -> &Sums {
        &self.sums
    }

    fn labels(&mut self) -> Result<Vec<u32>> {
        copied("labels", &self.labels)
    }
}

/// What all threads hold: blocks of rows, sums of their own, and values of a group of rows. And bounds of the rows where
/// there is pruning, labels, and the centroids as panels.
fn ask_for_passes(problem: &Problem, params: &Params) -> Result<()> {
    let (threads, columns, n_clusters) = (rayon::current_num_threads(), problem.columns, params.n_clusters);
    let blocks = if params.prune == Prune::Never { 2 } else { 5 };
    let rows = blocks * block_rows(columns) + SUM_BLOCK.min(problem.rows);
    memory::ask(
        &format!("{n_clusters} clusters of {} rows with {columns} columns", problem.rows),
        &[
            scratch::<f32>(threads, rows, columns),
            scratch::<i64>(threads, n_clusters, columns.saturating_add(16)),
            area::<u32>(problem.rows, 8),
            area::<f64>(n_clusters, columns),
        ],
    )
}

/// The worker of the calling thread. A poisoned one means that another block panicked; its buffers are still valid to
/// overwrite.
fn own(workers: &[Mutex<Worker>]) -> MutexGuard<'_, Worker> {
    let worker = &workers[rayon::current_thread_index().unwrap_or(0) % workers.len()];
    worker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All workers, where no thread has one.
fn workers_of(workers: &mut [Mutex<Worker>]) -> impl Iterator<Item = &mut Worker> {
    workers.iter_mut().map(|worker| worker.get_mut().unwrap_or_else(PoisonError::into_inner))
}

impl Worker {
    fn pass_block(
        &mut self,
        problem: &Problem,
        tile: &NearestTile,
        start: usize,
        labels: &mut [u32],
        reach: Option<Reach>,
    ) -> Result<Pass> {
        let (count, columns) = (labels.len(), problem.columns);
        problem.load(start, &mut self.x[..count * columns])?;
        self.before[..count].copy_from_slice(labels);
        let norms = &problem.norms[start..start + count];
        let labelled = tile.label(&self.x, norms, labels, reach, &mut self.scratch);
        let mut changed = 0;
        for (index, (&label, &before)) in labels.iter().zip(&self.before).enumerate() {
            if label == before {
                continue;
            }
            changed += 1;
            let x = &self.x[index * columns..(index + 1) * columns];
            let from = (before != u32::MAX).then_some(before);
            problem.move_row(x, start + index, from, label, &mut self.sums);
        }
        self.has_sums |= changed > 0;
        let products = (count * tile.len()) as u64;
        self.left_by_bytes += labelled.left_by_bytes;
        let [screened, rechecked] = [labelled.screened, labelled.rechecked].map(|count| count as u64);
        Ok(Pass { changed, screened, rechecked, products })
    }
}
