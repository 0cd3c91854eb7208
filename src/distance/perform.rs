//! Who fills a block of rows: the part that is the same for every call.

use ndarray::ArrayViewMut2;

use super::bits::{self, Bits};
use super::blocks::Shape;
#[cfg(feature = "gpu")]
use super::gpu_or_cpu::GpuOrCpu;
use super::matrix::Filled;
use super::metric::{Domain, Metric};
use super::operands::Operands;
use super::params::{Constants, Params};
use super::real::{Real, is_result, refused_result};
use super::tables::Tables;
use super::{cpu, domain, reference};
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::raw_row;
use crate::device::{Backend, CpuPool, Device, Prediction};
#[cfg(feature = "gpu")]
use crate::error::Error;
use crate::error::Result;
use crate::memory::{self, area, scratch};

/// One prepared call.
pub(crate) struct Engine<'a, T: Real> {
    performer: Performer<'a, T>,
    cancel: Cancel,
    filled: Filled,
}

enum Performer<'a, T: Real> {
    Reference(Definition),
    Cpu {
        pool: CpuPool,
        operands: Operands<'a, T>,
    },
    Bits {
        pool: CpuPool,
        bits: Bits,
    },
    #[cfg(feature = "gpu")]
    Gpu(Box<GpuOrCpu<'a>>),
}

/// What tables were made into.
pub(crate) enum Prepared<'a, T: Real> {
    Rows(Box<Operands<'a, T>>),
    Bits(Bits),
}

impl<'a, T: Real> Prepared<'a, T> {
    /// Prepares tables whose values the metric takes.
    pub(crate) fn new(
        metric: Metric,
        constants: &Constants,
        tables: &Tables<'a>,
        cancel: &Cancel,
    ) -> Result<Self> {
        Ok(if metric.domain() == Domain::Packed {
            Self::Bits(Bits::new(metric, tables, cancel)?)
        } else {
            Self::Rows(Box::new(Operands::<T>::new(metric, constants, tables, cancel)?))
        })
    }
}

/// The input in `f64`, for the reference.
struct Definition {
    metric: Metric,
    constants: Constants,
    x: Vec<Vec<f64>>,
    /// `None`: X itself.
    y: Option<Vec<Vec<f64>>>,
}

impl<'a, T: Real> Engine<'a, T> {
    /// Scans and prepares tables.
    pub(crate) fn new(device: &Device, tables: &Tables<'a>, params: &Params) -> Result<Self> {
        let shape = tables.shape();
        let (rows, columns, depth) = (shape.rows as f64, shape.columns as f64, shape.depth as f64);
        let moved = (rows + columns) * depth + rows * columns;
        let predicted = Prediction { flops: 2.0 * rows * columns * depth, upload_bytes: 4.0 * moved };
        let backend = device.resolve(&predicted);
        let host = device.host_pool()?;
        let metric = params.metric;
        let constants = params.constants(shape.depth)?;
        ask_for_rows::<T>(&shape, matches!(backend, Backend::Reference), host.threads())?;
        let prepared = host.install(|| {
            domain::check(metric, &tables.named(), &params.cancel)?;
            Prepared::<T>::new(metric, &constants, tables, &params.cancel)
        })?;
        let performer = match (&backend, prepared) {
            (Backend::Reference, _) => Performer::Reference(Definition::new(metric, constants, tables)),
            (Backend::Cpu(pool), Prepared::Rows(operands)) => {
                Performer::Cpu { pool: (*pool).clone(), operands: *operands }
            }
            (Backend::Cpu(pool), Prepared::Bits(bits)) => Performer::Bits { pool: (*pool).clone(), bits },
            #[cfg(feature = "gpu")]
            (Backend::Gpu(gpu), Prepared::Rows(operands)) => match T::single(*operands) {
                Ok(operands) => Performer::Gpu(Box::new(GpuOrCpu::new(device, gpu, operands)?)),
                Err(operands) => Performer::Cpu { pool: host.clone(), operands: *operands },
            },
            #[cfg(feature = "gpu")]
            (Backend::Gpu(_), Prepared::Bits(bits)) if T::IS_DOUBLE => {
                Performer::Bits { pool: host.clone(), bits }
            }
            #[cfg(feature = "gpu")]
            (Backend::Gpu(gpu), Prepared::Bits(bits)) => {
                Performer::Gpu(Box::new(GpuOrCpu::new(device, gpu, Operands::of_bits(bits))?))
            }
        };
        let device = match (&backend, &performer) {
            #[cfg(feature = "gpu")]
            (Backend::Gpu(_), Performer::Cpu { .. } | Performer::Bits { .. }) => {
                format!("{}; f64 on {}", backend.name(), Backend::Cpu(&host).name())
            }
            _ => backend.name(),
        };
        let filled = Filled { rows: shape.rows, columns: shape.columns, device };
        Ok(Self { performer, cancel: params.cancel.clone(), filled })
    }

