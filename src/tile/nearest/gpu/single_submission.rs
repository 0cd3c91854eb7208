//! The cascade of a small window in one submission, so that the host waits once for the nearest columns and for what is made
//! of them.
//!
//! Each tier is recorded over as many rows as one dispatch may take, and its kernels stop where the list of the tier before
//! ends: the host learns afterwards how many rows that were. What is left then are a few rows with their candidates. Until
//! the host has decided them they carry the tile's own choice, so whoever used the nearest columns in the same submission has to be
//! told which rows [moved](Moved). Where more rows are left than were brought, they go through the tiers one by one, as those
//! of a large window do, and what was made of them has to be made again.

use std::ops::Range;
use std::time::Duration;

use bytemuck::{pod_collect_to_vec, pod_read_unaligned};

use super::Cascade;
use super::kernels::Listed;
use super::screen::Screen;
use super::sizes::COUNTERS_BYTES;
use super::task::{List, RowCounts, Span, Task, Undecided};
use super::tier::Operands;
use crate::device::{Batch, DeviceBuffer, Pacer};
use crate::error::{Error, Result};

/// Rows whose candidates are brought with the nearest columns.
const MOST_LEFT: u32 = 512;
/// A plain tile takes at most so many times as long as matrix units.
const SLOWER: u64 = 16;

/// One submission for a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtOnce {
    /// Rows of a dispatch of the first tier.
    step: u32,
    /// Rows of the list that the second tier may take, where matrix units are the first.
    pub listed: Option<u32>,
    /// Rows whose candidates are brought.
    pub brought: u32,
}

/// What came back.
pub(crate) struct Answer {
    counters: [u32; 4],
    left: Undecided,
}

/// A row that the host decided otherwise than the tile did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    /// The row of the window.
    pub row: u32,
    /// The nearest column that it had when the submission ended.
    pub from: u32,
    /// Its nearest column.
    pub to: u32,
}

/// How a window was searched.
pub(crate) enum Settled {
    /// At once, but for these rows.
    AtOnce(RowCounts, Vec<Moved>),
    /// Some rows went through the tiers again: nothing that was made of the nearest columns holds.
    Again(RowCounts),
}

impl Cascade {
    /// Whether one submission may search a window in one dispatch a tier, and how. A profile tells stages apart by their
    /// submissions.
    pub fn at_once(&self, task: &Task) -> Option<AtOnce> {
        let rows = task.window.rows as u64;
        if rows > self.tiers.sizes.most_rows()
            || self.first_pacer(task).rows(rows, task.units_per_row()) < rows
        {
            return None;
        }
        self.at_once_in_steps(task, rows, MOST_LEFT)
    }

    /// The same in steps of at most `step` rows, with at most `most_left` rows whose candidates are found.
    pub(super) fn at_once_in_steps(&self, task: &Task, step: u64, most_left: u32) -> Option<AtOnce> {
        let tiers = &self.tiers;
        let (rows, units) = (task.window.rows as u64, task.units_per_row());
        if tiers.gpu.profile().is_on() || !tiers.decider.rechecks() {
            return None;
        }
        let brought = most_left.min(rows as u32);
        let first = self.screening(task).map_or(&tiers.single.tier, |(screen, _)| &screen.tier);
        let step = step.next_multiple_of(first.rows()).min(tiers.sizes.most_rows()) as u32;
        if self.screening(task).is_none() {
            return Some(AtOnce { step, listed: None, brought });
        }
        let unscreened = self.pacer.rows(rows, units);
        let listed = unscreened.max(self.screen_pacer.rows(SLOWER * rows, units) / SLOWER);
        let listed = listed.min(tiers.sizes.listed_rows()) as u32;
        Some(AtOnce { step, listed: Some(listed), brought: brought.min(listed) })
    }

    /// The pacer of the first tier.
    pub(super) fn first_pacer(&self, task: &Task) -> &Pacer {
        if self.screening(task).is_some() { &self.screen_pacer } else { &self.pacer }
    }

