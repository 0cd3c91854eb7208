//! Exact pruning on the GPU: rows whose label cannot have changed are not multiplied.
//!
//! Each row keeps bounds on its distances, as on the CPU ([`super::prune`]): u to the centroid of its label, l to every
//! other. Every tier of a pass writes them (`shaders/tile/reach.wgsl`). Once the centroids have moved:
//!
//! 1. u grows by the shift of the label's centroid, l shrinks by the largest shift of the others
//!    (`shaders/kmeans/shift.wgsl`), but for the few that moved farthest. Rows with u >= l, by the margin that covers the reference's own
//!    rounding, are counted (`shaders/kmeans/doubt.wgsl`). The few hardly ever make them fewer: if they are too many, the pass is dense.
//! 2. All rows meet those few centroids. Their values lower l to what is known of the few, and often u too
//!    (`shaders/tile/approach.wgsl`). A handful of centroids that jump would else spoil the bounds of all rows.
//! 3. The rows that are open now are listed and go through the `f32` tile and its certificate, as rows that a screen leaves
//!    do.
//!
//! Counts decide what is done, not a clock.

use std::sync::Arc;

use bytemuck::bytes_of;

use super::gpu_kernels::{DoubtParams, ShiftParams, doubt_kernel, shift_kernel};
use super::params::{Params, Prune};
use super::plan::{Plan, Shape};
use super::prune::bounds::{Margin, Moves};
use crate::device::{DeviceBuffer, Gpu, Pipeline};
use crate::error::Result;
use crate::tile::codebook::Codebook;
use crate::tile::gpu::{Labeller, Reach, Task};
use crate::tile::gpu_book::DeviceBook;

/// Operations of a pass below which finding the list takes longer than the pass: an estimate for a fast device.
const LEAST_WORK: f64 = 2e10;
/// Rows of a list take so many times as long as those of a dense pass by the `f32` tile, and by matrix units.
const LIST_COST: f64 = 1.3;
const LIST_COST_BESIDE_UNITS: f64 = 4.5;
/// A pass that promises to take more of a dense one is dense.
const WORTH: f64 = 0.9;
/// One centroid in so many is met by all rows.
const FEW: usize = 8;
/// Most passes without a trial.
const LONGEST_WAIT: u32 = 4;
/// Rows of a workgroup.
const ROWS_PER_WORKGROUP: u32 = 256;

/// What leaves rows out.
pub(super) struct Pruner {
    is_always: bool,
    margin: Margin,
    depth: usize,
    list_cost: f64,
    shift: Arc<Pipeline>,
    doubt: Arc<Pipeline>,
    /// Bounds of each window's rows.
    reach: Vec<DeviceBuffer>,
    /// The centroids that the bounds are about; none where nothing is known.
    bounded: Vec<f64>,
    moves: Moves,
    /// How far the centroids moved, where the pass is a trial.
    trial: Option<Trial>,
    /// Passes until the next trial, and what that becomes where a trial does not pay.
    wait: u32,
    patience: u32,
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
pub(super) struct Few {
    /// Row-major.
    pub centroids: Vec<f64>,
    /// Of each its label.
    pub labels: Vec<u32>,
}

/// The same on the device.
pub(super) struct DeviceFew<'b> {
    pub book: DeviceBook<'b>,
    pub labels: DeviceBuffer,
}

impl Pruner {
    /// Whether a fit may prune.
    pub fn is_wanted(shape: &Shape, params: &Params) -> bool {
        let work = 2.0 * shape.rows as f64 * shape.columns as f64 * shape.n_clusters as f64;
        let is_worth = match params.prune {
            Prune::Never => false,
            Prune::Auto => work >= LEAST_WORK,
            Prune::Always => true,
        };
        is_worth && shape.n_clusters > 1 && params.recheck
    }

    /// Room for the bounds of all rows, where the plan keeps them.
    pub fn new(gpu: &Gpu, plan: &Plan, shape: &Shape, params: &Params) -> Result<Option<Self>> {
        if !plan.keeps_reach {
            return Ok(None);
        }
        let windows = plan.windows(shape.rows);
        let reach = windows.map(|(_, rows)| gpu.buffer("reach", 8 * rows as u64)).collect::<Result<_>>()?;
        Ok(Some(Self {
            is_always: params.prune == Prune::Always,
            margin: Margin::new(params.careless),
            depth: shape.columns,
            list_cost: if plan.matrix.is_some() { LIST_COST_BESIDE_UNITS } else { LIST_COST },
            shift: gpu.pipeline(&shift_kernel()?)?,
            doubt: gpu.pipeline(&doubt_kernel()?)?,
            reach,
            bounded: Vec::new(),
            moves: Moves::default(),
            trial: None,
            wait: 0,
            patience: 1,
        }))
    }

