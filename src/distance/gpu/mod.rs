//! Distances on a GPU: windows of X and Y on the device, one kernel, results read back block by block.

pub(crate) mod kernels;
pub(crate) mod plan;

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::{ArrayViewMut2, Axis, s};

use self::kernels::{AccumulateParams, MeasureParams, MetricKernel};
use self::plan::{Layout, Windows};
use super::blocks::Shape;
use super::metric::{Form, Metric, is_direction};
use super::operands::Operands;
use super::real::Real;
use super::rows::Side;
use crate::cancel::Cancel;
use crate::device::{DeviceBuffer, Gpu, Pacer, Pipeline, Slice};
use crate::error::Result;
use crate::tile::choice::shape::TileShape;
use crate::tile::choice::tune::cache::table_of;

/// What one thread takes out of a result at a time.
const PART_BYTES: usize = 256 << 10;

/// One prepared call.
pub(super) struct GpuEngine<'a> {
    gpu: Gpu,
    operands: Operands<'a, f32>,
    windows: Windows,
    most: Most,
    resident: Option<Resident>,
    pacer: Pacer,
}

/// What a matrix may take of a device, beyond the device's own limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub budget_bytes: u64,
    /// Columns of a block of results.
    pub columns: u64,
}

impl Most {
    /// Whatever the device gives.
    const ALL: Self = Self { budget_bytes: u64::MAX, columns: u64::MAX };
}

/// What stays on the device between windows of X.
struct Resident {
    pipeline: Arc<Pipeline>,
    /// Factors of the features, for Minkowski.
    weights: Option<DeviceBuffer>,
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
        Self::within(gpu, operands, Most::ALL)
    }

    /// As [`Self::new`], for matrices that have a part of the device.
    pub(super) fn within(gpu: Gpu, operands: Operands<'a, f32>, most: Most) -> Result<Self> {
        let windows = cut(&gpu, &operands, most)?;
        let pacer = gpu.pacer(operands.metric.name(), [operands.depth, windows.y_rows]);
        Ok(Self { gpu, operands, windows, most, resident: None, pacer })
    }

    /// Rows of the next block, of `left` ones.
    pub(super) fn next_rows(&self, left: usize) -> usize {
        self.windows.next_x(left)
    }

    /// Fills `out` with rows from `first_row` on. An attempt that fails for want of the device or its memory goes on from
    /// its last window.
    pub(super) fn fill(
        &mut self,
        first_row: usize,
        mut out: ArrayViewMut2<'_, f32>,
        cancel: &Cancel,
    ) -> Result<()> {
        let (mut done, count) = (0, out.nrows());
        self.gpu.clone().persist(|gpu, failures| {
            if failures > 0 {
                self.begin_again(gpu)?;
            }
            while done < count {
                let rows = self.next_rows(count - done);
                let window = out.slice_mut(s![done..done + rows, ..]);
                self.fill_window(first_row + done, window, cancel)?;
                done += rows;
            }
            Ok(())
        })
    }

    /// Forgets what lay on the device before an attempt failed; `gpu` says what memory the next one may use.
    fn begin_again(&mut self, gpu: &Gpu) -> Result<()> {
        self.resident = None;
        let is_smaller = gpu.limits().budget_bytes < self.gpu.limits().budget_bytes;
        self.gpu = gpu.clone();
        if is_smaller {
            // The windows may have been far below what the device said it has.
            self.most.budget_bytes = self.windows.bytes / 2;
            self.windows = cut(gpu, &self.operands, self.most)?;
        }
        Ok(())
    }

    /// Frees what is on the device, and returns what whoever goes on without it works on.
    pub(super) fn give_up(&mut self) -> &Operands<'a, f32> {
        self.resident = None;
        &self.operands
    }

    /// The prepared rows.
    pub(super) fn operands(&self) -> &Operands<'a, f32> {
        &self.operands
    }

    /// The device.
    pub(super) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    fn fill_window(
        &mut self,
        first_row: usize,
        mut out: ArrayViewMut2<'_, f32>,
        cancel: &Cancel,
    ) -> Result<()> {
        let count = out.nrows();
        self.blocks((first_row, count), cancel, |gpu, operands, results, (first, columns)| {
            let block = out.slice_mut(s![.., first..first + columns]);
            take_results(gpu, results, operands, (first_row, first), block)
        })
    }

    /// Computes `count` rows from `first_row` on, as [`Self::next_rows`] says, block by block of columns: the results of each
    /// are row-major on the device when `visit` gets them, with the first column and how many there are.
    pub(super) fn blocks(
        &mut self,
        (first_row, count): (usize, usize),
        cancel: &Cancel,
        mut visit: impl FnMut(&Gpu, &Operands<'a, f32>, &DeviceBuffer, (usize, usize)) -> Result<()>,
    ) -> Result<()> {
        let Self { gpu, operands, windows, resident, pacer, .. } = self;
        let resident = match resident {
            Some(resident) => resident,
            None => resident.insert(Resident::new(gpu, operands, windows)?),
        };
        let x = Uploaded::new(gpu, &operands.x, operands.depth, first_row, count)?;
        let columns = operands.columns();
        let widest = windows.y_rows.min(columns);
        let results = gpu.buffer("distances", 4 * (count * widest) as u64)?;
        for (index, (first, count)) in windows.of_y(columns).enumerate() {
            let moving;
            let y = match resident.y.get(index) {
                Some(y) => y,
                None => {
                    moving = Uploaded::new(gpu, operands.y(), operands.depth, first, count)?;
                    &moving
                }
            };
            let (tile, pipeline, weights) = (windows.tile, &resident.pipeline, resident.weights.as_ref());
            let task = Task { gpu, operands, tile, pipeline, weights, x: &x, y };
            task.dispatch(&results, pacer, cancel)?;
            visit(gpu, operands, &results, (y.first, y.count))?;
        }
        Ok(())
    }
}