    /// The first tier, where that is matrix units.
    fn screening<'a>(&'a self, task: &Task<'a>) -> Option<(&'a Screen, Operands<'a>)> {
        let screen = self.screen.as_ref()?;
        Some((screen, screen.operands(task)?))
    }

    /// Records all tiers.
    pub fn record<'a>(&'a self, batch: &mut Batch<'a>, task: &Task<'a>, at_once: AtOnce) -> Result<()> {
        self.tiers.cancel.check()?;
        batch.clear(&self.tiers.counters)?;
        self.record_tiers(batch, task, at_once)
    }

    /// Records all tiers, whose counters are 0.
    pub(super) fn record_tiers<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        task: &Task<'a>,
        at_once: AtOnce,
    ) -> Result<()> {
        let (tiers, rows) = (&self.tiers, task.window.rows as u32);
        let (left, last) = (tiers.left_of_window(), self.last_list(at_once));
        let (single, operands) = (&tiers.single.tier, tiers.single.operands(task));
        let screening = self.screening(task).zip(at_once.listed);
        for first in (0..rows).step_by(at_once.step as usize) {
            let span = Span { list: None, first, rows: at_once.step.min(rows - first) };
            match &screening {
                Some(((screen, halves), _)) => {
                    screen.tier.record(batch, task, halves, tiers.outputs(left), span)?;
                }
                None => single.record(batch, task, &operands, tiers.outputs(left), span)?,
            }
        }
        if let Some((_, listed)) = screening {
            let span = Span { list: Some(left.rows), first: 0, rows: listed };
            single.record(batch, task, &operands, tiers.outputs(last), span)?;
        }
        tiers.decider.record(batch, task, last, 0, at_once.brought)
    }

    /// What the last tier leaves.
    pub(super) fn last_list(&self, at_once: AtOnce) -> List<'_> {
        at_once.listed.and_then(|_| self.tiers.left_of_list()).unwrap_or(self.tiers.left_of_window())
    }

    /// What has to come back.
    pub fn ranges(&self, at_once: AtOnce) -> [(&DeviceBuffer, Range<u64>); 3] {
        let [rows, found] = self.tiers.decider.ranges(self.last_list(at_once), 0, at_once.brought);
        [(&self.tiers.counters, 0..COUNTERS_BYTES), rows, found]
    }

    /// Learns how long the submission took, where that is far longer than it should.
    pub fn record_pace(&self, task: &Task, elapsed: Duration) {
        let pacer = if self.screening(task).is_some() { &self.screen_pacer } else { &self.pacer };
        pacer.record_whole(task.window.rows as f64 * task.units_per_row(), elapsed);
    }

    /// Decides what is left.
    pub fn settle(&mut self, task: &Task, at_once: AtOnce, answer: Answer) -> Result<Settled> {
        let Self { tiers, screen, pacer, .. } = self;
        let [listed, changed, left_of_list, changed_of_list] = answer.counters;
        let rows = task.window.rows as u32;
        if listed > rows || left_of_list > listed {
            let reason = format!(
                "{listed} of {rows} rows left by the first tier, {left_of_list} of those by the second"
            );
            return Err(Error::WrongResult { device: tiers.gpu.name(), operation: "labelling", reason });
        }
        let mut counts = RowCounts::default();
        if let (Some(screen), Some(_)) = (screen, at_once.listed) {
            counts.screened = u64::from(rows - listed);
            screen.record_left(u64::from(listed), u64::from(rows));
        }
        let left = if at_once.listed.is_some() { left_of_list } else { listed };
        if at_once.listed.is_some_and(|most| listed > most) || left > at_once.brought {
            let rest = match at_once.listed {
                Some(_) => tiers.search_listed(pacer, task, listed)?,
                None => tiers.decide_listed(task, listed)?,
            };
            counts.changed = u64::from(changed) + rest.changed;
            counts.rechecked = rest.rechecked;
            return Ok(Settled::Again(counts));
        }
        counts.changed = u64::from(changed) + u64::from(changed_of_list);
        counts.rechecked = u64::from(left);
        if left == 0 {
            return Ok(Settled::AtOnce(counts, Vec::new()));
        }
        let pairs = tiers.decider.settle(task, &answer.left)?;
        let mut moved = Vec::new();
        for (listed, &[row, to]) in answer.left.listed.iter().zip(&pairs) {
            counts.changed += u64::from(listed.before != to);
            if listed.nearest != to {
                moved.push(Moved { row, from: listed.nearest, to });
            }
        }
        Ok(Settled::AtOnce(counts, moved))
    }
}

impl Answer {
    /// From the bytes of [`Cascade::ranges`].
    pub fn of(at_once: AtOnce, bytes: &[&[u8]]) -> Self {
        let counters: [u32; 4] = pod_read_unaligned(bytes[0]);
        let left = counters[if at_once.listed.is_some() { 2 } else { 0 }].min(at_once.brought) as usize;
        let per_row = bytes[2].len() / at_once.brought as usize;
        let listed: Vec<Listed> = pod_collect_to_vec(&bytes[1][..left * size_of::<Listed>()]);
        Self { counters, left: Undecided { listed, found: pod_collect_to_vec(&bytes[2][..left * per_row]) } }
    }
}
