//! One step of a model: a batch of rows with its routes, prepared once and applied to every group of modules.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::factors::{Factors, MAX_RANK};
use super::pool::{Lease, Operand};
use super::routes::Routes;
use super::segments::Segments;
use super::values::Scalar;
use super::{cpu, reference, route_order};
use crate::device::Backend;
use crate::error::{Error, Result};
use crate::memory::{self, area, zeroed};
#[cfg(feature = "gpu")]
use {
    super::gpu::plan::{self, BatchPlan},
    super::gpu::{OnDevice, copies},
    crate::tile::windows::windows,
};

/// A batch with its routes, sorted by adapter once and used by all layers. It holds its lease.
#[derive(Debug)]
pub struct Step {
    pub(crate) lease: Lease,
    routes: Routes,
    pub(crate) windows: Vec<Window>,
}

/// Rows that are worked on at once: all of them, unless that takes more memory than a GPU may use.
pub(crate) struct Window {
    pub rows: Range<usize>,
    pub segments: Segments,
    #[cfg(feature = "gpu")]
    pub on_device: Option<OnDevice>,
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window").field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// What the first product made: for each route `x A^T`, the projections of the group one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// The group it is of.
    group: usize,
    /// Where the values of each route begin, rows in order and the routes of a row in order; one more at the end.
    starts: Vec<usize>,
    /// First route of each row; one more at the end.
    row_starts: Vec<usize>,
    values: Vec<f32>,
}

impl Shrunk {
    /// The values of route `route` of row `row`: as many as the adapter's ranks in the group together. Panics beyond
    /// the last.
    pub fn of_route(&self, row: usize, route: usize) -> &[f32] {
        let at = self.row_starts[row] + route;
        assert!(at < self.row_starts[row + 1], "row {row} has no route {route}");
        &self.values[self.starts[at]..self.starts[at + 1]]
    }

    /// All values, route after route.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Where the values of a row's first route begin.
    #[cfg(feature = "gpu")]
    pub(crate) fn first_of_row(&self, row: usize) -> usize {
        self.starts[self.row_starts[row]]
    }
}

impl Lease {
    /// Prepares a batch: `routes` name the adapters by their slot in the lease.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a slot beyond the last and for a route whose scale times that of its adapter is infinite,
    /// and whatever the device says while the tables are sent.
    pub fn step(&self, routes: &Routes) -> Result<Step> {
        Step::new(self, routes, false)
    }
}

/// Kernels multiply both scales in `f32`: an infinite product would make rows infinite or NaN.
fn check_scales(lease: &Lease, routes: &Routes) -> Result<()> {
    for row in 0..routes.rows() {
        for route in routes.of_row(row) {
            let own = lease.members()[route.slot as usize].largest_scale;
            if !(route.scale * own).is_finite() {
                let rule = format!("a number whose product with the adapter's scale f32 holds (row {row})");
                return Err(Error::parameter(
                    "route scale",
                    rule,
                    format!("{:?} times {own:?}", route.scale),
                ));
            }
        }
    }
    Ok(())
}

impl Step {
    pub(crate) fn new(lease: &Lease, routes: &Routes, is_counted: bool) -> Result<Self> {
        routes.check(lease.slots())?;
        check_scales(lease, routes)?;
        let rows = routes.rows();
        // The routes once more, and in the order of their adapters.
        memory::ask("the routes of a batch", &[area::<u64>(routes.count(), 6), area::<u64>(rows, 3)])?;
        let mut step = Self { lease: lease.clone(), routes: routes.clone(), windows: Vec::new() };
        #[cfg(feature = "gpu")]
        if let Some(bank) = lease.bank() {
            let most_routes = (0..rows).map(|row| routes.of_row(row).len()).max().unwrap_or(0);
            let size = plan::window_rows(&step.widest(most_routes), &bank.gpu.limits());
            let residents: Vec<u32> = lease.members().iter().map(|member| member.number).collect();
            for (begin, count) in windows(rows, size, 1) {
                let window = begin..begin + count;
                let segments = Segments::new(routes, window.clone());
                let plan = BatchPlan::new(&segments, &residents)?;
                // Without routes there is nothing to launch.
                let on_device =
                    (plan.positions > 0).then(|| OnDevice::new(bank, plan, is_counted)).transpose()?;
                step.windows.push(Window { rows: window, segments, on_device });
            }
            return Ok(step);
        }
        let _ = is_counted;
        step.windows.push(Window {
            rows: 0..rows,
            segments: Segments::new(routes, 0..rows),
            #[cfg(feature = "gpu")]
            on_device: None,
        });
        Ok(step)
    }

