//! The cascade of a small window in one submission, so that the host waits once for its labels and for what is made of them.
//!
//! Each tier is recorded over as many rows as one dispatch may take, and its kernels stop where the list of the tier before
//! ends: the host learns afterwards how many rows that were. What is left then are a few rows with their candidates. Until
//! the host has decided them they carry the tile's own choice, so whoever used the labels in the same submission has to be
//! told which rows [moved](Moved). Where more rows are left than were brought, they go through the tiers one by one, as those
//! of a large window do, and what was made of the labels has to be made again.

use std::ops::Range;

use bytemuck::{pod_collect_to_vec, pod_read_unaligned};

use super::decide::{Left, List};
use super::kernels::Listed;
use super::sizes::COUNTERS_BYTES;
use super::tile::Span;
use super::{Labelled, Labeller, Task};
use crate::device::{Batch, DeviceBuffer};
use crate::error::{Error, Result};

/// Rows whose candidates are brought with the labels.
const MOST_LEFT: u32 = 512;
/// A plain tile takes at most so many times as long as matrix units.
const SLOWER: u64 = 16;

/// One submission for a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtOnce {
    /// Rows of the list that the second tier may take, where matrix units are the first.
    listed: Option<u32>,
    /// Rows whose candidates are brought.
    brought: u32,
}

/// What came back.
pub(crate) struct Answer {
    counters: [u32; 4],
    left: Left,
}

/// A row that the host labelled other than the tile did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    /// The row of the window.
    pub row: u32,
    /// The label that it had when the submission ended.
    pub from: u32,
    /// Its label.
    pub to: u32,
}

/// How a window was labelled.
pub(crate) enum Settled {
    /// At once, but for these rows.
    AtOnce(Labelled, Vec<Moved>),
    /// Some rows went through the tiers again: nothing that was made of the labels holds.
    Again(Labelled),
}

impl Labeller {
    /// Whether one submission may label a window, and how. A profile tells tiers apart by their submissions.
    pub fn at_once(&self, task: &Task) -> Option<AtOnce> {
        let tiers = &self.tiers;
        let (rows, units) = (task.window.rows as u64, task.units_per_row());
        if tiers.gpu.is_profiled() || !tiers.decider.rechecks() || rows > tiers.sizes.most_rows() {
            return None;
        }
        let brought = MOST_LEFT.min(rows as u32);
        if !self.screens(task) {
            return (self.pacer.rows(rows, units) == rows).then_some(AtOnce { listed: None, brought });
        }
        let own = self.pacer.rows(rows, units);
        let listed = own.max(self.screen_pacer.rows(SLOWER * rows, units) / SLOWER);
        let listed = listed.min(tiers.sizes.passed_rows()) as u32;
        let is_small = self.screen_pacer.rows(rows, units) == rows;
        is_small.then_some(AtOnce { listed: Some(listed), brought: brought.min(listed) })
    }

    /// Whether matrix units are the first tier.
    fn screens(&self, task: &Task) -> bool {
        let has_halves = task.book.half.is_some() && task.window.halves.is_some();
        has_halves && self.screen.as_ref().is_some_and(|screen| screen.pays())
    }

    /// Records all tiers.
    pub fn record<'a>(&'a self, batch: &mut Batch<'a>, task: &Task<'a>, at_once: AtOnce) -> Result<()> {
        let (tiers, rows) = (&self.tiers, task.window.rows as u32);
        tiers.cancel.check()?;
        batch.clear(&tiers.counters)?;
        let (list, last) = (tiers.list(), self.last_list(at_once));
        let halves = task.book.half.as_ref().zip(task.window.halves.as_ref());
        if let (Some(screen), Some(halves), Some(listed)) = (&self.screen, halves, at_once.listed) {
            screen.record(batch, task, halves, tiers.outputs(list), (0, rows))?;
            let span = Span { list: Some(list.rows), first: 0, rows: listed };
            tiers.tile.record(batch, task, tiers.outputs(last), span)?;
        } else {
            tiers.tile.record(batch, task, tiers.outputs(list), Span { list: None, first: 0, rows })?;
        }
        tiers.decider.record(batch, task, last, 0, at_once.brought)
    }

    /// What the last tier leaves.
    fn last_list(&self, at_once: AtOnce) -> List<'_> {
        at_once.listed.and_then(|_| self.tiers.passed()).unwrap_or(self.tiers.list())
    }

    /// What has to come back.
    pub fn ranges(&self, at_once: AtOnce) -> [(&DeviceBuffer, Range<u64>); 3] {
        let [rows, found] = self.tiers.decider.ranges(self.last_list(at_once), 0, at_once.brought);
        [(&self.tiers.counters, 0..COUNTERS_BYTES), rows, found]
    }

    /// Decides what is left.
    pub fn settle(&mut self, task: &Task, at_once: AtOnce, answer: Answer) -> Result<Settled> {
        let Self { tiers, screen, pacer, .. } = self;
        let [listed, changed, passed, passed_changed] = answer.counters;
        let rows = task.window.rows as u32;
        if listed > rows || passed > listed {
            let reason =
                format!("{listed} of {rows} rows left by the first tier, {passed} of those by the second");
            return Err(Error::WrongResult { device: tiers.gpu.name(), operation: "labelling", reason });
        }
        let mut labelled = Labelled::default();
        if let (Some(screen), Some(_)) = (screen, at_once.listed) {
            labelled.screened = u64::from(rows - listed);
            screen.record_left(u64::from(listed), u64::from(rows));
        }
        let left = if at_once.listed.is_some() { passed } else { listed };
        if at_once.listed.is_some_and(|most| listed > most) || left > at_once.brought {
            let rest = match at_once.listed {
                Some(_) => tiers.label_listed(pacer, task, listed)?,
                None => tiers.decide_listed(task, listed)?,
            };
            labelled.changed = u64::from(changed) + rest.changed;
            labelled.rechecked = rest.rechecked;
            return Ok(Settled::Again(labelled));
        }
        labelled.changed = u64::from(changed) + u64::from(passed_changed);
        labelled.rechecked = u64::from(left);
        if left == 0 {
            return Ok(Settled::AtOnce(labelled, Vec::new()));
        }
        let pairs = tiers.decider.settle(task, &answer.left)?;
        let mut moved = Vec::new();
        for (listed, &[row, to]) in answer.left.listed.iter().zip(&pairs) {
            labelled.changed += u64::from(listed.before != to);
            if listed.label != to {
                moved.push(Moved { row, from: listed.label, to });
            }
        }
        Ok(Settled::AtOnce(labelled, moved))
    }
}

impl Answer {
    /// From the bytes of [`Labeller::ranges`].
    pub fn of(at_once: AtOnce, bytes: &[&[u8]]) -> Self {
        let counters: [u32; 4] = pod_read_unaligned(bytes[0]);
        let left = counters[if at_once.listed.is_some() { 2 } else { 0 }].min(at_once.brought) as usize;
        let per_row = bytes[2].len() / at_once.brought as usize;
        let listed: Vec<Listed> = pod_collect_to_vec(&bytes[1][..left * size_of::<Listed>()]);
        Self { counters, left: Left { listed, found: pod_collect_to_vec(&bytes[2][..left * per_row]) } }
    }
}
