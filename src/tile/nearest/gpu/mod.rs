//! Certified nearest columns on the GPU: a cascade of tiers, each with a certificate, each for what the one before left.
//!
//! 1. Where there are matrix units, the tile on them screens in `f16` ([`crate::tile::product::units`]); `certify` writes the nearest columns and
//!    lists the rows whose gap is inside the error bound.
//! 2. `nearest` does the same in `f32`, on the listed rows, or on all where nothing screened.
//! 3. `candidates` runs that tile on the rows that are left and collects the columns inside their band; the host decides
//!    those few in `f64`, in the reference's order, and `relabel` writes the decisions.
//!
//! Between two tiers the host reads one counter: how many rows are left decides how long the next dispatch may take. Where
//! a window is so small that any number may, all tiers go in one submission ([`self::single_submission`]).

pub(crate) mod decide;
pub(crate) mod kernels;
pub(crate) mod on_device;
pub(crate) mod screen;
pub(crate) mod single_submission;
pub(crate) mod sizes;
pub(crate) mod task;
pub(crate) mod tier;

use bytemuck::pod_collect_to_vec;

use self::decide::Decider;
use self::screen::Screen;
use self::sizes::{COUNTERS_BYTES, CascadeSizes};
use self::task::{List, Outputs, Span};
pub(crate) use self::task::{Reach, RowCounts, Task, Window};
use self::tier::{Operands, SingleTier, Tier};
use crate::cancel::Cancel;
use crate::device::{Batch, DeviceBuffer, Gpu, Pacer, Stage};
use crate::error::Result;
use crate::tile::choice::shape::TileShape;
use crate::tile::operands::columns::Columns;
use crate::tile::operands::gpu::columns::DeviceColumns;
use crate::tile::windows::next_rows;

/// What searches windows of one problem.
pub(crate) struct Cascade {
    pub(crate) tiers: Tiers,
    pub(crate) screen: Option<Screen>,
    pub(crate) screen_pacer: Pacer,
    pub(crate) pacer: Pacer,
}

/// The tiers that every window goes through, with what they share.
pub(crate) struct Tiers {
    pub gpu: Gpu,
    pub sizes: CascadeSizes,
    pub single: SingleTier,
    pub decider: Decider,
    partials: DeviceBuffer,
    /// Rows that the tier over a window leaves.
    left_of_window: DeviceBuffer,
    /// Rows that the tier over those leaves, where there is one.
    left_of_list: Option<DeviceBuffer>,
    pub counters: DeviceBuffer,
    pub cancel: Cancel,
}

/// Records what follows a tier in the same submission.
type Following<'p, 'a> = &'p dyn Fn(&mut Batch<'a>) -> Result<()>;

/// A tier over rows of a window or of a list.
struct Pass<'p, 'a> {
    tier: &'a Tier,
    operands: Operands<'a>,
    task: &'p Task<'a>,
    /// What records follow in its last submission.
    last: Option<Following<'p, 'a>>,
}

impl Cascade {
    pub fn new(gpu: &Gpu, sizes: &CascadeSizes, cancel: Cancel, recheck: bool) -> Result<Self> {
        let listed_shape = TileShape::for_listed(sizes.columns, &gpu.limits());
        let left_of_list = || gpu.buffer("left of a list", sizes.left_of_list_bytes());
        let tiers = Tiers {
            gpu: gpu.clone(),
            sizes: *sizes,
            single: SingleTier::new(gpu, sizes, listed_shape)?,
            decider: Decider::new(gpu, sizes, listed_shape, cancel.clone(), recheck)?,
            partials: gpu.buffer("partials", sizes.partials_bytes())?,
            left_of_window: gpu.buffer("left of a window", sizes.left_of_window_bytes())?,
            left_of_list: sizes.has_listed().then(left_of_list).transpose()?,
            counters: gpu.buffer("counters", COUNTERS_BYTES)?,
            cancel,
        };
        let screen = sizes.matrix.map(|tile| Screen::new(gpu, tile, sizes.keeps_reach)).transpose()?;
        let pacer = |work| gpu.pacer(work, [sizes.depth, sizes.columns]);
        Ok(Self { tiers, screen, screen_pacer: pacer("nearest on units"), pacer: pacer("nearest") })
    }

