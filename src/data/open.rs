//! The choice of the reader for a file.

use std::path::Path;

use super::frame::value_at;
use super::storage::{Storage, excerpt, first_bytes, malformed, open_regular, reserve};
use super::table::{Opened, ReadOptions, Table};
use super::{csv, idx, npy, vecs};
use crate::cancel::Cancel;
use crate::error::Result;

/// Rows between two looks at the cancel token.
const ROWS_PER_LOOK: usize = 1 << 16;

impl Table {
    /// Opens a file; its content (`.npy`, gzip, IDX) and its extension decide how it is read:
    ///
    /// - `.npy`, versions 1.0 to 3.0, two dimensions, f2 f4 f8, signed and unsigned integers, b1 (as `u8`); any byte
    ///   order and axis order;
    /// - `.csv`, `.tsv`, `.txt`: numbers as `f64`; a line that starts with `#` is a comment whatever it holds, a `#` behind
    ///   a number or between quotes is none, and a quote has to close;
    /// - `.fvecs`, `.bvecs`, `.ivecs`: each row preceded by its dimension;
    /// - IDX (`.idx`, `-ubyte`), also gzipped: the dimensions after the first are flattened.
    ///
    /// NaN and infinity are read as they are: whoever computes with them refuses them with their position.
    ///
    /// A mapped file must not be shortened or rewritten in place while the table lives: the system ends a process that
    /// touches a vanished page. [`ReadOptions::in_memory`] avoids the map.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if the system refuses, [`Error::Format`](crate::Error::Format) if the file is not what it claims to be, has no rows or
    /// holds an unsupported type, [`Error::TooLarge`](crate::Error::TooLarge) if a copy does not fit the memory.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &ReadOptions::default())
    }

    /// Opens a file with options. Errors as [`Table::open`], and [`Error::Parameter`](crate::Error::Parameter) for options that break their rule
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
}

/// Reads one number per row, for weights or labels: an `.npy` of shape (n,) or (n, 1), text with a single column, or
/// IDX of one dimension. Integers beyond 2^53 are rounded to the nearest `f64`.
///
/// # Errors
/// As [`Table::open`]; [`Error::Format`](crate::Error::Format) if the file holds more than one column.
pub fn read_vector_f64(path: impl AsRef<Path>) -> Result<Vec<f64>> {
    read_vector_f64_with(path, &Cancel::new())
}

/// [`read_vector_f64`] that another thread can stop.
///
/// # Errors
/// As [`read_vector_f64`], and [`Error::Cancelled`](crate::Error::Cancelled).
pub fn read_vector_f64_with(path: impl AsRef<Path>, cancel: &Cancel) -> Result<Vec<f64>> {
    let path = path.as_ref();
    let table = read(path, &ReadOptions::default().cancel(cancel.clone()))?.table;
    if table.columns() != 1 {
        let got = format!("{} columns", table.columns());
        return Err(malformed(path, "one number per row", got));
    }
    let (points, mut values) = (table.points(), Vec::new());
    reserve(&mut values, points.rows(), path)?;
    for first in (0..points.rows()).step_by(ROWS_PER_LOOK) {
        cancel.check()?;
        let rows = first..points.rows().min(first + ROWS_PER_LOOK);
        values.extend(rows.map(|row| value_at(&points, row, 0)));
    }
    Ok(values)
}

/// Chooses the reader. Content decides where it is unmistakable, except that the first bytes of `.fvecs` and its
/// kin are a number, which can look like any mark.
fn read(path: &Path, options: &ReadOptions) -> Result<Opened> {
    options.check()?;
    let cancel = &options.cancel;
    let (file, length) = open_regular(path)?;
    let extension = path.extension().and_then(|text| text.to_str()).unwrap_or_default().to_ascii_lowercase();
    let is_text = matches!(extension.as_str(), "csv" | "tsv" | "txt");
    let vector_element = vecs::element_type(&extension);

    let mark = first_bytes(path, &file)?;
    let is_npy = mark.starts_with(npy::MAGIC);
    let is_gzip = mark.starts_with(&[0x1f, 0x8b, 0x08]);
    if vector_element.is_none() && is_gzip {
        return idx::read_gzip(path, file, length, cancel)?
            .select(options.columns.as_ref())
            .map(Opened::from);
    }
    if vector_element.is_none() && is_text && !is_npy {
        return csv::read(path, file, &extension, options).map(Opened::from);
    }

    let storage = Storage::open(path, file, length, options.in_memory, cancel)?;
    let is_idx = extension == "idx" || path_ends_with(path, "-ubyte");
    let opened = if let Some(element) = vector_element {
        vecs::read(path, storage, element, cancel)?.into()
    } else if is_npy || extension == "npy" {
        npy::read(path, storage, cancel)?
    } else if is_idx || idx::is_header(&mark) {
        idx::read(path, storage, cancel)?.into()
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