    /// The largest sizes that one row takes in any group.
    #[cfg(feature = "gpu")]
    fn widest(&self, most_routes: usize) -> plan::RowSizes {
        let mut sizes = plan::RowSizes { routes: most_routes, ..Default::default() };
        for (number, group) in self.lease.groups().iter().enumerate() {
            let outputs = group.modules.iter().map(|module| module.outputs.next_multiple_of(4)).sum();
            let ranks = self.lease.members().iter().map(|member| member.ranks[number].iter().sum::<u32>());
            sizes.inputs = sizes.inputs.max(group.inputs().next_multiple_of(8));
            sizes.outputs = sizes.outputs.max(outputs);
            sizes.rank = sizes.rank.max(ranks.max().unwrap_or(0) as usize);
        }
        sizes
    }

    /// The routes of the batch.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The lease whose adapters the batch uses.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Updates the outputs of every module of group `group`, `y[i]` those of its module `i`:
    ///
    /// ```text
    /// y[i][row, j] += sum over routes (slot, s) of the row: s * scale * sum_r (sum_d x[row, d] A[r, d]) B[j, r]
    /// ```
    ///
    /// x is `[rows, inputs]`, y\[i\] `[rows, outputs of module i]`. Sums are `f32`, `y` is rounded once. A row without
    /// a route, or whose adapters have no update for a module, keeps its bits. A row's result depends on the row and
    /// its adapters alone, bit for bit: not on the other rows, their order or their number. NaN and infinity in a row
    /// of x reach that row of y and no other.
    ///
    /// # Errors
    /// [`Error::Shape`] where sizes disagree, [`Error::Parameter`] for a group beyond the last, device errors.
    pub fn apply<X: Scalar, Y: Scalar>(
        &self,
        group: usize,
        x: ArrayView2<'_, X>,
        y: &mut [ArrayViewMut2<'_, Y>],
    ) -> Result<()> {
        self.check_inputs(group, x.dim())?;
        self.check_outputs(group, y)?;
        match self.lease.backend() {
            Backend::Reference => {
                self.ask_for_reference(group)?;
                let shrunk = self.shrink_reference(group, &x);
                self.expand_reference(group, &shrunk, y);
                Ok(())
            }
            Backend::Cpu(pool) => {
                let mut targets = self.targets(group, y);
                cpu::apply(pool, &self.windows[0].segments, x, &mut targets)
            }
            #[cfg(feature = "gpu")]
            Backend::Gpu(_) => copies::apply(self, group, x, y),
        }
    }

    /// The first product alone: `x A^T` for every route.
    ///
    /// # Errors
    /// As [`Step::apply`].
    pub fn shrink<X: Scalar>(&self, group: usize, x: ArrayView2<'_, X>) -> Result<Shrunk> {
        self.check_inputs(group, x.dim())?;
        let mut shrunk = self.empty_shrunk(group)?;
        match self.lease.backend() {
            Backend::Reference => {
                self.ask_for_reference(group)?;
                let values = self.shrink_reference(group, &x);
                shrunk.values = values.into_iter().flatten().flatten().map(|value| value as f32).collect();
            }
            Backend::Cpu(pool) => {
                let operands = self.operands(group);
                let operands: Vec<_> = operands.iter().map(Vec::as_slice).collect();
                let segments = &self.windows[0].segments;
                let parts = cpu::shrink(pool, segments, x, &operands)?;
                route_order::gather(&mut shrunk, segments, &parts, self.module_ranks(group));
            }
            #[cfg(feature = "gpu")]
            Backend::Gpu(_) => copies::shrink(self, group, x, &mut shrunk)?,
        }
        Ok(shrunk)
    }

    /// The second product alone: adds `scale * shrunk B^T` to `y`. After [`Step::shrink`] of the same step it gives
    /// the bits of [`Step::apply`].
    ///
    /// # Errors
    /// As [`Step::apply`]; [`Error::Shape`] where `shrunk` is of another batch or group.
    pub fn expand<Y: Scalar>(
        &self,
        group: usize,
        shrunk: &Shrunk,
        y: &mut [ArrayViewMut2<'_, Y>],
    ) -> Result<()> {
        self.check_outputs(group, y)?;
        let expected = self.empty_shrunk(group)?;
        if shrunk.group != group
            || shrunk.starts != expected.starts
            || shrunk.row_starts != expected.row_starts
        {
            let got = format!("{} values of group {}", shrunk.values.len(), shrunk.group);
            let expected = format!("what shrink made of this batch for group {group}");
            return Err(Error::shape("shrunk", expected, got));
        }
        match self.lease.backend() {
            Backend::Reference => {
                self.ask_for_reference(group)?;
                self.expand_reference(group, &route_order::by_module(shrunk, self, group), y);
                Ok(())
            }
            Backend::Cpu(pool) => {
                let segments = &self.windows[0].segments;
                let parts =
                    route_order::scatter(shrunk, segments, self.module_ranks(group), &self.operands(group))?;
                cpu::expand(pool, segments, &parts, &mut self.targets(group, y))
            }
            #[cfg(feature = "gpu")]
            Backend::Gpu(_) => copies::expand(self, group, shrunk, y),
        }
    }

    pub(crate) fn check_inputs(&self, group: usize, got: (usize, usize)) -> Result<()> {
        let about = self.lease.group(group)?;
        if got != (self.routes.rows(), about.inputs()) {
            let expected =
                format!("{} x {}, the rows of the routes and the inputs", self.routes.rows(), about.inputs());
            return Err(Error::shape("x", expected, format!("{} x {}", got.0, got.1)));
        }
        Ok(())
    }

    fn check_outputs<Y>(&self, group: usize, y: &[ArrayViewMut2<'_, Y>]) -> Result<()> {
        let about = self.lease.group(group)?;
        if y.len() != about.modules.len() {
            let expected = format!("one array for each of {} modules", about.modules.len());
            return Err(Error::shape("y", expected, format!("{} arrays", y.len())));
        }
        for (array, module) in y.iter().zip(&about.modules) {
            if array.dim() != (self.routes.rows(), module.outputs) {
                let expected = format!("{} x {} for {:?}", self.routes.rows(), module.outputs, module.name);
                let (rows, columns) = array.dim();
                return Err(Error::shape("y", expected, format!("{rows} x {columns}")));
            }
        }
        Ok(())
    }

    /// Ranks of the modules of a group, by slot.
    pub(crate) fn module_ranks<'a>(&'a self, group: usize) -> impl Fn(usize) -> &'a [u32] {
        move |slot| &self.lease.members()[slot].ranks[group]
    }

    fn empty_shrunk(&self, group: usize) -> Result<Shrunk> {
        let (rows, routes) = (self.routes.rows(), self.routes.count());
        // Both lists may grow to twice what they hold.
        memory::ask("the places of the first product", &[area::<usize>(2, rows), area::<usize>(2, routes)])?;
        let mut shrunk = Shrunk { group, starts: vec![0], row_starts: vec![0], values: Vec::new() };
        let mut end = 0;
        for row in 0..self.routes.rows() {
            for route in self.routes.of_row(row) {
                end += self.module_ranks(group)(route.slot as usize).iter().sum::<u32>() as usize;
                shrunk.starts.push(end);
            }
            shrunk.row_starts.push(shrunk.starts.len() - 1);
        }
        shrunk.values = zeroed("the first product", end, 1)?;
        Ok(shrunk)
    }

    /// The updates of module `module`, by slot.
    fn updates(&self, group: usize, module: usize) -> impl Iterator<Item = Option<&Operand>> {
        self.lease.members().iter().map(move |member| member.image.as_ref()?.groups[group][module].as_ref())
    }

    fn operands(&self, group: usize) -> Vec<Vec<Option<cpu::Operand<'_>>>> {
        let modules = 0..self.lease.groups()[group].modules.len();
        modules.map(|module| self.cpu_operands(group, module)).collect()
    }

