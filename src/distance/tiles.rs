//! Values tile by tile on the CPU, and block by block on a GPU, for workloads that keep only some of them.

use super::Metric;
use super::bits::Bits;
use super::cpu::{self, Scratch};
#[cfg(feature = "gpu")]
use super::gpu::{GpuEngine, Most};
use super::operands::Operands;
use super::params::Constants;
use super::perform::Prepared;
use super::real::Real;
use super::tables::Tables;
use crate::cancel::Cancel;
use crate::data::Points;
#[cfg(feature = "gpu")]
use crate::device::{DeviceBuffer, Gpu};
use crate::error::Result;

/// Rows of a tile at most.
pub(crate) const TILE_ROWS: usize = cpu::TILE_ROWS;
/// Columns of a tile at most.
pub(crate) const TILE_COLUMNS: usize = cpu::TILE_COLUMNS;

/// Two tables, prepared: X, and Y or X itself.
pub(crate) struct Tiles<'a>(Kind<'a>);

enum Kind<'a> {
    Single(Box<Operands<'a, f32>>),
    Double(Box<Operands<'a, f64>>),
    Bits(Bits),
}

/// What one thread needs.
#[derive(Default)]
pub(crate) struct Tools {
    single: Option<Scratch<f32>>,
    double: Option<Scratch<f64>>,
    /// Values that were rounded from another type.
    rounded: Vec<f32>,
}

impl<'a> Tiles<'a> {
    /// Prepares tables whose values the metric takes, to be measured in `f64` or in `f32`.
    pub fn new(
        x: &'a Points,
        y: Option<&'a Points>,
        (metric, constants): (Metric, &Constants),
        is_double: bool,
        cancel: &Cancel,
    ) -> Result<Self> {
        let tables = Tables::new(x, y)?;
        Ok(Self(if is_double {
            match Prepared::new(metric, constants, &tables, cancel)? {
                Prepared::Rows(operands) => Kind::Double(operands),
                Prepared::Bits(bits) => Kind::Bits(bits),
            }
        } else {
            match Prepared::new(metric, constants, &tables, cancel)? {
                Prepared::Rows(operands) => Kind::Single(operands),
                Prepared::Bits(bits) => Kind::Bits(bits),
            }
        }))
    }

    /// Measures a tile, and hands out the values of each of its rows, by its number in the tile. Rows and columns are the
    /// first, and how many: at most [`TILE_ROWS`] and [`TILE_COLUMNS`]. Values beyond the range of `f32` are infinite.
    pub fn tile(
        &self,
        rows: (usize, usize),
        columns: (usize, usize),
        tools: &mut Tools,
        mut visit: impl FnMut(usize, &mut [f32]),
    ) -> Result<()> {
        let Tools { single, double, rounded } = tools;
        match &self.0 {
            Kind::Single(operands) => {
                let scratch = made(single, operands)?;
                scratch.tile(operands, rows, columns);
                (0..rows.1).for_each(|row| visit(row, scratch.values_mut(row, columns.1)));
            }
            Kind::Double(operands) => {
                let scratch = made(double, operands)?;
                scratch.tile(operands, rows, columns);
                for row in 0..rows.1 {
                    rounded.clear();
                    rounded.extend(scratch.values_mut(row, columns.1).iter().map(|&value| value as f32));
                    visit(row, rounded);
                }
            }
            Kind::Bits(bits) => {
                for row in 0..rows.1 {
                    let values = cpu::bits::values(bits, rows.0 + row, columns.0);
                    rounded.clear();
                    rounded.extend(values.take(columns.1).map(|value| value as f32));
                    visit(row, rounded);
                }
            }
        }
        Ok(())
    }
}

/// What a thread had, or has from now on.
fn made<'s, T: Real>(kept: &'s mut Option<Scratch<T>>, operands: &Operands<T>) -> Result<&'s mut Scratch<T>> {
    Ok(match kept {
        Some(scratch) => scratch,
        none => none.insert(Scratch::new(operands)?),
    })
}

/// The same on a GPU, in `f32`.
#[cfg(feature = "gpu")]
pub(crate) struct GpuTiles<'a>(GpuEngine<'a>);

/// Columns of a block at most: as many rows as a device's lists are for have room beside them.
#[cfg(feature = "gpu")]
pub(crate) const BLOCK_COLUMNS: usize = 4096;

#[cfg(feature = "gpu")]
impl<'a> GpuTiles<'a> {
    /// Prepares tables whose values the metric takes; they, and a block of values, take at most `budget_bytes`.
    pub fn new(
        gpu: &Gpu,
        (x, y): (&'a Points, Option<&'a Points>),
        (metric, constants): (Metric, &Constants),
        budget_bytes: u64,
        cancel: &Cancel,
    ) -> Result<Self> {
        let operands = match Prepared::<f32>::new(metric, constants, &Tables::new(x, y)?, cancel)? {
            Prepared::Rows(operands) => *operands,
            Prepared::Bits(bits) => Operands::of_bits(bits),
        };
        let most = Most { budget_bytes, columns: BLOCK_COLUMNS as u64 };
        Ok(Self(GpuEngine::within(gpu.clone(), operands, most)?))
    }

    /// Computes `count` rows from `first` on. `visit` gets blocks of values on the device, row-major, with the first of their rows
    /// and columns and how many there are. Values beyond the range of `f32` are at least 2^127.
    pub fn blocks(
        &mut self,
        (first, count): (usize, usize),
        cancel: &Cancel,
        mut visit: impl FnMut(&DeviceBuffer, (usize, usize), (usize, usize)) -> Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        while done < count {
            let own = (first + done, self.0.next_rows(count - done));
            self.0.blocks(own, cancel, |_, _, values, columns| visit(values, own, columns))?;
            done += own.1;
        }
        Ok(())
    }
}
