//! Exact pruning on the GPU: rows whose label cannot have changed are not multiplied.
//!
//! Each row keeps bounds on its distances, as on the CPU ([`super::prune`]): u to the centroid of its label, l to every
//! other. Every tier of a pass writes them (`shaders/tile/reach.wgsl`). Once the centroids have moved `shaders/kmeans/doubt.wgsl`
//! moves the bounds too and lists the rows with u >= l, by the margin that covers the reference's own rounding: the first
//! of the CPU's rules. The host reads how many there are. If a list is worth it they go through the `f32` tile and its
//! certificate, as rows that a screen leaves do; if not, the whole window does what it would have done.
//!
//! The number of rows decides, not a clock: a list costs what its rows cost in `f32`, and finding it a few bytes per row.

use std::sync::Arc;

use bytemuck::bytes_of;

use super::gpu_kernels::{DoubtParams, doubt_kernel};
use super::params::{Params, Prune};
use super::plan::{Plan, Shape};
use super::prune::bounds::{Margin, Moves};
use crate::device::{DeviceBuffer, Gpu, Pipeline};
use crate::error::Result;
use crate::tile::codebook::Codebook;

/// Operations of a pass below which finding the list takes longer than the pass: an estimate for a fast device.
const LEAST_WORK: f64 = 2e10;
/// Share of the rows up to which the `f32` tile takes a list, instead of all of them.
const MOST_LISTED: f64 = 0.7;
/// The same instead of a screen on matrix units, which are about four times as fast.
const MOST_LISTED_BESIDE_UNITS: f64 = 0.2;
/// Most passes without a trial.
const LONGEST_WAIT: u32 = 16;
/// Rows of a workgroup.
const ROWS_PER_WORKGROUP: u32 = 256;

/// What leaves rows out.
pub(super) struct Pruner {
    is_always: bool,
    margin: Margin,
    depth: usize,
    has_units: bool,
    doubt: Arc<Pipeline>,
    /// Bounds of each window's rows.
    reach: Vec<DeviceBuffer>,
    /// The centroids that the bounds are about; none where nothing is known.
    bounded: Vec<f64>,
    moves: Moves,
    shifts: Option<DeviceBuffer>,
    /// Passes until the next trial, and what that becomes where a trial does not pay.
    wait: u32,
    patience: u32,
    /// Rows that the pass listed and that it met, where it tries.
    tried: Option<[u64; 2]>,
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
            has_units: plan.matrix.is_some(),
            doubt: gpu.pipeline(&doubt_kernel()?)?,
            reach,
            bounded: Vec::new(),
            moves: Moves::default(),
            shifts: None,
            wait: 0,
            patience: 1,
            tried: None,
        }))
    }

    /// Bounds of a window's rows.
    pub fn reach(&self, window: usize) -> &DeviceBuffer {
        &self.reach[window]
    }

    /// New centroids that have nothing to do with the last ones.
    pub fn restart(&mut self) {
        self.bounded.clear();
        (self.wait, self.patience) = (0, 1);
    }

    /// Before a pass: how far the centroids moved, where bounds hold and a trial is due.
    pub fn begin(&mut self, gpu: &Gpu, book: &Codebook) -> Result<()> {
        self.tried = None;
        // Centroids that were merged may part: then bounds on the others say nothing.
        if self.bounded.len() != book.exact.len() {
            return Ok(());
        }
        if self.wait > 0 && !self.is_always {
            self.wait -= 1;
            return Ok(());
        }
        self.moves.measure(&self.bounded, &book.exact, self.depth);
        self.shifts = Some(gpu.filled("shifts", &self.moves.shifts)?);
        self.tried = Some([0, 0]);
        Ok(())
    }

    /// The rows of a window that bounds leave open, listed where `listed` says, if there are few enough.
    pub fn doubts(
        &mut self,
        gpu: &Gpu,
        (window, rows): (usize, usize),
        labels: &DeviceBuffer,
        [list, counters]: [&DeviceBuffer; 2],
    ) -> Result<Option<u32>> {
        let (Some([listed, met]), Some(shifts)) = (&mut self.tried, &self.shifts) else { return Ok(None) };
        let workgroups = (rows as u32).div_ceil(ROWS_PER_WORKGROUP);
        let across = workgroups.min(gpu.limits().max_workgroups_per_dimension);
        let (farthest, largest, second) = self.moves.largest();
        let params = DoubtParams {
            rows: rows as u32,
            n_clusters: self.moves.shifts.len() as u32,
            across,
            farthest,
            largest,
            second,
            margin: self.margin.factor(),
        };
        let reach = &self.reach[window];
        let bindings = [labels.whole(), shifts.whole(), reach.whole(), list.whole(), counters.whole()];
        let mut batch = gpu.batch("doubt");
        batch.clear_part(counters.slice(0, 8))?;
        batch.dispatch(
            &self.doubt,
            &bindings,
            bytes_of(&params),
            [across, workgroups.div_ceil(across), 1],
        )?;
        let read = batch.submit_and_read(&[(counters, 0..4)])?;
        // A device that lists more rows than there are is not believed.
        let count = bytemuck::pod_read_unaligned::<u32>(&read[0]).min(rows as u32);
        *listed += u64::from(count);
        *met += rows as u64;
        let most = if self.has_units { MOST_LISTED_BESIDE_UNITS } else { MOST_LISTED };
        let pays = self.is_always || f64::from(count) <= most * rows as f64;
        Ok(pays.then_some(count))
    }

    /// After a pass, which left bounds about these centroids for all rows.
    pub fn end(&mut self, book: &Codebook, n_clusters: usize) {
        self.bounded.clear();
        if book.len() == n_clusters {
            self.bounded.extend_from_slice(&book.exact);
        }
        if let Some([listed, met]) = self.tried {
            let most = if self.has_units { MOST_LISTED_BESIDE_UNITS } else { MOST_LISTED };
            let has_paid = listed as f64 <= most * met as f64;
            self.patience = if has_paid { 1 } else { (2 * self.patience).min(LONGEST_WAIT) };
            self.wait = if has_paid { 0 } else { self.patience };
        }
    }
}
