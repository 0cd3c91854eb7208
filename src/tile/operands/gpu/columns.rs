//! Columns on the device, in windows: what tiles read of them in `f32` and, where a screen multiplies on matrix units, in `f16`.

use std::ops::Range;

use super::half_columns::HalfColumns;
use super::windows::ColumnWindows;
use crate::device::{DeviceBuffer, Gpu};
use crate::error::Result;
use crate::tile::bound::f32::ABSENT;
use crate::tile::choice::shape::WIDEST;
use crate::tile::operands::columns::Columns;

/// Columns whose nearest are searched for.
pub(crate) struct DeviceColumns<'c> {
    /// The same columns on the host.
    pub host: &'c Columns<'c>,
    /// In `f32`, with half norms less each column's own error.
    pub single: ColumnWindows,
    /// In `f16`, where matrix units screen.
    pub halves: Option<HalfColumns>,
    /// Index of each column among the given ones.
    pub given: DeviceBuffer,
    /// Where the device makes others of them: no column ever is longer.
    pub longest: Option<f32>,
}

impl<'c> DeviceColumns<'c> {
    /// Copies columns in windows of at most `window`, for products in `f32` that go through `chain` additions.
    pub fn new(gpu: &Gpu, chain: usize, window: usize, host: &'c Columns<'c>) -> Result<Self> {
        let (depth, screen) = (host.depth, host.device_screen(chain));
        let mut terms = screen.half_norms;
        terms.resize(terms.len().next_multiple_of(WIDEST as usize), ABSENT);
        let features = |columns: Range<usize>| &host.rounded[columns.start * depth..columns.end * depth];
        let single = ColumnWindows::new(gpu, (host.len(), window), features, &terms, &screen.errors)?;
        let given = gpu.filled("given", &host.given)?;
        Ok(Self { host, single, halves: None, given, longest: None })
    }
}
