//! Certified labels on the GPU: a cascade of tiers, each with a certificate, each for what the one before left.
//!
//! 1. Where there are matrix units, the tile on them screens in `f16` ([`crate::tile::product::units`]); `certify` writes labels and
//!    lists the rows whose gap is inside the error bound.
//! 2. `nearest` does the same in `f32`, on the listed rows, or on all where nothing screened.
//! 3. `candidates` runs that tile on the rows that are left and collects the columns inside their band; the host decides
//!    those few in `f64`, in the reference's order, and `relabel` writes the decisions.
//!
//! Between two tiers the host reads one counter: how many rows are left decides how long the next dispatch may take. Where
//! a window is so small that any number may, all tiers go in one submission ([`self::single_submission`]).

pub(crate) mod decide;
pub(crate) mod kernels;
pub(crate) mod screen;
pub(crate) mod shortlist;
pub(crate) mod single_submission;
pub(crate) mod sizes;
pub(crate) mod tile;

use bytemuck::pod_collect_to_vec;

use self::decide::{Decider, List};
use self::screen::{Outputs, Screen};
use self::sizes::{COUNTERS_BYTES, LabellerSizes};
use self::tile::{NearestTile, Span};
use crate::cancel::Cancel;
use crate::device::{Batch, DeviceBuffer, Gpu, Pacer};
use crate::error::Result;
use crate::tile::choice::shape::TileShape;
use crate::tile::operands::columns::Codebook;
use crate::tile::operands::gpu::columns::DeviceBook;
use crate::tile::operands::gpu::half_rows::Halves;
use crate::tile::product::units::shape::MatrixTile;

/// Rows that lie on the device.
pub(crate) struct Window {
    /// Index of the first row in the data.
    pub start: usize,
    /// Number of rows.
    pub rows: usize,
    /// `[rows, depth]`.
    pub x: DeviceBuffer,
    /// Upper bounds on the rows' lengths.
    pub norms: DeviceBuffer,
    /// The rows in `f16`, where a screen reads them.
    pub halves: Option<Halves>,
}

impl Window {
    /// Room for `rows` rows of `depth`, and for their halves where a screen needs them.
    pub fn new(gpu: &Gpu, rows: usize, depth: usize, matrix: Option<&MatrixTile>) -> Result<Self> {
        let x = gpu.buffer("rows", 4 * rows as u64 * depth as u64)?;
        let norms = gpu.buffer("norms", 4 * rows as u64)?;
        let halves = matrix.map(|tile| Halves::new(gpu, tile, rows, depth)).transpose()?;
        Ok(Self { start: 0, rows, x, norms, halves })
    }

    /// Rounds the rows that were copied, none longer than `largest_norm`, for the screen.
    pub fn narrow(&mut self, gpu: &Gpu, depth: usize, largest_norm: f32) -> Result<()> {
        match &mut self.halves {
            Some(halves) => halves.fill(gpu, &self.x, self.rows, depth, largest_norm),
            None => Ok(()),
        }
    }
}

/// Reads a row of the window being labelled as x', on the host.
pub(crate) type LoadRow<'a> = &'a (dyn Fn(usize, &mut [f32]) -> Result<()> + Sync);

/// One window to label.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    pub book: &'a DeviceBook<'a>,
    /// Upper bound on the length of any row.
    pub largest_norm: f32,
    pub window: &'a Window,
    /// The old labels, replaced by the new ones.
    pub labels: &'a DeviceBuffer,
    /// Where bounds on distances are kept, if they are.
    pub reach: Option<Reach<'a>>,
    pub load: LoadRow<'a>,
}

/// Bounds on the distances of each row: to its label's centroid from above, to every other from below.
#[derive(Clone, Copy)]
pub(crate) struct Reach<'a> {
    pub bounds: &'a DeviceBuffer,
    /// Where the book holds a few columns only, their labels: the bounds are brought up to what those say, and nothing else.
    pub few: Option<&'a DeviceBuffer>,
}

impl Task<'_> {
    /// What a pacer counts.
    pub(crate) fn units_per_row(&self) -> f64 {
        2.0 * self.book.book.depth as f64 * self.book.book.len() as f64
    }
}

/// Rows that changed their label, and who was sure of how many.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Labelled {
    pub changed: u64,
    /// Rows that the screen certified.
    pub screened: u64,
    /// Rows that were decided on the host.
    pub rechecked: u64,
}

/// What labels windows of one problem.
pub(crate) struct Labeller {
    pub(crate) tiers: Tiers,
    pub(crate) screen: Option<Screen>,
    pub(crate) screen_pacer: Pacer,
    pub(crate) pacer: Pacer,
}

/// The tiers that every window goes through, with what they share.
pub(crate) struct Tiers {
    pub gpu: Gpu,
    pub sizes: LabellerSizes,
    pub tile: NearestTile,
    pub decider: Decider,
    partials: DeviceBuffer,
    list: DeviceBuffer,
    pub counters: DeviceBuffer,
    /// What the second tier leaves of a list.
    passed: Option<DeviceBuffer>,
    pub cancel: Cancel,
}