    /// Fills `out` with rows from `first_row` on, all on one device.
    pub(super) fn fill(&mut self, first_row: usize, mut out: ArrayViewMut2<T>) -> Result<()> {
        match &mut self.performer {
            Performer::Reference(definition) => definition.fill(first_row, &mut out, &self.cancel),
            Performer::Cpu { pool, operands } => cpu::fill(pool, operands, first_row, out, &self.cancel),
            Performer::Bits { pool, bits } => cpu::bits::fill(pool, bits, first_row, out, &self.cancel),
            #[cfg(feature = "gpu")]
            Performer::Gpu(performer) => match T::single_out(out) {
                Some(out) => {
                    performer.fill(first_row, out, &self.cancel)?;
                    self.filled.device = performer.device();
                    Ok(())
                }
                // Operands of another type are the CPU's: `new` saw to that.
                None => Err(Error::shape("out", "an array of f32", "an array of f64")),
            },
        }
    }

    /// The device in words.
    pub(crate) fn device(&self) -> &str {
        &self.filled.device
    }

    /// What is reported once everything is filled.
    pub(crate) fn filled(self) -> Filled {
        self.filled
    }
}

/// What a call holds beside the prepared tables: rows at work, numbers of rows and columns, and the tables once more for the
/// reference.
fn ask_for_rows<T: Real>(shape: &Shape, is_reference: bool, threads: usize) -> Result<()> {
    let rows = shape.rows.saturating_add(shape.columns);
    let at_work = scratch::<f64>(threads, 8, shape.depth);
    let defined = if is_reference { area::<f64>(rows, shape.depth) } else { 0 };
    let what = format!("the work on rows with {} columns", shape.depth);
    memory::ask(&what, &[at_work, area::<f64>(rows, 2), area::<f64>(16, shape.depth), defined])
}

impl Definition {
    fn new(metric: Metric, constants: Constants, tables: &Tables) -> Self {
        let of = if metric.domain() == Domain::Packed { bits::unpacked } else { raw_row };
        let rows = |points: &Points| (0..points.rows()).map(|row| of(points, row)).collect();
        Self { metric, constants, x: rows(&tables.x), y: tables.y.as_ref().map(rows) }
    }

    fn fill<T: Real>(&self, first_row: usize, out: &mut ArrayViewMut2<T>, cancel: &Cancel) -> Result<()> {
        let y = self.y.as_ref().unwrap_or(&self.x);
        for (index, mut out) in out.outer_iter_mut().enumerate() {
            cancel.check()?;
            let row = first_row + index;
            for (column, (out, y)) in out.iter_mut().zip(y).enumerate() {
                let value = reference::measure_with(self.metric, &self.constants, &self.x[row], y);
                if !is_result::<T>(self.metric, value) {
                    return Err(refused_result::<T>(self.metric, row, column, value));
                }
                *out = T::rounded(value);
            }
        }
        Ok(())
    }
}