    /// Copies columns to the device.
    pub fn columns<'c>(&self, columns: &'c Columns<'c>) -> Result<DeviceColumns<'c>> {
        self.columns_up_to(None, columns)
    }

    /// The same where the device makes others of them, none longer than `longest`.
    pub fn columns_up_to<'c>(
        &self,
        longest: Option<f32>,
        columns: &'c Columns<'c>,
    ) -> Result<DeviceColumns<'c>> {
        let Tiers { gpu, sizes, single, .. } = &self.tiers;
        let (chain, window) = (single.chain(columns.depth), sizes.column_window);
        let mut on_device = DeviceColumns::new(gpu, chain, window, columns)?;
        if let Some(screen) = &self.screen {
            on_device.halves = screen.columns(gpu, window, columns, f64::from(longest.unwrap_or(0.0)))?;
        }
        on_device.longest = longest;
        Ok(on_device)
    }

    /// Device memory that nothing is kept in between two calls: at least 4 bytes for each row of a small window, and
    /// for a million rows of a large one.
    pub fn scratch(&self) -> &DeviceBuffer {
        &self.tiers.partials
    }

    /// Searches a window, tier by tier.
    pub fn search(&mut self, task: &Task) -> Result<RowCounts> {
        let Self { tiers, screen, screen_pacer, pacer } = self;
        let (tiers, rows) = (&*tiers, task.window.rows as u64);
        if let Some(screen) = screen
            && let Some(operands) = screen.operands(task)
        {
            let pass = Pass { tier: &screen.tier, operands, task, last: None };
            let [left, changed] = tiers.pass_window(screen_pacer, Stage::Nearest, &pass)?;
            let mut counts = tiers.search_listed(pacer, task, left)?;
            counts.changed += u64::from(changed);
            counts.screened = rows - u64::from(left);
            screen.record_left(u64::from(left), rows);
            return Ok(counts);
        }
        let [left, changed] = tiers.pass_window(pacer, Stage::Nearest, &tiers.single_pass(task, None))?;
        let decided = tiers.decide_listed(task, left)?;
        Ok(RowCounts { changed: u64::from(changed) + decided.changed, ..decided })
    }

    /// Where the rows of a window are listed that [`Self::search_listed`] goes over: entries, and how many.
    pub fn listed(&self) -> [&DeviceBuffer; 2] {
        [&self.tiers.left_of_window, &self.tiers.counters]
    }

    /// All rows of a window meet the task's subset of the columns. What `last` records follows in the last submission, which
    /// is given where rows are listed; returns how many it listed.
    pub fn approach<'a>(
        &'a mut self,
        task: &Task<'a>,
        last: &dyn Fn(&mut Batch<'a>, [&'a DeviceBuffer; 2]) -> Result<()>,
    ) -> Result<u32> {
        let Self { tiers, screen, screen_pacer, pacer } = self;
        let (tiers, screen) = (&*tiers, screen.as_ref());
        let last = |batch: &mut Batch<'a>| last(batch, [&tiers.left_of_window, &tiers.counters]);
        let screened = screen.and_then(|screen| screen.operands(task).map(|operands| (screen, operands)));
        let [listed, _] = match screened {
            Some((Screen { tier, .. }, operands)) => {
                let pass = Pass { tier, operands, task, last: Some(&last) };
                tiers.pass_window(screen_pacer, Stage::Bounds, &pass)?
            }
            None => tiers.pass_window(pacer, Stage::Bounds, &tiers.single_pass(task, Some(&last)))?,
        };
        Ok(listed)
    }

    /// Columns of the widest tile that goes over windows.
    pub fn tile_columns(&self) -> usize {
        let sizes = &self.tiers.sizes;
        sizes.matrix.map_or(sizes.shape.columns, |tile| tile.columns()) as usize
    }

    /// Searches the first `count` rows that the caller listed, with the nearest columns that they had; all others keep theirs.
    pub fn search_listed(&mut self, task: &Task, count: u32) -> Result<RowCounts> {
        self.tiers.search_listed(&mut self.pacer, task, count)
    }
}