impl Labeller {
    pub fn new(gpu: &Gpu, sizes: &LabellerSizes, cancel: Cancel, recheck: bool) -> Result<Self> {
        let listed_shape = TileShape::for_listed(sizes.columns, &gpu.limits());
        let tiers = Tiers {
            gpu: gpu.clone(),
            sizes: *sizes,
            tile: NearestTile::new(gpu, sizes, listed_shape)?,
            decider: Decider::new(gpu, sizes, listed_shape, cancel.clone(), recheck)?,
            partials: gpu.buffer("partials", sizes.partials_bytes())?,
            list: gpu.buffer("list", sizes.left_of_window_bytes())?,
            counters: gpu.buffer("counters", COUNTERS_BYTES)?,
            passed: if sizes.has_listed() { Some(gpu.buffer("passed", sizes.left_of_list_bytes())?) } else { None },
            cancel,
        };
        let screen = sizes.matrix.map(|tile| Screen::new(gpu, tile, sizes.keeps_reach)).transpose()?;
        Ok(Self { tiers, screen, screen_pacer: Pacer::new(), pacer: Pacer::new() })
    }

    /// Copies centroids to the device.
    pub fn book<'b>(&self, book: &'b Codebook<'b>) -> Result<DeviceBook<'b>> {
        let (gpu, sizes) = (&self.tiers.gpu, &self.tiers.sizes);
        let chain = self.tiers.tile.chain(book.depth);
        let mut on_device = DeviceBook::shifted(gpu, chain, sizes.column_window, book)?;
        if let Some(screen) = self.screen.as_ref().filter(|screen| screen.pays()) {
            on_device.half = Some(screen.book(gpu, sizes.column_window, book)?);
        }
        Ok(on_device)
    }

    /// Device memory that nothing is kept in between two calls: at least 4 bytes for each row of a small window, and
    /// for a million rows of a large one.
    pub fn scratch(&self) -> &DeviceBuffer {
        &self.tiers.partials
    }

    /// Labels a window, tier by tier.
    pub fn label(&mut self, task: &Task) -> Result<Labelled> {
        let (tiers, pacer) = (&self.tiers, &mut self.pacer);
        let halves = task.book.half.as_ref().zip(task.window.halves.as_ref());
        if let (Some(screen), Some(halves)) = (&mut self.screen, halves)
            && screen.pays()
        {
            let rows = task.window.rows as u64;
            let whole = u64::from(screen.rows());
            let screened = &*screen;
            let [left, changed] = tiers.pass(
                &mut self.screen_pacer,
                "screen",
                task,
                tiers.list(),
                (rows, whole),
                &|batch, first, rows| {
                    screened.record(batch, task, halves, tiers.outputs(tiers.list()), (first, rows))
                },
            )?;
            let mut labelled = tiers.label_listed(pacer, task, left)?;
            labelled.changed += u64::from(changed);
            labelled.screened = rows - u64::from(left);
            screen.record_left(u64::from(left), rows);
            return Ok(labelled);
        }
        tiers.label_window(pacer, task)
    }

    /// Where the rows of a window are listed that [`Self::label_listed`] labels: entries, and how many.
    pub fn listed(&self) -> [&DeviceBuffer; 2] {
        [&self.tiers.list, &self.tiers.counters]
    }

    /// All rows of a window meet the few columns of the task's book. What `last` records follows in the last submission, which
    /// is given where rows are listed; returns how many it listed.
    pub fn approach<'a>(
        &'a mut self,
        task: &Task<'a>,
        last: &dyn Fn(&mut Batch<'a>, [&'a DeviceBuffer; 2]) -> Result<()>,
    ) -> Result<u32> {
        let Self { tiers, screen, screen_pacer, pacer } = self;
        let (tiers, screen) = (&*tiers, screen.as_ref().filter(|screen| screen.pays()));
        let (list, rows) = (tiers.list(), task.window.rows as u64);
        let end = |batch: &mut Batch<'a>, end: u32| {
            if u64::from(end) == rows { last(batch, [list.rows, list.counters]) } else { Ok(()) }
        };
        let halves = task.book.half.as_ref().zip(task.window.halves.as_ref());
        let [listed, _] = match screen.zip(halves) {
            Some((screen, halves)) => tiers.pass(
                screen_pacer,
                "approach",
                task,
                list,
                (rows, u64::from(screen.rows())),
                &|batch, first, rows| {
                    screen.record(batch, task, halves, tiers.outputs(list), (first, rows))?;
                    end(batch, first + rows)
                },
            )?,
            None => tiers.pass(
                pacer,
                "approach",
                task,
                list,
                (rows, u64::from(tiers.sizes.shape.rows)),
                &|batch, first, rows| {
                    tiers.tile.record(batch, task, tiers.outputs(list), Span { list: None, first, rows })?;
                    end(batch, first + rows)
                },
            )?,
        };
        Ok(listed)
    }

    /// Columns of the widest tile that labels windows.
    pub fn tile_columns(&self) -> usize {
        let sizes = &self.tiers.sizes;
        sizes.matrix.map_or(sizes.shape.columns, |tile| tile.columns()) as usize
    }

    /// Labels the first `count` rows that the caller listed, with the labels that they had; all others keep theirs.
    pub fn label_listed(&mut self, task: &Task, count: u32) -> Result<Labelled> {
        self.tiers.label_listed(&mut self.pacer, task, count)
    }
}

