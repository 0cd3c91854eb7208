//! One problem on a device, on which candidates are checked and timed.
//!
//! Its values are small whole numbers, so that every sum is exact in `f32` in any order: whatever a candidate adds
//! first, its results have the bits of the simplest kernel's.

use std::time::{Duration, Instant};

use bytemuck::{bytes_of, cast_slice, pod_collect_to_vec};
use rayon::prelude::*;

use crate::device::{DeviceBuffer, Gpu, Limits, Pacer, Pipeline};
use crate::error::{Error, Result};
use crate::memory::{self, area};
use crate::random::Stream;
use crate::tile::bound::f32::ABSENT;
use crate::tile::choice::choose::Task;
use crate::tile::choice::cut::FEW_ROW_TILES;
use crate::tile::choice::family::Fold;
use crate::tile::choice::shape::{TileShape, WIDEST};
use crate::tile::nearest::gpu::kernels::{NearestParams, Partial, nearest_kernel};
use crate::tile::store::{StoreParams, store_kernel};

/// Rows of the tallest tile: pieces are whole tiles of any candidate.
const TALLEST: usize = 256;
/// Most bytes of results at once.
const RESULT_BYTES: u64 = 64 << 20;
/// How long a GPU works before what it takes counts.
const AWAKE: Duration = Duration::from_millis(150);
/// Column of a row whose best and second-best values are equal: which of them wins is the candidate's own choice.
const TIED: u32 = u32::MAX;

/// A problem on a device.
pub(crate) struct Trial {
    gpu: Gpu,
    /// What is measured.
    pub task: Task,
    x: DeviceBuffer,
    y: DeviceBuffer,
    half_norms: DeviceBuffer,
    results: DeviceBuffer,
    piece_rows: usize,
    expected: Vec<u32>,
}

/// One candidate's work on all rows.
pub(crate) struct Outcome {
    /// Seconds that the device worked.
    pub seconds: f64,
    /// A checksum for each piece of rows.
    checksums: Vec<u32>,
}

/// Largest magnitude of a value: sums and half norms stay below 2^23, in halves.
fn largest(depth: usize) -> i64 {
    let most = ((1_u64 << 22) as f64 / depth as f64).sqrt();
    (most as i64).clamp(1, 127)
}

/// Rows `first ..` of whole numbers, the same on every machine.
pub(crate) fn whole_numbers(stream: u64, rows: usize, depth: usize) -> Result<Vec<f32>> {
    let most = largest(depth);
    let draws = Stream::new(0, stream);
    let mut values = memory::zeroed("rows to measure with", rows, depth)?;
    values.par_chunks_mut(8).enumerate().for_each(|(index, values)| {
        for (value, byte) in values.iter_mut().zip(draws.bits(index as u64).to_le_bytes()) {
            *value = (i64::from(byte) % (2 * most + 1) - most) as f32;
        }
    });
    Ok(values)
}

/// Half the squared length of each row, exactly.
pub(crate) fn half_norms(rows: &[f32], depth: usize) -> Vec<f32> {
    let half = |row: &[f32]| (0.5 * row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>()) as f32;
    rows.par_chunks_exact(depth).map(half).collect()
}

impl Trial {
    /// Device bytes of a problem.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where an operand does not fit one binding, or all do not fit the budget.
    pub fn bytes(task: &Task, limits: &Limits) -> Result<u64> {
        let too_large = |what: &str, needed_bytes, limit_bytes| {
            let what = format!("{what} of {} x {} x {}", task.rows, task.columns, task.depth);
            Err(Error::TooLarge { what, needed_bytes, limit_bytes })
        };
        let row_bytes = (task.depth as u64).saturating_mul(4);
        let mut total = result_bytes(task, limits).saturating_add(4 * (task.columns as u64 + 128));
        for (what, rows) in [("rows", task.rows), ("columns", task.columns)] {
            let bytes = row_bytes.saturating_mul(rows as u64);
            if bytes > limits.max_binding_bytes {
                return too_large(what, bytes, limits.max_binding_bytes);
            }
            total = total.saturating_add(bytes);
        }
        if total > limits.budget_bytes {
            return too_large("the problem", total, limits.budget_bytes);
        }
        Ok(total)
    }

