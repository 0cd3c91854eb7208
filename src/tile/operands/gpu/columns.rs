//! A codebook on the device: what the columns of every tile are read from.

use super::half_columns::DeviceHalfBook;
use crate::device::{DeviceBuffer, Gpu, Slice};
use crate::error::Result;
use crate::tile::bound::constants::ABSENT;
use crate::tile::choice::shape::WIDEST;
use crate::tile::operands::columns::Codebook;

/// Centroids on the device, in windows of columns.
pub(crate) struct DeviceBook<'b> {
    /// The centroids on the host.
    pub book: &'b Codebook<'b>,
    windows: Vec<BookWindow>,
    half_norms: DeviceBuffer,
    /// Each column's own error; empty beside plain half norms.
    pub errors: DeviceBuffer,
    /// Index of each column among the given centroids.
    pub given: DeviceBuffer,
    /// The same centroids for the screen on matrix units, where there is one.
    pub half: Option<DeviceHalfBook>,
}

/// One window of centroids, as a kernel's arguments.
pub(crate) struct BookPart<'a> {
    /// Index of the first column.
    pub first: u32,
    /// Number of columns.
    pub columns: u32,
    /// Their coordinates.
    pub y: Slice<'a>,
    /// Their half norms, padded to whole tiles.
    pub half_norms: Slice<'a>,
}

impl<'b> DeviceBook<'b> {
    /// Copies centroids with shifted half norms, for labels from products that go through `chain` additions.
    pub fn shifted(gpu: &Gpu, chain: usize, column_window: usize, book: &'b Codebook<'b>) -> Result<Self> {
        let screen = book.device_screen(chain);
        Self::new(gpu, column_window, book, &screen.half_norms, &screen.errors)
    }

    /// Copies centroids with plain half norms: for shortlists.
    pub fn plain(gpu: &Gpu, column_window: usize, book: &'b Codebook<'b>) -> Result<Self> {
        Self::new(gpu, column_window, book, &book.half_norms, &[])
    }

    fn new(
        gpu: &Gpu,
        column_window: usize,
        book: &'b Codebook<'b>,
        half_norms: &[f32],
        errors: &[f32],
    ) -> Result<Self> {
        let depth = book.depth;
        let windows = book
            .rounded
            .chunks(column_window * depth)
            .enumerate()
            .map(|(index, rounded)| {
                let y = gpu.filled("centroids", rounded)?;
                let first = (index * column_window) as u32;
                Ok(BookWindow { first, columns: (rounded.len() / depth) as u32, y })
            })
            .collect::<Result<_>>()?;
        let mut padded = half_norms.to_vec();
        padded.resize(padded.len().next_multiple_of(WIDEST as usize), ABSENT);
        Ok(Self {
            book,
            windows,
            half_norms: gpu.filled("half norms", &padded)?,
            errors: gpu.filled("errors", errors)?,
            given: gpu.filled("given", &book.given)?,
            half: None,
        })
    }

    /// Number of windows.
    pub fn windows(&self) -> usize {
        self.windows.len()
    }

    /// The coordinates of all columns, where they are one window.
    pub fn whole(&self) -> Option<&DeviceBuffer> {
        if let [window] = &self.windows[..] { Some(&window.y) } else { None }
    }

    /// The windows, for tiles of `tile_columns`.
    pub fn parts(&self, tile_columns: u32) -> impl Iterator<Item = BookPart<'_>> {
        self.windows.iter().map(move |window| {
            let padded = u64::from(window.columns.next_multiple_of(tile_columns));
            BookPart {
                first: window.first,
                columns: window.columns,
                y: window.y.whole(),
                half_norms: self.half_norms.slice(4 * u64::from(window.first), 4 * padded),
            }
        })
    }
}

struct BookWindow {
    first: u32,
    columns: u32,
    y: DeviceBuffer,
}
