//! Values tile by tile on the CPU, for workloads that keep only some of them.

use super::bits::Bits;
use super::cpu::{self, Scratch};
use super::engine::Prepared;
use super::operands::Operands;
use super::params::Constants;
use super::{Metric, Tables};
use crate::cancel::Cancel;
use crate::data::Points;
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
    ) {
        let Tools { single, double, rounded } = tools;
        match &self.0 {
            Kind::Single(operands) => {
                let scratch = single.get_or_insert_with(|| Scratch::new(operands));
                scratch.tile(operands, rows, columns);
                (0..rows.1).for_each(|row| visit(row, scratch.values_mut(row, columns.1)));
            }
            Kind::Double(operands) => {
                let scratch = double.get_or_insert_with(|| Scratch::new(operands));
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
    }
}
