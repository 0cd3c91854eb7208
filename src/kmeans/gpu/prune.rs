//! Exact pruning on the GPU: rows whose label cannot have changed are not multiplied.
//!
//! Each row keeps bounds on its distances, as on the CPU ([`crate::kmeans::cpu::prune`]): u to the centroid of its label, l to every
//! other. Every tier of a pass writes them (`shaders/tile/nearest/reach.wgsl`). Once the centroids have moved:
//!
//! 1. u grows by the shift of the label's centroid, l shrinks by the largest shift of the others, but for the few that
//!    moved farthest (`shaders/kmeans/shift.wgsl`). Rows with u >= l, by the margin that covers the reference's own
//!    rounding, are measured, which lowers u to the distance itself (`shaders/kmeans/gauge.wgsl`), and counted
//!    (`shaders/kmeans/doubt.wgsl`). Step 2 rarely takes rows off this count, so a count that is too high makes the pass
//!    dense at once.
//! 2. Every row is compared with those few centroids. Their values lower l to what is known of the few, and often u too
//!    (`shaders/tile/nearest/approach.wgsl`). Without this step a handful of centroids that jump would spoil the bounds of all rows.
//! 3. Rows with u >= l after step 2 are measured. Those that stay so go through the `f32` tile and its certificate, like
//!    the rows that a screen leaves.
//!
//! Counts decide which step follows, never a clock.

use std::sync::Arc;

use bytemuck::bytes_of;

use super::kernels::{
    DoubtParams, GAUGE_LANES, GAUGE_ROWS, GaugeParams, ShiftParams, doubt_kernel, gauge_kernel, shift_kernel,
};
use super::plan::{FEW, Plan, Shape};
use crate::device::{Batch, DeviceBuffer, Gpu, Pipeline, Stage};
use crate::error::Result;
use crate::kmeans::cpu::prune::bounds::{Margin, Moves};
use crate::kmeans::params::{Params, Prune};
use crate::tile::nearest::gpu::{Cascade, Reach, Task};
use crate::tile::operands::columns::Columns;
use crate::tile::operands::gpu::columns::DeviceColumns;
use crate::tile::trials::Trials;

/// Operations of a pass below which finding the list takes longer than the pass: an estimate for a fast device.
const LEAST_WORK: f64 = 2e10;
/// The same where dense passes go to the device in bursts, which pruned ones do not: an estimate, too.
const LEAST_WORK_BESIDE_BURSTS: f64 = 2e11;
/// Rows of a list take so many times as long as those of a dense pass by the `f32` tile, and by matrix units.
const LIST_COST: f64 = 1.3;
const LIST_COST_BESIDE_UNITS: f64 = 4.5;
/// A pass that promises to take more of a dense one is dense.
const WORTH: f64 = 0.9;
/// Passes after a trial that did not pay, at first and at most.
const WAITS: [u32; 2] = [2, 4];
/// Rows of a workgroup.
const ROWS_PER_WORKGROUP: u32 = 256;

/// What leaves rows out.
pub(crate) struct Pruner {
    is_always: bool,
    margin: Margin,
    depth: usize,
    list_cost: f64,
    shift: Arc<Pipeline>,
    gauge: Arc<Pipeline>,
    doubt: Arc<Pipeline>,
    /// Bounds of each window's rows.
    reach: Vec<DeviceBuffer>,
    /// The centroids that the bounds are about; none where nothing is known.
    bounded: Vec<f64>,
    moves: Moves,
    /// How far the centroids moved, where the pass is a trial.
    trial: Option<Trial>,
    trials: Trials,
}

struct Trial {
    shifts: DeviceBuffer,
    /// Of the centroids that are not among the few: which moved farthest, how far, and the farthest of the others.
    farthest: u32,
    largest: f32,
    second: f32,
    has_paid: bool,
}

/// The centroids that moved farthest.
pub(crate) struct FarthestMoved {
    /// Row-major.
    pub centroids: Vec<f64>,
    /// Of each its label.
    pub labels: Vec<u32>,
}

/// The same on the device.
pub(crate) struct FarthestOnDevice<'b> {
    columns: DeviceColumns<'b>,
    labels: DeviceBuffer,
}

impl<'b> FarthestOnDevice<'b> {
    /// Copies them, with the codebook that they make.
    pub fn new(
        gpu: &Gpu,
        labeller: &Cascade,
        farthest: &FarthestMoved,
        book: &'b Columns<'b>,
    ) -> Result<Self> {
        Ok(Self {
            columns: labeller.columns(book)?,
            labels: gpu.filled("labels of the farthest", &farthest.labels)?,
        })
    }
}

