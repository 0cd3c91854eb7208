//! A burst: passes in a row on the device, with all that the host does between two of them otherwise. Centroids are made of the sums
//! in the operations of `f64` ([`crate::tile::nearest::gpu::on_device`] decides rows in them too), columns of the centroids, and one
//! workgroup says whether the burst goes on. So several passes are one submission, of which the next is under way while the
//! host reads what the last came to: one [`Record`] a pass.
//!
//! Where the device cannot go on alone it stops, in the middle of a pass: an empty cluster wants a row from the host, and rows
//! without number, as in data full of ties, are the host's to decide. What was sent behind it then finds sizes of 0.

pub(crate) mod kernels;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use bytemuck::{bytes_of, pod_collect_to_vec};

use self::kernels::{
    CentroidParams, ControlParams, EMPTY, GateParams, MANY, RING, RUNS, Record, Standing, centroid_kernel,
    control_kernel, gate_kernel,
};
use super::GpuPasses;
use super::plan::{Shape, UpdatePlan};
use super::sums::Labelled;
use crate::device::{DeviceBuffer, Gpu, Program, Sent};
use crate::error::{Error, Result};
use crate::kmeans::lloyd::{Burst, Pass, Passes, Start, Step};
use crate::tile::nearest::gpu::Task;
use crate::tile::nearest::gpu::on_device::OnDevice;
use crate::tile::operands::columns::Columns;

/// Passes of one submission at most.
const MOST_PASSES: u32 = 8;
/// What one submission should take at most: a cancelled fit waits for two of them.
const TARGET: Duration = Duration::from_millis(50);
/// A mean is no longer than the longest row, but for the roundings of the grid.
const LONGER: f32 = 1.01;

/// What the burst keeps on the device.
struct Buffers {
    centroids: DeviceBuffer,
    before: DeviceBuffer,
    parts: DeviceBuffer,
    standing: DeviceBuffer,
    history: DeviceBuffer,
    sizes: DeviceBuffer,
}

impl Buffers {
    fn new(gpu: &Gpu, start: &Start, shape: &Shape) -> Result<Self> {
        let standing = Standing { status: RUNS, turn: 0, is_first: u32::from(start.is_first) };
        Ok(Self {
            centroids: gpu.filled("centroids", start.centroids)?,
            before: gpu.filled("centroids before", start.centroids)?,
            parts: gpu.buffer("parts of clusters", 16 * shape.n_clusters as u64)?,
            standing: gpu.filled("standing", &[standing])?,
            history: gpu.buffer("history", size_of::<Record>() as u64 * u64::from(RING))?,
            sizes: gpu.size_table()?,
        })
    }

    /// Where the records of passes `first .. first + passes` lie.
    fn records(&self, first: u32, passes: u32) -> [(&DeviceBuffer, Range<u64>); 2] {
        let bytes = size_of::<Record>() as u64;
        let begin = u64::from(first % RING);
        let end = (begin + u64::from(passes)).min(u64::from(RING));
        let behind = u64::from(passes) - (end - begin);
        [(&self.history, begin * bytes..end * bytes), (&self.history, 0..behind * bytes)]
    }
}

