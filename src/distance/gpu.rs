//! Distances on a GPU: windows of X and Y on the device, one kernel, results read back block by block.

use std::borrow::Cow;
use std::sync::Arc;

use minijinja::context;

use super::operands::{Form, Operands, Side};
use super::params::Metric;
use super::plan::Shape;
use super::windows::{self, Layout, Windows};
use crate::cancel::Cancel;
use crate::device::{Binding, DeviceBuffer, Gpu, Kernel, Pacer, Pipeline, Slice};
use crate::error::{Error, Result};
use crate::tile::render::render;
use crate::tile::shape::{Combine, TileShape};
use crate::tile::tune::cache::table_of;

/// What the kernel is told. Mirror of `MeasureParams` in the shader.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct MeasureParams {
    pub first_row: u32,
    pub rows: u32,
    pub columns: u32,
    pub depth: u32,
    pub units: [f32; 2],
    pub most: f32,
    pub group_rows: u32,
}

const EXPANDED: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Uniform,
];
const PLAIN: &[Binding] = &[Binding::Read, Binding::Read, Binding::ReadWrite, Binding::Uniform];

/// The kernel of a metric for one of the shapes that keep one order of sums.
fn kernel(metric: Metric, shape: &TileShape) -> Result<Kernel> {
    let (name, combine) = match metric {
        Metric::SquaredEuclidean | Metric::Cosine => ("measure squares", Combine::Dot),
        Metric::Euclidean => ("measure lengths", Combine::Dot),
        Metric::InnerProduct => ("measure products", Combine::Dot),
        Metric::Manhattan => ("measure manhattan", Combine::Manhattan),
        Metric::Chebyshev => ("measure chebyshev", Combine::Chebyshev),
    };
    let is_expanded = Form::of(metric) == Form::Expanded;
    let root = metric == Metric::Euclidean;
    let source = render("distance/measure.wgsl", context! { is_expanded, root, ..shape.context(combine) })?;
    let bindings = if is_expanded { EXPANDED } else { PLAIN };
    Ok(Kernel { name, entry: "measure", source, bindings })
}

/// Every kernel that a plan can choose, with what tells it apart.
#[cfg(feature = "test-hooks")]
pub(crate) fn kernels() -> Result<Vec<(String, Kernel)>> {
    let mut kernels = Vec::new();
    // Cosine distances are squared distances of unit rows.
    for metric in Metric::ALL.into_iter().filter(|&metric| metric != Metric::Cosine) {
        for shape in crate::tile::family::candidates(crate::tile::family::Fold::Store) {
            let name = format!("{metric}, {}", crate::shaders::variant(&shape));
            kernels.push((name, kernel(metric, &shape)?));
        }
    }
    Ok(kernels)
}

/// One prepared call.
pub(super) struct GpuEngine<'a> {
    gpu: Gpu,
    operands: Operands<'a, f32>,
    windows: Windows,
    resident: Option<Resident>,
    pacer: Pacer,
}

/// What stays on the device between windows of X.
struct Resident {
    pipeline: Arc<Pipeline>,
    /// All windows of Y, or none where they are uploaded one by one.
    y: Vec<Uploaded>,
}

/// A window of rows on the device.
struct Uploaded {
    first: usize,
    count: usize,
    rows: DeviceBuffer,
    originals: Option<DeviceBuffer>,
    norms: Option<DeviceBuffer>,
}

impl<'a> GpuEngine<'a> {
    pub(super) fn new(gpu: Gpu, operands: Operands<'a, f32>) -> Result<Self> {
        let windows = cut(&gpu, &operands, u64::MAX)?;
        Ok(Self { gpu, operands, windows, resident: None, pacer: Pacer::new() })
    }

