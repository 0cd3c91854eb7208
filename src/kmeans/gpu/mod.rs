//! One pass of Lloyd's algorithm on the GPU: certified labels, then the sums are brought up to them.

pub(crate) mod burst;
pub(crate) mod kernels;
pub(crate) mod label;
pub(crate) mod plan;
mod prune;
mod sums;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::cast_slice;

use self::plan::{Plan, Shape, Update, UpdatePlan};
use self::prune::{FarthestOnDevice, Pruner};
use self::sums::{Labelled, Summer};
use super::lloyd::{Burst, Pass, Passes, Start};
use super::params::{Params, Prune};
use super::problem::Problem;
use super::problem::Sums;
use crate::device::{DeviceBuffer, Gpu, Limits, Stage};
use crate::error::{Error, Result};
use crate::memory::zeroed;
use crate::tile::choice::tune::cache::table_of;
use crate::tile::nearest::gpu::{self as tile, Cascade, Task, Window};
use crate::tile::operands::columns::Columns;
use crate::tile::operands::gpu::columns::DeviceColumns;
use crate::tile::product::units;
use crate::tile::trials::Trials;

/// Labels that one thread takes at a time.
const LABELS_PART: usize = 16 << 10;
/// Iterations after a burst that took none to its end, at first and at most.
const WAITS: [u32; 2] = [2, 32];
/// Label of a row that has none yet.
const NO_LABEL: u32 = u32::MAX;

/// Rows that stay on the device over several fits.
pub(crate) struct Resident {
    window_rows: usize,
    windows: Vec<Window>,
    weights: Vec<DeviceBuffer>,
}

impl Resident {
    /// Whether a plan can use these windows.
    fn serves(&self, plan: &Plan, columns: usize) -> bool {
        let has_halves = |window: &Window| match (&window.halves, &plan.matrix) {
            (Some(halves), Some(tile)) => halves.serves(tile, columns),
            // Windows with `f16` copies that no screen reads are made again: the copies only take memory.
            (halves, None) => halves.is_none(),
            (None, Some(_)) => false,
        };
        plan.resident && self.window_rows == plan.window_rows && self.windows.iter().all(has_halves)
    }

    fn size_bytes(&self) -> u64 {
        let rows = self.windows.iter().flat_map(|window| [&window.x, &window.norms]);
        let halves = self.windows.iter().filter_map(|window| window.halves.as_ref());
        let halves = halves.flat_map(|halves| [&halves.x, &halves.residuals]);
        rows.chain(halves).chain(&self.weights).map(DeviceBuffer::size_bytes).sum()
    }
}

/// Where [`super::Data`] keeps them.
pub(crate) type ResidentSlot = Mutex<Option<Arc<Resident>>>;

/// Labels and sums on the GPU.
pub(crate) struct GpuPasses<'p, 'd> {
    pub(crate) gpu: Gpu,
    pub(crate) problem: &'p Problem<'d>,
    plan: Plan,
    resident: Option<Arc<Resident>>,
    pub(crate) labeller: Cascade,
    pub(crate) pruner: Option<Pruner>,
    pub(crate) summer: Summer,
    pub(crate) labels: Vec<DeviceBuffer>,
    /// For each row the label under which it is part of the sums, plus one, or 0.
    pub(crate) summed: Vec<DeviceBuffer>,
    /// Rows that changed in the last pass, `None` before the first.
    changed: Option<u64>,
    update: Option<(Update, bool, u32)>,
    shape: Shape,
    pub(crate) sums: Sums,
    /// Whether iterations go to the device by themselves.
    bursts: Trials,
    #[cfg(test)]
    pub(crate) taken: self::tests::Taken,
    #[cfg(test)]
    pub(crate) burst_taken: self::burst::tests::Taken,
}

