//! The last tier on the device: the rows that the tile leaves are decided there, in the operations of `f64` and in the reference's
//! order, so that nobody waits for the host.

use std::sync::Arc;

use bytemuck::bytes_of;

use super::Cascade;
use super::kernels::{DecideParams, RestoreParams, decide_kernel, restore_kernel};
use super::single_submission::AtOnce;
use super::sizes::LISTED_ROWS;
use super::task::{List, Task};
use crate::device::{Batch, DeviceBuffer, Gpu, Pacer, Pipeline};
use crate::error::Result;
use crate::tile::operands::gpu::columns::DeviceColumns;
use crate::tile::operands::gpu::maker::Maker;

/// Workgroups that share the listed rows.
const MOST_WORKGROUPS: u32 = 1024;
/// An operation of `f64` takes about as long as so many multiply-adds.
const SOFT_UNITS: f64 = 200.0;
/// Columns that a row meets: those that a list has room for.
const FEW_COLUMNS: f64 = 16.0;
/// How many times longer than planned the decisions may take where every row meets all columns.
const MOST_OVERRUN: u64 = 20;

/// What decides on the device.
pub(crate) struct OnDevice {
    decide: Arc<Pipeline>,
    restore: Arc<Pipeline>,
}

impl OnDevice {
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { decide: gpu.pipeline(&decide_kernel()?)?, restore: gpu.pipeline(&restore_kernel()?)? })
    }

    /// Records all tiers and the decisions among `exact`, columns in `f64`. The counters are 0 before. Between the two stands what
    /// `gate` records.
    pub fn record<'a>(
        &'a self,
        cascade: &'a Cascade,
        batch: &mut Batch<'a>,
        task: &Task<'a>,
        (at_once, exact): (AtOnce, &'a DeviceBuffer),
        gate: impl FnOnce(&mut Batch<'a>, List<'a>) -> Result<()>,
    ) -> Result<()> {
        cascade.record_tiers(batch, task, at_once)?;
        let list = cascade.last_list(at_once);
        gate(batch, list)?;
        let params = DecideParams {
            columns: task.columns.host.len() as u32,
            depth: task.columns.host.depth as u32,
            counter: list.counter,
            most: at_once.brought,
        };
        let found = cascade.tiers.decider.found().whole();
        let (x, nearest, counters) = (task.window.x.whole(), task.nearest.whole(), list.counters.whole());
        let arguments = [x, exact.whole(), list.rows.whole(), found, counters, nearest];
        let workgroups = [at_once.brought.min(MOST_WORKGROUPS), 1, 1];
        batch.dispatch(&self.decide, &arguments, bytes_of(&params), workgroups)
    }

    /// Gives the first `count` rows that the first tier listed the nearest columns back that they had before.
    pub fn restore(&self, cascade: &Cascade, nearest: &DeviceBuffer, count: u32) -> Result<()> {
        let params = RestoreParams { rows: count };
        let mut batch = cascade.tiers.gpu.batch("restore");
        let arguments = [cascade.tiers.left_of_window().rows.whole(), nearest.whole()];
        let workgroups = count.div_ceil(256);
        let across = workgroups.min(1 << 15);
        let workgroups = [across, workgroups.div_ceil(across.max(1)), 1];
        batch.dispatch(&self.restore, &arguments, bytes_of(&params), workgroups)?;
        batch.submit()
    }
}

impl Cascade {
    /// How one submission may search a window whose last rows the device decides, beside others: `all` rows in sum, which may take
    /// twice what is planned for a dispatch.
    pub fn at_once_on_device(&self, task: &Task, all: u64) -> Option<AtOnce> {
        let (depth, columns) = (task.columns.host.depth as f64, task.columns.host.len() as f64);
        let step = self.first_pacer(task).rows(all, task.units_per_row());
        if 2 * step < all {
            return None;
        }
        let rows = |pacer: &Pacer, met: f64| {
            pacer.rows(u64::from(LISTED_ROWS), 2.0 * SOFT_UNITS * depth * met.min(columns))
        };
        let most = rows(&self.pacer, FEW_COLUMNS).min(MOST_OVERRUN * rows(&self.pacer, columns));
        self.at_once_in_steps(task, step, most as u32)
    }

    /// What makes columns like these on the device.
    pub fn maker(&self, columns: &DeviceColumns) -> Result<Maker> {
        let depth = columns.host.depth;
        let words = self.screen.as_ref().map_or(0, |screen| screen.words(depth));
        Maker::new(&self.tiers.gpu, columns, self.tiers.single.chain(depth), words)
    }

    /// Rows left by the first tier, certified rows that changed, and the same of the second.
    pub fn counters(&self) -> &DeviceBuffer {
        &self.tiers.counters
    }

    /// Learns how many of `rows` rows the screen left, where there is one.
    pub fn record_left(&mut self, left: u64, rows: u64) {
        if let Some(screen) = &mut self.screen {
            screen.record_left(left, rows);
        }
    }
}