    /// Computes `count` rows from `first_row` on. `write` gets the row (from 0), the first column and the values of
    /// each piece of a row.
    ///
    /// A device that is lost is opened again once; one without memory gets smaller windows while there are any.
    pub(super) fn fill(
        &mut self,
        first_row: usize,
        count: usize,
        cancel: &Cancel,
        mut write: impl FnMut(usize, usize, &[f32]),
    ) -> Result<()> {
        let mut done = 0;
        while done < count {
            let rows = self.windows.x_rows.min(count - done);
            let outcome = self.fill_window(first_row + done, rows, cancel, |row, column, values| {
                write(done + row, column, values);
            });
            match outcome {
                Ok(()) => done += rows,
                Err(error @ Error::DeviceLost { .. }) => {
                    self.resident = None;
                    self.gpu.recreate().map_err(|_| error)?;
                }
                Err(error @ Error::DeviceMemory { .. }) => {
                    self.resident = None;
                    let smaller = cut(&self.gpu, &self.operands, self.windows.bytes / 2);
                    self.windows = smaller.map_err(|_| error)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn fill_window(
        &mut self,
        first_row: usize,
        count: usize,
        cancel: &Cancel,
        mut write: impl FnMut(usize, usize, &[f32]),
    ) -> Result<()> {
        let Self { gpu, operands, windows, resident, pacer } = self;
        let resident = match resident {
            Some(resident) => resident,
            None => resident.insert(Resident::new(gpu, operands, windows)?),
        };
        let x = Uploaded::new(gpu, &operands.x, operands.depth, first_row, count)?;
        let columns = operands.columns();
        let widest = windows.y_rows.min(columns);
        let results = gpu.buffer("distances", 4 * (count * widest) as u64)?;
        for (index, first) in (0..columns).step_by(windows.y_rows).enumerate() {
            let moving;
            let y = match resident.y.get(index) {
                Some(y) => y,
                None => {
                    moving = Uploaded::new(
                        gpu,
                        operands.y(),
                        operands.depth,
                        first,
                        windows.y_rows.min(columns - first),
                    )?;
                    &moving
                }
            };
            let task = Task { gpu, operands, tile: windows.tile, pipeline: &resident.pipeline, x: &x, y };
            task.dispatch(&results, pacer, cancel)?;
            let bytes = gpu.read(&[(&results, 0..4 * (count * y.count) as u64)])?;
            let bytes: &[u8] = bytes.first().map_or(&[], Vec::as_slice);
            let values: Cow<[f32]> = bytemuck::try_cast_slice(bytes)
                .map_or_else(|_| bytemuck::pod_collect_to_vec(bytes).into(), Cow::Borrowed);
            for (row, values) in values.chunks_exact(y.count).enumerate() {
                operands.check_results(first_row + row, y.first, values)?;
                write(row, y.first, values);
            }
        }
        Ok(())
    }
}

/// Cuts the matrix for this device, within `budget_bytes` too.
fn cut(gpu: &Gpu, operands: &Operands<f32>, budget_bytes: u64) -> Result<Windows> {
    let shape =
        Shape { rows: operands.x.count(operands.depth), columns: operands.columns(), depth: operands.depth };
    let layout = Layout {
        copies: 1 + u64::from(operands.x.has_originals()),
        has_norms: operands.form == Form::Expanded,
    };
    let mut limits = gpu.limits();
    limits.budget_bytes = limits.budget_bytes.min(budget_bytes);
    windows::cut(shape, layout, &limits, &table_of(gpu))
}

impl Resident {
    fn new(gpu: &Gpu, operands: &Operands<f32>, windows: &Windows) -> Result<Self> {
        let pipeline = gpu.pipeline(&kernel(operands.metric, &windows.tile)?)?;
        let columns = operands.columns();
        let starts =
            if windows.y_is_resident { (0..columns).step_by(windows.y_rows) } else { (0..0).step_by(1) };
        let upload = |first| {
            Uploaded::new(gpu, operands.y(), operands.depth, first, windows.y_rows.min(columns - first))
        };
        Ok(Self { pipeline, y: starts.map(upload).collect::<Result<_>>()? })
    }
}

impl Uploaded {
    fn new(gpu: &Gpu, side: &Side<f32>, depth: usize, first: usize, count: usize) -> Result<Self> {
        let upload = |label, values: &[f32]| {
            let buffer = gpu.buffer(label, 4 * values.len() as u64)?;
            gpu.write(&buffer, 0, bytemuck::cast_slice(values))?;
            Ok(buffer)
        };
        let elements = first * depth..(first + count) * depth;
        let originals = side
            .has_originals()
            .then(|| upload("originals", &side.originals()[elements.clone()]))
            .transpose()?;
        let norms = side.norms.get(first..first + count).map(|norms| upload("norms", norms)).transpose()?;
        Ok(Self { first, count, rows: upload("rows", &side.rows[elements])?, originals, norms })
    }

    fn originals(&self) -> Slice<'_> {
        self.originals.as_ref().unwrap_or(&self.rows).whole()
    }
}

/// One window of X with one of Y.
struct Task<'t> {
    gpu: &'t Gpu,
    operands: &'t Operands<'t, f32>,
    tile: TileShape,
    pipeline: &'t Arc<Pipeline>,
    x: &'t Uploaded,
    y: &'t Uploaded,
}

impl Task<'_> {
    /// Fills `results` in dispatches that the pacer bounds.
    fn dispatch(&self, results: &DeviceBuffer, pacer: &mut Pacer, cancel: &Cancel) -> Result<()> {
        let (x, y) = (self.x, self.y);
        let mut bindings = vec![x.rows.whole(), y.rows.whole()];
        if let (Some(x_norms), Some(y_norms)) = (&x.norms, &y.norms) {
            bindings.extend([x.originals(), y.originals(), x_norms.whole(), y_norms.whole()]);
        }
        bindings.push(results.slice(0, 4 * (x.count * y.count) as u64));
        let units_per_row = y.count as f64 * self.operands.depth as f64;
        let mut row = 0;
        while row < x.count {
            cancel.check()?;
            let remaining = x.count - row;
            let paced = pacer.rows(remaining as u64, units_per_row) as usize;
            let rows = paced.next_multiple_of(self.tile.rows as usize).min(remaining);
            let grid =
                [(y.count as u32).div_ceil(self.tile.columns), (rows as u32).div_ceil(self.tile.rows), 1];
            let mut batch = self.gpu.batch("distances");
            let params = self.params(row, row + rows);
            batch.dispatch(self.pipeline, &bindings, bytemuck::bytes_of(&params), grid)?;
            let elapsed = batch.submit_and_wait()?;
            pacer.record(rows as f64 * units_per_row, elapsed);
            row += rows;
        }
        Ok(())
    }

    fn params(&self, first_row: usize, rows: usize) -> MeasureParams {
        let operands = self.operands;
        let units = operands.units;
        // From here on a result would reach 2^127, which the host refuses.
        let refused = 2.0_f64.powi(127) / units[0] / units[1];
        let most = if operands.metric == Metric::Cosine { 4.0 } else { refused.min(f64::from(f32::MAX)) };
        MeasureParams {
            first_row: first_row as u32,
            rows: rows as u32,
            columns: self.y.count as u32,
            depth: operands.depth as u32,
            units: units.map(|unit| unit as f32),
            most: most as f32,
            group_rows: self.tile.group_rows,
        }
    }
}