impl<'p, 'd> GpuPasses<'p, 'd> {
    /// Copies the rows to the device, where they fit and are not there yet.
    pub fn new(gpu: &Gpu, problem: &'p Problem<'d>, params: &Params, slot: &ResidentSlot) -> Result<Self> {
        let shape = Shape {
            rows: problem.rows,
            columns: problem.columns,
            n_clusters: params.n_clusters,
            sums: true,
            weighted: problem.weights.is_some(),
            prunes: false,
        };
        // What the device cannot do alone: sums that the grid does not hold.
        let is_plain = !problem.may_lose_digits;
        let prunes = params.prune != Prune::Never && Pruner::is_wanted(&shape, params, is_plain);
        let shape = Shape { prunes, ..shape };
        let plan = plan_in_free_memory(gpu, &shape, slot)?;
        let labeller = Cascade::new(gpu, &plan.labeller(&shape), params.cancel.clone(), params.recheck)?;
        let pruner = plan.keeps_reach.then(|| Pruner::new(gpu, &plan, &shape, params)).transpose()?;
        let summer = Summer::new(gpu, &shape, &problem.grid)?;
        let per_row = |label| {
            let windows = plan.windows(problem.rows);
            windows.map(|(_, rows)| gpu.buffer(label, 4 * rows as u64)).collect::<Result<_>>()
        };
        let (labels, summed) = (per_row("labels")?, per_row("summed")?);
        let resident = if plan.resident { Some(resident(gpu, problem, &plan, slot)?) } else { None };
        let sums = Sums::new(params.n_clusters, problem.columns);
        let is_plain = is_plain && plan.resident;
        Ok(Self {
            gpu: gpu.clone(),
            problem,
            plan,
            resident,
            labeller,
            pruner,
            summer,
            labels,
            summed,
            changed: None,
            update: params.update,
            shape,
            sums,
            bursts: if is_plain { Trials::new(WAITS[0], WAITS[1]) } else { Trials::never() },
            #[cfg(test)]
            taken: self::tests::Taken::default(),
            #[cfg(test)]
            burst_taken: self::burst::tests::Taken::default(),
        })
    }

    /// The update step of the next pass; sums that it makes afresh are emptied.
    fn begin_update(&self) -> Result<UpdatePlan> {
        let mut plan = UpdatePlan::new(&self.shape, self.changed);
        if let Some(forced) = self.update {
            plan = plan.forced(&self.shape, forced, self.changed.is_none());
        }
        if plan.afresh {
            self.summer.clear(&self.gpu, &self.summed)?;
        }
        Ok(plan)
    }

    fn pass_window(
        &mut self,
        columns: &DeviceColumns,
        update: &UpdatePlan,
        window: &Window,
        weights: Option<&DeviceBuffer>,
        index: usize,
    ) -> Result<Pass> {
        let problem = self.problem;
        let labels = &self.labels[index];
        let load = |row: usize, x: &mut [f32]| problem.load(window.start + row, x);
        let reach = self.pruner.as_ref().map(|pruner| pruner.reach(index));
        let task =
            Task { columns, largest_norm: problem.largest_norm, window, nearest: labels, reach, load: &load };
        let labelled = self.labeller.search(&task)?;
        self.update_window(update, window, weights, index)?;
        Ok(self.passed(labelled, window.rows))
    }

    /// The pass over a window's rows that bounds leave open, where that pays.
    fn pass_doubts(
        &mut self,
        (columns, farthest): (&DeviceColumns, Option<&FarthestOnDevice>),
        update: &UpdatePlan,
        window: &Window,
        weights: Option<&DeviceBuffer>,
        index: usize,
    ) -> Result<Option<Pass>> {
        let Self { problem, labels, pruner, labeller, gpu, .. } = self;
        let Some(pruner) = pruner else { return Ok(None) };
        let load = |row: usize, x: &mut [f32]| problem.load(window.start + row, x);
        let task = Task {
            columns,
            largest_norm: problem.largest_norm,
            window,
            nearest: &labels[index],
            reach: None,
            load: &load,
        };
        let Some((count, met)) = pruner.doubts(gpu, labeller, &task, index, farthest)? else {
            return Ok(None);
        };
        let task = Task { reach: Some(pruner.reach(index)), ..task };
        let labelled = labeller.search_listed(&task, count)?;
        self.update_window(update, window, weights, index)?;
        let mut pass = self.passed(labelled, count as usize);
        pass.products += (window.rows * met) as u64;
        Ok(Some(pass))
    }

    /// Brings the sums up to the labels of a window.
    pub(crate) fn update_window(
        &self,
        update: &UpdatePlan,
        window: &Window,
        weights: Option<&DeviceBuffer>,
        index: usize,
    ) -> Result<()> {
        let rows = Labelled { window, weights, labels: &self.labels[index], summed: &self.summed[index] };
        let mut batch = self.gpu.batch(Stage::Sums);
        self.summer.record(&mut batch, update, &rows, self.labeller.scratch())?;
        batch.submit()
    }

    /// What labelling came to, in which `rows` rows met all centroids.
    pub(crate) fn passed(&self, labelled: tile::RowCounts, rows: usize) -> Pass {
        let tile::RowCounts { changed, screened, rechecked } = labelled;
        Pass { changed, screened, rechecked, products: (rows * self.sums.weights.len()) as u64 }
    }
}