impl GpuPasses<'_, '_> {
    /// Up to `start.most` iterations, where the device can take them.
    pub(super) fn perform_burst(&mut self, start: &Start) -> Result<Option<Burst>> {
        let is_plain = self.pruner.is_none() && self.update.is_none();
        if start.most == 0 || !is_plain || !self.bursts.is_due() {
            return Ok(None);
        }
        let Some(resident) = self.resident.clone() else { return Ok(None) };
        let [window] = &resident.windows[..] else { return Ok(None) };
        let problem = self.problem;
        let book = Columns::new(start.centroids, problem.columns);
        if book.len() < self.shape.n_clusters {
            // Equal centroids are merged by the host.
            return Ok(None);
        }
        let longest = problem.largest_norm.max(book.norm_above()) * LONGER;
        let columns = self.labeller.columns_up_to(Some(longest), &book)?;
        let load = |row: usize, x: &mut [f32]| problem.load(window.start + row, x);
        let labels = &self.labels[0];
        let task = Task {
            columns: &columns,
            largest_norm: problem.largest_norm,
            window,
            nearest: labels,
            reach: None,
            load: &load,
        };
        let is_one = columns.single.len() == 1
            && columns.halves.as_ref().is_none_or(|halves| halves.windows.len() == 1);
        let Some(at_once) = self.labeller.at_once_on_device(&task).filter(|_| is_one) else {
            return Ok(None);
        };

        let gpu = self.gpu.clone();
        let plan = UpdatePlan::new(&self.shape, self.changed);
        let mut cleared = vec![self.labeller.counters()];
        if plan.afresh {
            cleared.extend(self.summer.sums());
            cleared.push(&self.summed[0]);
        }
        let buffers = Buffers::new(&gpu, start, &self.shape)?;
        let (on_device, maker) = (OnDevice::new(&gpu)?, self.labeller.maker(&columns)?);
        let kernels = [gate_kernel()?, centroid_kernel(self.shape.weighted)?, control_kernel()?];
        let [gate, centroid, control] = kernels.each_ref().map(|kernel| gpu.pipeline(kernel));
        let (gate, centroid, control) = (gate?, centroid?, control?);
        let Buffers { centroids, before, parts, standing, history, sizes } = &buffers;

        let mut batch = gpu.batch("burst");
        let mut counter = 0;
        on_device.record(&self.labeller, &mut batch, &task, (at_once, centroids), |batch, list| {
            counter = list.counter;
            let rows = window.rows as u32;
            let params =
                GateParams { listed: at_once.listed.unwrap_or(rows), room: at_once.brought, counter };
            let arguments = [list.counters.whole(), standing.whole(), history.whole(), sizes.whole()];
            batch.dispatch(&gate, &arguments, bytes_of(&params), [1, 1, 1])
        })?;
        let rows = Labelled { window, weights: resident.weights.first(), labels, summed: &self.summed[0] };
        self.summer.record(&mut batch, &plan.standing(), &rows, self.labeller.scratch())?;
        let [sums, totals] = self.summer.sums();
        let exponents = self.summer.exponents();
        let arguments = [
            sums.whole(),
            totals.whole(),
            exponents.whole(),
            centroids.whole(),
            before.whole(),
            parts.whole(),
        ];
        let params = CentroidParams { depth: problem.columns as u32, features: self.shape.summed() as u32 };
        let n_clusters = self.shape.n_clusters as u32;
        batch.dispatch(&centroid, &arguments, bytes_of(&params), [n_clusters, 1, 1])?;
        maker.record(&mut batch, centroids, &columns)?;
        let arguments = [
            parts.whole(),
            self.labeller.counters().whole(),
            standing.whole(),
            history.whole(),
            sizes.whole(),
        ];
        let params = ControlParams {
            n_clusters,
            counter,
            total: words(problem.total_square),
            tolerance: words(start.tolerance),
        };
        batch.dispatch(&control, &arguments, bytes_of(&params), [1, 1, 1])?;
        let program = batch.into_program(sizes)?;

        let passes = Passing { gpu: &gpu, program: &program, buffers: &buffers, cleared: &cleared };
        let outcome = passes.send_all(start)?;
        let Some(&last) = outcome.records.last() else { return Ok(None) };
        if outcome.status == MANY {
            on_device.restore(&self.labeller, &task, last.listed.min(window.rows as u32))?;
        }
        drop(program);

        let rows = window.rows as u64;
        let is_sound = |record: &Record| u64::from(record.listed) <= rows && record.left <= record.listed;
        if !outcome.records.iter().all(is_sound) {
            let reason = format!(
                "{} of {rows} rows left by the first tier, {} of those by the second",
                last.listed, last.left
            );
            return Err(Error::WrongResult { device: gpu.name(), operation: "labelling", reason });
        }
        let halves = columns.halves.is_some();
        self.end_burst(&buffers, outcome, halves).map(Some)
    }

