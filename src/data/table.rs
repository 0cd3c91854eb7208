//! A table of rows that owns its bytes, and the choice of the reader for a file.

use std::ops::Range;
use std::path::Path;

use bytemuck::Pod;
use half::{bf16, f16};
use ndarray::{ArrayView2, ShapeBuilder};

use super::frame::value_at;
use super::points::each_element;
use super::storage::{AlignedBytes, Storage, excerpt, malformed, open_regular, reserve};
use super::{ElementType, Points, csv, idx, npy, vecs};
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
    /// Opens a file; its content (`.npy`, gzip, IDX) and its extension decide how it is read:
    ///
    /// - `.npy`, versions 1.0 to 3.0, two dimensions, f2 f4 f8, signed and unsigned integers, b1 (as `u8`); any byte
    ///   order and axis order;
    /// - `.csv`, `.tsv`, `.txt`: numbers as `f64`; lines that start with `#` are skipped;
    /// - `.fvecs`, `.bvecs`, `.ivecs`: each row preceded by its dimension;
    /// - IDX (`.idx`, `-ubyte`), also gzipped: the dimensions after the first are flattened.
    ///
    /// NaN and infinity are read as they are: whoever computes with them refuses them with their position.
    ///
    /// A mapped file must not be shortened or rewritten in place while the table lives: the system ends a process that
    /// touches a vanished page. [`ReadOptions::in_memory`] avoids the map.
    ///
    /// # Errors
    /// [`Error::File`] if the system refuses, [`Error::Format`] if the file is not what it claims to be, has no rows or
    /// holds an unsupported type, [`Error::TooLarge`] if a copy does not fit the memory.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &ReadOptions::default())
    }

    /// Opens a file with options. Errors as [`Table::open`], and [`Error::Parameter`] for options that break their rule
    /// or name columns that the file does not have.
    pub fn open_with(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Self> {
        let path = path.as_ref();
        let opened = read(path, options)?;
        if opened.is_vector {
            let rows = opened.table.rows();
            let got = format!("shape ({rows},): reshape it to ({rows}, 1) or (1, {rows})");
            return Err(malformed(path, "an array of 2 dimensions", got));
        }
        Ok(opened.table)
    }

    /// A table over bytes that a reader has measured; copies them where they are misaligned or in foreign byte order.
    pub(super) fn new(path: &Path, storage: Storage, mut layout: Layout) -> Result<Self> {
        if layout.rows == 0 || layout.columns == 0 {
            let got = format!("{} rows and {} columns", layout.rows, layout.columns);
            return Err(malformed(path, "at least 1 row and 1 column", got));
        }
        let element_bytes = layout.element.size_bytes();
        let values = &storage.bytes()[layout.start..layout.start + layout.span_bytes()];
        if !layout.reversed && values.as_ptr().addr().is_multiple_of(element_bytes) {
            return Ok(Self { storage, layout });
        }
        let copy = AlignedBytes::copy_of(values, element_bytes, layout.reversed, path)?;
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
    fn select(mut self, columns: Option<&Range<usize>>) -> Result<Self> {
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

/// Reads one number per row, for weights or labels: an `.npy` of shape (n,) or (n, 1), text with a single column, or
/// IDX of one dimension. Integers beyond 2^53 are rounded to the nearest `f64`.
///
/// # Errors
/// As [`Table::open`]; [`Error::Format`] if the file holds more than one column.
pub fn read_vector_f64(path: impl AsRef<Path>) -> Result<Vec<f64>> {
    let path = path.as_ref();
    let table = read(path, &ReadOptions::default())?.table;
    if table.columns() != 1 {
        let got = format!("{} columns", table.columns());
        return Err(malformed(path, "one number per row", got));
    }
    let (points, mut values) = (table.points(), Vec::new());
    reserve(&mut values, points.rows(), path)?;
    values.extend((0..points.rows()).map(|row| value_at(&points, row, 0)));
    Ok(values)
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

/// Chooses the reader. Content decides where it is unmistakable, except that the first bytes of `.fvecs` and its
/// kin are a number, which can look like any mark.
fn read(path: &Path, options: &ReadOptions) -> Result<Opened> {
    options.check()?;
    let (file, length) = open_regular(path)?;
    let extension = path.extension().and_then(|text| text.to_str()).unwrap_or_default().to_ascii_lowercase();
    let is_text = matches!(extension.as_str(), "csv" | "tsv" | "txt");
    let vector_element = vecs::element_type(&extension);

    let mark = super::storage::first_bytes(path, &file)?;
    let is_npy = mark.starts_with(npy::MAGIC);
    let is_gzip = mark.starts_with(&[0x1f, 0x8b, 0x08]);
    if vector_element.is_none() && is_gzip {
        return idx::read_gzip(path, file, length)?.select(options.columns.as_ref()).map(Opened::from);
    }
    if vector_element.is_none() && is_text && !is_npy {
        return csv::read(path, file, &extension, options).map(Opened::from);
    }

    let storage = Storage::open(path, file, length, options.in_memory)?;
    let is_idx = extension == "idx" || path_ends_with(path, "-ubyte");
    let opened = if let Some(element) = vector_element {
        vecs::read(path, storage, element)?.into()
    } else if is_npy || extension == "npy" {
        npy::read(path, storage)?
    } else if is_idx || idx::is_header(&mark) {
        idx::read(path, storage)?.into()
    } else {
        let expected = "a file of kind npy, csv, tsv, txt, fvecs, bvecs, ivecs, idx or -ubyte";
        let got = format!("the extension {:?}", excerpt(&extension));
        return Err(malformed(path, expected, got));
    };
    let Opened { table, is_vector } = opened;
    Ok(Opened { table: table.select(options.columns.as_ref())?, is_vector })
}

fn path_ends_with(path: &Path, ending: &str) -> bool {
    path.to_string_lossy().to_ascii_lowercase().ends_with(ending)
}
