//! A burst: passes in a row on the device, with all that the host does between two of them otherwise. Centroids are made of the sums
//! in the operations of `f64` ([`crate::tile::nearest::gpu::on_device`] decides rows in them too), columns of the centroids, and one
//! workgroup says whether the burst goes on. So several passes are one submission, of which the next is under way while the
//! host reads what the last came to: one [`Record`] a pass.
//!
//! Where the device cannot go on alone it stops, in the middle of a pass: an empty cluster wants a row from the host, and rows
//! without number, as in data full of ties, are the host's to decide. What was sent behind it then finds sizes of 0.

pub(crate) mod kernels;
mod record;
mod send;
#[cfg(test)]
pub(crate) mod tests;

use bytemuck::pod_collect_to_vec;

use self::kernels::{EMPTY, MANY, Record};
use self::record::{Buffers, Kernels, Recorder};
use self::send::{Outcome, Passing, Schedule};
use super::plan::UpdatePlan;
use super::{GpuPasses, Resident};
use crate::device::DeviceBuffer;
use crate::error::{Error, Result};
use crate::kmeans::lloyd::{Burst, Pass, Passes, Start, Step};
use crate::tile::nearest::gpu::Task;
use crate::tile::nearest::gpu::single_submission::AtOnce;
use crate::tile::operands::columns::Columns;
use crate::tile::operands::gpu::columns::DeviceColumns;
use crate::tile::soft;
use crate::tile::trials::Trials;

/// Windows of rows at most.
const MOST_WINDOWS: usize = 8;
/// A mean is no longer than the longest row, but for the roundings of the grid.
const LONGER: f32 = 1.01;

impl GpuPasses<'_, '_> {
    /// Up to `start.most` iterations, where the device can take them.
    pub(super) fn perform_burst(&mut self, start: &Start) -> Result<Option<Burst>> {
        let is_plain = self.pruner.is_none() && self.update.is_none();
        if start.most == 0 || !is_plain || !self.gpu.sizes_dispatches() {
            return Ok(None);
        }
        if !self.bursts.is_due() {
            self.bursts.wait();
            return Ok(None);
        }
        let Some(resident) = self.resident.clone().filter(|resident| resident.windows.len() <= MOST_WINDOWS)
        else {
            return Ok(None);
        };
        let book = Columns::new(start.centroids, self.problem.columns);
        if book.len() < self.shape.n_clusters {
            // Equal centroids are merged by the host.
            return Ok(None);
        }
        let longest = self.problem.largest_norm.max(book.norm_above()) * LONGER;
        let columns = self.labeller.columns_up_to(Some(longest), &book)?;
        let Some(at_once) = self.ways(&resident, &columns) else { return Ok(None) };
        let gpu = &self.gpu;
        if !soft::self_test::is_exact(gpu)? {
            self.bursts = Trials::never();
            return Ok(None);
        }
        let made = Buffers::new(gpu, start, &self.shape).and_then(|buffers| {
            Ok((
                buffers,
                Kernels::new(gpu, &self.labeller, &columns, (&self.shape, self.problem.frame.unit_rows))?,
            ))
        });
        let (buffers, kernels) = match made {
            // A driver that cannot compile these kernels, or has no room for them, has those of single passes.
            Err(error @ (Error::DeviceRefused { .. } | Error::TooLarge { .. })) => {
                tracing::warn!(device = gpu.name(), %error, "iterations go to the device one by one");
                self.bursts = Trials::never();
                return Ok(None);
            }
            made => made?,
        };
        let plan = UpdatePlan::new(&self.shape, self.changed);
        let mut cleared = vec![self.labeller.counters()];
        if plan.afresh {
            cleared.extend(self.summer.sums());
            cleared.extend(&self.summed);
        }
        let recorder =
            Recorder { passes: self, kernels: &kernels, buffers: &buffers, columns: &columns, start };
        let program = recorder.record(&resident, &at_once, &plan.standing())?.into_program(&buffers.sizes)?;
        let passing = Passing { gpu, program: &program, buffers: &buffers, cleared: &cleared };
        let [columns_of, n_clusters] = [self.problem.columns, self.shape.n_clusters];
        let units_per_pass = 2.0 * self.problem.rows as f64 * columns_of as f64 * n_clusters as f64;
        let schedule =
            Schedule::new(gpu.pacer("burst", [columns_of, n_clusters]), units_per_pass, start.most);
        let outcome = passing.send_all(start, schedule)?;
        let Some(&last) = outcome.records.last() else { return Ok(None) };
        let rows = self.problem.rows as u64;
        let is_sound = |record: &Record| u64::from(record.listed) <= rows && record.left <= record.listed;
        if !outcome.records.iter().all(is_sound) {
            let reason = format!(
                "{} of {rows} rows left by the first tier, {} of those by the second",
                last.listed, last.left
            );
            return Err(Error::WrongResult { device: gpu.name(), operation: "labelling", reason });
        }
        if outcome.status == MANY
            && let Some(window) = resident.windows.get(last.shift[0] as usize)
        {
            let listed = last.listed.min(window.rows as u32);
            kernels.on_device.restore(&self.labeller, &self.labels[last.shift[0] as usize], listed)?;
        }
        drop(program);
        let screens = columns.halves.is_some();
        self.end_burst(&buffers, outcome, screens).map(Some)
    }

    /// How the windows are searched, each at once, if they may be.
    fn ways(&self, resident: &Resident, columns: &DeviceColumns) -> Option<Vec<AtOnce>> {
        let halves = columns.halves.as_ref().map_or(1, |halves| halves.windows.len());
        if columns.single.len() != 1 || halves != 1 {
            return None;
        }
        let windows = resident.windows.iter().enumerate();
        let all = self.problem.rows as u64;
        windows
            .map(|(index, _)| self.labeller.at_once_on_device(&self.task(resident, columns, index), all))
            .collect()
    }

    /// One window to be searched. The host loads no row of it.
    fn task<'a>(&'a self, resident: &'a Resident, columns: &'a DeviceColumns<'a>, index: usize) -> Task<'a> {
        Task {
            columns,
            largest_norm: self.problem.largest_norm,
            window: &resident.windows[index],
            nearest: &self.labels[index],
            reach: None,
            load: &|_, _| Ok(()),
        }
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
                let begun = steps.pop().map_or(0, |step| step.pass.changed);
                let pass = self.assign(&Columns::new(&centroids, self.problem.columns))?;
                Some(Pass { changed: begun + pass.changed, ..pass })
            }
            _ => None,
        };
        if let Some(pass) = halted {
            self.changed = Some(pass.changed);
        }
        // A burst that the host has to end in its first pass costs more than it saves, and the next one may, too.
        match steps[..] {
            [] => self.bursts.failed(),
            _ => self.bursts.paid(),
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

/// The number of two words.
fn number([low, high]: [u32; 2]) -> f64 {
    f64::from_bits(u64::from(low) | (u64::from(high) << 32))
}
