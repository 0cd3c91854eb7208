//! Writers: a file appears under its name when it is complete, or not at all.

use std::fs::{self, Permissions};
use std::io::{self, BufWriter, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use ndarray::{ArrayView, Dimension};
use tempfile::NamedTempFile;

use super::npy::header_bytes;
use super::storage::{PIECE_BYTES, file_error, malformed};
use super::together::commit_all;
use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// Elements that are written one by one between two looks at the cancel token.
const ELEMENTS_PER_LOOK: usize = 1 << 14;

/// A file that is written next to its place and renamed when it is committed.
///
/// Create it before long work: a folder that is missing or not writable is found then. Dropped without
/// [`commit`](AtomicFile::commit), it removes what was written, and a file that was there before stays as it was.
#[derive(Debug)]
pub struct AtomicFile {
    writer: BufWriter<NamedTempFile>,
    target: PathBuf,
    cancel: Cancel,
}

impl AtomicFile {
    /// A temporary file in the folder of `path`. A symbolic link is followed: what it points to is replaced.
    ///
    /// # Errors
    /// [`Error::File`] if the folder is missing or not writable; [`Error::Format`] if `path` exists and is not a
    /// regular, writable file.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let target = existing_target(path)?.unwrap_or_else(|| path.into());
        let invalid = || file_error(path, "creating", io::ErrorKind::InvalidInput.into());
        let name = target.file_name().ok_or_else(invalid)?;
        let folder = folder_of(&target);
        // Long names would make the temporary one exceed the system's limit.
        let prefix: String = format!(".{}", name.to_string_lossy()).chars().take(32).collect();
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".partial");
        let permissions = default_permissions();
        if let Some(permissions) = &permissions {
            builder.permissions(permissions.clone());
        }
        let file = builder.tempfile_in(folder).map_err(|source| file_error(path, "creating", source))?;
        Ok(Self { writer: BufWriter::with_capacity(1 << 20, file), target, cancel: Cancel::new() })
    }

    /// The same file, whose arrays are given up while they are written once `cancel` is set.
    #[cfg(any(test, feature = "cli"))]
    pub(crate) fn cancel(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }

    /// Where the file will be.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Writes what is buffered to the disk, and gives the file its name.
    ///
    /// # Errors
    /// [`Error::File`] if the disk is full or the rename is refused; nothing is left behind then.
    pub fn commit(self) -> Result<()> {
        commit_all(vec![self])
    }

    /// Writes what is buffered to the disk; the file still waits for its name.
    pub(super) fn onto_disk(self) -> Result<(NamedTempFile, PathBuf)> {
        let Self { writer, target, .. } = self;
        let file = writer.into_inner().map_err(|error| file_error(&target, "writing", error.into_error()))?;
        file.as_file().sync_all().map_err(|source| file_error(&target, "writing", source))?;
        Ok((file, target))
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(PIECE_BYTES) {
            self.cancel.check()?;
            self.put_some(piece)?;
        }
        Ok(())
    }

    /// A look at the token before some of the elements.
    fn look(&self, element: usize) -> Result<()> {
        if element.is_multiple_of(ELEMENTS_PER_LOOK) { self.cancel.check() } else { Ok(()) }
    }

    fn put_some(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(|source| file_error(&self.target, "writing", source))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// What `path` leads to, if it exists. A pipe or a device must not be replaced by a file.
pub(super) fn existing_target(path: &Path) -> Result<Option<PathBuf>> {
    match fs::metadata(path) {
        Ok(attributes) if !attributes.is_file() => Err(malformed(
            path,
            "a file to write",
            if attributes.is_dir() { "a folder" } else { "a pipe or device" },
        )),
        Ok(attributes) if attributes.permissions().readonly() => {
            Err(malformed(path, "a file to write", "a file marked read-only"))
        }
        Ok(_) => fs::canonicalize(path).map(Some).map_err(|source| file_error(path, "creating", source)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file_error(path, "creating", source)),
    }
}

/// The folder that a file is in.
pub(super) fn folder_of(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Temporary files are private by default; results are as readable as any new file (the umask applies).
fn default_permissions() -> Option<Permissions> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        Some(Permissions::from_mode(0o666))
    }
    #[cfg(not(unix))]
    None
}

/// Makes the new name itself survive a power cut. Some file systems refuse to sync a folder; the file is complete either
/// way, so that is no error.
pub(super) fn sync_folder(target: &Path) {
    #[cfg(unix)]
    let _synced = fs::File::open(folder_of(target)).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = target;
}

/// An element type that the writers know.
pub trait NpyElement: Pod + std::fmt::Debug + sealed::Sealed {
    /// NumPy's name of the type, in the host's byte order.
    const DESCR: &'static str;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($type:ty: $little:literal $big:literal),* $(,)?) => {$(
        impl sealed::Sealed for $type {}
        impl NpyElement for $type {
            const DESCR: &'static str = if cfg!(target_endian = "little") { $little } else { $big };
        }
    )*};
}

elements! {
    half::f16: "<f2" ">f2", f32: "<f4" ">f4", f64: "<f8" ">f8", u32: "<u4" ">u4", i32: "<i4" ">i4",
    i64: "<i8" ">i8", u8: "|u1" "|u1",
}

/// Writes an array of any shape as `.npy`, row by row.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::commit`].
pub fn write_npy<T: NpyElement, D: Dimension>(
    path: impl AsRef<Path>,
    array: ArrayView<'_, T, D>,
) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    write_npy_to(&mut file, array)?;
    file.commit()
}