/// Brings a block of results to where it belongs. It begins at a row and a column of the whole matrix.
fn take_results(
    gpu: &Gpu,
    results: &DeviceBuffer,
    operands: &Operands<f32>,
    (first_row, first_column): (usize, usize),
    mut block: ArrayViewMut2<'_, f32>,
) -> Result<()> {
    let (rows, columns) = block.dim();
    let part_rows = (PART_BYTES / 4 / columns).clamp(1, rows);
    let parts = block.axis_chunks_iter_mut(Axis(0), part_rows).enumerate();
    let mut parts: Vec<_> = parts.map(|(index, part)| (first_row + index * part_rows, part)).collect();
    gpu.read_parts(results, rows * columns, part_rows * columns, &mut parts, |values, (row, part)| {
        for ((index, values), mut to) in values.chunks_exact(columns).enumerate().zip(part.outer_iter_mut()) {
            let values = with_missing(operands.metric, values);
            operands.check_results(*row + index, first_column, &values)?;
            match to.as_slice_mut() {
                Some(to) => to.copy_from_slice(&values),
                None => to.iter_mut().zip(&*values).for_each(|(to, &value)| *to = value),
            }
        }
        Ok(())
    })
}

/// Values of a row with NaN where two rows have no feature in common: kernels write a number that stands for it.
fn with_missing(metric: Metric, values: &[f32]) -> Cow<'_, [f32]> {
    const MISSING: f32 = <f32 as Real>::MISSING;
    if metric != Metric::NanEuclidean || !values.contains(&MISSING) {
        return Cow::Borrowed(values);
    }
    values.iter().map(|&value| if value == MISSING { f32::NAN } else { value }).collect()
}

/// Cuts the matrix for this device.
fn cut(gpu: &Gpu, operands: &Operands<f32>, most: Most) -> Result<Windows> {
    let shape =
        Shape { rows: operands.x.count(operands.depth), columns: operands.columns(), depth: operands.depth };
    let layout = Layout {
        copies: 1 + u64::from(operands.x.has_originals()) + u64::from(!operands.x.lows.is_empty()),
        has_norms: !operands.x.norms.is_empty(),
        tile: kernels::tile(operands.metric, shape),
        most_columns: most.columns,
    };
    let mut limits = gpu.limits();
    limits.budget_bytes = limits.budget_bytes.min(most.budget_bytes);
    plan::cut(shape, layout, &limits, &table_of(gpu))
}