    /// Brings a problem to the device, and what the simplest kernel makes of it.
    pub fn new(gpu: &Gpu, task: Task) -> Result<Self> {
        let Task { rows, columns, depth, .. } = task;
        let columns = whole_numbers(2, columns, depth)?;
        Self::with_operands(gpu, task, &whole_numbers(1, rows, depth)?, &columns)
    }

    /// As [`Trial::new`], for given rows of X and Y.
    pub(crate) fn with_operands(gpu: &Gpu, task: Task, x: &[f32], y: &[f32]) -> Result<Self> {
        let limits = gpu.limits();
        Self::bytes(&task, &limits)?;
        // Half norms, results as they are read, and the words that are made of them.
        let parts = [area::<f32>(task.columns, 3), result_bytes(&task, &limits).saturating_mul(3)];
        memory::ask("the results to measure with", &parts)?;
        let mut halves = half_norms(y, task.depth);
        halves.resize(task.columns.next_multiple_of(WIDEST as usize), ABSENT);
        let mut trial = Self {
            gpu: gpu.clone(),
            task,
            x: gpu.filled("rows", x)?,
            y: gpu.filled("columns", y)?,
            half_norms: gpu.filled("half norms", &halves)?,
            results: gpu.buffer("results", result_bytes(&task, &limits))?,
            piece_rows: most_rows(&task, &limits),
            expected: Vec::new(),
        };
        trial.piece_rows = trial.paced_rows()?;
        trial.expected = trial.run(&TileShape::SMALLEST)?.checksums;
        Ok(trial)
    }

    /// Rows of one dispatch that keeps within the pacer's target, learnt with the simplest kernel.
    fn paced_rows(&self) -> Result<usize> {
        let pacer = Pacer::new();
        let units = self.task.columns as f64 * self.task.depth as f64;
        let pipeline = self.pipeline(&TileShape::SMALLEST)?;
        let most = self.piece_rows.min(self.task.rows) as u64;
        loop {
            let rows = pacer.rows(most, units);
            if rows == most {
                return Ok(self.piece_rows);
            }
            let before = pacer.rows(most, units);
            pacer.record(
                rows as f64 * units,
                self.dispatch(&TileShape::SMALLEST, &pipeline, 0, rows as usize)?,
            );
            if pacer.rows(most, units) <= before {
                return Ok((before as usize).next_multiple_of(TALLEST).min(self.piece_rows));
            }
        }
    }

    fn pipeline(&self, shape: &TileShape) -> Result<std::sync::Arc<Pipeline>> {
        self.gpu.pipeline(&match self.task.fold {
            Fold::Nearest => nearest_kernel(shape, false)?,
            Fold::Store => store_kernel(shape)?,
        })
    }

    /// Whether a candidate's results are those of the simplest kernel.
    pub fn is_right(&self, outcome: &Outcome) -> bool {
        outcome.checksums == self.expected
    }

    /// Works on a few rows, so that the first timed run does not pay for what drivers put off until then.
    pub fn warm(&self, shape: &TileShape) -> Result<()> {
        let rows = self.piece_rows.min(shape.rows as usize).min(self.task.rows);
        self.dispatch(shape, &self.pipeline(shape)?, 0, rows).map(|_| ())
    }

    /// Works on all rows, with checksums of what came out.
    pub fn run(&self, shape: &TileShape) -> Result<Outcome> {
        self.work(shape, |rows| self.checksum(shape, rows).map(Some))
    }

    /// Seconds of a pass over all rows, the last of as many as fill [`AWAKE`]: an idle GPU clocks down (an H100 to a sixth),
    /// and what the host does between two passes is idling.
    pub fn time(&self, shape: &TileShape) -> Result<f64> {
        let begin = Instant::now();
        loop {
            let seconds = self.work(shape, |_| Ok(None))?.seconds;
            if begin.elapsed() >= AWAKE || self.gpu.is_software() {
                return Ok(seconds);
            }
        }
    }

    fn work(&self, shape: &TileShape, mut look: impl FnMut(usize) -> Result<Option<u32>>) -> Result<Outcome> {
        let pipeline = self.pipeline(shape)?;
        let mut outcome = Outcome { seconds: 0.0, checksums: Vec::new() };
        for first in (0..self.task.rows).step_by(self.piece_rows) {
            let rows = self.piece_rows.min(self.task.rows - first);
            // What another candidate left must not pass for this one's work.
            let mut batch = self.gpu.batch("clear");
            batch.clear(&self.results)?;
            batch.submit()?;
            outcome.seconds += self.dispatch(shape, &pipeline, first, rows)?.as_secs_f64();
            outcome.checksums.extend(look(rows)?);
        }
        Ok(outcome)
    }