/// Writes an array as `.npy` into a file that the caller commits.
///
/// # Errors
/// [`Error::File`] if the disk is full or fails.
pub fn write_npy_to<T: NpyElement, D: Dimension>(
    file: &mut AtomicFile,
    array: ArrayView<'_, T, D>,
) -> Result<()> {
    file.put(&header_bytes(T::DESCR, array.shape()))?;
    match array.as_slice() {
        Some(values) => file.put(bytemuck::cast_slice(values)),
        None => array.iter().enumerate().try_for_each(|(index, value)| {
            file.look(index)?;
            file.put_some(bytemuck::bytes_of(value))
        }),
    }
}

/// Writes a vector (one number per line) or a matrix (comma-separated rows) as text without a header. Floats are written
/// with the fewest digits that read back to the same bits.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::commit`]; [`Error::Shape`] for other than 1 or 2 dimensions.
pub fn write_csv<T: NpyElement, D: Dimension>(
    path: impl AsRef<Path>,
    array: ArrayView<'_, T, D>,
) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    write_csv_to(&mut file, array)?;
    file.commit()
}

/// Writes a vector or a matrix as text into a file that the caller commits. Errors as [`write_csv`].
pub fn write_csv_to<T: NpyElement, D: Dimension>(
    file: &mut AtomicFile,
    array: ArrayView<'_, T, D>,
) -> Result<()> {
    let columns = match *array.shape() {
        [_] => 1,
        [_, columns] => columns,
        _ => return Err(Error::shape("array", "1 or 2 dimensions", format!("{:?}", array.shape()))),
    };
    for (index, value) in array.iter().enumerate() {
        file.look(index)?;
        let end = if (index + 1).is_multiple_of(columns) { '\n' } else { ',' };
        write!(file.writer, "{value:?}{end}")
            .map_err(|source| file_error(&file.target, "writing", source))?;
    }
    Ok(())
}

/// Writes a matrix as `.npy` in blocks of rows, for matrices larger than the memory.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("matrix.npy");
/// let mut writer = tilefold::data::NpyRowWriter::<f32>::create(&path, 3, 2)?;
/// writer.write_rows(&[0.0, 1.0, 2.0, 3.0])?;
/// writer.write_rows(&[4.0, 5.0])?;
/// writer.commit()?;
/// # assert_eq!(tilefold::data::Table::open(&path)?.rows(), 3);
/// # Ok::<(), tilefold::Error>(())
/// ```
#[derive(Debug)]
pub struct NpyRowWriter<T> {
    file: AtomicFile,
    rows: usize,
    columns: usize,
    rows_written: usize,
    element: PhantomData<T>,
}

impl<T: NpyElement> NpyRowWriter<T> {
    /// Starts a file of `rows` x `columns`. Errors as [`AtomicFile::create`].
    pub fn create(path: impl AsRef<Path>, rows: usize, columns: usize) -> Result<Self> {
        Self::new(AtomicFile::create(path)?, rows, columns)
    }

    /// Starts a matrix of `rows` x `columns` in a file created before; [`Error::Shape`] without rows or columns.
    pub fn new(mut file: AtomicFile, rows: usize, columns: usize) -> Result<Self> {
        if rows == 0 || columns == 0 {
            return Err(Error::shape("matrix", "at least 1 row and 1 column", format!("{rows} x {columns}")));
        }
        file.put(&header_bytes(T::DESCR, &[rows, columns]))?;
        Ok(Self { file, rows, columns, rows_written: 0, element: PhantomData })
    }

    /// Appends whole rows.
    ///
    /// # Errors
    /// [`Error::Shape`] if `values` ends within a row or exceeds the rows left; [`Error::File`] if the disk is full.
    pub fn write_rows(&mut self, values: &[T]) -> Result<()> {
        let rows_left = self.rows - self.rows_written;
        let row_count = values.len() / self.columns;
        if !values.len().is_multiple_of(self.columns) || row_count > rows_left {
            let expected = format!("whole rows of {} elements, at most {rows_left} rows", self.columns);
            return Err(Error::shape("values", expected, format!("{} elements", values.len())));
        }
        self.file.put(bytemuck::cast_slice(values))?;
        self.rows_written += row_count;
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`Error::Shape`] if rows are missing, otherwise as [`AtomicFile::commit`]; the file does not appear then.
    pub fn commit(self) -> Result<()> {
        if self.rows_written != self.rows {
            let expected = format!("{} rows", self.rows);
            return Err(Error::shape("matrix", expected, format!("{} rows written", self.rows_written)));
        }
        self.file.commit()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn arrays_are_given_up_while_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let values = Array2::<f64>::zeros((3, 1 << 17));
        type Writer = fn(&mut AtomicFile, ArrayView<'_, f64, ndarray::Ix2>) -> Result<()>;
        let writers: [(Writer, bool); 3] =
            [(write_npy_to, false), (write_npy_to, true), (write_csv_to, false)];
        for (write, turned) in writers {
            let cancel = Cancel::new();
            let open = || {
                AtomicFile::create(folder.path().join("out")).map(|file| file.cancel(cancel.clone())).unwrap()
            };
            let view = if turned { values.t() } else { values.view() };
            write(&mut open(), view).unwrap();
            // Once per megabyte, or per so many elements.
            #[cfg(feature = "test-hooks")]
            assert!(cancel.polls() >= 3, "{} polls", cancel.polls());
            cancel.cancel();
            assert!(matches!(write(&mut open(), view), Err(Error::Cancelled)));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