/// A window on its way through the device.
struct Streamed {
    window: Window,
    weights: Option<DeviceBuffer>,
}

impl Streamed {
    fn new(gpu: &Gpu, problem: &Problem, plan: &Plan) -> Result<Self> {
        let window = Window::new(gpu, plan.window_rows, problem.columns, plan.matrix.as_ref())?;
        Ok(Self { window, weights: None })
    }

    /// Fills it with rows `start .. start + rows`.
    fn fill(&mut self, gpu: &Gpu, problem: &Problem, (start, rows): (usize, usize)) -> Result<()> {
        (self.window.start, self.window.rows) = (start, rows);
        upload(gpu, &mut self.window, problem)?;
        self.weights = upload_weights(gpu, problem, start, rows)?;
        Ok(())
    }
}

impl GpuPasses<'_, '_> {
    /// Remembers what the next pass builds on.
    fn ended(&mut self, book: &Columns, pass: Pass) -> Pass {
        self.changed = Some(pass.changed);
        if let Some(pruner) = &mut self.pruner {
            pruner.end(book, self.sums.weights.len());
        }
        pass
    }

    /// Two windows take turns: one is filled while the device works on the other.
    fn pass_streamed(
        &mut self,
        (columns, farthest): (&DeviceColumns, Option<&FarthestOnDevice>),
        update: &UpdatePlan,
    ) -> Result<Pass> {
        let (gpu, problem) = (self.gpu.clone(), self.problem);
        let windows: Vec<(usize, usize)> = self.plan.windows(problem.rows).collect();
        let mut current = Streamed::new(&gpu, problem, &self.plan)?;
        let mut next = Streamed::new(&gpu, problem, &self.plan)?;
        let mut pass = Pass::default();
        current.fill(&gpu, problem, windows[0])?;
        for index in 0..windows.len() {
            let (passed, filled) = rayon::join(
                || {
                    let (window, weights) = (&current.window, current.weights.as_ref());
                    match self.pass_doubts((columns, farthest), update, window, weights, index)? {
                        Some(passed) => Ok(passed),
                        None => self.pass_window(columns, update, window, weights, index),
                    }
                },
                || windows.get(index + 1).map_or(Ok(()), |&rows| next.fill(&gpu, problem, rows)),
            );
            pass = pass.plus(passed?);
            filled?;
            std::mem::swap(&mut current, &mut next);
        }
        Ok(pass)
    }
}

/// The plan for the memory that others leave free. Rows of an earlier fit that it has no use for are let go first.
fn plan_in_free_memory(gpu: &Gpu, shape: &Shape, slot: &ResidentSlot) -> Result<Plan> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let held = slot.as_ref().map_or(0, |resident| resident.size_bytes());
    let plan = Plan::new(shape, &limits_beside(gpu, held, shape)?, &table_of(gpu))?;
    if !slot.as_ref().is_some_and(|resident| resident.serves(&plan, shape.columns)) {
        *slot = None;
    }
    Ok(plan)
}

/// The device's limits, with the memory that is free or that the caller would free as the budget, and with the matrix
/// units that are to be used.
pub(crate) fn limits_beside(gpu: &Gpu, held_bytes: u64, shape: &Shape) -> Result<Limits> {
    let mut limits = gpu.limits();
    limits.matrix = units::units(gpu, shape.columns, shape.n_clusters)?;
    limits.budget_bytes = limits.budget_bytes.min(gpu.free_bytes() + held_bytes);
    Ok(limits)
}

/// The rows on the device: those of an earlier fit, or fresh copies.
fn resident(gpu: &Gpu, problem: &Problem, plan: &Plan, slot: &ResidentSlot) -> Result<Arc<Resident>> {
    let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(resident) = &*held
        && resident.serves(plan, problem.columns)
    {
        return Ok(Arc::clone(resident));
    }
    *held = None;
    drop(held);
    // No lock is held while rows are loaded: a thread that waits for others in there may take up another fit of this data.
    let mut resident = Resident { window_rows: plan.window_rows, windows: Vec::new(), weights: Vec::new() };
    for (start, rows) in plan.windows(problem.rows) {
        let mut window = Window::new(gpu, rows, problem.columns, plan.matrix.as_ref())?;
        window.start = start;
        upload(gpu, &mut window, problem)?;
        resident.windows.push(window);
        resident.weights.extend(upload_weights(gpu, problem, start, rows)?);
    }
    let resident = Arc::new(resident);
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&resident));
    Ok(resident)
}

