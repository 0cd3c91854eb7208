//! The last tier of the cascade: listed rows are decided in `f64` on the host, among the columns inside their band.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::{bytes_of, pod_collect_to_vec};
use rayon::prelude::*;

use super::kernels::{
    CandidatesParams, Listed, MOST_CANDIDATES, RelabelParams, candidates_kernel, relabel_kernel,
};
use super::sizes::{CascadeSizes, LISTED_ROWS};
use super::task::{List, LoadRow, Task, Undecided};
use crate::cancel::Cancel;
use crate::device::{Batch, DeviceBuffer, Gpu, Pipeline, Stage};
use crate::error::Result;
use crate::tile::choice::shape::TileShape;
use crate::tile::operands::columns::{Columns, nearest_of};

/// What decides listed rows.
pub(crate) struct Decider {
    gpu: Gpu,
    shape: TileShape,
    candidates: Arc<Pipeline>,
    relabel: Arc<Pipeline>,
    found: DeviceBuffer,
    cancel: Cancel,
    recheck: bool,
}

impl Decider {
    /// A decider whose tile has this shape.
    pub fn new(
        gpu: &Gpu,
        sizes: &CascadeSizes,
        shape: TileShape,
        cancel: Cancel,
        recheck: bool,
    ) -> Result<Self> {
        Ok(Self {
            gpu: gpu.clone(),
            shape,
            candidates: gpu.pipeline(&candidates_kernel(&shape)?)?,
            relabel: gpu.pipeline(&relabel_kernel()?)?,
            found: gpu.buffer("found", sizes.found_bytes())?,
            cancel,
            recheck,
        })
    }

    /// Whether anything is decided here; if not, the tile's own choice stays.
    pub fn rechecks(&self) -> bool {
        self.recheck
    }

    /// For each listed row the number of its candidates, then the candidates.
    pub fn found(&self) -> &DeviceBuffer {
        &self.found
    }

    /// Decides the first `count` rows of `list`; returns how many of them changed their nearest column.
    pub fn decide_all(&self, task: &Task, list: List, count: u32) -> Result<u64> {
        let mut changed = 0;
        for first in (0..count).step_by(LISTED_ROWS as usize) {
            self.cancel.check()?;
            changed += self.decide(task, list, first, LISTED_ROWS.min(count - first))?;
        }
        Ok(changed)
    }

    fn decide(&self, task: &Task, list: List, first: u32, count: u32) -> Result<u64> {
        let [rows, found] = self.ranges(list, first, count);
        if !self.recheck {
            let listed: Vec<Listed> = pod_collect_to_vec(&self.gpu.read(&[rows])?[0]);
            return Ok(listed.iter().filter(|listed| listed.nearest != listed.before).count() as u64);
        }
        let mut batch = self.gpu.batch(Stage::Nearest);
        self.record(&mut batch, task, list, first, count)?;
        let read = batch.submit_and_read(&[rows, found])?;
        let left = Undecided { listed: pod_collect_to_vec(&read[0]), found: pod_collect_to_vec(&read[1]) };
        let pairs = self.settle(task, &left)?;
        Ok(left.listed.iter().zip(&pairs).filter(|(listed, pair)| listed.before != pair[1]).count() as u64)
    }

    /// Records what finds the candidates of rows `first .. first + count` of a list, of those that it has.
    pub fn record<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        task: &Task<'a>,
        list: List<'a>,
        first: u32,
        count: u32,
    ) -> Result<()> {
        batch.clear(&self.found)?;
        for window in task.columns.single.iter(self.shape.columns) {
            let split_columns = self.shape.cut().split_columns(count, window.columns, u64::MAX);
            let params = CandidatesParams {
                rows: count,
                columns: window.columns,
                depth: task.columns.host.depth as u32,
                first_listed: first,
                first_column: window.first,
                split_columns,
                counter: list.counter,
            };
            let (found, counters) = (self.found.whole(), list.counters.whole());
            batch.dispatch(
                &self.candidates,
                &[task.window.x.whole(), window.y, window.terms, list.rows.whole(), found, counters],
                bytes_of(&params),
                [count.div_ceil(self.shape.rows), window.columns.div_ceil(split_columns), 1],
            )?;
        }
        Ok(())
    }

    /// Where these rows of a list stand, and their candidates.
    pub fn ranges<'a>(
        &'a self,
        list: List<'a>,
        first: u32,
        count: u32,
    ) -> [(&'a DeviceBuffer, Range<u64>); 2] {
        let bytes = size_of::<Listed>() as u64;
        let rows = u64::from(first) * bytes..u64::from(first + count) * bytes;
        [(list.rows, rows), (&self.found, 0..u64::from(count * (MOST_CANDIDATES + 1)) * 4)]
    }

    /// Decides rows and writes their nearest columns; returns those behind their row numbers.
    pub fn settle(&self, task: &Task, left: &Undecided) -> Result<Vec<[u32; 2]>> {
        let pairs = decisions(task.columns.host, &left.listed, &left.found, task.load)?;
        self.write(task.nearest, &pairs)?;
        Ok(pairs)
    }

    fn write(&self, nearest: &DeviceBuffer, pairs: &[[u32; 2]]) -> Result<()> {
        let buffer = self.gpu.filled("pairs", pairs)?;
        let mut batch = self.gpu.batch(Stage::Nearest);
        let params = RelabelParams { pairs: pairs.len() as u32 };
        let workgroups = [params.pairs.div_ceil(256), 1, 1];
        batch.dispatch(&self.relabel, &[buffer.whole(), nearest.whole()], bytes_of(&params), workgroups)?;
        batch.submit()
    }
}

/// The nearest column of each listed row, decided in `f64` among its candidates.
fn decisions(columns: &Columns, listed: &[Listed], found: &[u32], load: LoadRow) -> Result<Vec<[u32; 2]>> {
    listed
        .par_iter()
        .zip(found.par_chunks_exact(MOST_CANDIDATES as usize + 1))
        .map_init(
            || vec![0.0; columns.depth],
            |x, (listed, found)| {
                load(listed.row as usize, x)?;
                let count = found[0] as usize;
                // The tile's own choice is always a candidate: a device that reports none, or one that does not
                // exist, is not believed.
                let known = |found: &[u32]| found.iter().all(|&column| (column as usize) < columns.len());
                let (column, _) =
                    if (1..=MOST_CANDIDATES as usize).contains(&count) && known(&found[1..=count]) {
                        nearest_of(x, found[1..=count].iter().copied(), &columns.exact)
                    } else {
                        nearest_of(x, 0..columns.len() as u32, &columns.exact)
                    };
                Ok([listed.row, columns.given[column as usize]])
            },
        )
        .collect()
}