    fn dispatch(
        &self,
        shape: &TileShape,
        pipeline: &std::sync::Arc<Pipeline>,
        first_row: usize,
        rows: usize,
    ) -> Result<std::time::Duration> {
        let Task { columns, depth, fold, .. } = self.task;
        let (rows, columns, depth) = (rows as u32, columns as u32, depth as u32);
        let row_tiles = rows.div_ceil(shape.rows);
        let mut batch = self.gpu.batch("trial");
        let bindings = [self.x.whole(), self.y.whole(), self.half_norms.whole(), self.results.whole()];
        let first_row = first_row as u32;
        match fold {
            Fold::Nearest => {
                let split_columns = shape.cut().split_columns(rows, columns, u64::MAX);
                let params = NearestParams {
                    rows,
                    columns,
                    depth,
                    first_row,
                    first_column: 0,
                    split_columns,
                    first_split: 0,
                    stride: rows,
                    unscale: 1.0,
                    ratio: 0.0,
                };
                let grid = [row_tiles, columns.div_ceil(split_columns), 1];
                batch.dispatch(pipeline, &bindings, bytes_of(&params), grid)?;
            }
            Fold::Store => {
                let params = StoreParams {
                    rows,
                    columns,
                    depth,
                    first_row,
                    first_column: 0,
                    stride: columns,
                    group_rows: shape.group_rows,
                };
                let grid = [row_tiles, columns.div_ceil(shape.columns), 1];
                batch.dispatch(pipeline, &bindings, bytes_of(&params), grid)?;
            }
        }
        batch.submit_and_wait()
    }

    /// The results of the last dispatch in words that are the same for every right candidate.
    pub(crate) fn words(&self, shape: &TileShape, rows: usize) -> Result<Vec<u32>> {
        let columns = self.task.columns as u32;
        if self.task.fold == Fold::Store {
            let bytes = 4 * rows as u64 * u64::from(columns);
            return Ok(pod_collect_to_vec(&self.gpu.read(&[(&self.results, 0..bytes)])?[0]));
        }
        let step = shape.cut().split_columns(rows as u32, columns, u64::MAX);
        let splits = columns.div_ceil(step) as usize;
        let bytes = (size_of::<Partial>() * rows * splits) as u64;
        let partials: Vec<Partial> = pod_collect_to_vec(&self.gpu.read(&[(&self.results, 0..bytes)])?[0]);
        let merged = |row: usize| {
            let mut merged = partials[row];
            for split in 1..splits {
                let other = partials[split * rows + row];
                merged.second = merged.second.min(other.second).min(merged.best.max(other.best));
                if other.best < merged.best {
                    (merged.best, merged.column) = (other.best, other.column);
                }
            }
            // A second that does not exist is that of a column beyond the last, or nothing at all.
            merged.second = merged.second.min(ABSENT);
            let column = if merged.best < merged.second { merged.column } else { TIED };
            [merged.best.to_bits(), merged.second.to_bits(), column]
        };
        Ok((0..rows).flat_map(merged).collect())
    }

    fn checksum(&self, shape: &TileShape, rows: usize) -> Result<u32> {
        Ok(crc32fast::hash(cast_slice(&self.words(shape, rows)?)))
    }
}

/// Rows whose results lie on the device at once.
fn most_rows(task: &Task, limits: &Limits) -> usize {
    let row_bytes = match task.fold {
        Fold::Nearest => size_of::<Partial>() as u64,
        Fold::Store => 4 * task.columns.max(1) as u64,
    };
    let bytes = RESULT_BYTES.min(limits.window_bytes);
    let grid = limits.max_workgroups_per_dimension as usize * TileShape::SMALLEST.rows as usize;
    let most = ((bytes / row_bytes) as usize).min(grid);
    if most >= task.rows { task.rows } else { (most / TALLEST * TALLEST).max(1) }
}

fn result_bytes(task: &Task, limits: &Limits) -> u64 {
    let rows = most_rows(task, limits) as u64;
    match task.fold {
        // Either one split, or few row tiles with some splits.
        Fold::Nearest => size_of::<Partial>() as u64 * (rows + u64::from(FEW_ROW_TILES) * TALLEST as u64),
        Fold::Store => 4 * rows * task.columns as u64,
    }
}