impl Pruner {
    /// Whether a fit may prune, whose dense passes may go `in_bursts`.
    pub fn is_wanted(shape: &Shape, params: &Params, in_bursts: bool) -> bool {
        let work = 2.0 * shape.rows as f64 * shape.columns as f64 * shape.n_clusters as f64;
        let least = if in_bursts { LEAST_WORK_BESIDE_BURSTS } else { LEAST_WORK };
        (params.prune == Prune::Always || work >= least) && shape.n_clusters > 1 && params.recheck
    }

    /// Room for the bounds of all rows.
    pub fn new(gpu: &Gpu, plan: &Plan, shape: &Shape, params: &Params) -> Result<Self> {
        let windows = plan.windows(shape.rows);
        let reach = windows.map(|(_, rows)| gpu.buffer("reach", 8 * rows as u64)).collect::<Result<_>>()?;
        Ok(Self {
            is_always: params.prune == Prune::Always,
            margin: Margin::new(params.careless),
            depth: shape.columns,
            list_cost: if plan.matrix.is_some() { LIST_COST_BESIDE_UNITS } else { LIST_COST },
            shift: gpu.pipeline(&shift_kernel()?)?,
            gauge: gpu.pipeline(&gauge_kernel()?)?,
            doubt: gpu.pipeline(&doubt_kernel()?)?,
            reach,
            bounded: Vec::new(),
            moves: Moves::default(),
            trial: None,
            trials: Trials::new(WAITS[0], WAITS[1]),
        })
    }

    /// Bounds of a window's rows.
    pub fn reach(&self, window: usize) -> Reach<'_> {
        Reach { bounds: &self.reach[window], subset: None }
    }

    /// New centroids that have nothing to do with the last ones.
    pub fn restart(&mut self) {
        self.bounded.clear();
        self.trials.paid();
    }

    /// Before a pass, where bounds hold and a trial is due: how far the centroids moved. Returns the few that all rows are to
    /// meet, in tiles of `tile_columns`.
    pub fn begin(&mut self, gpu: &Gpu, book: &Columns, tile_columns: usize) -> Result<Option<FarthestMoved>> {
        self.trial = None;
        // Centroids that were merged may part: then bounds on the others say nothing.
        if self.bounded.len() != book.exact.len() {
            return Ok(None);
        }
        if !self.trials.is_due() && !self.is_always {
            self.trials.wait();
            return Ok(None);
        }
        self.moves.measure(&self.bounded, &book.exact, self.depth);
        let shifts = &self.moves.shifts;
        let mut order: Vec<u32> = (0..shifts.len() as u32).collect();
        let shift = |&label: &u32| shifts[label as usize];
        order.sort_unstable_by(|a, b| f32::total_cmp(&shift(b), &shift(a)).then(a.cmp(b)));
        let farthest = (shifts.len() / FEW).next_multiple_of(tile_columns);
        // Where they are many beside the others, they cost more than they tell.
        let farthest = if farthest <= shifts.len() / 3 { farthest } else { 0 };
        let (met, others) = order.split_at(farthest);
        self.trial = Some(Trial {
            shifts: gpu.filled("shifts", shifts)?,
            farthest: others[0],
            largest: shift(&others[0]),
            second: others.get(1).map_or(0.0, shift),
            has_paid: true,
        });
        let centroid = |&label: &u32| &book.exact[label as usize * self.depth..][..self.depth];
        let centroids = met.iter().flat_map(centroid).copied().collect();
        Ok((farthest > 0).then(|| FarthestMoved { centroids, labels: met.to_vec() }))
    }

    /// Lists the rows of a window that bounds leave open. Returns how many, if there are few enough, and how many centroids all
    /// rows met.
    pub fn doubts(
        &mut self,
        gpu: &Gpu,
        labeller: &mut Cascade,
        task: &Task,
        window: usize,
        farthest: Option<&FarthestOnDevice>,
    ) -> Result<Option<(u32, usize)>> {
        let (list_cost, is_always) = (self.list_cost, self.is_always);
        let Some(trial) = &self.trial else { return Ok(None) };
        let (rows, n_clusters) = (task.window.rows, self.moves.shifts.len());
        let met = farthest.map_or(0, |farthest| farthest.columns.host.len());
        let costs = |count: u32, met: usize| {
            list_cost * f64::from(count) / rows as f64 + met as f64 / n_clusters as f64
        };
        // A device that lists more rows than there are is not believed.
        let believed = |count: u32| count.min(rows as u32);
        let most = gpu.limits().max_workgroups_per_dimension;
        let step = BoundsStep { pruner: self, task, bounds: &self.reach[window], most };
        let [list, counters] = labeller.listed();
        let mut batch = gpu.batch(Stage::Bounds);
        batch.clear_part(counters.slice(0, 8))?;
        step.shift(&mut batch, trial)?;
        step.open(&mut batch, [list, counters])?;
        let read = batch.submit_and_read(&[(counters, 0..4)])?;
        let mut count = believed(bytemuck::pod_read_unaligned(&read[0]));
        let mut has_paid = costs(count, met) <= WORTH;
        let mut goes_on = has_paid || is_always;
        if goes_on && let Some(farthest) = farthest {
            let reach = Some(Reach { bounds: step.bounds, subset: Some(&farthest.labels) });
            let approach = Task { columns: &farthest.columns, reach, ..*task };
            count = believed(labeller.approach(&approach, &|batch, listed| step.open(batch, listed))?);
            has_paid = costs(count, met) <= WORTH;
            goes_on = costs(count, 0) <= WORTH || is_always;
        }
        if let Some(trial) = &mut self.trial {
            trial.has_paid &= has_paid;
        }
        Ok(goes_on.then_some((count, met)))
    }

    /// After a pass, which left bounds about these centroids for all rows.
    pub fn end(&mut self, book: &Columns, n_clusters: usize) {
        self.bounded.clear();
        if book.len() == n_clusters {
            self.bounded.extend_from_slice(&book.exact);
        }
        if let Some(trial) = self.trial.take() {
            if trial.has_paid { self.trials.paid() } else { self.trials.failed() }
        }
    }
}

