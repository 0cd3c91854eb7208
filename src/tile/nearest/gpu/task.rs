//! What the cascade works on, and where its tiers put what they make.

use super::kernels::Listed;
use crate::device::{DeviceBuffer, Gpu};
use crate::error::Result;
use crate::tile::operands::gpu::columns::DeviceColumns;
use crate::tile::operands::gpu::half_rows::Halves;
use crate::tile::product::units::shape::MatrixTile;

/// Rows that lie on the device.
pub(crate) struct Window {
    /// Index of the first row in the data.
    pub start: usize,
    /// Number of rows.
    pub rows: usize,
    /// `[rows, depth]`.
    pub x: DeviceBuffer,
    /// Upper bounds on the rows' lengths.
    pub norms: DeviceBuffer,
    /// The rows in `f16`, where a screen reads them.
    pub halves: Option<Halves>,
}

impl Window {
    /// Room for `rows` rows of `depth`, and for their halves where a screen needs them.
    pub fn new(gpu: &Gpu, rows: usize, depth: usize, matrix: Option<&MatrixTile>) -> Result<Self> {
        let x = gpu.buffer("rows", 4 * rows as u64 * depth as u64)?;
        let norms = gpu.buffer("norms", 4 * rows as u64)?;
        let halves = matrix.map(|tile| Halves::new(gpu, tile, rows, depth)).transpose()?;
        Ok(Self { start: 0, rows, x, norms, halves })
    }

    /// Rounds the rows that were copied, none longer than `largest_norm`, for the screen.
    pub fn narrow(&mut self, gpu: &Gpu, depth: usize, largest_norm: f32) -> Result<()> {
        match &mut self.halves {
            Some(halves) => halves.fill(gpu, &self.x, self.rows, depth, largest_norm),
            None => Ok(()),
        }
    }
}

/// Reads a row of the window that is searched as x', on the host.
pub(crate) type LoadRow<'a> = &'a (dyn Fn(usize, &mut [f32]) -> Result<()> + Sync);

/// One window, whose rows' nearest columns are wanted.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    pub columns: &'a DeviceColumns<'a>,
    /// Upper bound on the length of any row.
    pub largest_norm: f32,
    pub window: &'a Window,
    /// The nearest column of each row, by its index among the given ones: what was found before is replaced.
    pub nearest: &'a DeviceBuffer,
    /// Where bounds on distances are kept, if they are.
    pub reach: Option<Reach<'a>>,
    pub load: LoadRow<'a>,
}

/// Bounds on the distances of each row: to its nearest column from above, to every other from below.
#[derive(Clone, Copy)]
pub(crate) struct Reach<'a> {
    pub bounds: &'a DeviceBuffer,
    /// Where the task has a subset of the columns, the index of each among all: the bounds are brought up to what those say,
    /// and nothing else.
    pub subset: Option<&'a DeviceBuffer>,
}

impl Task<'_> {
    /// What a pacer counts.
    pub(crate) fn units_per_row(&self) -> f64 {
        2.0 * self.columns.host.depth as f64 * self.columns.host.len() as f64
    }
}

/// Rows whose nearest column changed, and who was sure of how many.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RowCounts {
    pub changed: u64,
    /// Rows that the screen certified.
    pub screened: u64,
    /// Rows that were decided on the host.
    pub rechecked: u64,
}

/// Rows of one dispatch.
#[derive(Clone, Copy)]
pub(crate) struct Span<'a> {
    /// The list whose entries they are; rows of the window where there is none.
    pub list: Option<&'a DeviceBuffer>,
    /// First row or entry.
    pub first: u32,
    /// Number of rows; of a list at most, if it has not so many.
    pub rows: u32,
}

/// A list of rows that a tier left.
#[derive(Clone, Copy)]
pub(crate) struct List<'a> {
    pub rows: &'a DeviceBuffer,
    pub counters: &'a DeviceBuffer,
    /// Which of the counters tells how many rows it has.
    pub counter: u32,
}

/// Where a pass finds its results and puts them.
#[derive(Clone, Copy)]
pub(crate) struct Outputs<'a> {
    /// Partial results, and how many there is room for.
    pub partials: &'a DeviceBuffer,
    pub most_partials: u64,
    /// Uncertified rows.
    pub left: &'a DeviceBuffer,
    /// How many of them, and certified rows that changed, by tier.
    pub counters: &'a DeviceBuffer,
}

/// Rows that are left to the host.
pub(crate) struct Undecided {
    pub listed: Vec<Listed>,
    /// For each the number of its candidates, and places for them.
    pub found: Vec<u32>,
}
