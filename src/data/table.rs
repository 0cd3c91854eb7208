//! A table of rows that owns its bytes.

use std::ops::Range;
use std::path::Path;

use bytemuck::Pod;
use half::{bf16, f16};
use ndarray::{ArrayView2, ShapeBuilder};

use super::points::each_element;
use super::storage::{AlignedBytes, Storage, malformed};
use super::{ElementType, Points};
use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// How a file is read. The defaults fit most files.
///
/// ```
/// let options = tilefold::data::ReadOptions::default().columns(0..128).delimiter(b'\t');
/// assert!(options.check().is_ok());
/// assert!(tilefold::data::ReadOptions::default().columns(3..3).check().is_err());
/// ```
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    pub(super) columns: Option<Range<usize>>,
    pub(super) delimiter: Option<u8>,
    pub(super) header: Option<bool>,
    pub(super) single_precision: bool,
    pub(super) in_memory: bool,
    pub(super) cancel: Cancel,
}

impl ReadOptions {
    /// Keeps only these columns, counted from 0. In text the other columns need not be numbers.
    pub fn columns(mut self, columns: Range<usize>) -> Self {
        self.columns = Some(columns);
        self
    }

    /// The byte between the fields of a text file. Default: a tab in `.tsv`, otherwise the first of tab, `;`, `,` and
    /// space that the first line contains.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = Some(delimiter);
        self
    }

    /// Whether the first record of a text file holds names. Default: it does if none of its fields is a number; a first
    /// record that mixes numbers and text is refused, since skipping it could lose a row.
    pub fn header(mut self, header: bool) -> Self {
        self.header = Some(header);
        self
    }

    /// Stores the numbers of a text file as `f32` instead of `f64`; those beyond its range become infinite.
    pub fn single_precision(mut self, single_precision: bool) -> Self {
        self.single_precision = single_precision;
        self
    }

    /// Copies the file into memory instead of mapping it: for files that others may shorten meanwhile.
    pub fn in_memory(mut self, in_memory: bool) -> Self {
        self.in_memory = in_memory;
        self
    }

    /// The token that stops reading text and packed files from another thread.
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// [`Error::Parameter`] for an empty range of columns or a delimiter that can be part of a number.
    pub fn check(&self) -> Result<()> {
        if let Some(columns) = self.columns.as_ref().filter(|columns| columns.is_empty()) {
            return Err(Error::parameter(
                "columns",
                "a range with at least 1 column",
                format!("{columns:?}"),
            ));
        }
        let separates =
            |byte: u8| byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\r\n\"#+-._".contains(&byte);
        if let Some(delimiter) = self.delimiter.filter(|&delimiter| !separates(delimiter)) {
            let rule = "an ASCII character that is no letter, digit, quote, line end or one of + - . _ #";
            return Err(Error::parameter("delimiter", rule, format!("{:?}", char::from(delimiter))));
        }
        Ok(())
    }
}

/// Where the elements of a table lie in its bytes; strides are counted in elements.
pub(super) struct Layout {
    pub(super) element: ElementType,
    /// The file's byte order is not the host's.
    pub(super) reversed: bool,
    /// Byte of the first element.
    pub(super) start: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl Layout {
    /// Rows one after the other, in the host's byte order.
    pub(super) fn row_major(element: ElementType, start: usize, rows: usize, columns: usize) -> Self {
        Self { element, reversed: false, start, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Bytes from the first element to the end of the last. The readers have checked it against the file's length.
    fn span_bytes(&self) -> usize {
        let last = (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride;
        (last + 1) * self.element.size_bytes()
    }
}

/// The rows of a file: mapped where the file's layout is the memory's, copied otherwise.
///
/// ```no_run
/// let table = tilefold::data::Table::open("data/digits.npy")?;
/// println!("{} x {}", table.rows(), table.columns());
/// let points = table.points();
/// # Ok::<(), tilefold::Error>(())
/// ```
pub struct Table {
    storage: Storage,
    layout: Layout,
}

impl Table {
    /// A table over bytes that a reader has measured; copies them where they are misaligned or in foreign byte order.
    pub(super) fn new(path: &Path, storage: Storage, mut layout: Layout, cancel: &Cancel) -> Result<Self> {
        if layout.rows == 0 || layout.columns == 0 {
            let got = format!("{} rows and {} columns", layout.rows, layout.columns);
            return Err(malformed(path, "at least 1 row and 1 column", got));
        }
        let element_bytes = layout.element.size_bytes();
        let values = &storage.bytes()[layout.start..layout.start + layout.span_bytes()];
        if !layout.reversed && values.as_ptr().addr().is_multiple_of(element_bytes) {
            return Ok(Self { storage, layout });
        }
        let copy = AlignedBytes::copy_of(values, element_bytes, layout.reversed, path, cancel)?;
        layout.start = 0;
        layout.reversed = false;
        Ok(Self { storage: Storage::Memory(copy), layout })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.layout.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.layout.columns
    }

    /// The element type.
    pub fn element_type(&self) -> ElementType {
        self.layout.element
    }

    /// Whether the rows are the mapped file itself.
    pub fn is_mapped(&self) -> bool {
        matches!(self.storage, Storage::Mapped(_))
    }

    /// The rows, borrowed.
    pub fn points(&self) -> Points<'_> {
        macro_rules! view {
            ($($variant:ident($type:ty, $name:literal)),* $(,)?) => {
                match self.layout.element {
                    $(ElementType::$variant => Points::$variant(self.elements::<$type>()),)*
                }
            };
        }
        each_element!(view)
    }

    fn elements<T: Pod>(&self) -> ArrayView2<'_, T> {
        let layout = &self.layout;
        let bytes = &self.storage.bytes()[layout.start..layout.start + layout.span_bytes()];
        let shape = (layout.rows, layout.columns).strides((layout.row_stride, layout.column_stride));
        ArrayView2::from_shape(shape, bytemuck::cast_slice(bytes))
            .expect("the readers only make layouts without overlap that fit their bytes")
    }

    /// Narrows the table to some of its columns, without copying.
    pub(super) fn select(mut self, columns: Option<&Range<usize>>) -> Result<Self> {
        let Some(columns) = columns else { return Ok(self) };
        let layout = &mut self.layout;
        if columns.end > layout.columns {
            let rule = format!("a range within 0..{}", layout.columns);
            return Err(Error::parameter("columns", rule, format!("{columns:?}")));
        }
        layout.start += columns.start * layout.column_stride * layout.element.size_bytes();
        layout.columns = columns.len();
        Ok(self)
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rows, columns, element) = (self.rows(), self.columns(), self.element_type().name());
        write!(formatter, "Table({rows} x {columns} {element}, mapped: {})", self.is_mapped())
    }
}

/// What a reader found.
pub(super) struct Opened {
    pub(super) table: Table,
    /// The file holds one dimension, shown as n x 1.
    pub(super) is_vector: bool,
}

impl From<Table> for Opened {
    fn from(table: Table) -> Self {
        Self { table, is_vector: false }
    }
}