/// One look at the bounds of a window.
struct BoundsStep<'a> {
    pruner: &'a Pruner,
    task: &'a Task<'a>,
    bounds: &'a DeviceBuffer,
    /// Workgroups along a dimension of a dispatch at most.
    most: u32,
}

impl<'a> BoundsStep<'a> {
    /// Workgroups for all rows, so many each.
    fn grid(&self, rows_each: u32) -> [u32; 3] {
        let workgroups = (self.task.window.rows as u32).div_ceil(rows_each);
        let across = workgroups.min(self.most);
        [across, workgroups.div_ceil(across), 1]
    }

    fn sizes(&self) -> (u32, u32) {
        (self.task.window.rows as u32, self.pruner.moves.shifts.len() as u32)
    }

    /// Moves the bounds along with the centroids.
    fn shift(&self, batch: &mut Batch<'a>, trial: &'a Trial) -> Result<()> {
        let ((rows, n_clusters), grid) = (self.sizes(), self.grid(ROWS_PER_WORKGROUP));
        let Trial { farthest, largest, second, .. } = *trial;
        let params = ShiftParams { rows, n_clusters, across: grid[0], farthest, largest, second };
        let bindings = [self.task.nearest.whole(), trial.shifts.whole(), self.bounds.whole()];
        batch.dispatch(&self.pruner.shift, &bindings, bytes_of(&params), grid)
    }

    /// Measures the rows that are open, where the centroids are one window, and lists those that stay so.
    fn open(&self, batch: &mut Batch<'a>, [list, counters]: [&'a DeviceBuffer; 2]) -> Result<()> {
        let Self { pruner, task, bounds, .. } = *self;
        let ((rows, n_clusters), margin) = (self.sizes(), pruner.margin.factor());
        if let Some(centroids) = task.columns.single.whole() {
            let (grid, depth) = (self.grid(GAUGE_ROWS), pruner.depth);
            let params = GaugeParams {
                rows,
                n_clusters,
                across: grid[0],
                depth: depth as u32,
                margin,
                // A sum goes through one addition in so many features, and a few more.
                slack: (depth as u32).div_ceil(GAUGE_LANES).saturating_add(32) as f32 * 2.0_f32.powi(-22),
                least: (depth as f32).sqrt() * 2e-19,
            };
            let bindings = [
                task.window.x.whole(),
                task.window.norms.whole(),
                centroids.whole(),
                task.nearest.whole(),
                bounds.whole(),
            ];
            batch.dispatch(&pruner.gauge, &bindings, bytes_of(&params), grid)?;
        }
        let grid = self.grid(ROWS_PER_WORKGROUP);
        let params = DoubtParams { rows, n_clusters, across: grid[0], margin };
        let bindings = [task.nearest.whole(), bounds.whole(), list.whole(), counters.whole()];
        batch.dispatch(&pruner.doubt, &bindings, bytes_of(&params), grid)
    }
}