    /// Bounds of a window's rows.
    pub fn reach(&self, window: usize) -> Reach<'_> {
        Reach { bounds: &self.reach[window], few: None }
    }

    /// New centroids that have nothing to do with the last ones.
    pub fn restart(&mut self) {
        self.bounded.clear();
        (self.wait, self.patience) = (0, 1);
    }

    /// Before a pass, where bounds hold and a trial is due: how far the centroids moved. Returns the few that all rows are to
    /// meet, in tiles of `tile_columns`.
    pub fn begin(&mut self, gpu: &Gpu, book: &Codebook, tile_columns: usize) -> Result<Option<Few>> {
        self.trial = None;
        // Centroids that were merged may part: then bounds on the others say nothing.
        if self.bounded.len() != book.exact.len() {
            return Ok(None);
        }
        if self.wait > 0 && !self.is_always {
            self.wait -= 1;
            return Ok(None);
        }
        self.moves.measure(&self.bounded, &book.exact, self.depth);
        let shifts = &self.moves.shifts;
        let mut order: Vec<u32> = (0..shifts.len() as u32).collect();
        let shift = |&label: &u32| shifts[label as usize];
        order.sort_unstable_by(|a, b| f32::total_cmp(&shift(b), &shift(a)).then(a.cmp(b)));
        let few = (shifts.len() / FEW).next_multiple_of(tile_columns);
        // Where they are many beside the others, they cost more than they tell.
        let few = if few <= shifts.len() / 3 { few } else { 0 };
        let (met, others) = order.split_at(few);
        self.trial = Some(Trial {
            shifts: gpu.filled("shifts", shifts)?,
            farthest: others[0],
            largest: shift(&others[0]),
            second: others.get(1).map_or(0.0, shift),
            has_paid: true,
        });
        let centroid = |&label: &u32| &book.exact[label as usize * self.depth..][..self.depth];
        let centroids = met.iter().flat_map(centroid).copied().collect();
        Ok((few > 0).then(|| Few { centroids, labels: met.to_vec() }))
    }

    /// Lists the rows of a window that bounds leave open. Returns how many, if there are few enough, and in how many products
    /// with the few all rows were.
    pub fn doubts(
        &mut self,
        gpu: &Gpu,
        labeller: &mut Labeller,
        task: &Task,
        window: usize,
        few: Option<&DeviceFew>,
    ) -> Result<Option<(u32, usize)>> {
        let Self { shift, doubt, margin, list_cost, is_always, .. } = self;
        let (Some(trial), bounds) = (&mut self.trial, &self.reach[window]) else { return Ok(None) };
        let rows = task.window.rows;
        let workgroups = (rows as u32).div_ceil(ROWS_PER_WORKGROUP);
        let across = workgroups.min(gpu.limits().max_workgroups_per_dimension);
        let grid = [across, workgroups.div_ceil(across), 1];
        let n_clusters = self.moves.shifts.len();
        let list =
            DoubtParams { rows: rows as u32, n_clusters: n_clusters as u32, across, margin: margin.factor() };
        let moved = ShiftParams {
            rows: list.rows,
            n_clusters: list.n_clusters,
            across,
            farthest: trial.farthest,
            largest: trial.largest,
            second: trial.second,
        };
        let count_of = |bytes: &[u8]| {
            // A device that lists more rows than there are is not believed.
            bytemuck::pod_read_unaligned::<u32>(bytes).min(rows as u32)
        };
        let [listed, counters] = labeller.listed();
        let mut batch = gpu.batch("doubt");
        batch.clear_part(counters.slice(0, 8))?;
        let bindings = [task.labels.whole(), trial.shifts.whole(), bounds.whole()];
        batch.dispatch(shift, &bindings, bytes_of(&moved), grid)?;
        let bindings = [task.labels.whole(), bounds.whole(), listed.whole(), counters.whole()];
        batch.dispatch(doubt, &bindings, bytes_of(&list), grid)?;
        let mut count = count_of(&batch.submit_and_read(&[(counters, 0..4)])?[0]);
        let met = few.map_or(0, |few| few.book.book.len());
        let costs = |count: u32, met: usize| {
            *list_cost * f64::from(count) / rows as f64 + met as f64 / n_clusters as f64
        };
        trial.has_paid &= costs(count, met) <= WORTH;
        if !trial.has_paid && !*is_always {
            return Ok(None);
        }
        if let Some(few) = few {
            let reach = Some(Reach { bounds, few: Some(&few.labels) });
            let approach = Task { book: &few.book, reach, ..*task };
            let labels = task.labels;
            let listed = labeller.approach(&approach, &|batch, [listed, counters]| {
                let bindings = [labels.whole(), bounds.whole(), listed.whole(), counters.whole()];
                batch.dispatch(doubt, &bindings, bytes_of(&list), grid)
            })?;
            count = listed.min(rows as u32);
            trial.has_paid &= costs(count, met) <= WORTH;
            if costs(count, 0) > WORTH && !*is_always {
                return Ok(None);
            }
        }
        Ok(Some((count, met)))
    }

    /// After a pass, which left bounds about these centroids for all rows.
    pub fn end(&mut self, book: &Codebook, n_clusters: usize) {
        self.bounded.clear();
        if book.len() == n_clusters {
            self.bounded.extend_from_slice(&book.exact);
        }
        if let Some(trial) = self.trial.take() {
            self.patience = if trial.has_paid { 1 } else { (2 * self.patience).min(LONGEST_WAIT) };
            self.wait = if trial.has_paid { 0 } else { self.patience };
        }
    }
}
