//! Columns on the device as one product reads them, in windows.

use std::ops::Range;

use bytemuck::Pod;

use crate::device::{DeviceBuffer, Gpu, Slice};
use crate::error::Result;

/// Columns as one product reads them.
pub(crate) struct ColumnWindows {
    windows: Vec<(Range<usize>, DeviceBuffer)>,
    /// What the values of a column are made of beside its products, padded to whole tiles.
    terms: DeviceBuffer,
    term_bytes: u64,
    /// What a certificate reads of each column.
    pub errors: DeviceBuffer,
}

/// One window, as a kernel's arguments.
pub(crate) struct ColumnWindow<'a> {
    /// Index of the first column.
    pub first: u32,
    /// Number of columns.
    pub columns: u32,
    /// Their features.
    pub y: Slice<'a>,
    /// Their terms, padded to whole tiles.
    pub terms: Slice<'a>,
}

impl ColumnWindows {
    /// Copies `columns` columns in windows of at most `window`. `features` are those of a window with what is behind them;
    /// `terms` are padded.
    pub fn new<'h, F: Pod, T: Pod>(
        gpu: &Gpu,
        (columns, window): (usize, usize),
        features: impl Fn(Range<usize>) -> &'h [F],
        terms: &[T],
        errors: &[T],
    ) -> Result<Self> {
        let windows = (0..columns).step_by(window).map(|first| {
            let columns = first..columns.min(first + window);
            Ok((columns.clone(), gpu.filled("columns", features(columns))?))
        });
        Ok(Self {
            windows: windows.collect::<Result<_>>()?,
            terms: gpu.filled("terms", terms)?,
            term_bytes: size_of::<T>() as u64,
            errors: gpu.filled("errors", errors)?,
        })
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// What the values of all columns are made of beside their products.
    pub fn terms(&self) -> &DeviceBuffer {
        &self.terms
    }

    /// The features of all columns, where they are one window.
    pub fn whole(&self) -> Option<&DeviceBuffer> {
        if let [(_, y)] = &self.windows[..] { Some(y) } else { None }
    }

    /// The windows, for tiles of `tile_columns`.
    pub fn iter(&self, tile_columns: u32) -> impl Iterator<Item = ColumnWindow<'_>> {
        self.windows.iter().map(move |(columns, y)| {
            let (first, columns) = (columns.start as u32, columns.len() as u32);
            let padded = u64::from(columns.next_multiple_of(tile_columns));
            let terms = self.terms.slice(self.term_bytes * u64::from(first), self.term_bytes * padded);
            ColumnWindow { first, columns, y: y.whole(), terms }
        })
    }
}