    /// Brings what a burst left to the host, and takes over from it where it stopped within a pass.
    fn end_burst(&mut self, buffers: &Buffers, outcome: Outcome, screens: bool) -> Result<Burst> {
        let whole = |buffer: &DeviceBuffer| 0..buffer.size_bytes();
        let [sums, totals] = self.summer.ranges();
        let of = |buffer| (buffer, whole(buffer));
        let ranges = [sums, totals, of(&buffers.centroids), of(&buffers.before)];
        let (summer, into) = (&self.summer, &mut self.sums);
        let [mut centroids, before] = self.gpu.batch("read").submit_and_take(&ranges, |bytes| {
            summer.take(bytes, into);
            [2, 3].map(|at| pod_collect_to_vec::<u8, f64>(bytes[at]))
        })?;
        let rows = self.problem.rows;
        let steps: Vec<Step> = outcome.records.iter().map(|record| self.step_of(record, screens)).collect();
        if let Some(last) = outcome.records.last() {
            self.changed = Some(u64::from(last.changed));
            if screens {
                self.labeller.record_left(u64::from(last.listed), rows as u64);
            }
        }
        let mut steps = steps;
        let halted = match outcome.status {
            EMPTY => {
                centroids.clone_from(&before);
                steps.pop().map(|step| step.pass)
            }
            MANY => {
                self.bursts.failed();
                let begun = steps.pop().map_or(0, |step| step.pass.changed);
                let pass = self.assign(&Columns::new(&centroids, self.problem.columns))?;
                Some(Pass { changed: begun + pass.changed, ..pass })
            }
            _ => None,
        };
        if let Some(pass) = halted {
            self.changed = Some(pass.changed);
        }
        #[cfg(test)]
        {
            self.burst_taken.whole += steps.len();
            self.burst_taken.empty += usize::from(outcome.status == EMPTY);
            self.burst_taken.many += usize::from(outcome.status == MANY);
        }
        Ok(Burst { device: self.gpu.name(), steps, before, centroids, halted })
    }

    fn step_of(&self, record: &Record, screens: bool) -> Step {
        let rows = self.problem.rows as u64;
        let pass = Pass {
            changed: u64::from(record.changed),
            screened: if screens { rows - u64::from(record.listed) } else { 0 },
            rechecked: u64::from(record.left),
            products: rows * self.shape.n_clusters as u64,
        };
        Step { pass, shift: number(record.shift), inertia: number(record.inertia) }
    }
}

/// Passes under way.
struct Passing<'p, 'a> {
    gpu: &'p Gpu,
    program: &'p Program<'a>,
    buffers: &'p Buffers,
    cleared: &'p [&'p DeviceBuffer],
}

/// How a burst went.
struct Outcome {
    /// Passes in their order; the last one ended the burst or came to no end where the status says so.
    records: Vec<Record>,
    status: u32,
}

impl Passing<'_, '_> {
    /// Sends passes until the burst ends, twice as many each time as far as their time allows, always some behind those
    /// that are awaited.
    fn send_all(&self, start: &Start) -> Result<Outcome> {
        let most = u32::try_from(start.most).unwrap_or(u32::MAX);
        let mut under_way: VecDeque<(Sent, u32)> = VecDeque::new();
        let (mut sent, mut next, mut bound) = (0, 1, 2);
        let mut outcome = Outcome { records: Vec::new(), status: RUNS };
        loop {
            while under_way.len() < 2 && sent < most {
                let passes = next.min(most - sent);
                let cleared = if sent == 0 { self.cleared } else { &[] };
                let flight = self.program.send(passes, cleared, &self.buffers.records(sent, passes))?;
                under_way.push_back((flight, passes));
                sent += passes;
                next = (2 * next).min(bound);
            }
            let Some((flight, passes)) = under_way.pop_front() else { return Ok(outcome) };
            let take = |bytes: &[&[u8]]| -> Vec<Record> {
                bytes.iter().flat_map(|part| pod_collect_to_vec::<u8, Record>(part)).collect()
            };
            let (records, elapsed) = flight.finish(take)?;
            if outcome.status != RUNS {
                // Nothing came of what was sent behind the end.
                continue;
            }
            for record in records {
                let (pass, status) = (record.mark / 4, record.mark % 4);
                if pass as usize != outcome.records.len() {
                    let reason = format!(
                        "the record of pass {} says that it is that of {pass}",
                        outcome.records.len()
                    );
                    return Err(Error::WrongResult {
                        device: self.gpu.name(),
                        operation: "a burst of passes",
                        reason,
                    });
                }
                outcome.records.push(record);
                outcome.status = status;
                if status != RUNS {
                    sent = most;
                    break;
                }
            }
            start.cancel.check()?;
            let fitting = TARGET.as_secs_f64() * f64::from(passes) / elapsed.as_secs_f64().max(1e-9);
            bound = (fitting as u32).clamp(1, MOST_PASSES);
            next = next.min(bound);
        }
    }
}

/// A number as two words, the low one first.
fn words(number: f64) -> [u32; 2] {
    let bits = number.to_bits();
    [bits as u32, (bits >> 32) as u32]
}

/// The number of two words.
fn number([low, high]: [u32; 2]) -> f64 {
    f64::from_bits(u64::from(low) | (u64::from(high) << 32))
}
