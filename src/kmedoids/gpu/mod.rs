//! FasterPAM and PAM on a GPU. All columns, and what the objects know, stay there; the device decides which swap is taken
//! and goes on by itself. The host reads where the search is once per submission of several steps.
//!
//! The integers are those of the processor's search, so the swaps are too.

pub(crate) mod kernels;
pub(crate) mod plan;

use std::sync::Arc;

use bytemuck::{bytes_of, pod_read_unaligned};

use self::kernels::{
    BringParams, ChooseParams, Control, ExchangeParams, GainParams, bring_kernel, choose_kernel,
    exchange_kernel, gain_kernel,
};
use self::plan::Plan;
use super::columns::Columns;
use super::entry::Entry;
use super::grid::Grid;
use super::objective::Loss;
use super::params::{Method, Params};
use super::problem::Found;
use super::results::SearchStats;
use super::state::State;
use crate::cancel::Cancel;
use crate::device::{Batch, DeviceBuffer, Gpu, Pipeline};
use crate::error::Result;
use crate::memory::{self, area};

/// Improves medoids on the device; `None` where it does not perform the method, the type or the size.
pub(super) fn improve<T: Entry>(
    gpu: &Gpu,
    (all, grid): (&Columns<T>, Grid),
    first: &[usize],
    params: &Params,
) -> Result<Option<Found>> {
    if !params.method.has_kernels() {
        return Ok(None);
    }
    let is_eager = params.method == Method::FasterPam;
    let Some(values) = all.whole().and_then(T::as_f32) else { return Ok(None) };
    let mut limits = gpu.limits();
    limits.budget_bytes = limits.budget_bytes.min(gpu.free_bytes());
    let Some(plan) = Plan::new(all.objects(), first.len(), gpu.is_software(), &limits) else {
        return Ok(None);
    };
    let state = State::new(Loss { grid }, all, None, first.to_vec())?;
    let mut search = Search::new(gpu, plan, all, values, &state, grid.unit(), is_eager)?;
    let stats = if is_eager {
        search.eager(params.max_iter, &params.cancel)?
    } else {
        search.steepest(params.max_iter, &params.cancel)?
    };
    Ok(Some(Found::new(search.medoids()?, stats)))
}

struct Search {
    gpu: Gpu,
    plan: Plan,
    objects: usize,
    places: usize,
    unit: i32,
    windows: Vec<DeviceBuffer>,
    limits: DeviceBuffer,
    near: DeviceBuffer,
    removal: DeviceBuffer,
    is_medoid: DeviceBuffer,
    medoids: DeviceBuffer,
    chosen: DeviceBuffer,
    column: DeviceBuffer,
    outcomes: DeviceBuffer,
    control: DeviceBuffer,
    gain: Arc<Pipeline>,
    choose: Arc<Pipeline>,
    bring: Arc<Pipeline>,
    exchange: Arc<Pipeline>,
}

impl Search {
    fn new<T: Entry>(
        gpu: &Gpu,
        plan: Plan,
        columns: &Columns<T>,
        values: &[f32],
        state: &State<T, Loss<Grid>, 2>,
        unit: i32,
        is_eager: bool,
    ) -> Result<Self> {
        let (objects, cancel, places) = (columns.objects(), columns.cancel(), state.medoids().len());
        memory::ask("what goes to the device", &[area::<u32>(objects, places.saturating_add(8))])?;
        let windows = plan.windows(objects).map(|(first, end)| {
            cancel.check()?;
            gpu.filled("columns", &values[first * objects..end * objects])
        });
        let windows = windows.collect::<Result<_>>()?;
        // A zero has one sign, as the kernels' own copies have.
        let bits = |d: T| (d.wide() as f32 + 0.0).to_bits();
        let near: Vec<[u32; 4]> = state.nearest().map(|([n, s], [a, b])| [bits(n), bits(s), a, b]).collect();
        let limits: Vec<u32> = near.iter().map(|near| near[1]).collect();
        let chosen: Vec<u32> = state
            .medoids()
            .iter()
            .flat_map(|&medoid| &values[medoid * objects..][..objects])
            .map(|d| (d + 0.0).to_bits())
            .collect();
        let mut is_medoid = vec![0_u32; objects];
        state.medoids().iter().for_each(|&medoid| is_medoid[medoid] = 1);
        let medoids: Vec<u32> = state.medoids().iter().map(|&medoid| medoid as u32).collect();
        Ok(Self {
            gpu: gpu.clone(),
            plan,
            objects,
            places,
            unit,
            windows,
            limits: gpu.filled("limits", &limits)?,
            near: gpu.filled("nearest medoids", &near)?,
            removal: gpu.filled("removal", state.removal())?,
            is_medoid: gpu.filled("roles", &is_medoid)?,
            medoids: gpu.filled("medoids", &medoids)?,
            chosen: gpu.filled("medoids' columns", &chosen)?,
            column: gpu.buffer("column", 4 * objects as u64)?,
            outcomes: gpu.buffer("outcomes", 16 * objects.max(plan.together as usize) as u64)?,
            control: gpu.buffer("control", size_of::<Control>() as u64)?,
            gain: gpu.pipeline(&gain_kernel(is_eager)?)?,
            choose: gpu.pipeline(&choose_kernel(is_eager)?)?,
            bring: gpu.pipeline(&bring_kernel()?)?,
            exchange: gpu.pipeline(&exchange_kernel()?)?,
        })
    }