impl Resident {
    fn new(gpu: &Gpu, operands: &Operands<f32>, windows: &Windows) -> Result<Self> {
        let pipeline = gpu.pipeline(&kernels::kernel(operands.metric, &windows.tile)?)?;
        let weights = match (operands.metric, operands.weights.as_slice()) {
            (Metric::Minkowski, []) => Some(gpu.filled("weights", &[1.0_f32])?),
            (Metric::Minkowski, weights) => Some(gpu.filled("weights", weights)?),
            _ => None,
        };
        let columns = operands.columns();
        let resident = if windows.y_is_resident { columns } else { 0 };
        let window = |(first, count)| Uploaded::new(gpu, operands.y(), operands.depth, first, count);
        Ok(Self { pipeline, weights, y: windows.of_y(resident).map(window).collect::<Result<_>>()? })
    }
}

impl Uploaded {
    fn new(gpu: &Gpu, side: &Side<f32>, depth: usize, first: usize, count: usize) -> Result<Self> {
        let elements = first * depth..(first + count) * depth;
        let originals = match (side.has_originals(), side.lows.get(elements.clone())) {
            (false, _) => None,
            (true, None | Some([])) => Some(gpu.filled("originals", &side.originals()[elements.clone()])?),
            // High and low part of a row, one after the other.
            (true, Some(lows)) => {
                let highs = side.originals()[elements.clone()].chunks_exact(depth);
                let parts: Vec<f32> = highs
                    .zip(lows.chunks_exact(depth))
                    .flat_map(|(a, b)| [a, b])
                    .flatten()
                    .copied()
                    .collect();
                Some(gpu.filled("originals", &parts)?)
            }
        };
        let norms =
            side.norms.get(first..first + count).map(|norms| gpu.filled("norms", norms)).transpose()?;
        Ok(Self { first, count, rows: gpu.filled("rows", &side.rows[elements])?, originals, norms })
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
    weights: Option<&'t DeviceBuffer>,
    x: &'t Uploaded,
    y: &'t Uploaded,
}

impl Task<'_> {
    /// Fills `results` in dispatches that the pacer bounds.
    fn dispatch(&self, results: &DeviceBuffer, pacer: &Pacer, cancel: &Cancel) -> Result<()> {
        let (x, y) = (self.x, self.y);
        let mut bindings = vec![x.rows.whole(), y.rows.whole()];
        if self.operands.form == Form::Expanded {
            bindings.extend([x.originals(), y.originals()]);
        }
        if let (Some(x_norms), Some(y_norms)) = (&x.norms, &y.norms) {
            bindings.extend([x_norms.whole(), y_norms.whole()]);
        }
        bindings.extend(self.weights.map(DeviceBuffer::whole));
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
            match kernels::kernel_of(self.operands.metric) {
                MetricKernel::Accumulate => {
                    let params = self.accumulate_params(row, row + rows);
                    batch.dispatch(self.pipeline, &bindings, bytemuck::bytes_of(&params), grid)?;
                }
                _ => {
                    let params = self.measure_params(row, row + rows);
                    batch.dispatch(self.pipeline, &bindings, bytemuck::bytes_of(&params), grid)?;
                }
            }
            let elapsed = batch.submit_and_wait()?;
            pacer.record(rows as f64 * units_per_row, elapsed);
            row += rows;
        }
        Ok(())
    }

    /// From here on a result would reach 2^127, which the host refuses.
    fn most(&self) -> f32 {
        let [first, second] = self.operands.units;
        (2.0_f64.powi(127) / first / second).min(f64::from(f32::MAX)) as f32
    }

    fn measure_params(&self, first_row: usize, rows: usize) -> MeasureParams {
        let operands = self.operands;
        MeasureParams {
            first_row: first_row as u32,
            rows: rows as u32,
            columns: self.y.count as u32,
            depth: operands.depth as u32,
            units: operands.units.map(|unit| unit as f32),
            most: if is_direction(operands.metric) { 4.0 } else { self.most() },
            group_rows: self.tile.group_rows,
            kind: kernels::kind(operands.metric),
            parts: if operands.x.lows.is_empty() { 1 } else { 2 },
        }
    }

    fn accumulate_params(&self, first_row: usize, rows: usize) -> AccumulateParams {
        let operands = self.operands;
        // The root of Jensen-Shannon is taken of a quarter of the sum.
        let quarter = if operands.metric == Metric::JensenShannon { 0.25 } else { 1.0 };
        AccumulateParams {
            first_row: first_row as u32,
            rows: rows as u32,
            columns: self.y.count as u32,
            depth: operands.depth as u32,
            unit: (operands.units[0] * quarter) as f32,
            most: self.most(),
            power: operands.power as f32,
            weighted: u32::from(!operands.weights.is_empty()),
        }
    }
}