impl Tiers {
    /// What the tier over a window leaves.
    pub fn list(&self) -> List<'_> {
        List { rows: &self.list, counters: &self.counters, counter: 0 }
    }

    /// What the tier over that list leaves, where there is one.
    pub fn passed(&self) -> Option<List<'_>> {
        let passed = self.passed.as_ref().filter(|_| self.decider.rechecks());
        passed.map(|rows| List { rows, counters: &self.counters, counter: 2 })
    }

    /// Where a tier puts what it makes.
    pub fn outputs<'a>(&'a self, list: List<'a>) -> Outputs<'a> {
        let room = self.sizes.partials();
        Outputs { partials: &self.partials, room, list: list.rows, counters: list.counters }
    }

    /// Labels all rows of a window.
    fn label_window<'a>(&'a self, pacer: &mut Pacer, task: &Task<'a>) -> Result<Labelled> {
        let rows = task.window.rows as u64;
        let whole = u64::from(self.sizes.shape.rows);
        let list = self.list();
        let [left, changed] =
            self.pass(pacer, "nearest", task, list, (rows, whole), &|batch, first, rows| {
                self.tile.record(batch, task, self.outputs(list), Span { list: None, first, rows })
            })?;
        let decided = self.decider.decide_all(task, list, left)?;
        Ok(Labelled { changed: u64::from(changed) + decided, screened: 0, rechecked: u64::from(left) })
    }

    /// Labels only the first `count` rows that the tier over the window listed.
    pub fn label_listed<'a>(&'a self, pacer: &mut Pacer, task: &Task<'a>, count: u32) -> Result<Labelled> {
        let Some(passed) = self.passed() else { return self.decide_listed(task, count) };
        let mut labelled = Labelled::default();
        let step = self.sizes.listed_rows() as usize;
        for start in (0..count).step_by(step) {
            let rows = u64::from(count - start).min(step as u64);
            let whole = u64::from(self.sizes.shape.rows);
            let [left, changed] =
                self.pass(pacer, "nearest of a list", task, passed, (rows, whole), &|batch, first, rows| {
                    let span = Span { list: Some(&self.list), first: start + first, rows };
                    self.tile.record(batch, task, self.outputs(passed), span)
                })?;
            labelled.changed += u64::from(changed) + self.decider.decide_all(task, passed, left)?;
            labelled.rechecked += u64::from(left);
        }
        Ok(labelled)
    }

    /// Decides the first `count` rows that the tier over the window listed.
    pub fn decide_listed(&self, task: &Task, count: u32) -> Result<Labelled> {
        let changed = self.decider.decide_all(task, self.list(), count)?;
        Ok(Labelled { changed, screened: 0, rechecked: u64::from(count) })
    }

    /// Records and submits a tier over `rows` rows, a paced number at a time and whole tiles. Returns how many rows it put
    /// on its list and how many certified rows changed.
    fn pass<'a>(
        &'a self,
        pacer: &mut Pacer,
        label: &'static str,
        task: &Task<'a>,
        list: List<'a>,
        (total, whole): (u64, u64),
        record: &dyn Fn(&mut Batch<'a>, u32, u32) -> Result<()>,
    ) -> Result<[u32; 2]> {
        let units_per_row = task.units_per_row();
        let own = 4 * u64::from(list.counter)..4 * u64::from(list.counter) + 8;
        let mut first = 0;
        while first < total {
            self.cancel.check()?;
            let remaining = total - first;
            let paced = pacer.rows(remaining, units_per_row).next_multiple_of(whole);
            let rows = paced.min(self.sizes.most_rows()).min(remaining);
            let mut batch = self.gpu.batch(label);
            if first == 0 {
                batch.clear_part(self.counters.slice(own.start, 8))?;
            }
            record(&mut batch, first as u32, rows as u32)?;
            first += rows;
            if first == total {
                let read = batch.submit_and_read(&[(&self.counters, own)])?;
                let counters: Vec<u32> = pod_collect_to_vec(&read[0]);
                return Ok([counters[0], counters[1]]);
            }
            let elapsed = batch.submit_and_wait()?;
            pacer.record(rows as f64 * units_per_row, elapsed);
        }
        Ok([0; 2])
    }
}