fn upload(gpu: &Gpu, window: &mut Window, problem: &Problem) -> Result<()> {
    let start = window.start;
    gpu.write_rows(&window.x, problem.columns, &mut vec![(); window.rows], |first, x, _| {
        problem.load(start + first, x)
    })?;
    gpu.write(&window.norms, 0, cast_slice(&problem.norms[start..start + window.rows]))?;
    window.narrow(gpu, problem.columns, problem.largest_norm)
}

fn upload_weights(gpu: &Gpu, problem: &Problem, start: usize, rows: usize) -> Result<Option<DeviceBuffer>> {
    let Some(weights) = &problem.weights else { return Ok(None) };
    gpu.filled("weights", &weights[start..start + rows]).map(Some)
}

/// Brings the labels of as many rows as `to` has. A device that wrote anything else must not index out of our tables.
pub(crate) fn read_labels(gpu: &Gpu, labels: &DeviceBuffer, n_clusters: usize, to: &mut [u32]) -> Result<()> {
    let rows = to.len();
    let mut parts: Vec<&mut [u32]> = to.chunks_mut(LABELS_PART).collect();
    gpu.read_parts(labels, rows, LABELS_PART, &mut parts, |labels: &[u32], to| {
        to.copy_from_slice(labels);
        let Some(wrong) = labels.iter().find(|&&label| label as usize >= n_clusters) else { return Ok(()) };
        let reason = format!("label {wrong} of {n_clusters} clusters");
        Err(Error::WrongResult { device: gpu.name(), operation: "labelling", reason })
    })
}

/// Takes the labels of `rows` rows away.
pub(crate) fn forget(gpu: &Gpu, labels: &DeviceBuffer, rows: usize) -> Result<()> {
    gpu.write_rows(labels, 1, &mut vec![(); rows], |_, labels, _| {
        labels.fill(NO_LABEL);
        Ok(())
    })
}

impl Passes for GpuPasses<'_, '_> {
    fn reset(&mut self) -> Result<()> {
        for labels in &self.labels {
            forget(&self.gpu, labels, labels.size_bytes() as usize / 4)?;
        }
        self.changed = None;
        if let Some(pruner) = &mut self.pruner {
            pruner.restart();
        }
        Ok(())
    }

    fn assign(&mut self, book: &Columns) -> Result<Pass> {
        let columns = self.labeller.columns(book)?;
        let update = self.begin_update()?;
        let farthest = match &mut self.pruner {
            Some(pruner) => pruner.begin(&self.gpu, book, self.labeller.tile_columns())?,
            None => None,
        };
        let farthest_columns =
            farthest.as_ref().map(|farthest| Columns::new(&farthest.centroids, self.problem.columns));
        let on_device = |(farthest, book)| FarthestOnDevice::new(&self.gpu, &self.labeller, farthest, book);
        let farthest = farthest.as_ref().zip(farthest_columns.as_ref()).map(on_device).transpose()?;
        let books = (&columns, farthest.as_ref());
        let mut pass = Pass::default();
        match self.resident.clone() {
            Some(resident) => {
                let is_one = resident.windows.len() == 1;
                for (index, window) in resident.windows.iter().enumerate() {
                    let weights = resident.weights.get(index);
                    if let Some(listed) = self.pass_doubts(books, &update, window, weights, index)? {
                        pass = pass.plus(listed);
                        continue;
                    }
                    if is_one
                        && let Some(pass) = self.pass_in_one_submission(&columns, &update, window, weights)?
                    {
                        return Ok(self.ended(book, pass));
                    }
                    pass = pass.plus(self.pass_window(&columns, &update, window, weights, index)?);
                }
            }
            None => pass = self.pass_streamed(books, &update)?,
        }
        self.summer.read(&self.gpu, &mut self.sums)?;
        Ok(self.ended(book, pass))
    }

    fn burst(&mut self, start: &Start) -> Result<Option<Burst>> {
        self.perform_burst(start)
    }

    fn sums(&self) -> &Sums {
        &self.sums
    }

    fn labels(&mut self) -> Result<Vec<u32>> {
        let mut labels = zeroed("labels", self.problem.rows, 1)?;
        let windows = self.plan.windows(self.problem.rows);
        for ((start, rows), window) in windows.zip(&self.labels) {
            read_labels(&self.gpu, window, self.sums.weights.len(), &mut labels[start..start + rows])?;
        }
        Ok(labels)
    }
}