    fn cpu_operands(&self, group: usize, module: usize) -> Vec<Option<cpu::Operand<'_>>> {
        let mut all = Vec::with_capacity(self.lease.slots());
        for update in self.updates(group, module) {
            all.push(update.map(|update| cpu::Operand { a: &update.a, b: &update.b, scale: update.scale }));
        }
        all
    }

    fn targets<'a, Y>(&'a self, group: usize, y: &'a mut [ArrayViewMut2<'_, Y>]) -> Vec<cpu::Target<'a, Y>> {
        let operands = self.operands(group);
        let one = |(array, operands): (&'a mut ArrayViewMut2<'_, Y>, _)| cpu::Target {
            operands,
            y: array.view_mut(),
        };
        y.iter_mut().zip(operands).map(one).collect()
    }

    /// What the reference holds: x, an output before and after, and what lies between them, in `f64`.
    fn ask_for_reference(&self, group: usize) -> Result<()> {
        let about = self.lease.group(group)?;
        let widest = about.modules.iter().map(|module| module.outputs).max().unwrap_or(0);
        let ranks = MAX_RANK.saturating_mul(2 * about.modules.len());
        let parts = [
            area::<f64>(self.routes.rows(), about.inputs().saturating_add(2 * widest)),
            area::<f64>(self.routes.count(), ranks),
        ];
        memory::ask("the reference's rows", &parts)
    }

    /// By route, by module.
    fn shrink_reference<X: Scalar>(&self, group: usize, x: &ArrayView2<'_, X>) -> Vec<Vec<Vec<f64>>> {
        let inputs: Vec<f64> = x.iter().map(|value| f64::from(value.widen())).collect();
        let modules = 0..self.lease.groups()[group].modules.len();
        let by_module: Vec<Vec<Vec<f64>>> = modules
            .map(|module| reference::shrink(&self.factors(group, module), &self.routes, &inputs, x.ncols()))
            .collect();
        let routes = 0..self.routes.count();
        routes.map(|route| by_module.iter().map(|values| values[route].clone()).collect()).collect()
    }

    fn expand_reference<Y: Scalar>(
        &self,
        group: usize,
        shrunk: &[Vec<Vec<f64>>],
        y: &mut [ArrayViewMut2<'_, Y>],
    ) {
        for (module, array) in y.iter_mut().enumerate() {
            let before: Vec<f64> = array.iter().map(|value| f64::from(value.widen())).collect();
            let mut sums = before.clone();
            let values: Vec<Vec<f64>> = shrunk.iter().map(|route| route[module].clone()).collect();
            let factors = self.factors(group, module);
            reference::expand(&factors, &self.routes, &values, &mut sums, array.ncols());
            for ((value, sum), before) in array.iter_mut().zip(sums).zip(before) {
                // A value that was not touched keeps its bits, those of a NaN too.
                if sum.to_bits() != before.to_bits() {
                    *value = Y::narrow(sum as f32);
                }
            }
        }
    }

    fn factors(&self, group: usize, module: usize) -> Vec<Option<&Factors>> {
        self.updates(group, module).map(|update| update.map(|update| &update.factors)).collect()
    }
}