impl Tiers {
    /// What the tier over a window leaves.
    pub fn left_of_window(&self) -> List<'_> {
        List { rows: &self.left_of_window, counters: &self.counters, counter: 0 }
    }

    /// What the tier over that list leaves, where there is one.
    pub fn left_of_list(&self) -> Option<List<'_>> {
        let left = self.left_of_list.as_ref().filter(|_| self.decider.rechecks());
        left.map(|rows| List { rows, counters: &self.counters, counter: 2 })
    }

    /// Where a tier puts what it makes.
    pub fn outputs<'a>(&'a self, left: List<'a>) -> Outputs<'a> {
        let most_partials = self.sizes.partials();
        Outputs { partials: &self.partials, most_partials, left: left.rows, counters: left.counters }
    }

    fn single_pass<'p, 'a>(&'a self, task: &'p Task<'a>, last: Option<Following<'p, 'a>>) -> Pass<'p, 'a> {
        Pass { tier: &self.single.tier, operands: self.single.operands(task), task, last }
    }

    /// A tier over all rows of a window.
    fn pass_window<'a>(&'a self, pacer: &mut Pacer, stage: Stage, pass: &Pass<'_, 'a>) -> Result<[u32; 2]> {
        let span = Span { list: None, first: 0, rows: pass.task.window.rows as u32 };
        self.pass(pacer, stage, pass, span, self.left_of_window())
    }

    /// Searches only the first `count` rows that the tier over the window listed.
    pub fn search_listed<'a>(&'a self, pacer: &mut Pacer, task: &Task<'a>, count: u32) -> Result<RowCounts> {
        let Some(left_of_list) = self.left_of_list() else { return self.decide_listed(task, count) };
        let mut counts = RowCounts::default();
        let (pass, step) = (self.single_pass(task, None), self.sizes.listed_rows() as u32);
        for first in (0..count).step_by(step as usize) {
            let span = Span { list: Some(&self.left_of_window), first, rows: step.min(count - first) };
            let [left, changed] = self.pass(pacer, Stage::Nearest, &pass, span, left_of_list)?;
            counts.changed += u64::from(changed) + self.decider.decide_all(task, left_of_list, left)?;
            counts.rechecked += u64::from(left);
        }
        Ok(counts)
    }

    /// Decides the first `count` rows that the tier over the window listed.
    pub fn decide_listed(&self, task: &Task, count: u32) -> Result<RowCounts> {
        let changed = self.decider.decide_all(task, self.left_of_window(), count)?;
        Ok(RowCounts { changed, screened: 0, rechecked: u64::from(count) })
    }

    /// Records and submits a tier over a span, a paced number of rows at a time and whole tiles. Returns how many rows it
    /// left and how many certified rows changed.
    fn pass<'a>(
        &'a self,
        pacer: &mut Pacer,
        stage: Stage,
        pass: &Pass<'_, 'a>,
        span: Span<'a>,
        left: List<'a>,
    ) -> Result<[u32; 2]> {
        let (total, units_per_row) = (u64::from(span.rows), pass.task.units_per_row());
        let counted = 4 * u64::from(left.counter)..4 * u64::from(left.counter) + 8;
        let mut done = 0;
        while done < total {
            self.cancel.check()?;
            let remaining = total - done;
            let tile = pass.tier.rows();
            let paced =
                pacer.rows(remaining, units_per_row).next_multiple_of(tile).min(self.sizes.most_rows());
            let rows = next_rows(remaining as usize, paced as usize, tile as usize) as u64;
            let mut batch = self.gpu.batch(stage);
            if done == 0 {
                batch.clear_part(self.counters.slice(counted.start, 8))?;
            }
            let here = Span { first: span.first + done as u32, rows: rows as u32, ..span };
            pass.tier.record(&mut batch, pass.task, &pass.operands, self.outputs(left), here)?;
            done += rows;
            if done == total {
                pass.last.map_or(Ok(()), |last| last(&mut batch))?;
                let read = batch.submit_and_read(&[(&self.counters, counted)])?;
                let counters: Vec<u32> = pod_collect_to_vec(&read[0]);
                return Ok([counters[0], counters[1]]);
            }
            let elapsed = batch.submit_and_wait()?;
            pacer.record(rows as f64 * units_per_row, elapsed);
        }
        Ok([0; 2])
    }
}