    /// FasterPAM's order. Steps beyond the end of a window, or of the search, do nothing.
    fn eager(&mut self, max_iter: usize, cancel: &Cancel) -> Result<SearchStats> {
        let objects = self.objects as u32;
        let mut at = Control { together: 1, ..Control::default() };
        let mut stats = SearchStats::default();
        while stats.iterations < max_iter && !stats.converged {
            stats.iterations += 1;
            at.next = 0;
            for (window, (first, end)) in self.plan.windows(self.objects).enumerate() {
                self.gpu.write(&self.control, 0, bytes_of(&at))?;
                while at.next < end as u32 && at.since < objects {
                    cancel.check()?;
                    let mut batch = self.gpu.batch("swaps");
                    for _ in 0..self.plan.steps {
                        self.judge(&mut batch, window, (first, end), [self.plan.together, 1, 1])?;
                        self.take(&mut batch, end)?;
                        self.bring(&mut batch, window, (first, end))?;
                        self.exchange(&mut batch)?;
                    }
                    at = self.read(batch)?;
                }
            }
            stats.converged = at.since >= objects;
        }
        stats.swaps = at.swaps as usize;
        Ok(stats)
    }

    /// PAM's order: one step looks at all candidates.
    fn steepest(&mut self, max_iter: usize, cancel: &Cancel) -> Result<SearchStats> {
        let mut at = Control::default();
        self.gpu.write(&self.control, 0, bytes_of(&at))?;
        let mut stats = SearchStats::default();
        let most = self.gpu.limits().max_workgroups_per_dimension;
        while stats.iterations < max_iter && !stats.converged {
            stats.iterations += 1;
            for (window, (first, end)) in self.plan.windows(self.objects).enumerate() {
                // No submission takes longer than one of an eager search.
                let count = (self.plan.steps * self.plan.together as usize).min(end - first);
                for start in (first..end).step_by(count) {
                    cancel.check()?;
                    let columns = (end - start).min(count) as u32;
                    let across = columns.min(most);
                    let mut batch = self.gpu.batch("swaps");
                    self.judge(&mut batch, window, (start, end), [across, columns.div_ceil(across), 1])?;
                    batch.submit()?;
                }
            }
            let mut batch = self.gpu.batch("swaps");
            self.take(&mut batch, self.objects)?;
            for (window, range) in self.plan.windows(self.objects).enumerate() {
                self.bring(&mut batch, window, range)?;
            }
            self.exchange(&mut batch)?;
            at = self.read(batch)?;
            stats.converged = at.found == 0;
        }
        stats.swaps = at.swaps as usize;
        Ok(stats)
    }

    fn read(&self, batch: Batch) -> Result<Control> {
        let bytes = batch.submit_and_read(&[(&self.control, 0..self.control.size_bytes())])?;
        Ok(pod_read_unaligned(&bytes[0]))
    }

    /// The places' medoids as they are now.
    fn medoids(&self) -> Result<Vec<usize>> {
        let bytes = self.gpu.read(&[(&self.medoids, 0..self.medoids.size_bytes())])?;
        Ok(bytes[0].chunks_exact(4).map(|bytes| pod_read_unaligned::<u32>(bytes) as usize).collect())
    }

    /// Judges candidates from `first` on that are in a window, which ends at `end`.
    fn judge<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        window: usize,
        (first, end): (usize, usize),
        workgroups: [u32; 3],
    ) -> Result<()> {
        let params = GainParams {
            objects: self.objects as u32,
            places: self.places as u32,
            held: self.plan.windows(self.objects).nth(window).map_or(0, |(first, _)| first as u32),
            first: first as u32,
            end: end as u32,
            across: workgroups[0],
            unit: self.unit,
        };
        let bindings = [
            self.windows[window].whole(),
            self.limits.whole(),
            self.near.whole(),
            self.removal.whole(),
            self.is_medoid.whole(),
            self.control.whole(),
            self.outcomes.whole(),
        ];
        batch.dispatch(&self.gain, &bindings, bytes_of(&params), workgroups)
    }

    fn take<'a>(&'a self, batch: &mut Batch<'a>, end: usize) -> Result<()> {
        let params = ChooseParams {
            candidates: self.objects as u32,
            end: end as u32,
            most_together: self.plan.together,
        };
        let bindings =
            [self.outcomes.whole(), self.control.whole(), self.medoids.whole(), self.is_medoid.whole()];
        batch.dispatch(&self.choose, &bindings, bytes_of(&params), [1, 1, 1])
    }

    fn bring<'a>(&'a self, batch: &mut Batch<'a>, window: usize, (first, end): (usize, usize)) -> Result<()> {
        let params = BringParams { objects: self.objects as u32, first: first as u32, end: end as u32 };
        let bindings = [self.windows[window].whole(), self.control.whole(), self.column.whole()];
        batch.dispatch(&self.bring, &bindings, bytes_of(&params), self.over_objects())
    }

    fn exchange<'a>(&'a self, batch: &mut Batch<'a>) -> Result<()> {
        let params =
            ExchangeParams { objects: self.objects as u32, places: self.places as u32, unit: self.unit };
        let bindings = [
            self.column.whole(),
            self.control.whole(),
            self.chosen.whole(),
            self.near.whole(),
            self.limits.whole(),
            self.removal.whole(),
        ];
        batch.dispatch(&self.exchange, &bindings, bytes_of(&params), self.over_objects())
    }

    fn over_objects(&self) -> [u32; 3] {
        [(self.objects as u32).div_ceil(256), 1, 1]
    }
}
